package shard

import (
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// A session leaves for a shard that answers late, and ends there with a wrap-up: its worker has a slot less until that is over. There is no moment between its
// assignment and its wrap-up at which somebody else is given to him.
func TestWrapUpBehindTransit(t *testing.T) {
	s := &Shard{cfg: Config{Peers: []wire.Slot{wire.ShardSlot(0), wire.ShardSlot(1)}}}
	p := &pool{tenant: "demo", number: 1, t: &Tenant{}, core: broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})}
	tick := func(now int64) {
		s.now = now
		p.core.Tick(now, &p.out)
	}
	p.core.Open(1, []uint32{0, 1}, 0, &p.out)
	had := wire.Live{Task: wire.Task{Tenant: "demo", Session: "s_0001000000000001", Ticket: 1, Queue: "default"}, Assigned: true, Worker: "bot", Kind: wire.OriginBot, Lease: "l", AE: 1}
	next := wire.Live{Task: wire.Task{Tenant: "demo", Session: "s_0001000000000002", Ticket: 1, Queue: "default", EnqueuedAt: 1}}
	p.censusAnswer(s, &wire.CensusAnswer{
		Tenant: "demo", Pool: 1, Shape: 2, Live: []wire.Live{next}, Left: []wire.Left{{Live: had, To: uint64(wire.ShardSlot(1)), Shape: 2}},
	})
	p.core.Subscribe(&broker.Subscription{ID: "bot", Sub: "bot", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 1, Lease: "l", NewLease: "l", Conn: wire.Conn{Node: 1, ID: 5}}, 0, &p.out)
	for now := int64(0); !p.core.Settled(); now += 1000 {
		tick(now)
	}
	tick(s.now + 1000)
	p.out.Reset()
	had.Assigned = false
	p.censusAnswer(s, &wire.CensusAnswer{Tenant: "demo", Pool: 1, Shard: 1, Shape: 3, WrapUps: []wire.WrapUp{{Live: had, LeftMS: 60_000}}})
	granted := func() (n int) {
		for i := range p.out {
			if e := &p.out[i]; e.Kind == broker.Grant && e.Session == next.Session {
				n++
			}
		}
		return n
	}
	if granted() != 0 {
		t.Fatal("he is given somebody in the slot of his wrap-up")
	}
	tick(s.now + 60_000)
	if granted() != 1 {
		t.Fatal("nobody is given to him when it is over")
	}
}

// A session leaves while its worker is busy with what came after it: the pool that begins before it has arrived counts that, until its time is over, or until
// the shard to which it comes says that it has ended, or how long it goes on.
func TestWrapUpInTransit(t *testing.T) {
	over := wire.Live{Task: wire.Task{Tenant: "demo", Session: "s_0001000000000001", Ticket: 1, Queue: "default"}, Worker: "ann", Kind: wire.OriginHuman, Lease: "l", AE: 1}
	next := wire.Live{Task: wire.Task{Tenant: "demo", Session: "s_0001000000000002", Ticket: 1, Queue: "default", EnqueuedAt: 1}}
	for _, x := range []struct {
		what   string
		shape  uint64        // by which the other shard answers
		wraps  []wire.WrapUp // what it tells
		freeAt int64         // when ann is asked
	}{
		{"it runs on there", 3, []wire.WrapUp{{Live: over, LeftMS: 60_000}}, 60_000},
		{"it has ended there", 3, nil, 10_000},
		{"it has not come there yet", 2, nil, 60_000},
	} {
		s := &Shard{cfg: Config{Peers: []wire.Slot{wire.ShardSlot(0), wire.ShardSlot(1)}}}
		p := &pool{tenant: "demo", number: 1, t: &Tenant{}, core: broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})}
		p.core.Open(1, []uint32{0, 1}, 0, &p.out)
		p.censusAnswer(s, &wire.CensusAnswer{
			Tenant: "demo", Pool: 1, Shape: 2, Live: []wire.Live{next}, Left: []wire.Left{{Live: over, To: uint64(wire.ShardSlot(1)), Shape: 2, LeftMS: 60_000}},
		})
		p.core.Subscribe(&broker.Subscription{ID: "ann", Sub: "ann", Kind: wire.OriginHuman, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 1, Lease: "l", NewLease: "l", Conn: wire.Conn{Node: 1, ID: 5}}, 0, &p.out)
		asked := int64(0)
		for s.now = 0; asked == 0 && s.now < 100_000; s.now += 1000 {
			if s.now == 10_000 {
				p.censusAnswer(s, &wire.CensusAnswer{Tenant: "demo", Pool: 1, Shard: 1, Shape: x.shape, WrapUps: x.wraps})
			}
			p.core.Tick(s.now, &p.out)
			for i := range p.out {
				if e := &p.out[i]; e.Kind == broker.OfferPush && e.Session == next.Session {
					asked = s.now
				}
			}
			p.out.Reset()
		}
		if asked != x.freeAt {
			t.Errorf("%s: ann is asked at %d, want %d", x.what, asked, x.freeAt)
		}
	}
}

// What is left of a wrap-up is told as it is when it is told, and nothing of one that is over; assignments stand.
func TestDepartedWrapUpsGrowShorter(t *testing.T) {
	d := departed{at: 1000, live: map[string][]wire.Left{"demo": {{Shape: 1, LeftMS: 5000}, {Shape: 2}, {Shape: 3, LeftMS: 300}}}}
	got := d.told("demo", 2000)
	if len(got) != 2 || got[0].LeftMS != 4000 || got[1].Shape != 2 || d.live["demo"][0].LeftMS != 5000 {
		t.Fatalf("it tells %+v of %+v", got, d.live)
	}
}
