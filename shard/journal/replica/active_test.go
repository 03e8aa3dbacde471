package replica

import "testing"

// A leader says of a follower that it answers as long as it does, at whatever moment he is asked, and no longer.
func TestFollowersAnswer(t *testing.T) {
	voters := []uint64{ID(1, 1), ID(2, 1), ID(3, 1)}
	hosts := map[uint64]*Host{}
	for _, id := range voters {
		hosts[id] = NewHost(Config{ElectionTicks: 10, HeartbeatTicks: 2})
		if err := hosts[id].Add(Bootstrap(7, id, voters)); err != nil {
			t.Fatal(err)
		}
	}
	dead := map[uint64]bool{}
	settle := func() {
		for more := true; more; {
			more = false
			for _, id := range voters {
				for b := (Batch{}); hosts[id].Collect(&b); hosts[id].Done(&b) {
					more = true
					for _, m := range b.Send {
						if to := m.Raft.GetTo(); !dead[to] && !dead[id] {
							_ = hosts[to].Step(m) // of a term that is over
						}
					}
				}
			}
		}
	}
	status := func(id uint64) Status {
		t.Helper()
		s, err := hosts[id].Status(7)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var leader uint64
	for leader == 0 {
		for _, id := range voters {
			hosts[id].Tick()
		}
		settle()
		for _, id := range voters {
			if status(id).Leads {
				leader = id
			}
		}
	}
	look := func(ticks int) (silent map[uint64]int) {
		silent = map[uint64]int{}
		for range ticks {
			for _, id := range voters {
				hosts[id].Tick()
			}
			for id, f := range status(leader).Followers {
				if !f.Active {
					silent[id]++
				}
			}
			settle()
		}
		return silent
	}
	look(2) // the first heartbeats
	if silent := look(100); len(silent) != 0 {
		t.Errorf("in 100 ticks these were said not to answer: %v", silent)
	}
	gone := voters[0]
	if gone == leader {
		gone = voters[1]
	}
	dead[gone] = true
	look(10)
	if silent := look(100); silent[gone] != 100 || len(silent) != 1 {
		t.Errorf("of 100 ticks behind an election's time, %v", silent)
	}
}
