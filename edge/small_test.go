package edge

import (
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"switchboard/wire"
)

// What a node pays for an idle connection is mostly these. Beyond 512 bytes an allocation takes 576 or more, and beyond 160 it takes 176.
func TestConnIsSmall(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("the sizes are of 64 bits")
	}
	f := func(what string, size, most uintptr) {
		t.Helper()
		if size > most {
			t.Errorf("%s has %d bytes; want at most %d", what, size, most)
		}
	}
	f("a connection", unsafe.Sizeof(conn{}), 512)
	f("a principal", unsafe.Sizeof(apart{}), 160)
}

// A stripe of the table gives back what a crowd that has left needed, and keeps everybody who has not.
func TestStripe(t *testing.T) {
	var s stripe
	var all []*conn
	for range 1000 {
		c := &conn{}
		s.add(c)
		all = append(all, c)
	}
	for i, c := range all {
		if i%100 != 7 {
			s.remove(c)
		}
	}
	left := map[*conn]bool{}
	for _, c := range s.list(nil) {
		left[c] = true
	}
	if len(left) != 10 || len(s.conns) != 10 || cap(s.conns) > stripeLeast {
		t.Fatalf("%d of 10 are left, in room for %d", len(left), cap(s.conns))
	}
	for i, c := range all {
		if left[c] != (i%100 == 7) {
			t.Errorf("connection %d: %v that it is there", i, left[c])
		}
		if left[c] {
			s.remove(c)
		}
	}
	if len(s.list(nil)) != 0 {
		t.Error("somebody is left")
	}
}

// A ping that nobody answers yet costs its place in the outbox, and nothing else: with 50,000 idle connections that is 2,000 a second.
func TestPingAllocates(t *testing.T) {
	c, _, _ := bare(t, wire.JSON, wire.RoleCustomer)
	w := &buffers{}
	ping := c.e.cfg.Ping.Milliseconds()
	now := c.e.now()
	n := testing.AllocsPerRun(100, func() {
		c.writer = true
		c.lastRead.Store(now - ping)
		c.pinged.Store(0)
		c.watchPing(now)
		c.round(w)
	})
	if n > 0 {
		t.Errorf("%v allocations for a ping", n)
	}
	if c.pinged.Load() == 0 {
		t.Error("nobody was pinged")
	}
}

// Names that are kept are what they were, in few pieces, and a long one has its own.
func TestNames(t *testing.T) {
	var n names
	var kept []string
	pieces := map[*strings.Builder]bool{}
	for i := range 1000 {
		name := strings.Repeat("x", i%80) + strconv.Itoa(i)
		kept = append(kept, n.keep(name))
		pieces[n.piece] = true
	}
	for i, name := range kept {
		if want := strings.Repeat("x", i%80) + strconv.Itoa(i); name != want {
			t.Fatalf("name %d is %q; want %q", i, name, want)
		}
	}
	if len(pieces) > 100 {
		t.Errorf("%d pieces", len(pieces))
	}
	short := n.keep("bob")
	if p := testing.AllocsPerRun(100, func() { short = n.keep(short) }); p > 0.1 {
		t.Errorf("%v allocations to keep a name", p)
	}
}
