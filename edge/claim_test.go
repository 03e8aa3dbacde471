package edge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
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

// [SW-5.3] Of what the owners of a session say to a desk, the word of one that has ended counts for nothing, however late it comes: neither does an assignment
// come back that has ended, nor does an earlier one take the place of the next. What the next owner says again is no news.
func TestDeskHearsTheOwner(t *testing.T) {
	d := &desk{e: &Edge{}, who: &wire.Principal{Tenant: "demo", Worker: "bot"}, changed: make(chan struct{}), held: map[wire.SessionID]*holding{}}
	id := wire.SessionID("s_1")
	said := func(term uint64, kind wire.FrameKind, ae, seq uint64) {
		f := &wire.Frame{Kind: kind, Session: id, AE: ae}
		switch kind {
		case wire.FrameAssigned:
			f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{Assigned: &wirepb.Assigned{Session: string(id), Ae: ae, Reason: "route"}}}
		case wire.FrameRevoked:
			f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Session: string(id), Ae: ae, Reason: "transfer"}}}
		default:
			f.Entry = &wire.Entry{Session: id, Seq: seq, Origin: wire.OriginCustomer, Body: []byte(`{}`)}
		}
		d.Put(wire.Envelope{Term: term, Mail: f})
	}
	want := func(what string, ae uint64, shown int) {
		t.Helper()
		if h := d.held["s_1"]; h == nil || h.pb.Ae != ae || len(h.shown) != shown {
			t.Fatalf("%s: %+v is held; want ae %d with %d deliveries", what, h, ae, shown)
		}
	}
	said(5, wire.FrameAssigned, 7, 0)
	said(5, wire.FrameDelivery, 7, 3)
	said(6, wire.FrameAssigned, 7, 0) // the next owner
	want("told again by the next owner", 7, 1)
	said(5, wire.FrameDelivery, 7, 4)
	said(5, wire.FrameRevoked, 7, 0)
	want("the owner before has taken it away", 7, 1)
	said(6, wire.FrameDelivery, 7, 4)
	want("the owner goes on", 7, 2)
	said(6, wire.FrameAssigned, 9, 0)
	said(6, wire.FrameAssigned, 8, 0)
	want("an assignment before it", 9, 0)
	said(6, wire.FrameRevoked, 9, 0)
	if d.held["s_1"] != nil || len(d.revoked) != 1 || d.size != 0 {
		t.Fatalf("after the end %+v is held, %d are told as ended, %d bytes are", d.held, len(d.revoked), d.size)
	}
	said(5, wire.FrameAssigned, 9, 0)
	said(6, wire.FrameAssigned, 8, 0)
	if d.held["s_1"] != nil {
		t.Fatalf("what has ended is back: %+v", d.held["s_1"].pb)
	}
	said(6, wire.FrameAssigned, 10, 0)
	want("the next assignment", 10, 0)
	said(7, wire.FrameRevoked, 11, 0) // of which the owner before has not been heard
	if d.held["s_1"] != nil || d.revoked[len(d.revoked)-1].pb.Ae != 10 {
		t.Fatalf("after the end of the next %+v is held, and last ended %v", d.held["s_1"], d.revoked)
	}
	said(6, wire.FrameAssigned, 11, 0)
	if d.held["s_1"] != nil {
		t.Fatalf("what ended before it was heard of is held: %+v", d.held["s_1"].pb)
	}
	for n := range 2 * deskRevoked { // any number of them is bounded
		id = wire.SessionID(fmt.Sprint("s_", n+2))
		said(7, wire.FrameAssigned, 11, 0)
		said(7, wire.FrameRevoked, 11, 0)
	}
	if n := d.ended.size(); n < endedMost || n > 2*endedMost || len(d.revoked) != deskRevoked {
		t.Fatalf("%d and %d ends are remembered", n, len(d.revoked))
	}
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

// A claim says that its worker is ready: again when that was refused, and when he comes back under his lease, as his pool may have him as away since before.
// Otherwise he would claim, and nobody would be given to him.
func TestClaimSaysReady(t *testing.T) {
	const bot, claim = "demo/worker/bot", "/v1/queues/default/claim?wait=0"
	r := newRig(t, nil)
	_, m, _ := r.do("POST", claim, bot, "")
	f := func(name string, query string, status, want int) {
		t.Helper()
		before := r.shard.count(wire.VerbPresence)
		if got, m, _ := r.do("POST", claim+query, bot, ""); got != status {
			t.Fatalf("%s: the claim was answered %d %v; want %d", name, got, m, status)
		}
		if n := r.shard.count(wire.VerbPresence) - before; n != want {
			t.Fatalf("%s: the pool was told %d times; want %d", name, n, want)
		}
	}
	f("as it was", "", 200, 0)

	conn := r.shard.lastConn(wire.VerbSubscribe)
	r.shard.post(conn, &wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{State: "away", Reason: "missed"}}}})
	eventually(t, "he is away", func() bool { return r.away(bot) })
	setFunc(&r.shard.refuse, func(c *wire.Command) bool { return c.Verb == wire.VerbPresence })
	if got, m, _ := r.do("POST", claim, bot, ""); got == 200 {
		t.Fatalf("who is away was answered %d %v", got, m)
	}
	setFunc(&r.shard.refuse, func(*wire.Command) bool { return false })
	f("it was refused", "", 200, 1)
	f("it was not", "", 200, 0)

	r.takeOver(conn)
	r.pass(time.Minute)
	f("anew", "", 200, 0)
	r.takeOver(r.shard.lastConn(wire.VerbSubscribe))
	if status, _, _ := r.do("POST", claim+"&lease="+m["lease"].(string), bot, ""); status != 409 {
		t.Fatalf("who was taken over was answered %d", status)
	}
	f("under his lease", "&lease="+m["lease"].(string), 200, 1)
}

func (r *rig) away(token string) bool {
	who, _, _ := plain{}.Check(token, time.Now())
	who.Worker = who.Sub
	d, _ := r.e.deskOf(&who, false)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.away
}
