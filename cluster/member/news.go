package member

import (
	"maps"
	"sync"
)

// news is what others have to tell the member, as levels: nothing of it is lost, and it takes no more room than there are
// groups and nodes. Telling never blocks.
type news struct {
	wake chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	changed bool              // rows
	leads   map[uint16]uint64 // groups that this node leads, with the term
	led     bool              // leads has changed
	links   map[string]bool   // by name: up, since the last look
	lost    map[string]bool   // by name: nodes with which mail may have been lost
	wrote   []wrote           // at most one for each Append
}

type wrote struct {
	turn uint64
	err  error
}

func newNews() *news {
	return &news{wake: make(chan struct{}, 1), leads: map[uint16]uint64{}, links: map[string]bool{}, lost: map[string]bool{}}
}

func (n *news) tell(note func()) {
	n.mu.Lock()
	note()
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) link(name string, up bool) { n.tell(func() { n.links[name] = up }) }

// heard is what was new.
type heard struct {
	changed, led bool
	leads        map[uint16]uint64
	links, lost  map[string]bool
	wrote        []wrote
}

func (n *news) take() (h heard) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h = heard{n.changed, n.led, nil, n.links, n.lost, n.wrote}
	if n.led {
		h.leads = maps.Clone(n.leads)
	}
	n.changed, n.led, n.wrote = false, false, nil
	if len(n.links) > 0 {
		n.links = map[string]bool{}
	}
	if len(n.lost) > 0 {
		n.lost = map[string]bool{}
	}
	return h
}

// Changed says that rows of the meta group were applied. It never blocks.
func (m *Member) Changed() { m.news.tell(func() { m.news.changed = true }) }

// Leads says that this node's replica of a group leads it in term, and everything before is applied. It never blocks.
func (m *Member) Leads(group uint16, term uint64) {
	m.news.tell(func() {
		m.news.led = m.news.led || m.news.leads[group] != term
		m.news.leads[group] = term
	})
}

// Follows says that this node's replica of a group leads it no more. It never blocks.
func (m *Member) Follows(group uint16) {
	m.news.tell(func() {
		if _, led := m.news.leads[group]; led {
			delete(m.news.leads, group)
			m.news.led = true
		}
	})
}
