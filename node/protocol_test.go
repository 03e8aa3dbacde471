package node_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/session"
	"switchboard/wire"
)

// [SW-2.1] Subprotocols are negotiated; only unknown ones are refused.
func TestSubprotocols(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	f := func(offer []string, want string, status int) {
		t.Helper()
		d := websocket.Dialer{Subprotocols: offer}
		w, r, err := d.Dial("ws://"+n.Addr()+"/v1/connect", nil)
		if status != 101 {
			if err == nil || r == nil || r.StatusCode != status {
				t.Fatalf("%v: status %v, err %v; want %d", offer, r, err, status)
			}
			return
		}
		if err != nil || w.Subprotocol() != want {
			t.Fatalf("%v: %q, %v; want %q", offer, w.Subprotocol(), err, want)
		}
		_ = w.Close()
	}
	f(nil, "", 101)
	f([]string{"switchboard.v1.json"}, "switchboard.v1.json", 101)
	f([]string{"switchboard.v1.json", "switchboard.v1.pb"}, "switchboard.v1.pb", 101)
	f([]string{"chat", "switchboard.v1.json"}, "switchboard.v1.json", 101)
	f([]string{"chat"}, "", 400)
}

// [SW-3] hello tells who one is and what one may.
func TestHello(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	p := dial(t, n)
	h := p.ask("hello", obj{"token": mint(t, n, customerOf("alice")), "client": "web/1.0"})
	if h["tenant"] != "demo" || h["sub"] != "alice" || h["role"] != "customer" || num(h["ping_ms"]) != 25000 || num(h["pong_ms"]) != 8000 {
		t.Fatalf("hello %v", h)
	}
	l, _ := h["limits"].(obj)
	if num(l["frame"]) != 65536 || num(l["body"]) != 32768 || num(l["batch"]) != 64 || num(l["sessions"]) != 8 || num(l["inflight"]) != 8 {
		t.Fatalf("limits %v", l)
	}
	if ms := num(h["expires_ms"]); ms < 3_500_000 || ms > 3_600_000 {
		t.Fatalf("expires_ms %d", ms)
	}
	p.refused("bad_request", "hello", obj{"token": "x"}) // it was said
	// [SW-3.3]
	if r := p.ask("refresh", obj{"token": mint(t, n, customerOf("alice"))}); num(r["expires_ms"]) < 3_500_000 {
		t.Fatalf("refresh %v", r)
	}
	p.refused("forbidden", "refresh", obj{"token": mint(t, n, customerOf("mallory"))})
	p.refused("unauthenticated", "refresh", obj{"token": "nonsense"})
}

// [SW-3.1] [SW-2.7] [SW-2.8] What ends a connection, and with which code.
func TestCloseCodes(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	expired, err := n.Mint(token.Claims{Tenant: "demo", Sub: "alice", Role: wire.RoleCustomer}, -time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f := func(first string, want int) {
		t.Helper()
		p := dial(t, n)
		p.raw(first)
		code, bye := p.closed()
		if code != want || num(bye["code"]) != want || bye["reconnect"] != (want < 3500) {
			t.Fatalf("%.60s: closed %d after %v; want %d", first, code, bye, want)
		}
	}
	f(`{"id":1,"hello":{"token":"nonsense"}}`, 3500)
	f(`{"id":1,"hello":{}}`, 3500)
	f(`{"id":1,"hello":{"token":"`+expired+`"}}`, 3005)
	f(`{"id":1,"open":{}}`, 3502)
	f(`{"id":1,"hello"`, 3501)
	f(`[]`, 3501)
	f(`hello`, 3501)

	p := dial(t, n)
	if err := p.ws.WriteMessage(websocket.TextMessage, []byte(strings.Repeat(" ", 300_000))); err != nil {
		t.Fatal(err)
	}
	if code, _ := p.closed(); code != 1009 { // [SW-6.3]
		t.Fatalf("an oversized message closed with %d", code)
	}
	p = dial(t, n)
	if err := p.ws.WriteMessage(websocket.TextMessage, []byte{'{', 0xff, '}'}); err != nil {
		t.Fatal(err)
	}
	if code, _ := p.closed(); code != 1007 {
		t.Fatalf("bad UTF-8 closed with %d", code)
	}
	p = dial(t, n)
	if err := p.ws.WriteMessage(websocket.BinaryMessage, []byte{1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	if code, _ := p.closed(); code != 3501 {
		t.Fatalf("a binary message on a JSON connection closed with %d", code)
	}
}

// [SW-2.3] [SW-2.5] [SW-2.7] Ids, batches, unknown verbs and fields.
func TestFrames(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	p := login(t, n, customerOf("alice"))
	p.refused("unknown_verb", "frobnicate", obj{})
	id := p.open(obj{"channel": "web", "from_the_future": 1})
	p.raw(fmt.Sprintf(`{"id":100,"send":{"session":%q,"body":1}}`+"\n"+`{"send":{"session":%q,"body":2}}`+"\n"+`{"id":101,"send":{"session":%q,"body":3}}`, id, id, id))
	first, last := p.answer(100)["send"].(obj), p.answer(101)["send"].(obj)
	if num(first["seq"]) >= num(last["seq"])-1 {
		t.Fatalf("a batch wrote %v and %v: the frame without id between them is missing", first, last)
	}
	p.refused("invalid_body", "send", obj{"session": id})
	p.refused("too_large", "send", obj{"session": id, "body": strings.Repeat("x", 40_000)}) // [SW-6.3]
	p.refused("bad_request", "send", obj{"session": id, "body": 1, "key": "not an id"})
	p.refused("no_session", "send", obj{"session": "nonsense", "body": 1})
	p.refused("forbidden", "subscribe", obj{"queues": []string{"default"}})
}

// [SW-4.1] [SW-4.2] [SW-4.4] [SW-4.6] The customer's side.
func TestCustomer(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	o := a.ask("open", obj{"channel": "web", "attributes": obj{"intent": "refund"}})
	id := o["session"].(string)
	if o["state"] != "new" || num(o["head"]) != 1 || num(o["epoch"]) != 1 || o["how"] != "exact" {
		t.Fatalf("open %v", o)
	}
	b := login(t, n, customerOf("alice"))
	if got := b.open(obj{"channel": "app"}); got != id {
		t.Fatalf("a second device opened %s; want %s", got, id)
	}
	s := a.ask("send", obj{"session": id, "key": "k1", "type": "text", "body": text("hi")})
	if s["duplicate"] != false || num(s["ts"]) == 0 {
		t.Fatalf("send %v", s)
	}
	m := b.said("message")
	from, _ := m["from"].(obj)
	if num(m["seq"]) != num(s["seq"]) || bodyText(m) != "hi" || from["id"] != "alice" || from["role"] != "customer" || m["origin"] != "customer" || m["visibility"] != "public" {
		t.Fatalf("message %v", m)
	}
	if q := a.push("message"); q["type"] != "session.queued" || num(q["prev"]) != num(s["seq"]) {
		t.Fatalf("after the first send came %v; want session.queued: the own entry is not pushed", q)
	}
	// [SW-4.3]
	again := a.ask("send", obj{"session": id, "key": "k1", "type": "text", "body": text("hi")})
	if again["duplicate"] != true || num(again["seq"]) != num(s["seq"]) {
		t.Fatalf("the same key again: %v", again)
	}
	a.refused("idempotency_conflict", "send", obj{"session": id, "key": "k1", "type": "text", "body": text("other")})
	// [SW-4.5]
	mallory := login(t, n, customerOf("mallory"))
	e1 := mallory.refused("no_session", "send", obj{"session": id, "body": 1})
	e2 := mallory.refused("no_session", "open", obj{"session": "s_0000000000000000"})
	if fmt.Sprint(e1) != fmt.Sprint(e2) {
		t.Fatalf("a foreign session answers %v, a missing one %v", e1, e2)
	}
	h := a.ask("history", obj{"session": id, "limit": 50})
	list, _ := h["entries"].([]any)
	prev := 0
	for _, v := range list {
		e := v.(obj)
		if num(e["seq"]) <= prev {
			t.Fatalf("history out of order: %v", list)
		}
		prev = num(e["seq"])
	}
	// [SW-4.6] closing and reopening
	a.ask("close", obj{"session": id, "reason": "solved"})
	r := a.ask("send", obj{"session": id, "body": text("one more thing")})
	if o := a.ask("open", obj{"session": id}); o["state"] != "queued" || num(r["seq"]) == 0 {
		t.Fatalf("after reopening: %v", o)
	}
	a.ask("close", obj{"session": id})
	other := a.open(obj{})
	if other == id {
		t.Fatal("an open after the close found the closed session")
	}
	if e := a.refused("session_closed", "send", obj{"session": id, "body": 1}); fmt.Sprint(e["detail"]) != fmt.Sprint(obj{"session": other}) {
		t.Fatalf("session_closed %v", e)
	}
}

// [SW-3.2] Resume continues where a connection was.
func TestResume(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	b := login(t, n, customerOf("alice"))
	b.open(obj{})
	last := 0
	for i := range 100 {
		last = num(a.ask("send", obj{"session": id, "body": text(fmt.Sprint(i))})["seq"])
	}
	c := dial(t, n)
	h := c.ask("hello", obj{"token": mint(t, n, customerOf("alice")), "resume": []obj{
		{"session": id, "epoch": 1, "seq": 1}, {"session": "s_0000000000000000", "epoch": 1, "seq": 1},
	}})
	list, _ := h["resumed"].([]any)
	if len(list) != 2 || list[0].(obj)["how"] != "exact" || num(list[0].(obj)["head"]) < last || list[1].(obj)["error"].(obj)["slug"] != "no_session" {
		t.Fatalf("resumed %v", list)
	}
	prev := 1
	for prev < last {
		m := c.push("message")
		if num(m["prev"]) != prev {
			t.Fatalf("gap: %v after %d", m, prev)
		}
		prev = num(m["seq"])
	}
	d := login(t, n, customerOf("alice"))
	if o := d.ask("open", obj{"session": id, "from": obj{"epoch": 1, "seq": last + 1000}}); o["how"] != "truncated" || num(o["at"]) < last {
		t.Fatalf("a position ahead of the head: %v", o)
	}
	if o := d.ask("open", obj{"session": id, "from": obj{"epoch": 9, "seq": 1}}); o["how"] != "reset" {
		t.Fatalf("a position of a later epoch: %v", o)
	}
}

// [SW-5.2] [SW-5.3] [SW-5.4] [SW-5.5] [SW-5.8] From the bot to the human.
func TestHandOff(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot, human := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 4, "window": 16})
	human.subscribe(obj{"slots": 2})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{"attributes": obj{"tier": "gold"}})
	sent := num(a.ask("send", obj{"session": id, "body": text("where is my order?")})["seq"])

	as := bot.push("assigned")
	if num(as["ae"]) != 1 || as["queue"] != "default" || as["reason"] != "route" || as["attributes"].(obj)["tier"] != "gold" {
		t.Fatalf("assigned %v", as)
	}
	d := bot.said("delivery")
	if num(d["seq"]) != sent || num(d["attempt"]) != 1 || num(d["ae"]) != 1 {
		t.Fatalf("delivery %v", d)
	}
	bot.refused("not_delivered", "reply", obj{"session": id, "ae": 1, "ack": 99, "body": 1}) // [SW-5.6]
	r := bot.ask("reply", obj{"session": id, "ae": 1, "ack": sent, "type": "text", "body": text("on its way")})
	if r2 := bot.ask("reply", obj{"session": id, "ae": 1, "ack": sent, "type": "text", "body": text("said twice")}); r2["duplicate"] != true || num(r2["seq"]) != num(r["seq"]) {
		t.Fatalf("a second answer to the same message: %v", r2)
	}
	if m := a.said("message"); bodyText(m) != "on its way" || m["origin"] != "bot" {
		t.Fatalf("message %v", m)
	}
	if v := bot.ask("context", obj{"session": id, "ae": 1, "if_v": 0, "patch": obj{"order": 7}}); num(v["v"]) != 1 {
		t.Fatalf("context %v", v)
	}
	bot.refused("version_conflict", "context", obj{"session": id, "ae": 1, "if_v": 0, "patch": obj{}})
	up := num(a.ask("send", obj{"session": id, "body": text("a human, please")})["seq"])
	bot.said("delivery")
	bot.refused("unanswered", "release", obj{"session": id, "ae": 1, "upto": sent})
	bot.refused("no_queue", "transfer", obj{"session": id, "ae": 1, "to": obj{"queue": "nowhere"}})
	bot.ask("transfer", obj{"session": id, "ae": 1, "to": obj{"queue": "default"}, "note": "upset", "context": obj{"mood": "low"}, "upto": up})
	for verb, body := range map[string]obj{
		"reply": {"session": id, "ae": 1, "body": 1}, "nack": {"session": id, "ae": 1, "seq": up}, "release": {"session": id, "ae": 1},
	} {
		bot.refused("stale_assignment", verb, body) // [SW-5.3]
	}

	of := human.push("offer")
	if of["session"] != id || num(of["expires_ms"]) != 20000 {
		t.Fatalf("offer %v", of)
	}
	acc := human.ask("accept", obj{"offer": of["offer"]})
	if num(acc["ae"]) != 2 || acc["session"] != id {
		t.Fatalf("accept %v", acc)
	}
	as = human.push("assigned")
	ctx, _ := as["context"].(obj)
	if fmt.Sprint(ctx["doc"]) != fmt.Sprint(obj{"order": 7.0, "mood": "low"}) {
		t.Fatalf("context %v", ctx)
	}
	// [I9] snapshot and stream together are the whole log
	seen := map[int]bool{}
	for _, v := range as["tail"].([]any) {
		seen[num(v.(obj)["seq"])] = true
	}
	d = human.said("delivery")
	seen[num(d["seq"])] = true
	for seq := 1; seq <= num(as["head"]); seq++ {
		if !seen[seq] {
			t.Fatalf("the human was not shown entry %d of %d", seq, num(as["head"]))
		}
	}
	if bodyText(d) != "a human, please" {
		t.Fatalf("delivery %v", d)
	}
	if again := human.ask("accept", obj{"offer": of["offer"]}); num(again["ae"]) != 2 {
		t.Fatalf("accepted twice: %v", again)
	}
	human.ask("reply", obj{"session": id, "ae": 2, "ack": up, "body": text("Bob here"), "type": "text"})
	human.ask("reply", obj{"session": id, "ae": 2, "body": text("careful, upset"), "visibility": "staff"})
	human.ask("reply", obj{"session": id, "ae": 2, "body": text("how can I help?")})
	for m := a.said("message"); ; m = a.said("message") {
		if m["visibility"] == "staff" {
			t.Fatalf("the customer was shown %v", m)
		}
		if bodyText(m) == "how can I help?" {
			break
		}
	}
	human.ask("close", obj{"session": id, "ae": 2, "reason": "solved"})
	for m := a.push("message"); m["type"] != "session.closed"; m = a.push("message") {
	}
}

// [SW-4.9] Events tell a session's life. Who came and went is public, why and how well is for staff.
func TestLifeInEvents(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot, human := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 1})
	human.subscribe(obj{"slots": 1})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("open", obj{"channel": "app"})
	a.ask("send", obj{"session": id, "body": text("hi")})
	ae := num(bot.push("assigned")["ae"])
	bot.ask("transfer", obj{"session": id, "ae": ae, "to": obj{"queue": "default"}, "note": "rude"})
	human.ask("accept", obj{"offer": human.push("offer")["offer"]})
	ae = num(human.push("assigned")["ae"])
	human.ask("reply", obj{"session": id, "ae": ae, "ack": num(human.said("delivery")["seq"]), "body": text("hello")})
	human.ask("transfer", obj{"session": id, "ae": ae, "to": obj{"worker": "nobody"}})
	human.ask("release", obj{"session": id, "ae": ae, "outcome": "solved", "summary": "all is well"})
	a.ask("rate", obj{"session": id, "score": 1, "comment": "no"})
	a.ask("close", obj{"session": id, "reason": "done"})
	a.ask("send", obj{"session": id, "body": text("one more thing")})
	human.ask("accept", obj{"offer": human.push("offer")["offer"]}) // who had it last is asked first
	human.push("assigned")
	chief := login(t, n, token.Claims{Tenant: "demo", Sub: "chief", Role: wire.RoleSupervisor})

	events := func(p *peer) (list []string) {
		t.Helper()
		for _, v := range p.ask("history", obj{"session": id, "after": 0, "limit": 100})["entries"].([]any) {
			e := v.(obj)
			if e["kind"] == "event" {
				list = append(list, fmt.Sprint(e["type"]))
				if want := session.EventVisibility(fmt.Sprint(e["type"])); e["visibility"] != want {
					t.Errorf("%v is %v; want %s", e["type"], e["visibility"], want)
				}
			}
			if body := fmt.Sprint(e["body"]); p == a && (strings.Contains(body, "rude") || strings.Contains(body, "all is well") || strings.Contains(body, "comment")) {
				t.Errorf("the customer was shown %v", e)
			}
		}
		return list
	}
	f := func(p *peer, want ...string) {
		t.Helper()
		if got := events(p); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("events\n%v\nwant\n%v", got, want)
		}
	}
	f(a, "session.opened", "session.queued", "session.assigned", "session.queued", "session.assigned", "session.closed", "session.reopened", "session.queued", "session.assigned")
	f(chief, "session.opened", "channel.attached", "session.queued", "session.assigned", "session.transferred", "session.queued", "session.assigned",
		"session.transfer_failed", "session.released", "session.rated", "session.closed", "session.released", "session.reopened", "session.queued", "session.assigned")
}

// [SW-5.6] nack brings an entry again, and after max_attempts the session moves on.
func TestNackAndDeadLetter(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot, human := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 4})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	seq := num(a.ask("send", obj{"session": id, "body": text("riddle")})["seq"])
	for attempt := 1; attempt <= 5; attempt++ {
		d := bot.said("delivery")
		if num(d["attempt"]) != attempt || num(d["seq"]) != seq {
			t.Fatalf("attempt %d: %v", attempt, d)
		}
		if attempt == 5 {
			human.subscribe(obj{"slots": 1})
		}
		bot.ask("nack", obj{"session": id, "ae": 1, "seq": seq, "delay_ms": 1, "reason": "no idea"})
	}
	if r := bot.push("revoked"); num(r["ae"]) != 1 {
		t.Fatalf("revoked %v", r)
	}
	human.ask("accept", obj{"offer": human.push("offer")["offer"]})
	if d := human.said("delivery"); num(d["seq"]) != seq {
		t.Fatalf("the human got %v", d)
	}
	if list := happened(t, n, id, "session.dead_lettered"); len(list) != 1 || list[0]["visibility"] != "staff" {
		t.Fatalf("session.dead_lettered: %v", list)
	}
}

// [SW-5.7] Leases, grace and takeover.
func TestLease(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}, GraceBotsMS: 200}}
	})
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	lease := bot.subscribe(obj{"slots": 4})["lease"]
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	seq := num(a.ask("send", obj{"session": id, "body": text("hi")})["seq"])
	bot.said("delivery")
	_ = bot.ws.Close()
	bot = login(t, n, workerOf("faq", wire.OriginBot))
	kept, _ := bot.subscribe(obj{"slots": 4, "lease": lease})["kept"].([]any)
	if len(kept) != 1 || kept[0].(obj)["session"] != id || num(kept[0].(obj)["ae"]) != 1 {
		t.Fatalf("kept %v", kept)
	}
	if d := bot.said("delivery"); num(d["seq"]) != seq || num(d["attempt"]) != 1 {
		t.Fatalf("after coming back: %v", d)
	}
	// a second subscription takes over
	second := login(t, n, workerOf("faq", wire.OriginBot))
	second.subscribe(obj{"slots": 4, "lease": lease})
	if r := bot.push("revoked"); r["reason"] != "takeover" {
		t.Fatalf("revoked %v", r)
	}
	if d := second.said("delivery"); num(d["seq"]) != seq {
		t.Fatalf("after the takeover: %v", d)
	}
	// the grace ends: another worker has it, with a higher ae and the next attempt
	other := login(t, n, workerOf("other", wire.OriginBot))
	_ = second.ws.Close()
	other.subscribe(obj{"slots": 1})
	as := other.push("assigned")
	if num(as["ae"]) != 2 || as["reason"] != "requeue" {
		t.Fatalf("assigned %v", as)
	}
	if d := other.said("delivery"); num(d["seq"]) != seq || num(d["attempt"]) != 2 {
		t.Fatalf("delivery %v", d)
	}
}

// [SW-5.1] Slots and window are never exceeded.
func TestWindow(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1, "window": 2})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	var seqs []int
	for i := range 60 {
		seqs = append(seqs, num(a.ask("send", obj{"session": id, "body": text(fmt.Sprint(i))})["seq"]))
	}
	for i := 0; i < len(seqs); i += 2 {
		for k := range 2 {
			if d := bot.said("delivery"); num(d["seq"]) != seqs[i+k] {
				t.Fatalf("delivery %v; want %d", d, seqs[i+k])
			}
		}
		if i == 0 {
			// A second customer's session has no slot, and these two have no room in the window: what comes next is the reply.
			b := login(t, n, customerOf("ben"))
			b.ask("send", obj{"session": b.open(obj{}), "body": 1})
			f := bot.answer(bot.send("slots", obj{"slots": 1}))
			for _, x := range bot.in {
				if x["delivery"] != nil && x["delivery"].(obj)["kind"] == "message" || x["assigned"] != nil {
					t.Fatalf("beyond slots or window: %v (then %v)", x, f)
				}
			}
		}
		bot.write(obj{"ack": obj{"session": id, "ae": 1, "seq": seqs[i+1]}})
	}
}

// [SW-4.8] Streams.
func TestStreams(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	seq := num(a.ask("send", obj{"session": id, "body": text("tell me")})["seq"])
	bot.said("delivery")
	bot.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m1", "off": 0, "text": "Your"}})
	if d := a.push("delta"); d["text"] != "Your" || num(d["off"]) != 0 {
		t.Fatalf("delta %v", d)
	}
	bot.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m1", "off": 99, "text": "?"}})
	if r := bot.push("rewind"); num(r["off"]) != 4 || r["stream"] != "m1" {
		t.Fatalf("rewind %v", r)
	}
	late := login(t, n, customerOf("alice"))
	o := late.ask("open", obj{})
	if s, _ := o["streams"].([]any); len(s) != 1 || s[0].(obj)["text"] != "Your" {
		t.Fatalf("streams %v", o)
	}
	bot.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m1", "off": 4, "text": " order"}})
	late.push("delta")
	bot.ask("reply", obj{"session": id, "ae": 1, "ack": seq, "stream": "m1", "body": text("Your order moved")})
	if m := late.said("message"); m["stream"] != "m1" {
		t.Fatalf("final message %v", m)
	}
	bot.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m2", "off": 0, "text": "half a"}})
	a.push("delta")
	bot.ask("release", obj{"session": id, "ae": 1, "outcome": "solved"})
	for m := late.said("message"); ; m = late.said("message") {
		if m["stream"] == "m2" {
			if m["type"] != "interrupted" || bodyText(m) != "half a" {
				t.Fatalf("interrupted %v", m)
			}
			return
		}
	}
}

// [SW-7] HTTP has the same verbs, the same errors.
func TestHTTP(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	tok := mint(t, n, customerOf("alice"))
	do := func(method, path, body string, header ...string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tok)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, strings.TrimSpace(string(b)), r.Header
	}
	status, body, _ := do("POST", "/v1/sessions", `{"channel":"email"}`)
	if status != 200 || !strings.Contains(body, `"session":"s_`) {
		t.Fatalf("open: %d %s", status, body)
	}
	id := body[strings.Index(body, "s_"):][:18]
	if status, body, _ = do("POST", "/v1/sessions/"+id+"/messages", `{"type":"text","body":{"text":"hi"}}`, "Idempotency-Key", "k1"); status != 201 || !strings.Contains(body, `"seq":2`) {
		t.Fatalf("send: %d %s", status, body)
	}
	if status, body, _ = do("POST", "/v1/sessions/"+id+"/messages", `{"type":"text","body":{"text":"hi"}}`, "Idempotency-Key", "k1"); status != 200 || !strings.Contains(body, `"duplicate":true`) {
		t.Fatalf("send again: %d %s", status, body)
	}
	if status, body, _ = do("GET", "/v1/sessions/"+id+"/messages?after=1&limit=1", ""); status != 200 || !strings.Contains(body, `"more":true`) || !strings.Contains(body, `"email"`) {
		t.Fatalf("history: %d %s", status, body)
	}
	status, body, h := do("GET", "/v1/sessions/s_0000000000000000/messages", "")
	if status != 404 || !strings.Contains(body, `"slug":"no_session"`) || h.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("missing session: %d %s %v", status, body, h)
	}
	for _, bad := range []string{"", "{", `{"body":}`, "null"} {
		if status, _, _ = do("POST", "/v1/sessions/"+id+"/messages", bad); status != 422 {
			t.Fatalf("body %q: %d", bad, status)
		}
	}
	good := tok
	tok = "nonsense"
	if status, _, _ = do("GET", "/v1/sessions/"+id+"/messages", ""); status != 401 {
		t.Fatalf("bad token: %d", status)
	}
	tok = good
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/nowhere": 404} {
		if status, body, _ = do("GET", path, ""); status != want {
			t.Fatalf("%s: %d %s", path, status, body)
		}
	}
	if _, body, _ = do("GET", "/metrics", ""); !strings.Contains(body, "switchboard_journal_syncs_total") || !strings.Contains(body, "switchboard_edge_frames_in_total") {
		t.Fatalf("metrics: %s", body)
	}
}

// [SW-7] Server-sent events resume by Last-Event-ID.
func TestEvents(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	for i := range 5 {
		a.ask("send", obj{"session": id, "body": text(fmt.Sprint(i))})
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+n.Addr()+"/v1/sessions/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+mint(t, n, customerOf("alice")))
	req.Header.Set("Last-Event-ID", "1:1")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	buf := make([]byte, 64<<10)
	var got string
	for strings.Count(got, "id: 1:") < 6 {
		k, err := r.Body.Read(buf)
		got += string(buf[:k])
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
	}
	for i, want := range []string{"id: 1:2\ndata: {\"message\":", "id: 1:3\n", "id: 1:7\n"} {
		if !strings.Contains(got, want) {
			t.Fatalf("%d: %q is missing in %q", i, want, got)
		}
	}
}

// A node that stops and starts again has every word.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	last := 0
	for i := range 50 {
		last = num(a.ask("send", obj{"session": id, "key": fmt.Sprint("k", i), "body": text(fmt.Sprint(i))})["seq"])
	}
	drain(t, n)
	if code, bye := a.closed(); code != 3001 || bye["reason"] != "drain" {
		t.Fatalf("drained with %d, %v", code, bye)
	}
	var entries []*wire.Entry
	if err := node.ReadLog(dir, wire.SessionID(id), func(e *wire.Entry) error {
		entries = append(entries, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	n = start(t, dir)
	defer stop(t, n)
	if len(entries) != last && entries[len(entries)-1].Seq != uint64(len(entries)) {
		t.Fatalf("%d entries in the log; the last was %d", len(entries), last)
	}
	a = login(t, n, customerOf("alice"))
	o := a.ask("open", obj{"from": obj{"epoch": 1, "seq": 0}})
	if o["session"] != id || o["state"] != "queued" {
		t.Fatalf("open %v", o)
	}
	for i := range 50 {
		if m := a.said("message"); bodyText(m) != fmt.Sprint(i) {
			t.Fatalf("message %v; want %d", m, i)
		}
	}
	for i := range 50 {
		if r := a.ask("send", obj{"session": id, "key": fmt.Sprint("k", i), "body": text(fmt.Sprint(i))}); r["duplicate"] != true {
			t.Fatalf("key %d after the restart: %v", i, r)
		}
	}
}

// Two processes never share a data directory, and a directory keeps its number of shards.
func TestDataDirectory(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	cfg := node.Config{Data: dir, Listen: "127.0.0.1:0", Dev: true, Shards: 4}
	if _, err := node.Start(cfg); err == nil {
		t.Fatal("a second node started on the same directory")
	}
	stop(t, n)
	cfg.Shards = 8
	if _, err := node.Start(cfg); err == nil || !strings.Contains(err.Error(), "set shards to 4") {
		t.Fatalf("another number of shards: %v", err)
	}
	cfg.Shards, cfg.Listen = 4, "0.0.0.0:0"
	if _, err := node.Start(cfg); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Fatalf("--dev on all addresses: %v", err)
	}
}
