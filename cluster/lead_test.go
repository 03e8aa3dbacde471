package cluster

import (
	"errors"
	"strings"
	"testing"
)

// A node is asked to lead when it has a copy that votes, answers and has caught up; otherwise it is said what is wrong, and nothing is noted.
func TestLeadRefusals(t *testing.T) {
	s := with(t, 2, 3, "a", "b", "c")
	d := join(t, s, "d")
	f := func(want string, shard uint16, to uint32, seen *Seen) {
		t.Helper()
		a, err := s.Lead(shard, to, seen)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) || a.Kind != Wait {
			t.Errorf("%+v, %v; want %q", a, err, want)
		}
		if sh := s.Shards[shard]; sh != nil && sh.Chosen != 0 {
			t.Errorf("it is refused, and node %d is chosen", sh.Chosen)
		}
	}
	g := play(s.Shards[0])
	g.seen.Leader = s.Shards[0].On(1).ID
	two := s.Shards[0].On(2).ID
	f("no shard 7", 7, 2, &g.seen)
	f("no node 9", 0, 9, &g.seen)
	f("no copy on node d that votes", 0, d, &g.seen)
	f("nobody is known to lead", 0, 2, nil)
	g.seen.Lag[two] = caughtUp + 1
	f("65 entries behind", 0, 2, &g.seen)
	delete(g.seen.Lag, two)
	f("does not answer who leads", 0, 2, &g.seen)
	g.seen.Lag[two] = 0
	s.Shards[0].Term = 2
	f("nobody is known to lead", 0, 2, &g.seen) // it is the word of an earlier leader
	g.seen.Term = 2
	s.Placements[Main].Require = map[string]string{"region": "eu"}
	f("may not hold copies of placement main", 0, 2, &g.seen)
	s.Placements[Main].Require = nil
	if err := s.Drain(2, false); err != nil {
		t.Fatal(err)
	}
	f("node b drains", 0, 2, &g.seen)
	if err := s.Drain(2, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Move(0, 3, d, "ann", ""); err != nil {
		t.Fatal(err)
	}
	f("is being moved by job 1", 0, 2, &g.seen)
}

// Whoever was chosen to lead is left to, however much he leads, as long as he does and nobody asks for a rebalance; that is in the rows.
func TestChosenStays(t *testing.T) {
	s := with(t, 2, 3, "a", "b", "c")
	g, loaded := play(s.Shards[0]), New()
	g.seen.Leader = s.Shards[0].On(1).ID
	ask := func(to uint32) Act {
		t.Helper()
		a, err := s.Lead(0, to, &g.seen)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	wants := func(want int, leader uint32) {
		t.Helper()
		s.Rows(func(key string, value []byte) {
			if err := loaded.Load(key, value); err != nil {
				t.Fatal(err)
			}
		})
		// Its other shard may go: node b leads two, and the others none.
		n := 0
		for _, p := range loaded.Leaders(map[uint16]Load{0: {Leader: leader}, 1: {Leader: leader}}) {
			if p.Shard == 0 {
				n++
			}
		}
		if n != want {
			t.Fatalf("a plan lets shard 0 go %d times; want %d", n, want)
		}
	}
	// hear is what its leader says next.
	hear := func(leader uint32, term uint64) {
		t.Helper()
		g.seen.Leader, g.seen.Term = s.Shards[0].On(leader).ID, term
		if !s.Hear(0, &g.seen) {
			t.Fatal("its leader is not heard")
		}
	}
	wants(1, 2)
	if a := ask(2); a.Kind != Lead || a.To != s.Shards[0].On(2).ID {
		t.Fatalf("%+v", a)
	}
	hear(1, 1) // it has not come to that yet
	hear(2, 2)
	wants(0, 2)
	if a := ask(2); a.Kind != Wait {
		t.Fatalf("it leads already, and %+v is asked for", a)
	}
	hear(2, 4) // it was elected once more
	wants(0, 2)
	if err := s.Drain(2, false); err != nil {
		t.Fatal(err)
	}
	wants(1, 2) // whoever drains leads nothing
	if err := s.Drain(2, true); err != nil {
		t.Fatal(err)
	}
	hear(3, 5)
	wants(1, 2) // that was over when another led
	ask(3)
	wants(0, 3)
	if err := s.Rebalance("run", "ann"); err != nil {
		t.Fatal(err)
	}
	wants(1, 3)
}
