package cluster

import "testing"

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
