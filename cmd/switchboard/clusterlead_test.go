package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/cluster/member"
)

// TestClusterLead lets each node of a real cluster lead every shard in turn, by name, while customers and bots talk, and kills one that was chosen. Every
// acknowledged word is there, once, in order, at every node.
func TestClusterLead(t *testing.T) {
	w := newTrio(t, 3)
	w.load(6)
	w.all(time.Now())
	ask := func(n *trioNode, shard uint16) string {
		t.Helper()
		var out bytes.Buffer
		w.until("being asked", func(*member.Report) bool {
			out.Reset()
			root := newRoot()
			root.SetOut(&out)
			root.SetArgs([]string{"shards", "move", fmt.Sprint(shard), "--to", n.name, "--at", w.nodes[0].links})
			err := root.ExecuteContext(w.ctx)
			if err != nil {
				t.Logf("shard %d to %s: %v", shard, n.name, err) // a copy may be behind for a moment, or who leads be known a moment later
			}
			return err == nil
		})
		return out.String()
	}
	for _, n := range w.nodes {
		w.mark()
		for shard := range uint16(trioShards) {
			if got, want := ask(n, shard), fmt.Sprintf("node %s leads shard %d", n.name, shard); !strings.Contains(got, want) {
				t.Fatalf("it prints %q; want %q", got, want)
			}
		}
		w.until(n.name+" leading all", func(r *member.Report) bool {
			id := w.numberIn(r, n)
			for i := range r.Shards {
				if s := &r.Shards[i]; s.Leader != id || s.Chosen != id { // a machine that stops for a moment may elect another
					t.Logf("shard %d is led by node %d, and node %d was chosen", s.ID, s.Leader, s.Chosen)
					ask(n, s.ID)
					return false
				}
			}
			return true
		})
		_, pause := w.all(time.Now())
		t.Logf("%s is chosen to lead %d shards: sessions paused for %v at most; %d words", n.name, trioShards, pause, w.words())
	}
	w.killed(w.nodes[2])
	w.until("nobody is chosen any more", func(r *member.Report) bool {
		return !slices.ContainsFunc(r.Shards, func(s member.ShardReport) bool { return s.Chosen != 0 })
	})
	w.end()
}
