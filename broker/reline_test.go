package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/wire"
)

// stepped is a pool of a queue whose people are asked when no bot is there, in pieces or not.
type stepped struct {
	*broker.Core
	out  broker.Effects
	most int // 0 is at once
	long time.Duration
	r    *rand.Rand
}

func newStepped(most int, shards []uint32) *stepped {
	cfg := broker.Config{Queues: []broker.Queue{{Name: "q", Steps: []broker.Step{{Who: broker.Bots}, {Who: broker.Humans, When: broker.Unstaffed}}}}}
	s := &stepped{Core: broker.New(cfg), most: most, r: rand.New(rand.NewPCG(1, 2))}
	if most > 0 {
		s.Core = broker.NewInPieces(cfg, most)
	}
	s.do(func() { s.Open(1, shards, 0, &s.out) })
	return s
}

// do has something happen, and then all pieces of it. It notes how long the longest step was.
func (s *stepped) do(f func()) {
	began := time.Now()
	f()
	s.long = max(s.long, time.Since(began))
	for s.Unfinished() {
		began = time.Now()
		s.Continue(s.most, 0, &s.out)
		s.long = max(s.long, time.Since(began))
	}
}

func (s *stepped) come(kind wire.Origin, i, slots int) {
	id := fmt.Sprint(kind, i)
	s.do(func() {
		s.Subscribe(&broker.Subscription{
			ID: id, Sub: id, Kind: kind, Queues: []string{"q"}, Allowed: []string{"*"}, Slots: slots, Conn: wire.Conn{Node: 1, ID: uint64(100*len(kind) + i)}, NewLease: "l", //nolint:gosec // small
		}, 0, &s.out)
	})
}

func (s *stepped) task(i int) broker.Task {
	return broker.Task{Session: wire.SessionID(fmt.Sprint("s", i)), Ticket: 1, Queue: "q", EnqueuedAt: int64(s.r.IntN(10)), BoostMS: int64(s.r.IntN(5))}
}

func (s *stepped) gone(kind wire.Origin, i int) {
	s.do(func() { s.ConnLost(wire.Conn{Node: 1, ID: uint64(100*len(kind) + i)}, 0, &s.out) }) //nolint:gosec // small
}

// A step that opens or closes for many, and the end of a census, decide the same in pieces as at once, and in the same order; and an event in the
// middle of the pieces passes over nobody.
func TestRelinedInPieces(t *testing.T) {
	const waiting = 60
	run := func(most int) (all []string) {
		s := newStepped(most, []uint32{0})
		for i := range 3 {
			s.come(wire.OriginHuman, i, 4)
		}
		live := make([]broker.Live, waiting)
		for i := range live {
			live[i].Task = s.task(i)
		}
		note := func() {
			all = append(append(all, "--"), told(s.out)...)
			s.out.Reset()
		}
		s.do(func() { s.CensusAnswer(1, 0, live, 0, &s.out) }) // no bot is there: people are asked
		note()
		s.come(wire.OriginBot, 0, 5)
		note()
		for i := range waiting { // who has one of the people, or the bot, goes, but for a few
			if w := s.Explain(wire.SessionID(fmt.Sprint("s", i))).Worker; w != "" && i%3 > 0 {
				s.do(func() { s.Withdraw(wire.SessionID(fmt.Sprint("s", i)), 1, 0, &s.out) })
			}
		}
		note()
		s.gone(wire.OriginBot, 0)
		note()
		s.come(wire.OriginBot, 1, 30)
		note()
		return all
	}
	want := run(0)
	if grants := slices.Clone(want); len(slices.DeleteFunc(grants, func(x string) bool { return x == "--" })) < 20 {
		t.Fatalf("hardly anything happens: %v", want)
	}
	for _, most := range []int{1, 7, 30} {
		if got := run(most); !slices.Equal(got, want) {
			t.Errorf("in pieces of %d:\n%v\nat once:\n%v", most, got, want)
		}
	}
}

// Whoever is free in the middle of the pieces gets the first, and not the first of those who have been put in line by then.
func TestRelinedInOrder(t *testing.T) {
	s := newStepped(4, nil)
	s.come(wire.OriginBot, 0, 1)
	for i := range 30 {
		task := s.task(i)
		task.EnqueuedAt, task.BoostMS = int64(100-i), 0
		s.do(func() { s.Offer(&task, 0, &s.out) })
	}
	s.out.Reset()
	s.ConnLost(wire.Conn{Node: 1, ID: 300}, 0, &s.out) // the step of people opens
	for range 3 {
		if !s.Unfinished() {
			t.Fatal("it was done at once")
		}
		s.Continue(4, 0, &s.out)
	}
	s.come(wire.OriginHuman, 0, 1)
	for i := range s.out {
		if s.out[i].Kind == broker.OfferPush {
			if s.out[i].Session != "s29" {
				t.Fatalf("%s is offered; s29 waits longest", s.out[i].Session)
			}
			return
		}
	}
	t.Fatal("nobody is offered")
}

// BenchmarkRelined is how long the owner is busy at most when 10,000 wait and a step opens for all of them, closes again, and when a census ends, at once
// and in pieces.
func BenchmarkRelined(b *testing.B) {
	for _, waiting := range []int{10_000, 100_000} {
		for _, most := range []int{0, 256} {
			b.Run(fmt.Sprintf("waiting=%d/pieces=%d/step", waiting, most), func(b *testing.B) {
				s := newStepped(most, nil)
				for i := range waiting {
					task := s.task(i)
					s.do(func() { s.Offer(&task, 0, &s.out) })
					s.out.Reset()
				}
				s.long = 0
				for i := 0; b.Loop(); i++ {
					s.come(wire.OriginBot, i%50, 1)
					s.gone(wire.OriginBot, i%50)
					s.out.Reset()
				}
				b.ReportMetric(float64(s.long.Microseconds())/1000, "longest-ms")
			})
			b.Run(fmt.Sprintf("waiting=%d/pieces=%d/census", waiting, most), func(b *testing.B) {
				long := time.Duration(0)
				for b.Loop() {
					b.StopTimer()
					s := newStepped(most, []uint32{0, 1})
					s.come(wire.OriginHuman, 0, 4)
					live := make([]broker.Live, waiting)
					for i := range live {
						live[i].Task = s.task(i)
					}
					s.do(func() { s.CensusAnswer(1, 0, live, 0, &s.out) })
					s.long = 0
					b.StartTimer()
					s.do(func() { s.CensusAnswer(1, 1, nil, 0, &s.out) })
					long = max(long, s.long)
				}
				b.ReportMetric(float64(long.Microseconds())/1000, "longest-ms")
			})
		}
	}
}
