package shard_test

import (
	"testing"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// TestLateSubscription: the subscription of a connection that has ended comes late, as its way was cut, and its client is there again by another. He keeps his
// work, and does not hear that somebody has taken it over [SW-5.7]. Who is there when he is asked again takes it over.
func TestLateSubscription(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	pool := exchange.PoolSlot("demo")
	bot := n.conn(worker("bot", wire.OriginBot))
	lease := bot.subscribe(1, "").Lease

	late := n.conn(bot.who)
	late.asks(1, lease)
	late.do(pool, &wire.Command{Verb: wire.VerbGone})
	bot.do(pool, &wire.Command{Verb: wire.VerbPresence, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Presence{Presence: &wirepb.Presence{State: "ready"}}}})
	if f := bot.next(wire.FrameAnswer, wire.FrameError, wire.FrameKeep); f.Kind != wire.FrameAnswer || f.PB.GetPresence() == nil {
		t.Fatalf("he hears %+v", f)
	}

	next := n.conn(bot.who)
	next.asks(1, lease)
	if f := next.next(wire.FrameAnswer, wire.FrameMoved); f.Kind != wire.FrameMoved || !f.Live {
		t.Fatalf("it is to be asked again at once, and hears %+v", f)
	}
	if r := next.subscribe(1, lease); r.Lease != lease {
		t.Fatalf("the lease is %s, and was %s", r.Lease, lease)
	}
	if f := bot.next(wire.FrameKeep); f.PB.GetRevoked().GetReason() != "takeover" {
		t.Fatalf("he hears %+v", f)
	}
}
