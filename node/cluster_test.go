package node_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"switchboard/node"
	"switchboard/wire"
)

// town is a cluster of nodes in this process, with real sockets between them.
type town struct {
	t     *testing.T
	dirs  map[string]string
	addrs map[string]string // of links
	nodes map[string]*node.Node
}

func newTown(t *testing.T) *town {
	return &town{t: t, dirs: map[string]string{}, addrs: map[string]string{}, nodes: map[string]*node.Node{}}
}

// start starts a node, which keeps its directory and its address over restarts.
func (w *town) start(name string, change ...func(*node.Config)) *node.Node {
	w.t.Helper()
	if w.dirs[name] == "" {
		w.dirs[name] = w.t.TempDir()
		w.addrs[name] = free(w.t)
	}
	var join []string
	for other := range w.nodes {
		join = append(join, w.addrs[other])
	}
	change = append([]func(*node.Config){func(c *node.Config) {
		c.Name = name
		c.Cluster = node.Cluster{Listen: w.addrs[name], Join: join}
	}}, change...)
	w.nodes[name] = start(w.t, w.dirs[name], change...)
	return w.nodes[name]
}

func (w *town) stop(name string) {
	w.t.Helper()
	stop(w.t, w.nodes[name])
	delete(w.nodes, name)
}

// talk opens a session of a new customer at one node, and a bot at another answers it.
func talk(t *testing.T, at, bot *node.Node, who string) string {
	t.Helper()
	b := login(t, bot, workerOf("bot-"+who, wire.OriginBot))
	b.subscribe(obj{"queues": []string{"default"}, "slots": 5})
	c := login(t, at, customerOf(who))
	id := c.open(obj{})
	c.ask("send", obj{"session": id, "body": text("hello from " + who)})
	a := b.push("assigned")
	for a["session"] != id { // those of a bot that has gone
		a = b.push("assigned")
	}
	b.ask("reply", obj{"session": id, "ae": a["ae"], "body": text("hello " + who)})
	for {
		if m := c.push("message"); bodyText(m) == "hello "+who {
			break
		}
	}
	_ = b.ws.Close()
	_ = c.ws.Close()
	return id
}

// TestClusterOfOne founds a cluster, and comes back.
func TestClusterOfOne(t *testing.T) {
	w := newTown(t)
	n := w.start("a")
	id := talk(t, n, n, "ann")
	w.stop("a")
	n = w.start("a")
	c := login(t, n, customerOf("ann"))
	if h := c.ask("history", obj{"session": id, "limit": 100}); len(h["entries"].([]any)) < 3 {
		t.Fatalf("the words are gone: %v", h)
	}
	w.stop("a")
}

// TestClusterGrows takes a single node into a cluster of three. Every session stays, every node serves everybody.
func TestClusterGrows(t *testing.T) {
	w := newTown(t)
	w.dirs["a"] = t.TempDir()
	alone := start(t, w.dirs["a"])
	var ids []string
	for i := range 8 {
		ids = append(ids, talk(t, alone, alone, fmt.Sprintf("c%d", i)))
	}
	stop(t, alone)
	w.addrs["a"] = free(t)
	a := w.start("a")
	b := w.start("b")
	c := w.start("c")
	for i, id := range ids {
		for _, n := range []*node.Node{a, b, c} {
			p := login(t, n, customerOf(fmt.Sprintf("c%d", i)))
			if h := p.ask("history", obj{"session": id, "limit": 100}); len(h["entries"].([]any)) < 3 {
				t.Fatalf("the words are gone: %v", h)
			}
			_ = p.ws.Close()
		}
	}
	talk(t, b, c, "late")
	for _, name := range []string{"c", "b", "a"} {
		w.stop(name)
	}
	recorded(t, w.dirs["a"], ids...)
	recorded(t, w.dirs["c"]) // its node.json has no number of shards: the cluster's rows have
}

// recorded says which of some sessions all sessions of a stopped node lack, or have twice.
func recorded(t *testing.T, dir string, ids ...string) {
	t.Helper()
	found := map[string]int{}
	if err := node.ReadRecords(dir, "", 0, 0, func(r *node.Record) error { found[string(r.Session)]++; return nil }); err != nil {
		t.Errorf("reading all sessions of a stopped node: %v", err)
	}
	for _, id := range ids {
		if found[id] != 1 {
			t.Errorf("session %s is there %d times among all sessions of a stopped node", id, found[id])
		}
	}
}

// free returns an address that nobody listens on, and that nobody else gets: on Linux all of 127/8 is this machine, and whoever dials does so
// from 127.0.0.1.
func free(t *testing.T) string {
	t.Helper()
	host := "127.0.0.1"
	if runtime.GOOS == "linux" {
		pid, n := os.Getpid(), places.Add(1)
		host = net.IPv4(127, byte(1+pid>>8&0x3f), byte(pid), byte(1+n%250)).String()
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	return ln.Addr().String()
}

// places counts what free has given.
var places atomic.Uint32
