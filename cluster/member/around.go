package member

import (
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
)

// Around is what a node that serves clients wants to know of its cluster.
type Around struct {
	// Leaving says that an operator drains this node: its clients shall go elsewhere.
	Leaving bool
	// Elsewhere is how many other nodes serve clients and are there; URLs are where, of those that have said so.
	Elsewhere int
	URLs      []string
	// Whole says that this node has all the replicas that it shall have, each of them votes, and none is damaged or being replaced.
	Whole bool
	// Full are the other nodes whose disks take nothing more.
	Full map[uint32]bool
	// Health is how the copies of shards are. Of a node whose disk hangs it is what was so before.
	Health Health
}

// Around returns what was so within the last second. It may be called from any goroutine; what it returns is not to be changed.
func (m *Member) Around() *Around { return m.around.Load() }

// lookAround keeps what Around tells.
func (m *Member) lookAround(now time.Time) {
	a := &Around{Full: maps.Clone(m.full), Health: m.health(now)}
	for _, id := range slices.Sorted(maps.Keys(m.state.Nodes)) {
		switch n := m.state.Nodes[id]; {
		case id == m.id.Node:
			a.Leaving = n.Phase == cluster.Draining && !n.Absent
		case n.Phase == cluster.Up && n.Roles.Edge && m.alive(id):
			a.Elsewhere++
			if n.URL != "" {
				a.URLs = append(a.URLs, n.URL)
			}
		}
	}
	a.Whole = m.whole()
	m.around.Store(a)
	m.inspect()
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
