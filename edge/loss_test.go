package edge

import (
	"testing"

	"switchboard/wire"
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
		if c := r.shard.subscription(); !c.Resume || c.PB.GetSubscribe().GetLease() != "l_1" || c.PB.GetSubscribe().GetSlots() != 4 {
			t.Fatalf("it was asked %+v", c)
		}
		bot.ask(`"presence":{"state":"ready"}`) // waits until the pool has answered
	}
	if n := r.shard.count(wire.VerbSubscribe); n != 4 {
		t.Errorf("%d subscriptions; want the client's and three more", n)
	}
}
