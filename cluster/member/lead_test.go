package member

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"switchboard/cluster"
)

// An operator lets a node lead a shard by name. It stays there although leaders even out, also under the next leader of the cluster, until
// he asks for a rebalance; a node that cannot lead is refused, with why.
func TestLeadByName(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		for _, name := range []string{"a", "b", "c", "d"} {
			if _, err := w.enter(name, func(c *Config) { c.Balance, c.Shards = 5*time.Second, 3 }); err != nil {
				t.Fatal(err)
			}
		}
		w.settled(3, 3)
		w.write()
		at := func() *Operations { return At(w.names()[0], Seat{Name: "ann", Plain: true, Dial: w.net.dial("ann")}) }
		copies := func(shard uint16) (list []uint32) {
			for _, rep := range w.settled(3, 3).Shards[shard].Replicas {
				list = append(list, rep.Node)
			}
			return list
		}
		var chosen uint32 // a node that has copies of shards 0 and 1, so that it leads more than others when it leads both
		for _, n := range copies(0) {
			for _, other := range copies(1) {
				if n == other {
					chosen = n
				}
			}
		}
		name := w.name(w.report(), chosen)
		leads := func(shard uint16) {
			t.Helper()
			w.await(name+" leads", func() string {
				l, err := at().Lead(t.Context(), "", shard, chosen, "a test")
				if err != nil || !l.Leads {
					return fmt.Sprintf("%+v, %v", l, err)
				}
				return ""
			})
		}
		stays := func() {
			t.Helper()
			for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Second) {
				for _, s := range w.report().Shards[:2] {
					if s.Leader != chosen || s.Chosen != chosen {
						t.Fatalf("node %d was chosen to lead it: %+v", chosen, s)
					}
				}
			}
		}
		leads(0)
		leads(1)
		stays()
		if w.leader().name != name {
			w.kill(w.leader().name)
			w.await("another leads the cluster", func() string {
				if r := w.report(); r.Leader == 0 || r.Shards[0].Leader == 0 || r.Shards[1].Leader == 0 {
					return fmt.Sprintf("%+v", r.Shards)
				}
				return ""
			})
			stays()
			for _, n := range []string{"a", "b", "c", "d"} {
				if w.nodes[n] == nil {
					w.start(n)
				}
			}
		}
		if _, err := at().Rebalance(t.Context(), "", "run"); err != nil {
			t.Fatal(err)
		}
		w.await("leaders are even", func() string {
			r := w.report()
			for i := range r.Nodes {
				if n := &r.Nodes[i]; n.ID == chosen && n.Leads != 1 {
					return fmt.Sprintf("%+v", n)
				}
			}
			return ""
		})
		refused := func(why string, shard uint16) {
			t.Helper()
			if l, err := at().Lead(t.Context(), "", shard, chosen, ""); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), why) {
				t.Fatalf("%+v, %v; want %q", l, err, why)
			}
		}
		refused("there is no shard 9", 9)
		w.settled(3, 3)
		if err := at().Drain(t.Context(), "", chosen, false); err != nil {
			t.Fatal(err)
		}
		refused("drains", 0)
		if err := at().Drain(t.Context(), "", chosen, true); err != nil {
			t.Fatal(err)
		}
		w.settled(3, 3)
		w.kill(name)
		w.await("it is noticed", func() string {
			_, err := at().Lead(t.Context(), "", 0, chosen, "")
			if err == nil || !strings.Contains(err.Error(), "does not answer") {
				return fmt.Sprint(err)
			}
			return ""
		})
		if _, err := w.enter(name); err != nil {
			t.Fatal(err)
		}
		w.whole(w.settled(3, 3))
	})
}
