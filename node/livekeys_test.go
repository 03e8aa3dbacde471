package node_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// let tells whether a node lets the bearer of a token in.
func let(t *testing.T, n *node.Node, tok string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Addr()+"/v1/admin/config/demo", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tok)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("answered %d", resp.StatusCode)
	}
	return resp.StatusCode == http.StatusOK
}

// [SW-7.10] Keys are added, changed and removed while the nodes run: all go by them at once, also one that comes later, and after a restart. No
// secret is in an answer or in a log.
func TestKeysWhileTheClusterRuns(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	log := &logged{}
	logs := func(c *node.Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) }
	nodes := []*node.Node{w.start("a", logs), w.start("b", logs), w.start("c", logs)}
	olga := token.Claims{Tenant: "demo", Sub: "olga", Role: wire.RoleOperator}
	all := func(tok string, want bool) {
		t.Helper()
		same := 0
		if !happens(10*time.Second, 10*time.Millisecond, func() bool { // the promise is a second; the machine may be busy
			same = 0
			for _, n := range nodes {
				if let(t, n, tok) == want {
					same++
				}
			}
			return same == len(nodes)
		}) {
			t.Fatalf("%d of %d nodes let the token in: %v", same, len(nodes), want)
		}
	}
	ask := func(n *node.Node, status int, path, body string) obj {
		t.Helper()
		method := http.MethodPost
		if body == "" {
			method = http.MethodGet
		}
		got, v := operate(t, n, olga, method, "/keys"+path, body)
		if got != status {
			t.Fatalf("%s %s is answered %d %v; want %d", path, body, got, v, status)
		}
		return v
	}
	old := mint(t, nodes[0], olga)
	all(old, true)
	const secret = "a-secret-that-is-long-enough-for-HS256-and-is-told-nobody"
	if v := ask(nodes[1], 200, "/demo", `{"action":"add","key":{"kid":"theirs","secret":"`+secret+`"}}`); v["changed"] != true || len(v["keys"].([]any)) != 2 {
		t.Fatalf("%v", v)
	}
	key, err := token.NewSecret("theirs", []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := token.New(map[string][]token.Key{"demo": {key}})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := issuer.Mint(olga, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	all(theirs, true)
	all(old, true)
	for i, n := range nodes { // whoever is asked; the second copy changes nothing
		if v := ask(n, 200, "/demo", `{"action":"create","kid":"demo-2"}`); v["changed"] != (i == 0) || len(v["keys"].([]any)) != 3 {
			t.Fatalf("%v", v)
		}
	}
	fresh := mintUntil(t, nodes[2], olga, "demo-2")
	all(fresh, true)
	if v := ask(nodes[2], 200, "/demo", `{"action":"remove","kid":"demo-1"}`); v["changed"] != true {
		t.Fatalf("%v", v)
	}
	all(old, false)
	all(fresh, true)
	for _, n := range nodes {
		mintUntil(t, n, olga, "demo-2")
	}
	// A tenant of whom there was nothing; and what is refused.
	ask(nodes[0], 200, "/acme", `{"action":"create","kid":"acme-1"}`)
	for body, words := range map[string]string{
		`{"action":"remove","kid":"acme-1"}`: "last key",
		`{"action":"create"}`:                "needs a kid",
		`{"action":"eat"}`:                   "add, create and remove",
		`{"action":"add","key":{"kid":"acme-1","secret":"` + secret + `"}}`:     "another key with the kid",
		`{"action":"add","key":{"kid":"x","secret":"short ` + "MYSHORT" + `"}}`: "a secret of",
		`{"action":"add","key":{"kid":"x","secret":"` + "MYBROKEN" + `}`:        "keys of a tenant are changed by",
	} {
		if v := ask(nodes[1], 400, "/acme", body); !strings.Contains(fmt.Sprint(v), words) || strings.Contains(fmt.Sprint(v), "MY") {
			t.Fatalf("%s is answered %v", body, v)
		}
	}
	ask(nodes[1], 400, "/a%20b", `{"action":"create","kid":"k"}`)
	if v := ask(nodes[2], 200, "", ""); len(v["keys"].([]any)) != 3 || strings.Contains(fmt.Sprint(v), secret) {
		t.Fatalf("%v", v)
	}
	if s, _ := operate(t, nodes[0], token.Claims{Tenant: "demo", Sub: "c", Role: wire.RoleCustomer}, http.MethodGet, "/keys", ""); s != 403 {
		t.Fatalf("a customer is answered %d", s)
	}
	// Who was away takes them when it is back, and who is new, too.
	w.stop("c")
	nodes = nodes[:2]
	ask(nodes[0], 200, "/demo", `{"action":"remove","kid":"theirs"}`)
	all(theirs, false)
	nodes = append(nodes, w.start("c", logs), w.start("d", logs))
	all(theirs, false)
	all(fresh, true)
	first, err := os.ReadFile(filepath.Join(w.dirs["a"], token.FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"b", "c", "d"} {
		if b, err := os.ReadFile(filepath.Join(w.dirs[name], token.FileName)); err != nil || string(b) != string(first) {
			t.Fatalf("node %s keeps other keys: %v", name, err)
		}
	}
	for _, name := range []string{"d", "c", "b", "a"} {
		w.stop(name)
	}
	for _, hidden := range []string{secret, "MYSHORT", "MYBROKEN", `"k"`} {
		if log.has(hidden) {
			t.Fatalf("%q is in a log", hidden)
		}
	}
	for _, told := range []string{"keys of tokens are changed", "action=remove", "kid=theirs", "by=demo/olga"} {
		if !log.has(told) {
			t.Errorf("%q is not in the log", told)
		}
	}
}

// [SW-7.10] Who asks for a change stops waiting before it is known whether it was made. It is noted that he has asked, as it may have been; when he asks again he
// has it, and that changes nothing more.
func TestKeysOfUnknownFate(t *testing.T) {
	w := newTown(t)
	log := &logged{}
	n := w.start("a", func(c *node.Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	q := &node.KeysAsked{Action: "create", Tenant: "demo", By: "olga"}
	for i := 0; !log.has("it is not known whether keys of tokens are changed"); i++ {
		if i == 1000 { // each goes half way with the same odds
			t.Fatal("it is not noted who has asked for what may have been done")
		}
		q.Kid = fmt.Sprint("demo-x", i)
		if _, err := n.ChangeKeys(gone, q); err == nil {
			t.Fatal("who waits no more is answered")
		}
	}
	for range 2 {
		a, err := n.ChangeKeys(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(a.Keys, func(l token.Line) bool { return l.Tenant == "demo" && l.Kid == q.Kid }); i < 0 {
			t.Fatalf("there is no key %s among %v", q.Kid, a.Keys)
		}
	}
	w.stop("a")
}

// mintUntil mints a token once the node does so with a key.
func mintUntil(t *testing.T, n *node.Node, c token.Claims, kid string) string {
	t.Helper()
	tok := ""
	until(t, "the node mints with "+kid, func() bool { tok = mint(t, n, c); return kidOf(t, tok) == kid })
	return tok
}

// [SW-7.10] A node that is alone changes its keys file, and goes by it at once.
func TestKeysOfANodeAlone(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, func(c *node.Config) { c.Cluster.Operators = []string{"demo"} })
	olga := token.Claims{Tenant: "demo", Sub: "olga", Role: wire.RoleOperator}
	old := mint(t, n, olga)
	for _, body := range []string{`{"action":"create","kid":"demo-2"}`, `{"action":"remove","kid":"demo-1"}`} {
		if s, v := operate(t, n, olga, http.MethodPost, "/keys/demo", body); s != 200 || v["changed"] != true {
			t.Fatalf("%s is answered %d %v", body, s, v)
		}
	}
	if let(t, n, old) || !let(t, n, mint(t, n, olga)) {
		t.Fatal("the node goes by its old keys")
	}
	fresh := mint(t, n, olga)
	stop(t, n)
	n = start(t, dir, func(c *node.Config) { c.Cluster.Operators = []string{"demo"} })
	if let(t, n, old) || !let(t, n, fresh) {
		t.Fatal("after a restart the node goes by its old keys")
	}
	stop(t, n)
}

// kidOf returns the kid that a token names.
func kidOf(t *testing.T, tok string) string {
	t.Helper()
	head, _, _ := strings.Cut(tok, ".")
	b, err := base64.RawURLEncoding.DecodeString(head)
	var h struct{ Kid string }
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h.Kid
}
