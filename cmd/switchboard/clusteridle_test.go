package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestClusterIdle measures what three real processes, each with a replica of every shard, cost when nobody says anything: so many shards as
// SWITCHBOARD_IDLE lists.
func TestClusterIdle(t *testing.T) {
	list := os.Getenv("SWITCHBOARD_IDLE")
	if list == "" {
		t.Skip("it measures, and holds nothing: SWITCHBOARD_IDLE=64,256, or make idle, runs it")
	}
	bin := build(t)
	for s := range strings.SplitSeq(list, ",") {
		shards, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(s, func(t *testing.T) {
			w := newTrioOfShards(t, 3, shards, bin, "dev: true\nfree_min: -1\n", func(_ int, n *trioNode) { n.addr, n.links = freeAddr(t), freeAddr(t) })
			w.idle()
		})
	}
}

// idleFor is how long nothing is said while it is measured.
const idleFor = 20 * time.Second

// idle reports what each node takes of a processor, its memory and its goroutines.
func (w *trio) idle() {
	w.t.Helper()
	before, began := map[*trioNode]float64{}, time.Now()
	for _, n := range w.nodes {
		before[n] = w.metric(n, "process_cpu_seconds_total")
	}
	time.Sleep(idleFor) // how long it is measured
	took := time.Since(began).Seconds()
	r, err := w.report()
	if err != nil || len(r.Shards) != w.shards || !full(r) {
		w.t.Fatalf("it was not idle, or not whole: %v", err)
	}
	leads := map[string]int{}
	for i := range r.Nodes {
		leads[r.Nodes[i].Name] = r.Nodes[i].Leads
	}
	for _, n := range w.nodes {
		cpu := (w.metric(n, "process_cpu_seconds_total") - before[n]) / took
		w.t.Logf("%s holds %d replicas, leads %d: %.1f %% of a processor, %.0f MB resident, %.0f goroutines", n.name, w.shards, leads[n.name],
			100*cpu, w.metric(n, "process_resident_memory_bytes")/1e6, w.metric(n, "go_goroutines"))
	}
}
