package node_test

import (
	"errors"
	"testing"
	"time"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/node"
)

// [SW-7.5] A placement is told to be on other nodes while customers talk: all of it moves there, the moves can be paused, and who lives in it has his words.
func TestPlacementMoves(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	in := func(region string) func(*node.Config) {
		return func(c *node.Config) { c.Cluster.Labels = map[string]string{"region": region} }
	}
	a, b := w.start("a", in("us")), w.start("b", in("eu"))
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	id := talk(t, a, b, "ann")
	if _, err := op.Require(t.Context(), "ann", cluster.Main, map[string]string{"region": "mars"}, false); !errors.Is(err, cluster.ErrRefused) {
		t.Fatalf("a placement nowhere: %v", err)
	}
	eu := map[string]string{"region": "eu"}
	if r, err := op.Require(t.Context(), "ann", cluster.Main, eu, true); err != nil || len(r.Nodes) != 1 || r.Nodes[0] != 2 {
		t.Fatalf("a dry run: %+v, %v", r, err)
	}
	moved := func(node uint32) {
		t.Helper()
		var r *member.Report
		if !happens(90*time.Second, 50*time.Millisecond, func() (there bool) {
			var err error
			if r, err = op.Status(t.Context()); err != nil || r.Stale {
				return false
			}
			there = len(r.Places[0].Misplaced) == 0
			for i := range r.Shards {
				s := &r.Shards[i]
				there = there && len(s.Replicas) == 1 && s.Replicas[0].Node == node && s.Leader == node
			}
			return there
		}) {
			t.Fatalf("not all is on node %d: %+v", node, r)
		}
	}
	for _, to := range []struct {
		labels map[string]string
		node   uint32
	}{{eu, 2}, {map[string]string{"region": "us"}, 1}, {eu, 2}} {
		for range 2 { // the second time it is the same
			if _, err := op.Require(t.Context(), "ann", cluster.Main, to.labels, false); err != nil {
				t.Fatal(err)
			}
		}
		talk(t, a, b, "meanwhile")
		moved(to.node)
		c := login(t, a, customerOf("ann"))
		if h := c.ask("history", obj{"session": id, "limit": 100}); len(h["entries"].([]any)) < 3 {
			t.Fatalf("the words are gone: %v", h)
		}
		_ = c.ws.Close()
	}
	w.stop("b")
	w.stop("a")
}
