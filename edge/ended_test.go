package edge

import (
	"slices"
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Of what the owners of a session say to a worker's socket, the word of one that has ended counts for nothing, however late it comes [SW-5.3]: an
// assignment that was overtaken by its own end is not told, also when nothing was heard of it before, nor is the end of one that the next owner has told
// again. A revoked assignment of which nothing was heard ends the one before.
func TestSocketHearsTheOwner(t *testing.T) {
	r := newRig(t, nil)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	bot := r.login(wire.JSON, "demo/worker/bot")
	bot.ask(`"subscribe":{"queues":["default"]}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	said := func(term uint64, kind wire.FrameKind, ae uint64) {
		f := &wire.Frame{Kind: kind, Session: id, AE: ae}
		if kind == wire.FrameAssigned {
			f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{Assigned: &wirepb.Assigned{Session: string(id), Ae: ae}}}
		} else {
			f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Session: string(id), Ae: ae, Reason: "transfer"}}}
		}
		r.shard.next(term).post(conn, f)
	}
	hears := func(what string, assigned, revoked uint64) {
		t.Helper()
		_, pushed := bot.ask(`"presence":{"state":"ready"}`) // behind what was said
		var a, v uint64
		for _, m := range pushed {
			switch {
			case m.GetAssigned() != nil:
				a = m.GetAssigned().Ae
			case m.GetRevoked() != nil:
				v = m.GetRevoked().Ae
			}
		}
		if a != assigned || v != revoked || len(pushed) > 1 {
			t.Fatalf("%s: he hears %v; want assigned %d, revoked %d", what, pushed, assigned, revoked)
		}
	}
	said(2, wire.FrameRevoked, 1)
	hears("the end of what he has not heard of", 0, 1)
	said(1, wire.FrameAssigned, 1)
	hears("it comes behind its end", 0, 0)
	said(2, wire.FrameAssigned, 1)
	hears("who has ended it gives it back", 1, 0)
	said(3, wire.FrameAssigned, 1)
	said(2, wire.FrameRevoked, 1)
	hears("an owner before takes it away", 0, 0)
	said(3, wire.FrameRevoked, 2)
	hears("the end of the next, which he has not heard of", 0, 1)
	said(2, wire.FrameAssigned, 2)
	hears("the next behind its end", 0, 0)
	said(3, wire.FrameAssigned, 3)
	hears("the one behind", 3, 0)
	said(3, wire.FrameRevoked, 3)
	hears("its end", 0, 3)
	said(2, wire.FrameAssigned, 3)
	said(3, wire.FrameAssigned, 2)
	hears("what was before the end", 0, 0)
}

// So is an assignment that a pool does not name when it is told anew who works here: it does not come back by the word of an owner before.
func TestNotKeptAndTold(t *testing.T) {
	r := newRig(t, nil)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	bot := r.login(wire.JSON, "demo/worker/bot")
	bot.ask(`"subscribe":{"queues":["default"]}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	assigned := &wire.Frame{Kind: wire.FrameAssigned, Session: id, AE: 1, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{
		Assigned: &wirepb.Assigned{Session: string(id), Ae: 1},
	}}}
	r.shard.next(3).post(conn, assigned)
	if m := bot.next(); m.GetAssigned() == nil {
		t.Fatalf("first came %v", m)
	}
	r.x.Lost()
	if m := bot.next(); m.GetRevoked().GetReason() != "lease" || m.GetRevoked().Ae != 1 {
		t.Fatalf("the pool does not name it, and there came %v", m)
	}
	r.shard.next(2).post(conn, assigned)
	if _, pushed := bot.ask(`"presence":{"state":"ready"}`); len(pushed) != 0 {
		t.Fatalf("an owner before brings it back: %v", pushed)
	}
	r.shard.next(3).post(conn, assigned)
	if m := bot.next(); m.GetAssigned() == nil {
		t.Fatalf("its owner has given it back, and there came %v", m)
	}
}

// The end of an assignment may be here before the answer by which its worker has accepted it, as they come from two shards. He is told of it again then, behind
// the answer, and with the reason of its end [SW-5.2]; not when he has it after all, and not of what had ended before he asked.
func TestAcceptedBehindItsEnd(t *testing.T) {
	r := newRig(t, nil)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	ann := r.login(wire.JSON, "demo/worker/ann")
	ann.ask(`"subscribe":{"queues":["default"]}`)
	pool, session := r.shard, r.shard.next(9)
	f := func(what string, ae, ended, assigned uint64, want ...uint64) {
		t.Helper()
		accept := func(c *wire.Command) bool {
			if c.Verb != wire.VerbAccept {
				return false
			}
			if ended != 0 {
				session.post(c.Conn, &wire.Frame{Kind: wire.FrameRevoked, Session: id, AE: ended, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
					Revoked: &wirepb.Revoked{Session: string(id), Ae: ended, Reason: "closed"},
				}}})
			}
			if assigned != 0 {
				session.post(c.Conn, &wire.Frame{Kind: wire.FrameAssigned, Session: id, AE: assigned, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{
					Assigned: &wirepb.Assigned{Session: string(id), Ae: assigned},
				}}})
			}
			pool.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Accept{Accept: &wirepb.AcceptReply{Session: string(id), Ae: ae}}})
			return true
		}
		r.shard.ignore.Store(&accept)
		if m, _ := ann.ask(`"accept":{"offer":"o_1"}`); m.GetAccept().GetAe() != ae {
			t.Fatalf("%s: answered %v", what, m)
		}
		_, pushed := ann.ask(`"presence":{"state":"ready"}`)
		var got []uint64
		for _, m := range pushed {
			got = append(got, m.GetRevoked().GetAe())
			reason := "closed"
			if ended != ae {
				reason = "lease" // nobody said why that one ended
			}
			if r := m.GetRevoked().GetReason(); r != reason {
				t.Errorf("%s: it has ended for %q; want %q", what, r, reason)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: behind the answer comes %v; want the end of %v", what, pushed, want)
		}
	}
	f("nothing has ended", 1, 0, 0)
	f("it has ended", 1, 1, 0, 1)
	f("it had ended before he accepted it again", 1, 0, 0)
	f("a later one has ended", 2, 3, 0, 2)
	f("its session has given it back", 4, 4, 4)
	f("the next has come", 5, 5, 6)
}

// So it is with what a subscription is told that it keeps [SW-5.7]: it is the pool that says so, and the session may have ended it already.
func TestKeptBehindItsEnd(t *testing.T) {
	r := newRig(t, nil)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	ann := r.login(wire.JSON, "demo/worker/ann")
	pool, session := r.shard, r.shard.next(9)
	f := func(what string, kept, ended uint64, want ...uint64) {
		t.Helper()
		subscribe := func(c *wire.Command) bool {
			if c.Verb != wire.VerbSubscribe {
				return false
			}
			if ended != 0 {
				session.post(c.Conn, &wire.Frame{Kind: wire.FrameRevoked, Session: id, AE: ended, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
					Revoked: &wirepb.Revoked{Session: string(id), Ae: ended, Reason: "transfer"},
				}}})
			}
			pool.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{Subscribe: &wirepb.SubscribeReply{
				Lease: "l_1", LeaseMs: 15000, Kept: []*wirepb.Kept{{Session: string(id), Ae: kept}},
			}}})
			return true
		}
		r.shard.ignore.Store(&subscribe)
		if m, _ := ann.ask(`"subscribe":{"queues":["default"],"lease":"l_1"}`); len(m.GetSubscribe().GetKept()) != 1 {
			t.Fatalf("%s: answered %v", what, m)
		}
		_, pushed := ann.ask(`"presence":{"state":"ready"}`)
		var got []uint64
		for _, m := range pushed {
			got = append(got, m.GetRevoked().GetAe())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: behind the answer comes %v; want the end of %v", what, pushed, want)
		}
	}
	f("it lasts", 1, 0)
	f("it has ended", 2, 2, 2)
	f("the one before had ended before he subscribed again", 3, 0)
}

// Any number of ends is bounded, and of each session the latest counts.
func TestEndedIsBounded(t *testing.T) {
	var e ended
	e.note("s_1", fence{ae: 4, term: 1})
	e.note("s_1", fence{ae: 5, term: 1})
	for n := range 3 * endedMost {
		e.note(wire.SessionID("s_x"+uintString(uint64(n))), fence{ae: 1, term: 2})
		if n < endedMost-1 && !e.late("s_1", 4, 9) {
			t.Fatalf("behind %d others an end is forgotten", n+1)
		}
	}
	if n := e.size(); n < endedMost || n > 2*endedMost || e.late("s_1", 4, 1) {
		t.Errorf("%d ends are remembered", n)
	}
	e.note("s_1", fence{ae: 6, term: 3})
	e.note("s_1", fence{ae: 6, term: 3})
	for _, x := range []struct {
		ae, term uint64
		late     bool
	}{{5, 9, true}, {6, 2, true}, {6, 3, false}, {7, 1, false}} {
		if got := e.late("s_1", x.ae, x.term); got != x.late {
			t.Errorf("behind the end of 6 by the owner in term 3, %+v is late: %v", x, got)
		}
	}
}
