package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"switchboard/broker"
	"switchboard/wire"
)

// However a configuration is cut into pieces, everybody gets what he would have got in one, in the same order.
func TestPieces(t *testing.T) {
	given := 0
	rapid.Check(t, func(t *rapid.T) {
		p := &policy{t: t, now: 10_000, workers: map[string]*polWorker{}}
		p.cfg = p.config()
		cuts := []int{0, 1, 2, 5} // 0 is in one piece
		cores, outs := make([]*broker.Core, len(cuts)), make([]broker.Effects, len(cuts))
		all := func(f func(c *broker.Core, out *broker.Effects)) {
			for i := range cores {
				outs[i].Reset()
				f(cores[i], &outs[i])
				if a, b := told(outs[0]), told(outs[i]); !slices.Equal(a, b) {
					t.Fatalf("in pieces of %d:\n%v\nin one:\n%v", cuts[i], b, a)
				}
			}
		}
		for i := range cores {
			cores[i] = broker.New(p.cfg)
		}
		all(func(c *broker.Core, out *broker.Effects) { c.Open(1, nil, p.now, out) })
		for i := range rapid.IntRange(0, 5).Draw(t, "workers") {
			p.core = cores[0]
			p.subscribe()
			list := []broker.Subscription{}
			for _, id := range []string{"b1", "b2", "h1", "h2", "h3"} {
				if w := p.workers[id]; w != nil && w.Conn.ID == uint64(i+1) { //nolint:gosec // small
					list = append(list, w.Subscription)
				}
			}
			for _, c := range cores[1:] {
				var out broker.Effects
				c.Subscribe(&list[0], p.now, &out)
			}
		}
		for i := range 30 {
			task := broker.Task{
				Session: wire.SessionID(fmt.Sprintf("s%02d", i)), Ticket: 1, Queue: rapid.SampledFrom(p.cfg.Queues).Draw(t, "queue").Name,
				EnqueuedAt: p.now - int64(rapid.IntRange(0, 3).Draw(t, "age"))*1000, Priority: int32(rapid.IntRange(0, 1).Draw(t, "priority")), Attributes: p.attrs(),
			}
			all(func(c *broker.Core, out *broker.Effects) { c.Offer(&task, p.now, out) })
		}
		for range 2 {
			cfg := p.config()
			all(func(c *broker.Core, out *broker.Effects) {
				i := slices.Index(cores, c)
				if cuts[i] == 0 {
					c.Configure(cfg, p.now, out)
				} else {
					c.Reconfigure(cfg, p.now, out)
				}
				for c.Unfinished() {
					c.Continue(cuts[i], p.now, out)
				}
				given += len(*out)
			})
			p.now += 1500
			all(func(c *broker.Core, out *broker.Effects) { c.Tick(p.now, out) })
		}
	})
	if given == 0 {
		t.Fatal("no configuration did anything")
	}
	t.Logf("%d effects were compared", given)
}

// told returns effects for people.
func told(out broker.Effects) (list []string) {
	for i := range out {
		list = append(list, fmt.Sprintf("%+v", out[i]))
	}
	return list
}

const plainQueue = "default"

// crowd is a pool in which somebody who is full keeps everybody waiting.
type crowd struct {
	*broker.Core
	t   testing.TB
	out broker.Effects
}

func newCrowd(t testing.TB, waiting int, cfg broker.Config) *crowd {
	t.Helper()
	c := &crowd{Core: broker.New(cfg), t: t}
	c.Open(1, nil, 0, &c.out)
	for i := range waiting {
		c.wait(i)
	}
	c.out.Reset()
	return c
}

func (c *crowd) wait(i int) {
	c.Offer(&broker.Task{Session: wire.SessionID(fmt.Sprintf("s%05d", i)), Ticket: 1, Queue: plainQueue, EnqueuedAt: int64(i)}, 0, &c.out)
}

// come lets a bot subscribe who has room for so many.
func (c *crowd) come(slots int, queues ...string) {
	c.Subscribe(&broker.Subscription{
		ID: "bot", Sub: "bot", Kind: wire.OriginBot, Queues: queues, Allowed: []string{"*"}, Slots: slots, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l",
	}, 0, &c.out)
}

// given returns to whom the pool has given sessions since the last look.
func (c *crowd) given() (list []wire.SessionID) {
	for i := range c.out {
		if c.out[i].Kind == broker.Grant {
			list = append(list, c.out[i].Session)
		}
	}
	c.out.Reset()
	return list
}

// rest takes up what is left of a configuration, in pieces of so many, and returns how many there were.
func (c *crowd) rest(most int) (pieces int) {
	for c.Unfinished() {
		c.Continue(most, 0, &c.out)
		pieces++
	}
	return pieces
}

// Who comes while a configuration is taken up is not passed, nor does he pass anybody: the one who is free takes the first of all when everybody is in line.
func TestNobodyIsPassedOver(t *testing.T) {
	cfg := broker.Config{Queues: []broker.Queue{{Name: plainQueue}}}
	for at := range 12 { // after so many pieces the bot comes
		c := newCrowd(t, 5, cfg)
		c.Reconfigure(cfg, 0, &c.out)
		for range at {
			c.Continue(2, 0, &c.out)
		}
		c.wait(9)
		c.come(2, plainQueue)
		c.rest(2)
		if got := c.given(); !slices.Equal(got, []wire.SessionID{"s00000", "s00001"}) {
			t.Errorf("after %d pieces he is given %v", at, got)
		}
	}
}

// A configuration that overtakes another finds everybody where the first has sent him, whether it had come to him or not.
func TestOvertakenConfiguration(t *testing.T) {
	queues := func(names ...string) (cfg broker.Config) {
		for _, name := range names {
			cfg.Queues = append(cfg.Queues, broker.Queue{Name: name})
		}
		return cfg
	}
	first, second := queues("next"), queues(plainQueue, "last")
	first.Moves = []broker.Move{{From: plainQueue, To: "next"}}
	second.Moves = []broker.Move{{From: "next", To: "last"}}
	for at := range 20 {
		c := newCrowd(t, 5, queues(plainQueue))
		c.Reconfigure(first, 0, &c.out)
		for range at {
			c.Continue(1, 0, &c.out)
		}
		c.Reconfigure(second, 0, &c.out)
		c.rest(1)
		if c.Waiting("last") != 5 || c.Waiting(plainQueue) != 0 || c.Waiting("next") != 0 {
			t.Errorf("after %d pieces %d wait in the last, %d in the first, %d between", at, c.Waiting("last"), c.Waiting(plainQueue), c.Waiting("next"))
		}
		c.come(9, "last")
		if got := c.given(); len(got) != 5 || got[0] != "s00000" {
			t.Errorf("after %d pieces he is given %v", at, got)
		}
	}
}

// Who ends before it is his turn is nobody, though his place in memory is another's by then.
func TestGoneBetweenPieces(t *testing.T) {
	cfg := broker.Config{Queues: []broker.Queue{{Name: plainQueue}}}
	for at := range 20 {
		c := newCrowd(t, 6, cfg)
		c.Reconfigure(cfg, 0, &c.out)
		for range at {
			c.Continue(1, 0, &c.out)
		}
		for i := range 6 {
			c.Continue(1, 0, &c.out)
			c.Withdraw(wire.SessionID(fmt.Sprintf("s%05d", i)), 1, 0, &c.out)
			c.wait(10 + i)
		}
		c.rest(1)
		c.come(100, plainQueue)
		if got := c.given(); len(got) != 6 || got[0] != "s00010" || got[5] != "s00015" {
			t.Fatalf("after %d pieces he is given %v", at, got)
		}
		for q := range c.Queues() {
			if q.Waiting != 0 || q.Assigned != 6 {
				t.Fatalf("after %d pieces %+v", at, q)
			}
		}
	}
}

// A question whose time is over while a configuration is taken up rings no earlier than it can be told, however long that takes.
func TestOverdueBetweenPieces(t *testing.T) {
	cfg := broker.Config{Queues: []broker.Queue{{Name: plainQueue, Steps: []broker.Step{{Who: broker.Bots, Classify: true, OfferTTLMS: 2_000}, {Who: broker.Humans}}}}}
	c := newCrowd(t, 3, cfg)
	now := int64(5_000)
	c.Reconfigure(cfg, now, &c.out)
	for c.Unfinished() {
		now += 1_500
		c.Continue(1, now, &c.out)
		if at, ok := c.Next(); ok && at <= now {
			t.Fatalf("at %d the next timer is of %d", now, at)
		}
	}
	c.out.Reset()
	now += 1_500
	c.Tick(now, &c.out)
	told := 0
	for i := range c.out {
		if c.out[i].Kind == broker.Unanswered {
			told++
		}
	}
	if told != 3 {
		t.Fatalf("%d of 3 are told that nobody answers", told)
	}
}

// A queue that is closed is forgotten with its last task, whenever that ends.
func TestClosedBetweenPieces(t *testing.T) {
	const old = "old"
	cfg := broker.Config{Queues: []broker.Queue{{Name: plainQueue}, {Name: old}}}
	next := broker.Config{Queues: []broker.Queue{{Name: plainQueue}}}
	for at := range 20 {
		c := newCrowd(t, 4, cfg)
		c.come(1, old)
		c.Offer(&broker.Task{Session: "held", Ticket: 1, Queue: old}, 0, &c.out)
		c.Confirm("held", 1, "bot", "l", 1, 0, &c.out)
		c.Reconfigure(next, 0, &c.out)
		for range at {
			c.Continue(1, 0, &c.out)
		}
		c.Release("held", 1, 0, false, 0, &c.out)
		c.rest(1)
		if known, _ := c.Knows(old, ""); known {
			t.Errorf("its last task ends after %d pieces, and it is kept", at)
		}
	}
}

// Nor is it kept when its last task goes to another by what its session says.
func TestLeftQueueIsClosed(t *testing.T) {
	const old = "old"
	c := newCrowd(t, 1, broker.Config{Queues: []broker.Queue{{Name: plainQueue}, {Name: old}}})
	c.Configure(broker.Config{Queues: []broker.Queue{{Name: old}}}, 0, &c.out)
	if known, _ := c.Knows(plainQueue, ""); !known {
		t.Fatal("a queue in which somebody waits is forgotten")
	}
	c.Offer(&broker.Task{Session: "s00000", Ticket: 1, Version: 1, Queue: old}, 0, &c.out)
	if known, _ := c.Knows(plainQueue, ""); known || c.Waiting(old) != 1 {
		t.Errorf("it is kept: %v; %d of 1 wait in the other", known, c.Waiting(old))
	}
}

// What comes between the pieces finds the same in them whenever the same is done.
func TestPiecesAreTheSame(t *testing.T) {
	const moved = "moved"
	next := broker.Config{Queues: []broker.Queue{{Name: moved}}, Moves: []broker.Move{{From: plainQueue, To: moved}}}
	run := func() (done []wire.SessionID) {
		c := newCrowd(t, 12, broker.Config{Queues: []broker.Queue{{Name: plainQueue}}})
		c.Reconfigure(next, 0, &c.out)
		c.Continue(6, 0, &c.out)
		c.Offer(&broker.Task{Session: "s00009", Ticket: 1, Version: 1, Queue: plainQueue, BoostMS: 100}, 0, &c.out)
		c.Continue(6, 0, &c.out)
		for range 6 {
			c.Continue(1, 0, &c.out)
		}
		for i := range 12 {
			if id := wire.SessionID(fmt.Sprintf("s%05d", i)); c.Explain(id).Queue == moved {
				done = append(done, id)
			}
		}
		return done
	}
	first := run()
	for range 20 {
		if got := run(); !slices.Equal(got, first) {
			t.Fatalf("once %v have their route, once %v", first, got)
		}
	}
}

// Nobody is said to be kept from a session by routes that count no more, or do not count yet, nor is he named who has left.
func TestExplainedBetweenPieces(t *testing.T) {
	cfg := broker.Config{Queues: []broker.Queue{{Name: plainQueue, Steps: []broker.Step{{Teams: []string{"east"}}}}}, Teams: []broker.Team{{Name: "east", Workers: []string{"bot"}}}, BotGraceMS: 10}
	for at := range 8 {
		for _, leaves := range []bool{false, true} {
			c := newCrowd(t, 1, cfg)
			c.come(1, plainQueue)
			c.wait(1)
			c.Reconfigure(cfg, 0, &c.out)
			for range at {
				c.Continue(1, 0, &c.out)
			}
			if leaves {
				c.ConnLost(wire.Conn{Node: 1, ID: 1}, 0, &c.out)
				c.Tick(20, &c.out)
			}
			for _, w := range c.Explain("s00001").Workers {
				if w.Why == "no step selects it" {
					t.Errorf("after %d pieces %+v", at, w)
				}
			}
			if leaves && at == 0 && len(c.Explain("s00001").Workers) > 0 {
				t.Errorf("who has left is named: %+v", c.Explain("s00001").Workers)
			}
		}
	}
}

// What a session says while it has not heard yet that its queue was moved does not take it back there.
func TestSaidOfAMovedQueue(t *testing.T) {
	const moved = "moved"
	next := broker.Config{Queues: []broker.Queue{{Name: moved}}, Moves: []broker.Move{{From: plainQueue, To: moved}}}
	for at := range 20 {
		c := newCrowd(t, 5, broker.Config{Queues: []broker.Queue{{Name: plainQueue}}})
		c.Reconfigure(next, 0, &c.out)
		for range at {
			c.Continue(1, 0, &c.out)
		}
		c.Offer(&broker.Task{Session: "s00002", Ticket: 1, Version: 1, Queue: plainQueue, EnqueuedAt: 2}, 0, &c.out)
		c.rest(1)
		if n := c.Waiting(moved); n != 5 {
			t.Errorf("it says so after %d pieces: %d of 5 wait where they were moved", at, n)
		}
	}
}

// However many come while a configuration is taken up, it comes to its end.
func TestSurgeBetweenPieces(t *testing.T) {
	cfg := broker.Config{Queues: []broker.Queue{{Name: plainQueue}}}
	c := newCrowd(t, 20, cfg)
	c.Reconfigure(cfg, 0, &c.out)
	come := 20
	for pieces := 0; c.Unfinished(); pieces++ {
		if pieces == 100 {
			t.Fatalf("after 100 pieces, in which %d have come, it is not at its end", come-20)
		}
		for range 8 {
			c.wait(come)
			come++
		}
		c.Continue(4, 0, &c.out)
	}
	c.come(come, plainQueue)
	if got := c.given(); len(got) != come || got[0] != "s00000" || got[come-1] != wire.SessionID(fmt.Sprintf("s%05d", come-1)) {
		t.Fatalf("%d have come, he is given %d", come, len(got))
	}
}

// A piece is bounded by its count, whatever waits: ten thousand are looked at three times, as workers are once.
func TestPiecesAreBounded(t *testing.T) {
	cfg := broker.Config{Queues: []broker.Queue{{Name: plainQueue}}}
	c := newCrowd(t, 10_000, cfg)
	c.Reconfigure(cfg, 0, &c.out)
	if n := c.rest(256); n < 2*10_000/256 {
		t.Fatalf("it took %d pieces", n)
	}
	if n := c.Waiting(plainQueue); n != 10_000 {
		t.Fatalf("%d wait", n)
	}
}
