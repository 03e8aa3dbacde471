package main

import (
	"bytes"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestClusterUpgrade replaces the three nodes of a cluster one after the other, as operators do it: a node is drained of what it leads and of its
// connections, stopped, started again and taken back, while customers and bots talk. Every acknowledged word is there afterwards, once, in
// order, at every node, and was answered once. TestClusterOlder does so with another version of the program.
func TestClusterUpgrade(t *testing.T) {
	w := newTrio(t, 3)
	w.load(6)
	w.all(time.Now())
	for _, n := range w.nodes {
		w.replaced(n)
	}
	w.end()
}

// replaced drains a node, stops it when it has nothing left that others could take, and starts it again.
func (w *trio) replaced(n *trioNode) {
	w.t.Helper()
	began := w.mark()
	id := w.number(n)
	n.up.Store(false) // it is not ready, and whoever spreads connections sees that
	out, err := exec.CommandContext(w.ctx, w.bin, "nodes", "drain", n.name, "--wait", "--at", n.links).CombinedOutput()
	if err != nil || !bytes.HasSuffix(out, []byte("left: 0 shards that it leads, 0 replicas, then 0 connections\n")) {
		w.t.Fatalf("nodes drain says %s, %v", out, err)
	}
	r, err := w.report()
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range r.Nodes {
		if x := &r.Nodes[i]; x.ID == id && (x.Leads > 0 || x.Connections > 0 || x.Holds != trioShards) {
			w.t.Fatalf("%s has nowhere to give its replicas, and nothing else left: %+v", n.name, x)
		}
	}
	n.signal(syscall.SIGTERM)
	if err := n.wait(); err != nil {
		w.t.Fatalf("%s ends with %v", n.name, err)
	}
	w.all(time.Now())
	w.start(n)
	if err := n.ask().Drain(w.ctx, "operator", id, true); err != nil {
		w.t.Fatal(err)
	}
	w.healthy()
	_, pause := w.all(time.Now())
	w.t.Logf("%s is drained, replaced and back in %v: sessions paused for %v at most; %d words", n.name, time.Since(began), pause, w.words())
}
