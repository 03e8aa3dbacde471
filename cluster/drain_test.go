package cluster

import (
	"errors"
	"slices"
	"testing"
)

// A node that drains gives its leaderships away, to whoever leads least, also when its replicas have nowhere to go; and gets none while it does.
func TestDrainedNodeLeadsNothing(t *testing.T) {
	s := with(t, 6, 3, "a", "b", "c")
	loads := map[uint16]Load{}
	for id := range s.Shards {
		loads[id] = Load{Leader: uint32(id%3) + 1}
	}
	if list := s.Leaders(loads); len(list) != 0 {
		t.Fatalf("all is even, and a plan wants %+v", list)
	}
	if err := s.Drain(3, false); err != nil {
		t.Fatal(err)
	}
	got := map[uint32]int{}
	for _, p := range s.Leaders(loads) {
		if p.From != 3 || !p.Lead || p.Why != "node c drains" {
			t.Fatalf("%+v", p)
		}
		got[p.To]++
		loads[p.Shard] = Load{Leader: p.To}
	}
	if got[1] != 1 || got[2] != 1 {
		t.Fatalf("leaderships go to %v", got)
	}
	if list := s.Plan(loads); len(list) != 0 {
		t.Fatalf("nothing can go anywhere, and a plan wants %+v", list)
	}
	if list := s.Leaders(map[uint16]Load{0: {Leader: 3}}, 1, 2); len(list) != 0 {
		t.Fatalf("there is nobody, and a plan wants %+v", list)
	}
	if err := s.Drain(3, true); err != nil {
		t.Fatal(err)
	}
	if list := s.Leaders(loads); len(list) != 2 {
		t.Fatalf("it is back, and gets %+v", list)
	}
}

// Where every node has a copy of everything, a weight still counts: for what a node leads.
func TestLeadersByWeight(t *testing.T) {
	f := func(want []int, weights ...int) {
		t.Helper()
		s := with(t, 24, 3, "a", "b", "c")
		loads := map[uint16]Load{}
		for id := range s.Shards {
			loads[id] = Load{Leader: 1}
		}
		for i, weight := range weights {
			s.Nodes[uint32(i)+1].Weight = weight
		}
		for round := 0; ; round++ {
			list := s.Leaders(loads)
			if len(list) == 0 {
				break
			}
			if round == len(loads) {
				t.Fatalf("weights %v: still wants %+v", weights, list)
			}
			for _, p := range list {
				loads[p.Shard] = Load{Leader: p.To}
			}
		}
		got := make([]int, len(weights))
		for _, l := range loads {
			got[l.Leader-1]++
		}
		if !slices.Equal(got, want) {
			t.Errorf("nodes of weights %v lead %v shards; want %v", weights, got, want)
		}
	}
	f([]int{8, 8, 8}, 100, 100, 100)
	f([]int{8, 8, 8}, 7, 7, 7)
	f([]int{10, 10, 4}, 100, 100, 40)
	f([]int{12, 12, 0}, 10_000, 10_000, 1)
	f([]int{4, 4, 16}, 100, 100, 400)
}

// What a node that drains has left is what others can take: its leaderships, then its replicas; what nobody can take is not waited for.
func TestLeaving(t *testing.T) {
	s := with(t, 1, 3, "a", "b", "c", "d")
	sh := s.Shards[0]
	node, free := sh.Replicas[0].Node, uint32(0)
	var others []uint32
	for n := range s.Nodes {
		switch {
		case sh.On(n) == nil:
			free = n
		case n != node:
			others = append(others, n)
		}
	}
	f := func(want Leaving, leader uint32, away ...uint32) {
		t.Helper()
		if got := s.Leaving(node, map[uint16]uint32{0: leader}, away...); got != want {
			t.Fatalf("%+v; want %+v", got, want)
		}
	}
	if err := s.DrainAt(node, 0); err != nil {
		t.Fatal(err)
	}
	f(Leaving{1, 1}, node)
	f(Leaving{0, 1}, others[0])
	f(Leaving{1, 0}, node, free)
	f(Leaving{0, 1}, node, others...)
	f(Leaving{}, node, append(others, free)...)
	if _, err := s.Move(0, node, free, "drain", ""); err != nil {
		t.Fatal(err)
	}
	f(Leaving{1, 1}, node, free) // it is under way, wherever its node is just now
}

// A drain has a pace, which stays when it is asked for again without one and ends with it.
func TestDrainPace(t *testing.T) {
	s := with(t, 3, 3, "a", "b", "c")
	f := func(want, pace int) {
		t.Helper()
		if err := s.DrainAt(1, pace); err != nil {
			t.Fatal(err)
		}
		loaded := New()
		s.Rows(func(key string, value []byte) {
			if err := loaded.Load(key, value); err != nil {
				t.Fatal(err)
			}
			if n := loaded.Nodes[1]; key == "member/1" && n.Pace != want {
				t.Fatalf("the row has the pace %d; want %d", n.Pace, want)
			}
		})
		if n := s.Nodes[1]; n.Pace != want || n.Phase != Draining {
			t.Fatalf("%+v; want the pace %d", n, want)
		}
	}
	f(0, 0)
	f(50, 50)
	f(50, 0)
	f(70, 70)
	for _, pace := range []int{-1, paceMost + 1} {
		if err := s.DrainAt(2, pace); !errors.Is(err, ErrRefused) || s.Nodes[2].Phase != Up {
			t.Fatalf("a pace of %d: %v", pace, err)
		}
	}
	if err := s.Drain(1, true); err != nil || s.Nodes[1].Pace != 0 {
		t.Fatalf("%+v, %v", s.Nodes[1], err)
	}
	f(0, 0)
}
