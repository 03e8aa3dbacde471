package member

import (
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
)

// Around is what a node that serves clients wants to know of its cluster.
type Around struct {
	// Leaving says that an operator drains this node: its clients shall go elsewhere, when what it leads and holds has gone; Left is what that is.
	Leaving bool
	Left    cluster.Leaving
	// Unheard says that a node which drains has not heard of all the others yet, as one that has just started: Left may lack what they could take.
	Unheard bool
	// Removed says that this node was taken out of the cluster for good.
	Removed bool
	// Pace is how many of them a second he wants to go, 0 when he has not said.
	Pace int
	// Elsewhere is how many other nodes serve clients, are there and have room for more; URLs are where, of those that have said so.
	Elsewhere int
	URLs      []string
	// Whole says that this node has all the replicas that it shall have, each of them votes, and none is damaged or being replaced.
	Whole bool
	// Full are the other nodes whose disks take nothing more.
	Full map[uint32]bool
	// Health is how the copies of shards are. Of a node whose disk hangs it is what was so before.
	Health Health
}

// Clients are how many connections of clients a node has, and takes; Most is 0 when it does not say.
type Clients struct {
	Open int `json:"open"`
	Most int `json:"most,omitempty"`
}

// crowd tells whether no more of them find room.
func (c Clients) crowd() bool { return c.Most > 0 && c.Open >= c.Most }

// Around returns what was so within the last second. It may be called from any goroutine; what it returns is not to be changed.
func (m *Member) Around() *Around { return m.around.Load() }

// lookAround keeps what Around tells.
func (m *Member) lookAround(now time.Time) {
	a := &Around{Full: maps.Clone(m.full), Health: m.health(now)}
	for _, id := range slices.Sorted(maps.Keys(m.state.Nodes)) {
		switch n := m.state.Nodes[id]; {
		case id == m.id.Node:
			a.Leaving, a.Pace = n.Phase == cluster.Draining && !n.Absent, n.Pace
			a.Removed = n.Phase == cluster.Gone
		case n.Phase == cluster.Up && n.Roles.Edge && m.alive(id) && !m.clients[id].crowd():
			a.Elsewhere++
			if n.URL != "" {
				a.URLs = append(a.URLs, n.URL)
			}
		}
	}
	if a.Leaving {
		a.Left, a.Unheard = m.leaving(m.id.Node), !m.heardFor(m.id.Node, now)
	}
	a.Whole = m.whole()
	m.around.Store(a)
	m.inspect()
}

// leaving is what a node has left to give away if it drains.
func (m *Member) leaving(node uint32) cluster.Leaving {
	leaders := map[uint16]uint32{}
	for group, l := range m.leaders {
		leaders[group] = l.node
	}
	return m.state.Leaving(node, leaders, m.unfit()...)
}

// heardFor tells whether this node has heard what it has to know to say what a node has left: of everybody how he is, but for nodes that have been away for long, and
// who leads each shard of which that node has a copy. What it would tell before is that others have and do nothing.
func (m *Member) heardFor(node uint32, now time.Time) bool {
	for id, n := range m.state.Nodes {
		if _, heard := m.clients[id]; heard || id == m.id.Node || n.Phase == cluster.Gone || n.Absent {
			continue
		}
		if since := m.down[id]; since.IsZero() || now.Sub(since) < giveUpAfter {
			return false
		}
	}
	for group, sh := range m.state.Shards {
		if sh.On(node) != nil && m.leaders[group].node == 0 {
			return false
		}
	}
	return true
}

// whole tells whether all replicas of this node are what they should be, by its rows.
func (m *Member) whole() bool {
	if m.state.Version == 0 || m.term == 0 && m.loaded == nil || len(m.ill[m.id.Node]) > 0 {
		return false
	}
	for _, j := range m.jobs() {
		if j.To == m.id.Node {
			return false
		}
	}
	for group, sh := range m.state.Shards {
		for _, r := range sh.Replicas {
			if r.Node == m.id.Node && (r.Learner || m.state.Forgotten(r.ID) || m.id.Held[group].ID != r.ID) {
				return false
			}
		}
	}
	return true
}
