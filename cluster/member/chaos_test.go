package member

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"
	"time"

	"switchboard/cluster"
)

// Whatever happens to a cluster, as long as it ends: it becomes quiet, every acknowledged row is on every replica, no node holds
// what is not its, and no two replicas ever had one id. CHAOS_SEED and CHAOS_RUNS say which seeds, and how many.
func TestChaos(t *testing.T) {
	seed, runs := uint64(1), 4
	if v, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64); err == nil {
		seed, runs = v, 1
	}
	if v, err := strconv.Atoi(os.Getenv("CHAOS_RUNS")); err == nil {
		runs = v
	}
	for i := range runs {
		s := seed + uint64(i)
		t.Run(fmt.Sprint("seed", s), func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) { chaos(t, w, rand.New(rand.NewPCG(s, 7))) })
		})
	}
}

func chaos(t *testing.T, w *world, rng *rand.Rand) {
	zones := []string{"z1", "z2", "z3"}
	names := []string{"a", "b", "c", "d", "e"}
	zone := map[string]string{}
	for i, n := range names {
		zone[n] = zones[i%3]
		w.start(n + " " + zone[n])
	}
	w.settled(3, 5)
	w.write()
	var down []string
	for range 40 {
		pick := func() *node { return w.nodes[w.names()[rng.IntN(len(w.nodes))]] }
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(200+rng.IntN(3000))*time.Millisecond)
		switch n := pick(); rng.IntN(14) {
		case 0, 1:
			if len(down) < 2 {
				w.kill(n.name)
				down = append(down, n.name)
			}
		case 2, 3:
			if len(down) > 0 {
				i := rng.IntN(len(down))
				w.start(down[i] + " " + zone[down[i]])
				down = append(down[:i], down[i+1:]...)
			}
		case 4, 5:
			if other := pick(); other != n {
				w.net.part(n.name, other.name, true)
			}
		case 6, 7:
			w.heal()
		case 8, 9:
			_, _ = n.m.Move(ctx, "chaos", uint16(rng.IntN(4)), uint32(1+rng.IntN(5)), uint32(1+rng.IntN(5)), "")
		case 10:
			if r, err := n.m.Status(ctx); err == nil && len(r.Jobs) > 0 {
				_, _ = n.m.Job(ctx, "chaos", r.Jobs[len(r.Jobs)-1].ID, []string{"pause", "resume", "abort"}[rng.IntN(3)])
			}
		case 11:
			_ = n.m.Drain(ctx, "chaos", uint32(1+rng.IntN(5)), rng.IntN(3) > 0)
		case 12, 13:
			w.hurt(n, uint16(rng.IntN(4)))
		}
		cancel()
		time.Sleep(time.Duration(rng.IntN(1500)) * time.Millisecond)
		if rng.IntN(4) == 0 {
			w.write()
		}
	}
	w.heal()
	for _, n := range down {
		w.start(n + " " + zone[n])
	}
	lead := w.leader()
	for id := uint32(1); id <= 5; id++ {
		if err := lead.m.Drain(t.Context(), "chaos", id, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range w.report().Jobs {
		if j.Step != cluster.Ended {
			_, _ = lead.m.Job(t.Context(), "chaos", j.ID, "resume")
		}
	}
	r := w.settled(3, 5)
	w.write()
	w.whole(r)
	for _, n := range w.nodes { // rows that were read one by one are what all of them are
		n.m.Close()
		if n.m.loaded == nil {
			continue // it leads, and is ahead of them
		}
		if err := n.m.catchUp(); err != nil {
			t.Fatal(err)
		}
		was := n.m.state
		if err := n.m.load(); err != nil || !reflect.DeepEqual(was, n.m.state) {
			t.Fatalf("%s has\n%+v\nand the rows say\n%+v\n%v", n.name, was, n.m.state, err)
		}
	}
	ids := map[uint64]string{}
	for _, s := range r.Shards {
		for _, rep := range s.Replicas {
			if was := ids[rep.ID]; was != "" {
				t.Fatalf("replica %x is of shard %d and of %s", rep.ID, s.ID, was)
			}
			ids[rep.ID] = fmt.Sprint("shard ", s.ID)
		}
	}
}

// hurt damages a node's replica of a shard, and at times that of the cluster's rows, where the others are whole: more is for an operator.
func (w *world) hurt(n *node, shard uint16) {
	r := w.report()
	for _, s := range r.Shards {
		if s.ID != shard || s.Job != 0 || len(s.Replicas) != 3 {
			continue
		}
		for _, rep := range s.Replicas {
			if rep.Learner || !rep.Answers || rep.Damaged != "" {
				return
			}
		}
		n.b.damage(shard)
	}
}

// heal opens all ways.
func (w *world) heal() {
	for _, a := range w.names() {
		for _, b := range w.names() {
			w.net.part(a, b, false)
		}
	}
}
