package member

import (
	"errors"
	"fmt"
	"slices"

	pb "go.etcd.io/raft/v3/raftpb"

	"switchboard/cluster"
	"switchboard/shard/journal/replica"
)

// look answers what this node sees of the groups that it leads.
func (m *Member) look(from uint32, msg *message) {
	reply := &message{Kind: saySeen, N: msg.N}
	reply.Views = m.see(msg.Groups...)
	m.say(from, reply)
}

// see returns what this node sees of those of the groups that it leads.
func (m *Member) see(groups ...uint16) (list []view) {
	all, err := m.groups.Status(groups...)
	if err != nil {
		return nil
	}
	for _, group := range groups {
		if st, held := all[group]; held && st.Leads {
			v := view{Group: group, Seen: seenOf(&st), Bytes: m.groups.Size(group), Applied: st.Applied, Sessions: m.groups.Sessions(group)}
			v.Shape, v.Left, v.Cleaned = m.groups.Standing(group)
			list = append(list, v)
		}
	}
	return list
}

// seenOf is a leader's status as a move needs it.
func seenOf(st *replica.Status) cluster.Seen {
	s := cluster.Seen{
		Leader: st.ID, Voters: st.Conf.GetVoters(), Learners: slices.Concat(st.Conf.GetLearners(), st.Conf.GetLearnersNext()),
		Joint: len(st.Conf.GetVotersOutgoing()) > 0, Lag: map[uint64]uint64{st.ID: 0}, Term: st.Term,
	}
	for id, f := range st.Followers {
		if f.Active {
			s.Lag[id] = st.Last - min(f.Match, st.Last)
		}
	}
	return s
}

// obey does an act that the leader of the meta group asks for, if that is still its leader and this node still is what it was
// when the act was decided. It may be asked for again and again.
func (m *Member) obey(from uint32, msg *message) {
	if msg.Act == nil || msg.Term < m.metaTop {
		return
	}
	if err := m.act(from, msg.Act); err != nil {
		m.cfg.Log.Info("member: an act", "group", msg.Act.Group, "kind", msg.Act.Act.Kind, "error", err)
	}
}

func (m *Member) act(from uint32, o *order) error {
	if o.Act.Kind == cluster.Erase {
		if replica.NodeOf(o.Act.Remove) != m.id.Node || o.Group == cluster.Meta {
			return errors.New("what shall be erased is not here")
		}
		if err := m.erase(o.Group, o.Act.Remove); err != nil {
			return err
		}
		m.say(from, &message{Kind: sayErased, Act: o})
		return nil
	}
	all, err := m.groups.Status(o.Group)
	if err != nil {
		return err
	}
	st := all[o.Group]
	if !st.Leads || st.Term != o.Term {
		return fmt.Errorf("it leads no more in term %d", o.Term)
	}
	seen := seenOf(&st)
	voter := func(id uint64) bool { return slices.Contains(seen.Voters, id) }
	learner := func(id uint64) bool { return slices.Contains(seen.Learners, id) }
	a := &o.Act
	switch {
	case a.Kind == cluster.Lead && voter(a.To) && a.To != st.ID:
		return m.groups.Transfer(o.Group, a.To)
	case a.Kind == cluster.AddMember && !voter(a.Add) && !learner(a.Add):
		return m.change(o.Group, []uint64{a.Add}, nil, nil)
	case a.Kind == cluster.Swap && learner(a.Add) && a.Remove != st.ID && !seen.Joint:
		var leave []uint64
		if voter(a.Remove) {
			leave = []uint64{a.Remove}
		}
		return m.change(o.Group, nil, []uint64{a.Add}, leave)
	case a.Kind == cluster.Swap && voter(a.Add) && voter(a.Remove) && a.Remove != st.ID && !seen.Joint: // of a shard that had one copy
		return m.change(o.Group, nil, nil, []uint64{a.Remove})
	case a.Kind == cluster.Take && learner(a.Remove) && !seen.Joint:
		return m.change(o.Group, nil, nil, []uint64{a.Remove})
	}
	return nil // it is done already
}

// change asks for other members. More than one at once is a joint change, which ends by itself.
func (m *Member) change(group uint16, learn, vote, leave []uint64) error {
	cc := &pb.ConfChangeV2{}
	add := func(kind pb.ConfChangeType, list []uint64) {
		for _, id := range list {
			cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id)})
		}
	}
	add(pb.ConfChangeAddLearnerNode, learn)
	add(pb.ConfChangeAddNode, vote)
	add(pb.ConfChangeRemoveNode, leave)
	return m.groups.Change(group, cc)
}
