package shard_test

import (
	"testing"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A shard that was opened without a tenant serves him once it is told: also the sessions that he has there from before, which wait for somebody. Until then
// what is asked is to be repeated. To be told twice, or of nobody, changes nothing.
func TestNewcomer(t *testing.T) {
	n := start(t, t.TempDir(), 2)
	defer n.stop()
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "is there anybody?")
	alice.next(wire.FrameWrote)
	var peers []wire.Slot
	for i := range 2 {
		peers = append(peers, wire.Slot(i)) //nolint:gosec // 0 or 1
	}
	for i, s := range n.shards {
		s.Close()
		var slots []wire.Slot
		for s := i; s < wire.Slots; s += 2 {
			slots = append(slots, wire.Slot(s)) //nolint:gosec // below wire.Slots
		}
		again, err := shard.Open(n.x, n.j.Group(i), shard.Config{ID: i, Opening: 1, Slots: slots, Peers: peers})
		if err != nil {
			t.Fatal(err)
		}
		n.shards[i] = again
	}
	refused := func(c *conn, to wire.Slot, m *wire.Command) {
		t.Helper()
		c.do(to, m)
		if f := c.next(wire.FrameError, wire.FrameAnswer, wire.FrameWrote, wire.FrameAttach); f.Kind != wire.FrameError || f.Err.Slug != wire.Unavailable {
			t.Fatalf("a tenant who is not known is answered %+v %v", f, f.Err)
		}
	}
	bot, sue := n.conn(worker("bot", wire.OriginBot)), n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	refused(alice, slotOf(id), &wire.Command{Verb: wire.VerbSend, Session: id, Key: "k2", Type: "text", Body: []byte(`{"text":"hello?"}`)})
	refused(alice, exchange.CustomerSlot("demo", "alice"), &wire.Command{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{}}}})
	refused(bot, exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbSubscribe, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{Subscribe: &wirepb.Subscribe{}}}})
	refused(sue, exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbDocument})
	for _, s := range n.shards {
		if s.Hosts("demo") {
			t.Fatal("a shard hosts who it was not told of")
		}
		s.Host(map[string]*shard.Tenant{})
		s.Host(tenants(0))
	}
	n.until(func() string { return "both host him" }, func() bool { return n.shards[0].Hosts("demo") && n.shards[1].Hosts("demo") })
	bot.subscribe(8, "")
	if a := bot.next(wire.FrameAssigned); a.Session != id { // nobody has asked again: the pool has
		t.Fatalf("%+v", a)
	}
	for i, s := range n.shards {
		s.Host(map[string]*shard.Tenant{})
		s.Host(tenants(int64(i)))
	}
	alice.open(&wirepb.Open{From: &wirepb.Position{Epoch: 1}})
	alice.send(id, "k1", "is there anybody?")
	if w := alice.next(wire.FrameWrote); !w.Duplicate {
		t.Fatalf("what was said before is written again: %+v", w)
	}
	sue.configure(0, oneQueue)
	if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Seq != 1 {
		t.Fatalf("%+v", f)
	}
}
