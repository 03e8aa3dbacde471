package broker_test

import (
	"slices"
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// When an edge says by itself that its worker is still there, the worker does not hear what `kept` says. He may never have heard of what
// he has: it was on its way when his node was cut off. So the session tells it anew, and the edge passes over what was told. A worker
// who asks himself is answered by `kept`.
func TestResumedHearsAnew(t *testing.T) {
	for _, resumed := range []bool{true, false} {
		c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
		var out broker.Effects
		c.Open(1, nil, 0, &out)
		sub := broker.Subscription{
			ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1},
			NewLease: "l_bob",
		}
		c.Subscribe(&sub, 0, &out)
		c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, 0, &out)
		c.Confirm("s1", 1, "bob", "l_bob", 1, 0, &out)
		out.Reset()
		sub.Lease, sub.Resumed = "l_bob", resumed
		c.Subscribe(&sub, 3000, &out)
		told := 0
		for i := range out {
			if e := &out[i]; e.Kind == broker.Rebind && e.Session == "s1" && e.Fresh == resumed {
				told++
			}
		}
		if told != 1 {
			t.Errorf("resumed %v: %+v; want one rebind, fresh %v", resumed, out, resumed)
		}
	}
}

// What is open of a worker whose edge says that he is still there is said before the answer: what is not has ended, and that may have been lost. Who asks
// himself is answered first.
func TestResumedHearsOffersFirst(t *testing.T) {
	for _, resumed := range []bool{true, false} {
		c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
		var out broker.Effects
		c.Open(1, nil, 0, &out)
		sub := broker.Subscription{
			ID: "ann", Sub: "ann", Kind: wire.OriginHuman, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1},
			NewLease: "l_ann",
		}
		c.Subscribe(&sub, 0, &out)
		c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, 0, &out)
		out.Reset()
		sub.Lease, sub.Resumed = "l_ann", resumed
		c.Subscribe(&sub, 3000, &out)
		var kinds []broker.EffectKind
		for i := range out {
			if k := out[i].Kind; k == broker.OfferPush || k == broker.Subscribed {
				kinds = append(kinds, k)
			}
		}
		want := []broker.EffectKind{broker.Subscribed, broker.OfferPush}
		if resumed {
			slices.Reverse(want)
		}
		if !slices.Equal(kinds, want) {
			t.Errorf("resumed %v: %v; want %v", resumed, kinds, want)
		}
	}
}

// A pool that opens without a shard does not know what a worker has there, who comes back with his lease meanwhile. He keeps it: what the shard tells
// later is his, under the same ae, and not queued again. One whom all shards have been asked about begins anew.
func TestLeaseOfAMissingShard(t *testing.T) {
	for _, missing := range []bool{true, false} {
		c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
		var out broker.Effects
		c.Open(2, []uint32{1, 2}, 0, &out)
		c.CensusAnswer(2, 1, nil, 0, &out)
		if !missing {
			c.CensusAnswer(2, 2, nil, 0, &out)
		}
		c.Subscribe(&broker.Subscription{
			ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1},
			Lease: "l_bob", NewLease: "l_new",
		}, 100, &out)
		c.Tick(3000, &out) // the census waits no longer
		lease := ""
		for i := range out {
			if out[i].Kind == broker.Subscribed {
				lease = out[i].Lease
			}
		}
		if !missing {
			if lease != "l_new" {
				t.Errorf("with an old lease that nobody names he has %q", lease)
			}
			continue
		}
		if lease != "l_bob" {
			t.Errorf("he comes back with l_bob and has %q", lease)
		}
		out.Reset()
		c.CensusAnswer(2, 2, []broker.Live{{
			Task: broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, Assigned: true, Worker: "bob", Origin: wire.OriginBot, Lease: "l_bob", AE: 3,
		}}, 4000, &out)
		bound := false
		for i := range out {
			switch e := &out[i]; e.Kind {
			case broker.Lost:
				t.Errorf("it is taken from him: %+v", e)
			case broker.Rebind:
				bound = bound || e.Session == "s1" && e.AE == 3 && e.Fresh && e.Conn == wire.Conn{Node: 1, ID: 1}
			default:
			}
		}
		if !bound {
			t.Errorf("it is not given back: %+v", out)
		}
	}
}

// The word that a worker is elsewhere may be lost. What he has is said again every second, and where he is with it, until its session has been
// heard; then every minute as before. While he is nowhere no place is named, and none of him who begins anew and does not have it.
func TestRebindIsSaidAgain(t *testing.T) {
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
	var out broker.Effects
	here, there, nowhere := wire.Conn{Node: 1, ID: 1}, wire.Conn{Node: 1, ID: 2}, wire.Conn{}
	sub := broker.Subscription{
		ID: "bob", Sub: "bob", Kind: wire.OriginHuman, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: here, NewLease: "l_bob",
	}
	said := func(what string, want ...wire.Conn) {
		t.Helper()
		var got []wire.Conn
		for i := range out {
			if e := &out[i]; e.Kind == broker.Grant && e.Session == "s1" {
				got = append(got, e.Conn)
			}
		}
		out.Reset()
		if !slices.Equal(got, want) {
			t.Fatalf("%s it is said again with %v; want %v", what, got, want)
		}
	}
	c.Open(1, nil, 0, &out)
	c.Subscribe(&sub, 0, &out)
	c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, 0, &out)
	for i := range out {
		if e := &out[i]; e.Kind == broker.OfferPush {
			c.Accept(e.Offer, "bob", broker.Ref{Conn: here, ID: 7, Verb: wire.VerbAccept}, 0, &out)
		}
	}
	said("at first", here)
	c.Confirm("s1", 1, "bob", "l_bob", 1, 0, &out)
	sub.Conn, sub.Lease = there, "l_bob"
	c.Subscribe(&sub, 10_000, &out)
	said("with the rebind")
	c.Tick(11_000, &out)
	said("after a second", there)
	c.Tick(12_999, &out)
	said("for two seconds behind that")
	c.Tick(13_000, &out)
	said("after those", there)
	c.Confirm("s1", 1, "bob", "l_bob", 1, 13_100, &out)
	c.Tick(73_000, &out)
	said("for a minute after it was heard")
	c.Tick(73_100, &out)
	said("after that minute", there)
	c.ConnLost(there, 120_000, &out)
	c.Tick(133_100, &out)
	said("while he is gone", nowhere)
}

// What a session does not answer is said again after 1, 2, 4 and from then on every 8 s: a grant, where its worker is, and that he is lost. Each begins
// anew with a second.
func TestSaidAgainLater(t *testing.T) {
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
	var out broker.Effects
	sub := broker.Subscription{
		ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l_bob",
	}
	c.Open(1, nil, 0, &out)
	c.Subscribe(&sub, 0, &out)
	said := func(kind broker.EffectKind, from int64, want ...int64) {
		t.Helper()
		var got []int64
		for now := from; now <= from+40_000; now += 100 {
			c.Tick(now, &out)
			for i := range out {
				if out[i].Kind == kind && out[i].Session == "s1" {
					got = append(got, now-from)
				}
			}
			out.Reset()
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v is said at %v; want %v", kind, got, want)
		}
	}
	c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, 1000, &out)
	said(broker.Grant, 1000, 0, 1000, 3000, 7000, 15_000, 23_000, 31_000, 39_000)
	c.Confirm("s1", 1, "bob", "l_bob", 1, 50_000, &out)
	out.Reset()
	sub.Conn.ID, sub.Lease = 2, "l_bob"
	c.Subscribe(&sub, 60_000, &out)
	said(broker.Grant, 60_000, 1000, 3000, 7000, 15_000, 23_000, 31_000, 39_000)
	sub.Lease, sub.NewLease = "", "l_new"
	c.ConnLost(sub.Conn, 110_000, &out)
	c.Subscribe(&sub, 110_000, &out) // he begins anew, and has nothing
	said(broker.Lost, 110_000, 0, 1000, 3000, 7000, 15_000, 23_000, 31_000, 39_000)
}

// A worker was taken over by another connection, and has not heard of it: the pool was lost in between. Both connections are told of to the pool that
// is made anew. The later of the two is the worker, whichever comes first, and the other is told.
func TestTwoResume(t *testing.T) {
	first, second := wire.Conn{Node: 7, ID: 1}, wire.Conn{Node: 1, ID: 9}
	open := func() (*broker.Core, *broker.Effects, func(conn wire.Conn, resumed bool, turn uint64) uint64) {
		c, out := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}}), &broker.Effects{}
		c.Open(1, nil, 0, out)
		return c, out, func(conn wire.Conn, resumed bool, turn uint64) (answer uint64) {
			c.Subscribe(&broker.Subscription{
				ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: conn,
				Ref: broker.Ref{Conn: conn, ID: 3, Verb: wire.VerbSubscribe}, Lease: "l_bob", NewLease: "l_bob", Resumed: resumed, Turn: turn,
			}, 1000, out)
			for i := range *out {
				if e := &(*out)[i]; e.Kind == broker.Subscribed && e.Ref.Conn == conn {
					answer = e.Turn
				}
			}
			return answer
		}
	}
	_, _, subscribe := open()
	a := subscribe(first, false, 0)
	b := subscribe(second, false, 0)
	if a == 0 || b <= a {
		t.Fatalf("they are told %d and %d", a, b)
	}
	for _, firstComesFirst := range []bool{true, false} {
		c, out, subscribe := open()
		if firstComesFirst {
			subscribe(first, true, a)
			subscribe(second, true, b)
		} else {
			subscribe(second, true, b)
			subscribe(first, true, a)
		}
		told := 0
		for i := range *out {
			switch e := &(*out)[i]; {
			case e.Kind == broker.Revoked && e.Conn == first && e.Reason == "takeover", e.Kind == broker.Fail && e.Ref.Conn == first && e.Slug == wire.StaleAssignment:
				told++
			case e.Kind == broker.Revoked, e.Kind == broker.Fail:
				t.Errorf("first first %v: the later is told %+v", firstComesFirst, e)
			}
		}
		if c.Where("bob") != second || told != 1 {
			t.Errorf("first first %v: he is at %+v, and the earlier was told %d times", firstComesFirst, c.Where("bob"), told)
		}
		c.ConnLost(second, 2000, out)
		if subscribe(first, true, a) != 0 && firstComesFirst { // answered once, before it was taken over
			continue
		}
		if c.Where("bob") != (wire.Conn{}) {
			t.Errorf("first first %v: who was taken over is the worker again, and has not asked for it", firstComesFirst)
		}
		if subscribe(first, false, 0) <= b || c.Where("bob") != first {
			t.Errorf("first first %v: who asks again is not the worker", firstComesFirst)
		}
	}
}

// Of two who resume as one worker, and of whom one has an edge that says no turn, nobody knows which is the later. Whoever came first goes on, or whose turn
// is known; the other is not told that it was taken over, which would end its client for good, but to come back. Where it is known, it is told.
func TestResumedWithoutTurn(t *testing.T) {
	first, second := wire.Conn{Node: 7, ID: 1}, wire.Conn{Node: 1, ID: 9}
	f := func(what string, one, two broker.Subscription, stays wire.Conn, slug wire.Slug, revoked string) {
		t.Helper()
		c, out := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}}), &broker.Effects{}
		c.Open(1, nil, 0, out)
		for i, s := range []*broker.Subscription{&one, &two} {
			s.ID, s.Sub, s.Kind, s.Queues, s.Allowed, s.Slots, s.Lease, s.NewLease = "bob", "bob", wire.OriginBot, []string{"default"}, []string{"*"}, 2, "l_bob", "l_bob"
			s.Conn = [...]wire.Conn{first, second}[i]
			s.Ref = broker.Ref{Conn: s.Conn, ID: 3, Verb: wire.VerbSubscribe}
			c.Subscribe(s, 1000, out)
		}
		var gotSlug wire.Slug
		gotRevoked := ""
		for i := range *out {
			switch e := &(*out)[i]; e.Kind {
			case broker.Fail:
				gotSlug = e.Slug
				if e.Ref.Conn == stays {
					t.Errorf("%s: who stays is refused", what)
				}
			case broker.Revoked:
				gotRevoked = e.Reason
				if e.Conn == stays {
					t.Errorf("%s: who stays is revoked", what)
				}
			default:
			}
		}
		if c.Where("bob") != stays || gotSlug != slug || gotRevoked != revoked {
			t.Errorf("%s: he is at %+v, %q is refused and %q revoked; want %+v, %q, %q", what, c.Where("bob"), gotSlug, gotRevoked, stays, slug, revoked)
		}
	}
	known, unknown, anew := broker.Subscription{Resumed: true, Turn: 900}, broker.Subscription{Resumed: true}, broker.Subscription{}
	f("neither is known", unknown, unknown, first, wire.VersionConflict, "")
	f("the first is not", unknown, known, second, "", "unknown")
	f("the second is not", known, unknown, first, wire.VersionConflict, "")
	f("the first has subscribed here", anew, unknown, first, wire.StaleAssignment, "")
	f("the second subscribes here", unknown, anew, second, "", "takeover")
}

// Who waits is told where he stands again after a minute, also when he has not come nearer: a session that was withdrawn, and of which that was lost, says
// so then.
func TestPlaceIsSaidAgain(t *testing.T) {
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
	var out broker.Effects
	c.Open(1, nil, 0, &out)
	c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, 0, &out)
	var told []int64
	for now := int64(0); now <= 125_000; now += 1000 {
		out.Reset()
		c.Tick(now, &out)
		for i := range out {
			if e := &out[i]; e.Kind == broker.Placed && e.Session == "s1" && e.Position == 1 {
				told = append(told, now)
			}
		}
	}
	if !slices.Equal(told, []int64{1000, 61_000, 121_000}) {
		t.Fatalf("he is told at %v", told)
	}
}

// A document that takes a queue away takes nothing else from workers who named it. They come back, by themselves or by their edge, to this pool or to the next
// one, and have what they had; from the other queues they get more. Whom nobody knows, and who has nothing, is told that there is no such queue.
func TestBackWithoutAQueue(t *testing.T) {
	old, left := broker.Queue{Name: "old"}, broker.Queue{Name: "left"}
	first := broker.Subscription{
		ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"old", "left"}, Allowed: []string{"*"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l_bob",
	}
	again := first
	again.Conn, again.NewLease = wire.Conn{Node: 1, ID: 2}, "l_new"
	again.Ref = broker.Ref{Conn: again.Conn, ID: 7, Verb: wire.VerbSubscribe}
	held := broker.Live{Task: broker.Task{Session: "s1", Ticket: 1, Queue: "left"}, Assigned: true, Worker: "bob", Origin: wire.OriginBot, Lease: "l_bob", AE: 1}
	for _, x := range []struct {
		what           string
		pool, resumed  bool // a pool of its own; the edge says it
		lease          string
		cut, late, has bool // his connection had ended; his grace as well; he keeps s1
		idle           bool // he has no session
		missing        bool // a shard has not told what it has, and time is up
	}{
		{what: "his connection was cut", lease: "l_bob", cut: true, has: true},
		{what: "he takes over", lease: "l_bob", has: true},
		{what: "the pool is another", pool: true, lease: "l_bob", has: true},
		{what: "the pool is another, his edge says it", pool: true, resumed: true, lease: "l_bob", has: true},
		{what: "he is somebody new"},
		{what: "his connection was cut, without the lease", cut: true},
		{what: "his grace is over", lease: "l_bob", cut: true, late: true},
		{what: "he has nothing", lease: "l_bob", cut: true, idle: true},
		{what: "he has nothing, and takes over", lease: "l_bob", idle: true},
		{what: "he has nothing, the pool is another", pool: true, lease: "l_bob", idle: true},
		{what: "the pool is another, the lease is not his", pool: true, lease: "l_other"},
		{what: "a shard is missing, which may name him", pool: true, lease: "l_bob", missing: true, has: true},
	} {
		c, now := broker.New(broker.Config{Queues: []broker.Queue{old, left}}), int64(0)
		var out broker.Effects
		if x.pool {
			c = broker.New(broker.Config{Queues: []broker.Queue{left}})
			c.Open(2, []uint32{1, 2}[:map[bool]int{false: 1, true: 2}[x.missing]], now, &out)
		} else {
			c.Open(1, nil, now, &out)
			c.Subscribe(&first, now, &out)
			if !x.idle {
				c.Offer(&held.Task, now, &out)
				c.Confirm("s1", 1, "bob", "l_bob", 1, now, &out)
			}
			c.Configure(broker.Config{Queues: []broker.Queue{left}}, now, &out)
		}
		if x.cut {
			c.ConnLost(first.Conn, now, &out)
		}
		if x.late {
			now += 3_600_000
			c.Tick(now, &out)
		}
		out.Reset()
		again.Lease, again.Resumed = x.lease, x.resumed
		c.Subscribe(&again, now, &out)
		if x.pool {
			live := []broker.Live{held}
			if x.idle {
				live = nil
			}
			c.CensusAnswer(2, 1, live, now, &out)
		}
		if x.missing {
			now += 3000
			c.Tick(now, &out)
		}
		c.Offer(&broker.Task{Session: "s2", Ticket: 1, Queue: "left"}, now, &out)
		kept, more, refused := false, false, wire.Slug("")
		for i := range out {
			switch e := &out[i]; e.Kind {
			case broker.Subscribed:
				kept = len(e.Kept) == 1 && e.Kept[0].Session == "s1"
			case broker.Grant:
				more = more || e.Session == "s2" && e.Conn == again.Conn
			case broker.Fail:
				refused = e.Slug
			default:
			}
		}
		back := x.has || x.idle && !x.pool // the pool knows him
		if back && (kept != x.has || !more || refused != "") || !back && refused != wire.NoQueue {
			t.Errorf("%s: kept %v, gets more %v, refused %q: %+v", x.what, kept, more, refused, out)
		}
	}
}

// A pool that follows another knows who waits before it knows who works. That nobody is there counts as known when whoever was could be back: until then no
// customer is asked to leave a message because of it, and nobody's ticket system called. Somebody who is back ends it, and a new pool without a past does not wait.
func TestNoResortBeforeAnybodyIsBack(t *testing.T) {
	const grace = 20_000
	for _, x := range []struct {
		what       string
		past, back bool
		at         int64 // when the resort is said; 0 is never
	}{
		{"nobody comes back", true, false, grace},
		{"somebody is back", true, true, 0},
		{"nobody was there before", false, false, 1},
	} {
		c := broker.New(broker.Config{HumanGraceMS: grace, Queues: []broker.Queue{{Name: "default", Steps: []broker.Step{
			{Name: "people", Who: broker.Humans}, {Name: "message", AfterMS: 600_000, When: broker.Unstaffed, Resort: broker.LeaveMessage},
		}}}})
		var out broker.Effects
		c.Open(2, []uint32{1}, 0, &out)
		task := broker.Task{Session: "s1", Ticket: 1, Queue: "default"}
		var live []broker.Live
		if x.past {
			live = []broker.Live{{Task: task}}
		}
		c.CensusAnswer(2, 1, live, 0, &out)
		if !x.past {
			c.Offer(&task, 1, &out)
		}
		said := int64(0)
		for now := int64(1); now <= 3*grace; now += 500 {
			if now == 1001 && x.back {
				c.Subscribe(&broker.Subscription{
					ID: "bob", Sub: "bob", Kind: wire.OriginHuman, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 1, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l_bob",
				}, now, &out)
			}
			c.Tick(now, &out)
			for i := range out {
				if e := &out[i]; e.Kind == broker.LastResort && said == 0 {
					said = now
				}
				if e := &out[i]; e.Kind == broker.OfferPush { // bob has it, and it waits for nobody
					c.Accept(e.Offer, "bob", broker.Ref{Conn: e.Conn}, now, &out)
				}
			}
			out.Reset()
		}
		if x.at == 0 && said != 0 || x.at != 0 && (said < x.at || said > x.at+500) {
			t.Errorf("%s: the last resort is said at %d; want %d", x.what, said, x.at)
		}
	}
}
