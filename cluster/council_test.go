package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// meta plays the meta group: it does each reform as a whole.
type meta struct{ seen Seen }

func (g *meta) do(r Reform) error {
	v := &g.seen
	if r.Lead != 0 {
		if !v.votes(r.Lead) {
			return fmt.Errorf("%x shall lead and does not vote", r.Lead)
		}
		v.Leader = r.Lead
		return nil
	}
	for _, id := range slices.Concat(r.Learn, r.Leave) {
		if id == v.Leader {
			return errors.New("the leader is asked to step aside before another leads")
		}
		v.Voters, v.Learners = without(v.Voters, id), without(v.Learners, id)
	}
	v.Learners = append(v.Learners, r.Learn...)
	for _, id := range r.Vote {
		if v.Lag[id] > caughtUp || !v.learns(id) {
			return fmt.Errorf("%x shall vote and is not ready", id)
		}
		v.Learners = without(v.Learners, id)
		v.Voters = append(v.Voters, id)
	}
	if len(v.Voters) == 0 {
		return errors.New("nobody votes")
	}
	return nil
}

// settle follows the council until it wants nothing.
func (g *meta) settle(t interface{ Fatalf(string, ...any) }, s *State) {
	for range 12 {
		r := s.Council(&g.seen)
		if r.Empty() {
			return
		}
		for _, id := range r.Learn {
			if _, known := g.seen.Lag[id]; !known {
				g.seen.Lag[id] = 0
			}
		}
		if err := g.do(r); err != nil {
			t.Fatalf("%+v of %+v: %v", r, g.seen, err)
		}
	}
	t.Fatalf("it never settles: %+v", g.seen)
}

func TestCouncilGrows(t *testing.T) {
	s := New()
	join(t, s, "a z1")
	g := &meta{Seen{Leader: s.Nodes[1].Meta, Voters: []uint64{s.Nodes[1].Meta}, Lag: map[uint64]uint64{}}}
	f := func(want string) {
		t.Helper()
		g.settle(t, s)
		var nodes []uint32
		for _, id := range g.seen.Voters {
			nodes = append(nodes, nodeOf(id))
		}
		slices.Sort(nodes)
		if got := fmt.Sprint(nodes); got != want {
			t.Fatalf("nodes %s vote; want %s", got, want)
		}
	}
	f("[1]")
	join(t, s, "b z1")
	f("[1]") // two of two would need both
	join(t, s, "c z2")
	f("[1 2 3]")
	join(t, s, "d z3")
	f("[1 3 4]") // every zone has one
	if err := s.Drain(1, false); err != nil {
		t.Fatal(err)
	}
	f("[2 3 4]")
	join(t, s, "e z2")
	f("[2 3 4]")
	join(t, s, "f z3")
	f("[2 3 4 5 6]")
	if _, err := s.Remove(4, false); err != nil {
		t.Fatal(err)
	}
	f("[2 3 6]") // and a learner of 1, which drains
	if len(g.seen.Learners) != 2 {
		t.Fatalf("learners %x", g.seen.Learners)
	}
}

// Whatever comes and goes, no reform takes the leader's or the last vote, and the council settles.
func TestCouncilSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		g := &meta{}
		add := func(t *rapid.T) {
			n := Node{Name: fmt.Sprint("n", s.lastNode), Addr: "x:1", Zone: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone"), Roles: Roles{Edge: true, Shard: s.lastNode == 0 || rapid.Bool().Draw(t, "shard")}}
			if _, err := s.Join(n); err != nil {
				t.Fatal(err)
			}
		}
		add(t)
		g.seen = Seen{Leader: s.Nodes[1].Meta, Voters: []uint64{s.Nodes[1].Meta}, Lag: map[uint64]uint64{}}
		node := func(t *rapid.T) uint32 { return rapid.Uint32Range(1, s.lastNode).Draw(t, "node") }
		t.Repeat(map[string]func(*rapid.T){
			"":     func(t *rapid.T) { g.settle(t, s) },
			"join": add,
			"drain": func(t *rapid.T) {
				_ = s.Drain(node(t), rapid.Bool().Draw(t, "undo"))
			},
			"remove": func(t *rapid.T) { _, _ = s.Remove(node(t), true) },
			"lag": func(t *rapid.T) {
				for id := range g.seen.Lag {
					g.seen.Lag[id] = rapid.SampledFrom([]uint64{0, 1000}).Draw(t, "lag")
				}
			},
			"silence": func(t *rapid.T) {
				if id := s.Nodes[node(t)].Meta; id != g.seen.Leader {
					delete(g.seen.Lag, id)
				}
			},
		})
	})
}

func TestJoinAgain(t *testing.T) {
	s := New()
	n := Node{Name: "a", Addr: "x:1", Roles: Roles{Shard: true}, Birth: "b1"}
	id, err := s.Join(n)
	if err != nil {
		t.Fatal(err)
	}
	s.Rows(func(string, []byte) {})
	n.Addr = "y:2"
	again, err := s.Join(n)
	if err != nil || again != id || s.Nodes[id].Addr != "y:2" || s.Nodes[id].Replicas != 1 {
		t.Fatalf("%d, %v, %+v", again, err, s.Nodes[id])
	}
	wrote := 0
	s.Rows(func(string, []byte) { wrote++ })
	if _, err := s.Join(n); err != nil {
		t.Fatal(err)
	}
	s.Rows(func(string, []byte) { wrote++ })
	if wrote != 2 { // the node and the counters, once
		t.Fatalf("%d rows were written", wrote)
	}
	n.Birth = "b2"
	if _, err := s.Join(n); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "another data directory") {
		t.Fatal(err)
	}
}

// One node's shards get their copies when there are three nodes, not when there are two.
func TestGrow(t *testing.T) {
	s := with(t, 2, 1, "a")
	if err := s.Copies(Main, 3); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{7, 1, 3} { // what is only wished for is taken back
		if err := s.Copies(Main, n); err != nil {
			t.Fatal(err)
		}
	}
	none := func(what string, away ...uint32) {
		t.Helper()
		for _, p := range s.Plan(nil, away...) {
			if p.Cause == Grow || slices.Contains(away, p.To) {
				t.Fatalf("%s a plan wants %+v", what, p)
			}
		}
	}
	join(t, s, "b")
	none("with two nodes")
	join(t, s, "c")
	none("with the third node away", 3)
	list := s.Plan(nil)
	if len(list) != 2 || list[0].From != 0 || list[0].Cause != Grow || !list[0].Ordered() {
		t.Fatalf("%+v", list)
	}
	g := play(s.Shards[0])
	for i := range 2 {
		p := s.Plan(nil)[0]
		j, err := s.Move(p.Shard, p.From, p.To, "repair", p.Why)
		if err != nil {
			t.Fatal(err)
		}
		if list := s.Shares(p.To); len(list) != 1 || list[0].ID != j.New || len(list[0].First) != 0 {
			t.Fatalf("shares of node %d: %+v", p.To, list)
		}
		for range 10 {
			a := s.Next(j.ID, &g.seen)
			if a.Kind == Swap { // there is nobody to leave
				g.seen.Voters, g.seen.Learners = append(g.seen.Voters, a.Add), nil
			} else if err := g.do(a); err != nil {
				t.Fatal(err)
			}
			g.seen.Lag[j.New] = 0
		}
		if j.Step != Ended || len(s.Shards[0].Replicas) != i+2 {
			t.Fatalf("%v: %+v", j, s.Shards[0])
		}
	}
	for _, p := range s.Plan(nil) {
		if p.Shard == 0 {
			t.Fatalf("shard 0 has its copies; a plan wants %+v", p)
		}
	}
	if err := s.Copies(Main, 1); err == nil || !strings.Contains(err.Error(), "shard 0") {
		t.Fatalf("copies are taken away: %v", err)
	}
}

// What a leader of an earlier term says moves nothing.
func TestStaleLeader(t *testing.T) {
	s := with(t, 1, 3, "a", "b", "c")
	d := join(t, s, "d")
	g := play(s.Shards[0])
	stale := g.seen
	stale.Voters = slices.Clone(g.seen.Voters)
	g.seen.Term = 5
	j, err := s.Move(0, 1, d, "ann", "")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := g.do(s.Next(j.ID, &g.seen)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Abort(j.ID); err != nil {
		t.Fatal(err)
	}
	if a := s.Next(j.ID, &stale); a.Kind != Wait || j.Step != Undoing {
		t.Fatalf("by the word of an earlier leader the job is %s and wants %+v", j.Step, a)
	}
	if a := s.Next(j.ID, &g.seen); a.Kind != Take || a.Remove != j.New {
		t.Fatalf("%+v", a)
	}
	if !s.Belongs(0, j.New) || !s.Belongs(0, j.Old) {
		t.Fatal("what is undone may be erased already")
	}
	g.seen.Learners = nil
	if a := s.Next(j.ID, &g.seen); a.Kind != Erase || s.Belongs(0, j.New) || j.Cleaning() != j.New {
		t.Fatalf("%+v, %v", a, j)
	}
	s.Erased(j.ID)
	g.seen.Learners = []uint64{j.New} // an earlier question is answered late
	if a := s.Stray(0, &g.seen); a.Kind != Take || a.Remove != j.New {
		t.Fatalf("a learner that nobody wants stays: %+v", a)
	}
}

func TestEffort(t *testing.T) {
	s := with(t, 6, 1, "a", "b")
	join(t, s, "c")
	f := func(action string, want Effort) {
		t.Helper()
		if err := s.Rebalance(action, "ann"); err != nil {
			t.Fatal(err)
		}
		if s.Effort != want {
			t.Fatalf("after %s: %+v", action, s.Effort)
		}
	}
	if err := s.Rebalance("pause", "ann"); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	f("run", Effort{Run: true, By: "ann"})
	f("run", Effort{Run: true, By: "ann"})
	p := s.Plan(nil)[0]
	j, err := s.Move(p.Shard, p.From, p.To, ByEffort, p.Why)
	if err != nil {
		t.Fatal(err)
	}
	f("pause", Effort{Run: true, Paused: true, By: "ann"})
	if !j.Paused {
		t.Fatal("its moves go on")
	}
	f("resume", Effort{Run: true, By: "ann"})
	s.Even(nil)
	if !s.Effort.Run {
		t.Fatal("it ends with moves under way")
	}
	f("abort", Effort{})
	if j.Step != Undoing {
		t.Fatalf("%v", j)
	}
}
