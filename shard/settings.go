package shard

import (
	"maps"
	"slices"

	"switchboard/broker/routes"
	"switchboard/session"
	"switchboard/wire"
)

// merchant is what the sessions of a tenant go by in this shard.
type merchant struct {
	Session session.Policy
	begins  *session.Policy // Session as the configuration says it, without a document
	version uint64          // of the document that the queues come from
	hooks   *routes.Hooks
}

// settleMS is after how long a shard that has not answered is told again what the queues are.
const settleMS = 1_000

// movesMost is how many sessions are taken to other queues in one step, so that others are served between.
const movesMost = 256

// settings returns the mail that tells the i'th shard what the queues of t are.
func (p *pool) settings(s *Shard, t *Tenant, i int) wire.Envelope {
	m := &wire.Settings{
		Tenant: p.tenant, Version: t.Document.Version, Default: t.Session.DefaultQueue, Shard: uint32(i), //nolint:gosec // a node has few shards
		Reply: wire.ToSlot(s.x.PoolSlot(p.tenant)), Queues: slices.Sorted(maps.Keys(t.Session.Queues)), Rules: t.rules, Levels: t.levels,
	}
	for _, from := range slices.Sorted(maps.Keys(t.Session.Moves)) {
		m.Moves = append(m.Moves, from, t.Session.Moves[from])
	}
	return wire.Envelope{To: wire.ToSlot(s.cfg.Peers[i]), Mail: m}
}

// settle tells the shards again that have not said that they go by what counts.
func (p *pool) settle(s *Shard) {
	if p.settleAt == 0 || p.settleAt > s.now {
		return
	}
	p.settleAt = 0
	for i, v := range p.kept {
		if v < p.t.Document.Version {
			s.said.Mail = append(s.said.Mail, p.settings(s, p.t, i))
			p.settleAt = s.now + settleMS
		}
	}
}

// peersChanged notes which shards have another owner: what he goes by is what his node has read, which may be older than what the one before
// was told. They are told again. It is called when slots have changed.
func (s *Shard) peersChanged() {
	var changed []int
	for i, slot := range s.cfg.Peers {
		if g := s.x.Generation(slot); g != s.peers[i] {
			s.peers[i] = g
			changed = append(changed, i)
		}
	}
	if len(changed) == 0 {
		return
	}
	for _, p := range s.pools {
		for _, i := range changed {
			p.kept[i] = 0 // also of a document that is on its way to this pool itself, and that the owner before has heard of earlier
		}
		if p.t.Document.Version != 0 { // without, all go by the configuration
			p.settleAt = s.now
		}
	}
}

// settingsKept notes what version a shard goes by: the last word counts. The word of the owner before may come when it is known already that there is
// another, who is told again when he says what he goes by himself.
func (s *Shard) settingsKept(m *wire.SettingsKept) {
	p := s.pools[m.Tenant]
	if p == nil || int(m.Shard) >= len(p.kept) {
		return
	}
	if p.kept[m.Shard] = m.Version; m.Version < p.t.Document.Version && p.settleAt == 0 {
		p.settleAt = s.now
	}
}

// goesBy tells the pools of all tenants what their sessions go by here, when the shard begins.
func (s *Shard) goesBy() {
	for _, tenant := range slices.Sorted(maps.Keys(s.merchants)) {
		s.goesByOf(tenant)
	}
}

// goesByOf tells the pool of one.
func (s *Shard) goesByOf(tenant string) {
	own := slices.IndexFunc(s.cfg.Peers, s.owns)
	if own < 0 {
		return // no pool asks it
	}
	m := &wire.SettingsKept{Tenant: tenant, Version: s.merchants[tenant].version, Shard: uint32(own)} //nolint:gosec // there are few shards
	s.said.Mail = append(s.said.Mail, wire.Envelope{To: wire.ToSlot(s.x.PoolSlot(tenant)), Mail: m})
}

// settings makes what a tenant's pool says of its queues what sessions go by here. It is the word of a durable document.
func (s *Shard) settings(m *wire.Settings) {
	if p := s.pools[m.Tenant]; p != nil {
		p.adopt(s, m.Version)
	}
	if old := s.merchants[m.Tenant]; old != nil && m.Version > old.version {
		n := &merchant{Session: old.Session, begins: old.begins, version: m.Version}
		n.Session.Queues, n.Session.Moves, n.Session.DefaultQueue = map[string]bool{}, map[string]string{}, m.Default
		rules, err := rulesOf(m.Rules)
		if err != nil { // of a newer version of the program: sessions go by none until this node is one as well
			s.log.Error("the rules of a tenant's document are not understood", "tenant", m.Tenant, "version", m.Version, "err", err)
		}
		n.Session.Rules = rules
		if n.hooks, err = routes.ParseHooks(m.Rules); err != nil {
			n.hooks = old.hooks // said above
		}
		set, err := routes.ParseSettings(m.Rules)
		if err == nil { // otherwise those of before go on
			goBy(&n.Session, n.begins, &set)
		}
		for _, q := range m.Queues {
			n.Session.Queues[q] = true
		}
		for i := 1; i < len(m.Moves); i += 2 {
			n.Session.Moves[m.Moves[i-1]] = m.Moves[i]
		}
		s.merchants[m.Tenant] = n
		s.relevel(m.Tenant, m.Levels)
		goes := LevelSet{Version: m.Version, Origins: set.Origins}
		if lv := s.levels[m.Tenant]; lv != nil {
			goes.Set = lv.set
		}
		s.countsBy(m.Tenant, goes)
		if len(m.Moves) > 0 { // no queue goes without
			s.displaced()
		}
	}
	kept := &wire.SettingsKept{Tenant: m.Tenant, Version: m.Version, Shard: m.Shard}
	if t := s.merchants[m.Tenant]; t != nil {
		kept.Version = t.version
	}
	s.said.Mail = append(s.said.Mail, wire.Envelope{To: m.Reply, Mail: kept})
}

// adopt makes a document that is durable what the pool goes by. Nobody loses his place. With many in line that is done in pieces, in this and the next steps.
func (p *pool) adopt(s *Shard, version uint64) {
	var next *Tenant
	for len(p.pending) > 0 && p.pending[0].Document.Version <= version {
		next, p.pending = p.pending[0], p.pending[1:]
	}
	if next == nil {
		return
	}
	d := &next.Document
	s.log.Info("configured", "tenant", p.tenant, "version", d.Version, "by", d.By, "role", string(d.Role), "bytes", len(d.Text),
		"queues", len(next.Broker.Queues), "changes", next.changed)
	p.t, p.countedAt, p.listed, p.settleAt = next, 0, nil, s.now+settleMS
	p.core.Reconfigure(next.Broker, s.now, &p.out) // tick goes on with it
	p.tell(s)
}

// displaced notes which sessions wait in a queue that is there no more.
func (s *Shard) displaced() {
	s.moving = s.moving[:0]
	for id, h := range s.sessions {
		if h.state == nil || h.state.Phase != session.Queued {
			continue
		}
		if t := s.merchants[h.state.Tenant]; t != nil && !t.Session.Queues[h.state.Queue] {
			s.moving = append(s.moving, id)
		}
	}
	slices.Sort(s.moving)
}

// move takes some of them to the queue that took its place. Their pool has done so already.
func (s *Shard) move() {
	if !s.writable {
		return // when the log takes something again, or when they are queued anew
	}
	n := min(len(s.moving), movesMost)
	for _, id := range s.moving[:n] {
		h := s.sessions[id]
		if h == nil || h.state == nil || !s.surround(h) {
			continue
		}
		s.before(h)
		h.state.Moved(&s.env, &s.d)
		s.note(h)
	}
	if s.moving = s.moving[n:]; len(s.moving) > 0 {
		s.inbox.Nudge()
	}
}
