package shard_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A key is remembered for 24 hours and for at least 1,024 keys, over restarts too; then it is forgotten, and its row
// with it [SW-4.3].
func TestKeysAreRememberedLongEnough(t *testing.T) {
	dir := t.TempDir()
	var skew atomic.Int64
	var n *node
	begin := func() {
		j, err := journal.Open(journal.Config{Dir: dir, Groups: 1, FreeMin: -1})
		if err != nil {
			t.Fatal(err)
		}
		n = &node{t: t, x: exchange.New(1), j: j}
		var slots []wire.Slot
		for s := range wire.Slots {
			slots = append(slots, wire.Slot(s))
		}
		s, err := shard.Open(n.x, j.Group(0), shard.Config{
			Slots: slots, Peers: []wire.Slot{0}, Tenants: tenants(0),
			Now: func() time.Time { return time.Now().Add(time.Duration(skew.Load())) },
		})
		if err != nil {
			t.Fatal(err)
		}
		n.shards = append(n.shards, s)
	}
	begin()
	const (
		keys  = 4096 + 64 + 600 // more than a state knows the places of
		least = 1024
	)
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	first := map[string]uint64{}
	say := func(key string, known bool) {
		t.Helper()
		alice.send(id, key, key)
		switch f := alice.next(wire.FrameWrote); {
		case f.Duplicate != known:
			t.Fatalf("%s: duplicate is %v", key, f.Duplicate)
		case known && f.Seq != first[key]:
			t.Fatalf("%s was entry %d and is %d now", key, first[key], f.Seq)
		default:
			first[key] = f.Seq
		}
	}
	key := func(i int) string { return fmt.Sprint("k", i) }
	for i := range keys {
		say(key(i), false)
		if i%500 == 7 { // one without key, and one that rides nowhere
			alice.send(id, "", "no key")
			alice.next(wire.FrameWrote)
			alice.do(slotOf(id), &wire.Command{Verb: wire.VerbRate, Session: id, Key: "rate" + key(i), PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Rate{
				Rate: &wirepb.Rate{Session: string(id), Score: 5, Key: "rate" + key(i)},
			}}})
			alice.next(wire.FrameAnswer)
		}
	}
	known := func() {
		t.Helper()
		for _, i := range []int{0, 1, 31, 32, 63, 64, 500, 4095, 4096, keys - 65, keys - 64, keys - 33, keys - 32, keys - 1} {
			say(key(i), true)
		}
	}
	known()
	n.stop()
	begin()
	alice = n.conn(customer("alice"))
	if again := alice.open(&wirepb.Open{}); again != id {
		t.Fatalf("opened %s; want %s", again, id)
	}
	known()
	n.stop()

	skew.Store(int64(25 * time.Hour))
	begin()
	defer n.stop()
	alice = n.conn(customer("alice"))
	alice.open(&wirepb.Open{})
	for _, i := range []int{keys - least, keys - 1} {
		say(key(i), true)
	}
	for _, i := range []int{0, keys - 2*least} {
		say(key(i), false)
	}
}
