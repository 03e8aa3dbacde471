package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/broker/routes"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

const configOf = "/v1/admin/config/demo"

// do makes one request, and returns its status, its ETag and its body.
func (r *rest) do(method, path, body string, header ...string) (status int, etag, text string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.n.Addr()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	// What is too long is refused without being read to its end. A client that still writes may lose the answer to the reset.
	cut := func() bool {
		return len(body) > 64<<10 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
	}
	if cut() {
		return http.StatusRequestEntityTooLarge, "", ""
	}
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if cut() {
		return http.StatusRequestEntityTooLarge, "", ""
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("ETag"), string(b)
}

// apply puts a document that follows version, and returns what was answered.
func (r *rest) apply(version int, doc string) (int, obj) {
	r.t.Helper()
	status, _, text := r.do("PUT", configOf, doc, "If-Match", fmt.Sprintf("%q", fmt.Sprint(version)))
	var m obj
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		r.t.Fatalf("%d %q", status, text)
	}
	return status, m
}

func (r *rest) applied(version int, doc string) obj {
	r.t.Helper()
	status, m := r.apply(version, doc)
	if status != 200 || num(m["version"]) != version+1 {
		r.t.Fatalf("applying behind %d was answered %d %v", version, status, m)
	}
	return m
}

func supervisor(t testing.TB, n *node.Node) *rest {
	t.Helper()
	return without(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
}

const twoQueues = "version: 1\nqueues:\n  - name: default\n  - name: refunds\n"

// [SW-7.3] A document is read with its version, changed behind it, and kept.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	keys := fmt.Sprintf(`{"version":1,"tenants":{"demo":{"keys":[{"kid":"d","secret":%q}]},"acme":{"keys":[{"kid":"a","secret":%q}]}}}`, demoSecret, acmeSecret)
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	n := start(t, dir, func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}}, "acme": {Queues: []node.Queue{{Name: "default"}}}}
	})
	defer stop(t, n)
	r := supervisor(t, n)
	status, etag, text := r.do("GET", configOf, "")
	if status != 200 || etag != `"0"` || !strings.Contains(text, "name: default") {
		t.Fatalf("%d %s %q", status, etag, text)
	}
	if _, err := routes.Parse([]byte(text)); err != nil {
		t.Fatalf("what is got cannot be put: %v", err)
	}
	a := login(t, n, customerOf("alice"))
	a.refused("no_queue", "open", obj{"queue": "refunds"})
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"*"}})

	if status, _, text := r.do("PUT", configOf+"?dry_run=1", twoQueues, "If-Match", "*"); status != 200 || !strings.Contains(text, `+ queues[refunds]`) || !strings.Contains(text, `"version":0,"dry_run":true`) {
		t.Fatalf("a trial was answered %d %s", status, text)
	}
	a.refused("no_queue", "open", obj{"queue": "refunds"})
	m := r.applied(0, twoQueues)
	if num(m["changed"]) != 2 {
		t.Fatalf("%v", m)
	}
	if status, etag, text := r.do("GET", configOf, ""); status != 200 || etag != `"1"` || text != twoQueues {
		t.Fatalf("%d %s %q", status, etag, text)
	}
	// At once, in every shard; who serves all queues serves the new one.
	for i := range 16 {
		c := login(t, n, customerOf(fmt.Sprint("c", i)))
		id := c.open(obj{"queue": "refunds"})
		c.ask("send", obj{"session": id, "body": text1})
		if i == 0 {
			if as := bot.push("assigned"); as["session"] != id || as["queue"] != "refunds" {
				t.Fatalf("%v", as)
			}
		}
	}
	// The same again is the same; another one behind what is gone is refused.
	if status, m := r.apply(0, twoQueues); status != 200 || num(m["version"]) != 1 || num(m["changed"]) != 0 {
		t.Fatalf("%d %v", status, m)
	}
	other := twoQueues + "  - name: third\n"
	if status, m := r.apply(0, other); status != 409 || m["slug"] != "version_conflict" || num(m["detail"].(obj)["v"]) != 1 {
		t.Fatalf("%d %v", status, m)
	}
	for _, header := range [][]string{nil, {"If-Match", "x"}} {
		if status, _, text := r.do("PUT", configOf, other, header...); status != 400 {
			t.Fatalf("%d %s", status, text)
		}
	}
	// Who may.
	f := func(want int, c token.Claims, path string) {
		t.Helper()
		s := without(t, n, c)
		if status, _, text := s.do("GET", path, ""); status != want {
			t.Errorf("%s %s got %d %s; want %d", c.Role, path, status, text, want)
		}
		if want == 200 {
			return
		}
		if status, _, text := s.do("PUT", path, other, "If-Match", "*"); status != want {
			t.Errorf("%s %s put %d %s; want %d", c.Role, path, status, text, want)
		}
	}
	f(200, token.Claims{Sub: "o", Role: wire.RoleOperator}, configOf)
	f(403, token.Claims{Sub: "o", Role: wire.RoleOperator}, "/v1/admin/config/acme")
	f(403, token.Claims{Sub: "o", Role: wire.RoleOperator}, "/v1/admin/config/nobody")
	f(403, token.Claims{Tenant: "acme", Sub: "s", Role: wire.RoleSupervisor}, configOf)
	f(403, token.Claims{Sub: "s", Role: wire.RoleSupervisor, Shop: "s1"}, configOf)
	f(403, workerOf("w", wire.OriginBot), configOf)
	f(403, customerOf("alice"), configOf)
	f(403, token.Claims{Sub: "svc", Role: wire.RoleService}, configOf)
	if status, _, _ := (&rest{t, n, "x"}).do("GET", configOf, ""); status != 401 {
		t.Errorf("a stranger got %d", status)
	}

	// The last 20 are kept.
	for v := 1; v < 23; v++ {
		r.applied(v, fmt.Sprintf("%sbar_ms: %d\n", twoQueues, v))
	}
	var list struct {
		Versions []struct {
			Version int
			At      int64
			By      string
			Role    string
			Bytes   int
		}
	}
	_, etag, text = r.do("GET", configOf+"/versions", "")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	if l := list.Versions; etag != `"23"` || len(l) != 20 || l[0].Version != 23 || l[19].Version != 4 || l[0].By != "sue" || l[0].Role != "supervisor" || l[0].At == 0 || l[0].Bytes == 0 {
		t.Fatalf("%s %s", etag, text)
	}
	if status, _, text := r.do("GET", configOf+"/versions/5", ""); status != 200 || !strings.HasSuffix(text, "bar_ms: 4\n") {
		t.Fatalf("%d %q", status, text)
	}
	if status, _, _ := r.do("GET", configOf+"/versions/3", ""); status != 410 {
		t.Fatalf("version 3 was answered %d", status)
	}
	if status, _, _ := r.do("GET", configOf+"/versions/x", ""); status != 400 {
		t.Fatalf("version x was answered %d", status)
	}
}

var text1 = text("hi")

// A document with mistakes changes nothing, and each is told with its line and column; so is one that forgets who waits.
func TestConfigMistakes(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	r := supervisor(t, n)
	r.applied(0, twoQueues)
	f := func(doc string, want ...string) {
		t.Helper()
		for _, path := range []string{configOf, configOf + "?dry_run=1"} {
			status, _, text := r.do("PUT", path, doc, "If-Match", `"1"`)
			var m struct {
				Slug   string
				Errors []struct {
					Line, Column  int
					Path, Message string
				}
			}
			if err := json.Unmarshal([]byte(text), &m); err != nil || status != 422 || m.Slug != "invalid_body" || len(m.Errors) != len(want) {
				t.Fatalf("%s\nis answered %d %s", doc, status, text)
			}
			for i, e := range m.Errors {
				if got := fmt.Sprintf("%d:%d %s", e.Line, e.Column, e.Message); !strings.HasPrefix(got, want[i]) {
					t.Errorf("%s\ntells %q; want %q", doc, got, want[i])
				}
			}
		}
		if _, etag, text := r.do("GET", configOf, ""); etag != `"1"` || text != twoQueues {
			t.Fatalf("the document is %s %q", etag, text)
		}
	}
	f("version: 1\nqueues:\n  - name: default\n  - name: refunds\n    route:\n      - {who: humen}\n      - {select: \"worker.skils HAS 'a'\"}\n",
		`6:15 "humen" is none of any, bots, humans; did you mean humans?`, `7:`)
	f("queues: [", "1:")
	f("", "1:1 ")
	f("version: 1\nqueues:\n  - name: default\n", "3:3 the queue refunds is gone; say under moves")
	f("version: 1\nqueues: [{name: default}]\nmoves: {refunds: defaul}\n", `3:18 there is no queue "defaul"; did you mean default?`)
	if status, _, text := r.do("PUT", configOf, strings.Repeat("#", 257<<10), "If-Match", "*"); status != 413 {
		t.Fatalf("too much was answered %d %s", status, text)
	}
	// A document may be as long as it may be, for whom it is.
	long := twoQueues + strings.Repeat("#", routes.MaxBytes-len(twoQueues))
	if status, m := r.apply(1, long); status != 200 {
		t.Fatalf("%d %v", status, m)
	}
	if status, _, text := without(t, n, customerOf("alice")).do("PUT", configOf, long, "If-Match", "*"); status != 413 && status != 403 {
		t.Fatalf("%d %s", status, text)
	}
}

// Two who change the same version: one has it, the other is told so.
func TestConfigRace(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	const writers = 8
	version := 0
	for range 5 {
		got := make([]int, writers)
		var wg sync.WaitGroup
		for i := range writers {
			r := supervisor(t, n)
			wg.Go(func() {
				got[i], _, _ = r.do("PUT", configOf, fmt.Sprintf("version: 1\nqueues: [{name: default}]\nbar_ms: %d\n", version*writers+i+1), "If-Match", fmt.Sprintf("%q", fmt.Sprint(version)))
			})
		}
		wg.Wait()
		slices.Sort(got)
		want := []int{200, 409, 409, 409, 409, 409, 409, 409}
		if !slices.Equal(got, want) && !slices.Contains(got, 503) {
			t.Fatalf("%d writers of version %d were answered %v", writers, version, got)
		}
		version++
		if _, etag, _ := supervisor(t, n).do("GET", configOf, ""); etag != fmt.Sprintf("%q", fmt.Sprint(version)) {
			t.Fatalf("the version is %s; want %d", etag, version)
		}
	}
}

// Documents are applied while sessions wait: nobody loses his place, and those of a queue that goes wait in its successor, each
// among the others by when he came. So it is after a restart too.
func TestConfigKeepsPlaces(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	r := supervisor(t, n)
	r.applied(0, twoQueues)
	const waiting = 12
	var order []string
	var people []*peer
	for i := range waiting {
		c := login(t, n, customerOf(fmt.Sprint("c", i)))
		queue := []string{"default", "refunds"}[i%2]
		id := c.open(obj{"queue": queue})
		came := c.ask("send", obj{"session": id, "body": text1})
		for time.Now().UnixMilli() <= int64(num(came["ts"])) { // of two in one millisecond the smaller id comes first
			runtime.Gosched()
		}
		order = append(order, id)
		people = append(people, c)
	}
	r.applied(1, "version: 1\nqueues: [{name: default, priority: 3, order: {mode: strict}}, {name: refunds, priority: 1}, {name: more}]\n")
	r.applied(2, "version: 1\nqueues: [{name: more}, {name: default, order: {mode: fifo}}]\nmoves: {refunds: default}\n")
	for i, p := range people {
		if i%2 == 0 {
			continue
		}
		for { // their log says so
			if m := p.push("message"); m["type"] == "session.queued" && m["body"].(obj)["queue"] == "default" {
				break
			}
		}
	}
	// An app that has not heard of it is understood; a restart changes nothing.
	late := login(t, n, customerOf("late"))
	id := late.open(obj{"queue": "refunds"})
	late.ask("send", obj{"session": id, "body": text1})
	order = append(order, id)
	stop(t, n)
	n = start(t, dir)
	defer func() { stop(t, n) }()
	if _, etag, _ := supervisor(t, n).do("GET", configOf, ""); etag != `"3"` {
		t.Fatalf("after the restart the version is %s", etag)
	}
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 1})
	var got []string
	for range order {
		a := bot.push("assigned")
		got = append(got, a["session"].(string))
		bot.ask("close", obj{"session": a["session"], "ae": a["ae"]})
	}
	if !slices.Equal(got, order) {
		t.Fatalf("they came as\n%v\nand were served as\n%v", order, got)
	}
}

// A route that comes to its end says so to the customer, once, also after a restart; he waits on and is served.
func TestLastResort(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	supervisor(t, n).applied(0, "version: 1\nqueues:\n  - name: default\n    route:\n      - {who: bots}\n      - {name: nobody, after_ms: 50, resort: callback}\n")
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text1})
	m := a.push("message")
	for m["type"] != "session.last_resort" {
		m = a.push("message")
	}
	if b := m["body"].(obj); b["action"] != "callback" || b["step"] != "nobody" || m["visibility"] != "public" {
		t.Fatalf("told %v", m)
	}
	a.ask("send", obj{"session": id, "body": text1}) // the number to call
	stop(t, n)
	n = start(t, dir)
	defer func() { stop(t, n) }()
	bot := login(t, n, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"slots": 1})
	tail := bot.push("assigned")["tail"].([]any)
	told := 0
	for _, e := range tail {
		if e.(obj)["type"] == "session.last_resort" {
			told++
		}
	}
	if told != 1 {
		t.Fatalf("told %d times: %v", told, tail)
	}
}

// What a node was told comes before its configuration file, and survives it.
func TestConfigWinsOverFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := start(t, dir)
	supervisor(t, n).applied(0, twoQueues)
	stop(t, n)
	n = start(t, dir, routed("version: 1\nqueues: [{name: other}]\n"))
	defer func() { stop(t, n) }()
	if _, etag, text := supervisor(t, n).do("GET", configOf, ""); etag != `"1"` || text != twoQueues {
		t.Fatalf("%s %q", etag, text)
	}
	a := login(t, n, customerOf("alice"))
	a.refused("no_queue", "open", obj{"queue": "other"})
	a.open(obj{"queue": "refunds"})
}
