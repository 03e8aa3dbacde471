package node_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"switchboard/node"
	"switchboard/wire"
)

// [SW-4] [SW-4.4] A page of history: where it begins and ends, and prev, which names the entry before it that its reader may see.
func TestHistoryPages(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a, bot := login(t, n, customerOf("alice")), login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": 0})
	bot.push("assigned")
	for range 4 { // an entry that the customer may see, and one that he may not
		bot.ask("reply", obj{"session": id, "ae": 1, "body": 1})
		bot.ask("reply", obj{"session": id, "ae": 1, "body": 2, "visibility": "staff"})
	}
	head := num(a.ask("open", obj{})["head"])
	sue := login(t, n, supervisorOf("sue"))
	f := func(p *peer, ask string, more bool, want string) {
		t.Helper()
		body := obj{"session": id}
		for kv := range strings.FieldsSeq(ask) {
			var k string
			var v int
			if _, err := fmt.Sscanf(strings.Replace(kv, "=", " ", 1), "%s %d", &k, &v); err != nil {
				t.Fatal(err)
			}
			body[k] = v
		}
		h := p.ask("history", body)
		var got []string
		for _, e := range entries(h) {
			got = append(got, fmt.Sprintf("%d(%d)", num(e["seq"]), num(e["prev"])))
		}
		if _, ok := h["entries"].([]any); !ok || strings.Join(got, " ") != want || h["more"] != more {
			t.Errorf("%s: %v, more %v; want %s, %v", ask, got, h["more"], want, more)
		}
	}
	// 1 opened, 2 send, 3 queued, 4 assigned, then 5 7 9 11 public and 6 8 10 12 staff.
	if head != 11 {
		t.Fatalf("head %d; want 11", head)
	}
	f(a, "", false, "1(0) 2(1) 3(2) 4(3) 5(4) 7(5) 9(7) 11(9)")
	f(a, "limit=3", true, "7(5) 9(7) 11(9)")
	f(a, "after=5 limit=2", true, "7(5) 9(7)")
	f(a, "after=6 limit=2", true, "7(5) 9(7)")
	f(a, "after=9", false, "11(9)")
	f(a, "after=11", false, "")
	f(a, "after=1000", false, "")
	f(a, "before=7 limit=2", true, "4(3) 5(4)")
	f(a, "before=1", false, "")
	f(a, "after=3 before=8", false, "4(3) 5(4) 7(5)")
	f(a, "after=0 limit=1", true, "1(0)")
	f(sue, "after=5 limit=2", true, "6(5) 7(6)")
	f(sue, "limit=1", true, "12(11)")
}

// [SW-4.1] Where open attaches, who lands where, and what racing opens come to.
func TestOpens(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	o := a.ask("open", obj{"channel": "web", "queue": "refunds", "attributes": obj{"vip": true}})
	id := o["session"].(string)
	for i := range 5 {
		a.ask("send", obj{"session": id, "body": i})
	}
	b := login(t, n, customerOf("alice"))
	if o := b.ask("open", obj{"channel": "app", "queue": "default", "attributes": obj{"vip": false}}); o["session"] != id || o["state"] != "queued" || num(o["head"]) != 7 {
		t.Fatalf("the second device: %v", o)
	}
	c := login(t, n, customerOf("alice"))
	if o := c.ask("open", obj{"tail": 3}); num(o["head"]) != 7 {
		t.Fatalf("open with a tail: %v", o)
	}
	d := login(t, n, customerOf("alice"))
	d.ask("open", obj{"from": obj{"epoch": 1, "seq": 2}})
	s := num(a.ask("send", obj{"session": id, "body": "live"})["seq"]) // 8 was channel.attached, which is staff's
	f := func(p *peer, want ...int) {
		t.Helper()
		for _, seq := range want {
			if m := p.push("message"); num(m["seq"]) != seq {
				t.Fatalf("came %v; want %d", m, seq)
			}
		}
	}
	f(b, s)
	f(c, 5, 6, 7, s)
	f(d, 3, 4, 5, 6, 7, s)
	sue := login(t, n, supervisorOf("sue"))
	if st := sue.ask("open", obj{"session": id}); st["state"] != "queued" {
		t.Fatalf("a supervisor's open: %v", st)
	}
	bot := login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"refunds"}, "slots": 1})
	if as := bot.push("assigned"); as["queue"] != "refunds" || as["attributes"].(obj)["vip"] != true {
		t.Fatalf("the first open's words are not those that count: %v", as)
	}
	if w, _ := b.ask("open", obj{})["worker"].(obj); w["id"] != "faq" || w["kind"] != "bot" || w["name"] != "FAQ" {
		t.Fatalf("open names the worker %v", w)
	}
	a.refused("no_queue", "open", obj{"shop": "other", "queue": "nowhere"})

	var wg sync.WaitGroup
	got := make([]string, 16)
	tok := mint(t, n, customerOf("racer"))
	for i := range got {
		wg.Go(func() {
			r := &rest{t, n, tok}
			if status, m := r.post("/v1/sessions", "{}"); status == 200 {
				got[i], _ = m["session"].(string)
			}
		})
	}
	wg.Wait()
	for _, id := range got {
		if id == "" || id != got[0] {
			t.Fatalf("racing opens came to %v", got)
		}
	}
}

// [SW-4.3] Every verb that writes takes a key: the same again is the first result, other words are a conflict, and a key that is
// known answers before fence and state are asked.
func TestKeysOfEveryVerb(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	a, bot := login(t, n, customerOf("alice")), login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 8})
	type said struct {
		by    *peer
		verb  string
		body  obj
		first obj
	}
	var all []said
	f := func(p *peer, verb string, body, other obj) obj {
		t.Helper()
		body["key"] = "k-" + verb
		first := p.ask(verb, body)
		again := p.ask(verb, body)
		if first["duplicate"] == true || again["duplicate"] != true || again["seq"] != first["seq"] || again["v"] != first["v"] {
			t.Fatalf("%s: %v, and again %v", verb, first, again)
		}
		if other != nil {
			bad := maps.Clone(body)
			maps.Copy(bad, other)
			if e := p.refused("idempotency_conflict", verb, bad); num(e["code"]) != 409 {
				t.Fatalf("%s: %v", verb, e)
			}
		}
		all = append(all, said{p, verb, body, first})
		return first
	}
	id := f(a, "open", obj{"channel": "web", "attributes": obj{"a": 1}}, nil)["session"].(string)
	if !strings.HasPrefix(id, "s_") {
		t.Fatal(id)
	}
	seq := num(f(a, "send", obj{"session": id, "body": text("hi")}, obj{"body": text("ho")})["seq"])
	bot.said("delivery")
	f(bot, "nack", obj{"session": id, "ae": 1, "seq": seq, "delay_ms": 0}, obj{"seq": seq + 1})
	bot.said("delivery")
	f(bot, "context", obj{"session": id, "ae": 1, "if_v": 0, "patch": obj{"x": 1}}, obj{"patch": obj{"x": 2}})
	f(bot, "attributes", obj{"session": id, "ae": 1, "if_v": 0, "patch": obj{"y": 1}}, obj{"patch": obj{"y": 2}})
	f(bot, "reply", obj{"session": id, "ae": 1, "ack": seq, "body": text("yes")}, obj{"body": text("no")})
	f(a, "rate", obj{"session": id, "score": 4, "comment": "good"}, obj{"score": 5})
	f(bot, "release", obj{"session": id, "ae": 1, "outcome": "solved"}, obj{"outcome": "lost"})
	a.ask("send", obj{"session": id, "body": text("more")})
	for as := bot.push("assigned"); num(as["ae"]) != 2; as = bot.push("assigned") {
	}
	f(bot, "transfer", obj{"session": id, "ae": 2, "to": obj{"queue": "refunds"}}, obj{"to": obj{"queue": "default"}})
	f(a, "close", obj{"session": id, "reason": "done"}, obj{"reason": "other"})
	for _, s := range all { // the session is closed and every ae stale
		if again := s.by.ask(s.verb, s.body); again["duplicate"] != true || again["seq"] != s.first["seq"] || again["session"] != s.first["session"] {
			t.Errorf("%s once everything is over: %v; first it was %v", s.verb, again, s.first)
		}
	}
	bot.refused("stale_assignment", "release", obj{"session": id, "ae": 1, "key": "new"})
	a.refused("session_closed", "close", obj{"session": id, "key": "new"})
	// A key is the sender's own, and of one session.
	b := login(t, n, customerOf("ben"))
	if r := b.ask("send", obj{"session": b.open(obj{}), "key": "k-send", "body": text("ho")}); r["duplicate"] != false {
		t.Fatalf("another session's key: %v", r)
	}
}

// [SW-4.6] A closed session is reopened by a word inside the window, and not behind it.
func TestReopenWindow(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}, ReopenWindowMS: 1}}
	})
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	for {
		a.ask("close", obj{"session": id})
		f := a.answer(a.send("send", obj{"session": id, "body": 1}))
		if f["send"] != nil { // faster than a millisecond
			continue
		}
		e := f["error"].(obj)
		if e["slug"] != "session_closed" || e["detail"] != nil || e["retry"] != "never" {
			t.Fatalf("behind the window: %v", f)
		}
		break
	}
	if next := a.open(obj{}); next == id {
		t.Fatal("open found the closed session")
	}
}

// [SW-4.5] [SW-5.10] What is not there for somebody is not there in any way: over sockets, HTTP, history and events.
func TestNotThere(t *testing.T) {
	n := startTwo(t)
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": 1})
	tenant := customerOf("alice")
	tenant.Tenant = "acme"
	chief := supervisorOf("chief")
	chief.Tenant = "acme"
	for name, c := range map[string]*rest{
		"another customer": without(t, n, customerOf("mallory")), "another tenant's": without(t, n, tenant), "another tenant's supervisor": without(t, n, chief),
		"a worker who never had it": without(t, n, workerOf("w", wire.OriginBot)),
	} {
		tok := "Bearer " + c.token
		for _, there := range []string{id, "s_0000000000000000"} {
			for _, path := range []string{"/messages", "/events", "/explain"} {
				h := problem(t, n, 404, "no_session", "GET", "/v1/sessions/"+there+path, "", "Authorization", tok)
				if h.Get("Retry-After") != "" {
					t.Errorf("%s: %v", name, h)
				}
			}
		}
	}
}

// [SW-2.4] [SW-4.2] [SW-4.4] What happens to a session is told in the order in which it happened, own words by their replies in
// their place; requests of one connection take effect in the order sent.
func TestOrder(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) { c.Limits.Inflight = 1000 })
	defer stop(t, n)
	const each = 150
	var all []*peer
	var id string
	for range 3 {
		p := login(t, n, customerOf("alice"))
		id = p.open(obj{})
		all = append(all, p)
	}
	var wg sync.WaitGroup
	for k, p := range all {
		wg.Go(func() {
			var lines []string
			for i := range each {
				lines = append(lines, fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":{"text":"%d/%d"}}}`, 1000+i, id, k, i))
				if len(lines) >= 1+i%7 || i == each-1 {
					if p.speak([]byte(strings.Join(lines, "\n"))) != nil {
						return
					}
					lines = nil
				}
			}
		})
	}
	wg.Wait()
	for k, p := range all {
		last, answered, heard, next := 1, 0, 0, 1000
		others := map[string]int{}
		for heard < 2*each || answered < each {
			f := p.read()
			if f == nil {
				t.Fatalf("the connection ended: %v", p.gone)
			}
			if m, ok := f["message"].(obj); ok {
				if num(m["prev"]) != last || num(m["seq"]) <= last {
					t.Fatalf("connection %d: entry %v behind %v, after %d", k, m["seq"], m["prev"], last)
				}
				last = num(m["seq"])
				if m["kind"] == "message" {
					who, i, _ := strings.Cut(bodyText(m), "/")
					if fmt.Sprint(others[who]) != i {
						t.Fatalf("connection %d: %s's word %s came when %d was the next", k, who, i, others[who])
					}
					others[who]++
					heard++
				}
			}
			if r, ok := f["send"].(obj); ok {
				if num(f["id"]) != next || num(r["seq"]) <= last {
					t.Fatalf("connection %d: reply %v of seq %v after %d; want id %d", k, f["id"], r["seq"], last, next)
				}
				last, next = num(r["seq"]), next+1
				answered++
			}
		}
		if len(others) != 2 || others[fmt.Sprint(k)] != 0 {
			t.Fatalf("connection %d heard %v", k, others)
		}
	}
}

// [SW-7] [SW-4.3] A key in a header is the key of the verb, in quotes or without, whichever way it is used again.
func TestKeysInHeaders(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	c := without(t, n, customerOf("alice"))
	o := c.want(200, "", "/v1/sessions", `{"channel":"web"}`, "Idempotency-Key", "o1")
	id := o["session"].(string)
	if again := c.want(200, "", "/v1/sessions", `{"channel":"web"}`, "Idempotency-Key", `"o1"`); again["duplicate"] != true || again["session"] != id {
		t.Fatalf("open again: %v", again)
	}
	c.want(409, "idempotency_conflict", "/v1/sessions", `{"channel":"app"}`, "Idempotency-Key", "o1")
	path, body := "/v1/sessions/"+id+"/messages", `{"type":"text","body":{"text":"hi"}}`
	first := c.want(201, "", path, body, "Idempotency-Key", `"k1"`)
	if again := c.want(200, "", path, body, "Idempotency-Key", "k1"); again["seq"] != first["seq"] {
		t.Fatalf("sent again: %v; first %v", again, first)
	}
	if again := login(t, n, customerOf("alice")).ask("send", obj{"session": id, "key": "k1", "type": "text", "body": text("hi")}); again["duplicate"] != true || again["seq"] != first["seq"] {
		t.Fatalf("sent again over a socket: %v", again)
	}
	for _, bad := range []string{`"k1`, `k1"`, `""`, `"a b"`, `a"b`} {
		c.want(400, "bad_request", path, body, "Idempotency-Key", bad)
	}
}
