package shard_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// sieve loses the first word of a kind for a shard.
type sieve struct {
	*shard.Shard
	loses func(wire.Mail) bool
	lost  atomic.Int32
}

func (v *sieve) Put(e wire.Envelope) bool {
	if v.loses(e.Mail) && v.lost.CompareAndSwap(0, 1) {
		return true
	}
	return v.Shard.Put(e)
}

// sift puts a sieve before shard i of so many.
func (n *node) sift(i, of int, loses func(wire.Mail) bool) *sieve {
	v := &sieve{Shard: n.shards[i], loses: loses}
	var slots []wire.Slot
	for s := i; s < wire.Slots; s += of {
		slots = append(slots, wire.Slot(s)) //nolint:gosec // below wire.Slots
	}
	n.x.PlugSlots(slots, v)
	return v
}

// A worker comes back on another connection, and the word that tells a session of another shard where he is now is lost. The session hears it all the
// same: what its customer says next is not delivered to nobody for as long as the worker stays.
func TestLostRebind(t *testing.T) {
	const shards = 2
	n := start(t, t.TempDir(), shards)
	defer n.stop()
	pool := exchange.PoolSlot("demo")
	name := "alice"
	for i := 0; exchange.CustomerSlot("demo", name)%shards == pool%shards; i++ {
		name = fmt.Sprint("alice", i)
	}
	v := n.sift(int(pool+1)%shards, shards, func(m wire.Mail) bool { _, ok := m.(*wire.Rebind); return ok })

	bot, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(customer(name))
	lease := bot.subscribe(8, "").Lease
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	bot.next(wire.FrameDelivery)
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbAck, Session: id, AE: 1, Seq: 2})
	bot.next(wire.FrameAnswer)
	bot.do(pool, &wire.Command{Verb: wire.VerbGone})
	n.x.UnplugConn(bot.id.ID)

	again := n.conn(worker("bot", wire.OriginBot))
	if kept := again.subscribe(8, lease).Kept; len(kept) != 1 || kept[0].Session != string(id) {
		t.Fatalf("kept %v", kept)
	}
	alice.send(id, "k2", "still there?")
	if d := again.next(wire.FrameDelivery); d.AE != 1 || string(d.Entry.Body) != `{"text":"still there?"}` {
		t.Fatalf("delivery %+v", d)
	}
	if v.lost.Load() != 1 {
		t.Fatal("no word was lost")
	}
}

// What a session says to its worker was lost, so that his edge asks what he has, and the word by which the session is to tell him anew is lost as well. It does so
// all the same, although he is where he was.
func TestLostRebindOfOneWhoIsThere(t *testing.T) {
	const shards = 2
	n := start(t, t.TempDir(), shards)
	defer n.stop()
	pool := exchange.PoolSlot("demo")
	name := "alice"
	for i := 0; exchange.CustomerSlot("demo", name)%shards == pool%shards; i++ {
		name = fmt.Sprint("alice", i)
	}
	v := n.sift(int(pool+1)%shards, shards, func(m wire.Mail) bool { _, ok := m.(*wire.Rebind); return ok })

	bot, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(customer(name))
	lease := bot.subscribe(8, "").Lease
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	bot.next(wire.FrameDelivery) // it does not come
	bot.do(pool, &wire.Command{Verb: wire.VerbSubscribe, Resume: true, Type: "ready", PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{
		Subscribe: &wirepb.Subscribe{Queues: []string{"default"}, Slots: 8, Lease: lease},
	}}})
	if a := bot.next(wire.FrameAssigned); a.PB.GetAssigned().GetSession() != string(id) || a.AE != 1 {
		t.Fatalf("assigned %+v", a)
	}
	if v.lost.Load() != 1 {
		t.Fatal("no word was lost")
	}
}

// A session's answer to a grant is lost, and with it what the session says to its worker. His edge notices that something is missing, and asks the pool what
// he has, which does not know yet that he has this. He is told when it does: otherwise the session would speak to one who has never heard of it, for as long as
// he stays.
func TestLostConfirm(t *testing.T) {
	const shards = 2
	n := start(t, t.TempDir(), shards)
	defer n.stop()
	pool := exchange.PoolSlot("demo")
	name := "alice"
	for i := 0; exchange.CustomerSlot("demo", name)%shards == pool%shards; i++ {
		name = fmt.Sprint("alice", i)
	}
	v := n.sift(int(pool)%shards, shards, func(m wire.Mail) bool { _, ok := m.(*wire.Confirm); return ok })

	bot, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(customer(name))
	lease := bot.subscribe(8, "").Lease
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	bot.next(wire.FrameDelivery) // it does not come
	bot.do(pool, &wire.Command{Verb: wire.VerbSubscribe, Resume: true, Type: "ready", PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{
		Subscribe: &wirepb.Subscribe{Queues: []string{"default"}, Slots: 8, Lease: lease},
	}}})
	if bot.next(wire.FrameAnswer); v.lost.Load() != 1 {
		t.Fatal("no word was lost")
	}
	if a := bot.next(wire.FrameAssigned).PB.GetAssigned(); a.GetSession() != string(id) || a.GetAe() != 1 {
		t.Fatalf("assigned %v", a)
	}
	if d := bot.next(wire.FrameDelivery); d.AE != 1 || string(d.Entry.Body) != `{"text":"hi"}` {
		t.Fatalf("delivery %+v", d)
	}
}

// A session's answer to a grant is lost, and its worker wants to hand it to somebody who is not there, before the pool asks again. Should he go then, somebody
// else has it: the pool knows that it was his.
func TestTransferBehindALostConfirm(t *testing.T) {
	const shards = 2
	n := start(t, t.TempDir(), shards)
	defer n.stop()
	pool := exchange.PoolSlot("demo")
	name := "alice"
	for i := 0; exchange.CustomerSlot("demo", name)%shards == pool%shards; i++ {
		name = fmt.Sprint("alice", i)
	}
	v := n.sift(int(pool)%shards, shards, func(m wire.Mail) bool { _, ok := m.(*wire.Confirm); return ok })

	bot, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(customer(name))
	bot.subscribe(8, "")
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	bot.next(wire.FrameDelivery)
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbTransfer, Session: id, AE: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{
		Transfer: &wirepb.Transfer{Session: string(id), Ae: 1, To: &wirepb.Target{Worker: "nobody"}},
	}}})
	bot.next(wire.FrameAnswer)
	bot.do(pool, &wire.Command{Verb: wire.VerbGone})
	n.x.UnplugConn(bot.id.ID)
	if v.lost.Load() != 1 {
		t.Fatal("no word was lost")
	}

	other := n.conn(worker("other", wire.OriginBot))
	other.subscribe(8, "")
	if a := other.next(wire.FrameAssigned); a.AE != 2 || a.Session != id {
		t.Fatalf("assigned %+v", a)
	}
}
