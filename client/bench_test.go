package client

import (
	"testing"

	"switchboard/wire/wirepb"
)

// TestPushAllocates holds the order's cost at nothing: an entry that is read as it comes needs no memory but its own.
func TestPushAllocates(t *testing.T) {
	f := &feed{limit: 256}
	seq := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		seq++
		if f.push(entryAt(seq), seq-1) != taken {
			t.Fatal("not taken")
		}
		if it, ok := f.next(); !ok || it.entry.Seq != seq {
			t.Fatal("not returned")
		}
	}); n != 0 {
		t.Fatalf("%v allocations per entry; want 0", n)
	}
	b := &inbox{limit: 256}
	seq = 0
	if n := testing.AllocsPerRun(1000, func() {
		seq++
		b.deliver(entryAt(seq), seq-1)
		if e, ok := b.queue.take(); !ok || e.Seq != seq {
			t.Fatal("not returned")
		}
		b.finish(seq)
	}); n != 0 {
		t.Fatalf("%v allocations per delivery; want 0", n)
	}
}

func BenchmarkFeed(b *testing.B) {
	f := &feed{limit: 256}
	b.ReportAllocs()
	for seq := uint64(1); b.Loop(); seq++ {
		f.push(entryAt(seq), seq-1)
		f.next()
	}
}

// BenchmarkMessage is what one pushed entry costs between the parsed frame and the application.
func BenchmarkMessage(b *testing.B) {
	c := &Client{cfg: Config{Buffer: 256}, followed: map[string]*Session{}, assigned: map[string]*Session{}}
	s := &Session{c: c, id: "s_1", wake: make(chan struct{}, 1), reading: make(chan struct{}, 1)}
	s.feed.limit = 256
	c.followed["s_1"] = s
	m := &wirepb.Entry{Session: "s_1", Epoch: 1, Kind: "message", Type: "text", Body: []byte(`{"text":"hi"}`), From: &wirepb.Author{Role: "worker", Id: "faq"}}
	f := &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Message{Message: m}}
	k := &conn{}
	b.ReportAllocs()
	for seq := uint64(1); b.Loop(); seq++ {
		m.Seq, m.Prev = seq, seq-1
		if hooks, err := c.handle(k, f); err != nil || len(hooks) > 0 {
			b.Fatal(err)
		}
		if e, err := s.Recv(b.Context()); err != nil || e.Seq != seq {
			b.Fatal(e.Seq, err)
		}
	}
}
