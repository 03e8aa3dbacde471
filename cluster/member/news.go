package member

import (
	"maps"
	"sync"

	"switchboard/shard/journal/replica"
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
	cut     map[string]bool   // by name: mail was lost since
	wrote   []wrote           // at most one for each Append

	inspected map[uint16]replica.Status
}

type wrote struct {
	turn uint64
	err  error
}

func newNews() *news {
	return &news{wake: make(chan struct{}, 1), leads: map[uint16]uint64{}, links: map[string]bool{}, cut: map[string]bool{}}
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

func (n *news) lost(name string) { n.tell(func() { n.cut[name] = true }) }

// heard is what was new.
type heard struct {
	changed, led bool
	leads        map[uint16]uint64
	links, cut   map[string]bool
	wrote        []wrote
	inspected    map[uint16]replica.Status
}

func (n *news) take() (h heard) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h = heard{changed: n.changed, led: n.led, wrote: n.wrote, inspected: n.inspected}
	if n.led {
		h.leads = maps.Clone(n.leads)
	}
	if len(n.links) > 0 {
		h.links, n.links = n.links, map[string]bool{}
	}
	if len(n.cut) > 0 {
		h.cut, n.cut = n.cut, map[string]bool{}
	}
	n.changed, n.led, n.wrote, n.inspected = false, false, nil, nil
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
