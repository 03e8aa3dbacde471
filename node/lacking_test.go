package node

import (
	"testing"

	"switchboard/shard/journal/replica"
)

// A leader's turns become durable as long as a majority, with itself, answers and has room.
func TestLacking(t *testing.T) {
	f := func(want bool, full []uint32, followers map[uint32]replica.Follower) {
		t.Helper()
		s := replica.Status{Followers: map[uint64]replica.Follower{}}
		for node, of := range followers {
			s.Followers[replica.ID(node, 1)] = of
		}
		disks := map[uint32]bool{}
		for _, node := range full {
			disks[node] = true
		}
		if got := lacking(&s, disks); got != want {
			t.Errorf("full %v, followers %v: %v", full, followers, got)
		}
	}
	here, away, learner := replica.Follower{Active: true}, replica.Follower{}, replica.Follower{Active: true, Learner: true}
	f(false, nil, nil)
	f(false, []uint32{2}, map[uint32]replica.Follower{2: here, 3: here})
	f(true, []uint32{2, 3}, map[uint32]replica.Follower{2: here, 3: here})
	f(true, []uint32{2}, map[uint32]replica.Follower{2: here, 3: away}) // it leads, as 2 answers, and nobody takes anything
	f(true, []uint32{2}, map[uint32]replica.Follower{2: here, 3: away, 4: learner})
	f(true, []uint32{2}, map[uint32]replica.Follower{2: here})
	f(false, []uint32{2, 3}, map[uint32]replica.Follower{2: here, 3: here, 4: here, 5: here})
	f(true, []uint32{2}, map[uint32]replica.Follower{2: here, 3: away, 4: away, 5: here})
}
