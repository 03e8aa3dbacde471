package edge

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Mail from another node was lost: it may have been an assignment, of which this connection knows nothing. So its pool is told once more who is
// there, once for each time, and tells the session where its worker is; the client hears nothing of it.
func TestLostMailIsAskedFor(t *testing.T) {
	r := newRig(t, nil)
	bot := r.login(wire.JSON, "demo/worker/bot")
	bot.ask(`"subscribe":{"queues":["default"],"slots":4}`)
	if c := r.shard.subscription(); c.Resume {
		t.Fatalf("the client's own subscription was %+v", c)
	}
	for n := range 3 {
		r.x.Lost()
		eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == n+2 })
		if c := r.shard.subscription(); !c.Resume || c.Seq != 70 || c.PB.GetSubscribe().GetLease() != "l_1" || c.PB.GetSubscribe().GetSlots() != 4 {
			t.Fatalf("it was asked %+v", c)
		}
		bot.ask(`"presence":{"state":"ready"}`) // waits until the pool has answered
	}
	if n := r.shard.count(wire.VerbSubscribe); n != 4 {
		t.Errorf("%d subscriptions; want the client's and three more", n)
	}
}

// [SW-5.7] So is the pool of a worker without a socket, and it is told with his turn: should another connection of his say the same, the later is he.
func TestLostMailOfADesk(t *testing.T) {
	r := newRig(t, nil)
	if status, m, _ := r.do("POST", "/v1/queues/default/claim?wait=0", "demo/worker/bot", ""); status != 200 || m["lease"] != "l_1" {
		t.Fatalf("claim was answered %d %v", status, m)
	}
	if c := r.shard.subscription(); c.Resume || c.Seq != 0 {
		t.Fatalf("his own subscription was %+v", c)
	}
	r.x.Lost()
	r.pass(time.Second)
	eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) > 1 })
	if c := r.shard.subscription(); !c.Resume || c.Seq != 70 || c.PB.GetSubscribe().GetLease() != "l_1" {
		t.Fatalf("it was asked %+v", c)
	}
}

// hole is the way to another node on which all mail is lost.
type hole struct{}

func (hole) Put(wire.Envelope) bool { return true }

// road is the way to another node, whose connection may end.
type road struct {
	to     exchange.Inlet
	broken atomic.Bool
}

func (w *road) Put(e wire.Envelope) bool { return w.Up() && w.to.Put(e) }

func (w *road) Up() bool { return !w.broken.Load() }

// The connection to the node of a session's owner ends, and that is not known yet: who asks waits until there is a way again, and does not hear of a
// lack of room.
func TestBrokenWay(t *testing.T) {
	r := newRig(t, nil)
	r.x.UnplugSlots(allSlots(), r.shard)
	way := &road{to: r.shard}
	r.x.PlugRemote(allSlots(), way)
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	alice.ask(fmt.Sprintf(`"send":{"session":%q,"body":1}`, id))
	c := r.conn(r.shard.lastConn(wire.VerbOpen))
	way.broken.Store(true)
	alice.say(fmt.Sprintf(`{"id":7,"send":{"session":%q,"body":2}}`, id))
	eventually(t, "it is asked", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.pending.size() == 1
	})
	r.x.UnplugSlots(allSlots(), way)
	r.x.PlugRemote(allSlots(), &road{to: r.shard})
	for m := alice.next(); ; m = alice.next() {
		if m.Id == 7 {
			if m.GetSend().GetSeq() != 2 {
				t.Fatalf("it is answered %v", m)
			}
			return
		}
	}
}

// A worker goes while mail to the node of his pool is lost, or while there is no way to it. Once there is one again the pool hears of it.
func TestLostGone(t *testing.T) {
	for _, cut := range []bool{false, true} {
		r := newRig(t, nil)
		bot := r.login(wire.JSON, "demo/worker/bot")
		bot.ask(`"subscribe":{"queues":["default"],"slots":4}`)
		conn := r.shard.lastConn(wire.VerbSubscribe)
		r.x.UnplugSlots(allSlots(), r.shard)
		if !cut {
			r.x.PlugRemote(allSlots(), hole{})
		}
		_ = bot.ws.Close()
		eventually(t, "he is gone", func() bool { return r.e.Connections() == 0 })
		r.pass(time.Second)
		if n := r.shard.goneOf(conn); n != 0 {
			t.Fatalf("the pool heard of it %d times", n)
		}
		r.x.PlugRemote(allSlots(), r.shard) // the way of old has mail that was lost, and is plugged in anew
		eventually(t, "the pool is told", func() bool { return r.shard.goneOf(conn) > 0 })
	}
}

// An offer ends while its worker's node is cut off, so that he does not hear of it. The pool, told once more who is there, says what is open before it answers:
// what it does not say has ended. One that he answers just then, and everything of a pool that says nothing of offers, stays as it is.
func TestLostEndOfAnOffer(t *testing.T) {
	for _, says := range []bool{true, false} {
		r := newRig(t, nil)
		ann := r.login(wire.JSON, "demo/worker/ann")
		ann.ask(`"subscribe":{"queues":["default"],"slots":4}`)
		setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe || c.Verb == wire.VerbAccept })
		conn := r.shard.lastConn(wire.VerbSubscribe)
		offer := func(id string) {
			r.shard.post(conn, &wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Offer{Offer: &wirepb.Offer{Offer: id}}}})
		}
		for _, id := range []string{"o_1", "o_2", "o_3"} {
			offer(id)
			if m := ann.next(); m.GetOffer().GetOffer() != id {
				t.Fatalf("she is shown %v; want %s", m, id)
			}
		}
		ann.say(`{"id":7,"accept":{"offer":"o_3"}}`)
		eventually(t, "she accepts", func() bool { return r.shard.count(wire.VerbAccept) == 1 })
		r.x.Lost()
		eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == 2 })
		c := r.shard.last(wire.VerbSubscribe)
		offer("o_2")
		r.shard.post(conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: 70, Live: says, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
			Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
		}}})
		offer("o_4")
		if says {
			if m := ann.next(); m.GetOfferEnded().GetOffer() != "o_1" || m.GetOfferEnded().GetReason() != "rescinded" {
				t.Errorf("she is told %v; want that o_1 has ended", m)
			}
		}
		if m := ann.next(); m.GetOffer().GetOffer() != "o_4" {
			t.Errorf("she is told %v; want o_4", m)
		}
	}
}

// A pool does not take a standing that is resumed. When it knows that another connection has subscribed since, by its turn, the client hears of the takeover and
// ends; when it cannot know, the client is sent away to come back [SW-5.7].
func TestUnseated(t *testing.T) {
	for _, x := range []struct {
		turn     uint64
		slug     wire.Slug
		takeover bool
	}{{70, wire.StaleAssignment, true}, {70, wire.VersionConflict, false}, {0, wire.StaleAssignment, false}} {
		r := newRig(t, nil)
		bot := r.login(wire.JSON, "demo/worker/bot")
		setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSubscribe })
		bot.say(`{"id":7,"subscribe":{"queues":["default"]}}`)
		eventually(t, "the pool is asked", func() bool { return r.shard.count(wire.VerbSubscribe) == 1 })
		c := r.shard.last(wire.VerbSubscribe)
		r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameAnswer, ID: c.ID, Verb: c.Verb, Seq: x.turn, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{
			Subscribe: &wirepb.SubscribeReply{Lease: "l_1"},
		}}})
		if m := bot.next(); m.GetSubscribe() == nil {
			t.Fatalf("first came %v", m)
		}
		r.x.Lost()
		eventually(t, "the pool is asked again", func() bool { return r.shard.count(wire.VerbSubscribe) == 2 })
		c = r.shard.last(wire.VerbSubscribe)
		r.shard.post(c.Conn, &wire.Frame{Kind: wire.FrameError, ID: c.ID, Verb: c.Verb, Err: wire.Refuse(x.slug)})
		if m := bot.next(); (m.GetRevoked().GetReason() == "takeover") != x.takeover || !x.takeover && m.GetBye().GetCode() != uint32(wire.CloseReconnect) {
			t.Errorf("turn %d, %s: he hears %v", x.turn, x.slug, m)
		}
	}
}
