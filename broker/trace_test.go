package broker_test

import (
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// traced is a pool of 1,000 bots that remembers why, of every assignment or of none.
func traced(tb testing.TB, every int) (*broker.Core, *broker.Effects) {
	tb.Helper()
	c, out := broker.New(broker.Config{TraceEvery: every, TraceKeep: 100, Queues: []broker.Queue{{Name: "default"}}}), &broker.Effects{}
	c.Open(1, nil, 0, out)
	for i := range 1000 {
		id := wire.SessionID("w" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
		c.Subscribe(&broker.Subscription{
			ID: string(id), Sub: string(id), Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 4,
			Rating: float64(i%97) / 97, Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}, NewLease: "l", //nolint:gosec // small
		}, 0, out)
		out.Reset()
	}
	return c, out
}

// Remembering why is part of every assignment: once the ring is full nothing is allocated for it.
func TestTraceAllocations(t *testing.T) {
	c, out := traced(t, 1)
	task := broker.Task{Session: "s_a", Queue: "default"}
	one := func() {
		task.Ticket++
		c.Offer(&task, 1, out)
		c.Withdraw(task.Session, task.Ticket, 1, out)
		out.Reset()
	}
	for range 200 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Fatalf("%v allocations", n)
	}
	n := 0
	for d := range c.Decisions {
		if n++; len(d.Top) != 8 || d.Top[0].Worker != d.Worker || d.Eligible != 1000 || d.Step != "step 1" || d.Top[0].Rating == 0 {
			t.Fatalf("%+v", d)
		}
	}
	if n != 100 {
		t.Fatalf("%d are remembered", n)
	}
}

// BenchmarkTraced is the life of one assignment, with and without remembering why.
func BenchmarkTraced(b *testing.B) {
	for _, every := range []int{0, 1} {
		b.Run(map[int]string{0: "none", 1: "all"}[every], func(b *testing.B) {
			c, out := traced(b, every)
			task := broker.Task{Session: "s_a", Queue: "default"}
			b.ReportAllocs()
			for b.Loop() {
				task.Ticket++
				c.Offer(&task, 1, out)
				c.Withdraw(task.Session, task.Ticket, 1, out)
				out.Reset()
			}
		})
	}
}
