package node_test

import (
	"strings"
	"testing"

	"switchboard/node"
)

// TestClusterMetrics stops nodes of three, and looks at what the others tell Prometheus of it.
func TestClusterMetrics(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	a, b := w.start("a"), w.start("b")
	w.start("c")
	tell := func(what, metric string, ok func(float64) bool, nodes ...*node.Node) {
		t.Helper()
		until(t, what, func() bool {
			sum := 0.0
			for _, n := range nodes {
				sum += sumOf(metrics(t, n), "switchboard_cluster_"+metric)
			}
			return ok(sum)
		})
	}
	is := func(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
	told := func(n *node.Node, of string) {
		t.Helper()
		for _, name := range []string{"mail_lost_total", "goodbyes_unheard_total"} {
			if line := "switchboard_cluster_" + name + `{node="` + of + `"} `; !strings.Contains(metrics(t, n), line) {
				t.Errorf("it does not tell %s", line)
			}
		}
	}
	some := func(v float64) bool { return v > 0 }
	for _, n := range w.nodes {
		tell("somebody leads the cluster", "led ", is(1), n)
		tell("every shard has a leader", "shards_leaderless ", is(0), n)
		tell("no copy is missing", "shards_short ", is(0), n)
	}

	told(a, "b")
	told(b, "c")
	w.stop("c")
	tell("the four shards lack a copy", "shards_short ", is(4), a, b)
	tell("every shard has a leader, as a sees it", "shards_leaderless ", is(0), a)
	tell("every shard has a leader, as b sees it", "shards_leaderless ", is(0), b)
	talk(t, a, b, "ann")
	tell("c lacks entries", `copy_lag_entries{node="c"}`, some, a, b)
	tell("c has lacked them for a while", `copy_lag_seconds{node="c"}`, some, a, b)
	tell("a and b have all", `copy_lag_entries{node="a"}`, is(0), b)
	tell("b and a have all", `copy_lag_entries{node="b"}`, is(0), a)

	w.start("c")
	tell("c is back", "shards_short ", is(0), a, b, w.nodes["c"])
	tell("c has caught up", `copy_lag_entries{node="c"}`, is(0), a, b)

	w.stop("c")
	w.stop("b")
	tell("nobody leads a shard", "shards_leaderless ", is(4), a)
	tell("nobody leads the cluster", "led ", is(0), a)
	tell("what nobody leads lacks no copy", "shards_short ", is(0), a)
	w.stop("a")

	alone := start(t, t.TempDir())
	if m := metrics(t, alone); strings.Contains(m, "switchboard_cluster_") {
		t.Fatal("a node that is no member tells of a cluster")
	}
	stop(t, alone)
}
