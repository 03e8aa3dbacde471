package edge

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/wire"
)

// goneOf tells how often the pool was told that conn is gone.
func (s *echo) goneOf(conn wire.Conn) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.seen {
		if c := &s.seen[i]; c.Verb == wire.VerbGone && c.Session == "" && c.Conn == conn {
			n++
		}
	}
	return n
}

// subscription returns the last subscribe that the pool was asked for.
func (s *echo) subscription() wire.Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.seen) {
		if c.Verb == wire.VerbSubscribe {
			return c
		}
	}
	return wire.Command{}
}

// [SW-7] [SW-5.7] A desk lives as long as its worker is heard of within the lease; then it is gone, as a socket would be.
func TestDeskLease(t *testing.T) {
	r := newRig(t, nil)
	const bot, claim = "demo/worker/bot", "/v1/queues/default/claim?wait=0"
	id := r.login(wire.JSON, "demo/customer/alice").open()
	if status, m, _ := r.do("POST", claim+"&slots=4", bot, ""); status != 200 || m["lease"] != "l_1" {
		t.Fatalf("claim was answered %d %v", status, m)
	}
	conn := r.shard.lastConn(wire.VerbSubscribe)
	for range 4 { // any request keeps it
		r.pass(10 * time.Second)
		r.do("POST", "/v1/assignments/"+string(id)+"/1/ack", bot, `{"seq":1}`)
	}
	r.do("POST", claim, bot, "")
	if got := r.shard.lastConn(wire.VerbSubscribe); got != conn || r.shard.count(wire.VerbSubscribe) != 1 || r.shard.goneOf(conn) != 0 {
		t.Fatalf("a desk that is used was made anew: %v %v", got, conn)
	}
	r.pass(16 * time.Second)
	eventually(t, "the pool is told", func() bool { return r.shard.goneOf(conn) == 1 })
	r.do("POST", claim+"&lease=l_1&slots=7", bot, "")
	sub := r.shard.subscription()
	if pb := sub.PB.GetSubscribe(); sub.Conn == conn || pb.GetLease() != "l_1" || pb.GetSlots() != 7 || sub.Who.Worker != "bot" {
		t.Fatalf("after the lease the subscription was %+v %v", sub, pb)
	}
	r.do("POST", strings.Replace(claim, "default", "refunds", 1), bot, "")
	sub = r.shard.subscription()
	if pb := sub.PB.GetSubscribe(); len(pb.GetQueues()) != 2 || pb.GetSlots() != 7 {
		t.Fatalf("a claim of a second queue subscribed %v", pb)
	}
	r.e.Drain(context.Background())
	eventually(t, "the pool is told of a drain", func() bool { return r.shard.goneOf(sub.Conn) == 1 })
}

// A claim that waits keeps the lease, and a drain ends it.
func TestClaimWaits(t *testing.T) {
	r := newRig(t, nil)
	const bot = "demo/worker/bot"
	answered := make(chan [2]any, 2)
	ask := func() {
		status, m, _ := r.do("POST", "/v1/queues/default/claim", bot, "")
		answered <- [2]any{status, m["slug"]}
	}
	go ask()
	eventually(t, "it waits", func() bool { return r.shard.count(wire.VerbSubscribe) == 1 && r.waiting(bot) == 1 })
	r.pass(20 * time.Second)
	go ask() // takes the place of the first, which is answered
	if a := <-answered; a[0] != 200 {
		t.Fatalf("the claim before was answered %v", a)
	}
	eventually(t, "the second waits", func() bool { return r.waiting(bot) == 1 })
	r.e.closeDesks()
	if a := <-answered; a[0] != 503 || a[1] != "draining" {
		t.Fatalf("a drain answered %v", a)
	}
}

func (r *rig) waiting(token string) int {
	who, _, _ := plain{}.Check(token, time.Now())
	who.Worker = who.Sub
	d, _ := r.e.deskOf(&who, false)
	if d == nil {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.turn == 0 {
		return 0
	}
	return d.claims
}

// [SW-6.3] What waits for a worker who does not fetch it is bounded; so are the desks.
func TestDeskBounds(t *testing.T) {
	r := newRig(t, nil)
	const bot = "demo/worker/bot"
	r.do("POST", "/v1/queues/default/claim?wait=0", bot, "")
	conn := r.shard.lastConn(wire.VerbSubscribe)
	id := r.login(wire.JSON, "demo/customer/alice").open()
	r.shard.assign(id, conn)
	big := []byte(`"` + strings.Repeat("x", 30<<10) + `"`)
	for seq := range uint64(2 * deskBytes / (30 << 10)) {
		r.shard.post(conn, &wire.Frame{Kind: wire.FrameDelivery, Session: id, AE: 1, Entry: &wire.Entry{Session: id, Seq: seq + 1, Origin: wire.OriginCustomer, Body: big}})
	}
	r.pass(0)
	eventually(t, "a desk that is not fetched from ends", func() bool { return r.shard.goneOf(conn) == 1 })
	if status, m, _ := r.do("POST", "/v1/queues/default/claim?wait=0", bot, ""); status != 200 {
		t.Fatalf("the next claim was answered %d %v", status, m)
	}
	for i := range maxDesks {
		who := &wire.Principal{Tenant: "demo", Worker: "w" + uintString(uint64(i))}
		if _, err := r.e.deskOf(who, true); err != nil {
			if i != maxDesks-1 {
				t.Fatalf("desk %d was refused: %v", i, err)
			}
			return
		}
	}
	t.Fatal("desks are not bounded")
}
