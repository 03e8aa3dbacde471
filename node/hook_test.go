package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"switchboard/edge/token"
	"switchboard/hook"
	"switchboard/node"
	"switchboard/wire"
)

// receiver is a ticket system: it answers what it is told to, and keeps what it is posted.
type receiver struct {
	*httptest.Server
	t testing.TB

	mu sync.Mutex
	// Guarded by mu.
	status []int // of the next calls; 200 when there are no more
	after  string
	got    chan posted
}

type posted struct {
	id   string
	body string
}

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func newReceiver(t testing.TB, status ...int) *receiver {
	r := &receiver{t: t, status: status, got: make(chan posted, 100)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	at, err2 := strconv.ParseInt(q.Header.Get("webhook-timestamp"), 10, 64)
	id := q.Header.Get("webhook-id")
	if err != nil || err2 != nil || q.Header.Get("webhook-signature") != hook.Sign([]byte(hookSecret), id, at, body) {
		r.t.Errorf("a call that is not signed: %v %s", q.Header, body)
	}
	r.mu.Lock()
	status := 200
	if len(r.status) > 0 {
		status, r.status = r.status[0], r.status[1:]
	}
	if r.after != "" {
		w.Header().Set("Retry-After", r.after)
	}
	r.mu.Unlock()
	r.got <- posted{id, string(body)}
	w.WriteHeader(status)
}

// hooked is a tenant that calls url when nobody is there for attempts times at most, on a node whose secret is in a file.
func hooked(t testing.TB, url string, attempts int) func(*node.Config) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(hookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	doc := fmt.Sprintf("version: 1\nhooks: [{name: tickets, url: %q, secret: desk, attempts: %d}]\nqueues:\n  - name: default\n    route:\n      - {who: bots}\n      - {resort: ticket, hook: tickets}\n", url, attempts)
	return func(c *node.Config) {
		routed(doc)(c)
		c.Hooks = node.Hooks{Secrets: map[string]string{"demo/desk": "file:" + file}, Allow: []string{"127.0.0.1"}, FirstMS: 20}
	}
}

// event waits for an event that staff sees.
func event(p *peer, typ string) obj {
	p.t.Helper()
	for {
		if m := p.push("message"); m["type"] == typ {
			return m["body"].(obj)
		}
	}
}

// Who waits beside nobody gets a ticket: the hook is called, signed, again when it fails, and staff sees that it was taken.
func TestHook(t *testing.T) {
	r := newReceiver(t, 500, 503)
	n := start(t, t.TempDir(), hooked(t, r.URL+"/tickets?key=1", 12))
	defer func() { stop(t, n) }()
	sue := login(t, n, supervisorOf("sue"))
	sue.ask("watch", obj{})
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{"attributes": obj{"intent": "refund"}, "shop": "s1"})
	a.ask("send", obj{"session": id, "body": text("nobody \"there\"?")})
	first := <-r.got
	for range 2 {
		if again := <-r.got; again != first {
			t.Fatalf("it was posted\n%v\nand then\n%v", first, again)
		}
	}
	var m struct {
		ID, Type string
		Data     obj
	}
	if err := json.Unmarshal([]byte(first.body), &m); err != nil || m.ID != first.id || m.Type != "session.last_resort" || !strings.Contains(m.ID, id) {
		t.Fatalf("%v: %s", err, first.body)
	}
	for key, want := range map[string]any{"tenant": "demo", "session": id, "action": "ticket", "step": "step 2", "queue": "default", "shop": "s1", "customer": "alice", "ticket": 1.} {
		if m.Data[key] != want {
			t.Errorf("%s is %v; want %v", key, m.Data[key], want)
		}
	}
	if at, _ := m.Data["attributes"].(obj); at["intent"] != "refund" || num(m.Data["waiting_since"]) == 0 {
		t.Errorf("%s", first.body)
	}
	if e := event(sue, "hook.delivered"); e["hook"] != "tickets" || num(e["attempts"]) != 3 || num(e["status"]) != 200 {
		t.Fatalf("%v", e)
	}
	untilMetric(t, n, `switchboard_hook_tasks`, 0) // a task ends when it is seen that its end is durable
	scrape := metrics(t, n)
	if d, again, w := sumOf(scrape, `switchboard_hook_calls_total{outcome="delivered"`), sumOf(scrape, `switchboard_hook_calls_total{outcome="retried"`), sumOf(scrape, `switchboard_hook_tasks`); d != 1 || again != 2 || w != 0 {
		t.Errorf("%v delivered, %v retried, %v wait", d, again, w)
	}
	// The customer sees that he was offered a ticket, and not what became of it.
	h := a.ask("history", obj{"session": id, "limit": 100})
	if text := fmt.Sprint(h["entries"]); !strings.Contains(text, "session.last_resort") || strings.Contains(text, "hook.") {
		t.Fatalf("the customer sees %s", text)
	}
}

// The node ends while its receiver is away: the call is made by the next one, with the same id and the same words, and once it is taken no more.
func TestHookAcrossRestart(t *testing.T) {
	var list []int
	for range 100 {
		list = append(list, 500)
	}
	r := newReceiver(t, list...)
	dir, cfg := t.TempDir(), hooked(t, r.URL, 50)
	n := start(t, dir, cfg)
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	a.ask("send", obj{"session": id, "body": text1})
	first := <-r.got
	a.ask("close", obj{"session": id}) // it is owed all the same
	stop(t, n)
	r.mu.Lock()
	r.status = nil
	r.mu.Unlock()
	for len(r.got) > 0 {
		<-r.got
	}
	n = start(t, dir, cfg)
	if again := <-r.got; again != first {
		t.Fatalf("it was posted\n%v\nand by the next node\n%v", first, again)
	}
	untilMetric(t, n, `switchboard_hook_calls_total{outcome="delivered"`, 1)
	stop(t, n)
	n = start(t, dir, cfg)
	if left := sumOf(metrics(t, n), `switchboard_hook_tasks`); left != 0 || len(r.got) != 0 {
		t.Fatalf("%v tasks are left, %d calls were made", left, len(r.got))
	}
	stop(t, n)
}

// What nobody takes is given up after so many attempts, or at once when the receiver says so, and staff sees it; a secret that is not there, and an
// address that is this machine's, are such failures.
func TestHookGivenUp(t *testing.T) {
	f := func(name, why string, attempts int, r *receiver, change func(*node.Config)) {
		t.Run(name, func(t *testing.T) {
			n := start(t, t.TempDir(), hooked(t, r.URL, 3), change)
			defer func() { stop(t, n) }()
			sue := login(t, n, supervisorOf("sue"))
			sue.ask("watch", obj{})
			a := login(t, n, customerOf("alice"))
			id := a.open(obj{})
			a.ask("send", obj{"session": id, "body": text1})
			e := event(sue, "hook.failed")
			if e["hook"] != "tickets" || num(e["attempts"]) != attempts || !strings.Contains(fmt.Sprint(e["why"]), why) {
				t.Fatalf("%v", e)
			}
			if calls := len(r.got); calls > attempts {
				t.Fatalf("%d calls", calls)
			}
			untilMetric(t, n, `switchboard_hook_tasks`, 0)
			scrape := metrics(t, n)
			if failed, w := sumOf(scrape, `switchboard_hook_calls_total{outcome="failed"`), sumOf(scrape, `switchboard_hook_tasks`); failed != 1 || w != 0 {
				t.Errorf("%v failed, %v wait", failed, w)
			}
		})
	}
	f("errors", "answered 500", 3, newReceiver(t, 500, 500, 500), func(*node.Config) {})
	f("gone", "answered 410", 1, newReceiver(t, 410), func(*node.Config) {})
	f("secret", "does not have it", 3, newReceiver(t), func(c *node.Config) { c.Hooks.Secrets = nil })
	f("address", "on this machine", 3, newReceiver(t), func(c *node.Config) { c.Hooks.Allow = nil })
}

// What an operator gets wrong about hooks is said before anything is opened.
func TestHookConfig(t *testing.T) {
	f := func(h node.Hooks, want string) {
		t.Helper()
		_, err := node.Start(node.Config{Data: t.TempDir(), Dev: true, Listen: "127.0.0.1:0", Hooks: h})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", h, err, want)
		}
	}
	f(node.Hooks{Secrets: map[string]string{"desk": "env:X"}}, "tenant/name")
	f(node.Hooks{Secrets: map[string]string{"demo/desk": "hunter2"}}, "file:PATH or env:NAME")
	f(node.Hooks{Allow: []string{"inside"}}, "no address")
	f(node.Hooks{PerHook: -1}, "hooks.per_hook is -1: it must be 0 or more")
}

func metrics(t testing.TB, n *node.Node) string {
	t.Helper()
	_, body := get(t, n, "/metrics")
	return body
}

// untilMetric waits until the samples whose lines begin so come to want.
func untilMetric(t testing.TB, n *node.Node, prefix string, want float64) {
	t.Helper()
	until(t, fmt.Sprint(prefix, " is ", want), func() bool { return sumOf(metrics(t, n), prefix) == want })
}

// sumOf adds up the samples whose lines begin so.
func sumOf(scrape, prefix string) (sum float64) {
	for line := range strings.SplitSeq(scrape, "\n") {
		if i := strings.LastIndexByte(line, ' '); i > 0 && strings.HasPrefix(line, prefix) {
			v, _ := strconv.ParseFloat(line[i+1:], 64)
			sum += v
		}
	}
	return sum
}

// What a hook was to be told of a customer is erased with him: no call is made after that, and nothing of it is in the rows.
func TestHookOfTheErased(t *testing.T) {
	var list []int
	for range 1000 {
		list = append(list, 500)
	}
	r := newReceiver(t, list...)
	r.after = "1" // so that no call is on its way all the time
	n := start(t, t.TempDir(), hooked(t, r.URL, 50))
	defer func() { stop(t, n) }()
	a := login(t, n, token.Claims{Sub: "alice", Role: wire.RoleCustomer, Name: "Alice " + canary})
	id := a.open(obj{"attributes": obj{"about": canary}})
	a.ask("send", obj{"session": id, "body": text1})
	if first := <-r.got; !strings.Contains(first.body, canary) {
		t.Fatalf("%s", first.body)
	}
	if code, got := web(t, n, opa, "DELETE", "/v1/customers/alice", nil, ""); code/100 != 2 {
		t.Fatalf("%d %v", code, got)
	}
	erased(t, n, "alice", "erased")
	r.mu.Lock()
	r.status = nil
	r.mu.Unlock()
	untilMetric(t, n, `switchboard_hook_tasks`, 0)
	if made := sumOf(metrics(t, n), `switchboard_hook_calls_total{outcome="delivered"`); made != 0 {
		t.Fatalf("%v calls were made of somebody who is erased", made)
	}
}
