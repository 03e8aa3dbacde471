package member

import (
	"time"

	"switchboard/cluster"
	"switchboard/shard/journal/replica"
)

// Health is how the copies of the cluster's shards are, as far as one node sees it.
type Health struct {
	// Led says that somebody is known to lead the cluster's own rows, and can be reached from here.
	Led bool
	// Leaderless is how many shards of the cluster nobody is known to lead, or one who cannot be reached from here.
	Leaderless int
	// Short is of how many of the shards that this node leads fewer copies vote and answer than their placement wants.
	Short int
	// Lag is how far the copies on other nodes, by their names, are behind what this node leads, at most. A copy that does not vote yet is none.
	Lag map[string]Lag
}

// Lag is how far a copy is behind.
type Lag struct {
	// Entries of the log that it lacks. Behind is for how long it has lacked the first of them, to the second, as far as this leader
	// remembers: it counts from when it began to lead.
	Entries uint64
	Behind  time.Duration
}

func (l Lag) max(o Lag) Lag { return Lag{max(l.Entries, o.Entries), max(l.Behind, o.Behind)} }

// trail remembers where the log of a group ended, and when, so that what a copy lacks has an age.
type trail struct {
	term uint64 // in which this node leads
	ends []end  // both grow
}

type end struct {
	at    time.Time
	index uint64
}

// trailMax is how many ends a trail remembers: beyond that every second one is forgotten.
const trailMax = 64

// note adds that the log ends at last, and that everybody has what is up to least.
func (t *trail) note(now time.Time, last, least uint64) {
	kept := t.ends[:0]
	for i, e := range t.ends {
		if e.index > least && (len(t.ends) < trailMax || i%2 == 0) {
			kept = append(kept, e)
		}
	}
	if n := len(kept); n == 0 || kept[n-1].index < last {
		kept = append(kept, end{now, last})
	}
	t.ends = kept
}

// behind returns for how long a copy that has what is up to match has lacked something.
func (t *trail) behind(now time.Time, match uint64) time.Duration {
	for _, e := range t.ends {
		if e.index > match {
			return now.Sub(e.at)
		}
	}
	return 0
}

// inspect asks how the groups are that this node leads. It does not wait for the answer, which a disk that hangs holds up.
func (m *Member) inspect() {
	if m.inspecting || len(m.mine) == 0 {
		return
	}
	m.inspecting = true
	list := make([]uint16, 0, len(m.mine))
	for group := range m.mine {
		list = append(list, group)
	}
	m.groups.Look(list, func(all map[uint16]replica.Status) {
		m.news.tell(func() { m.news.inspected = all })
	})
}

// inspected takes the answer.
func (m *Member) inspected(all map[uint16]replica.Status, now time.Time) {
	m.inspecting, m.inspection = false, all
	for group, t := range m.trails {
		if st := all[group]; !st.Leads || st.Term != t.term {
			delete(m.trails, group)
		}
	}
	for group, st := range all {
		if !st.Leads {
			continue
		}
		if m.trails[group] == nil {
			m.trails[group] = &trail{term: st.Term}
		}
		least := st.Last
		for _, f := range st.Followers {
			if !f.Learner {
				least = min(least, f.Match)
			}
		}
		m.trails[group].note(now, st.Last, least)
	}
}

// health is how the copies are, by what was answered last.
func (m *Member) health(now time.Time) Health {
	led := func(group uint16) bool { l := m.leaders[group]; return l.node != 0 && m.alive(l.node) }
	h := Health{Led: led(cluster.Meta), Lag: map[string]Lag{}}
	for group := range m.state.Shards {
		if !led(group) {
			h.Leaderless++
		}
	}
	for id, n := range m.state.Nodes {
		if id != m.id.Node && n.Phase != cluster.Gone && len(m.mine) > 0 {
			h.Lag[n.Name] = Lag{}
		}
	}
	for group, st := range m.inspection {
		if _, mine := m.mine[group]; !mine || !st.Leads {
			continue
		}
		answer := 1
		for id, f := range st.Followers {
			if f.Learner {
				continue
			}
			if f.Active {
				answer++
			}
			if n := m.state.Nodes[replica.NodeOf(id)]; n != nil {
				h.Lag[n.Name] = h.Lag[n.Name].max(Lag{st.Last - min(f.Match, st.Last), m.trails[group].behind(now, f.Match)})
			}
		}
		if p, _ := m.shapeOf(group); p != nil && answer < p.Copies {
			h.Short++
		}
	}
	return h
}
