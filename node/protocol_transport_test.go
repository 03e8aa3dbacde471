package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// bare makes one HTTP request as it is, and returns the answer with its body.
func bare(t testing.TB, n *node.Node, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

// problem is bare for a request that must be answered with a problem of RFC 9457.
func problem(t testing.TB, n *node.Node, status int, slug, method, path, body string, header ...string) http.Header {
	t.Helper()
	res, raw := bare(t, n, method, path, body, header...)
	var p obj
	err := json.Unmarshal([]byte(raw), &p)
	if err != nil || res.StatusCode != status || num(p["status"]) != status || p["slug"] != slug || p["title"] == "" || p["retry"] == "" ||
		res.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s %s was answered %d %s %q; want a problem %d %s", method, path, res.StatusCode, res.Header.Get("Content-Type"), raw, status, slug)
	}
	return res.Header
}

// [SW-2.1] [SW-7] Whatever is no handshake, no path or no method is answered with a problem, as everything else over HTTP.
func TestProblems(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) { c.Origins = []string{"https://shop.example"} })
	defer stop(t, n)
	tok := "Bearer " + mint(t, n, customerOf("alice"))
	if h := problem(t, n, 400, "bad_request", "GET", "/v1/connect", ""); h.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("the version that is spoken is not named: %v", h)
	}
	problem(t, n, 400, "bad_request", "GET", "/v1/connect", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "8", "Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")
	if h := problem(t, n, 405, "bad_request", "POST", "/v1/connect", ""); h.Get("Allow") != "GET" {
		t.Errorf("405 names no method: %v", h)
	}
	problem(t, n, 403, "forbidden", "GET", "/v1/connect", "", "Origin", "https://evil.example", "Connection", "Upgrade", "Upgrade", "websocket",
		"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg==")
	for _, path := range []string{"/nowhere", "/v1/nowhere", "/v1/sessions/s_1/nowhere", "/v1/queues/default/nowhere", "/v1/assignments/s_1/1/nowhere", "/v1/customers/x", "/v1/admin/config/demo/x/y/z"} {
		problem(t, n, 404, "unknown_verb", "GET", path, "", "Authorization", tok)
	}
	problem(t, n, 404, "unknown_verb", "DELETE", "/v1/sessions", "", "Authorization", tok)
	for _, h := range [][]string{nil, {"Authorization", "Bearer x"}, {"Authorization", "Basic eDp5"}} {
		if got := problem(t, n, 401, "unauthenticated", "POST", "/v1/sessions", "{}", h...); got.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("401 says not what it wants: %v", got)
		}
	}
	old, err := n.Mint(withTenant(customerOf("alice")), -1)
	if err != nil {
		t.Fatal(err)
	}
	problem(t, n, 401, "token_expired", "POST", "/v1/sessions", "{}", "Authorization", "Bearer "+old)
}

// [SW-2.2] A body is one JSON value, stored and sent without raw CR and LF, whichever way it came.
func TestBodies(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a, b := login(t, n, customerOf("alice")), login(t, n, customerOf("alice"))
	id := a.open(obj{})
	b.open(obj{})
	tok := "Bearer " + mint(t, n, customerOf("alice"))
	res, _ := bare(t, n, "POST", "/v1/sessions/"+id+"/messages", "{\"type\":\"text\",\r\n\"body\":{\r\n\"a\" :\t[1,\n2]}}", "Authorization", tok)
	if res.StatusCode != 201 {
		t.Fatalf("a body over several lines: %d", res.StatusCode)
	}
	_, msg, err := b.ws.ReadMessage()
	if err != nil || strings.ContainsAny(string(msg), "\r") || !strings.Contains(string(msg), `"body":{"a" :`+"\t"+`[1,2]}`) {
		t.Fatalf("it was sent as %q, %v", msg, err)
	}
	for _, bad := range []string{"{", "{} {}", `{"a":01}`, `"` + "\xff" + `"`, "", "nul", `{"a":1,}`, strings.Repeat("[", 65) + strings.Repeat("]", 65)} {
		problem(t, n, 422, "invalid_body", "POST", "/v1/sessions/"+id+"/messages", `{"type":"text","body":`+bad+`}`, "Authorization", tok)
	}
	for _, good := range []string{`0`, `-1.5e3`, `"é😀"`, `null`, `[]`, `{"a":{"a":1}}`, `true`, strings.Repeat("[", 64) + strings.Repeat("]", 64)} {
		p := a.ask("send", obj{"session": id, "body": json.RawMessage(good)})
		e := entries(a.ask("history", obj{"session": id, "after": num(p["seq"]) - 1, "limit": 1}))[0]
		if got, _ := json.Marshal(e["body"]); good != `-1.5e3` && string(got) != good {
			t.Errorf("%s came back as %s", good, got)
		}
	}
}

// [SW-2.3] An id is a positive integer and asks for one reply; without one nothing is answered, not even a refusal.
func TestIDs(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	for _, id := range []string{`0`, `-1`, `1.5`, `"7"`, `1e3`, `18446744073709551616`, `[]`, `true`} {
		p := login(t, n, customerOf("alice"))
		p.raw(`{"id":` + id + `,"open":{}}`)
		if code, bye := p.closed(); code != 3501 || num(bye["code"]) != 3501 {
			t.Errorf("id %s closed with %d after %v; want 3501", id, code, bye)
		}
	}
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.raw(`{"send":{"session":"s_0000000000000000","body":1}}`)
	a.raw(`{"dance":{}}`)
	a.raw(fmt.Sprintf(`{"id":null,"send":{"session":%q,"body":{"text":"quietly"}}}`, id))
	a.raw(fmt.Sprintf(`{"id":18446744073709551615,"send":{"session":%q,"body":{"text":"aloud"}}}`, id))
	if m := a.push("message"); bodyText(m) != "quietly" { // [SW-4.4] no reply stands for it
		t.Fatalf("a send without id was pushed as %v", m)
	}
	for f := a.read(); ; f = a.read() {
		if f["id"] != nil {
			if f["send"] == nil {
				t.Fatalf("the answer is %v", f)
			}
			break
		}
	}
}

// [SW-2.5] [SW-6.3] A message holds limits.batch frames; those beyond it are refused, each by itself, and the connection stays.
func TestBatch(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) { c.Limits.Inflight = 100 })
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	var lines []string
	for i := range 66 {
		lines = append(lines, fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":%d}}`, 1000+i, id, i))
	}
	a.raw(strings.Join(lines, "\n"))
	last := 0
	for i := range 66 {
		f := a.answer(1000 + i)
		if s, ok := f["send"].(obj); ok != (i < 64) || ok && num(s["seq"]) <= last {
			t.Fatalf("frame %d of the message was answered %v", i, f)
		}
		if s, ok := f["send"].(obj); ok {
			last = num(s["seq"])
			continue
		}
		if e := f["error"].(obj); e["slug"] != "too_large" || num(e["code"]) != 413 {
			t.Fatalf("frame %d: %v", i, e)
		}
	}
	a.ask("history", obj{"session": id})
}

// [SW-2.6] An empty message is a pong, at any time, and nothing else comes of it.
func TestEmptyMessages(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a := dial(t, n)
	a.raw("")
	a.ask("hello", obj{"token": mint(t, n, customerOf("alice"))})
	for range 100 {
		a.raw("")
	}
	if f := a.answer(a.send("open", obj{})); f["open"] == nil || len(a.in) != 0 {
		t.Fatalf("open was answered %v, then came %v", f, a.in)
	}
}

// [SW-2.9] The token may travel on the upgrade, and in the URL when the operator allowed it.
func TestTokenOnUpgrade(t *testing.T) {
	f := func(inURL bool) {
		t.Helper()
		n := start(t, t.TempDir(), func(c *node.Config) { c.TokenInURL = inURL })
		defer stop(t, n)
		tok := mint(t, n, customerOf("alice"))
		for _, by := range []string{"header", "url"} {
			url, header := "ws://"+n.Addr()+"/v1/connect", http.Header{}
			if by == "url" {
				url += "?token=" + tok
			} else {
				header.Set("Authorization", "Bearer "+tok)
			}
			w, _, err := websocket.DefaultDialer.Dial(url, header)
			if err != nil {
				t.Fatal(err)
			}
			p := &peer{t: t, ws: w}
			f := p.answer(p.send("hello", obj{}))
			if ok := by == "header" || inURL; ok != (f["hello"] != nil) {
				t.Fatalf("the token by %s, allowed in URLs %v: hello was answered %v", by, inURL, f)
			}
			_ = w.Close()
		}
	}
	f(false)
	f(true)
}

// [SW-3.1] A token's shop binds: another one is not opened, and what is of another one is not there.
func TestTokenShop(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bound := customerOf("alice")
	bound.Shop = "s1"
	free, a := login(t, n, customerOf("alice")), login(t, n, bound)
	mine, other, none := a.open(obj{}), free.open(obj{"shop": "s2"}), free.open(obj{})
	if got := a.open(obj{"shop": "s1"}); got != mine || mine == other || mine == none {
		t.Fatalf("sessions %s %s %s, and of the token's shop again %s", mine, other, none, got)
	}
	if got := free.open(obj{"shop": "s1"}); got != mine {
		t.Fatalf("who is bound to no shop opened %s; want %s", got, mine)
	}
	a.refused("forbidden", "open", obj{"shop": "s2"})
	for _, id := range []string{other, none} {
		for verb, body := range map[string]obj{"open": {}, "send": {"body": 1}, "history": {}, "close": {}, "rate": {"score": 1}, "leave": {}} {
			body["session"] = id
			a.refused("no_session", verb, body)
		}
	}
	if status, e := web(t, n, bound, "POST", "/v1/sessions", obj{"shop": "s2"}, ""); status != 403 || e["slug"] != "forbidden" {
		t.Fatalf("over HTTP: %d %v", status, e)
	}
	h := dial(t, n).ask("hello", obj{"token": mint(t, n, bound), "resume": []obj{{"session": other, "epoch": 1, "seq": 1}, {"session": mine, "epoch": 1, "seq": 1}}})
	list := h["resumed"].([]any)
	if e, _ := list[0].(obj)["error"].(obj); e["slug"] != "no_session" || list[1].(obj)["how"] != "exact" {
		t.Fatalf("resumed %v", list)
	}
	// [SW-3.3] A refresh cannot take what is followed out of the token's sight, nor into it.
	another := bound
	another.Shop = "s2"
	for _, c := range []token.Claims{another, customerOf("alice"), supervisorOf("alice")} {
		a.refused("forbidden", "refresh", obj{"token": mint(t, n, c)})
	}
	a.ask("refresh", obj{"token": mint(t, n, bound)})
}

// [SW-3.4] identify takes a customer's valid token of the same tenant, and says what else is wrong with another.
func TestIdentifyTokens(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a := login(t, n, customerOf("visitor"))
	a.refused("unauthenticated", "identify", obj{"token": "x"})
	a.refused("unauthenticated", "identify", obj{})
	for _, c := range []token.Claims{workerOf("w", wire.OriginBot), supervisorOf("s"), {Sub: "o", Role: wire.RoleOperator}, serviceOf("v")} {
		a.refused("forbidden", "identify", obj{"token": mint(t, n, c)})
		login(t, n, c).refused("forbidden", "identify", obj{"token": mint(t, n, customerOf("alice"))})
	}
	old, err := n.Mint(withTenant(customerOf("alice")), -1)
	if err != nil {
		t.Fatal(err)
	}
	if e := a.refused("token_expired", "identify", obj{"token": old}); e["retry"] != "refresh_token" {
		t.Fatalf("expired: %v", e)
	}
	if r := a.ask("identify", obj{"token": mint(t, n, customerOf("alice"))}); r["customer"] != "alice" {
		t.Fatalf("identify %v", r)
	}
}

// [SW-3.2] [SW-4.8] Who resumes in the middle of a stream is told which run, then their text so far, and goes on with deltas.
func TestResumeMidStream(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	bot, a := login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, customerOf("alice"))
	bot.subscribe(obj{"slots": 1})
	id := a.open(obj{})
	seq := num(a.ask("send", obj{"session": id, "body": 1})["seq"])
	bot.said("delivery")
	bot.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m1", "off": 0, "text": "Grüß"}})
	a.push("delta")
	f := func(p *peer) {
		t.Helper()
		if s := p.push("stream"); s["session"] != id || s["stream"] != "m1" || s["text"] != "Grüß" || num(s["off"]) != len("Grüß") {
			t.Fatalf("stream %v", s)
		}
	}
	b := dial(t, n)
	h := b.ask("hello", obj{"token": mint(t, n, customerOf("alice")), "resume": []obj{{"session": id, "epoch": 1, "seq": seq}}})
	if s, _ := h["resumed"].([]any)[0].(obj)["streams"].([]any); len(s) != 1 || s[0].(obj)["stream"] != "m1" {
		t.Fatalf("resumed %v", h["resumed"])
	}
	f(b)
	c := login(t, n, customerOf("alice"))
	if s, _ := c.ask("open", obj{})["streams"].([]any); len(s) != 1 || s[0].(obj)["text"] != "Grüß" {
		t.Fatalf("streams %v", s)
	}
	f(c)
	sue := login(t, n, supervisorOf("sue"))
	sue.ask("join", obj{"session": id, "as": "monitor"})
	f(sue)
	bot.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m1", "off": len("Grüß"), "text": " Gott"}})
	for _, p := range []*peer{b, c, sue} {
		if d := p.push("delta"); d["text"] != " Gott" || num(d["off"]) != len("Grüß") {
			t.Fatalf("delta %v", d)
		}
	}
	bot.ask("reply", obj{"session": id, "ae": 1, "ack": seq, "stream": "m1", "body": text("Grüß Gott")})
	d := login(t, n, customerOf("alice"))
	if s, _ := d.ask("open", obj{})["streams"].([]any); len(s) != 0 {
		t.Fatalf("a stream that has ended is running: %v", s)
	}
}
