package main

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

// TestClusterSplit splits shards of a real cluster while customers and bots talk, kills whoever leads the old and the new shard with SIGKILL in the middle
// of it, ends every second split early, and kills once more while what has left is taken off. Every acknowledged word is there, once, in order, at every
// node; what has moved is nowhere but there.
func TestClusterSplit(t *testing.T) {
	rounds := crashes(t, 1)
	w := newTrio(t, 3)
	w.load(9)
	w.all(time.Now())
	for round := range uint16(rounds) {
		w.split(round%trioShards, round%2 == 1)
	}
	w.end()
}

// split splits a shard, with all that can go wrong.
func (w *trio) split(shard uint16, abort bool) {
	w.t.Helper()
	w.mark()
	began := time.Now()
	var x *cluster.Split
	w.until("beginning of a split", func(r *member.Report) bool {
		if x = r.Places[0].Split; x.Open() && x.From == shard {
			return true // the answer was lost
		}
		_, err := w.operations().Split(w.ctx, "operator", shard, "", "a test", false)
		return err == nil
	})
	kills := 0
	for _, at := range []int{1, 100} { // the owner of the old shard once some have moved, that of the new one later
		w.until("slots that move", func(r *member.Report) bool {
			x = r.Places[0].Split
			return x.Moved >= at || !x.Open()
		})
		if !x.Open() {
			break // it was quicker
		}
		of := x.From
		if at > 1 {
			of = x.To
		}
		if w.kill(of) {
			kills++
		}
		if abort && at > 1 {
			w.abort(shard)
		}
	}
	w.until("end of a split", func(r *member.Report) bool {
		x = r.Places[0].Split
		return !x.Open()
	})
	if x.Moved == 0 || x.Aborted != abort && kills == 2 {
		w.t.Errorf("shard %d: %v", shard, x)
	}
	_, pause := w.all(time.Now())
	w.t.Logf("%v, in %v with %d kills: sessions paused for %v at most; %d words", x, time.Since(began), kills, pause, w.words())
	w.cleaned(shard)
	w.healthy()
}

// abort ends a split, unless it has come to its last slots.
func (w *trio) abort(shard uint16) {
	w.t.Helper()
	w.until("word about the end of a split", func(r *member.Report) bool {
		x := r.Places[0].Split
		if x.Aborted || !x.Open() || x.Step == cluster.Moving && len(x.Slots) == 0 {
			return true
		}
		_, err := w.operations().Split(w.ctx, "operator", shard, "abort", "", false)
		return err == nil || errors.Is(err, cluster.ErrRefused)
	})
}

// cleaned has taken off what a shard has left behind, while its owner is killed.
func (w *trio) cleaned(shard uint16) {
	w.t.Helper()
	w.until("word to clean", func(r *member.Report) bool {
		if l, left := r.Places[0].Left[shard]; !left || l.Clean != 0 {
			return true
		}
		_, err := w.operations().Clean(w.ctx, "operator", shard)
		return err == nil
	})
	killed := w.kill(shard)
	took := w.until("end of the cleaning", func(r *member.Report) bool {
		_, left := r.Places[0].Left[shard]
		return !left
	})
	w.t.Logf("what has left shard %d is off after %v more; its owner was killed: %v", shard, took, killed)
}

// kill kills the node that leads a shard, and starts it again when all sessions go on. It reports whether there was one.
func (w *trio) kill(shard uint16) bool {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	r, err := w.operations().Status(ctx)
	if err != nil {
		return false
	}
	for i := range r.Shards {
		for _, n := range w.nodes {
			if r.Shards[i].ID == shard && r.Shards[i].Leader == w.numberIn(r, n) {
				n.signal(syscall.SIGKILL)
				_ = n.wait() // it was killed
				w.all(time.Now())
				w.start(n)
				return true
			}
		}
	}
	return false
}

// numberIn returns the number of a node, 0 when the report does not have it.
func (w *trio) numberIn(r *member.Report, n *trioNode) uint32 {
	for i := range r.Nodes {
		if r.Nodes[i].Name == n.name {
			return r.Nodes[i].ID
		}
	}
	return ^uint32(0)
}

// operations asks a node that is up.
func (w *trio) operations() *member.Operations {
	for _, n := range w.nodes {
		if n.up.Load() {
			return n.ask()
		}
	}
	return w.nodes[0].ask()
}
