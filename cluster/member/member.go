package member

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/cluster"
	"switchboard/shard/journal/replica"
)

// The errors that callers tell apart, besides cluster.ErrRefused.
var (
	// ErrUnavailable says that nobody led the meta group for as long as the request could wait, or that the leader was not heard: it is
	// not known whether the request was done. To make it again does no harm.
	ErrUnavailable = errors.New("member: the leader of the cluster is not reached")
	// ErrClosed says that the member is closed.
	ErrClosed = errors.New("member: closed")

	errStarting = errors.New("member: this node is starting: ask again")
)

const (
	beatAfter = time.Second            // how often everything is said again
	readAfter = 100 * time.Millisecond // how often rows are read again, at most
	inboxSize = 1 << 12                // messages that wait; more are dropped, and said again
)

// Member is this node's part in its cluster. Its methods may be called from any goroutine.
type Member struct {
	*Operations // what operators ask of it

	// Fixed after Open.
	id     *Identity // its fields below the name are run's
	cfg    Config
	lines  *Lines
	groups Groups
	rows   Rows
	news   *news
	in     chan said
	asked  chan *request
	stop   chan struct{}
	done   chan struct{}

	// Shared.
	places  atomic.Pointer[Map]
	around  atomic.Pointer[Around]
	closing sync.Once
	dropped atomic.Uint64

	// Owned by run: what every node knows.
	state   *cluster.State // as applied; on the leader also what is being written
	leaders map[uint16]leader
	owners  map[uint16]uint64    // the terms of the owners of what others lead
	mine    map[uint16]uint64    // groups that this node leads → term
	up      map[uint32]time.Time // nodes whose link is up, since when
	down    map[uint32]time.Time // nodes whose link is not up, since when
	plugged map[uint16]plugged
	metaTop uint64              // the highest term of the meta group that was heard of
	removed bool                // this node is gone from the rows
	retired map[uint16]damage   // replicas that the rows still give this node, and that it has taken off its disk
	damaged map[uint16]Damage   // as the disk said last
	ill     map[uint32][]damage // what the nodes have said of theirs
	full    map[uint32]bool     // nodes that have said that their disks are full
	clients map[uint32]Clients  // of the nodes, as they have said
	waiting []*request
	open    map[uint64]*request // forwarded, or held until the rows are written
	numbers uint64              // of questions and requests
	beaten  time.Time
	// saidFull is what was said last of this node's disk.
	saidFull bool
	loaded   map[string][]byte // rows that the state was made of; nil when it is not what they say, as on the leader
	reread   bool              // rows have changed since
	read     time.Time
	// How the groups are that this node leads, for Health: as answered last, and whether an answer is still to come.
	inspection map[uint16]replica.Status
	inspecting bool
	trails     map[uint16]*trail

	// Owned by run: what the leader of the meta group knows.
	term     uint64 // in which it leads, 0 while it does not
	writing  uint64 // the turn whose rows are being written, 0 for none
	turns    uint64
	held     []held
	views    map[uint16]*sight
	wounds   map[uint64]wound // replicas that are to be replaced
	round    uint64           // of questions for views
	base     uint64           // of the last question of an earlier time as the leader
	planned  time.Time
	rest     time.Time // until when it writes nothing
	balanced time.Time
	parting  map[uint32]int // nodes that drain → how many times in a row they were asked to let others lead
}

// leader is who leads a group, as far as is known.
type leader struct {
	node uint32 // 0 for nobody
	term uint64
}

// held is what happens when the rows of a turn are applied.
type held struct {
	do  func()
	req *request // to be made again when they are not
}

// Open makes the node take part. It fails when the disk lacks a replica that was held: votes may have been forgotten. One that is there and
// damaged takes no part, and is replaced.
func Open(lines *Lines, groups Groups, rows Rows, cfg Config) (*Member, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Member{
		id: lines.id, cfg: cfg, lines: lines, groups: groups, rows: rows, news: newNews(),
		in: make(chan said, inboxSize), asked: make(chan *request, 256), stop: make(chan struct{}), done: make(chan struct{}),
		state: cluster.New(), leaders: map[uint16]leader{}, owners: map[uint16]uint64{}, mine: map[uint16]uint64{}, up: map[uint32]time.Time{}, down: map[uint32]time.Time{},
		plugged: map[uint16]plugged{}, open: map[uint64]*request{}, views: map[uint16]*sight{}, retired: map[uint16]damage{}, ill: map[uint32][]damage{}, full: map[uint32]bool{}, clients: map[uint32]Clients{}, parting: map[uint32]int{},
		trails: map[uint16]*trail{},
	}
	m.Operations = &Operations{m.ask}
	if err := m.hold(); err != nil {
		return nil, err
	}
	if err := m.begin(); err != nil {
		return nil, err
	}
	if self := m.state.Nodes[m.id.Node]; self != nil && self.Phase == cluster.Gone {
		return nil, fmt.Errorf("%w: node %s (number %d) was removed from the cluster: to take part again it needs an empty data directory", cluster.ErrRefused, m.id.Name, m.id.Node)
	}
	m.show()
	lines.member.Store(m)
	for _, s := range lines.links.Status() {
		if s.Up {
			m.news.link(s.Node, true)
		}
	}
	go m.run()
	return m, nil
}

// begin reads the rows for the first time. What reading finds damaged is as what was known to be: the others have it, if there are any.
func (m *Member) begin() error {
	err := m.load()
	if err == nil {
		return nil
	}
	if m.hurt(); !m.blind() || m.id.Lonely(&m.cfg) {
		return err
	}
	m.cfg.Log.Error("member: the rows of the cluster are damaged here", "error", err)
	m.state, m.loaded = cluster.New(), nil
	return nil
}

// hold sees to it that the disk has what it had, and this node's replica of the meta group.
func (m *Member) hold() error {
	m.damaged = m.groups.Damaged()
	all, err := m.groups.Status(slices.Collect(maps.Keys(m.id.Held))...)
	if err != nil {
		return fmt.Errorf("looking at what is on the disk: %w", err)
	}
	for group, h := range maps.Clone(m.id.Held) {
		st, held := all[group]
		hurt, damaged := m.damaged[group]
		switch {
		case h.Erasing:
			if err := m.erase(group, h.ID); err != nil {
				return err
			}
		case damaged && hurt.ID == h.ID:
			m.cfg.Log.Error("member: a replica is damaged and takes no part; it is replaced when its group has a whole majority without it",
				"group", group, "replica", h.ID, "why", hurt.Why)
		case !held || st.ID != h.ID:
			return fmt.Errorf("%w: the data directory has lost replica %x of group %d, under which this node has voted: remove node %s from the cluster, "+
				"saying that its disk is lost, and start it with an empty directory and --join", cluster.ErrRefused, h.ID, group, m.id.Name)
		}
	}
	if _, held := m.id.Held[cluster.Meta]; held {
		return nil
	}
	delete(m.damaged, cluster.Meta)
	share := cluster.Share{Group: cluster.Meta, ID: m.id.Meta}
	if m.id.Founder {
		share.First = []uint64{m.id.Meta}
	}
	return m.takeUp(share)
}

// Identity returns the cluster's id and the node's number.
func (m *Member) Identity() (clusterID string, node uint32) { return m.id.Cluster, m.id.Node }

// Close ends the member: who waits for an answer gets ErrClosed, and what other nodes lead is not plugged in any more. Links and
// groups stay as they are.
func (m *Member) Close() {
	m.closing.Do(func() { close(m.stop) })
	<-m.done
}

// run owns what the member knows.
func (m *Member) run() {
	defer close(m.done)
	tick := time.NewTicker(m.cfg.Tick)
	defer tick.Stop()
	for {
		beat := false
		select {
		case <-m.stop:
			m.end()
			return
		case <-m.news.wake:
		case s := <-m.in:
			m.take(s)
		case r := <-m.asked:
			m.enqueue(r)
		case <-tick.C:
			beat = true
		}
		m.drain()
		m.turn(beat)
	}
}

// drain takes all that waits, as one turn.
func (m *Member) drain() {
	for range inboxSize {
		select {
		case s := <-m.in:
			m.take(s)
		case r := <-m.asked:
			m.enqueue(r)
		default:
			return
		}
	}
}

// turn does what follows from what was heard.
func (m *Member) turn(beat bool) {
	now := time.Now()
	m.heed(m.news.take(), now)
	if m.term != 0 && m.writing == 0 && !now.Before(m.rest) {
		m.serve(now)
		m.drive(beat, now)
		m.commit()
	}
	m.forward(now)
	if full := beat && m.groups.Full(); beat && (full != m.saidFull || now.Sub(m.beaten) >= beatAfter) { // who is full waits until he has heard who else is
		m.beaten, m.saidFull = now, full
		if n := m.dropped.Swap(0); n > 0 {
			m.cfg.Log.Warn("member: messages found no room", "dropped", n)
		}
		if err := m.finish(); err != nil {
			m.cfg.Log.Error("member: replacing a replica of the cluster's rows", "error", err)
		}
		m.announce()
		m.follow(now)
		m.lookAround(now)
	}
	m.plug()
	m.show()
}

// heed takes the news.
func (m *Member) heed(n heard, now time.Time) {
	for name, up := range n.links {
		m.linked(m.lines.number(name), up, now)
	}
	for name := range n.cut {
		m.cut(name)
	}
	for _, w := range n.wrote {
		m.wrote(w, now)
	}
	if n.inspected != nil {
		m.inspected(n.inspected, now)
	}
	if n.led {
		m.mine = n.leads
		for group, term := range m.mine {
			m.believe(group, m.id.Node, term)
		}
		m.disbelieve(m.id.Node, m.mine)
		m.reign(now)
		m.announce()
	}
	m.reread = m.reread || n.changed
	if m.reread && m.term == 0 && now.Sub(m.read) >= readAfter { // or with the next beat
		m.reload(now)
	}
}

// linked notes that a link came up or went down.
func (m *Member) linked(node uint32, up bool, now time.Time) {
	if node == 0 {
		return
	}
	_, was := m.up[node]
	switch {
	case up:
		if !was {
			m.up[node] = now
			delete(m.down, node)
		}
		m.tellOf(node) // it may be another process by now
	case !up && was:
		delete(m.up, node)
		m.down[node] = now
	}
}

// alive tells whether a node can be reached.
func (m *Member) alive(node uint32) bool {
	_, up := m.up[node]
	return up || node == m.id.Node
}

// load reads the rows into a new state.
func (m *Member) load() error {
	if m.blind() {
		return nil
	}
	before := m.state
	m.state, m.loaded = cluster.New(), map[string][]byte{}
	err := m.catchUp()
	if err == nil && m.state.Version == 0 && before.Version > 0 {
		m.state, m.loaded = before, nil // the replica is new, and waits for its snapshot
	}
	return err
}

// blind tells whether the rows are not to be read, as they are damaged: what was known of them counts until others are here.
func (m *Member) blind() bool {
	_, damaged := m.damaged[cluster.Meta]
	return damaged
}

// catchUp reads the rows that are other than they were when they were last read. On the leader, who changes the state, they are not:
// there, and after a failure, it is load that helps.
func (m *Member) catchUp() error {
	seen := make(map[string]bool, len(m.loaded))
	err := m.rows.Read(func(key string, value []byte) error {
		seen[key] = true
		if old, known := m.loaded[key]; known && bytes.Equal(old, value) {
			return nil
		}
		m.loaded[key] = bytes.Clone(value)
		return m.state.Load(key, value)
	})
	for key := range m.loaded {
		if err == nil && !seen[key] {
			delete(m.loaded, key)
			err = m.state.Load(key, nil)
		}
	}
	m.reread, m.read = false, time.Now()
	if err != nil {
		m.loaded = nil
		return fmt.Errorf("reading the rows of the cluster: %w", err)
	}
	return nil
}

// reload reads the rows again and does what follows.
func (m *Member) reload(now time.Time) {
	if m.blind() {
		m.reread, m.read = false, now
		return
	}
	read := m.load
	if m.loaded != nil {
		read = m.catchUp
	}
	err := read()
	if m.term != 0 {
		m.loaded = nil
	}
	if err != nil {
		m.cfg.Log.Error("member", "error", err)
		return
	}
	m.follow(now)
}

// take takes a message.
func (m *Member) take(s said) {
	switch s.msg.Kind {
	case sayLeads:
		m.claimed(s.from, &s.msg)
	case saySee:
		m.look(s.from, &s.msg)
	case saySeen:
		m.seen(s.from, &s.msg)
	case sayAct:
		m.obey(s.from, &s.msg)
	case sayErased:
		m.erased(&s.msg)
	case sayRenew:
		m.renewed(&s.msg)
	case sayAsk:
		m.asks(s.from, &s.msg)
	case sayAnswer:
		m.answered(&s.msg)
	}
}

// end answers everybody who waits, and unplugs what others lead.
func (m *Member) end() {
	m.lines.member.Store(nil)
	for _, r := range m.waiting {
		r.answer(answer{}, ErrClosed)
	}
	for _, r := range m.open {
		r.answer(answer{}, ErrClosed)
	}
	for group := range m.plugged {
		m.unplug(group)
	}
}
