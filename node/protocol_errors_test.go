package node_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// [SW-6.1] Every refusal has the shape and the numbers of the table, and is the same over HTTP.
func TestErrors(t *testing.T) {
	n := startTwo(t, func(c *node.Config) { c.Limits.Sessions, c.Limits.Inflight = 2, 2 })
	defer stop(t, n)
	a, bot, sue := login(t, n, customerOf("alice")), login(t, n, workerOf("faq", wire.OriginBot)), login(t, n, supervisorOf("sue"))
	bot.subscribe(obj{"slots": 1})
	id, seq := waiting(a, obj{})
	bot.said("delivery")
	a.ask("send", obj{"session": id, "key": "k", "body": 1})
	seen := map[wire.Slug]bool{}
	shape := func(slug wire.Slug, e obj) {
		t.Helper()
		f := wire.FaultOf(slug)
		if e["slug"] != string(slug) || num(e["code"]) != f.Code || e["retry"] != string(f.Retry) || e["message"] == nil || e["message"] == "" ||
			(e["retry_after_ms"] != nil) != (f.Retry == wire.RetryAfter) {
			t.Errorf("%s was told as %v; the table says %+v", slug, e, f)
		}
		seen[slug] = true
	}
	f := func(slug wire.Slug, p *peer, verb string, body obj) {
		t.Helper()
		shape(slug, p.refused(string(slug), verb, body))
	}
	f(wire.BadRequest, a, "send", obj{"session": id, "body": 1, "key": "no id"})
	f(wire.BadRequest, a, "open", obj{"channel": strings.Repeat("c", 65)})
	f(wire.BadRequest, a, "rate", obj{"session": id, "score": 6})
	f(wire.UnknownVerb, a, "dance", obj{})
	f(wire.Unauthenticated, a, "refresh", obj{"token": "x"})
	old, err := n.Mint(withTenant(customerOf("alice")), -1)
	if err != nil {
		t.Fatal(err)
	}
	f(wire.TokenExpired, a, "refresh", obj{"token": old})
	f(wire.Forbidden, a, "subscribe", obj{})
	f(wire.Forbidden, bot, "send", obj{"session": id, "body": 1})
	f(wire.NoSession, a, "history", obj{"session": "s_0000000000000000"})
	f(wire.NoSession, a, "send", obj{"body": 1})
	f(wire.NoQueue, bot, "subscribe", obj{"queues": []string{"nowhere"}, "slots": 1})
	f(wire.NoWorker, sue, "stats", obj{"scope": obj{"worker": "nobody"}})
	f(wire.StaleAssignment, bot, "reply", obj{"session": id, "ae": 9, "body": 1})
	f(wire.IdempotencyConflict, a, "send", obj{"session": id, "key": "k", "body": 2})
	f(wire.VersionConflict, bot, "context", obj{"session": id, "ae": 1, "if_v": 9, "patch": obj{}})
	f(wire.OfferRescinded, bot, "accept", obj{"offer": "o_1_none"})
	f(wire.NotDelivered, bot, "ack", obj{"session": id, "ae": 1, "seq": seq + 1000})
	f(wire.Unanswered, bot, "release", obj{"session": id, "ae": 1, "upto": seq})
	f(wire.PositionGone, sue, "watch", obj{"from": "x"})
	f(wire.TooLarge, a, "send", obj{"session": id, "body": strings.Repeat("x", 33_000)})
	f(wire.InvalidBody, a, "send", obj{"session": id})
	a.open(obj{"shop": "s1"})
	f(wire.QuotaExceeded, a, "open", obj{"shop": "s2"})
	a.ask("close", obj{"session": id})
	f(wire.SessionClosed, a, "close", obj{"session": id})
	var lines []string
	const many = 60 // in one message: more than may be unanswered, however fast they are answered
	for i := range many {
		lines = append(lines, fmt.Sprintf(`{"id":%d,"history":{"session":%q}}`, 900+i, id))
	}
	a.raw(strings.Join(lines, "\n"))
	for i := range many {
		if e, bad := a.answer(900 + i)["error"].(obj); bad {
			shape(wire.TooManyInflight, e)
		}
	}
	for _, w := range wire.Faults() {
		switch w.Slug {
		case wire.IdentityTaken, wire.OfferExpired, wire.RateLimited: // TestIdentifyInCircles, TestOffers, TestRates
		case wire.Internal, wire.Overloaded, wire.Unavailable, wire.Draining, wire.Deadline: // of a server that is not well: TestFailingSync, TestFullDisk, edge.TestDrain, edge.TestDeadline
		default:
			if !seen[w.Slug] {
				t.Errorf("nothing was refused as %s", w.Slug)
			}
		}
	}
	// The same over HTTP: status, slug, retry.
	tok := "Bearer " + mint(t, n, customerOf("alice"))
	problem(t, n, 400, "bad_request", "GET", "/v1/sessions/"+id+"/messages?limit=x", "", "Authorization", tok)
	problem(t, n, 400, "bad_request", "POST", "/v1/sessions/"+id+"/messages", `{"body":1}`, "Authorization", tok, "Idempotency-Key", "no id")
	problem(t, n, 403, "forbidden", "POST", "/v1/queues/default/claim?wait=0", "", "Authorization", tok)
	problem(t, n, 409, "idempotency_conflict", "POST", "/v1/sessions/"+id+"/messages", `{"body":3}`, "Authorization", tok, "Idempotency-Key", "k")
	problem(t, n, 413, "too_large", "POST", "/v1/sessions/"+id+"/messages", `{"body":"`+strings.Repeat("x", 33_000)+`"}`, "Authorization", tok)
}

// [SW-6.1] [SW-6.2] Too fast is told with when to come again, over both ways; who does not listen is closed 3013.
func TestRates(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) { c.Limits.Rate, c.Limits.Burst = 0.01, 3 })
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	for range 3 {
		a.open(obj{})
	}
	e := a.refused("rate_limited", "open", obj{})
	if ms := num(e["retry_after_ms"]); num(e["code"]) != 429 || e["retry"] != "after" || ms < 1 || ms > 100_000 {
		t.Fatalf("rate_limited %v", e)
	}
	tok := "Bearer " + mint(t, n, customerOf("ben"))
	for range 3 {
		bare(t, n, "POST", "/v1/sessions", "{}", "Authorization", tok)
	}
	if h := problem(t, n, 429, "rate_limited", "POST", "/v1/sessions", "{}", "Authorization", tok); h.Get("Retry-After") == "" {
		t.Fatalf("Retry-After %q", h.Get("Retry-After"))
	}
	for range 300 {
		if a.tryWrite(obj{"open": obj{}}) != nil {
			break
		}
	}
	if code, bye := a.closed(); code != 3013 || num(bye["code"]) != 3013 || bye["reason"] != "rate" || bye["reconnect"] != true {
		t.Fatalf("closed with %d after %v", code, bye)
	}
}

// [SW-6.2] A bye says before the close what it says: of an origin that a tenant does not have, 3507.
func TestForbiddenOrigin(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}, Origins: []string{"https://shop.example"}}}
	})
	defer stop(t, n)
	for origin, want := range map[string]int{"https://shop.example": 0, "https://evil.example": 3507, "": 0} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		p := dialWith(t, n.Addr(), h)
		r := p.answer(p.send("hello", obj{"token": mint(t, n, customerOf("alice"))}))
		if want == 0 {
			if r["hello"] == nil {
				t.Fatalf("from %q: %v", origin, r)
			}
			continue
		}
		if e, _ := r["error"].(obj); e["slug"] != "forbidden" {
			t.Fatalf("from %q: %v", origin, r)
		}
		if code, bye := p.closed(); code != want || num(bye["code"]) != want || bye["reconnect"] != false {
			t.Fatalf("from %q: closed with %d after %v", origin, code, bye)
		}
	}
}

// stream reads server-sent events.
type stream struct {
	t    testing.TB
	in   *bufio.Scanner
	head http.Header
}

func follow(t testing.TB, n *node.Node, c token.Claims, id, last string) *stream {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+n.Addr()+"/v1/sessions/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+mint(t, n, c))
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != 200 {
		t.Fatalf("events were answered %d", res.StatusCode)
	}
	return &stream{t, bufio.NewScanner(res.Body), res.Header}
}

// next returns the next event as a stock EventSource sees it: its id, which stays when an event has none, and its data.
func (s *stream) next() (id, data string) {
	s.t.Helper()
	for s.in.Scan() {
		switch line := s.in.Text(); {
		case line == "" && data != "":
			return id, data
		case strings.HasPrefix(line, "id: "):
			id = line[len("id: "):]
		case strings.HasPrefix(line, "data: "):
			data += line[len("data: "):]
		case line != "" && !strings.HasPrefix(line, ":"):
			s.t.Fatalf("a line that EventSource would not understand: %q", line)
		}
	}
	s.t.Fatalf("the events ended: %v", s.in.Err())
	return "", ""
}

// [SW-7] Events: what an EventSource needs to come again, and nothing that would lead it astray.
func TestEventSource(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a, bot := login(t, n, customerOf("alice")), login(t, n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	id, seq := waiting(a, obj{})
	bot.said("delivery")
	s := follow(t, n, customerOf("alice"), id, "1:"+fmt.Sprint(seq-1))
	if s.head.Get("Content-Type") != "text/event-stream" || s.head.Get("Cache-Control") != "no-store" {
		t.Fatalf("head %v", s.head)
	}
	at := ""
	for i := range 3 { // the word, session.queued, session.assigned
		var data string
		if at, data = s.next(); at != fmt.Sprintf("1:%d", seq+i) || !strings.HasPrefix(data, `{"message":{"session":`) {
			t.Fatalf("came %s %s", at, data)
		}
	}
	bot.write(obj{"delta": obj{"session": id, "ae": 1, "stream": "m", "off": 0, "text": "so\nfar"}})
	for { // [SW-4.8] what is ephemeral has no id: who comes again begins where he was
		got, data := s.next()
		if got != "" {
			t.Fatalf("an ephemeral event has the id %s: %s", got, data)
		}
		if strings.HasPrefix(data, `{"delta":`) {
			break
		}
	}
	own := num(bot.ask("reply", obj{"session": id, "ae": 1, "ack": seq, "stream": "m", "body": text("so far")})["seq"])
	bot.ask("reply", obj{"session": id, "ae": 1, "visibility": "staff", "body": "not for her"})
	last := num(bot.ask("reply", obj{"session": id, "ae": 1, "body": "bye"})["seq"])
	for _, want := range []int{own, last} {
		got, data := s.next()
		for got == "" {
			got, data = s.next()
		}
		if got != fmt.Sprintf("1:%d", want) {
			t.Fatalf("came %s %s; want %d", got, data, want)
		}
	}
	// It comes again where it was, and the staff's word was never there.
	again := follow(t, n, customerOf("alice"), id, at)
	for _, want := range []int{own, last} {
		if got, data := again.next(); got != fmt.Sprintf("1:%d", want) || strings.Contains(data, "not for her") {
			t.Fatalf("came %s %s; want %d", got, data, want)
		}
	}
	if got, _ := follow(t, n, supervisorOf("sue"), id, "1:"+fmt.Sprint(own)).next(); got != fmt.Sprintf("1:%d", own+1) {
		t.Fatalf("staff is told %s; want %d", got, own+1)
	}
	problem(t, n, 400, "bad_request", "GET", "/v1/sessions/"+id+"/events", "", "Authorization", "Bearer "+mint(t, n, customerOf("alice")), "Last-Event-ID", "1:x")
	problem(t, n, 400, "bad_request", "GET", "/v1/sessions/"+id+"/events", "", "Authorization", "Bearer "+mint(t, n, customerOf("alice")), "Last-Event-ID", "7")
}

// [SW-7] [SW-3.2] Events from a position that there is not: it is told how what comes meets it, and where a stock EventSource is from now on.
func TestEventsElsewhere(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	for i := range 3 {
		a.ask("send", obj{"session": id, "body": text(fmt.Sprint(i))})
	}
	const head = 5 // with session.opened and session.queued
	until(t, "it has been queued", func() bool {
		list, _ := a.ask("history", obj{"session": id, "after": 0})["entries"].([]any)
		return len(list) == head
	})
	f := func(last, how string, at any) (s *stream, pos string) {
		t.Helper()
		s = follow(t, n, customerOf("alice"), id, last)
		pos, data := s.next()
		var e struct{ Open obj }
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Open["session"] != id || e.Open["how"] != how || e.Open["at"] != at {
			t.Fatalf("%s: came %s %s; want %s at %v", last, pos, data, how, at)
		}
		return s, pos
	}
	ahead, pos := f("1:99", "truncated", float64(head))
	if want := fmt.Sprintf("1:%d", head); pos != want {
		t.Errorf("who was ahead is at %s; want %s", pos, want)
	}
	reset, pos := f("9:1", "reset", nil)
	if pos != "1:0" {
		t.Errorf("who was reset is at %s; want the tail's beginning", pos)
	}
	for seq := 1; seq <= head; seq++ {
		if got, _ := reset.next(); got != fmt.Sprintf("1:%d", seq) {
			t.Fatalf("behind a reset came %s; want %d", got, seq)
		}
	}
	next := num(a.ask("send", obj{"session": id, "body": text("on")})["seq"])
	for _, s := range []*stream{ahead, reset, follow(t, n, customerOf("alice"), id, fmt.Sprintf("1:%d", head))} { // nobody says anything to the last
		if got, data := s.next(); got != fmt.Sprintf("1:%d", next) || !strings.HasPrefix(data, `{"message":`) {
			t.Errorf("came %s %s; want %d", got, data, next)
		}
	}
}
