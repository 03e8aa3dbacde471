package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/backup"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

const (
	acmePath = "/v1/admin/config/acme"
	acmeDoc  = "version: 1\nqueues:\n  - name: help\n  - name: sales\n"
	notMade  = "does not serve him"
)

func acme(sub string, role wire.Role) token.Claims {
	c := token.Claims{Tenant: "acme", Sub: sub, Role: role}
	if role == wire.RoleWorker {
		c.Kind, c.Queues, c.Name = wire.OriginBot, []string{"*"}, sub
	}
	return c
}

// keyed makes a key of acme's that all of the nodes know.
func keyed(t *testing.T, nodes ...*node.Node) {
	t.Helper()
	if s, v := operate(t, nodes[0], token.Claims{Sub: "op", Role: wire.RoleOperator}, http.MethodPost, "/keys/acme", `{"action":"create","kid":"acme-1"}`); s != 200 {
		t.Fatalf("%d %v", s, v)
	}
	for _, n := range nodes {
		until(t, "the key of acme", func() bool { _, err := n.Mint(acme("x", wire.RoleCustomer), time.Hour); return err == nil })
	}
}

// restOf is somebody of acme's at a node.
func restOf(t *testing.T, n *node.Node, c token.Claims) *rest {
	t.Helper()
	return without(t, n, c)
}

// put applies a document of acme's, and tells what was answered.
func put(r *rest, match, doc string) (int, string) {
	r.t.Helper()
	status, _, text := r.do("PUT", acmePath, doc, "If-Match", match)
	return status, text
}

// talks makes everybody who converses somebody else: a bot that came back before it is known that it had left would take over what it had, and be assigned nothing.
var talks atomic.Int64

// converse lets a customer of acme's at one node be answered by a bot at another.
func converse(t *testing.T, at, bot *node.Node, who, queue string) {
	t.Helper()
	who = fmt.Sprintf("%s-%d", who, talks.Add(1))
	b := login(t, bot, acme("bot-"+who, wire.RoleWorker))
	b.subscribe(obj{"queues": []string{"*"}, "slots": 5})
	c := login(t, at, acme(who, wire.RoleCustomer))
	id := c.open(obj{"queue": queue})
	c.ask("send", obj{"session": id, "body": text("hello from " + who)})
	late := time.AfterFunc(time.Minute, func() { // who waits for so long waits for ever: what do both nodes say of it?
		for _, n := range []*node.Node{at, bot} {
			s, _, body := restOf(t, n, acme("sue", wire.RoleSupervisor)).do("GET", "/v1/sessions/"+id+"/explain", "")
			t.Logf("%s waits: %d %s", id, s, body)
		}
	})
	defer late.Stop()
	a := b.push("assigned")
	for a["session"] != id {
		a = b.push("assigned")
	}
	b.ask("reply", obj{"session": id, "ae": a["ae"], "body": text("hello " + who)})
	for bodyText(c.push("message")) != "hello "+who { // those before are his own
	}
	_ = b.ws.Close()
	_ = c.ws.Close()
}

// [SW-7.3] [SW-7.12] A tenant who has keys becomes one that the node serves when his operator applies the first document, without a restart, for good.
func TestTenantWhileTheNodeRuns(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir)
	keyed(t, n)
	olga := restOf(t, n, acme("olga", wire.RoleOperator))
	if s, _, text := olga.do("GET", acmePath, ""); s != 404 || !strings.Contains(text, "no_queue") || !strings.Contains(text, notMade) {
		t.Fatalf("%d %s", s, text)
	}
	early := login(t, n, acme("ann", wire.RoleCustomer))
	if e := early.refused("forbidden", "open", obj{}); !strings.Contains(fmt.Sprint(e), notMade) {
		t.Fatalf("%v", e)
	}
	f := func(r *rest, match, doc string, status int, want string) {
		t.Helper()
		if s, text := put(r, match, doc); s != status || !strings.Contains(text, want) {
			t.Fatalf("putting %q behind %s is answered %d %s; want %d with %s", doc, match, s, text, status, want)
		}
	}
	f(restOf(t, n, acme("sue", wire.RoleSupervisor)), `*`, acmeDoc, 403, "an operator's")
	f(restOf(t, n, acme("bot", wire.RoleWorker)), `*`, acmeDoc, 403, "forbidden")
	f(restOf(t, n, token.Claims{Tenant: "acme", Sub: "o", Role: wire.RoleOperator, Shop: "s1"}), `*`, acmeDoc, 403, "all shops")
	f(restOf(t, n, token.Claims{Sub: "o", Role: wire.RoleOperator}), `*`, acmeDoc, 403, "another tenant")
	f(olga, `"7"`, acmeDoc, 409, `"v":0`)
	f(olga, `"0"`, "version: 1\nqueues:\n  - nam: help\n", 422, "nothing was changed")
	f(olga, `"0"`, "\x00{[", 422, "mistake")
	if s, _, text := olga.do("PUT", acmePath+"?dry_run=1", acmeDoc, "If-Match", `"0"`); s != 200 || !strings.Contains(text, `"dry_run":true`) || !strings.Contains(text, "sales") {
		t.Fatalf("%d %s", s, text)
	}
	if _, err := os.Stat(filepath.Join(dir, "tenants.json")); err == nil {
		t.Fatal("what was refused has made a tenant")
	}
	f(olga, `"0"`, acmeDoc, 200, `"version":1`)
	f(olga, `"0"`, acmeDoc, 200, `"version":1`) // the second copy
	f(olga, `"0"`, "version: 1\nqueues:\n  - name: other\n", 409, `"v":1`)
	// Who was refused is served on the same connection; nothing else has changed.
	early.open(obj{"queue": "sales"})
	converse(t, n, n, "bob", "help")
	talk(t, n, n, "demo-customer")
	if s := login(t, n, acme("sue", wire.RoleSupervisor)).ask("stats", obj{}); !strings.Contains(fmt.Sprint(s), "help") {
		t.Fatalf("no statistics: %v", s)
	}
	s, v := operate(t, n, token.Claims{Sub: "op", Role: wire.RoleOperator}, "GET", "/tenants", "")
	if got := fmt.Sprint(v); s != 200 || !strings.Contains(got, "acme/olga") || !strings.Contains(got, "demo") {
		t.Fatalf("%d %s", s, got)
	}
	for range 2 { // for good; also without a file that names anybody
		stop(t, n)
		n = start(t, dir, func(c *node.Config) { c.Dev = false; c.Cluster.Operators = []string{"acme"} })
		olga = restOf(t, n, acme("olga", wire.RoleOperator))
		if s, tag, text := olga.do("GET", acmePath, ""); s != 200 || tag != `"1"` || text != acmeDoc {
			t.Fatalf("%d %s %q", s, tag, text)
		}
		converse(t, n, n, "bob", "sales")
	}
	f(olga, `"1"`, strings.ReplaceAll(acmeDoc, "sales", "deals")+"moves: {sales: deals}\n", 200, `"version":2`)
	stop(t, n)
	if err := os.WriteFile(filepath.Join(dir, "tenants.json"), []byte(`{"version":1,"tenants":{"acme":{"reopen_window_ms":-1}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Start(node.Config{Data: dir, Listen: "127.0.0.1:0", Shards: 4, FreeMin: -1}); err == nil || !strings.Contains(err.Error(), "tenants.json") {
		t.Fatalf("a file that makes no sense is taken: %v", err)
	}
}

// An operator of the cluster makes a tenant with settings of his own, before there is a document, and asks again.
func TestTenantWithSettings(t *testing.T) {
	n := start(t, t.TempDir())
	op := token.Claims{Sub: "op", Role: wire.RoleOperator}
	f := func(status int, tenant, body, want string) {
		t.Helper()
		if s, v := operate(t, n, op, "POST", "/tenants/"+tenant, body); s != status || !strings.Contains(fmt.Sprint(v), want) {
			t.Fatalf("%s %s is answered %d %v; want %d with %s", tenant, body, s, v, status, want)
		}
	}
	keyed(t, n)
	f(200, "acme", `{"action":"create","origins":["https://acme.example"],"max_attempts":9}`, "changed:true")
	f(200, "acme", `{"action":"create","origins":["https://acme.example"],"max_attempts":9}`, "changed:false")
	f(400, "acme", `{"action":"create"}`, "other settings")
	f(400, "demo", `{"action":"create"}`, "configuration of the node")
	f(400, "a%20b", `{"action":"create"}`, "is no tenant")
	f(400, "other", `{"action":"create","wrapup_ms":-1}`, "negative")
	f(400, "other", `{"action":"create","wrapup_ms":3600001}`, "0 to 3600000")
	f(400, "other", `{"action":"create","placement":"eu"}`, "no member of a cluster")
	f(400, "other", `{"action":"create","origin":"https://misspelt.example"}`, "settings that he can have")
	f(400, "other", `{"action":"eat"}`, "a tenant is made by")
	f(400, "other", `{"action":"create","origins":["`+strings.Repeat("x", 3000)+`"]}`, "2048")
	c := login(t, n, acme("ann", wire.RoleCustomer))
	c.refused("no_queue", "open", obj{}) // he has no document yet
	olga := restOf(t, n, acme("olga", wire.RoleOperator))
	if s, tag, text := olga.do("GET", acmePath, ""); s != 200 || tag != `"0"` || text != "" {
		t.Fatalf("%d %s %q", s, tag, text)
	}
	if s, _, _ := olga.do("GET", acmePath, "", "Origin", "https://evil.example"); s != 403 {
		t.Fatalf("another origin is answered %d", s)
	}
	if s, text := put(olga, `"0"`, acmeDoc); s != 200 {
		t.Fatalf("%d %s", s, text)
	}
	converse(t, n, n, "ann", "help")
	if s, _ := operate(t, n, acme("olga", wire.RoleOperator), "GET", "/tenants", ""); s != 403 {
		t.Fatalf("an operator of another tenant is answered %d", s)
	}
	stop(t, n)
}

// In a cluster the tenant is served at all nodes that are there when he who has made him has the answer, by those that were away when they are back, and by those
// that come; also after everything was stopped.
func TestTenantWhileTheClusterRuns(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	a, b, c := w.start("a"), w.start("b"), w.start("c")
	w.healthy(a, 3)
	keyed(t, a, b, c)
	w.stop("c")
	olga := restOf(t, b, acme("olga", wire.RoleOperator))
	// Two operators at once: one of them is the first, the other is told.
	docs := []string{acmeDoc, acmeDoc + "  - name: third\n"}
	var wg sync.WaitGroup
	got := make([]int, len(docs))
	for i, doc := range docs {
		r := restOf(t, []*node.Node{a, b}[i], acme("olga", wire.RoleOperator))
		wg.Go(func() { got[i], _ = put(r, `"0"`, doc) })
	}
	wg.Wait()
	if got[0]+got[1] != 200+409 {
		t.Fatalf("two first documents are answered %v", got)
	}
	for _, n := range []*node.Node{a, b} {
		converse(t, n, n, "now", "sales")
	}
	c = w.start("c")
	served := func(n *node.Node) func() bool {
		return func() bool {
			s, tag, _ := restOf(t, n, acme("olga", wire.RoleOperator)).do("GET", acmePath, "")
			return s == 200 && tag == `"1"`
		}
	}
	until(t, "acme at c", served(c))
	converse(t, c, a, "back", "sales")
	d := w.start("d")
	until(t, "acme at d", served(d))
	converse(t, d, c, "new", "sales")
	s, v := operate(t, c, token.Claims{Sub: "op", Role: wire.RoleOperator}, "POST", "/tenants/late", `{"action":"create","wrapup_ms":7}`)
	if s != 200 || v["changed"] != true || v["missing"] != nil {
		t.Fatalf("%d %v", s, v)
	}
	for body, want := range map[string]int{`{"action":"create","wrapup_ms":7,"placement":"main"}`: 200, `{"action":"create","wrapup_ms":7,"placement":"eu"}`: 400} { // where he lives is said, or not
		if s, v := operate(t, c, token.Claims{Sub: "op", Role: wire.RoleOperator}, "POST", "/tenants/late", body); s != want || v["changed"] == true {
			t.Fatalf("%s is answered %d %v", body, s, v)
		}
	}
	_, _, before := olga.do("GET", acmePath, "")
	for _, name := range []string{"a", "b", "c", "d"} {
		w.stop(name)
	}
	w.together("a", "b", "c", "d")
	for name, n := range w.nodes {
		until(t, "acme at "+name, served(n))
		if _, _, text := restOf(t, n, acme("olga", wire.RoleOperator)).do("GET", acmePath, ""); text != before {
			t.Fatalf("node %s has another document: %q; want %q", name, text, before)
		}
	}
	converse(t, w.nodes["b"], w.nodes["d"], "after", "help")
	w.stopAll()
}

// A node that is alone has tenants; the cluster that it founds has them, too. So has a backup of either, and what is restored of it.
func TestTenantsComeAlong(t *testing.T) {
	once(t)
	w := newTown(t)
	w.dirs["a"], w.addrs["a"] = t.TempDir(), free(t)
	alone := start(t, w.dirs["a"])
	keyed(t, alone)
	if s, text := put(restOf(t, alone, acme("olga", wire.RoleOperator)), `*`, acmeDoc); s != 200 {
		t.Fatalf("%d %s", s, text)
	}
	converse(t, alone, alone, "ann", "help")
	dir := backup.Open(filepath.Join(t.TempDir(), "backups"), nil)
	first := take(t, dir, operatorOf(t, alone))
	stop(t, alone)
	a := w.start("a")
	b := w.start("b")
	until(t, "acme at b", func() bool {
		s, tag, text := restOf(t, b, acme("olga", wire.RoleOperator)).do("GET", acmePath, "")
		return s == 200 && tag == `"1"` && text == acmeDoc
	})
	converse(t, b, a, "bea", "help")
	if s, v := operate(t, b, token.Claims{Sub: "op", Role: wire.RoleOperator}, "POST", "/tenants/late", `{"action":"create"}`); s != 200 {
		t.Fatalf("%d %v", s, v)
	}
	second := take(t, dir, operatorOf(t, b))
	w.stopAll()
	third := takeStopped(t, dir, w.dirs["a"])
	for i, m := range []*backup.Manifest{first, second, third} {
		data, _ := restore(t, dir, m.ID)
		n := start(t, data)
		s, v := operate(t, n, token.Claims{Sub: "op", Role: wire.RoleOperator}, "GET", "/tenants", "")
		if got := fmt.Sprint(v); s != 200 || !strings.Contains(got, "acme") || strings.Contains(got, "late") != (i > 0) {
			t.Fatalf("backup %d: %d %s", i, s, got)
		}
		if s, tag, text := restOf(t, n, acme("olga", wire.RoleOperator)).do("GET", acmePath, ""); s != 200 || tag != `"1"` || text != acmeDoc {
			t.Fatalf("backup %d: %d %s %q", i, s, tag, text)
		}
		converse(t, n, n, "ann", "sales")
		stop(t, n)
	}
}

// While a node of the version before is there, which would not serve the tenant, nobody is made.
func TestTenantWaitsForAllVersions(t *testing.T) {
	w := newTown(t)
	a := w.start("a")
	w.start("b", func(c *node.Config) { c.SpeakVersion(wire.LinkOldest) })
	op := token.Claims{Sub: "op", Role: wire.RoleOperator}
	if s, v := operate(t, a, op, "POST", "/tenants/acme", `{"action":"create"}`); s != 400 || !strings.Contains(fmt.Sprint(v), "earlier version") {
		t.Fatalf("%d %v", s, v)
	}
	w.stop("b")
	w.start("b")
	if s, v := operate(t, a, op, "POST", "/tenants/acme", `{"action":"create"}`); s != 200 || v["changed"] != true {
		t.Fatalf("%d %v", s, v)
	}
	resp, err := http.Get("http://" + a.Addr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || !strings.Contains(string(text), "switchboard_tenants 2") {
		t.Fatalf("the tenants are not counted: %v", err)
	}
	w.stopAll()
}

func takeStopped(t *testing.T, d *backup.Dir, data string) *backup.Manifest {
	t.Helper()
	m, err := node.BackupStopped(t.Context(), d, data, "test", node.Taking{})
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(m.Tenants) {
		t.Fatalf("the backup has no tenants: %q", m.Tenants)
	}
	return m
}

// together starts nodes that were stopped, and of which no one can begin alone.
func (w *town) together(names ...string) {
	w.t.Helper()
	var join []string
	for _, name := range names {
		join = append(join, w.addrs[name])
	}
	var wg sync.WaitGroup
	nodes, errs := make([]*node.Node, len(names)), make([]error, len(names))
	for i, name := range names {
		wg.Go(func() {
			nodes[i], errs[i] = node.Start(node.Config{
				Data: w.dirs[name], Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 4, Name: name, Edge: node.Edge{Loops: loops},
				Cluster: node.Cluster{Listen: w.addrs[name], Join: join}, Log: slog.New(slog.DiscardHandler),
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
	for i, name := range names {
		w.nodes[name] = nodes[i]
	}
}
