package edge

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"switchboard/wire"
)

// What a node pays for an idle connection is mostly these. Beyond 512 bytes an allocation takes 576 or more, and beyond 160 it takes 176.
// What a request costs is mostly its command, of which six stand in 1,792 bytes.
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
	f("a command", unsafe.Sizeof(wire.Command{}), 296)
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

// Lines are found, counted and left as in a map, whether there are none, one or many of them.
func TestLines(t *testing.T) {
	var ls lines
	want := map[wire.SessionID]*line{}
	check := func(what string) {
		t.Helper()
		got := map[wire.SessionID]*line{}
		for l := range ls.all() {
			got[l.id] = l
		}
		if !maps.Equal(got, want) || ls.size() != len(want) {
			t.Fatalf("%s: %v, and %d of them; want %v", what, got, ls.size(), want)
		}
		for _, id := range []wire.SessionID{"", "a", "b", "c", "d"} {
			if ls.get(id) != want[id] {
				t.Fatalf("%s: %s is %v; want %v", what, id, ls.get(id), want[id])
			}
		}
	}
	check("none")
	for i, step := range []string{"+a", "-b", "-a", "+b", "+c", "-b", "+d", "+a", "-c", "-d", "-a", "+b", "-b", "+c", "+d"} {
		id := wire.SessionID(step[1:])
		if step[0] == '+' {
			want[id] = &line{id: id}
			ls.add(want[id])
		} else {
			delete(want, id)
			ls.remove(id)
		}
		check(fmt.Sprint(i, step))
	}
	for l := range ls.all() {
		ls.remove(l.id)
		delete(want, l.id)
	}
	check("removed while they were gone through")
	one := lines{}
	one.add(&line{id: "a"})
	for l := range one.all() {
		one.remove(l.id)
	}
	if one.size() != 0 {
		t.Error("the only one stays")
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
