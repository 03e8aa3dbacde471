package edge

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// do makes one HTTP request and returns its status, and the body as an object when it is one.
func (r *rig) do(method, path, token, body string, header ...string) (int, map[string]any, http.Header) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, way.url("http")+r.addr+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a test's
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var obj map[string]any
	_ = json.Unmarshal(raw, &obj)
	return resp.StatusCode, obj, resp.Header
}

func TestHTTP(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 100, 100 })
	const alice = "demo/customer/alice"
	status, open, _ := r.do("POST", "/v1/sessions", alice, `{"channel":"web"}`)
	id, _ := open["session"].(string)
	if status != 200 || id == "" || open["state"] != "new" {
		t.Fatalf("open was answered %d %v", status, open)
	}
	eventually(t, "the request follows nothing any more", func() bool { return r.shard.attachedTo(wire.SessionID(id)) == 0 })
	path := "/v1/sessions/" + id + "/messages"
	status, sent, _ := r.do("POST", path, alice, `{"type":"text","body":{"text":"hi"}}`, "Idempotency-Key", "k1")
	if status != 201 || sent["seq"] != 1.0 || sent["epoch"] != 1.0 {
		t.Fatalf("send was answered %d %v", status, sent)
	}
	status, list, _ := r.do("GET", path+"?after=0&limit=10", alice, "")
	if entries, _ := list["entries"].([]any); status != 200 || len(entries) != 1 {
		t.Fatalf("history was answered %d %v", status, list)
	}

	f := func(method, path, token, body string, want int, slug wire.Slug, header ...string) {
		t.Helper()
		status, obj, h := r.do(method, path, token, body, header...)
		if status != want || slug != "" && (obj["slug"] != string(slug) || h.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s %s was answered %d %v; want %d %s", method, path, status, obj, want, slug)
		}
	}
	f("POST", path, "", `{"body":1}`, 401, wire.Unauthenticated)
	f("POST", path, "demo/customer/alice/expired", `{"body":1}`, 401, wire.TokenExpired)
	f("POST", path, "demo/customer/mallory", `{"body":1}`, 404, wire.NoSession)
	f("POST", path, "demo/worker/bot", `{"body":1}`, 403, wire.Forbidden)
	f("POST", path, alice, `{"body":`, 422, wire.InvalidBody)
	says := func(path, body, want string) {
		t.Helper()
		f("POST", path, alice, body, 422, wire.InvalidBody)
		if _, obj, _ := r.do("POST", path, alice, body); obj["title"] != want {
			t.Errorf("POST %s %s is told %q; want %q", path, body, obj["title"], want)
		}
	}
	const object = "the request has to bring a JSON object, with the fields that this path takes"
	says(path, `{"type":"text"}`, "body is missing") // as over a socket
	says(path, `{}`, "body is missing")
	says(path, ``, object)
	says(path, `[]`, object)
	says(path, `{"body":1,"type":2}`, object)
	says(path, `{"body":`, "the body is not one valid UTF-8 JSON value")
	says("/v1/sessions", `[]`, object)
	says("/v1/sessions", `{"channel":5}`, object)
	says("/v1/sessions", `{"channel":`, "the body is not one valid UTF-8 JSON value")
	f("POST", path, alice, `{"type":"text"}`, 422, wire.InvalidBody)
	f("POST", path, alice, `{"body":"`+strings.Repeat("x", 33<<10)+`"}`, 413, wire.TooLarge)
	f("POST", path, alice, `{"body":1}`, 400, wire.BadRequest, "Idempotency-Key", "a b")
	f("POST", "/v1/sessions", alice, `{"channel":"a b"}`, 400, wire.BadRequest)
	f("POST", "/v1/sessions", alice, `{`, 422, wire.InvalidBody)
	f("GET", path+"?after=x", alice, "", 400, wire.BadRequest)
	if _, obj, _ := r.do("GET", path+"?limit=-1", alice, ""); obj["title"] != "limit has to be a whole number, 0 or more" {
		t.Errorf("a limit below 0 is told %q", obj["title"])
	}
	f("GET", "/v1/sessions/nowhere/messages", alice, "", 404, wire.NoSession)
	f("GET", "/v1/sessions/nowhere/events", alice, "", 404, wire.NoSession)
	f("GET", "/v1/sessions/"+id+"/events", "demo/customer/mallory", "", 404, wire.NoSession)
	f("GET", "/v1/sessions/"+id+"/events", alice, "", 400, wire.BadRequest, "Last-Event-ID", "1:x")
	f("DELETE", path, alice, "", 404, "")
	f("GET", "/nothing", "", "", 404, "")
	f("GET", "/healthz", "", "", 200, "")
	f("POST", "/healthz", "", "", 404, "unknown_verb")
	f("DELETE", "/readyz", "", "", 404, "unknown_verb")
	f("GET", "/readyz", "", "", 200, "")
	f("GET", "/metrics", "", "", 404, "")

	setFunc(&r.shard.refuse, func(c *wire.Command) bool { return c.Verb == wire.VerbSend })
	f("POST", path, alice, `{"body":1}`, 503, wire.Overloaded)
}

func TestHTTPRate(t *testing.T) {
	r := newRig(t, nil)
	r.stand()
	for i := range 30 {
		status, _, h := r.do("POST", "/v1/sessions", "demo/customer/alice", `{"channel":"web"}`)
		if status == 429 {
			if i < 20 || h.Get("Retry-After") == "" {
				t.Fatalf("request %d was refused with %v", i, h)
			}
			if status, _, _ := r.do("POST", "/v1/sessions", "demo/customer/bob", `{"channel":"web"}`); status != 200 {
				t.Fatalf("another customer was answered %d", status)
			}
			return
		}
	}
	t.Fatal("nobody was refused")
}

// An open that is answered too late by HTTP is given back.
func TestHTTPDeadline(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Answer = 50 * time.Millisecond })
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbOpen })
	if status, obj, _ := r.do("POST", "/v1/sessions", "demo/customer/alice", `{"channel":"web"}`); status != 504 || obj["slug"] != string(wire.Deadline) {
		t.Fatalf("silence was answered %d %v", status, obj)
	}
	setFunc(&r.shard.ignore, func(*wire.Command) bool { return false })
	conn := r.shard.lastConn(wire.VerbOpen)
	r.shard.mu.Lock()
	late := r.shard.seen[0]
	r.shard.command(&late)
	r.shard.mu.Unlock()
	eventually(t, "it is given back", func() bool { return len(r.shard.goneFrom(conn)) == 1 })
}

func TestReadyAndStatic(t *testing.T) {
	ready := errors.New("the log is read")
	r := newRig(t, func(c *Config) {
		c.Ready = func() error { return ready }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"metrics":1}`)) })
		c.Static = func(ctx *fasthttp.RequestCtx) bool {
			if string(ctx.Path()) != "/" {
				return false
			}
			ctx.SetBodyString(`{"page":1}`)
			return true
		}
	})
	f := func(path string, want int, member string) {
		t.Helper()
		if status, obj, _ := r.do("GET", path, "", ""); status != want || member != "" && obj[member] == nil {
			t.Errorf("%s was answered %d %v", path, status, obj)
		}
	}
	f("/readyz", 503, "")
	f("/healthz", 200, "")
	f("/metrics", 200, "metrics")
	f("/", 200, "page")
	f("/other", 404, "")
}

// stream is a client of server-sent events.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Scanner
}

func (r *rig) stream(t *testing.T, id wire.SessionID, last string) *stream {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), "GET", way.url("http")+r.addr+"/v1/sessions/"+string(id)+"/events?token=demo/customer/alice", http.NoBody)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("answered %d %v", resp.StatusCode, resp.Header)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &stream{t: t, body: resp.Body, in: bufio.NewScanner(resp.Body)}
}

// next returns the next event's id and data; a comment has neither.
func (s *stream) next() (id, data string) {
	s.t.Helper()
	for s.in.Scan() {
		line := s.in.Text()
		switch {
		case line == "":
			return id, data
		case strings.HasPrefix(line, "id: "):
			id = line[4:]
		case strings.HasPrefix(line, "data: "):
			data = line[6:]
		}
	}
	return "", "end"
}

func TestEvents(t *testing.T) {
	r := newRig(t, func(c *Config) { c.TokenInURL = true })
	id := r.login(wire.JSON, "demo/customer/alice").open()
	for range 3 {
		r.shard.say(id, `"before"`, wire.Public)
	}
	s := r.stream(t, id, "1:1")
	for want := 2; want <= 3; want++ {
		if at, data := s.next(); at != fmt.Sprintf("1:%d", want) || !strings.Contains(data, `"prev":`+fmt.Sprint(want-1)) {
			t.Fatalf("came %s %s", at, data)
		}
	}
	r.shard.say(id, `"live"`, wire.Public)
	if at, data := s.next(); at != "1:4" || !strings.Contains(data, `"body":"live"`) {
		t.Fatalf("came %s %s", at, data)
	}
	r.shard.stream(id, "m1", "wor")
	if at, data := s.next(); at != "" || !strings.HasPrefix(data, `{"delta":`) {
		t.Fatalf("came %s %s", at, data)
	}
	late := r.stream(t, id, "1:4")
	if _, data := late.next(); !strings.HasPrefix(data, `{"stream":`) || !strings.Contains(data, `"text":"wor"`) {
		t.Fatalf("came %s", data)
	}
	// A stream answers no pings and lives all the same.
	for range 4 {
		r.pass(26 * time.Second)
		if at, data := s.next(); at != "" || data != "" {
			t.Fatalf("came %s %s", at, data)
		}
	}
	conn := r.shard.lastConn(wire.VerbOpen)
	_ = late.body.Close()
	eventually(t, "the session is told", func() bool { return len(r.shard.goneFrom(conn)) == 1 })
	r.pass(2 * time.Hour) // [SW-3.3] nothing can be refreshed here
	for {
		_, data := s.next()
		if data == "end" {
			t.Fatal("it ended without a bye")
		}
		if strings.Contains(data, `"bye":{"code":3005`) {
			break
		}
	}
	if _, data := s.next(); data != "end" {
		t.Fatalf("then came %s", data)
	}
}

// A request over HTTP whose outcome is unknown is told how it can be repeated, and not by a key that it cannot have.
func TestUnknownOutcomeSaysHowToRepeat(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Answer, c.Limits.Rate, c.Limits.Burst = 20*time.Millisecond, 100, 100 })
	_, open, _ := r.do("POST", "/v1/sessions", "demo/customer/alice", `{"channel":"web"}`)
	id, _ := open["session"].(string)
	ignored := func(*wire.Command) bool { return true }
	setFunc(&r.shard.ignore, ignored)
	const config, doc = "/v1/admin/config/demo", "version: 1\nqueues: [{name: default}]\n"
	for _, x := range []struct {
		method, path, token, body, says string
		header                          []string
	}{
		{"PUT", config, "demo/operator/olga", doc, "same If-Match", []string{"If-Match", `"3"`}},
		{"PUT", config, "demo/operator/olga", doc, "read which one counts", []string{"If-Match", "*"}},
		{"PUT", config + "?dry_run=1", "demo/operator/olga", doc, "nothing was to be changed", []string{"If-Match", "*"}},
		{"GET", config, "demo/operator/olga", "", "nothing was to be changed", nil},
		{"GET", "/v1/sessions/" + id + "/messages", "demo/customer/alice", "", "nothing was to be changed", nil},
		{"POST", "/v1/sessions/" + id + "/messages", "demo/customer/alice", `{"body":1}`, "no Idempotency-Key", nil},
		{"POST", "/v1/sessions/" + id + "/messages", "demo/customer/alice", `{"body":1}`, "the same Idempotency-Key", []string{"Idempotency-Key", "k1"}},
		{"POST", "/v1/sessions", "demo/customer/alice", `{"channel":"web"}`, "not done twice", nil},
	} {
		status, obj, _ := r.do(x.method, x.path, x.token, x.body, x.header...)
		if title, _ := obj["title"].(string); status != 504 || !strings.Contains(title, x.says) {
			t.Errorf("%s %s %v was answered %d %v, want words of %q", x.method, x.path, x.header, status, obj, x.says)
		}
	}
}
