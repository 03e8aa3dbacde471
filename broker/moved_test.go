package broker_test

import (
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// A queue that was taken away and moved is understood by workers as it is by customers: who names it serves the one that took its place, as far as
// his token goes, whether he was there when it moved, comes afterwards, or comes to a pool that has never known the old one.
func TestMovedQueueIsServed(t *testing.T) {
	const old, place = "old", "place"
	before := broker.Config{Queues: []broker.Queue{{Name: old}, {Name: place}}}
	after := broker.Config{Queues: []broker.Queue{{Name: place}}, Moves: []broker.Move{{From: old, To: place}}}
	for _, x := range []struct {
		what    string
		allowed []string
		slug    wire.Slug // to who comes afterwards
		served  bool
	}{
		{"a token for everything", []string{"*"}, "", true},
		{"a token for both", []string{old, place}, "", true},
		{"a token for the new one alone", []string{place}, "", true},
		{"a token for the old one alone", []string{old}, wire.Forbidden, false},
		{"a token for another", []string{"other"}, wire.Forbidden, false},
	} {
		for _, when := range []string{"there before", "comes afterwards", "another pool", "while the census is taken"} {
			var out broker.Effects
			sub := &broker.Subscription{
				ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{old}, Allowed: x.allowed, Slots: 2,
				Conn: wire.Conn{Node: 1, ID: 7}, Ref: broker.Ref{Conn: wire.Conn{Node: 1, ID: 7}, ID: 1}, NewLease: "l_bob",
			}
			c := broker.New(before)
			switch when {
			case "there before":
				if x.allowed[0] == place || x.allowed[0] == "other" {
					continue // he could not have subscribed
				}
				c.Open(1, nil, 0, &out)
				c.Subscribe(sub, 0, &out)
				c.Configure(after, 0, &out)
			case "comes afterwards":
				c.Open(1, nil, 0, &out)
				c.Configure(after, 0, &out)
				c.Subscribe(sub, 0, &out)
			case "another pool":
				c = broker.New(after)
				c.Open(1, nil, 0, &out)
				c.Subscribe(sub, 0, &out)
			case "while the census is taken":
				c = broker.New(after)
				c.Open(1, []uint32{1}, 0, &out)
				c.Subscribe(sub, 0, &out)
				c.CensusAnswer(1, 1, nil, 0, &out)
			}
			c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: place}, 0, &out)
			got, slug := false, wire.Slug("")
			for i := range out {
				switch e := &out[i]; e.Kind {
				case broker.Grant:
					got = got || e.Session == "s1" && e.Worker == "bob"
				case broker.Fail:
					slug = e.Slug
				default:
				}
			}
			if want := x.slug; got != x.served || slug != want && when != "there before" {
				t.Errorf("%s, %s: is given it %v, told %q, want %v and %q", x.what, when, got, slug, x.served, want)
			}
		}
	}
}

// Whose token names only the queue that has moved gets nobody of the other one; what he has he keeps when he comes back.
func TestMovedQueueTakesNothingAway(t *testing.T) {
	var out broker.Effects
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "old"}, {Name: "place"}}})
	c.Open(1, nil, 0, &out)
	sub := &broker.Subscription{ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"old"}, Allowed: []string{"old"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l_bob"}
	c.Subscribe(sub, 0, &out)
	c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "old"}, 0, &out)
	c.Confirm("s1", 1, "bob", "l_bob", 1, 0, &out)
	c.Configure(broker.Config{Queues: []broker.Queue{{Name: "place"}}, Moves: []broker.Move{{From: "old", To: "place"}}}, 0, &out)
	c.ConnLost(sub.Conn, 0, &out)
	out.Reset()
	sub.Conn, sub.Lease, sub.NewLease = wire.Conn{Node: 1, ID: 2}, "l_bob", "l_new"
	c.Subscribe(sub, 1, &out)
	c.Offer(&broker.Task{Session: "s2", Ticket: 1, Queue: "place"}, 1, &out)
	kept, more := 0, 0
	for i := range out {
		switch e := &out[i]; e.Kind {
		case broker.Subscribed:
			kept += len(e.Kept)
		case broker.Grant:
			more++
		default:
		}
	}
	if kept != 1 || more != 0 {
		t.Fatalf("he keeps %d, is given %d more: %+v", kept, more, out)
	}
}
