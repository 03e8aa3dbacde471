package shard_test

import (
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A shard that opens elsewhere may have read less than the one before it was told. The pool notices that another has its slots, and tells it
// again, although that shard has said once that it goes by what counts.
func TestOlderRows(t *testing.T) {
	n := start(t, t.TempDir(), 2)
	defer n.stop()
	pool := int(exchange.PoolSlot("demo")) % 2
	other := 1 - pool
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	sue.configure(0, "version: 1\nqueues: [{name: default}, {name: vip}]\n")
	if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Seq != 1 {
		t.Fatalf("%+v", f)
	}
	// A customer whose session is of the other shard opens in the new queue, until that is known there.
	inVIP := func(who string) {
		t.Helper()
		c := n.conn(customer(who))
		for late := time.Now().Add(30 * time.Second); ; {
			c.do(exchange.CustomerSlot("demo", who), &wire.Command{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{Queue: "vip", Key: who}}}})
			if f := c.next(wire.FrameAttach, wire.FrameError); f.Kind == wire.FrameAttach {
				return
			} else if f.Err.Slug != wire.NoQueue && f.Err.Slug != wire.BadRequest || time.Now().After(late) {
				t.Fatalf("%s is answered %+v", who, f.Err)
			}
		}
	}
	var names []string
	for i := 0; len(names) < 2; i++ {
		if who := "c" + string(rune('a'+i)); int(exchange.CustomerSlot("demo", who))%2 == other {
			names = append(names, who)
		}
	}
	inVIP(names[0])
	n.shards[other].Close()
	var slots, peers []wire.Slot
	for s := other; s < wire.Slots; s += 2 {
		slots = append(slots, wire.Slot(s)) //nolint:gosec // below wire.Slots
	}
	for i := range 2 {
		peers = append(peers, wire.Slot(i)) //nolint:gosec // 0 or 1
	}
	s, err := shard.Open(n.x, n.j.Group(other), shard.Config{ID: other, Opening: 1, Slots: slots, Peers: peers, Tenants: tenants(0)})
	if err != nil {
		t.Fatal(err)
	}
	n.shards[other] = s
	inVIP(names[1])
}

// toldOf collects what a pool tells a shard of its queues.
type toldOf chan uint64

func (c toldOf) Put(e wire.Envelope) bool {
	if m, ok := e.Mail.(*wire.Settings); ok {
		c <- m.Version
	}
	return true
}

// The word of a shard's owner that has ended comes when the pool knows already that there is another. That one says itself what it goes by, and
// is told.
func TestLateWordOfTheOwnerBefore(t *testing.T) {
	n := start(t, t.TempDir(), 2)
	defer n.stop()
	pool := exchange.PoolSlot("demo")
	other := 1 - int(pool)%2
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	sue.configure(0, "version: 1\nqueues: [{name: default}, {name: vip}]\n")
	if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Seq != 1 {
		t.Fatalf("%+v", f)
	}
	n.shards[other].Close()
	n.shards = n.shards[1-other : 2-other]
	next := make(toldOf, 100)
	slots := []wire.Slot{wire.Slot(other)} //nolint:gosec // 0 or 1
	n.x.PlugSlots(slots, next)
	defer n.x.UnplugSlots(slots, next)
	says := func(version uint64) {
		t.Helper()
		kept := &wire.SettingsKept{Tenant: "demo", Version: version, Shard: uint32(other)} //nolint:gosec // 0 or 1
		if err := n.x.Post(wire.Envelope{To: wire.ToSlot(pool), Mail: kept}); err != nil {
			t.Fatal(err)
		}
	}
	says(0) // what it begins with: the last word of the one before may have come when it was known that there is another
	if v := <-next; v != 1 {
		t.Fatalf("told of version %d", v)
	}
	says(1) // the one before
	for len(next) > 0 {
		<-next // what was on its way
	}
	says(0) // the one that is there
	if v := <-next; v != 1 {
		t.Fatalf("told of version %d", v)
	}
	says(1)
}
