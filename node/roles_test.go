package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/fasthttp/websocket"

	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// [SW-7] [SW-6.2] A node whose role is shard alone serves those who look after it, and no client; none is sent to it.
func TestShardOnly(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	at := map[string]string{}
	clients := func(name string) func(*node.Config) {
		at[name] = free(t)
		return func(c *node.Config) { c.Listen = at[name] }
	}
	url := func(name string) string { return "ws://" + at[name] + "/v1/connect" }
	a, b := w.start("a", clients("a")), w.start("b", clients("b"))
	c := w.start("c", clients("c"), func(c *node.Config) { c.Cluster.Roles = []string{"shard"} })
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	report := func() *member.Report {
		t.Helper()
		r, err := op.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	until(t, "c holds copies", func() bool { return report().Nodes[2].Holds == 4 })
	if n := report().Nodes[2]; n.URL != url("c") || n.Roles.Edge {
		t.Fatalf("the test is about a node that could be named and is not: %+v", n)
	}

	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if code, body := get(t, c, path); code != 200 {
			t.Errorf("%s is answered %d %s", path, code, body)
		}
	}
	operator := token.Claims{Sub: "olga", Role: wire.RoleOperator}
	if code, v := operate(t, c, operator, "GET", "", ""); code != 200 {
		t.Errorf("an operator is answered %d %v", code, v)
	}
	refused := func(what string, resp *http.Response) {
		t.Helper()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(string(body), "serves no clients") {
			t.Fatalf("%s is answered %s %s", what, resp.Status, body)
		}
		for _, name := range []string{"a", "b"} {
			if !strings.Contains(string(body), url(name)) {
				t.Errorf("%s is not told of %s: %s", what, name, body)
			}
		}
		if strings.Contains(string(body), url("c")) {
			t.Errorf("%s is sent to where it comes from: %s", what, body)
		}
	}
	bearer := http.Header{"Authorization": {"Bearer " + mint(t, c, customerOf("ann"))}}
	for name, d := range map[string]*websocket.Dialer{"a socket": {}, "a socket with a subprotocol": {Subprotocols: []string{"switchboard.v1.json"}}} {
		ws, resp, err := d.Dial(url("c"), bearer)
		if err == nil {
			_ = ws.Close()
		}
		if !errors.Is(err, websocket.ErrBadHandshake) {
			t.Fatalf("%s: %v", name, err)
		}
		refused(name, resp)
	}
	for _, line := range []string{"POST /v1/sessions", "GET /v1/sessions/s_1/events", "GET /v1/customers/ann/identities", "POST /v1/queues/default/claim", "GET /"} {
		method, path, _ := strings.Cut(line, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Addr()+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = bearer
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		refused(line, resp)
	}

	// Who leaves a goes to b.
	var all []*peer
	for i := range 12 {
		all = append(all, login(t, a, customerOf(fmt.Sprint("c", i))))
	}
	if code, v := operate(t, b, operator, "POST", "/nodes/1", `{"action":"drain"}`); code != 200 {
		t.Fatalf("draining is answered %d %v", code, v)
	}
	for _, p := range all {
		if code, bye := p.closed(); code != 3001 || bye["to"] != url("b") {
			t.Errorf("it is closed %d with %v", code, bye)
		}
	}
	// What c holds is worth as much as any copy.
	w.stop("a")
	talk(t, b, b, "bob")
	w.stop("b")
	w.stop("c")
}

// A node whose role is edge alone serves everybody, holds nothing, and goes on when one that holds something is cut off.
func TestEdgeOnly(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	shard := func(c *node.Config) { c.Cluster.Roles = []string{"shard"} }
	cords := map[string]*cord{}
	for _, name := range []string{"a", "b", "c"} {
		cords[name] = &cord{all: map[io.Closer]bool{}}
		w.start(name, shard, func(c *node.Config) { c.Network = cords[name] })
	}
	d := w.start("d", func(c *node.Config) { c.Cluster.Roles = []string{"edge"} })
	op := member.At(w.addrs["d"], member.Seat{Name: "ann", Plain: true})
	report := func() *member.Report {
		r, err := op.Status(t.Context())
		if err != nil {
			t.Log(err) // it is asked again
			return &member.Report{}
		}
		return r
	}
	until(t, "the shards have their copies", func() bool {
		r := report()
		for i := range r.Shards {
			if len(r.Shards[i].Replicas) != 3 || r.Shards[i].Job != 0 {
				return false
			}
		}
		return len(r.Shards) == 4
	})
	talk(t, d, d, "ann")
	for _, s := range report().Shards {
		for _, rep := range s.Replicas {
			if rep.Node == 4 {
				t.Fatalf("shard %d has a copy where there are to be none", s.ID)
			}
		}
	}
	if n := report().Nodes[3]; n.Name != "d" || n.Holds != 0 || n.Leads != 0 || n.Votes {
		t.Fatalf("%+v", n)
	}

	bot := login(t, d, workerOf("bot", wire.OriginBot))
	bot.subscribe(obj{"queues": []string{"default"}, "slots": 40})
	const customers = 12 // some of each shard
	var list []*peer
	var ids []string
	for i := range customers {
		p := login(t, d, customerOf(fmt.Sprint("c", i)))
		id := p.open(obj{})
		p.ask("send", obj{"session": id, "body": text("before")})
		list, ids = append(list, p), append(ids, id)
	}
	r := report()
	leads := map[uint32]int{}
	for i := range r.Shards {
		leads[r.Shards[i].Leader]++
	}
	lost := "a"
	for i, name := range []string{"a", "b", "c"} {
		if leads[uint32(i+1)] > leads[uint32(lost[0]-'a'+1)] { //nolint:gosec // three
			lost = name
		}
	}
	if leads[uint32(lost[0]-'a'+1)] == 0 {
		t.Fatalf("nobody leads: %v", leads)
	}
	cords[lost].cut()
	for i, p := range list {
		p.ask("send", obj{"session": ids[i], "body": text("after")})
	}
	for i, p := range list {
		h := p.ask("history", obj{"session": ids[i], "limit": 100})
		var words []string
		for _, e := range h["entries"].([]any) {
			if s := bodyText(e.(obj)); s == "before" || s == "after" {
				words = append(words, s)
			}
		}
		if strings.Join(words, " ") != "before after" {
			t.Errorf("customer %d finds %q", i, words)
		}
		_ = p.ws.Close()
	}
	_ = bot.ws.Close()
	cords[lost].mend()
	for _, name := range []string{"d", "a", "b", "c"} {
		w.stop(name)
	}
}

// cord is a node's way to others, which can be cut.
type cord struct {
	mu sync.Mutex
	// Guarded by mu.
	down bool
	all  map[io.Closer]bool // connections
}

var errCut = errors.New("the cord is cut")

// cut breaks all connections, and lets no more be made.
func (c *cord) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = true
	for conn := range c.all {
		_ = conn.Close()
	}
	clear(c.all)
}

func (c *cord) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = false
}

func (c *cord) add(conn net.Conn) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		_ = conn.Close()
		return nil, errCut
	}
	c.all[conn] = true
	return &strand{conn, c}, nil
}

// Dial implements node.Network.
func (c *cord) Dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return c.add(conn)
}

// Listen implements node.Network.
func (c *cord) Listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &cordListener{ln, c}, nil
}

type cordListener struct {
	net.Listener
	c *cord
}

// Accept implements net.Listener.
func (l *cordListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn, err = l.c.add(conn); err == nil {
			return conn, nil
		}
	}
}

// strand is a connection over a cord.
type strand struct {
	net.Conn
	c *cord
}

// Close implements net.Conn.
func (s *strand) Close() error {
	s.c.mu.Lock()
	delete(s.c.all, s.Conn)
	s.c.mu.Unlock()
	return s.Conn.Close()
}
