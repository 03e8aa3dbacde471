package cluster

import "slices"

// Lead asks for a shard to be led by a node that has a copy of it. seen is what the shard's leader says, nil when nobody is known to lead. It returns
// the act for that leader, [Wait] when the node leads already; what comes of the act is only seen, and it may be asked for again. From then on
// evening out leaves the shard to the node as long as nobody else comes to lead it, or until an operator asks for a rebalance.
func (s *State) Lead(shard uint16, to uint32, seen *Seen) (Act, error) {
	sh := s.Shards[shard]
	if sh == nil {
		return Act{}, refuse("there is no shard %d: see switchboard shards ls", shard)
	}
	n, err := s.node(to)
	if err != nil {
		return Act{}, err
	}
	r, p := sh.On(to), s.Placements[sh.Placement]
	switch {
	case r == nil || r.Learner:
		return Act{}, refuse("shard %d has no copy on node %s that votes, so that node cannot lead it: move one there first", shard, n.Name)
	case n.Phase == Draining:
		return Act{}, refuse("node %s drains: it is to lead nothing", n.Name)
	case !p.allowed(n):
		return Act{}, refuse("node %s may not hold copies of placement %s: %s", n.Name, p.Name, wants(p))
	}
	for _, j := range s.Jobs {
		if j.Shard == shard && j.Step != Ended {
			return Act{}, refuse("shard %d is being moved by job %d (%s): wait for it, or abort it", shard, j.ID, j.Step)
		}
	}
	if seen == nil || seen.Term < sh.Term {
		return Act{}, refuse("nobody is known to lead shard %d just now: ask again in a moment", shard)
	}
	if seen.Leader == r.ID {
		s.led(sh, seen)
		s.appoint(sh, to)
		return Act{}, nil
	}
	lag, answers := seen.Lag[r.ID]
	switch {
	case !answers || !slices.Contains(seen.Voters, r.ID):
		return Act{}, refuse("the copy of shard %d on node %s does not answer who leads the shard", shard, n.Name)
	case lag > caughtUp:
		return Act{}, refuse("the copy of shard %d on node %s is %d entries behind: ask again when it has caught up", shard, n.Name, lag)
	}
	s.led(sh, seen) // else who is chosen now would be forgotten when this term is heard of
	s.appoint(sh, to)
	return Act{Kind: Lead, To: r.ID}, nil
}

// appoint notes the node that an operator wants to lead a shard, 0 for any.
func (s *State) appoint(sh *Shard, node uint32) {
	if sh.Chosen != node {
		sh.Chosen = node
		s.touch(rowShard, uint64(sh.ID))
	}
}
