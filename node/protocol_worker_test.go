package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// shortly makes what a worker may keep waiting short, so that tests can wait for it.
func shortly(c *node.Config) {
	queues := []node.Queue{{Name: "default", OfferTTLMS: 400}, {Name: "refunds", OfferTTLMS: 20_000}}
	c.Tenants = map[string]node.Tenant{"demo": {Queues: queues, GraceBotsMS: 300, GraceHumansMS: 300}}
}

// waiting opens a session of the customer and says something, and returns the session and the entry's seq.
func waiting(p *peer, open obj) (id string, seq int) {
	p.t.Helper()
	id = p.open(open)
	return id, num(p.ask("send", obj{"session": id, "body": text("hi")})["seq"])
}

// takes accepts the next offer, and returns the assignment.
func (p *peer) takes() obj {
	p.t.Helper()
	of := p.push("offer")
	ae := p.ask("accept", obj{"offer": of["offer"]})["ae"]
	as := p.push("assigned")
	if as["session"] != of["session"] || as["ae"] != ae {
		p.t.Fatalf("assigned %v after offer %v and ae %v", as, of, ae)
	}
	return as
}

// nothing asserts that no push of verb has come: what the node had to say before the answer to a harmless request is here.
func (p *peer) nothing(verb string) {
	p.t.Helper()
	p.answer(p.send("history", obj{"session": "s_0000000000000000"}))
	for _, f := range p.in {
		if v, ok := f[verb].(obj); ok && f["id"] == nil {
			p.t.Fatalf("an unexpected %s: %v", verb, v)
		}
	}
}

// happened returns the events of a type that the session has, the last first.
func happened(t testing.TB, n *node.Node, id, typ string) (list []obj) {
	t.Helper()
	for _, e := range entries(login(t, n, supervisorOf("looker")).ask("history", obj{"session": id, "limit": 100})) {
		if e["type"] == typ {
			list = slices.Insert(list, 0, e)
		}
	}
	return list
}

// [SW-5] Everything that assigned, offer and subscribe have is there, also when it is empty or zero.
func TestShapesOfWorkers(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bot, human := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	s := bot.subscribe(obj{"slots": 2})
	if l := fmt.Sprint(s["lease"]); !strings.HasPrefix(l, "l_") || len(l) < 20 || num(s["lease_ms"]) != 15_000 || fmt.Sprint(s["kept"]) != "[]" {
		t.Fatalf("subscribe %v", s)
	}
	human.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	has := func(name string, m obj, keys ...string) {
		t.Helper()
		for _, k := range keys {
			if _, ok := m[k]; !ok {
				t.Errorf("%s has no %s: %v", name, k, m)
			}
		}
	}
	id, _ := waiting(login(t, n, customerOf("alice")), obj{})
	as := bot.push("assigned")
	has("assigned", as, "session", "ae", "queue", "reason", "epoch", "cursor", "head", "customer", "attributes", "context", "tail")
	if c := as["context"].(obj); num(c["v"]) != 0 || fmt.Sprint(c["doc"]) != "map[]" || fmt.Sprint(as["attributes"]) != "map[]" {
		t.Errorf("context %v, attributes %v", c, as["attributes"])
	}
	if v := bot.ask("context", obj{"session": id, "ae": 1, "if_v": as["context"].(obj)["v"], "patch": obj{"a": 1}}); num(v["v"]) != 1 {
		t.Errorf("context %v", v)
	}
	d := bot.push("delivery")
	has("delivery", d, "session", "ae", "attempt", "seq", "epoch", "ts", "from", "origin", "kind", "type", "body", "visibility", "channel", "prev")
	bot.ask("transfer", obj{"session": id, "ae": 1, "to": obj{"queue": "refunds"}})
	of := human.push("offer")
	has("offer", of, "offer", "session", "queue", "expires_ms", "summary")
	human.ask("accept", obj{"offer": of["offer"]})
	if as := human.push("assigned"); as["reason"] != "transfer" || as["queue"] != "refunds" || num(as["context"].(obj)["v"]) != 1 {
		t.Errorf("after a transfer to a queue: %v", as)
	}
}

// [SW-5.1] What subscribe says of itself is held against the same rules as a token, and what it leaves out has a default.
func TestSubscribeChecks(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	narrow := workerOf("narrow", wire.OriginBot)
	narrow.Queues = []string{"refunds"}
	p := login(t, n, narrow)
	p.refused("forbidden", "subscribe", obj{"queues": []string{"default"}, "slots": 1})
	p.refused("no_queue", "subscribe", obj{"queues": []string{"nowhere"}, "slots": 1})
	for _, bad := range []obj{{"slots": 1_000_000}, {"slots": 1, "skills": obj{"refund": 7}}, {"slots": 1, "skills": obj{"refund": -0.1}}, {"slots": 1, "skills": obj{"no id": 1}}, {"slots": 1, "instance": "no id"}, {"slots": 1, "lease": "no id"}} {
		p.refused("bad_request", "subscribe", bad)
	}
	p.ask("subscribe", obj{"skills": obj{"refund": 1, "english": 0.5}}) // all queues of the token, one slot
	a, b := login(t, n, customerOf("alice")), login(t, n, customerOf("ben"))
	waiting(a, obj{}) // in default, which is not the token's
	id, _ := waiting(b, obj{"queue": "refunds"})
	waiting(login(t, n, customerOf("cid")), obj{"queue": "refunds"})
	if as := p.push("assigned"); as["session"] != id {
		t.Fatalf("assigned %v", as)
	}
	p.nothing("assigned")
	p.refused("bad_request", "subscribe", obj{"slots": 1, "instance": "another"}) // a connection is one worker
}

// [SW-5] The reasons of an assignment: route, requeue, transfer, sticky.
func TestReasons(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default", "refunds"}, "slots": 4})
	a := login(t, n, customerOf("alice"))
	id, seq := waiting(a, obj{})
	f := func(want string) {
		t.Helper()
		if as := bot.push("assigned"); as["reason"] != want || as["session"] != id {
			t.Fatalf("assigned %v; want %s", as, want)
		}
	}
	f("route")
	bot.ask("release", obj{"session": id, "ae": 1}) // the customer's word is not acknowledged
	f("requeue")
	other := login(t, n, workerOf("other", wire.OriginBot))
	other.subscribe(obj{"queues": []string{"refunds"}, "slots": 4})
	bot.ask("transfer", obj{"session": id, "ae": 2, "to": obj{"queue": "refunds"}})
	bot = other
	f("transfer")
	bot.ask("reply", obj{"session": id, "ae": 3, "ack": seq, "body": 1})
	bot.ask("close", obj{"session": id, "ae": 3})
	a.ask("send", obj{"session": id, "body": "again"}) // what was handed on before is over
	f("sticky")
}

// [SW-5.2] What ends an offer, what the worker is told of it, and what accepting and declining come to then.
func TestOffers(t *testing.T) {
	n := start(t, t.TempDir(), shortly)
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	lease := bob.subscribe(obj{"queues": []string{"refunds", "default"}, "slots": 1})["lease"]
	a := login(t, n, customerOf("alice"))
	id, _ := waiting(a, obj{"queue": "refunds"})
	of := bob.push("offer")
	// An open offer is a slot [SW-5.1].
	b := login(t, n, customerOf("ben"))
	idb, _ := waiting(b, obj{"queue": "refunds"})
	bob.nothing("offer")
	// Rescinded: its customer has gone.
	a.ask("close", obj{"session": id})
	if e := bob.push("offer_ended"); e["offer"] != of["offer"] || e["reason"] != "rescinded" {
		t.Fatalf("offer_ended %v", e)
	}
	if e := bob.refused("offer_rescinded", "accept", obj{"offer": of["offer"]}); num(e["code"]) != 409 {
		t.Fatalf("accepting it: %v", e)
	}
	// Declined: it goes to somebody else, and comes not back at once.
	of = bob.push("offer")
	ann := login(t, n, workerOf("ann", wire.OriginHuman))
	ann.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	bob.ask("decline", obj{"offer": of["offer"], "reason": "lunch"})
	if of["session"] != idb {
		t.Fatalf("offer %v", of)
	}
	bob.refused("offer_rescinded", "accept", obj{"offer": of["offer"]})
	as := ann.takes()
	if as["session"] != idb {
		t.Fatalf("assigned %v", as)
	}
	bob.nothing("offer")
	// Nobody else's offer can be taken, nor one that never was.
	for _, id := range []string{"o_1_zzzz", "nonsense"} {
		bob.refused("offer_rescinded", "accept", obj{"offer": id})
	}
	// Expired: after that the worker is away [SW-5.9].
	idc, _ := waiting(login(t, n, customerOf("cid")), obj{})
	of = bob.push("offer")
	if of["session"] != idc || num(of["expires_ms"]) != 400 {
		t.Fatalf("offer %v", of)
	}
	if e := bob.push("offer_ended"); e["offer"] != of["offer"] || e["reason"] != "expired" {
		t.Fatalf("offer_ended %v", e)
	}
	if p := bob.push("presence"); p["state"] != "away" || p["reason"] != "missed" {
		t.Fatalf("presence %v", p)
	}
	if e := bob.refused("offer_expired", "accept", obj{"offer": of["offer"]}); num(e["code"]) != 410 {
		t.Fatalf("accepting it: %v", e)
	}
	bob.nothing("offer")
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	why := func(state, want string) {
		t.Helper()
		row, _ := sue.ask("stats", obj{"scope": obj{"worker": "bob"}})["workers"].([]any)[0].(obj)
		if reason, _ := row["reason"].(string); row["state"] != state || reason != want {
			t.Fatalf("bob is %v, because of %q; want %s, %q", row["state"], reason, state, want)
		}
	}
	why("away", "missed")
	bob.ask("presence", obj{"state": "draining", "reason": strings.Repeat("é", 60)})
	why("draining", strings.Repeat("é", 50))
	bob.ask("presence", obj{"state": "away", "reason": "missed"})
	// That word may be lost with his connection: he is told when he comes back. Another client of his begins ready.
	bob = login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"queues": []string{"refunds", "default"}, "slots": 1, "lease": lease})
	if p := bob.push("presence"); p["state"] != "away" || p["reason"] != "missed" {
		t.Fatalf("presence %v", p)
	}
	bob.nothing("offer")
	bob = login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"queues": []string{"refunds", "default"}, "slots": 1})
	of = bob.push("offer")
	bob.ask("presence", obj{"state": "away"})
	bob.push("offer_ended")
	bob.nothing("presence")
	bob.ask("presence", obj{"state": "ready"})
	if as := bob.takes(); as["session"] != idc || of["session"] != idc {
		t.Fatalf("assigned %v", as)
	}
	why("ready", "")
}

// [SW-5.2] Accepting twice is answered alike, also on another node's life.
func TestAcceptAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	lease := bob.subscribe(obj{"slots": 2})["lease"]
	id, _ := waiting(login(t, n, customerOf("alice")), obj{})
	of := bob.push("offer")
	first := bob.ask("accept", obj{"offer": of["offer"]})
	if first["session"] != id || num(first["ae"]) != 1 {
		t.Fatalf("accept %v", first)
	}
	stop(t, n)
	n = start(t, dir)
	defer stop(t, n)
	bob = login(t, n, workerOf("bob", wire.OriginHuman))
	if k := bob.subscribe(obj{"slots": 2, "lease": lease})["kept"].([]any); len(k) != 1 || num(k[0].(obj)["ae"]) != 1 {
		t.Fatalf("kept %v", k)
	}
	if again := bob.ask("accept", obj{"offer": of["offer"]}); again["session"] != id || num(again["ae"]) != 1 {
		t.Fatalf("accepted again: %v", again)
	}
}

// [SW-5.3] A verb under an older ae does nothing at all.
func TestFence(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bot, human := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 1})
	a := login(t, n, customerOf("alice"))
	id, seq := waiting(a, obj{})
	bot.said("delivery")
	human.subscribe(obj{"slots": 1})
	bot.ask("transfer", obj{"session": id, "ae": 1, "to": obj{"queue": "default"}})
	if as := human.takes(); num(as["ae"]) != 2 || num(as["cursor"]) != 0 {
		t.Fatalf("assigned %v", as)
	}
	head := num(a.ask("open", obj{})["head"])
	for _, p := range []*peer{bot, human} { // who was, and who is under another number
		for verb, body := range map[string]obj{
			"reply": {"body": 1, "ack": seq}, "nack": {"seq": seq}, "ack": {"seq": seq}, "transfer": {"to": obj{"queue": "refunds"}}, "release": {}, "close": {},
			"context": {"if_v": 0, "patch": obj{"a": 1}}, "attributes": {"if_v": 0, "patch": obj{"a": 1}}, "delta": {"stream": "m", "off": 0, "text": "x"}, "typing": {"on": true},
		} {
			body["session"], body["ae"] = id, 1
			if e := p.refused("stale_assignment", verb, body); num(e["code"]) != 409 || e["retry"] != "never" {
				t.Errorf("%s: %v", verb, e)
			}
		}
		p.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m", "off": 0, "text": "x"}})
		p.write(obj{"ack": obj{"session": id, "ae": 1, "seq": seq}})
	}
	o := a.ask("open", obj{})
	if num(o["head"]) != head || fmt.Sprint(o["streams"]) != "[]" {
		t.Fatalf("something happened: %v; the head was %d", o, head)
	}
	for _, f := range a.in {
		if f["delta"] != nil || f["typing"] != nil {
			t.Fatalf("the customer was shown %v", f)
		}
	}
	human.ask("release", obj{"session": id, "ae": 2})
	human.push("offer") // the cursor has not moved: what the customer said is still to be answered
}

// [SW-5.4] The tail and the deliveries together are everything, the owner's own words are not among them, and prev has no gap.
func TestDeliveries(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id, seq := waiting(a, obj{})
	sue := login(t, n, supervisorOf("sue"))
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	as := bot.push("assigned")
	var tail []int
	for _, e := range as["tail"].([]any) {
		tail = append(tail, num(e.(obj)["seq"]))
	}
	if !slices.Equal(tail, []int{1, 2, 3, 4}) || num(as["head"]) != 4 { // opened, send, queued, assigned
		t.Fatalf("tail %v of head %v", tail, as["head"])
	}
	d := bot.push("delivery")
	if num(d["seq"]) != seq || num(d["attempt"]) != 1 {
		t.Fatalf("the customer's word of before: %v", d)
	}
	ge := num(sue.ask("join", obj{"session": id, "as": "assist"})["ge"])
	own := num(bot.ask("reply", obj{"session": id, "ae": 1, "body": "mine"})["seq"])
	whisper := num(sue.ask("reply", obj{"session": id, "ge": ge, "body": "psst"})["seq"])
	more := num(a.ask("send", obj{"session": id, "body": "more"})["seq"])
	for _, want := range []struct{ seq, attempt int }{{ge, 0}, {whisper, 0}, {more, 1}} {
		d := bot.push("delivery")
		if num(d["seq"]) != want.seq || num(d["attempt"]) != want.attempt || num(d["prev"]) != want.seq-1 || num(d["ae"]) != 1 {
			t.Fatalf("delivery %v; want %v", d, want)
		}
	}
	if own == 0 {
		t.Fatal("no reply")
	}
	bot.nothing("delivery")
}

// [SW-5.5] [SW-5.6] What an ack moves, and what it may not say.
func TestAcks(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	a, bot := login(t, n, customerOf("alice")), login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1, "window": 2})
	id := a.open(obj{})
	var seq []int
	for i := range 4 {
		seq = append(seq, num(a.ask("send", obj{"session": id, "body": i})["seq"]))
	}
	f := func(want, attempt int) {
		t.Helper()
		if d := bot.said("delivery"); num(d["seq"]) != want || num(d["attempt"]) != attempt {
			t.Fatalf("delivery %v; want %d, attempt %d", d, want, attempt)
		}
	}
	f(seq[0], 1)
	f(seq[1], 1)
	// Beyond what was delivered: refused, and nothing happens.
	bot.refused("not_delivered", "ack", obj{"session": id, "ae": 1, "seq": seq[2]})
	bot.refused("not_delivered", "reply", obj{"session": id, "ae": 1, "ack": seq[3], "body": 1})
	bot.refused("not_delivered", "nack", obj{"session": id, "ae": 1, "seq": seq[3]})
	bot.nothing("delivery")
	// nack takes back what follows too, and the ack that was behind it may not be said before that came again.
	bot.ask("nack", obj{"session": id, "ae": 1, "seq": seq[0], "delay_ms": 0})
	f(seq[0], 2)
	f(seq[1], 1)
	bot.ask("nack", obj{"session": id, "ae": 1, "seq": seq[0], "delay_ms": 3_600_000})
	bot.refused("not_delivered", "ack", obj{"session": id, "ae": 1, "seq": seq[1]})
	bot.ask("release", obj{"session": id, "ae": 1}) // a release does not count as an attempt
	if as := bot.push("assigned"); num(as["ae"]) != 2 {
		t.Fatalf("assigned %v", as)
	}
	f(seq[0], 3) // the delay ends with the assignment
}

// [SW-5.6] ack is cumulative; nack of what is acknowledged is refused: it may have been answered.
func TestCumulativeAck(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	a, bot := login(t, n, customerOf("alice")), login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1, "window": 8})
	id := a.open(obj{})
	var seq []int
	for i := range 4 {
		seq = append(seq, num(a.ask("send", obj{"session": id, "body": i})["seq"]))
		bot.said("delivery")
	}
	bot.ask("ack", obj{"session": id, "ae": 1, "seq": seq[2]})
	bot.ask("ack", obj{"session": id, "ae": 1, "seq": seq[0]}) // older: nothing moves back
	bot.refused("not_delivered", "nack", obj{"session": id, "ae": 1, "seq": seq[1]})
	bot.ask("nack", obj{"session": id, "ae": 1, "seq": seq[3], "delay_ms": 0})
	if d := bot.said("delivery"); num(d["seq"]) != seq[3] || num(d["attempt"]) != 2 {
		t.Fatalf("delivery %v", d)
	}
}

// [SW-5.7] A lease is bound to its worker; instances are workers of their own; who was taken over speaks no more.
func TestLeases(t *testing.T) {
	n := start(t, t.TempDir(), shortly)
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	lease := bot.subscribe(obj{"slots": 2})["lease"]
	id, seq := waiting(a, obj{})
	bot.said("delivery")
	// Another worker gains nothing by the lease, nor does another instance of this one.
	thief := login(t, n, workerOf("thief", wire.OriginBot))
	if f := thief.answer(thief.send("subscribe", obj{"queues": []string{"refunds"}, "slots": 1, "lease": lease})); f["subscribe"] != nil && fmt.Sprint(f["subscribe"].(obj)["kept"]) != "[]" {
		t.Fatalf("a stolen lease keeps %v", f)
	}
	twin := login(t, n, workerOf("faq", wire.OriginBot))
	if s := twin.subscribe(obj{"queues": []string{"refunds"}, "slots": 1, "instance": "b"}); fmt.Sprint(s["kept"]) != "[]" || s["lease"] == lease {
		t.Fatalf("another instance: %v", s)
	}
	bot.nothing("revoked")
	// The same worker elsewhere takes over, with everything, under the same ae.
	next := login(t, n, workerOf("faq", wire.OriginBot))
	if k := next.subscribe(obj{"slots": 2, "lease": lease})["kept"].([]any); len(k) != 1 || k[0].(obj)["session"] != id || num(k[0].(obj)["ae"]) != 1 {
		t.Fatalf("kept %v", k)
	}
	if r := bot.push("revoked"); r["reason"] != "takeover" || r["session"] != nil {
		t.Fatalf("revoked %v", r)
	}
	for verb, body := range map[string]obj{"reply": {"body": 1}, "nack": {"seq": seq}, "ack": {"seq": seq}, "release": {}, "transfer": {"to": obj{"queue": "refunds"}}, "delta": {"stream": "m", "text": "x"}, "close": {}, "typing": {"on": true}, "attributes": {"if_v": 0, "patch": obj{}}} {
		body["session"], body["ae"] = id, 1
		bot.refused("stale_assignment", verb, body)
	}
	if d := next.said("delivery"); num(d["seq"]) != seq || num(d["attempt"]) != 1 {
		t.Fatalf("delivery %v", d)
	}
	next.ask("reply", obj{"session": id, "ae": 1, "body": "mine"})
	// And back again: the connection that was taken over takes over.
	if k := bot.subscribe(obj{"slots": 2, "lease": lease})["kept"].([]any); len(k) != 1 {
		t.Fatalf("kept %v", k)
	}
	bot.ask("reply", obj{"session": id, "ae": 1, "body": "mine again"})
	if r := next.push("revoked"); r["reason"] != "takeover" {
		t.Fatalf("revoked %v", r)
	}
	// Without the lease it begins anew: what was held is queued again at once.
	_ = bot.ws.Close()
	sue := login(t, n, supervisorOf("sue"))
	for { // until its grace has begun, or is over already
		if list, _ := sue.ask("stats", obj{"scope": obj{"worker": "faq"}})["workers"].([]any); len(list) == 0 || list[0].(obj)["state"] != "ready" {
			break
		}
	}
	fresh := login(t, n, workerOf("faq", wire.OriginBot))
	if k := fresh.subscribe(obj{"slots": 2}); fmt.Sprint(k["kept"]) != "[]" || k["lease"] == lease {
		t.Fatalf("without the lease: %v", k)
	}
	if as := fresh.push("assigned"); num(as["ae"]) != 2 || as["reason"] != "requeue" {
		t.Fatalf("assigned %v", as)
	}
}

// [SW-5.7] Whose grace is over gives everything back: with its original waiting time, before those who came later.
func TestOldPlace(t *testing.T) {
	n := start(t, t.TempDir(), shortly)
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 2})
	var ids []string
	for i := range 4 {
		id, _ := waiting(login(t, n, customerOf(fmt.Sprint("c", i))), obj{})
		ids = append(ids, id)
		for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; { // who came in the same millisecond waits as long as he
		}
	}
	for i := range 2 {
		if as := bot.push("assigned"); as["session"] != ids[i] {
			t.Fatalf("assigned %v", as)
		}
	}
	_ = bot.ws.Close()
	for len(happened(t, n, ids[0], "worker.lost")) == 0 || len(happened(t, n, ids[1], "worker.lost")) == 0 {
	}
	other := login(t, n, workerOf("other", wire.OriginBot))
	other.subscribe(obj{"slots": 1})
	for i, id := range ids {
		as := other.push("assigned")
		if as["session"] != id {
			t.Fatalf("assigned %v; want the %dth, %s", as, i, id)
		}
		other.ask("close", obj{"session": id, "ae": as["ae"]})
	}
}

// [SW-5.7] Offers of a human whose connection ends go to others at once.
func TestOffersRescindedAtOnce(t *testing.T) {
	n := startTwo(t) // with the grace of humans as it is, 30 s
	defer stop(t, n)
	bob, ann := login(t, n, workerOf("bob", wire.OriginHuman)), login(t, n, workerOf("ann", wire.OriginHuman))
	bob.subscribe(obj{"slots": 1})
	id, _ := waiting(login(t, n, customerOf("alice")), obj{})
	bob.push("offer")
	ann.subscribe(obj{"slots": 1})
	_ = bob.ws.Close()
	if as := ann.takes(); as["session"] != id {
		t.Fatalf("assigned %v", as)
	}
}

// [SW-5.9] Presence and wrap-up.
func TestPresence(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}, WrapUpMS: 3_600_000}}
	})
	defer stop(t, n)
	bob := login(t, n, workerOf("bob", wire.OriginHuman))
	bob.subscribe(obj{"slots": 1})
	a, b := login(t, n, customerOf("alice")), login(t, n, customerOf("ben"))
	id, seq := waiting(a, obj{})
	as := bob.takes()
	// Draining keeps the old and takes nothing new.
	bob.ask("slots", obj{"slots": 2})
	bob.ask("presence", obj{"state": "draining", "reason": "home"})
	idb, _ := waiting(b, obj{})
	more := num(a.ask("send", obj{"session": id, "body": "still there?"})["seq"])
	for d := bob.said("delivery"); num(d["seq"]) != more; d = bob.said("delivery") {
	}
	bob.nothing("offer")
	bob.ask("reply", obj{"session": id, "ae": as["ae"], "ack": more, "body": "yes"})
	bob.refused("bad_request", "presence", obj{"state": "asleep"})
	bob.ask("presence", obj{"state": "ready"})
	if got := bob.takes(); got["session"] != idb {
		t.Fatalf("assigned %v", got)
	}
	// After a release he is in wrap-up, which holds its slot, until he says that it is done.
	bob.ask("release", obj{"session": id, "ae": as["ae"], "outcome": "solved"})
	idc, _ := waiting(login(t, n, customerOf("cid")), obj{})
	bob.nothing("offer")
	bob.ask("wrapup", obj{"session": id, "ae": as["ae"], "done": true})
	if got := bob.takes(); got["session"] != idc {
		t.Fatalf("assigned %v", got)
	}
	if seq == 0 {
		t.Fatal("no seq")
	}
}

// [SW-5.10] A worker sees a session from its first entry on, and nothing behind revoked, in whichever way it asks.
func TestFormerOwner(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	bot, a := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, customerOf("alice"))
	bot.subscribe(obj{"slots": 1})
	id, seq := waiting(a, obj{})
	bot.push("delivery")
	bot.ask("open", obj{"session": id}) // it follows as well
	if first := entries(bot.ask("history", obj{"session": id, "after": 0}))[0]; num(first["seq"]) != 1 {
		t.Fatalf("history begins with %v", first)
	}
	bot.ask("reply", obj{"session": id, "ae": 1, "ack": seq, "body": "bye"})
	bot.ask("presence", obj{"state": "draining"})
	bot.ask("release", obj{"session": id, "ae": 1})
	until := num(entries(bot.ask("history", obj{"session": id, "limit": 1}))[0]["seq"])
	a.ask("send", obj{"session": id, "body": "secret"})
	other := login(t, n, workerOf("other", wire.OriginBot))
	other.subscribe(obj{"slots": 1})
	other.ask("reply", obj{"session": id, "ae": other.push("assigned")["ae"], "body": "secret too"})
	if happened(t, n, id, "session.assigned")[0]["seq"] == nil {
		t.Fatal("nobody has it")
	}
	for _, body := range []obj{{"limit": 1}, {"after": 0, "limit": 100}, {"after": until}, {"before": 1000}} {
		body["session"] = id
		for _, e := range entries(bot.ask("history", body)) {
			if num(e["seq"]) > until {
				t.Fatalf("%v: a former owner reads %v; its time ended at %d", body, e, until)
			}
		}
	}
	bot.refused("no_session", "open", obj{"session": id})
	bot.nothing("delivery")
	for _, f := range bot.in {
		if m, ok := f["message"].(obj); ok && num(m["seq"]) > until {
			t.Fatalf("a former owner was pushed %v", m)
		}
	}
}
