package shard_test

import (
	"fmt"
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Requests of one connection about one session take effect in the order sent, also when one of them has to look up the
// row of an old key [SW-4.2], and that key still answers with its first result [SW-4.3].
func TestOldKeysKeepTheOrder(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	first := map[string]uint64{}
	for i := range 100 { // more than stay in memory
		key := fmt.Sprint("k", i)
		alice.send(id, key, key)
		first[key] = alice.next(wire.FrameWrote).Seq
	}
	for i := range 20 {
		alice.send(id, fmt.Sprint("k", i), fmt.Sprint("k", i)) // its row is on the disk
		alice.send(id, fmt.Sprint("new", i), "behind it")
	}
	last := uint64(0)
	for i := range 20 {
		old, fresh := alice.next(wire.FrameWrote), alice.next(wire.FrameWrote)
		if !old.Duplicate || old.Seq != first[fmt.Sprint("k", i)] {
			t.Fatalf("%d: the old key was answered %+v", i, old)
		}
		if fresh.Duplicate || fresh.Seq <= last {
			t.Fatalf("%d: what was sent behind it was answered %+v", i, fresh)
		}
		last = fresh.Seq
	}
}

// Repeating a keyed open after the close gives the first session again, and no second one [SW-4.3].
func TestKeyedOpenAfterClose(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{Key: "o1"})
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbClose, Session: id, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Close{Close: &wirepb.Close{}}}})
	alice.next(wire.FrameAnswer)
	if again := alice.open(&wirepb.Open{Key: "o1"}); again != id {
		t.Fatalf("the same key opened %s; want %s", again, id)
	}
	if other := alice.open(&wirepb.Open{Key: "o2"}); other == id {
		t.Fatal("another key opened the closed session")
	}
}
