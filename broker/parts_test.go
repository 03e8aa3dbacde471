package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// A shard's answer to the census decides the same in parts as in one piece, and in the same order: the last one, behind which the pool opens, and one that
// comes late, when workers are there who take what it tells. A pool asks nobody anew while it is told.
func TestCensusInParts(t *testing.T) {
	const tasks = 120
	cfg := broker.Config{Queues: []broker.Queue{{Name: "q", Steps: []broker.Step{{Who: broker.Bots}, {Who: broker.Humans, AfterMS: 40}}}}}
	run := func(most int, late bool) (all []string) {
		r := rand.New(rand.NewPCG(3, 4))
		c := broker.New(cfg)
		var out broker.Effects
		note := func() {
			all = append(append(all, "--"), told(out)...)
			out.Reset()
		}
		come := func(kind wire.Origin, i, slots int) {
			id := fmt.Sprint(kind, i)
			c.Subscribe(&broker.Subscription{
				ID: id, Sub: id, Kind: kind, Queues: []string{"q"}, Allowed: []string{"*"}, Slots: slots, Lease: "l", NewLease: "l", Conn: wire.Conn{Node: 1, ID: uint64(100*len(kind) + i)}, //nolint:gosec // small
			}, 10_000, &out)
		}
		c.Open(3, []uint32{0, 1}, 8_000, &out)
		for i := range 4 {
			come(wire.OriginBot, i, 6)
			come(wire.OriginHuman, i, 3)
		}
		c.CensusAnswer(3, 0, nil, 9_000, &out)
		now := int64(9_500)
		if late {
			now = 10_500
			c.Tick(now, &out) // it has waited long enough
		}
		note()
		live := make([]broker.Live, tasks)
		for i := range live {
			l := &live[i]
			l.Task = broker.Task{Session: wire.SessionID(fmt.Sprint("s", i)), Ticket: 1, Queue: "q", EnqueuedAt: now - int64(r.IntN(80)), BoostMS: int64(r.IntN(5))}
			switch kind, n := wire.OriginBot, r.IntN(5); r.IntN(4) {
			case 0:
				kind = wire.OriginHuman
				fallthrough
			case 1:
				l.Assigned, l.Worker, l.Origin, l.Lease, l.AE = true, fmt.Sprint(kind, n), kind, "l", 1
			case 2:
				if n == 0 {
					l.Task.Ticket, l.Task.To = 2, "human1"
				}
			}
		}
		for ; len(live) > most; live = live[most:] {
			c.CensusPart(3, 1, live[:most], now, &out)
		}
		c.CensusAnswer(3, 1, live, now, &out)
		all = append(all, told(out)...)
		out.Reset()
		for ; now < 25_000; now += 500 {
			c.Tick(now, &out)
			note()
		}
		for i := range tasks {
			e := c.Explain(wire.SessionID(fmt.Sprint("s", i)))
			all = append(all, fmt.Sprint(e.State, e.Worker, e.EnqueuedAt))
		}
		return all
	}
	for _, late := range []bool{false, true} {
		want := run(tasks, late)
		if grants := slices.Clone(want); len(slices.DeleteFunc(grants, func(x string) bool { return x == "--" })) < 150 {
			t.Fatalf("hardly anything happens: %v", want)
		}
		for _, most := range []int{1, 7, 50} {
			if got := run(most, late); !slices.Equal(got, want) {
				t.Errorf("late %v, in parts of %d:\n%v\nin one piece:\n%v", late, most, got, want)
			}
		}
	}

	c := broker.New(cfg)
	var out broker.Effects
	asked := func(now int64) (n int) {
		out.Reset()
		c.Tick(now, &out)
		for i := range out {
			if out[i].Kind == broker.CensusAsk {
				n++
			}
		}
		return n
	}
	c.Open(3, []uint32{0, 1}, 0, &out)
	c.CensusPart(3, 1, []broker.Live{{Task: broker.Task{Session: "s", Ticket: 1, Queue: "q"}}}, 1, &out)
	if n := asked(500); n > 0 {
		t.Errorf("while one answers %d are asked again", n)
	}
	c.CensusAnswer(3, 1, nil, 501, &out)
	if n := asked(1_500); n != 1 || c.Settled() {
		t.Errorf("behind it %d are asked again, settled %v; want the other one", n, c.Settled())
	}
}
