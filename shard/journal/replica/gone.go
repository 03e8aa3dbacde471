package replica

import "slices"

// A follower waits for an election's time before it believes that its leader is gone, and does not let others lead before: Raft has
// nothing but silence to go by. Who sees that the leader's process has ended need not wait. He forgets the leader, so that he grants
// votes again, and asks for them himself, one replica after the other so that they do not split the votes. One who is wrong
// does no harm: those who hear of the leader still do not vote for him.

// goneTicks is how many ticks lie between two replicas that ask for votes.
const goneTicks = 2

// Gone tells the groups that the process of a node has ended: it leads nothing, and what is on its way there is lost.
func (h *Host) Gone(node uint32) {
	h.Unreachable(node)
	for _, id := range h.ids {
		g := h.groups[id]
		if g.term != 0 || g.leader == 0 || NodeOf(g.leader) != node {
			continue
		}
		_ = g.rn.ForgetLeader() // it is of its own: cannot be wrong
		g.turn, g.waited = g.rank(node), 0
		h.mark(g)
		h.hurry(g)
	}
}

// rank returns the how manieth this replica is of those that could lead when a node's cannot, and how many they are; it is -1 when it
// is none of them. The order differs from group to group, so that not one node leads all.
func (g *group) rank(node uint32) (r rank) {
	list := slices.DeleteFunc(slices.Clone(g.conf.GetVoters()), func(id uint64) bool { return NodeOf(id) == node })
	r.of = len(list)
	if r.of == 0 {
		return r
	}
	slices.Sort(list)
	at := slices.Index(list, g.self)
	if at < 0 {
		return rank{}
	}
	r.at = (at + int(g.id)) % r.of
	return r
}

// rank is a replica's place among those that ask for votes in turn; of is 0 when it does not.
type rank struct{ at, of int }

// hurry lets a group whose leader is gone ask for votes when it is its turn, until somebody leads, or until an election's time has passed
// and Raft does so by itself. It is called when the leader has gone and with each tick.
func (h *Host) hurry(g *group) {
	switch {
	case g.turn.of == 0:
		return
	case g.term != 0 || g.waited > 0 && g.rn.BasicStatus().Lead != 0 || g.waited > h.cfg.ElectionTicks:
		g.turn = rank{}
		return
	}
	if g.waited%(goneTicks*g.turn.of) == goneTicks*g.turn.at {
		_ = g.rn.Campaign() // refused while members change, which their own time ends
		h.mark(g)
	}
	g.waited++
}
