package edge

import (
	"fmt"
	"testing"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// What sessions tell a worker before his subscription is answered comes behind the answer: the deliveries of what he has kept, of which only the
// answer tells him, and a new assignment, which would be lost to him by an answer that does not name it [SW-5.7]. The same when it is
// refused. Who has a standing waits for nothing.
func TestSubscribedFirst(t *testing.T) {
	for _, refused := range []bool{false, true} {
		r := newRig(t, nil)
		alice, bot := r.login(wire.JSON, "demo/customer/alice"), r.login(wire.JSON, "demo/worker/bot")
		kept, given := alice.open(), r.login(wire.JSON, "demo/customer/bob").open()
		setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
		asks := 0
		subscribe := func() *wire.Command {
			t.Helper()
			asks++
			bot.say(fmt.Sprintf(`{"id":%d,"subscribe":{"queues":["default"],"lease":"l_1"}}`, 70+asks))
			eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == asks })
			c := r.shard.last(wire.VerbSubscribe)
			return &c
		}
		deliver := func(id wire.SessionID, ae, seq uint64) {
			r.shard.post(r.shard.lastConn(wire.VerbSubscribe), &wire.Frame{
				Kind: wire.FrameDelivery, Session: id, AE: ae, Prev: seq - 1, Attempt: 1,
				Entry: &wire.Entry{Session: id, Seq: seq, Origin: wire.OriginCustomer, Kind: wire.KindMessage, Type: "text", Body: []byte(`"hi"`)},
			})
		}
		c := subscribe()
		r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameAssigned, Session: kept, AE: 1}) // without a frame of its own: `kept` will name it
		deliver(kept, 1, 1)
		r.shard.assign(given, c.Conn)
		deliver(given, 1, 1)
		if refused {
			r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameError, ID: c.ID, Verb: c.Verb, Err: wire.Refuse(wire.Overloaded)})
		} else {
			r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
				Subscribe: &wirepb.SubscribeReply{Lease: "l_1", Kept: []*wirepb.Kept{{Session: string(kept), Ae: 1}}},
			}}})
		}
		if m := bot.next(); m.Id != 71 || (m.GetError() != nil) != refused {
			t.Fatalf("refused %v: first came %v", refused, m)
		}
		if m := bot.next(); m.GetDelivery().GetSession() != string(kept) {
			t.Fatalf("then came %v", m)
		}
		if m := bot.next(); m.GetAssigned().GetSession() != string(given) {
			t.Fatalf("then came %v", m)
		}
		if m := bot.next(); m.GetDelivery().GetSession() != string(given) {
			t.Fatalf("then came %v", m)
		}
		if refused {
			continue
		}
		subscribe() // for other queues, say: nobody who waits for him waits for that
		deliver(given, 1, 2)
		if m := bot.next(); m.GetDelivery().GetSeq() != 2 {
			t.Fatalf("he has a standing, and there came %v", m)
		}
	}
}

// What has waited for the answer comes directly behind it: whoever is told behind it that another connection has taken over is given nothing after that [SW-5.7].
func TestNothingBehindTakeover(t *testing.T) {
	r := newRig(t, nil)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
	for n := range 20 { // the two are not always found in one turn of the writer
		bot := r.login(wire.JSON, fmt.Sprintf("demo/worker/bot%d", n))
		bot.say(`{"id":7,"subscribe":{"queues":["default"]}}`)
		eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == n+1 })
		c := r.shard.last(wire.VerbSubscribe)
		r.shard.assign(id, c.Conn)
		r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
			Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
		}}})
		r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Reason: "takeover"}}}})
		if m := bot.next(); m.GetSubscribe() == nil {
			t.Fatalf("first came %v", m)
		}
		if m := bot.next(); m.GetAssigned().GetSession() != string(id) {
			t.Fatalf("then came %v", m)
		}
		if m := bot.next(); m.GetRevoked().GetReason() != "takeover" {
			t.Fatalf("then came %v", m)
		}
	}
}

// A pool that answers nobody does not make the edge keep without bounds what sessions tell.
func TestEarlyIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Outbox = 4 << 10 })
	r.stand() // the edge answers for the pool after a while, and nothing waits then
	id, bot := r.login(wire.JSON, "demo/customer/alice").open(), r.login(wire.JSON, "demo/worker/bot")
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
	bot.say(`{"id":7,"subscribe":{"queues":["default"]}}`)
	eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == 1 })
	conn := r.shard.lastConn(wire.VerbSubscribe)
	c := r.conn(conn)
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameAssigned, Session: id, AE: 1})
	seq := uint64(0)
	eventually(t, "it is closed", func() bool {
		seq++
		r.shard.post(conn, &wire.Frame{
			Kind: wire.FrameDelivery, Session: id, AE: 1, Prev: seq - 1,
			Entry: &wire.Entry{Session: id, Seq: seq, Kind: wire.KindMessage, Type: "text", Body: make([]byte, 1<<10)},
		})
		return c.byeAt.Load() != 0
	})
}

// A pool that has answered nobody yet lets a session know where the worker is, and the session leaves it to that answer to name it. But it is the next
// pool that answers, and it has not heard of the session. When it has, the worker is told, whether that comes before the answer or behind it, and once.
func TestToldByNoAnswer(t *testing.T) {
	for _, x := range []struct {
		name                 string
		named, before, after bool
	}{{"before the answer", false, true, false}, {"behind the answer", false, false, true}, {"and by the answer", true, true, false}} {
		t.Run(x.name, func(t *testing.T) {
			r := newRig(t, nil)
			id, bot := r.login(wire.JSON, "demo/customer/alice").open(), r.login(wire.JSON, "demo/worker/bot")
			setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
			bot.say(`{"id":7,"subscribe":{"queues":["default"],"lease":"l_1"}}`)
			eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == 1 })
			c := r.shard.last(wire.VerbSubscribe)
			r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameAssigned, Session: id, AE: 1})
			if x.before {
				r.shard.post(c.Conn, told(id))
			}
			a := &wirepb.SubscribeReply{Lease: "l_1"}
			if x.named {
				a.Kept = []*wirepb.Kept{{Session: string(id), Ae: 1}}
			}
			r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{Subscribe: a}}})
			if x.after {
				r.shard.post(c.Conn, told(id))
			}
			r.shard.post(c.Conn, hi(id))
			if m := bot.next(); m.Id != 7 {
				t.Fatalf("first came %v", m)
			}
			if m := bot.next(); !x.named && m.GetAssigned().GetSession() != string(id) {
				t.Fatalf("then came %v", m)
			} else if x.named && m.GetDelivery() != nil {
				return
			}
			if m := bot.next(); x.named || m.GetDelivery().GetSession() != string(id) {
				t.Fatalf("then came %v", m)
			}
		})
	}
}
