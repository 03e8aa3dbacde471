package edge

import (
	"testing"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A pool is told again who works here, and while its answer is on its way a session tells the worker that he has it: the answer was made before, and
// does not take it away. It takes away what he had before and it does not name [SW-5.7].
func TestAssignedBeforeThePoolHasAnswered(t *testing.T) {
	r := newRig(t, nil)
	old, given := r.login(wire.JSON, "demo/customer/alice").open(), r.login(wire.JSON, "demo/customer/bob").open()
	bot := r.login(wire.JSON, "demo/worker/bot")
	bot.ask(`"subscribe":{"queues":["default"],"slots":4}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	assigned := func(id wire.SessionID) {
		t.Helper()
		r.shard.assign(id, conn)
		if m := bot.next(); m.GetAssigned().GetSession() != string(id) {
			t.Fatalf("there came %v", m)
		}
	}
	assigned(old)
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
	r.x.Lost()
	eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == 2 })
	c := r.shard.last(wire.VerbSubscribe)
	assigned(given)
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: 70, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
		Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
	}}})
	if m := bot.next(); m.GetRevoked().GetSession() != string(old) {
		t.Fatalf("there came %v", m)
	}
	r.shard.post(conn, hi(given))
	if m := bot.next(); m.GetDelivery().GetSession() != string(given) {
		t.Fatalf("there came %v", m)
	}
}

// desk lets a worker claim without a socket, and returns his desk, and what tells whether it holds a session.
func (r *rig) desk(t *testing.T) (d *desk, has func(wire.SessionID) bool) {
	t.Helper()
	if status, m, _ := r.do("POST", "/v1/queues/default/claim?wait=0", "demo/worker/bot", ""); status != 200 {
		t.Fatalf("claim was answered %d %v", status, m)
	}
	who, _, _ := plain{}.Check("demo/worker/bot", r.now())
	who.Worker = who.Sub
	d, _ = r.e.deskOf(&who, false)
	return d, func(id wire.SessionID) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.held[id] != nil
	}
}

// So it is at a desk.
func TestDeskAssignedBeforeThePoolHasAnswered(t *testing.T) {
	r := newRig(t, nil)
	d, has := r.desk(t)
	old, given := r.login(wire.JSON, "demo/customer/alice").open(), r.login(wire.JSON, "demo/customer/bob").open()
	r.shard.assign(old, d.id)
	eventually(t, "it is assigned", func() bool { return has(old) })
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
	r.x.Lost()
	r.pass(time.Second)
	eventually(t, "the pool is asked", func() bool { return r.shard.subscription().Resume })
	c := r.shard.subscription()
	r.shard.assign(given, d.id)
	r.shard.post(d.id, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: 70, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
		Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
	}}})
	eventually(t, "what the answer does not name is gone", func() bool { return !has(old) })
	if !has(given) {
		t.Fatal("what was assigned since is gone too")
	}
}

// It does not take away either what a later owner of the session has told meanwhile once more, as one who knows where the worker is from this very
// pool: he takes the worker for told, and says nothing further.
func TestAssignedAgainBeforeThePoolHasAnswered(t *testing.T) {
	r := newRig(t, nil)
	old, again := r.login(wire.JSON, "demo/customer/alice").open(), r.login(wire.JSON, "demo/customer/bob").open()
	bot := r.login(wire.JSON, "demo/worker/bot")
	bot.ask(`"subscribe":{"queues":["default"],"slots":4}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	for _, id := range []wire.SessionID{old, again} {
		r.shard.assign(id, conn)
		if m := bot.next(); m.GetAssigned().GetSession() != string(id) {
			t.Fatalf("there came %v", m)
		}
	}
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
	r.x.Lost()
	eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == 2 })
	c := r.shard.last(wire.VerbSubscribe)
	r.shard.post(conn, told(again))
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: 70, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
		Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
	}}})
	if m := bot.next(); m.GetRevoked().GetSession() != string(old) {
		t.Fatalf("there came %v", m)
	}
	r.shard.post(conn, hi(again))
	if m := bot.next(); m.GetDelivery().GetSession() != string(again) {
		t.Fatalf("there came %v", m)
	}
}

// Mail that is lost while a worker's subscription is on its way may have been of an assignment that was made behind the answer, which is not here yet. The pool
// is asked again.
func TestLostBeforeThePoolHasAnswered(t *testing.T) {
	r := newRig(t, nil)
	bot := r.login(wire.JSON, "demo/worker/bot")
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
	bot.say(`{"id":7,"subscribe":{"queues":["default"],"slots":4}}`)
	eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == 1 })
	c := r.shard.last(wire.VerbSubscribe)
	r.x.Lost()
	eventually(t, "the loss is looked at", func() bool { return r.conn(c.Conn).seen.Load() == r.x.Changes() })
	r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: 70, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
		Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
	}}})
	if m := bot.next(); m.Id != 7 {
		t.Fatalf("there came %v", m)
	}
	eventually(t, "the pool is asked again", func() bool { return r.shard.last(wire.VerbSubscribe).Resume })
}

// told is the word of a session's owner that the worker has it, first or again.
func told(id wire.SessionID) *wire.Frame {
	return &wire.Frame{Kind: wire.FrameAssigned, Session: id, AE: 1, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{
		Assigned: &wirepb.Assigned{Session: string(id), Ae: 1},
	}}}
}

// hi is a delivery of what its customer has said.
func hi(id wire.SessionID) *wire.Frame {
	return &wire.Frame{
		Kind: wire.FrameDelivery, Session: id, AE: 1, Attempt: 1,
		Entry: &wire.Entry{Session: id, Seq: 1, Origin: wire.OriginCustomer, Kind: wire.KindMessage, Type: "text", Body: []byte(`"hi"`)},
	}
}

// So it is at a desk.
func TestDeskAssignedAgainBeforeThePoolHasAnswered(t *testing.T) {
	r := newRig(t, nil)
	d, has := r.desk(t)
	old, again := r.login(wire.JSON, "demo/customer/alice").open(), r.login(wire.JSON, "demo/customer/bob").open()
	for _, id := range []wire.SessionID{old, again} {
		r.shard.assign(id, d.id)
		eventually(t, "it is assigned", func() bool { return has(id) })
	}
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
	r.x.Lost()
	r.pass(time.Second)
	eventually(t, "the pool is asked", func() bool { return r.shard.subscription().Resume })
	c := r.shard.subscription()
	r.shard.post(d.id, told(again))
	r.shard.post(d.id, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: 70, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
		Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
	}}})
	eventually(t, "what the answer does not name is gone", func() bool { return !has(old) })
	if !has(again) {
		t.Fatal("what was told again since is gone too")
	}
}
