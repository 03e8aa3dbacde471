package edge

import (
	"slices"
	"testing"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A shard that is split gives its watchers the feed of the new one, from its beginning, and behind its own; cursors that were given before stay
// good.
func TestFeedsOfASplit(t *testing.T) {
	x := exchange.New(1)
	cmd := &wire.Command{Who: &wire.Principal{Tenant: "demo"}, PB: &wirepb.ClientFrame{}}
	settle := func(parents map[wire.Slot]wire.Slot, shards ...int) {
		p := &exchange.Places{Tenants: map[string]uint8{"demo": 0}, Shards: map[uint8][]wire.Slot{}, Parents: parents}
		for _, id := range shards {
			p.Shards[0] = append(p.Shards[0], wire.ShardSlot(id))
		}
		x.Settle(p)
	}
	of := func(w *watching) (list []wire.Slot) {
		for _, f := range w.feeds {
			list = append(list, f.slot)
		}
		return list
	}
	settle(nil, 0, 1)
	w, ok := newWatching(cmd, x, "")
	if !ok || w.left != 2 {
		t.Fatalf("%+v", w)
	}
	w.grow(x, "demo")
	if len(w.feeds) != 2 {
		t.Fatalf("feeds of %v", of(w))
	}
	w.feeds[0].at, w.feeds[1].at, w.left = 100, 200, 0
	before := w.cursor()

	settle(map[wire.Slot]wire.Slot{wire.ShardSlot(2): wire.ShardSlot(1)}, 0, 1, 2)
	for range 2 { // the second time it is there
		w.grow(x, "demo")
		if want := []wire.Slot{wire.ShardSlot(0), wire.ShardSlot(1), wire.ShardSlot(2)}; !slices.Equal(of(w), want) || w.left != 1 {
			t.Fatalf("feeds of %v, %d to be heard", of(w), w.left)
		}
	}
	for _, from := range []string{before, w.cursor()} {
		again, ok := newWatching(cmd, x, from)
		if !ok || len(again.feeds) != 3 || again.feeds[1].at != 200 || again.feeds[2].at != 0 || !again.feeds[2].known {
			t.Fatalf("a cursor from before is read as %v, %+v", ok, again)
		}
		child := &again.feeds[2]
		if again.waits(&again.feeds[1]) || !again.waits(child) {
			t.Fatal("the new shard's feed does not wait for the old one's")
		}
		again.feeds[1].live = true
		if again.waits(child) {
			t.Fatal("the new shard's feed waits for one that has told everything")
		}
	}
	for _, bad := range []string{"AQ", "Ag", "_", w.cursor() + "AA"} {
		if _, ok := newWatching(cmd, x, bad); ok {
			t.Fatalf("%q is read as a cursor", bad)
		}
	}
}
