package cluster

import (
	"maps"
	"slices"
)

// Share is a replica that a node shall have.
type Share struct {
	Group uint16
	ID    uint64
	// First are the voters of a group that is new, this one among them. Empty: the replica waits for the leader's snapshot.
	First []uint64
}

// Shares returns the replicas that a node shall have, in order of their groups.
func (s *State) Shares(node uint32) (list []Share) {
	for _, id := range slices.Sorted(maps.Keys(s.Shards)) {
		sh := s.Shards[id]
		r := sh.On(node)
		if r == nil || !s.Belongs(id, r.ID) {
			continue
		}
		share := Share{Group: id, ID: r.ID}
		if sh.Epoch == 1 {
			for _, other := range sh.Replicas {
				share.First = append(share.First, other.ID)
			}
		}
		list = append(list, share)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Jobs)) {
		j := s.Jobs[id]
		if j.To != node || !s.Belongs(j.Shard, j.New) {
			continue
		}
		if have := s.Shards[j.Shard].On(node); have == nil || have.ID == j.Old {
			list = append(list, Share{Group: j.Shard, ID: j.New})
		}
	}
	return list
}

// Belongs tells whether a replica is one of its shard's, or on its way there or away. As ids are given once, a replica that did
// and does not any more never will again: it may be erased.
func (s *State) Belongs(shard uint16, id uint64) bool {
	sh := s.Shards[shard]
	if sh == nil || s.Forgotten(id) {
		return false
	}
	for _, j := range s.Jobs {
		if j.Shard != shard || j.Step == Ended {
			continue
		}
		if j.Step == Cleaning && j.gone() == id || j.Renews() && j.Old == id {
			return false
		}
		if j.New == id || j.Old == id {
			return true
		}
	}
	return slices.ContainsFunc(sh.Replicas, func(r Replica) bool { return r.ID == id })
}

// Cleaning returns the replica that the job waits to have erased, 0 when it does not.
func (j *Job) Cleaning() uint64 {
	if j.Step != Cleaning {
		return 0
	}
	return j.gone()
}
