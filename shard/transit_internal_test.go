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
