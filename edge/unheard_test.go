package edge

import (
	"testing"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A worker to whom a session delivers, and who was told by his pool that he has it no more, is told again by the session: it takes him for told, and says
// nothing further by itself. The same is asked for once. What an owner says who has ended asks for nothing.
func TestUnheardIsToldAgain(t *testing.T) {
	r := newRig(t, nil)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	bot := r.login(wire.JSON, "demo/worker/bot")
	bot.ask(`"subscribe":{"queues":["default"],"slots":4}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	r.shard.assign(id, conn)
	if m := bot.next(); m.GetAssigned().GetSession() != string(id) {
		t.Fatalf("there came %v", m)
	}
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameRevoked, Session: id, AE: 1, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
		Revoked: &wirepb.Revoked{Session: string(id), Ae: 1, Reason: "lease"},
	}}})
	if m := bot.next(); m.GetRevoked().GetSession() != string(id) {
		t.Fatalf("there came %v", m)
	}
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbResync })
	for range 3 {
		r.shard.post(conn, hi(id))
	}
	eventually(t, "the session is asked", func() bool { return r.shard.count(wire.VerbResync) == 1 })
	if c := r.shard.last(wire.VerbResync); c.Session != id || c.AE != 1 || c.Seq != 0 || c.Conn != conn {
		t.Fatalf("it is asked %+v", c)
	}
	bot.ask(`"presence":{"state":"ready"}`) // all three were looked at, or the last are asked for behind what follows
	r.shard.ignore.Store(nil)
	r.pass(unheardAgain * time.Millisecond)
	r.shard.post(conn, hi(id))
	if m := bot.next(); m.GetAssigned().GetSession() != string(id) {
		t.Fatalf("there came %v", m)
	}
	r.shard.post(conn, hi(id))
	if m := bot.next(); m.GetDelivery().GetSession() != string(id) {
		t.Fatalf("there came %v", m)
	}
	if n := r.shard.count(wire.VerbResync); n != 2 {
		t.Errorf("the session was asked %d times; want 2", n)
	}
	r.shard.next(9).post(conn, &wire.Frame{Kind: wire.FrameRevoked, Session: id, AE: 1, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
		Revoked: &wirepb.Revoked{Session: string(id), Ae: 1, Reason: "lease"},
	}}})
	if m := bot.next(); m.GetRevoked().GetSession() != string(id) {
		t.Fatalf("there came %v", m)
	}
	r.shard.post(conn, hi(id))
	bot.ask(`"presence":{"state":"ready"}`)
	if n := r.shard.count(wire.VerbResync); n != 2 {
		t.Errorf("by the word of an owner that has ended it was asked %d times", n)
	}
}

// So it is at a desk.
func TestDeskUnheardIsToldAgain(t *testing.T) {
	r := newRig(t, nil)
	d, has := r.desk(t)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	r.shard.assign(id, d.id)
	eventually(t, "it is assigned", func() bool { return has(id) })
	r.shard.post(d.id, &wire.Frame{Kind: wire.FrameRevoked, Session: id, AE: 1, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
		Revoked: &wirepb.Revoked{Session: string(id), Ae: 1, Reason: "lease"},
	}}})
	eventually(t, "it is taken away", func() bool { return !has(id) })
	r.shard.post(d.id, hi(id))
	eventually(t, "it is told again", func() bool { return has(id) })
}

// What was asked for is bounded, and of a session the latest assignment counts.
func TestUnheardIsBounded(t *testing.T) {
	var u unheard
	for _, x := range []struct {
		ae  uint64
		at  int64
		due bool
	}{{5, 0, true}, {5, unheardAgain - 1, false}, {4, unheardAgain - 1, false}, {6, unheardAgain - 1, true}, {6, 2 * unheardAgain, true}} {
		if got := u.due("s_1", x.ae, x.at); got != x.due {
			t.Errorf("%+v is due: %v", x, got)
		}
	}
	for n := range 3 * unheardMost {
		u.due(wire.SessionID("s_x"+uintString(uint64(n))), 1, 0)
	}
	if len(u) > unheardMost {
		t.Errorf("%d are remembered", len(u))
	}
}
