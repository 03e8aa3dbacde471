package member

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"switchboard/cluster"
)

// A node that drains lets others lead first, then its replicas go, and only then it is told that its connections may: in this order, whatever
// the balance of leaders is set to. The pace is there as soon as they may, and connections are not sent to who has no room.
func TestDrainInOrder(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		clients := map[string]Clients{"a": {5, 10}, "b": {10, 10}, "c": {3, 10}, "d": {0, 10}}
		for _, name := range []string{"a", "b", "c", "d"} {
			_, err := w.enter(name, func(c *Config) {
				c.Shards, c.URL = 6, "ws://"+name
				c.Clients = func() Clients { return clients[name] }
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		r := w.settled(3, 3)
		victim := w.nodes["a"] // which has led everything from the start
		id := w.number("a")
		if n := r.Nodes[slices.IndexFunc(r.Nodes, func(n NodeReport) bool { return n.ID == id })]; n.Leads == 0 || n.Connections != 5 || n.Leaving != nil {
			t.Fatalf("%+v", n)
		}
		if err := w.nodes["c"].m.DrainAt(t.Context(), "ann", id, 70); err != nil {
			t.Fatal(err)
		}
		var stages []string
		w.await("its connections may go", func() string {
			r, a := w.report(), victim.m.Around()
			now := r.Nodes[slices.IndexFunc(r.Nodes, func(n NodeReport) bool { return n.ID == id })]
			moving := slices.ContainsFunc(r.Jobs, func(j *cluster.Job) bool { return j.From == id })
			stage := "leads"
			switch {
			case a.Leaving && a.Left == (cluster.Leaving{}):
				if stage = "connections"; now.Holds+now.Leads > 0 {
					t.Fatalf("its connections may go, and it is %+v", now)
				}
			case moving:
				if stage = "holds"; now.Leads > 0 {
					t.Fatalf("its replicas go, and it is %+v: %v", now, r.Jobs)
				}
			}
			if len(stages) == 0 || stages[len(stages)-1] != stage {
				stages = append(stages, stage)
			}
			if stage != "connections" {
				return fmt.Sprintf("%+v, %+v", a, now.Leaving)
			}
			return ""
		})
		if !slices.Equal(stages, []string{"leads", "holds", "connections"}) {
			t.Fatalf("it goes by %v", stages)
		}
		a := victim.m.Around()
		if a.Pace != 70 || a.Elsewhere != 2 || !slices.Equal(a.URLs, []string{"ws://c", "ws://d"}) {
			t.Fatalf("%+v", a)
		}
		// Whoever leads the cluster next goes on with it, at this pace; and it can be taken back.
		w.kill(w.leader().name)
		time.Sleep(time.Minute)
		if a := victim.m.Around(); !a.Leaving || a.Pace != 70 {
			t.Fatalf("%+v", a)
		}
		if err := victim.m.Drain(t.Context(), "ann", id, true); err != nil {
			t.Fatal(err)
		}
		w.await("it stays", func() string {
			if a := victim.m.Around(); a.Leaving || a.Pace != 0 {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		})
	})
}

// Whoever comes to lead the cluster and has not heard of a node that drains does not say that nothing is left there.
func TestDrainUnheard(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		enter := func(name string) {
			t.Helper()
			if _, err := w.enter(name, func(c *Config) { c.Clients = func() Clients { return Clients{Open: 5} } }); err != nil {
				t.Fatal(err)
			}
		}
		others := []string{"a", "b", "c"}
		for _, name := range append(others, "d") {
			enter(name)
		}
		w.settled(3, 3)
		id := w.number("d")
		if err := w.nodes["a"].m.Drain(t.Context(), "ann", id, false); err != nil {
			t.Fatal(err)
		}
		left := func() *NodeReport {
			r := w.report()
			if i := slices.IndexFunc(r.Nodes, func(n NodeReport) bool { return n.ID == id }); i >= 0 {
				return &r.Nodes[i]
			}
			return &NodeReport{}
		}
		drained := func() string {
			if n := left(); n.Leaving == nil || *n.Leaving != (cluster.Leaving{}) || n.Connections != 5 {
				return fmt.Sprintf("%+v, %+v", n, n.Leaving)
			}
			return ""
		}
		w.await("it has its connections left", drained)
		for _, name := range others {
			w.kill(name)
		}
		for _, name := range others {
			w.net.part(name, "d", true)
		}
		for _, name := range others {
			enter(name)
		}
		unknown := func() string {
			switch n := left(); {
			case n.Phase != cluster.Draining:
				return fmt.Sprintf("%+v", n)
			case n.Leaving != nil:
				t.Fatalf("nobody has heard of it, and it is said to have %+v and %d connections left", n.Leaving, n.Connections)
			}
			return ""
		}
		w.await("somebody leads", unknown)
		for began := time.Now(); time.Since(began) < giveUpAfter/2; time.Sleep(time.Second) {
			w.await("nothing is known", unknown)
		}
		for _, name := range others {
			w.net.part(name, "d", false)
		}
		w.await("it has its connections left still", drained)
		// One that is away for long, and that nobody has heard, holds nobody up.
		for _, name := range w.names() {
			w.kill(name)
		}
		for _, name := range others {
			enter(name)
		}
		w.await("nothing is known", unknown)
		w.await("it is away", func() string {
			if n := left(); n.Leaving == nil || n.Connections != 0 {
				return fmt.Sprintf("%+v", n)
			}
			return ""
		})
	})
}

// A node that drains and has just started again says that it has not heard of the others, as long as it is so: else its connections would go at once, as nobody that
// it knows of could take what it holds.
func TestDrainingNodeStartsAgain(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c", "d")
		if _, err := w.enter("e", func(c *Config) { c.Roles = cluster.Roles{Edge: true} }); err != nil {
			t.Fatal(err)
		}
		w.settled(3, 3)
		id := w.number("d")
		holds := 0
		for _, s := range w.report().Shards {
			for _, rep := range s.Replicas {
				if rep.Node == id {
					holds++
				}
			}
		}
		if holds == 0 {
			t.Fatal("it holds nothing")
		}
		if err := w.nodes["d"].m.Drain(t.Context(), "ann", id, false); err != nil {
			t.Fatal(err)
		}
		w.await("it knows", func() string {
			if a := w.nodes["d"].m.Around(); !a.Leaving {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		})
		for _, name := range []string{"a", "b", "c", "d"} {
			w.kill(name)
		}
		w.start("d")
		there := 0
		for began := time.Now(); time.Since(began) < 2*giveUpAfter; time.Sleep(time.Second) {
			a := w.nodes["d"].m.Around()
			if a == nil || !a.Leaving || a.Elsewhere == 0 {
				continue
			}
			if there++; !a.Unheard && a.Left == (cluster.Leaving{}) {
				t.Fatalf("its connections may go, and who could take its %d replicas is not known: %+v", holds, a)
			}
		}
		if there == 0 {
			t.Fatal("its connections could not have gone anywhere")
		}
		w.start("a", "b", "c")
		w.await("its connections may go", func() string {
			a := w.nodes["d"].m.Around()
			if !a.Leaving || a.Unheard || a.Left != (cluster.Leaving{}) || a.Elsewhere == 0 {
				return fmt.Sprintf("%+v", a)
			}
			return ""
		})
		for _, s := range w.report().Shards {
			for _, rep := range s.Replicas {
				if rep.Node == id {
					t.Fatalf("it holds %+v", s)
				}
			}
		}
	})
}
