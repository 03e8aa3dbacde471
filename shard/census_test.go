package shard_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// census asks shard 0 as a pool, again until it answers.
func (n *node) census(a *answers, pool uint64) *wire.CensusAnswer {
	n.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		a.mu.Lock()
		for _, m := range a.list {
			if m.Pool == pool {
				a.list = nil
				a.mu.Unlock()
				return m
			}
		}
		a.mu.Unlock()
		_ = n.x.Post(wire.Envelope{To: wire.ToSlot(wire.ShardSlot(0)), Mail: &wire.Census{Tenant: "demo", Pool: pool, Reply: wire.ToSlot(wire.ShardSlot(7))}})
	}
	n.t.Fatal("the shard does not answer")
	return nil
}

// crowd lets so many customers open a session and say something.
func (n *node) crowd(people int) map[wire.SessionID]*conn {
	n.t.Helper()
	all := map[wire.SessionID]*conn{}
	for i := range people {
		c := n.conn(customer(fmt.Sprint("c", i)))
		id := c.open(&wirepb.Open{})
		all[id] = c
		c.send(id, "k", "hi")
		c.next(wire.FrameWrote)
	}
	return all
}

// snapshot notes who has been told what when an answer comes.
type snapshot struct {
	all  map[wire.SessionID]*conn
	once sync.Once
	told map[wire.SessionID]bool // that his session is closed
	m    *wire.CensusAnswer
	done chan struct{}
}

func (s *snapshot) Put(e wire.Envelope) bool {
	s.once.Do(func() {
		s.m = e.Mail.(*wire.CensusAnswer)
		for id, c := range s.all {
			c.mu.Lock()
			s.told[id] = slices.ContainsFunc(c.frames, func(f *wire.Frame) bool { return f.Kind == wire.FrameAnswer })
			c.mu.Unlock()
		}
		close(s.done)
	})
	return true
}

// What happens to sessions while a census is answered in pieces is in the answer: of those that have been closed before it leaves none, all others.
func TestCensusOfOneMoment(t *testing.T) {
	const people = 1200
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	s := &snapshot{all: n.crowd(people), told: map[wire.SessionID]bool{}, done: make(chan struct{})}
	n.x.PlugSlots([]wire.Slot{wire.ShardSlot(7)}, s)
	post := func() {
		_ = n.x.Post(wire.Envelope{To: wire.ToSlot(wire.ShardSlot(0)), Mail: &wire.Census{Tenant: "demo", Pool: 1 << 40, Reply: wire.ToSlot(wire.ShardSlot(7))}})
	}
	post()
	for id, c := range s.all {
		c.do(slotOf(id), &wire.Command{Verb: wire.VerbClose, Session: id, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Close{Close: &wirepb.Close{}}}})
	}
	for tick := time.NewTicker(time.Second); ; post() {
		select {
		case <-s.done:
		case <-tick.C:
			continue
		}
		break
	}
	live := map[wire.SessionID]bool{}
	for i := range s.m.Live {
		live[s.m.Live[i].Session] = true
	}
	closed := 0
	for id := range s.all {
		if live[id] == s.told[id] {
			t.Fatalf("session %s is closed: %v, and in the answer: %v", id, s.told[id], live[id])
		}
		if s.told[id] {
			closed++
		}
	}
	t.Logf("%d of %d were closed while it was answered", closed, people)
	for _, c := range s.all {
		c.next(wire.FrameAnswer)
	}
}

// A pool's number is noted by many sessions in several turns, and the answer has each of them once. The next pool is answered the same; one that asks
// again is told without anything being noted again.
func TestCensusInPieces(t *testing.T) {
	const people = 600 // more than two pieces
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	n.crowd(people)
	a := &answers{}
	n.x.PlugSlots([]wire.Slot{wire.ShardSlot(7)}, a)
	for pool := uint64(1 << 40); pool < 1<<40+2; pool++ {
		before := n.shards[0].Stats().Turns
		m := n.census(a, pool)
		if turns := n.shards[0].Stats().Turns - before; turns < 3 {
			t.Errorf("%d sessions have noted pool %d in %d turns; want three at least", people, pool, turns)
		}
		seen := map[wire.SessionID]bool{}
		for i := range m.Live {
			seen[m.Live[i].Session] = true
		}
		if len(seen) != people || len(m.Live) != people {
			t.Fatalf("the answer has %d tasks of %d sessions; want %d", len(m.Live), len(seen), people)
		}
	}
	before := n.shards[0].Stats().Turns
	if m := n.census(a, 1<<40+1); len(m.Live) != people {
		t.Fatalf("asked again, the answer has %d tasks", len(m.Live))
	}
	if turns := n.shards[0].Stats().Turns - before; turns > 1 { // one may be about something else
		t.Errorf("a number that is noted was noted again, in %d turns", turns)
	}
}

// BenchmarkCensus answers a pool for 10,000 live sessions, and tells how many steps of the owner were long.
func BenchmarkCensus(b *testing.B) {
	n := start(b, b.TempDir(), 1)
	defer n.stop()
	n.crowd(10_000)
	a := &answers{}
	n.x.PlugSlots([]wire.Slot{wire.ShardSlot(7)}, a)
	pool := uint64(1 << 40)
	before := n.shards[0].Stats().Steps
	for b.Loop() {
		pool++
		n.census(a, pool)
	}
	for i, count := range n.shards[0].Stats().Steps {
		if i < len(shard.StepBounds) && shard.StepBounds[i] <= 3*time.Millisecond {
			continue
		}
		name := "more"
		if i < len(shard.StepBounds) {
			name = "to-" + shard.StepBounds[i].String()
		}
		b.ReportMetric(float64(count-before[i])/float64(b.N), name+"-steps/op")
	}
}
