package broker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/wire"
)

// pool returns an open pool with n workers of four slots, in ten teams of a skill each.
func pool(tb testing.TB, kind wire.Origin, n int) (*broker.Core, *broker.Effects) {
	tb.Helper()
	out := &broker.Effects{}
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
	c.Open(1, nil, 0, out)
	for i := range n {
		id := fmt.Sprintf("w%05d", i)
		c.Subscribe(&broker.Subscription{
			ID: id, Sub: id, Kind: kind, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 4,
			Skills: []broker.Skill{{Name: fmt.Sprint("team", i%10), Level: float64(i%7+1) / 7}},
			Rating: float64(i%11) / 11, Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}, NewLease: "l",
		}, 0, out)
		out.Reset()
	}
	return c, out
}

// cycle is the life of one session's assignment to a bot: task, grant, confirm, release.
func cycle(c *broker.Core, t *broker.Task, out *broker.Effects) {
	t.Ticket++
	c.Offer(t, 1, out)
	g := &(*out)[0]
	c.Confirm(t.Session, t.Ticket, g.Worker, g.Lease, t.Ticket, 1, out)
	c.Release(t.Session, t.Ticket, 0, false, 1, out)
	out.Reset()
}

func TestCycleAllocations(t *testing.T) {
	c, out := pool(t, wire.OriginBot, 1000)
	plain := broker.Task{Session: "s_plain", Queue: "default"}
	skilled := broker.Task{Session: "s_skilled", Queue: "default", Skills: []broker.Skill{{Name: "team3", Level: 0.5}}}
	barred := broker.Task{Session: "s_barred", Queue: "default", Exclude: []string{"w00003", "w00004"}, Sticky: "w00003"}
	n := testing.AllocsPerRun(2000, func() {
		cycle(c, &plain, out)
		cycle(c, &skilled, out)
		cycle(c, &barred, out)
	})
	if n != 0 {
		t.Fatalf("%v allocations for three assignments", n)
	}
}

func TestLineAllocations(t *testing.T) {
	c, out := pool(t, wire.OriginBot, 0)
	task := broker.Task{Session: "s_a", Queue: "default"}
	n := testing.AllocsPerRun(2000, func() {
		task.Ticket++
		c.Offer(&task, 1, out)
		c.Offer(&task, 1, out)
		c.Withdraw(task.Session, task.Ticket, 1, out)
		out.Reset()
	})
	if n != 0 {
		t.Fatalf("%v allocations to wait and go", n)
	}
}

// The offers of humans carry an id, and are remembered.
func TestOfferAllocations(t *testing.T) {
	c, out := pool(t, wire.OriginHuman, 10)
	task := broker.Task{Session: "s_a", Queue: "default"}
	n := testing.AllocsPerRun(2000, func() {
		task.Ticket++
		c.Offer(&task, 1, out)
		o := &(*out)[0]
		c.Accept(o.Offer, o.Worker, broker.Ref{Conn: o.Conn, ID: 1}, 1, out)
		c.Confirm(task.Session, task.Ticket, o.Worker, "l", task.Ticket, 1, out)
		c.Release(task.Session, task.Ticket, 0, false, 1, out)
		out.Reset()
	})
	if n > 1 {
		t.Fatalf("%v allocations for an accepted offer; one is its id", n)
	}
}

// BenchmarkPick is one event that finds the best of 10,000 workers at some load, and takes him: Offer until its grant.
func BenchmarkPick(b *testing.B) {
	for _, load := range []int{0, 50, 95} {
		for _, kind := range []string{"plain", "skilled"} {
			b.Run(fmt.Sprintf("load=%d/%s", load, kind), func(b *testing.B) { benchPick(b, load, kind == "skilled") })
		}
	}
}

func benchPick(b *testing.B, load int, skilled bool) {
	const workers = 10_000
	c, out := pool(b, wire.OriginBot, workers)
	for i := range workers * 4 * load / 100 {
		c.Offer(&broker.Task{Session: wire.SessionID(fmt.Sprint("busy", i)), Ticket: 1, Queue: "default"}, 1, out)
		out.Reset()
	}
	task := broker.Task{Session: "s_a", Queue: "default"}
	if skilled {
		task.Skills = []broker.Skill{{Name: "team3", Level: 0.5}}
	}
	took := make([]time.Duration, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		task.Ticket++
		start := time.Now()
		c.Offer(&task, 1, out)
		if len(took) < cap(took) {
			took = append(took, time.Since(start))
		}
		if len(*out) != 1 {
			b.Fatalf("%d effects", len(*out))
		}
		c.Withdraw(task.Session, task.Ticket, 1, out)
		out.Reset()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100]), "p99-ns")
}

// BenchmarkCycle is the life of one assignment among 1,000 bots.
func BenchmarkCycle(b *testing.B) {
	c, out := pool(b, wire.OriginBot, 1000)
	task := broker.Task{Session: "s_a", Queue: "default"}
	b.ReportAllocs()
	for b.Loop() {
		cycle(c, &task, out)
	}
}

// BenchmarkServe gives a worker who became free the first of 10,000 who wait.
func BenchmarkServe(b *testing.B) {
	c, out := pool(b, wire.OriginBot, 1)
	task := broker.Task{Queue: "default"}
	ids := make([]wire.SessionID, 10_000)
	for i := range ids {
		ids[i] = wire.SessionID(fmt.Sprint("s", i))
	}
	var now int64
	enqueue := func(id wire.SessionID) {
		now++
		task.Session, task.EnqueuedAt, task.Ticket = id, now, uint64(now)
		c.Offer(&task, 1, out)
	}
	for _, id := range ids {
		enqueue(id)
	}
	grants := *out
	c.Slots("w00000", 1, broker.Ref{Conn: wire.Conn{Node: 1, ID: 1}}, 1, out)
	held := []broker.Effect(grants)[:4]
	session, ticket := held[3].Session, held[3].Ticket
	for i := range 3 {
		c.Withdraw(held[i].Session, held[i].Ticket, 1, out)
	}
	out.Reset()
	b.ReportAllocs()
	for b.Loop() {
		c.Withdraw(session, ticket, 1, out) // frees the worker
		next := &(*out)[0]
		done := session
		session, ticket = next.Session, next.Ticket
		out.Reset()
		enqueue(done)
		out.Reset()
	}
}
