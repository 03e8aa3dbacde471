package edge

import (
	"fmt"
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// The word of an owner that has ended, that he did not take a request, comes when another was asked for it already: it says nothing about
// that one. His own word does.
func TestLateMoved(t *testing.T) {
	r := newRig(t, nil)
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSend })
	alice.say(fmt.Sprintf(`{"id":7,"send":{"session":%q,"body":1}}`, id))
	eventually(t, "it is asked", func() bool { return r.shard.count(wire.VerbSend) == 1 })
	old := r.shard
	first := old.last(wire.VerbSend)
	next := old.next(2)
	setFunc(&next.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSend })
	next.begin(t)
	r.x.PlugSlots(allSlots(), next)
	eventually(t, "it is asked again", func() bool { return next.count(wire.VerbSend) == 1 })
	again := next.last(wire.VerbSend)
	c := r.conn(first.Conn)
	noted := func() {
		t.Helper()
		next.post(c.id, &wire.Frame{Kind: wire.FramePush, Session: id, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_State{State: &wirepb.State{Session: string(id), State: "noted"}}}})
		for m := alice.next(); m.GetState().GetState() != "noted"; m = alice.next() {
			if m.Id != 0 {
				t.Fatalf("came %v", m)
			}
		}
	}
	old.post(c.id, &wire.Frame{Kind: wire.FrameMoved, ID: first.ID, Verb: wire.VerbSend, Session: id})
	noted() // and what came before it
	c.mu.Lock()
	if l := c.lines.get(id); l.lost || c.pending.size() != 1 {
		t.Errorf("lost: %v, pending: %v", l.lost, c.pending)
	}
	for q := range c.pending.all() {
		if q.waits || q.n != first.ID {
			t.Errorf("request %d, which was %d, waits", q.n, first.ID)
		}
	}
	c.mu.Unlock()
	if first.ID == again.ID {
		t.Fatalf("both were asked for %d", first.ID)
	}
	setFunc(&next.ignore, func(*wire.Command) bool { return false })
	next.post(c.id, &wire.Frame{Kind: wire.FrameMoved, ID: again.ID, Verb: wire.VerbSend, Session: id})
	for m := alice.next(); m.Id != 7; m = alice.next() {
	}
	if next.count(wire.VerbSend) != 2 || next.last(wire.VerbSend).ID == again.ID {
		t.Fatalf("it was asked %d times", next.count(wire.VerbSend))
	}
}

// Those who merely follow are noticed when their owner has changed, and no others: they are woken some at a time.
func TestDeserted(t *testing.T) {
	r := newRig(t, nil)
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	c := r.conn(r.shard.lastConn(wire.VerbOpen))
	if c.deserted() {
		t.Fatal("its owner is there")
	}
	_, slot, _ := id.Place()
	other := r.shard.next(2)
	other.begin(t)
	r.x.PlugSlots([]wire.Slot{(slot + 1) % wire.Slots}, other)
	if c.deserted() {
		t.Fatal("another's owner has changed")
	}
	e := &Edge{x: r.x, idle: make([]*conn, rouseMost+1)}
	for i := range e.idle {
		e.idle[i] = c
	}
	e.rouse()
	if len(e.idle) != 1 {
		t.Fatalf("%d wait still", len(e.idle))
	}
	e.rouse()
	if len(e.idle) != 0 {
		t.Fatal("one waits still")
	}
	successor(t, r, 2)
	eventually(t, "it is attached again", func() bool { return !c.deserted() })
}

// last returns the latest request of a verb.
func (s *echo) last(verb wire.Verb) (c wire.Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.seen {
		if s.seen[i].Verb == verb {
			c = s.seen[i]
		}
	}
	return c
}
