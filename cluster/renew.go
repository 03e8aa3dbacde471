package cluster

import (
	"errors"
	"fmt"
	"slices"
)

// ErrOldCopy says that a node's data directory is an old copy of itself.
var ErrOldCopy = errors.New("an old copy of itself")

// Renews tells whether the job replaces a damaged replica by a new one on the same node. The damaged one does not take part: it is off
// the disk before the new one is there.
func (j *Job) Renews() bool { return j.From != 0 && j.From == j.To }

// number is which of its node's replicas one is.
func number(id uint64) uint32 { return uint32(id) } //nolint:gosec // the lower half is meant

// Forgotten tells whether a replica was lost with its node's disk: it never comes back.
func (s *State) Forgotten(id uint64) bool {
	n := s.Nodes[nodeOf(id)]
	return n != nil && number(id) <= n.Lost
}

// Belonged tells whether a replica is a member of its shard, lost or not.
func (s *State) Belonged(shard uint16, id uint64) bool {
	sh := s.Shards[shard]
	if sh == nil {
		return false
	}
	if slices.ContainsFunc(sh.Replicas, func(r Replica) bool { return r.ID == id }) {
		return true
	}
	for _, j := range s.Jobs {
		if j.Shard == shard && j.Step != Ended && j.New == id {
			return true
		}
	}
	return false
}

// Whole tells whether a majority of the group's voters is there without one of them: what was decided is on them, whatever the one
// has lost. While its members change nobody can say.
func (v *Seen) Whole(without uint64) bool {
	there := 0
	for _, id := range v.Voters {
		if _, answers := v.Lag[id]; answers && id != without {
			there++
		}
	}
	return !v.Joint && there > len(v.Voters)/2
}

// votesOn tells whether a replica on the node votes.
func (v *Seen) votesOn(node uint32) bool {
	return slices.ContainsFunc(v.Voters, func(id uint64) bool { return nodeOf(id) == node })
}

// Renew begins to replace a damaged replica of a shard by a new one on the same node, by what the shard's leader sees. It is refused while
// no majority is whole without it: then only an operator can say what to give up. A move that wanted the damaged one as its new
// replica is taken back first.
func (s *State) Renew(shard uint16, id uint64, seen *Seen, why string) (*Job, error) {
	sh, n := s.Shards[shard], s.Nodes[nodeOf(id)]
	switch {
	case sh == nil:
		return nil, refuse("there is no shard %d", shard)
	case n == nil || n.Phase == Gone:
		return nil, refuse("there is no node %d", nodeOf(id))
	}
	for _, j := range s.Jobs {
		if j.Shard != shard || j.Step == Ended {
			continue
		}
		if j.New == id {
			_ = s.Abort(j.ID) // refused when it votes already: then it is renewed when the job has ended
		}
		return nil, refuse("shard %d is being moved by job %d (%s)", shard, j.ID, j.Step)
	}
	p := s.Placements[sh.Placement]
	switch {
	case !seen.votes(id):
		return nil, refuse("replica %x does not vote in shard %d", id, shard)
	case !seen.Whole(id):
		return nil, refuse("shard %d has no whole majority without its replica on node %s", shard, n.Name)
	case !p.allowed(n):
		return nil, refuse("node %s (%s) may not hold replicas of placement %s: %s", n.Name, n.Phase, p.Name, wants(p))
	}
	s.lastJob++
	j := &Job{
		ID: s.lastJob, Shard: shard, From: n.ID, To: n.ID, Old: id, New: s.replica(n.ID, true).ID, Step: Adding, By: string(Repair), Why: why,
	}
	s.Jobs[j.ID] = j
	s.touch(rowJob, j.ID)
	s.forget()
	return j, nil
}

// RenewMeta gives a node another replica of the meta group in place of one that is damaged. Asked again it does nothing.
func (s *State) RenewMeta(node uint32, old uint64, seen *Seen) error {
	n, err := s.node(node)
	switch {
	case err != nil:
		return err
	case n.Meta != old:
		return nil // it was
	case !seen.Whole(old):
		return refuse("the cluster's own rows have no whole majority without node %s", n.Name)
	}
	n.Meta = s.replica(node, false).ID
	return nil
}

// RenewNode notes that all that a node was ever given is lost, as its disk is, or has become an old copy of itself: what was promised under
// those ids nobody knows. It returns the id of the node's new replica of the meta group; those of shards follow as renewals. by is a
// random number of the request: the same one again does nothing. seen is what the leaders of shards see. It is refused while a shard
// has no whole majority without the node.
func (s *State) RenewNode(id uint32, by string, starts []string, seen map[uint16]*Seen) (meta uint64, err error) {
	n, err := s.node(id)
	if err != nil || n.Renewed == by {
		return n.metaID(), err
	}
	for shard, sh := range s.Shards {
		r := sh.On(id)
		if r == nil || r.Learner || s.Forgotten(r.ID) {
			continue
		}
		if v := seen[shard]; v == nil || !v.Whole(r.ID) {
			return 0, fmt.Errorf("%w: shard %d has no whole majority without node %s, and what is on its disk may be all that is left: bring the others back first, "+
				"or give it up (nodes remove %s --disk-lost)", ErrRefused, shard, n.Name, n.Name)
		}
	}
	n.Lost, n.Renewed = n.Replicas, by
	if len(starts) > 0 {
		n.Start = starts[len(starts)-1]
	}
	n.Meta = s.replica(id, false).ID
	return n.Meta, nil
}

func (n *Node) metaID() uint64 {
	if n == nil {
		return 0
	}
	return n.Meta
}
