package exchange_test

import (
	"errors"
	"fmt"
	"testing"

	"switchboard/exchange"
	"switchboard/wire"
)

type inlet struct {
	room int
	got  []wire.Envelope
}

func (in *inlet) Put(e wire.Envelope) bool {
	if len(in.got) == in.room {
		return false
	}
	in.got = append(in.got, e)
	return true
}

func TestPost(t *testing.T) {
	x := exchange.New(7)
	shard, conn := &inlet{room: 1}, &inlet{room: 9}
	f := func(to wire.Address, want error) {
		t.Helper()
		if err := x.Post(wire.Envelope{To: to, Mail: &wire.Command{}}); !errors.Is(err, want) {
			t.Fatalf("Post(%v) = %v; want %v", to, err, want)
		}
	}
	f(wire.ToSlot(5), exchange.ErrNowhere)
	x.PlugSlots([]wire.Slot{5, 6}, shard)
	f(wire.ToSlot(5), nil)
	f(wire.ToSlot(6), exchange.ErrOverloaded)
	f(wire.ToSlot(7), exchange.ErrNowhere)
	f(wire.Address{Slot: true, ID: wire.Slots * wire.Groups}, exchange.ErrNowhere)

	x.PlugConn(1, conn)
	f(wire.Conn{Node: 7, ID: 1}.Address(), nil)
	f(wire.Conn{Node: 8, ID: 1}.Address(), exchange.ErrNowhere)
	x.UnplugConn(1)
	f(wire.Conn{Node: 7, ID: 1}.Address(), exchange.ErrNowhere)

	other := &inlet{room: 9}
	x.PlugSlots([]wire.Slot{6}, other)
	x.UnplugSlots([]wire.Slot{5, 6}, shard) // 6 has moved on
	f(wire.ToSlot(5), exchange.ErrNowhere)
	f(wire.ToSlot(6), nil)
}

// Mail for slots and connections of another node goes to its link; what came from there stays here.
func TestPostOverLinks(t *testing.T) {
	x := exchange.New(7)
	link, other, shard := &inlet{room: 9}, &inlet{room: 9}, &inlet{room: 9}
	f := func(post func(wire.Envelope) error, to wire.Address, want error) {
		t.Helper()
		if err := post(wire.Envelope{To: to, Mail: &wire.Frame{}}); !errors.Is(err, want) {
			t.Fatalf("mail to %v: %v; want %v", to, err, want)
		}
	}
	theirs := wire.Conn{Node: 8, ID: 1}.Address()
	x.PlugRemote([]wire.Slot{5, 6}, link)
	x.PlugNode(8, link)
	f(x.Post, wire.ToSlot(5), nil)
	f(x.Post, theirs, nil)
	if len(link.got) != 2 {
		t.Fatalf("the link got %d pieces of mail; want 2", len(link.got))
	}
	f(x.Deliver, wire.ToSlot(5), exchange.ErrNowhere)
	f(x.Deliver, theirs, exchange.ErrNowhere)
	f(x.Deliver, wire.Address{Slot: true, ID: wire.Slots * wire.Groups}, exchange.ErrNowhere)

	x.PlugSlots([]wire.Slot{5}, shard) // the shard moves here
	x.UnplugSlots([]wire.Slot{5, 6}, link)
	f(x.Deliver, wire.ToSlot(5), nil)
	f(x.Post, wire.ToSlot(5), nil)
	f(x.Post, wire.ToSlot(6), exchange.ErrNowhere)
	x.PlugConn(1, shard)
	f(x.Deliver, wire.Conn{Node: 7, ID: 1}.Address(), nil)

	x.PlugRemote([]wire.Slot{5, 6}, other) // whoever says so is late about 5
	f(x.Deliver, wire.ToSlot(5), nil)
	x.PlugRemote([]wire.Slot{5, 6}, link)
	f(x.Post, wire.ToSlot(6), nil)
	if len(other.got) != 0 || len(link.got) != 3 {
		t.Fatalf("the links got %d and %d pieces of mail; want 0 and 3", len(other.got), len(link.got))
	}
	x.UnplugNode(8, other)
	f(x.Post, theirs, nil)
	x.UnplugNode(8, link)
	f(x.Post, theirs, exchange.ErrNowhere)
}

func TestPostDoesNotAllocate(t *testing.T) {
	x := exchange.New(1)
	x.PlugSlots([]wire.Slot{1}, drop{})
	x.PlugConn(3, drop{})
	x.PlugRemote([]wire.Slot{2}, drop{})
	x.PlugNode(2, drop{})
	m := &wire.Frame{}
	if n := testing.AllocsPerRun(100, func() {
		_ = x.Post(wire.Envelope{To: wire.ToSlot(1), Mail: m})
		_ = x.PostTo(wire.Envelope{To: wire.ToSlot(1), Mail: m}, x.Generation(1))
		_ = x.Changes()
		_ = x.Post(wire.Envelope{To: wire.Address{Node: 1, ID: 3}, Mail: m})
		_ = x.Post(wire.Envelope{To: wire.ToSlot(2), Mail: m})
		_ = x.Post(wire.Envelope{To: wire.Address{Node: 2, ID: 3}, Mail: m})
		_ = x.Deliver(wire.Envelope{To: wire.ToSlot(1), Mail: m})
		x.CustomerSlot("demo", "alice")
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

type drop struct{}

func (drop) Put(wire.Envelope) bool { return true }

// Slots are part of the data directory and of session ids: they never change.
func TestSlotsAreStable(t *testing.T) {
	got := fmt.Sprint(exchange.CustomerSlot("demo", "alice"), exchange.PoolSlot("demo"), exchange.IdentitySlot("demo", "wechat", "o1"))
	if want := "397 2322 3524"; got != want {
		t.Fatalf("slots = %s; want %s", got, want)
	}
}

func BenchmarkPost(b *testing.B) {
	x := exchange.New(1)
	x.PlugConn(3, drop{})
	m := &wire.Frame{}
	b.ReportAllocs()
	for b.Loop() {
		_ = x.Post(wire.Envelope{To: wire.Address{Node: 1, ID: 3}, Mail: m})
	}
}

func BenchmarkPostSlot(b *testing.B) {
	x := exchange.New(1)
	x.PlugSlots([]wire.Slot{5}, drop{})
	m := &wire.Frame{}
	b.ReportAllocs()
	for b.Loop() {
		_ = x.Post(wire.Envelope{To: wire.ToSlot(5), Mail: m})
	}
}

func BenchmarkPostNode(b *testing.B) {
	x := exchange.New(1)
	x.PlugNode(2, drop{})
	m := &wire.Frame{}
	b.ReportAllocs()
	for b.Loop() {
		_ = x.Post(wire.Envelope{To: wire.Address{Node: 2, ID: 3}, Mail: m})
	}
}

func TestOwners(t *testing.T) {
	x := exchange.New(1)
	if got := x.Shards("demo"); len(got) != 0 {
		t.Fatalf("an empty board has owners %v", got)
	}
	a, b := &owner{}, &owner{}
	x.PlugSlots([]wire.Slot{7, 3, 9}, a)
	x.PlugSlots([]wire.Slot{4, 4000}, b)
	if got := x.Shards("demo"); len(got) != 2 || got[0] != 3 || got[1] != 4 {
		t.Fatalf("owners %v; want a slot of each, the lowest", got)
	}
}

type owner struct{ _ byte }

func (*owner) Put(wire.Envelope) bool { return true }

// Who asks an owner knows when another has come, and what was meant for the one does not reach the other.
func TestGeneration(t *testing.T) {
	x := exchange.New(7)
	a, b, link := &inlet{room: 9}, &inlet{room: 9}, &inlet{room: 9}
	seen := map[uint64]bool{0: true}
	changes := x.Changes()
	f := func(what string, slot wire.Slot, nobody bool) {
		t.Helper()
		g := x.Generation(slot)
		if nobody != (g == 0) || !nobody && seen[g] {
			t.Fatalf("%s: generation %d; nobody is there: %v", what, g, nobody)
		}
		seen[g] = true
		if now := x.Changes(); now == changes {
			t.Fatalf("%s: nothing has changed", what)
		} else {
			changes = now
		}
	}
	if x.Generation(5) != 0 || x.Generation(wire.Slots) != 0 {
		t.Fatal("nobody has a generation")
	}
	x.PlugSlots([]wire.Slot{5, 6}, a)
	was := x.Generation(5)
	f("plugged", 5, false)
	x.UnplugSlots([]wire.Slot{5}, a)
	f("unplugged", 5, true)
	if err := x.PostTo(wire.Envelope{To: wire.ToSlot(5)}, was); !errors.Is(err, exchange.ErrNowhere) {
		t.Fatalf("nobody is there: %v", err)
	}
	x.PlugSlots([]wire.Slot{5}, a)
	f("the same again", 5, false)
	x.UnplugSlots([]wire.Slot{5}, a)
	f("gone again", 5, true)
	x.PlugRemote([]wire.Slot{5}, link)
	f("elsewhere", 5, false)
	x.PlugRemote([]wire.Slot{5}, link)
	f("another owner there", 5, false)
	if x.Generation(6) != was {
		t.Fatal("what nobody has changed has changed")
	}
	if err := x.PostTo(wire.Envelope{To: wire.ToSlot(5)}, was); !errors.Is(err, exchange.ErrMoved) {
		t.Fatalf("posting to whom was there: %v", err)
	}
	if err := x.PostTo(wire.Envelope{To: wire.ToSlot(5)}, x.Generation(5)); err != nil {
		t.Fatal(err)
	}
	if len(a.got) != 0 || len(link.got) != 1 {
		t.Fatalf("%d and %d pieces of mail; want 0 and 1", len(a.got), len(link.got))
	}
	x.PlugSlots([]wire.Slot{5}, b)
	f("here again", 5, false)
}

// way is the way to another node, which takes nothing.
type way struct{ up bool }

func (*way) Put(wire.Envelope) bool { return false }

func (w *way) Up() bool { return w.up }

// Who asks an owner waits for one who cannot be reached, and is refused where there is no room.
func TestPostToBrokenWay(t *testing.T) {
	f := func(up bool, want error) {
		t.Helper()
		x := exchange.New(7)
		x.PlugRemote([]wire.Slot{5}, &way{up: up})
		if err := x.PostTo(wire.Envelope{To: wire.ToSlot(5), Mail: &wire.Frame{}}, x.Generation(5)); !errors.Is(err, want) {
			t.Fatalf("up %v: %v; want %v", up, err, want)
		}
	}
	f(true, exchange.ErrOverloaded)
	f(false, exchange.ErrNowhere)
}

// handover is an inlet that is closed while somebody posts to it, because another has taken its place.
type handover struct {
	x    *exchange.Exchange
	next exchange.Inlet
}

func (h *handover) Put(wire.Envelope) bool {
	h.x.UnplugSlots([]wire.Slot{5}, h)
	if h.next != nil {
		h.x.PlugSlots([]wire.Slot{5}, h.next)
	}
	return false
}

// A refusal by an inlet that has just ended is not the answer of the one that is there.
func TestPostWhileAnotherComes(t *testing.T) {
	f := func(next exchange.Inlet, post func(*exchange.Exchange, wire.Envelope) error, want error) {
		t.Helper()
		x := exchange.New(7)
		x.PlugSlots([]wire.Slot{5}, &handover{x, next})
		if err := post(x, wire.Envelope{To: wire.ToSlot(5), Mail: &wire.Frame{}}); !errors.Is(err, want) {
			t.Fatalf("%v; want %v", err, want)
		}
	}
	post := (*exchange.Exchange).Post
	to := func(x *exchange.Exchange, e wire.Envelope) error { return x.PostTo(e, x.Generation(5)) }
	f(&inlet{room: 1}, post, nil)
	f(&inlet{room: 0}, post, exchange.ErrOverloaded)
	f(nil, post, exchange.ErrNowhere)
	f(&inlet{room: 1}, to, exchange.ErrMoved)
	f(nil, to, exchange.ErrNowhere)
	f(&inlet{room: 1}, (*exchange.Exchange).Deliver, exchange.ErrNowhere)
}
