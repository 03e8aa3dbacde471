package shard_test

import (
	"fmt"
	"testing"

	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A customer has at most so many identities in his list; those beyond it are his all the same, and open his session [SW-5a.6].
func TestIdentitiesBeyondTheList(t *testing.T) {
	n := startOn(t, journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: -1}, 0)
	defer n.stop()
	sue := n.conn(supervisor("sue"))
	link := func(i int) *wire.Frame {
		sue.as(fmt.Sprint("x", i), &wire.Command{Verb: wire.VerbLink, Text: "alice"})
		return sue.next(wire.FrameAnswer, wire.FrameError)
	}
	most := 0
	for ; ; most++ {
		if f := link(most); f.Kind == wire.FrameError {
			if f.Err.Slug != wire.QuotaExceeded {
				t.Fatalf("%v", f.Err)
			}
			break
		}
		if most > 10_000 {
			t.Fatal("the list has no end")
		}
	}
	id := n.conn(customer("alice")).open(&wirepb.Open{})
	gateway := n.conn(service("wechat"))
	gateway.as(fmt.Sprint("x", most), &wire.Command{Verb: wire.VerbOpen})
	if f := gateway.next(wire.FrameAttach, wire.FrameError); f.Kind == wire.FrameError || f.Session != id {
		t.Fatalf("%+v", f)
	}
}

// A service whose token names a shop acts for customers of that shop, and the sessions of others are none to it.
func TestServiceOfAShop(t *testing.T) {
	n := startOn(t, journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: -1}, 0)
	defer n.stop()
	all := n.conn(service("gateway"))
	one := service("gateway")
	one.Shop = "s1"
	its := n.conn(one)
	open := func(c *conn, shop string) wire.SessionID {
		t.Helper()
		c.as("u1", &wire.Command{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{Shop: shop}}}})
		return c.next(wire.FrameAttach).Session
	}
	mine, other := open(its, "s1"), open(all, "s2")
	send := func(c *conn, id wire.SessionID) *wire.Frame {
		c.as("u1", &wire.Command{Verb: wire.VerbSend, Session: id, Type: "text", Body: []byte(`"x"`)})
		return c.next(wire.FrameWrote, wire.FrameError)
	}
	if f := send(its, mine); f.Kind == wire.FrameError {
		t.Fatalf("%v", f.Err)
	}
	if f := send(all, other); f.Kind == wire.FrameError {
		t.Fatalf("%v", f.Err)
	}
	if f := send(its, other); f.Kind != wire.FrameError || f.Err.Slug != wire.NoSession {
		t.Fatalf("a foreign shop's session was written to: %+v", f)
	}
	its.as("u1", &wire.Command{Verb: wire.VerbOpen, Session: other, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{Session: string(other)}}}})
	if f := its.next(wire.FrameAttach, wire.FrameError); f.Kind != wire.FrameError || f.Err.Slug != wire.NoSession {
		t.Fatalf("a foreign shop's session was opened: %+v", f)
	}
}

// Identities that nobody has are not kept for having been asked for.
func TestUnknownIdentitiesAreNotKept(t *testing.T) {
	n := startOn(t, journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: -1}, 0)
	gateway := n.conn(service("wechat"))
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	for i := range 100 {
		x := fmt.Sprint("x", i)
		gateway.as(x, &wire.Command{Verb: wire.VerbSend, Session: id, Type: "text", Body: []byte(`"x"`)})
		if f := gateway.next(wire.FrameError); f.Err.Slug != wire.NoSession {
			t.Fatalf("%v", f.Err)
		}
	}
	n.stop()
	if got := n.shards[0].Identities(); got != 0 {
		t.Fatalf("%d are kept", got)
	}
}
