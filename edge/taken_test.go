package edge

import (
	"testing"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// takeOver tells the desk of conn that another connection has subscribed as its worker, and waits until it is closed.
func (r *rig) takeOver(conn wire.Conn) {
	r.t.Helper()
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Reason: "takeover"}}}})
	eventually(r.t, "the desk is closed", func() bool { return r.shard.goneOf(conn) == 1 })
}

// [SW-5.7] A worker without a socket whose desk was taken over while no claim waited hears it once, by the next claim that goes on with what the desk has said or is
// within the lease; the one behind it takes over. So two programs do not take the work from each other without knowing.
func TestTakenDeskIsTold(t *testing.T) {
	const bot, claim = "demo/worker/bot", "/v1/queues/default/claim?wait=0"
	f := func(name string, later time.Duration, query string, want ...int) {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			status, m, _ := r.do("POST", claim, bot, "")
			if status != 200 {
				t.Fatalf("%d %v", status, m)
			}
			switch query {
			case "after":
				query = "&after=" + m["cursor"].(string)
			case "lease":
				query = "&lease=" + m["lease"].(string)
			}
			r.takeOver(r.shard.lastConn(wire.VerbSubscribe))
			r.pass(later)
			for i, status := range want {
				if status != 200 { // also what he says of assignments
					if got, m, _ := r.do("POST", "/v1/assignments/s_1/1/ack", bot, `{"seq":1}`); got != 409 || m["slug"] != "stale_assignment" {
						t.Fatalf("an ack before claim %d was answered %d %v", i, got, m)
					}
				}
				got, m, _ := r.do("POST", claim+query, bot, "")
				if got != status || got != 200 && m["slug"] != "stale_assignment" {
					t.Fatalf("claim %d was answered %d %v; want %d", i, got, m, status)
				}
			}
			if n := r.shard.count(wire.VerbSubscribe); n != 2 {
				t.Fatalf("the pool was asked %d times; want 2", n)
			}
		})
	}
	f("a cursor", time.Minute, "after", 409, 200, 200)
	f("a lease", time.Minute, "lease", 409, 200, 200)
	f("nothing, within the lease", 0, "", 409, 200, 200)
	f("nothing, later", time.Minute, "", 200, 200)
}

// A claim that waits is told, and the next one need not be told again.
func TestTakenDeskTellsWhoWaits(t *testing.T) {
	r := newRig(t, nil)
	const bot, claim = "demo/worker/bot", "/v1/queues/default/claim"
	answered := make(chan int, 1)
	go func() {
		status, _, _ := r.do("POST", claim, bot, "")
		answered <- status
	}()
	eventually(t, "it waits", func() bool { return r.shard.count(wire.VerbSubscribe) == 1 && r.waiting(bot) == 1 })
	r.takeOver(r.shard.lastConn(wire.VerbSubscribe))
	if status := <-answered; status != 409 {
		t.Fatalf("the claim that waits was answered %d", status)
	}
	if status, m, _ := r.do("POST", claim+"?wait=0", bot, ""); status != 200 {
		t.Fatalf("the next was answered %d %v", status, m)
	}
}

// A desk that did not hear of the takeover, as the word was lost, hears it from the pool that it renews itself with. What its worker says of assignments is
// stale from then on, as they are another connection's under the same ae.
func TestRefusedRenewalIsATakeover(t *testing.T) {
	for slug, taken := range map[wire.Slug]bool{wire.StaleAssignment: true, wire.NoQueue: false} {
		d := &desk{e: &Edge{}, who: &wire.Principal{Tenant: "demo", Worker: "bot"}, changed: make(chan struct{}), gate: make(chan struct{}, 1)}
		d.gate <- struct{}{}
		d.asked, d.renewing = 7, asking{n: 7}
		d.Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameError, ID: 7, Err: wire.Refuse(slug)}})
		if d.over == nil || d.taken != taken {
			t.Errorf("refused with %s it is over by %v, taken over: %v", slug, d.over, d.taken)
		}
	}
}
