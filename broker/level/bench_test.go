package level_test

import (
	"testing"
	"time"

	"switchboard/broker/level"
	"switchboard/wire"
)

// talk returns a set of three platforms' definitions and the entries of one round: a question and its answer, and two events.
func talk(t interface{ Fatal(args ...any) }) (*level.Set, []*wire.Entry) {
	set, err := level.Compile([]level.Definition{{Preset: "taobao"}, {Preset: "feige"}, {Preset: "wangwang"}}, nil, time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	return set, []*wire.Entry{
		entry("s", 0, 0, "queued", "", args{}), entry("s", 0, 0, "assigned", "bob", args{}), entry("s", 0, 0, "customer", "", args{}), entry("s", 0, 0, "human", "bob", args{}),
	}
}

// TestFeedAllocates: an entry costs no memory, counted and added to the rates.
func TestFeedAllocates(t *testing.T) {
	set, round := talk(t)
	conv, rates := level.New(set), level.NewRates(set)
	var out level.Out
	seq, now := uint64(0), begin
	feed := func() {
		for _, e := range round {
			seq++
			now += 1_000
			e.Seq, e.TS = seq, now
			conv.Feed(set, e, &out)
		}
		for i := range out.Samples {
			rates.Add(&out.Samples[i])
		}
		out.Reset()
	}
	feed()
	if n := testing.AllocsPerRun(1000, feed); n != 0 {
		t.Fatalf("%v allocations for a round of %d entries", n, len(round))
	}
}

// BenchmarkFeed is an entry of a session under three definitions with hours.
func BenchmarkFeed(b *testing.B) {
	set, round := talk(b)
	conv := level.New(set)
	var out level.Out
	seq, now := uint64(0), begin
	b.ReportAllocs()
	for b.Loop() {
		e := round[2+seq%2]
		seq++
		now += 1_000
		e.Seq, e.TS = seq, now
		conv.Feed(set, e, &out)
		out.Reset()
	}
}

// BenchmarkRates is a sample into the windows of its shop, queue and worker.
func BenchmarkRates(b *testing.B) {
	set, _ := talk(b)
	r := level.NewRates(set)
	now := begin
	b.ReportAllocs()
	for b.Loop() {
		now += 10
		r.Add(&level.Sample{At: now, Count: 1, Met: 1, Timed: 1, RT: 5_000, Shop: "s", Queue: "q", Worker: "w"})
	}
}

// BenchmarkNew is what a session costs beside its state.
func BenchmarkNew(b *testing.B) {
	set, _ := talk(b)
	b.ReportAllocs()
	for b.Loop() {
		level.New(set)
	}
}
