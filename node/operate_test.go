package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// logged keeps what is logged.
type logged struct {
	mu sync.Mutex
	// Guarded by mu.
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) has(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), what)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// operate asks a node over HTTP as somebody.
func operate(t *testing.T, n *node.Node, c token.Claims, method, path, body string) (int, obj) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.Addr()+"/v1/admin/cluster"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+mint(t, n, c))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	v := obj{}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s %s is answered %q: %v", method, path, b, err)
	}
	return resp.StatusCode, v
}

// [SW-7.5] Operators look after the cluster over HTTP at any node; others do not, and what is done is in the log.
func TestOperateOverHTTP(t *testing.T) {
	w := newTown(t)
	log := &logged{}
	a := w.start("a", func(c *node.Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
	b := w.start("b")
	operator := token.Claims{Sub: "olga", Role: wire.RoleOperator}
	f := func(n *node.Node, status int, want, method, path, body string) {
		t.Helper()
		code, v := operate(t, n, operator, method, path, body)
		if got := fmt.Sprint(v); code != status || !strings.Contains(got, want) {
			t.Errorf("%s %s %s is answered %d %s; want %d with %s", method, path, body, code, got, status, want)
		}
	}
	for _, n := range []*node.Node{a, b} {
		f(n, 200, "name:b", "GET", "", "")
	}
	f(b, 200, "plan:", "POST", "/rebalance", `{"action":"dry"}`)
	f(b, 400, "bad_request", "POST", "/rebalance", `{"action":"dance"}`)
	f(b, 400, "bad_request", "POST", "/moves", `{"shard":0,"from":1,"to":9}`)
	f(b, 400, "bad_request", "POST", "/moves", `{`)
	f(b, 400, "bad_request", "POST", "/moves/77", `{"action":"abort"}`)
	f(b, 400, "drain, undrain or remove", "POST", "/nodes/2", `{"action":"eat"}`)
	f(b, 400, "bad_request", "POST", "/nodes/9", `{"action":"drain"}`)
	f(b, 200, "short:", "POST", "/nodes/2", `{"action":"drain"}`)
	f(a, 200, "draining", "GET", "", "")
	f(a, 200, "short:", "POST", "/nodes/2", `{"action":"undrain"}`)
	f(a, 400, "bad_request", "POST", "/nodes/2", `{"action":"remove","disk_lost":true}`)
	f(a, 200, "", "POST", "/placements/main", `{"copies":3}`)
	f(b, 200, "nodes:[1 2]", "POST", "/placements/more", `{"action":"create","shards":2,"copies":1,"dry_run":true}`)
	f(b, 400, "labels region=eu", "POST", "/placements/eu", `{"action":"create","shards":2,"copies":1,"require":{"region":"eu"}}`)
	f(b, 200, "group:1", "POST", "/placements/more", `{"action":"create","shards":2,"copies":1,"tenants":["new"]}`)
	f(a, 200, "", "POST", "/placements/more", `{"action":"assign","tenants":["other"]}`)
	f(a, 400, "lives in placement main", "POST", "/placements/more", `{"action":"assign","tenants":["demo"]}`)
	f(a, 400, "create it", "POST", "/placements/more", `{"action":"eat"}`)
	f(b, 400, "no shard 99", "POST", "/shards/99", `{"action":"lead","to":1}`)
	f(b, 400, "who shall lead it", "POST", "/shards/0", `{"to":1}`)
	f(b, 400, "no node 9", "POST", "/shards/0", `{"action":"lead","to":9}`)
	f(b, 400, "no shard 99", "POST", "/splits", `{"shard":99}`)
	f(b, 400, "pause, resume or abort", "POST", "/splits", `{"shard":0,"action":"undo"}`)
	f(b, 400, "not being split", "POST", "/splits", `{"shard":0,"action":"abort"}`)
	f(b, 400, "not being split", "POST", "/splits", `{"shard":0,"action":"pause"}`)
	f(b, 200, "to:6", "POST", "/splits", `{"shard":0,"dry_run":true}`)
	for _, path := range []string{"/", "/moves/x", "/nodes", "/nodes/x", "/elsewhere", "/rebalance/1", "/shards", "/shards/x"} {
		f(a, 404, "unknown_verb", "POST", path, `{}`)
	}
	f(a, 404, "unknown_verb", "GET", "/moves", "")
	f(a, 404, "unknown_verb", "DELETE", "", "")
	for _, what := range []string{`op=drain by=demo/olga`, `by=demo/olga what=/nodes/2`, `op=place by=demo/olga`} {
		if !log.has(what) {
			t.Errorf("the log does not say %q", what)
		}
	}
	for _, c := range []token.Claims{
		{Sub: "sue", Role: wire.RoleSupervisor},
		{Sub: "olga", Role: wire.RoleOperator, Shop: "s1"},
	} {
		if code, v := operate(t, a, c, "GET", "", ""); code != 403 {
			t.Errorf("%v is answered %d %v", c, code, v)
		}
	}
	w.stop("b")
	w.stop("a")
	one := start(t, t.TempDir())
	if code, v := operate(t, one, operator, "GET", "", ""); code != 404 {
		t.Errorf("a node that is no member answers %d %v", code, v)
	}
	stop(t, one)
	other := start(t, t.TempDir(), func(c *node.Config) {
		c.Name, c.Cluster = "x", node.Cluster{Listen: free(t), Operators: []string{"ops"}}
	})
	if code, v := operate(t, other, operator, "GET", "", ""); code != 403 {
		t.Errorf("an operator of a tenant that is not named is answered %d %v", code, v)
	}
	stop(t, other)
}
