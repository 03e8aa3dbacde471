package member

import (
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
	"switchboard/exchange/link"
	"switchboard/wire"
)

// believe notes that a node leads a group in a term. A lower term than was heard of never wins.
func (m *Member) believe(group uint16, node uint32, term uint64) {
	now := m.leaders[group]
	if term < now.term || term == now.term && now.node != 0 {
		return
	}
	m.leaders[group] = leader{node, term}
	if group == cluster.Meta {
		m.metaTop = max(m.metaTop, term)
	}
}

// disbelieve notes that a node leads nothing but these groups. The terms stay.
func (m *Member) disbelieve(node uint32, leads map[uint16]uint64) {
	for group, l := range m.leaders {
		if l.node == node && leads[group] != l.term {
			m.leaders[group] = leader{0, l.term}
		}
	}
}

// announce tells every node what this one leads, and what it is: also those that cannot reach it, as it may have another
// address than they know.
func (m *Member) announce() {
	msg := m.announcement()
	for node := range *m.lines.names.Load() {
		m.say(node, msg)
	}
}

// tellOf tells one node, which has just come up.
func (m *Member) tellOf(node uint32) { m.say(node, m.announcement()) }

func (m *Member) announcement() *message {
	self := m.cfg.self(m.id.Birth)
	self.ID = m.id.Node
	msg := &message{Kind: sayLeads, Self: &self, Damaged: m.hurt(), Full: m.groups.Full(), Clients: m.cfg.Clients(), Meta: m.id.Meta}
	for _, group := range slices.Sorted(maps.Keys(m.mine)) {
		msg.Leads = append(msg.Leads, claim{group, m.mine[group], m.groups.Owner(group)})
	}
	return msg
}

// claimed takes what a node says that it leads and is.
func (m *Member) claimed(from uint32, msg *message) {
	if from == m.id.Node {
		return
	}
	m.ill[from] = msg.Damaged
	if msg.Full != m.full[from] {
		if delete(m.full, from); msg.Full {
			m.full[from] = true
		}
		m.lookAround(time.Now())
	}
	m.clients[from] = msg.Clients
	leads := map[uint16]uint64{}
	for _, c := range msg.Leads {
		leads[c.Group] = c.Term
		m.believe(c.Group, from, c.Term)
		if c.Owner != 0 && m.leaders[c.Group] == (leader{from, c.Term}) {
			m.owners[c.Group] = c.Owner // also of the same leader it is another, when the shard was opened again
		}
	}
	m.disbelieve(from, leads)
	if m.term != 0 && m.metaTop > m.term {
		m.reign(time.Now()) // this node's disk hangs, and it has not heard yet
	}
	if m.term != 0 && m.writing == 0 && msg.Self != nil {
		m.described(from, msg.Self)
		m.correct(from, msg.Meta)
		m.giveUp(from, msg.Damaged)
	}
}

// described notes, as the leader, what a node says of itself.
func (m *Member) described(from uint32, self *cluster.Node) {
	n := m.state.Nodes[from]
	switch {
	case n == nil || n.Phase == cluster.Gone:
	case n.Birth != self.Birth || n.Name != self.Name:
		m.cfg.Log.Error("member: a node has the name of another", "node", from, "name", self.Name)
	default:
		m.state.Describe(from, *self)
	}
}

// plugged is what is in the exchange for a shard that another node leads.
type plugged struct {
	link  *link.Link
	term  uint64
	owner uint64 // of that term
	shape uint64 // of the placement that slots are of
	slots []wire.Slot
}

// plug puts the slots of shards that others lead into the exchange, towards their leaders, and takes out what is so no more. A
// leader of another term is another owner, also behind the same link: it is plugged in anew. Slots that a shard of this node
// has stay its own.
func (m *Member) plug() {
	for group, p := range m.plugged {
		if l := m.leaders[group]; m.way(l) != p.link {
			m.unplug(group)
		} else {
			m.leave(group)
		}
	}
	for group, l := range m.leaders {
		want, was := plugged{link: m.way(l), term: l.term, owner: m.owners[group]}, m.plugged[group]
		if want.link == nil {
			continue
		}
		_, want.shape = m.shapeOf(group)
		if was.link != want.link || was.term != want.term || was.owner != want.owner || was.shape != want.shape {
			m.plugIn(group, want)
		}
	}
}

// way returns the link to a leader that is another node, and up; nil when there is none.
func (m *Member) way(l leader) *link.Link {
	if l.node == 0 || l.node == m.id.Node || !m.alive(l.node) {
		return nil
	}
	return m.lines.to(l.node)
}

func (m *Member) plugIn(group uint16, p plugged) {
	if p.slots, p.shape = m.slots(group); len(p.slots) > 0 {
		m.lines.x.PlugRemote(p.slots, p.link)
		m.plugged[group] = p
	}
}

// leave takes out the slots that a shard has no more, before another is plugged in: that may be behind the same link.
func (m *Member) leave(group uint16) {
	was := m.plugged[group]
	if _, shape := m.shapeOf(group); shape == was.shape {
		return
	}
	now, _ := m.slots(group)
	has := make(map[wire.Slot]bool, len(now))
	for _, slot := range now {
		has[slot] = true
	}
	if gone := slices.DeleteFunc(slices.Clone(was.slots), func(slot wire.Slot) bool { return has[slot] }); len(gone) > 0 {
		m.lines.x.UnplugSlots(gone, was.link)
	}
}

// cut plugs in anew what is behind a link on which mail was lost: who waits for answers may wait in vain.
func (m *Member) cut(name string) {
	m.lines.x.Lost()
	for group, p := range m.plugged {
		if p.link.Node() == name {
			m.plugIn(group, p)
		}
	}
}

// replug plugs in again what was kept out by a shard of this node that is gone meanwhile.
func (m *Member) replug() {
	for _, p := range m.plugged {
		m.lines.x.FillRemote(p.slots, p.link)
	}
}

func (m *Member) unplug(group uint16) {
	m.lines.x.UnplugSlots(m.plugged[group].slots, m.plugged[group].link)
	delete(m.plugged, group)
}
