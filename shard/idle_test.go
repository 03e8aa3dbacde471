package shard_test

import (
	"sync/atomic"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A session that nobody asks about leaves memory, and comes back whole with who follows it.
func TestIdleSessionsAreUnloaded(t *testing.T) {
	j, err := journal.Open(journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, x: exchange.New(1), j: j}
	var slots []wire.Slot
	for s := range wire.Slots {
		slots = append(slots, wire.Slot(s))
	}
	var skew atomic.Int64
	s, err := shard.Open(n.x, j.Group(0), shard.Config{
		Slots: slots, Peers: []wire.Slot{0}, Tenants: tenants(0), Idle: time.Second,
		Now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.shards = append(n.shards, s)
	defer n.stop()

	alice, other := n.conn(customer("alice")), n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	other.open(&wirepb.Open{})
	gone := n.conn(customer("ben"))
	goneID := gone.open(&wirepb.Open{})
	gone.do(slotOf(goneID), &wire.Command{Verb: wire.VerbLeave, Session: goneID})
	gone.next(wire.FrameDetach)
	if got := s.Stats(); got.Sessions != 2 || got.Loaded != 2 {
		t.Fatalf("%+v; want two sessions in memory", got)
	}
	skew.Add(int64(time.Minute))
	probe := n.conn(customer("carol")) // any mail makes the owner look at the clock
	probe.open(&wirepb.Open{})
	probe.do(exchange.CustomerSlot("demo", "carol"), &wire.Command{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{}}}})
	probe.next(wire.FrameAttach)
	if got := s.Stats(); got.Sessions != 2 || got.Loaded != 1 {
		t.Fatalf("%+v; want alice's connections without her state, ben's session gone, and carol's", got)
	}
	alice.send(id, "k", "I am back")
	if w := alice.next(wire.FrameWrote); w.Seq != 2 || w.Prev != 1 {
		t.Fatalf("wrote %+v", w)
	}
	if m := other.next(wire.FrameMessage); m.Entry.Seq != 2 || m.Prev != 1 {
		t.Fatalf("message %+v", m)
	}
}
