package cluster

import (
	"cmp"
	"maps"
	"slices"
)

// councilMost is how many nodes vote on the State: five survive the loss of two, and more only make each change slower.
const councilMost = 5

// Reform is how the members of the meta group are to change next. The lists are done in one change; Lead comes alone.
type Reform struct {
	Learn []uint64 // become learners: members that did not vote, or do so no more
	Vote  []uint64 // become voters
	Leave []uint64
	Lead  uint64 // shall lead first, as the leader itself is to stop voting
}

// Empty tells whether nothing is to change.
func (r *Reform) Empty() bool { return len(r.Learn)+len(r.Vote)+len(r.Leave) == 0 && r.Lead == 0 }

// Council says what is to change about the members of the meta group, by what its leader sees. Every node that is not gone is a
// member, so that it has the rows. An odd number of nodes with the role shard votes, up to 5, in different zones where that is possible. Who
// votes keeps doing so, also while it is away; who does not vote yet must be there and have caught up. A node whose replica was
// damaged keeps its seat until its new one has caught up, and takes it in one change. Of what is as it should be it says nothing.
func (s *State) Council(seen *Seen) (r Reform) {
	if seen.Joint {
		return r
	}
	members := map[uint64]bool{}
	for _, id := range slices.Sorted(maps.Keys(s.Nodes)) {
		n := s.Nodes[id]
		if n.Phase == Gone {
			continue
		}
		members[n.Meta] = true
		if !seen.votes(n.Meta) && !seen.learns(n.Meta) {
			r.Learn = append(r.Learn, n.Meta)
		}
	}
	if len(r.Learn) > 0 {
		return r
	}
	chosen := s.choose(seen)
	if len(chosen) == 0 {
		return r // nobody could: what is there stays
	}
	lost := !slices.Contains(chosen, seen.Leader)
	if lost {
		if to := seen.nearest(chosen); to != 0 {
			return Reform{Lead: to}
		}
	}
	waits := map[uint32]bool{} // nodes whose vote waits until their new replica has caught up
	for _, id := range chosen {
		lag, answers := seen.Lag[id]
		switch {
		case seen.votes(id):
		case seen.votesOn(nodeOf(id)) && (!answers || lag > caughtUp):
			waits[nodeOf(id)] = true
		default:
			r.Vote = append(r.Vote, id)
		}
	}
	if lost { // nobody of them votes yet: first they do
		return r
	}
	for _, id := range seen.Voters {
		switch {
		case slices.Contains(chosen, id) || waits[nodeOf(id)]:
		case members[id]:
			r.Learn = append(r.Learn, id)
		default:
			r.Leave = append(r.Leave, id)
		}
	}
	for _, id := range seen.Learners {
		if !members[id] {
			r.Leave = append(r.Leave, id)
		}
	}
	return r
}

// choose returns who shall vote.
func (s *State) choose(seen *Seen) (chosen []uint64) {
	var list []*Node
	for _, n := range s.Nodes {
		lag, answers := seen.Lag[n.Meta]
		ready := n.Phase == Up && answers && lag <= caughtUp
		if n.Phase != Gone && n.Roles.Shard && (seen.votesOn(n.ID) || ready) {
			list = append(list, n)
		}
	}
	seats := min(councilMost, len(list))
	seats -= (seats + 1) % 2
	zones := map[string]int{}
	for len(chosen) < seats {
		slices.SortFunc(list, func(a, b *Node) int {
			return cmp.Or(rank(a.Phase != Up)-rank(b.Phase != Up), zones[a.Zone]-zones[b.Zone], rank(!seen.votesOn(a.ID))-rank(!seen.votesOn(b.ID)), cmp.Compare(a.ID, b.ID))
		})
		chosen = append(chosen, list[0].Meta)
		zones[list[0].Zone]++
		list = list[1:]
	}
	return chosen
}

func rank(last bool) int {
	if last {
		return 1
	}
	return 0
}

// nearest returns which of the list votes, answers, and is least behind; 0 for none.
func (v *Seen) nearest(list []uint64) (best uint64) {
	for _, id := range list {
		lag, answers := v.Lag[id]
		if !answers || !v.votes(id) || id == v.Leader {
			continue
		}
		if best == 0 || lag < v.Lag[best] {
			best = id
		}
	}
	return best
}
