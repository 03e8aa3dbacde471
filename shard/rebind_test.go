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

// sieve loses the next rebind for a shard.
type sieve struct {
	*shard.Shard
	lost atomic.Int32
}

func (v *sieve) Put(e wire.Envelope) bool {
	if _, ok := e.Mail.(*wire.Rebind); ok && v.lost.CompareAndSwap(0, 1) {
		return true
	}
	return v.Shard.Put(e)
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
	v := &sieve{Shard: n.shards[(pool+1)%shards]}
	var slots []wire.Slot
	for s := (pool + 1) % shards; s < wire.Slots; s += shards {
		slots = append(slots, s)
	}
	n.x.PlugSlots(slots, v)

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
