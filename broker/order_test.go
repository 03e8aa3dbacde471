package broker_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// counter is one bot with one slot: it serves whoever is next.
type counter struct {
	t    *rapid.T
	core *broker.Core
	out  broker.Effects
	now  int64

	arrived int
}

func newCounter(t *rapid.T, cfg broker.Config, kind wire.Origin) *counter {
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	c := &counter{t: t, core: broker.New(cfg), now: 100_000}
	c.core.Open(1, nil, c.now, &c.out)
	var names []string
	for _, q := range cfg.Queues {
		names = append(names, q.Name)
	}
	c.core.Subscribe(&broker.Subscription{
		ID: "w", Sub: "w", Kind: kind, Queues: names, Allowed: []string{"*"}, Slots: 1, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l",
	}, c.now, &c.out)
	c.out.Reset()
	return c
}

func (c *counter) arrive(task broker.Task) {
	task.Ticket = 1
	c.arrived++
	c.core.Offer(&task, c.now, &c.out)
}

// next ends what the bot does, and returns whom it serves then.
func (c *counter) next(busy wire.SessionID) (wire.SessionID, bool) {
	c.out.Reset()
	c.core.Withdraw(busy, 1, c.now, &c.out)
	for _, e := range c.out {
		if e.Kind == broker.Grant {
			return e.Session, true
		}
	}
	return "", false
}

// Each order is drawn on its own, and each run ends with a rush: some who have waited too long beside enough who have not, served
// without a pause. So what the floor is for happens in every run, whatever was drawn before.
func TestOrders(t *testing.T) {
	for name, order := range map[string]broker.Order{"ageing": broker.Ageing, "strict": broker.Strict, "fifo": broker.FIFO, "savable_first": broker.SavableFirst} {
		t.Run(name, func(t *testing.T) { testOrder(t, order) })
	}
}

func testOrder(t *testing.T, order broker.Order) {
	t.Helper()
	const rounds, rush = 30, 10
	late, floored := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		floor := rapid.IntRange(2, 4).Draw(t, "floor")
		const vip, sla = 3000, 4000
		c := newCounter(t, broker.Config{Queues: []broker.Queue{{
			Name: "q", Order: order, SLAMS: sla, Floor: floor, Boosts: []broker.Boost{{When: selector.MustParse("task.tier == 'vip'"), MS: vip}},
		}}}, wire.OriginBot)
		var waiting []broker.Task
		busy, passed := wire.SessionID("first"), 0
		c.arrive(broker.Task{Session: busy, Queue: "q"})
		key := func(t *broker.Task) [3]int64 {
			boost := int64(0)
			if len(t.Attributes) > 0 {
				boost = vip
			}
			switch order {
			case broker.Strict:
				return [3]int64{int64(t.Priority), t.EnqueuedAt - boost, t.EnqueuedAt}
			case broker.FIFO:
				return [3]int64{0, t.EnqueuedAt, 0}
			}
			return [3]int64{0, t.EnqueuedAt - boost, t.EnqueuedAt}
		}
		add := func(age int64) {
			task := broker.Task{Session: wire.SessionID(fmt.Sprintf("s%05d", c.arrived)), Queue: "q", EnqueuedAt: c.now - age, Priority: int32(rapid.IntRange(0, 1).Draw(t, "priority"))}
			if rapid.IntRange(0, 3).Draw(t, "vip") == 0 {
				task.Attributes = selector.Attrs{{Name: "tier", Value: selector.StringOf("vip")}}
			}
			c.arrive(task)
			waiting = append(waiting, task)
		}
		for n := range rounds + rush {
			switch {
			case n < rounds:
				c.now += int64(rapid.IntRange(0, 900).Draw(t, "ms"))
				c.core.Tick(c.now, &c.out)
				for range rapid.IntRange(0, 2).Draw(t, "arrivals") {
					add(int64(rapid.IntRange(0, 6).Draw(t, "age")) * 500)
				}
			case n == rounds:
				for range rush { // floor is less than half of it: in ten picks its turn comes, with savable ones left
					add(0)
				}
				add(2 * sla)
				add(3 * sla)
			}
			got, ok := c.next(busy)
			if !ok {
				if len(waiting) > 0 {
					t.Fatalf("%d wait and nobody is served", len(waiting))
				}
				c.arrive(broker.Task{Session: busy, Queue: "q"})
				continue
			}
			i := slices.IndexFunc(waiting, func(t broker.Task) bool { return t.Session == got })
			is := func(o *broker.Task) bool { return order == broker.SavableFirst && o.EnqueuedAt+sla <= c.now }
			want := func(among func(*broker.Task) bool, key func(*broker.Task) [3]int64) (best *broker.Task) {
				for j := range waiting {
					o := &waiting[j]
					if !among(o) {
						continue
					}
					if best == nil {
						best = o
						continue
					}
					a, b := key(o), key(best)
					if d := slices.Compare(a[:], b[:]); d < 0 || d == 0 && o.Session < best.Session {
						best = o
					}
				}
				return best
			}
			soon := want(func(o *broker.Task) bool { return !is(o) }, key)
			old := want(is, func(o *broker.Task) [3]int64 { return [3]int64{o.EnqueuedAt} })
			next := soon
			if old != nil && (soon == nil || passed >= floor-1) {
				if soon != nil {
					floored++
				}
				next = old
			}
			switch {
			case next == old && old != nil:
				passed = 0
				late++
			case old != nil:
				passed++
			}
			if next.Session != got {
				t.Fatalf("%s is served, not %+v", got, next)
			}
			for _, o := range waiting { // [I5]
				if order == broker.Ageing && waiting[i].EnqueuedAt-o.EnqueuedAt > vip {
					t.Fatalf("%+v is overtaken by %+v", o, waiting[i])
				}
			}
			waiting = slices.Delete(waiting, i, i+1)
			busy = got
		}
	})
	if order == broker.SavableFirst && (late == 0 || floored == 0) {
		t.Fatalf("%d late ones were served, %d by the floor: the model saw too little", late, floored)
	}
}

// Lanes in which somebody always waits get shares by their weights, with at most one task's difference; below its floor a
// shop comes first, at its cap last.
func TestFairShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := broker.Config{Fair: true, Queues: []broker.Queue{{Name: "a", Weight: float64(rapid.IntRange(1, 3).Draw(t, "a"))}, {Name: "b"}}}
		var weights []float64
		type lane struct{ queue, shop string }
		var lanes []lane
		for _, name := range []string{"s1", "s2", "s3"} {
			w := float64(rapid.IntRange(1, 4).Draw(t, name))
			cfg.Shops = append(cfg.Shops, broker.Shop{Name: name, Weight: w})
			weights = append(weights, w*cfg.Queues[0].Weight, w)
			lanes = append(lanes, lane{"a", name}, lane{"b", name})
		}
		c := newCounter(t, cfg, wire.OriginBot)
		c.arrive(broker.Task{Session: "first", Queue: "a"})
		n := 0
		of := map[wire.SessionID]int{}
		add := func(i int) {
			n++
			id := wire.SessionID(fmt.Sprintf("s%04d", n))
			of[id] = i
			c.arrive(broker.Task{Session: id, Queue: lanes[i].queue, EnqueuedAt: c.now + int64(rapid.IntRange(-900, 0).Draw(t, "age")), Attributes: selector.Attrs{{Name: "shop", Value: selector.StringOf(lanes[i].shop)}}})
		}
		for i := range lanes {
			add(i)
			add(i)
		}
		busy, served := wire.SessionID("first"), make([]float64, len(lanes))
		for range 200 {
			got, ok := c.next(busy)
			if !ok {
				t.Fatal("nobody is served")
			}
			busy = got
			served[of[got]]++
			add(of[got])
			for i := range lanes {
				for j := range lanes {
					if d := math.Abs(served[i]/weights[i] - served[j]/weights[j]); d > 1/weights[i]+1/weights[j] {
						t.Fatalf("%v has %v, %v has %v, by weights %v", lanes[i], served[i], lanes[j], served[j], weights)
					}
				}
			}
		}
	})
}

func TestFloorAndCap(t *testing.T) {
	out := &broker.Effects{}
	cfg := broker.Config{
		Fair: true, Queues: []broker.Queue{{Name: "q"}},
		Shops: []broker.Shop{{Name: "big", Weight: 100, Cap: 2}, {Name: "small", Floor: 1}, {Name: "mid"}},
	}
	c := broker.New(cfg)
	c.Open(1, nil, 0, out)
	for i, shop := range []string{"big", "big", "big", "big", "mid", "mid", "small", "small"} {
		c.Offer(&broker.Task{
			Session: wire.SessionID(fmt.Sprint(shop, i)), Ticket: 1, Queue: "q", EnqueuedAt: int64(i),
			Attributes: selector.Attrs{{Name: "shop", Value: selector.StringOf(shop)}},
		}, 10, out)
	}
	out.Reset()
	c.Subscribe(&broker.Subscription{ID: "w", Kind: wire.OriginBot, Queues: []string{"q"}, Allowed: []string{"*"}, Slots: 8, Conn: wire.Conn{Node: 1, ID: 1}}, 10, out)
	var got []string
	for _, e := range (*out)[1:] {
		got = append(got, string(e.Session))
	}
	// small is below its floor; big's weight gives it two; at its cap it waits until nobody else does.
	want := []string{"small6", "big0", "mid4", "big1", "mid5", "small7", "big2", "big3"}
	if !slices.Equal(got, want) {
		t.Fatalf("served %v; want %v", got, want)
	}
}

// Who did not use its share while it had nothing has not saved it up.
func TestSharesAreNotSaved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCounter(t, broker.Config{Fair: true, Queues: []broker.Queue{{Name: "a"}, {Name: "b"}}}, wire.OriginBot)
		n := 0
		add := func(queue string) {
			n++
			c.arrive(broker.Task{Session: wire.SessionID(fmt.Sprintf("%s%04d", queue, n)), Queue: queue, EnqueuedAt: c.now})
		}
		busy := wire.SessionID("a0001")
		add("a")
		for range rapid.IntRange(5, 60).Draw(t, "alone") {
			add("a")
			busy, _ = c.next(busy)
		}
		served := map[byte]int{}
		for range 10 {
			add("a")
			add("b")
		}
		for range 10 {
			busy, _ = c.next(busy)
			served[busy[0]]++
		}
		if served['a'] < 4 || served['b'] < 4 {
			t.Fatalf("of ten, a got %d and b %d", served['a'], served['b'])
		}
	})
}

// [I5] However boosts come together, the queue's, the session's own and what a service level adds later, nobody is overtaken by
// one who came more than the largest of them later; with a bound, by one who came more than that later.
func TestBoundedOvertaking(t *testing.T) {
	overtaken := 0
	rapid.Check(t, func(t *rapid.T) {
		bound := int64(rapid.IntRange(0, 3).Draw(t, "bound")) * 700
		c := newCounter(t, broker.Config{Queues: []broker.Queue{{
			Name: "q", MaxBoostMS: bound, Boosts: []broker.Boost{{When: selector.MustParse("task.tier == 'vip'"), MS: 1500}, {When: selector.MustParse("task.vip"), MS: 900}},
		}}}, wire.OriginBot)
		most := int64(1500 + 2000)
		if bound > 0 {
			most = bound
		}
		busy := wire.SessionID("first")
		c.arrive(broker.Task{Session: busy, Queue: "q"})
		waiting := map[wire.SessionID]*broker.Task{}
		var ids []wire.SessionID
		for range 60 {
			c.now += int64(rapid.IntRange(0, 400).Draw(t, "ms"))
			c.core.Tick(c.now, &c.out)
			switch rapid.IntRange(0, 3).Draw(t, "event") {
			case 0, 1:
				task := broker.Task{Session: wire.SessionID(fmt.Sprintf("s%05d", c.arrived)), Queue: "q", EnqueuedAt: c.now, Ticket: 1, BoostMS: int64(rapid.IntRange(0, 2).Draw(t, "own")) * 500}
				if rapid.Bool().Draw(t, "vip") {
					task.Attributes = selector.Attrs{{Name: "tier", Value: selector.StringOf("vip")}, {Name: "vip", Value: selector.BoolOf(true)}}
				}
				c.arrive(task)
				waiting[task.Session] = &task
				ids = append(ids, task.Session)
			case 2: // a warning boosts somebody who waits
				if x := waiting[rapid.SampledFrom(append(ids, busy)).Draw(t, "whom")]; x != nil {
					x.Version++
					x.BoostMS = 2000
					c.core.Offer(x, c.now, &c.out)
				}
			default:
				got, ok := c.next(busy)
				if !ok {
					c.arrive(broker.Task{Session: busy, Queue: "q"})
					continue
				}
				served := waiting[got]
				delete(waiting, got)
				for _, o := range waiting {
					late := served.EnqueuedAt - o.EnqueuedAt
					if late > most {
						t.Fatalf("%+v is overtaken by %+v, which came %d later; at most %d", o, served, late, most)
					}
					if late > 0 {
						overtaken++
					}
				}
				busy = got
			}
		}
	})
	if overtaken == 0 {
		t.Fatal("nobody was overtaken: the model saw too little")
	}
}

// When many wait and many come at once, as behind a census, who is looked at first is the first over all queues, and not the one who waits
// longest in some queue: otherwise a worker who was found for that one would take the first by an order of his own, before the step that asks
// somebody else for him had been looked at.
func TestFirstOfAllQueues(t *testing.T) {
	c := broker.New(broker.Config{Queues: []broker.Queue{
		{Name: "plain"},
		{Name: "urgent", Priority: -1, Steps: []broker.Step{{Who: broker.Humans}, {Who: broker.Any, AfterMS: 2000}}},
	}})
	var out broker.Effects
	c.Open(2, []uint32{1}, 10_000, &out)
	for i, w := range []struct {
		id     string
		kind   wire.Origin
		queues []string
	}{{"b1", wire.OriginBot, []string{"plain", "urgent"}}, {"b2", wire.OriginBot, []string{"plain"}}, {"h1", wire.OriginHuman, []string{"urgent"}}} {
		c.Subscribe(&broker.Subscription{
			ID: w.id, Sub: w.id, Kind: w.kind, Queues: w.queues, Allowed: []string{"*"}, Slots: 1, Conn: wire.Conn{Node: 1, ID: uint64(i) + 1}, NewLease: "l_" + w.id,
		}, 10_000, &out)
	}
	c.CensusAnswer(2, 1, []broker.Live{
		{Task: broker.Task{Session: "s_older", Ticket: 1, Queue: "plain", EnqueuedAt: 1000}},
		{Task: broker.Task{Session: "s_first", Ticket: 1, Queue: "urgent", EnqueuedAt: 2000}},
	}, 10_000, &out)
	got := map[wire.SessionID]string{}
	for i := range out {
		if e := &out[i]; e.Kind == broker.Grant || e.Kind == broker.OfferPush {
			got[e.Session] = e.Worker
		}
	}
	if want := map[wire.SessionID]string{"s_first": "h1", "s_older": "b1"}; !maps.Equal(got, want) {
		t.Errorf("they go to %v; want %v", got, want)
	}
}
