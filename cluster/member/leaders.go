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
	msg := &message{Kind: sayLeads, Self: &self}
	for _, group := range slices.Sorted(maps.Keys(m.mine)) {
		msg.Leads = append(msg.Leads, claim{group, m.mine[group]})
	}
	return msg
}

// claimed takes what a node says that it leads and is.
func (m *Member) claimed(from uint32, msg *message) {
	if from == m.id.Node {
		return
	}
	leads := map[uint16]uint64{}
	for _, c := range msg.Leads {
		leads[c.Group] = c.Term
		m.believe(c.Group, from, c.Term)
	}
	m.disbelieve(from, leads)
	if m.term != 0 && m.metaTop > m.term {
		m.reign(time.Now()) // this node's disk hangs, and it has not heard yet
	}
	if m.term != 0 && m.writing == 0 && msg.Self != nil {
		m.described(from, msg.Self)
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

// plug puts the slots of shards that others lead into the exchange, towards their leaders, and takes out what is so no more.
// Slots that a shard of this node has stay its own.
func (m *Member) plug() {
	for group, at := range m.plugged {
		if l := m.leaders[group]; l.node == 0 || l.node == m.id.Node || !m.alive(l.node) || m.lines.to(l.node) != at.link {
			m.unplug(group)
		}
	}
	for group, l := range m.leaders {
		if at, ok := m.plugged[group]; ok && at.term == l.term || l.node == 0 || l.node == m.id.Node || !m.alive(l.node) {
			continue
		}
		if k, slots := m.lines.to(l.node), m.slots(group); k != nil && len(slots) > 0 {
			m.lines.x.PlugRemote(slots, k)
			m.plugged[group] = plugged{k, l.node, l.term}
		}
	}
}

// plugged is what the board has for a shard: the link to its leader, and the term in which that leads.
type plugged struct {
	link *link.Link
	node uint32
	term uint64
}

// missed begins a new generation of what a node leads, as mail between it and this node may have been lost: who waits for an
// answer shall not wait in vain.
func (m *Member) missed(node uint32) {
	for group, at := range m.plugged {
		if at.node == node {
			m.lines.x.PlugRemote(m.slots(group), at.link)
		}
	}
}

// replug says again what is plugged in: a shard of this node may have been there a moment ago.
func (m *Member) replug() {
	for group, at := range m.plugged {
		m.lines.x.FillRemote(m.slots(group), at.link)
	}
}

func (m *Member) unplug(group uint16) {
	m.lines.x.UnplugSlots(m.slots(group), m.plugged[group].link)
	delete(m.plugged, group)
}

// slots returns the slots of a shard of the main placement. Those of other placements have none on the board yet.
func (m *Member) slots(group uint16) (list []wire.Slot) {
	p := m.state.Placements[cluster.Main]
	if p == nil {
		return nil
	}
	for _, i := range p.Slots(group, wire.Slots) {
		list = append(list, wire.Slot(i)) //nolint:gosec // below wire.Slots
	}
	return list
}
