package cluster

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"switchboard/shard/journal/replica"
)

// with returns a cluster of nodes, "name zone label=value…" each, with a main placement.
func with(t testing.TB, shards, copies int, nodes ...string) *State {
	t.Helper()
	s := New()
	for _, line := range nodes {
		join(t, s, line)
	}
	if err := s.Place(Placement{Name: Main, Copies: copies}, shards); err != nil {
		t.Fatal(err)
	}
	return s
}

func join(t testing.TB, s *State, line string) uint32 {
	t.Helper()
	f := strings.Fields(line)
	n := Node{Name: f[0], Addr: f[0] + ":7471", Roles: Roles{Edge: true, Shard: true}, Labels: map[string]string{}}
	if len(f) > 1 {
		n.Zone = f[1]
	}
	for _, l := range f[min(2, len(f)):] {
		k, v, _ := strings.Cut(l, "=")
		n.Labels[k] = v
	}
	id, err := s.Join(n)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestPlacement(t *testing.T) {
	s := with(t, 12, 3, "a z1", "b z1", "c z2", "d z3")
	count := map[uint32]int{}
	for _, sh := range s.Shards {
		zones := map[string]bool{}
		for _, r := range sh.Replicas {
			count[r.Node]++
			zones[s.Nodes[r.Node].Zone] = true
			if replica.NodeOf(r.ID) != r.Node {
				t.Fatalf("replica %x is on node %d", r.ID, r.Node)
			}
		}
		if len(sh.Replicas) != 3 || len(zones) != 3 {
			t.Fatalf("shard %d is on %v: not in every zone", sh.ID, sh.Replicas)
		}
	}
	if count[1]+count[2] != 12 || count[1] != count[2] || count[3] != 12 || count[4] != 12 {
		t.Fatalf("replicas per node: %v", count)
	}
	if list := s.Plan(nil); len(list) != 0 {
		t.Fatalf("of what was just placed a plan wants %v", list)
	}
}

func TestRefusals(t *testing.T) {
	s := with(t, 2, 3, "a", "b", "c")
	f := func(err error, words string) {
		t.Helper()
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v; want a refusal with %q", err, words)
		}
	}
	_, err := s.Join(Node{Name: "a", Addr: "x:1", Roles: Roles{Edge: true}})
	f(err, "already")
	_, err = s.Join(Node{Name: "e", Addr: "x:1"})
	f(err, "no role")
	f(s.Place(Placement{Name: "eu", Copies: 3, Require: map[string]string{"region": "eu"}}, 1), "labels region=eu")
	f(s.Place(Placement{Name: "two", Copies: 2}, 1), "odd")
	f(s.Place(Placement{Name: Main, Copies: 1}, 1), "already")
	_, err = s.Move(1, 1, 2, "ann", "")
	f(err, "has a replica on node b already")
	_, err = s.Move(9, 1, 2, "ann", "")
	f(err, "no shard 9")
	_, err = s.Move(1, 1, 7, "ann", "")
	f(err, "no node 7")
	_, err = s.Remove(1, false)
	f(err, "still has replicas of 2 shards")
	d := join(t, s, "d")
	if err := s.Drain(d, false); err != nil {
		t.Fatal(err)
	}
	_, err = s.Move(1, 1, d, "ann", "")
	f(err, "may not hold")
	if err := s.Drain(d, true); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Move(1, 1, d, "ann", ""); err != nil {
		t.Fatal(err)
	}
	_, err = s.Move(1, 2, d, "ann", "")
	f(err, "being moved by job 1")
	f(s.Pause(7, true), "no job 7")
}

// A shard is stranded without a node when those of its voters that are not removed are no majority without it.
func TestStranded(t *testing.T) {
	s := with(t, 2, 3, "a", "b", "c", "d")
	s.Shards[0].Replicas = []Replica{{ID: replica.ID(1, 1), Node: 1}, {ID: replica.ID(2, 1), Node: 2}, {ID: replica.ID(3, 1), Node: 3}, {ID: replica.ID(4, 1), Node: 4, Learner: true}}
	s.Shards[1].Replicas = []Replica{{ID: replica.ID(4, 2), Node: 4}}
	f := func(node uint32, want ...uint16) {
		t.Helper()
		if got := s.Stranded(node); !slices.Equal(got, want) {
			t.Errorf("without node %d: %v; want %v", node, got, want)
		}
	}
	f(1)
	f(4, 1)
	if _, err := s.Remove(1, true); err != nil {
		t.Fatal(err)
	}
	f(2, 0)
	f(3, 0)
	f(4, 1) // what learns is no voter
	s.Shards[0].Replicas = []Replica{{ID: replica.ID(2, 1), Node: 2}, {ID: replica.ID(3, 1), Node: 3}, {ID: replica.ID(4, 1), Node: 4}}
	f(2)
}

// A tenant that must stay in a region lives on nodes with its label, whatever drains.
func TestResidency(t *testing.T) {
	s := with(t, 4, 1, "a z1 region=us", "b z1 region=eu", "c z1 region=eu")
	if err := s.Place(Placement{Name: "eu", Copies: 1, Require: map[string]string{"region": "eu"}, Tenants: []string{"haus"}}, 4); err != nil {
		t.Fatal(err)
	}
	if s.Of("haus").Name != "eu" || s.Of("other") != nil {
		t.Fatal("tenants are in the wrong placements")
	}
	if err := s.Drain(2, false); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Plan(nil) {
		if s.Shards[m.Shard].Placement == "eu" && m.To != 3 {
			t.Fatalf("%+v takes it out of the region", m)
		}
	}
	if err := s.Drain(3, false); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Plan(nil) {
		if s.Shards[m.Shard].Placement == "eu" {
			t.Fatalf("%+v: there is nowhere to go", m)
		}
	}
}

// group plays the shard's Raft group for jobs: it does what it is asked, late and out of its own will.
type group struct {
	seen   Seen
	erased map[uint64]bool
}

func play(sh *Shard) *group {
	g := &group{erased: map[uint64]bool{}}
	g.seen.Lag = map[uint64]uint64{}
	for _, r := range sh.Replicas {
		g.seen.Voters = append(g.seen.Voters, r.ID)
		g.seen.Lag[r.ID] = 0
	}
	g.seen.Leader, g.seen.Term = g.seen.Voters[0], 1
	return g
}

func without(list []uint64, id uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(list), func(v uint64) bool { return v == id })
}

// do does an act as a leader would, and reports whether that would break the group.
func (g *group) do(a Act) error {
	v := &g.seen
	switch a.Kind {
	case AddMember:
		if !v.votes(a.Add) && !v.learns(a.Add) {
			v.Learners = append(slices.Clone(v.Learners), a.Add)
			v.Lag[a.Add] = 1000
		}
	case Swap:
		if v.Leader == a.Remove {
			return errors.New("the leader is asked to remove itself")
		}
		if v.learns(a.Add) && v.Lag[a.Add] > caughtUp {
			return errors.New("a replica that is far behind is asked to vote")
		}
		if v.learns(a.Add) {
			v.Learners = without(v.Learners, a.Add)
			v.Voters = append(without(v.Voters, a.Remove), a.Add)
		}
	case Lead:
		if !v.votes(a.To) {
			return errors.New("who does not vote is asked to lead")
		}
		v.Leader = a.To
		v.Term++
	case Take:
		v.Learners = without(v.Learners, a.Remove)
	case Erase:
		if v.votes(a.Remove) || v.learns(a.Remove) {
			return errors.New("a member is erased")
		}
		g.erased[a.Remove] = true
	case Wait:
	}
	return nil
}

func TestMove(t *testing.T) {
	s := with(t, 1, 3, "a", "b", "c")
	d := join(t, s, "d")
	g := play(s.Shards[0])
	epoch := s.Shards[0].Epoch
	job, err := s.Move(0, 1, d, "ann", "the disk is old")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for range 20 {
		a := s.Next(job.ID, &g.seen)
		if n := len(steps); n == 0 || steps[n-1] != string(job.Step) {
			steps = append(steps, string(job.Step))
		}
		if err := g.do(a); err != nil {
			t.Fatal(err)
		}
		if a.Kind == Wait {
			g.seen.Lag[job.New] = 10
		}
		if a.Kind == Erase {
			s.Erased(job.ID)
			break
		}
	}
	if got := strings.Join(steps, ", "); got != "adding, catching up, handing over, swapping, cleaning" || job.Step != Ended || job.Result != "moved" {
		t.Fatalf("%s; %s %s", got, job.Step, job.Result)
	}
	sh := s.Shards[0]
	if sh.On(1) != nil || sh.On(d) == nil || sh.On(d).Learner || sh.Epoch <= epoch || !g.erased[job.Old] {
		t.Fatalf("%+v, erased %v", sh, g.erased)
	}
}

// Whatever happens around a move, it ends, nothing is left half-done, and the group has its copies all the time. Rows that
// were written are the state, also in the middle.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		for i := range rapid.IntRange(4, 7).Draw(t, "nodes") {
			if _, err := s.Join(Node{Name: fmt.Sprint("n", i), Addr: "x:1", Zone: fmt.Sprint("z", i%3), Roles: Roles{Shard: true}, Weight: rapid.SampledFrom([]int{0, 50, 200}).Draw(t, "weight")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Place(Placement{Name: Main, Copies: 3}, rapid.IntRange(1, 6).Draw(t, "shards")); err != nil {
			t.Fatal(err)
		}
		groups := map[uint16]*group{}
		ids := map[uint64]bool{}
		for id, sh := range s.Shards {
			groups[id] = play(sh)
			for _, r := range sh.Replicas {
				ids[r.ID] = true
			}
		}
		rows := map[string][]byte{}
		save := func() {
			s.Rows(func(k string, v []byte) {
				if v == nil {
					delete(rows, k)
					return
				}
				rows[k] = v
			})
		}
		check := func() {
			save()
			again := New()
			for _, k := range slices.Sorted(maps.Keys(rows)) {
				if err := again.Load(k, rows[k]); err != nil {
					t.Fatal(err)
				}
			}
			if !reflect.DeepEqual(again, s) {
				t.Fatalf("the rows hold\n%+v\nand the state is\n%+v", again, s)
			}
			for id, g := range groups {
				if len(g.seen.Voters) != 3 || !g.seen.votes(g.seen.Leader) {
					t.Fatalf("shard %d: %+v", id, g.seen)
				}
				nodes := map[uint32]bool{}
				for _, r := range append(slices.Clone(g.seen.Voters), g.seen.Learners...) {
					if nodes[nodeOf(r)] {
						t.Fatalf("shard %d has two replicas on node %d", id, nodeOf(r))
					}
					nodes[nodeOf(r)] = true
				}
			}
		}
		step := func(j *Job, lose bool) {
			g := groups[j.Shard]
			a := s.Next(j.ID, &g.seen)
			if lose { // asked, and not done; it is asked again
				return
			}
			if err := g.do(a); err != nil {
				t.Fatalf("%v: %v", j, err)
			}
			if a.Kind == Erase {
				s.Erased(j.ID)
			}
		}
		open := func() (list []*Job) {
			for _, id := range slices.Sorted(maps.Keys(s.Jobs)) {
				if s.Jobs[id].Step != Ended {
					list = append(list, s.Jobs[id])
				}
			}
			return list
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"move": func(t *rapid.T) {
				nodes := slices.Sorted(maps.Keys(s.Nodes))
				sid := rapid.SampledFrom(slices.Sorted(maps.Keys(s.Shards))).Draw(t, "shard")
				j, err := s.Move(sid, rapid.SampledFrom(nodes).Draw(t, "from"), rapid.SampledFrom(nodes).Draw(t, "to"), "ann", "")
				if err != nil && !errors.Is(err, ErrRefused) {
					t.Fatal(err)
				}
				if err == nil {
					if ids[j.New] {
						t.Fatalf("replica %x was used before", j.New)
					}
					ids[j.New] = true
				}
			},
			"plan": func(t *rapid.T) {
				loads := map[uint16]Load{}
				for id, g := range groups {
					loads[id] = Load{Bytes: uint64(rapid.IntRange(0, 1<<30).Draw(t, "bytes")), Leader: nodeOf(g.seen.Leader)}
				}
				for _, p := range s.Plan(loads) {
					if p.Lead {
						groups[p.Shard].seen.Leader = s.Shards[p.Shard].On(p.To).ID
						continue
					}
					if _, err := s.Move(p.Shard, p.From, p.To, "rebalance", p.Why); err != nil && !strings.Contains(err.Error(), "move at these nodes") && !strings.Contains(err.Error(), "being moved") {
						t.Fatalf("the plan wants %+v: %v", p, err)
					}
				}
			},
			"drain": func(t *rapid.T) {
				_ = s.Drain(rapid.SampledFrom(slices.Sorted(maps.Keys(s.Nodes))).Draw(t, "node"), rapid.Bool().Draw(t, "undo"))
			},
			"step": func(t *rapid.T) {
				if list := open(); len(list) > 0 {
					step(rapid.SampledFrom(list).Draw(t, "job"), rapid.Bool().Draw(t, "lose"))
				}
			},
			"catch up": func(t *rapid.T) {
				for _, g := range groups {
					for id := range g.seen.Lag {
						g.seen.Lag[id] = 0
					}
				}
			},
			"elect": func(t *rapid.T) {
				g := groups[rapid.SampledFrom(slices.Sorted(maps.Keys(groups))).Draw(t, "shard")]
				g.seen.Leader = rapid.SampledFrom(g.seen.Voters).Draw(t, "leader")
			},
			"abort": func(t *rapid.T) {
				if list := open(); len(list) > 0 {
					_ = s.Abort(rapid.SampledFrom(list).Draw(t, "job").ID)
				}
			},
			"pause": func(t *rapid.T) {
				if list := open(); len(list) > 0 {
					_ = s.Pause(rapid.SampledFrom(list).Draw(t, "job").ID, rapid.Bool().Draw(t, "on"))
				}
			},
		})
		for range 40 { // a quiet tail: everything that is not paused ends
			for _, j := range open() {
				_ = s.Pause(j.ID, false)
				groups[j.Shard].seen.Lag[j.New] = 0
				step(j, false)
			}
		}
		check()
		if list := open(); len(list) > 0 {
			t.Fatalf("%v never ends: %+v", list[0], groups[list[0].Shard].seen)
		}
		for id, sh := range s.Shards {
			if len(groups[id].seen.Learners) > 0 || len(sh.Replicas) != 3 {
				t.Fatalf("shard %d is left with %+v", id, groups[id].seen)
			}
		}
	})
}

// Following plans leads to a state of which no plan wants anything, with the heaviest node near the lightest.
func TestPlansConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		n := rapid.IntRange(3, 8).Draw(t, "nodes")
		for i := range n {
			if _, err := s.Join(Node{Name: fmt.Sprint("n", i), Addr: "x:1", Roles: Roles{Shard: true}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Place(Placement{Name: Main, Copies: 3}, 32); err != nil {
			t.Fatal(err)
		}
		extra, err := s.Join(Node{Name: "late", Addr: "x:1", Roles: Roles{Shard: true}})
		if err != nil {
			t.Fatal(err)
		}
		loads := map[uint16]Load{}
		for id, sh := range s.Shards {
			loads[id] = Load{Bytes: uint64(rapid.IntRange(1<<20, 40<<20).Draw(t, "bytes")), Leader: sh.Replicas[0].Node}
		}
		for round := 0; ; round++ {
			list := s.Plan(loads)
			if len(list) == 0 {
				break
			}
			if round == 20 {
				t.Fatalf("still wants %+v", list)
			}
			for _, p := range list {
				sh := s.Shards[p.Shard]
				if p.Lead {
					if sh.On(p.To) == nil {
						t.Fatalf("%+v: it has no replica there", p)
					}
					l := loads[p.Shard]
					l.Leader = p.To
					loads[p.Shard] = l
					continue
				}
				r := sh.On(p.From)
				if r == nil || sh.On(p.To) != nil {
					t.Fatalf("%+v of %+v", p, sh)
				}
				if loads[p.Shard].Leader == p.From {
					l := loads[p.Shard]
					l.Leader = p.To
					loads[p.Shard] = l
				}
				*r = s.replica(p.To, false)
			}
		}
		w := s.workbench(loads)
		low, high := w.weight[extra], w.weight[extra]
		leads := map[uint32]int{}
		for _, id := range w.nodes {
			low, high = min(low, w.weight[id]), max(high, w.weight[id])
		}
		for _, l := range loads {
			leads[l.Leader]++
		}
		heaviest, total := 0.0, 0.0
		for _, l := range loads {
			heaviest = max(heaviest, l.weigh())
			total += 3 * l.weigh()
		}
		if high-low > heaviest+evenEnough*total/float64(n+1) { // what is left is less than one shard
			t.Fatalf("the loads are %v; the heaviest shard has %v", w.weight, heaviest)
		}
		for _, id := range w.nodes {
			if leads[id] > 32/len(w.nodes)+3 {
				t.Fatalf("leaders per node: %v", leads)
			}
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("member/1", []byte(`{"id":1}`))
	f.Add("job/x", []byte(`{}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		_ = New().Load(key, value)
	})
}

// TestStarted tells a data directory from an old copy of it by the random numbers of its starts.
func TestStarted(t *testing.T) {
	s := New()
	id, err := s.Join(Node{Name: "a", Addr: "a:1", Birth: "b1", Roles: Roles{Edge: true, Shard: true}})
	if err != nil {
		t.Fatal(err)
	}
	f := func(good bool, starts ...string) {
		t.Helper()
		if err := s.Started(id, starts); (err == nil) != good || !good && !errors.Is(err, ErrRefused) {
			t.Errorf("%v is answered %v", starts, err)
		}
	}
	f(true)                 // one that knows nothing of starts
	f(true, "1")            // the first
	f(true, "1")            // asked again
	f(true, "1", "2", "3")  // two starts that nobody heard of
	f(false, "1", "x")      // an old copy
	f(true, "3", "4")       // the newer one all the same
	f(true, "3", "4", "5")  // the answer to the last was lost
	f(false, "3", "4", "6") // a copy made before that start
	f(true, "5", "7")
	if err := s.Started(99, []string{"1"}); err != nil {
		t.Errorf("a node that is not there is answered %v", err)
	}
}
