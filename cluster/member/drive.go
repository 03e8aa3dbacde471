package member

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
	"switchboard/shard/journal/replica"
)

// sight is the last view of a group, as the leader of the meta group has it.
type sight struct {
	view
	from  uint32
	at    time.Time
	fresh bool    // nothing was done by it yet
	after uint64  // views of questions up to this one are older than what was asked for last
	rate  float64 // entries a second
}

// reign begins or ends this node's time as the leader of the meta group.
func (m *Member) reign(now time.Time) {
	term := m.mine[cluster.Meta]
	if term < m.metaTop {
		term = 0 // somebody else leads in a later one
	}
	if term == m.term {
		return
	}
	m.abandon()
	m.term = term
	m.views, m.base, m.wounds = map[uint16]*sight{}, m.round, map[uint64]wound{}
	if term == 0 {
		m.reload(now)
		return
	}
	for n := range m.down {
		m.down[n] = now // for how long it is away is counted by who leads
	}
	m.cfg.Log.Info("member: this node leads the cluster", "term", term)
	if err := m.load(); err != nil {
		m.cfg.Log.Error("member", "error", err)
		m.term = 0
		return
	}
	m.loaded = nil // from now on the state is changed here
	if m.state.Version == 0 && m.id.Founder {
		m.found()
	}
}

// found makes the first rows of a cluster.
func (m *Member) found() {
	id, err := m.state.Join(m.cfg.self(m.id.Birth))
	if err == nil && (id != m.id.Node || m.state.Nodes[id].Meta != m.id.Meta) {
		err = fmt.Errorf("the first node is %d", id)
	}
	switch {
	case err != nil:
	case len(m.cfg.Found) > 0:
		err = m.state.Adopt(m.cfg.Found, id)
	case m.cfg.Roles.Shard:
		if err = m.state.Place(cluster.Placement{Name: cluster.Main, Copies: 1}, m.cfg.Shards); err == nil {
			err = m.state.Copies(cluster.Main, m.cfg.Copies)
		}
	}
	if err != nil {
		m.cfg.Log.Error("member: founding the cluster", "error", err)
		m.state = cluster.New()
	}
}

// commit writes what this turn has changed. Nothing of it is heard of before it is applied.
func (m *Member) commit() {
	var rows []Row
	m.state.Rows(func(key string, value []byte) { rows = append(rows, Row{key, value}) })
	if len(rows) == 0 {
		m.release()
		return
	}
	m.turns++
	turn := m.turns
	m.writing = turn
	m.rows.Append(m.term, rows, func(err error) {
		m.news.tell(func() { m.news.wrote = append(m.news.wrote, wrote{turn, err}) })
	})
}

// release lets go what waited for the rows.
func (m *Member) release() {
	list := m.held
	m.held = nil
	for _, h := range list {
		h.do()
	}
}

// wrote goes on when the rows of a turn are applied, or begins again from what is.
func (m *Member) wrote(w wrote, now time.Time) {
	if w.turn != m.writing {
		return // of an earlier time as the leader
	}
	m.writing = 0
	if w.err == nil {
		m.release()
		m.follow(now)
		return
	}
	m.cfg.Log.Warn("member: the rows were not written", "error", w.err)
	m.abandon()
	m.rest = now.Add(m.cfg.Tick) // that another leads may be known a moment later
	m.reload(now)
	if m.term != 0 && m.state.Version == 0 && m.id.Founder {
		m.found()
	}
}

// abandon forgets what waits for rows that will not be applied, or not as this leader's. Requests are made again.
func (m *Member) abandon() {
	m.writing = 0
	for _, h := range m.held {
		if h.req != nil && h.req.from == 0 {
			m.waiting = append(m.waiting, h.req)
		}
	}
	m.held = nil
}

// drive goes on with everything that is under way.
func (m *Member) drive(beat bool, now time.Time) {
	if m.state.Version == 0 {
		return
	}
	m.learnFrom()
	m.splits()
	if !beat {
		return
	}
	m.sweep(now)
	m.reform()
	if now.Sub(m.planned) >= beatAfter {
		m.planned = now
		m.attend(now)
		m.renew(now)
		m.plan()
		m.question(slices.Sorted(maps.Keys(m.state.Shards)))
	} else {
		m.question(slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(m.splitting(), maps.Keys(m.jobs()))))))
	}
	if m.cfg.Balance > 0 && now.Sub(m.balanced) >= m.cfg.Balance {
		m.balanced = now
		m.lead()
	}
}

// jobs returns the moves that have not ended, by their shards.
func (m *Member) jobs() map[uint16]*cluster.Job {
	list := map[uint16]*cluster.Job{}
	for _, j := range m.state.Jobs {
		if j.Step != cluster.Ended {
			list[j.Shard] = j
		}
	}
	return list
}

// learnFrom does what follows from views that are new.
func (m *Member) learnFrom() {
	jobs := m.jobs()
	for _, group := range slices.Sorted(maps.Keys(m.views)) {
		s := m.views[group]
		if !s.fresh {
			continue
		}
		s.fresh = false
		act := cluster.Act{}
		if j := jobs[group]; j != nil {
			act = m.state.Next(j.ID, &s.Seen)
		} else if m.state.Hear(group, &s.Seen) {
			act = m.state.Stray(group, &s.Seen)
		}
		if act.Kind == cluster.Wait {
			continue
		}
		to := s.from
		if act.Kind == cluster.Erase {
			if to = replica.NodeOf(act.Remove); !m.here(to) {
				continue // swept
			}
		}
		m.send(to, &order{group, s.Seen.Term, act})
	}
}

// here tells whether a node is a member that can be reached.
func (m *Member) here(node uint32) bool {
	n := m.state.Nodes[node]
	return n != nil && n.Phase != cluster.Gone && m.alive(node)
}

// send asks for an act once the rows of this turn are applied. Views that are older than that are not acted on.
func (m *Member) send(to uint32, o *order) {
	term := m.term
	m.held = append(m.held, held{do: func() {
		if s := m.views[o.Group]; s != nil {
			s.after, s.fresh = m.round, false
		}
		m.say(to, &message{Kind: sayAct, Term: term, Act: o})
	}})
}

// sweep ends moves whose old replica is on a node that is gone or away: it erases the replica itself when it is back and
// reads the rows. Moves to a node that is gone are taken back, and those to one that is away, unless a person asked for them.
func (m *Member) sweep(now time.Time) {
	for _, j := range m.jobs() {
		if id := j.Cleaning(); id != 0 && !m.here(replica.NodeOf(id)) {
			m.state.Erased(j.ID)
			continue
		}
		n, since := m.state.Nodes[j.To], m.down[j.To]
		gone := n == nil || n.Phase == cluster.Gone
		if gone || !m.alive(j.To) && !since.IsZero() && now.Sub(since) >= giveUpAfter && planned(j) {
			_ = m.state.Abort(j.ID) // refused when it is nearly done: then it ends without that node
		}
	}
}

// giveUpAfter is how long a move waits for a node that is away, when a plan has begun it: the next plan chooses another. So long what such a node has is not known
// to one that has not heard of it.
const giveUpAfter = time.Minute

// planned tells whether a plan has asked for a move.
func planned(j *cluster.Job) bool {
	switch j.By {
	case cluster.ByEffort, string(cluster.Repair), string(cluster.Grow), string(cluster.Drain):
		return true
	}
	return false
}

// erased hears that a replica is off its node's disk.
func (m *Member) erased(msg *message) {
	if m.term == 0 || m.writing != 0 || msg.Act == nil {
		return // it is asked for again
	}
	if j := m.jobs()[msg.Act.Group]; j != nil && j.Cleaning() == msg.Act.Act.Remove {
		m.state.Erased(j.ID)
	}
}

// question asks the leaders of groups what they see.
func (m *Member) question(groups []uint16) {
	ask := map[uint32][]uint16{}
	for _, group := range groups {
		if l := m.leaders[group]; l.node != 0 && m.alive(l.node) {
			ask[l.node] = append(ask[l.node], group)
		}
	}
	m.round++
	for _, node := range slices.Sorted(maps.Keys(ask)) {
		m.say(node, &message{Kind: saySee, N: m.round, Groups: ask[node]})
	}
}

// seen takes the views of a leader. What was seen before the last act is old.
func (m *Member) seen(from uint32, msg *message) {
	if m.term == 0 {
		return
	}
	now := time.Now()
	for _, v := range msg.Views {
		if m.state.Shards[v.Group] == nil || replica.NodeOf(v.Seen.Leader) != from {
			continue
		}
		s := m.views[v.Group]
		if s == nil {
			s = &sight{}
			m.views[v.Group] = s
		}
		if msg.N <= max(s.after, m.base) || msg.N > m.round || v.Seen.Term < s.Seen.Term {
			continue
		}
		if past := now.Sub(s.at).Seconds(); !s.at.IsZero() && past > 0 && v.Applied >= s.Applied {
			s.rate += (float64(v.Applied-s.Applied)/past - s.rate) * min(1, past/60)
		}
		s.view, s.from, s.at, s.fresh = v, from, now, true
	}
}

// reform keeps the members of the meta group what they should be.
func (m *Member) reform() {
	v := m.see(cluster.Meta)
	if len(v) == 0 || v[0].Seen.Term != m.term {
		return
	}
	r := m.state.Council(&v[0].Seen)
	if r.Empty() {
		return
	}
	m.held = append(m.held, held{do: func() {
		err := error(nil)
		if r.Lead != 0 {
			err = m.groups.Transfer(cluster.Meta, r.Lead)
		} else {
			err = m.change(cluster.Meta, r.Learn, r.Vote, r.Leave)
		}
		if err != nil {
			m.cfg.Log.Info("member: the council", "error", err)
		}
	}})
}

// attend notices nodes that are away for too long, and that are back.
func (m *Member) attend(now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(m.state.Nodes)) {
		if m.alive(id) {
			m.state.Away(id, false)
		} else if since := m.down[id]; m.cfg.ReplaceAfter > 0 && !since.IsZero() && now.Sub(since) >= m.cfg.ReplaceAfter {
			m.state.Away(id, true)
		}
	}
}

// loads are what the shards cost, by their last views.
func (m *Member) loads() map[uint16]cluster.Load {
	list := map[uint16]cluster.Load{}
	for group, s := range m.views {
		list[group] = cluster.Load{Bytes: s.Bytes, Rate: s.rate, Leader: m.leaders[group].node}
	}
	return list
}

// away are the nodes that cannot be reached: they get nothing.
func (m *Member) away() (list []uint32) {
	for _, id := range slices.Sorted(maps.Keys(m.state.Nodes)) {
		if !m.alive(id) {
			list = append(list, id)
		}
	}
	return list
}

// unfit are the nodes that can get nothing: those that are away, and those whose disks are full.
func (m *Member) unfit() []uint32 {
	list := m.away()
	for node := range m.full {
		if !slices.Contains(list, node) {
			list = append(list, node)
		}
	}
	if m.groups.Full() {
		list = append(list, m.id.Node)
	}
	return list
}

// plan begins the moves that are ordered, and those of an effort that runs.
func (m *Member) plan() {
	var list []cluster.Proposal
	if e := m.state.Effort; e.Run && !e.Paused && len(m.jobs()) < max(1, len(m.up)) { // else nothing could be begun
		list = m.state.Plan(m.loads(), m.unfit()...)
		m.state.Even(list)
	} else {
		list = m.state.Urgent(m.loads(), m.unfit()...)
	}
	busy := m.part()
	for i := range list {
		p := &list[i]
		by := string(p.Cause)
		switch {
		case p.Lead, p.Cause == cluster.Drain && busy[p.From]:
			continue
		case p.From == 0 || p.Cause == cluster.Repair || p.Cause == cluster.Grow:
			by = string(cluster.Repair)
		case p.Cause == cluster.Zones || p.Cause == cluster.Even:
			by = cluster.ByEffort
		}
		_, _ = m.state.Move(p.Shard, p.From, p.To, by, p.Why) // too much moves there already: later
	}
}

// partMost is how many times in a row a node that drains is asked to let others lead until its replicas go all the same.
const partMost = 10

// part lets nodes that drain lead nothing that another could, at once, as an operator has said so. It returns those that have been asked
// just now, or will be: their replicas stay until they lead nothing.
func (m *Member) part() map[uint32]bool {
	busy, loads := map[uint32]bool{}, m.loads()
	for group, l := range m.leaders { // also of what was not seen yet: the first to leave a node is often the leadership of the cluster
		load := loads[group]
		load.Leader = l.node
		loads[group] = load
	}
	for _, p := range m.state.Leaders(loads, m.unfit()...) {
		if p.Cause == cluster.Drain && (m.pass(&p) || m.views[p.Shard] == nil) {
			busy[p.From] = true
		}
	}
	maps.DeleteFunc(m.parting, func(n uint32, _ int) bool { return !busy[n] })
	for n := range busy {
		m.parting[n]++
	}
	maps.DeleteFunc(busy, func(n uint32, _ bool) bool { return m.parting[n] > partMost })
	return busy
}

// lead evens out who leads.
func (m *Member) lead() {
	for _, p := range m.state.Leaders(m.loads(), m.unfit()...) {
		m.pass(&p)
	}
}

// pass asks a leader to let another replica lead, unless that is not ready to, and tells whether it has asked.
func (m *Member) pass(p *cluster.Proposal) bool {
	s, r := m.views[p.Shard], m.state.Shards[p.Shard].On(p.To)
	if s == nil || r == nil || s.from != p.From {
		return false
	}
	lag, answers := s.Seen.Lag[r.ID]
	if !answers || lag > handOver {
		return false
	}
	m.send(s.from, &order{p.Shard, s.Seen.Term, cluster.Act{Kind: cluster.Lead, To: r.ID}})
	return true
}

// handOver is how many entries a replica may be behind to be asked to lead.
const handOver = 64
