package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"switchboard/wire"
)

// Whoever is told a place is told how many are served before him, whatever classes they stand in.
func TestPlaceIsAhead(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := New(Config{Queues: []Queue{{Name: "a"}, {Name: "b", Order: Strict}}})
		var out Effects
		c.Open(1, nil, 1000, &out)
		for i := range 200 {
			task := Task{
				Session: wire.SessionID(fmt.Sprint("s", i)), Ticket: 1, Queue: string(rune('a' + r.IntN(2))), EnqueuedAt: r.Int64N(1000),
				BoostMS: r.Int64N(300), Priority: r.Int32N(3), HumansOnly: r.IntN(3) == 0,
			}
			if r.IntN(2) == 0 {
				task.Skills = []Skill{{Name: "s", Level: float64(r.IntN(3)) / 4}}
			}
			c.Offer(&task, 1000, &out)
		}
		seen := map[wire.SessionID]uint32{}
		for now := int64(2000); now < 8000; now += 1000 {
			out.Reset()
			c.Tick(now, &out)
			if len(out) > 2*tellMost {
				t.Fatalf("seed %d: %d were told at one look", seed, len(out))
			}
			for i := range out {
				e := &out[i]
				if e.Kind != Placed {
					continue
				}
				if want := c.Explain(e.Session).Ahead + 1; int(e.Position) != want || seen[e.Session] != 0 {
					t.Fatalf("seed %d: %s was told %d; want %d, once (before: %d)", seed, e.Session, e.Position, want, seen[e.Session])
				}
				seen[e.Session] = e.Position
			}
		}
		if len(seen) != 200 {
			t.Fatalf("seed %d: %d of 200 were told", seed, len(seen))
		}
	}
}

// In a line that is longer than anybody looks through everybody is told where he stands at most, once, when he comes; nothing worse is
// told afterwards, and in its front it is exact.
func TestLongLine(t *testing.T) {
	c := New(Config{Queues: []Queue{{Name: "a"}}})
	var out Effects
	c.Open(1, nil, 1000, &out)
	const n = 1000
	told := map[wire.SessionID]uint32{}
	hear := func() {
		for i := range out {
			if e := &out[i]; e.Kind == Placed {
				if was := told[e.Session]; was != 0 && e.Position >= was {
					t.Fatalf("%s was told %d, then %d", e.Session, was, e.Position)
				}
				told[e.Session] = e.Position
			}
		}
		out.Reset()
	}
	id := func(i int) wire.SessionID { return wire.SessionID(fmt.Sprint("s", i)) }
	for i := range n {
		c.Offer(&Task{Session: id(i), Ticket: 1, Queue: "a", EnqueuedAt: int64(i)}, 1000, &out)
		hear()
		if got := told[id(i)]; i >= lookMost && int(got) != i+1 {
			t.Fatalf("the %dth is told %d when he comes", i+1, got)
		}
	}
	now := int64(1000)
	look := func(ms int64) {
		for end := now + ms; now < end; now += 1000 {
			c.Tick(now, &out)
			hear()
		}
	}
	look(10_000)
	if len(told) != n {
		t.Fatalf("%d of %d know where they stand", len(told), n)
	}
	for i := range 800 {
		c.Withdraw(id(i), 1, now, &out)
	}
	hear()
	look(10_000)
	for i := 800; i < n; i++ {
		if int(told[id(i)]) != i-799 {
			t.Fatalf("the %dth of the rest was told %d", i-799, told[id(i)])
		}
	}
}

// The range holds most of the waits of a stream that goes on as it did.
func TestETA(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	hit, all := 0, 0
	for range 300 {
		var p pace
		now := 0.0
		for range 40 {
			now += r.ExpFloat64() * 10_000
			p.add(int64(now))
		}
		for _, position := range []int{1, 3, 10, 40} {
			eta, ok := p.eta(position, int64(now))
			if !ok || eta[0] < 0 || eta[0] > eta[1] || eta[0]%1000 != 0 || eta[1]%1000 != 0 {
				t.Fatalf("eta of %d is %v %v", position, eta, ok)
			}
			wait := 0.0
			for range position {
				wait += r.ExpFloat64() * 10_000
			}
			all++
			if wait >= float64(eta[0]) && wait <= float64(eta[1]) {
				hit++
			}
		}
	}
	if share := float64(hit) / float64(all); share < 0.75 {
		t.Fatalf("%.2f of the waits lay in their range", share)
	}
	var few pace
	for i := range int64(paceLeast - 1) {
		few.add(1000 * i)
	}
	if eta, ok := few.eta(1, 5000); ok {
		t.Fatalf("%d assignments are a rate: %v", paceLeast-1, eta)
	}
	few.add(5000)
	if eta, ok := few.eta(1, 5000+paceMS+1); ok {
		t.Fatalf("assignments of long ago are a rate: %v", eta)
	}
}

// crowd is a pool in which n wait and nobody works, looked at once.
func crowd(n int) (*Core, *Effects) {
	c := New(Config{Queues: []Queue{{Name: "a"}}})
	out := &Effects{}
	c.Open(1, nil, 1000, out)
	for i := range n {
		c.Offer(&Task{Session: wire.SessionID(fmt.Sprint("s", i)), Ticket: 1, Queue: "a", EnqueuedAt: int64(i % 997)}, 1000, out)
	}
	for now := int64(2000); now < 8000; now += 1000 {
		out.Reset()
		c.Tick(now, out)
	}
	return c, out
}

func TestLookAllocatesNothing(t *testing.T) {
	c, out := crowd(2000)
	now := int64(10_000)
	if n := testing.AllocsPerRun(100, func() {
		now += lookMS
		out.Reset()
		c.Tick(now, out)
	}); n != 0 {
		t.Fatalf("a look allocates %v times", n)
	}
}

// A look at a queue costs the same however many wait in it.
func BenchmarkLook(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint("waiting=", n), func(b *testing.B) {
			c, out := crowd(n)
			now := int64(10_000)
			b.ReportAllocs()
			for b.Loop() {
				now += lookMS
				out.Reset()
				c.Tick(now, out)
			}
		})
	}
}
