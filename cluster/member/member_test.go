package member

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/cluster"
	"switchboard/exchange"
	"switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGrowth(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a z1")
		w.settled(1, 1)
		w.write()
		w.start("b z2")
		w.write()
		w.settled(1, 1) // two of two would need both
		w.start("c z3")
		w.write()
		r := w.settled(3, 3)
		w.write()
		w.whole(r)
		if r.Cluster == "" || len(r.Nodes) != 3 || len(r.Shards) != 4 {
			t.Fatalf("%+v", r)
		}
		for _, s := range r.Shards {
			for _, name := range w.names() {
				n := w.nodes[name]
				err := n.x.Post(wire.Envelope{To: wire.ToSlot(wire.Slot(s.ID)), Mail: &wire.Frame{}})
				if here := n.m.id.Node == s.Leader; here != errors.Is(err, exchange.ErrNowhere) {
					t.Errorf("shard %d is led by node %d; mail from node %d for it: %v", s.ID, s.Leader, n.m.id.Node, err)
				}
			}
		}
	})
}

// Any node is killed at any step of a move, the leader of the cluster too, and comes back: the move ends, nothing is lost.
func TestKillInAMove(t *testing.T) {
	for _, victim := range []string{"leader", "from", "to", "shard leader"} {
		for _, delay := range []time.Duration{0, 250 * time.Millisecond, 450 * time.Millisecond, 700 * time.Millisecond} {
			t.Run(fmt.Sprint(victim, delay), func(t *testing.T) {
				virtual(t, func(t *testing.T, w *world) {
					w.start("a z1", "b z2", "c z3", "d z1")
					r := w.settled(3, 3)
					w.write()
					s := r.Shards[0]
					on := map[uint32]bool{}
					for _, rep := range s.Replicas {
						on[rep.Node] = true
					}
					from, to := s.Replicas[0].Node, uint32(0)
					for _, n := range r.Nodes {
						if !on[n.ID] {
							to = n.ID
						}
					}
					lead := w.leader()
					if _, err := lead.m.Move(t.Context(), "ann", s.ID, from, to, "a test"); err != nil {
						t.Fatal(err)
					}
					time.Sleep(delay)
					name := map[string]string{"leader": lead.name, "from": w.name(r, from), "to": w.name(r, to), "shard leader": w.name(r, s.Leader)}[victim]
					w.kill(name)
					w.write()
					time.Sleep(3 * time.Second)
					w.write()
					w.start(name)
					r = w.settled(3, 3)
					w.write()
					w.whole(r)
					for _, s := range r.Shards {
						if s.ID != 0 {
							continue
						}
						for _, rep := range s.Replicas {
							if rep.Node == from {
								t.Fatalf("the replica is where it was: %+v, %v", s, r.Jobs)
							}
						}
					}
				})
			})
		}
	}
}

// A node that drains gives away what it holds and its vote, can be removed then, and is no member any more.
func TestDrainAndRemove(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a z1", "b z2", "c z3", "d z1")
		w.settled(3, 3)
		w.write()
		victim := w.leader()
		id := w.number(victim.name)
		other := w.nodes[w.names()[0]]
		if victim == other {
			other = w.nodes[w.names()[1]]
		}
		if _, err := other.m.Remove(t.Context(), "ann", id, false); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "still has replicas") {
			t.Fatal(err)
		}
		for range 2 { // said twice it is the same
			if err := other.m.Drain(t.Context(), "ann", id, false); err != nil {
				t.Fatal(err)
			}
		}
		w.await("it is empty", func() string {
			for _, n := range w.report().Nodes {
				if n.ID == id && (n.Holds > 0 || n.Votes) {
					return fmt.Sprintf("%+v", n)
				}
			}
			return ""
		})
		w.whole(w.settled(3, 3))
		for range 2 {
			if _, err := other.m.Remove(t.Context(), "ann", id, false); err != nil {
				t.Fatal(err)
			}
		}
		w.await("it is no member", func() string {
			for _, name := range w.names() {
				if n := w.nodes[name]; n != victim && n.l.to(id) != nil {
					return name + " has a link to it"
				}
			}
			return ""
		})
		w.kill(victim.name)
		w.write()
		w.whole(w.settled(3, 3))
		// Its name is free for a new directory, and its number is not.
		victim.cfg.Dir = t.TempDir()
		delete(w.disks, victim.name)
		n, err := w.enter(victim.name, func(c *Config) { c.Dir = t.TempDir() })
		if err != nil || n.m.id.Node == id {
			t.Fatalf("%v, %+v", err, n)
		}
	})
}

// A node whose disk is lost is refused under its name, with what to do; once removed, others stand in for it.
func TestLostDisk(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a z1", "b z2", "c z3", "d z1")
		w.settled(3, 3)
		w.write()
		id := w.number("b")
		w.kill("b")
		w.await("its end is noticed", func() string {
			for _, n := range w.report().Nodes {
				if n.ID == id && n.Up {
					return "not yet"
				}
			}
			return ""
		})
		empty := func(c *Config) { c.Dir = t.TempDir() }
		if _, err := w.enter("b", empty); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "remove the node first") {
			t.Fatal(err)
		}
		// Who he is survived, the journal did not.
		w.disks["b"] = nil
		if _, err := w.enter("b"); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "has lost replica") {
			t.Fatal(err)
		}
		if _, err := w.nodes["a"].m.Remove(t.Context(), "ann", w.number("c"), true); !errors.Is(err, cluster.ErrRefused) {
			t.Fatalf("a node that answers is given up: %v", err)
		}
		short, err := w.nodes["a"].m.Remove(t.Context(), "ann", id, true)
		if err != nil || len(short) == 0 {
			t.Fatalf("%v, %v", short, err)
		}
		w.write()
		w.whole(w.settled(3, 3))
		w.disks["b"] = nil
		if _, err := w.enter("b", empty); err != nil {
			t.Fatal(err)
		}
		w.whole(w.settled(3, 3))
	})
}

// A node without which nobody could serve some shard is removed only when that shard is given up: until then it is as if it had only been away.
func TestGivenUp(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		single := func(c *Config) { c.Copies = 1 }
		if _, err := w.enter("a z1", single); err != nil {
			t.Fatal(err)
		}
		w.start("b z2", "c z3")
		w.settled(1, 3)
		w.write()
		a := w.number("a")
		gone := func() {
			t.Helper()
			w.await("the others know that they vote", func() string { // who leads knows a heartbeat sooner, and alone may lead until then
				for _, name := range []string{"b", "c"} {
					all, err := w.nodes[name].b.Status(cluster.Meta)
					if st := all[cluster.Meta]; err != nil || st.Conf == nil || len(st.Conf.GetVoters()) != 3 || len(st.Conf.GetVotersOutgoing()) > 0 {
						return fmt.Sprintf("%s: %+v, %v", name, st.Conf, err)
					}
				}
				return ""
			})
			w.kill("a")
			w.await("its end is noticed", func() string {
				for _, n := range w.report().Nodes {
					if n.ID == a && !n.Up {
						return ""
					}
				}
				return "not yet"
			})
		}
		gone()
		if _, err := w.leader().m.Remove(t.Context(), "ann", a, true); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "nobody can ever serve 4 shards (0 first)") {
			t.Fatalf("what is left of all shards is thrown away: %v", err)
		}
		if _, err := w.enter("a z1", single); err != nil {
			t.Fatal(err)
		}
		w.whole(w.settled(1, 3))
		gone()
		short, err := w.leader().m.GiveUp(t.Context(), "ann", a)
		if err != nil || len(short) != 4 {
			t.Fatalf("%v, %v", short, err)
		}
		if _, err := w.enter("a z1", single); !errors.Is(err, cluster.ErrRefused) {
			t.Fatalf("it was given up, and comes back: %v", err)
		}
	})
}

// Who is cut off with the fewer learns nothing and decides nothing; who asks there is told that it is old, or that nobody
// leads. When the way is open again, all is one.
func TestPartition(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a z1", "b z2", "c z3", "d z1", "e z2")
		w.settled(3, 5)
		w.write()
		old := w.leader()
		with := ""
		for _, name := range w.names() {
			if name != old.name {
				with = name
				break
			}
		}
		for _, name := range w.names() {
			if name != old.name && name != with {
				w.net.part(old.name, name, true)
				w.net.part(with, name, true)
			}
		}
		if err := old.m.Drain(t.Context(), "ann", old.m.id.Node, false); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("the fewer decide: %v", err)
		}
		r, err := old.m.Status(t.Context())
		if err != nil || !r.Stale || len(r.Nodes) != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
		var far *node
		for _, name := range w.names() {
			if name != old.name && name != with {
				far = w.nodes[name]
			}
		}
		if err := far.m.Copies(t.Context(), "ann", cluster.Main, 3); err != nil {
			t.Fatalf("the more do not decide: %v", err)
		}
		for _, a := range []string{old.name, with} {
			for _, b := range w.names() {
				if b != old.name && b != with {
					w.net.part(a, b, false)
				}
			}
		}
		r = w.settled(3, 5)
		for _, n := range r.Nodes {
			if n.Phase != cluster.Up {
				t.Fatalf("what was not decided has happened: %+v", n)
			}
		}
		w.write()
		w.whole(r)
	})
}

func TestRequests(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a z1", "b z2", "c z3")
		w.settled(3, 3)
		w.start("d z4")
		r := w.settled(3, 3)
		id := w.number("d")
		// Asked at any node, twice at once: one job.
		s := r.Shards[0]
		type got struct {
			j   *cluster.Job
			err error
		}
		answers := make(chan got, 2)
		for _, name := range []string{"b", "d"} {
			go func() {
				j, err := w.nodes[name].m.Move(t.Context(), "ann", s.ID, s.Replicas[0].Node, id, "")
				answers <- got{j, err}
			}()
		}
		one, two := <-answers, <-answers
		if one.err != nil || two.err != nil || one.j.ID != two.j.ID || one.j.By != "ann" {
			t.Fatalf("%+v, %+v", one, two)
		}
		if j, err := w.nodes["c"].m.Job(t.Context(), "ann", one.j.ID, "abort"); err != nil || j.Step != cluster.Undoing {
			t.Fatalf("%v, %v", j, err)
		}
		w.whole(w.settled(3, 3))
		if j, err := w.nodes["c"].m.Job(t.Context(), "ann", one.j.ID, "abort"); err != nil || j.Result != cluster.Aborted {
			t.Fatalf("%v, %v", j, err)
		}
		f := func(err error, words string) {
			t.Helper()
			if !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), words) {
				t.Errorf("%v; want a refusal with %q", err, words)
			}
		}
		m := w.nodes["b"].m
		_, err := m.Move(t.Context(), "ann", 99, 1, 2, "")
		f(err, "no shard 99")
		_, err = m.Job(t.Context(), "ann", one.j.ID, "hurry")
		f(err, "nothing that a move does")
		_, err = m.Rebalance(t.Context(), "ann", "hurry")
		f(err, "nothing that a rebalance does")
		_, err = m.Rebalance(t.Context(), "ann", "pause")
		f(err, "nothing is being rebalanced")
		f(m.Drain(t.Context(), "ann", 99, false), "no node 99")
		f(m.Copies(t.Context(), "ann", "mars", 3), "no placement mars")
		b, err := m.Rebalance(t.Context(), "ann", "dry")
		if err != nil || len(b.Plan) == 0 || b.Effort.Run {
			t.Fatalf("%+v, %v", b, err)
		}
		for range 2 {
			if b, err = m.Rebalance(t.Context(), "ann", "run"); err != nil || !b.Effort.Run {
				t.Fatalf("%+v, %v", b, err)
			}
		}
		w.await("it is even", func() string {
			b, err := m.Rebalance(t.Context(), "ann", "dry")
			if err != nil || b.Effort.Run {
				return fmt.Sprintf("%+v, %v", b, err)
			}
			return ""
		})
		r = w.settled(3, 3)
		w.whole(r)
		for _, n := range r.Nodes {
			if n.Holds != 3 {
				t.Errorf("node %s holds %d replicas; want 3", n.Name, n.Holds)
			}
		}
	})
}

// The node that a replica moves to is lost: an operator's move waits until he gives the node up, a planned one chooses another.
func TestLostTarget(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a z1", "b z2", "c z3")
		w.settled(3, 3)
		w.write()
		w.start("d z1", "e z2")
		r := w.settled(3, 5)
		d := w.number("d")
		lead := w.leader()
		w.net.isolate("d", true)
		if _, err := lead.m.Move(t.Context(), "ann", 0, r.Shards[0].Replicas[0].Node, d, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if j := w.report().Jobs; j[len(j)-1].Step == cluster.Ended || j[len(j)-1].Step == cluster.Undoing {
			t.Fatalf("nobody has given it up: %v", j[len(j)-1])
		}
		w.kill("d")
		if _, err := lead.m.Remove(t.Context(), "ann", d, true); err != nil {
			t.Fatal(err)
		}
		r = w.settled(3, 3)
		w.whole(r)
		if j := r.Jobs[len(r.Jobs)-1]; j.Result != cluster.Aborted {
			t.Fatalf("%v", j)
		}
		// A drain begins a move to e, the only one that is free, which goes away; then f comes.
		e := w.number("e")
		w.net.isolate("e", true)
		if err := lead.m.Drain(t.Context(), "ann", r.Shards[0].Replicas[0].Node, false); err != nil {
			t.Fatal(err)
		}
		w.start("f z1")
		w.await("it has gone elsewhere", func() string {
			for _, s := range w.report().Shards {
				for _, rep := range s.Replicas {
					if rep.Node == r.Shards[0].Replicas[0].Node {
						return fmt.Sprintf("%+v, %v", s, w.report().Jobs)
					}
				}
			}
			return ""
		})
		w.heal()
		for _, s := range w.report().Shards {
			for _, rep := range s.Replicas {
				if rep.Node == e {
					t.Fatalf("who was away has it: %+v", s)
				}
			}
		}
	})
}

// Leaders spread over the nodes by themselves.
func TestLeadersBalance(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		balance := func(c *Config) { c.Balance, c.Shards = 5*time.Second, 6 }
		for _, name := range []string{"a", "b", "c"} {
			if _, err := w.enter(name, balance); err != nil {
				t.Fatal(err)
			}
		}
		w.await("balance", func() string {
			r := w.settled(3, 3)
			for _, n := range r.Nodes {
				if n.Leads != 2 {
					return fmt.Sprintf("%s leads %d", n.Name, n.Leads)
				}
			}
			return ""
		})
	})
}

// A node that is away for longer than configured is replaced, and takes part again when it is back.
func TestReplaceAfter(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		for _, name := range []string{"a", "b", "c", "d"} {
			if _, err := w.enter(name, func(c *Config) { c.ReplaceAfter = 20 * time.Second }); err != nil {
				t.Fatal(err)
			}
		}
		r := w.settled(3, 3)
		w.write()
		victim := w.name(r, r.Shards[0].Replicas[0].Node)
		w.kill(victim)
		w.await("it is replaced", func() string {
			r := w.report()
			for _, n := range r.Nodes {
				if n.Name == victim && (n.Holds > 0 || !n.Absent) {
					return fmt.Sprintf("%+v, %v", n, r.Jobs)
				}
			}
			return ""
		})
		w.write()
		if _, err := w.enter(victim, func(c *Config) { c.ReplaceAfter = 20 * time.Second }); err != nil {
			t.Fatal(err)
		}
		w.await("it is back", func() string {
			for _, n := range w.report().Nodes {
				if n.Name == victim && n.Phase != cluster.Up {
					return fmt.Sprintf("%+v", n)
				}
			}
			return ""
		})
		w.whole(w.settled(3, 3))
	})
}

// An operator who is no member asks any of them.
func TestOperator(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c")
		w.settled(3, 3)
		lead := w.leader().name
		for _, name := range w.names() {
			op := At(name, Seat{Name: "ann", Plain: true, Dial: w.net.dial("ann")})
			r, err := op.Status(t.Context())
			if err != nil || r.Stale || len(r.Shards) != 4 || w.name(r, r.Leader) != lead {
				t.Fatalf("%+v, %v", r, err)
			}
			if _, err := op.Move(t.Context(), "root", 0, 1, 2, ""); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "already") {
				t.Fatal(err)
			}
			if err := op.Drain(t.Context(), "", 3, false); err != nil {
				t.Fatal(err)
			}
			if _, err := op.Rebalance(t.Context(), "", "run"); err != nil {
				t.Fatal(err)
			}
			if b, err := op.Rebalance(t.Context(), "", "dry"); err != nil || b.Effort.Run && b.Effort.By != "ann" {
				t.Fatalf("%+v, %v", b, err)
			}
			if err := op.Drain(t.Context(), "", 3, true); err != nil {
				t.Fatal(err)
			}
			if err := op.ask(t.Context(), "dance", "", asking{}, nil); !errors.Is(err, cluster.ErrRefused) {
				t.Fatal(err)
			}
			if err := op.ask(t.Context(), opJoin, "", cluster.Node{Name: "b", Birth: "x"}, nil); !errors.Is(err, cluster.ErrRefused) {
				t.Fatalf("ann joins as another: %v", err)
			}
		}
	})
}
