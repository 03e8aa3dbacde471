package exchange_test

import (
	"errors"
	"slices"
	"testing"

	"switchboard/exchange"
	"switchboard/wire"
)

// The keys of a tenant are in his group, and only there; those of one who is not settled are nobody's.
func TestPlaces(t *testing.T) {
	x := exchange.New(7)
	if !x.Settled("demo", "haus") || x.PoolSlot("haus") != exchange.PoolSlot("haus") {
		t.Fatal("before anything is known everybody lives in group 0")
	}
	x.Settle(&exchange.Places{
		Tenants: map[string]uint8{"demo": 0, "haus": 3},
		Shards:  map[uint8][]wire.Slot{0: {0, 1}, 3: {wire.At(3, 0)}},
	})
	f := func(tenant string, group uint8) {
		t.Helper()
		for _, pair := range [][2]wire.Slot{
			{x.PoolSlot(tenant), exchange.PoolSlot(tenant)},
			{x.CustomerSlot(tenant, "ann"), exchange.CustomerSlot(tenant, "ann")},
			{x.IdentitySlot(tenant, "web", "1"), exchange.IdentitySlot(tenant, "web", "1")},
		} {
			if pair[0].Group() != group || pair[0].Number() != pair[1].Number() {
				t.Fatalf("a key of %s is at %d of group %d; want %d of group %d", tenant, pair[0].Number(), pair[0].Group(), pair[1], group)
			}
		}
	}
	f("demo", 0)
	f("haus", 3)
	f("new", wire.Nowhere)
	if x.Settled("demo", "new") || !x.Settled("demo", "haus") {
		t.Fatal("Settled is wrong")
	}
	if got := x.Shards("haus"); !slices.Equal(got, []wire.Slot{wire.At(3, 0)}) {
		t.Fatalf("the shards of haus: %v", got)
	}
	if got := x.Shards("new"); len(got) != 0 {
		t.Fatalf("who lives nowhere has shards %v", got)
	}

	// The same number in two groups is two slots.
	main, eu := &inlet{room: 9}, &inlet{room: 9}
	n := exchange.PoolSlot("haus")
	x.PlugSlots([]wire.Slot{n}, main)
	if err := x.Post(wire.Envelope{To: wire.ToSlot(x.PoolSlot("haus"))}); !errors.Is(err, exchange.ErrNowhere) {
		t.Fatalf("mail for a slot of another group: %v", err)
	}
	x.PlugRemote([]wire.Slot{x.PoolSlot("haus")}, eu)
	for _, to := range []wire.Slot{n, x.PoolSlot("haus"), x.PoolSlot("haus")} {
		if err := x.Post(wire.Envelope{To: wire.ToSlot(to)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(main.got) != 1 || len(eu.got) != 2 {
		t.Fatalf("group 0 got %d, group 3 got %d", len(main.got), len(eu.got))
	}
	x.UnplugSlots([]wire.Slot{wire.At(9, 1)}, eu) // of a group that was never there
	if x.Generation(wire.At(9, 1)) != 0 || x.Generation(x.PoolSlot("new")) != 0 {
		t.Fatal("somebody is where nobody is")
	}
}

func TestPlacesDoNotAllocate(t *testing.T) {
	x := exchange.New(7)
	x.Settle(&exchange.Places{Tenants: map[string]uint8{"haus": 3}})
	if n := testing.AllocsPerRun(100, func() {
		x.CustomerSlot("haus", "ann")
		x.PoolSlot("haus")
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkCustomerSlot(b *testing.B) {
	x := exchange.New(7)
	x.Settle(&exchange.Places{Tenants: map[string]uint8{"haus": 3}})
	b.ReportAllocs()
	for b.Loop() {
		x.CustomerSlot("haus", "ann")
	}
}
