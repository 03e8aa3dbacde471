package shard

import (
	"maps"
	"math"
	"strings"

	"switchboard/broker/level"
	"switchboard/session"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

const (
	levelEvery = 5_000  // ms after which a shard says what it has counted since,
	levelAgain = 15_000 // and after which it says it again: windows slide also when nothing happens
	levelGone  = 60_000 // ms after which a pool forgets what a shard said last: another leads it, who has counted nothing yet
	levelsMost = 48     // rows of one snapshot: a frame is 64 KiB
)

// levels is what a shard counts for one tenant. An entry is counted once its turn is durable; what was counted is the memory of
// the owner, and begins anew with it. What a session has open is rebuilt from the end of its log when it is read, and so is
// never counted twice: what the log brings is taken as counted. See docs/levels.md.
type levels struct {
	tenant string
	set    *level.Set
	text   []byte // what it was made of
	rates  *level.Rates
	out    level.Out
	said   int64 // when it was published last; 0 when nothing was counted yet
	fresh  bool  // something was counted since
}

// counted is an entry that is to be counted when the turn index is durable.
type counted struct {
	index uint64
	conv  *level.Conversation
	lv    *levels
	e     *wire.Entry
}

func (s *Shard) openLevels() {
	s.levels = map[string]*levels{}
	for name, t := range s.cfg.Tenants {
		if t.Levels.Len() > 0 {
			s.levels[name] = &levels{tenant: name, set: t.Levels, text: t.levels, rates: level.NewRates(t.Levels)}
		}
	}
	s.levelAt = s.now + levelAgain
	all := make(map[string]LevelSet, len(s.cfg.Tenants))
	for name, t := range s.cfg.Tenants {
		all[name] = LevelSet{t.Document.Version, t.Levels, t.origins}
	}
	s.sets.Store(&all)
}

// LevelSet is what a tenant's sessions of a shard are counted by, and what others need of his document beside.
type LevelSet struct {
	Version uint64     // of the tenant's document
	Set     *level.Set // nil is by none
	Origins []string   // that the document allows; nil: it says nothing of them
}

// LevelSets returns by tenant what sessions are counted by now. It may be called from any goroutine; what it returns never changes.
func (s *Shard) LevelSets() map[string]LevelSet {
	if m := s.sets.Load(); m != nil {
		return *m
	}
	return nil
}

// countsBy notes by what a tenant's sessions are counted from now on, for others to read.
func (s *Shard) countsBy(tenant string, by LevelSet) {
	all := maps.Clone(s.LevelSets())
	if all == nil {
		all = map[string]LevelSet{}
	}
	all[tenant] = by
	s.sets.Store(&all)
}

// count lets e, which was just decided, be counted when it is durable.
func (s *Shard) count(h *hosted, e *wire.Entry) {
	lv := s.levels[h.state.Tenant]
	if lv == nil {
		return
	}
	if h.outdated { // what it has said is in its log by now, and taken as counted
		s.catchUp(h)
		return
	}
	if h.level == nil {
		h.level, h.levelBy = level.New(lv.set), lv.set // it was born in this turn
	}
	s.counting = append(s.counting, counted{conv: h.level, lv: lv, e: e})
}

// countFrom says that what was decided is turn index.
func (s *Shard) countFrom(index uint64) {
	for i := s.appended; i < len(s.counting); i++ {
		s.counting[i].index = index
	}
	s.appended = len(s.counting)
}

// uncount forgets what was decided and is in no turn.
func (s *Shard) uncount() {
	clear(s.counting[s.appended:])
	s.counting = s.counting[:s.appended]
}

// countUpTo counts what is durable by now.
func (s *Shard) countUpTo(durable uint64) {
	n := 0
	for n < s.appended && s.counting[n].index <= durable {
		c := &s.counting[n]
		c.conv.Feed(c.lv.set, c.e, &c.lv.out)
		s.add(c.lv)
		s.overtaken(c)
		if h := s.sessions[c.e.Session]; h != nil && h.level == c.conv && h.state != nil {
			h.state.Boost(&s.env, h.level.BoostMS(), h.level.Steps(), false, &s.d)
			if at, ok := h.level.Next(); ok && (h.alarm == 0 || at < h.alarm) {
				s.schedule(h)
			}
		}
		n++
	}
	if n > 0 {
		m := copy(s.counting, s.counting[n:])
		clear(s.counting[m:])
		s.counting = s.counting[:m]
		s.appended -= n
	}
}

// overtaken keeps what c, an entry that was still on its way, has found over: that a case was missed is told all the same.
func (s *Shard) overtaken(c *counted) {
	for _, a := range c.lv.out.Actions {
		if a.Part == 1 && a.Do&level.DoNotify != 0 {
			a.Do = level.DoNotify
			s.late = append(s.late, late{c.e.Session, c.lv.set, a})
			s.inbox.Nudge()
		}
	}
	c.lv.out.Reset()
}

// late is what is to be told of a session in the next turn.
type late struct {
	id  wire.SessionID
	set *level.Set // whose action it is: there may be another by now
	a   level.Action
}

// tellLate tells it.
func (s *Shard) tellLate() {
	for i := range s.late {
		l := &s.late[i]
		if h := s.sessions[l.id]; h != nil && h.state != nil && s.writable && s.surround(h) {
			s.act(h, l.set, &l.a)
			s.note(h)
		}
	}
	s.late = s.late[:0]
}

// add takes the samples that have come.
func (s *Shard) add(lv *levels) {
	if len(lv.out.Samples) == 0 {
		return
	}
	for i := range lv.out.Samples {
		lv.rates.Add(&lv.out.Samples[i])
	}
	lv.fresh = true
	s.levelAt = min(s.levelAt, s.now+levelEvery)
}

// due does what h's service levels want done by now, which is before whatever is decided now. What waits to be counted may be an
// answer: nothing is due behind it.
func (s *Shard) due(h *hosted) {
	s.catchUp(h)
	lv := s.levels[h.state.Tenant]
	if lv == nil || h.level == nil || !s.writable {
		return
	}
	h.level.Tick(lv.set, min(s.now, s.countedUntil(h.level)), &lv.out)
	s.add(lv)
	for i := range lv.out.Actions {
		s.act(h, lv.set, &lv.out.Actions[i])
	}
	lv.out.Reset()
	h.state.Boost(&s.env, h.level.BoostMS(), h.level.Steps(), true, &s.d)
}

// countedUntil returns the last moment up to which everything of a session is counted.
func (s *Shard) countedUntil(conv *level.Conversation) int64 {
	for i := range s.counting {
		if s.counting[i].conv == conv {
			return s.counting[i].e.TS - 1
		}
	}
	return math.MaxInt64
}

func (s *Shard) act(h *hosted, set *level.Set, a *level.Action) {
	if h.state.Phase == session.Closed {
		return
	}
	d := set.Definition(a.Def)
	if a.Do&level.DoNotify != 0 {
		h.state.Warn(&s.env, &session.Alert{
			Level: d.Name, Case: a.Case, Since: a.Since, LimitMS: d.LimitMS, Percent: percent(a.Part), Worker: a.Worker,
		}, &s.d)
	}
	if a.Do&level.DoHoldingReply != 0 {
		h.state.Hold(&s.env, d.Holding, d.HoldingBy, &s.d)
	}
}

// percent returns a part of a limit in whole percent. Only what is missed is 100.
func percent(part float64) uint64 {
	if part == 1 {
		return 100
	}
	return uint64(min(math.Round(part*100), 99))
}

// levelAlarm returns when h is to be woken: at at, or before when its service levels want it.
func (s *Shard) levelAlarm(h *hosted, at int64) int64 {
	if !pending(h) {
		return at
	}
	due, _ := h.level.Next()
	if due <= s.now { // something waits to be counted before, or cannot be written now
		due = s.now + retryMS
		if !s.writable {
			due = s.now + againFirst
		}
	}
	if at == 0 || due < at {
		return due
	}
	return at
}

// pending tells whether something of h's service levels is to come by itself: h then stays in memory.
func pending(h *hosted) bool {
	if h.level == nil {
		return false
	}
	_, ok := h.level.Next()
	return ok
}

// overdue tells whether something of h's service levels is due.
func (s *Shard) overdue(h *hosted) bool {
	if h.level == nil {
		return false
	}
	at, _ := h.level.Next()
	return at <= s.now
}

// keepLevel writes what h's service levels have open, or have counted, before h is let go.
func (s *Shard) keepLevel(h *hosted) {
	s.catchUp(h)
	lv := s.levels[h.state.Tenant]
	if lv == nil || h.level == nil || !s.writable || h.state.ErasedAt != 0 || !h.level.Worth(lv.set) {
		return
	}
	s.key = sessionKey(s.key, rowLevel, h.id)
	s.row = h.level.AppendRow(lv.set, s.row[:0])
	s.turn.Put(s.key, s.row)
}

// restore gives h, which was just read, the service levels that it had.
func (s *Shard) restore(h *hosted, row []byte) {
	st := h.state
	h.outdated = false
	lv := s.levels[st.Tenant]
	if lv == nil {
		return
	}
	if h.level == nil {
		conv, err := level.Restore(lv.set, row, st.Tail(), known(st), &lv.out)
		if err != nil {
			s.log.Error("a session's service levels begin anew", "session", h.id, "err", err)
		}
		h.level, h.levelBy = conv, lv.set
	}
	st.Boost(&s.env, h.level.BoostMS(), h.level.Steps(), false, &s.d)
}

// known returns what st says of its session to service levels.
func known(st *session.State) *level.Known {
	return &level.Known{Shop: st.Shop, Queue: st.Queue, Customer: st.Customer.ID, Owner: st.Owner.Sub, Kind: st.Owner.Kind}
}

// publish says what was counted: to the tenants' pools, which add it up, and to whoever asks the node.
func (s *Shard) publish() {
	s.levelAt = s.now + levelAgain
	all := map[string]level.Report{}
	for name, lv := range s.levels {
		if !lv.fresh && lv.said == 0 {
			continue
		}
		lv.fresh, lv.said = false, s.now
		r := lv.rates.Report(s.now)
		all[name] = r
		m := &wire.Levels{Tenant: name, Shard: uint32(s.cfg.ID), TS: s.now, Report: r.Append(nil)} //nolint:gosec // a node has few shards
		s.said.Mail = append(s.said.Mail, wire.Envelope{To: wire.ToSlot(s.x.PoolSlot(name)), Mail: m})
	}
	s.counts.Store(&all)
}

// Levels returns what the shard has counted for its tenants' service levels, as it was some seconds ago. It may be called from any
// goroutine; what it returns must not be changed.
func (s *Shard) Levels() map[string]level.Report {
	if m := s.counts.Load(); m != nil {
		return *m
	}
	return nil
}

// levelMail takes what a shard has counted.
func (s *Shard) levelMail(m *wire.Levels) {
	p := s.pools[m.Tenant]
	if p == nil || int(m.Shard) >= len(s.cfg.Peers) {
		return // it comes again, where it belongs
	}
	r, err := level.ParseReport(m.Report)
	if err != nil {
		s.log.Error("a shard's service levels are lost", "tenant", m.Tenant, "from", m.Shard, "err", err)
		return
	}
	if p.reports == nil {
		p.reports = map[uint32]report{}
	}
	p.reports[m.Shard], p.levels = report{s.now, r}, nil
}

// report is what a shard has counted for a tenant, as it said it last.
type report struct {
	at int64 // when it came, Unix ms
	level.Report
}

// levelStats adds how the service levels stand at now to a snapshot: those that the pool's document has by now.
func (p *pool) levelStats(now int64, set *level.Set, scope *wirepb.Scope, m *wirepb.Snapshot) {
	for i, r := range p.reports {
		if now-r.at > levelGone {
			delete(p.reports, i)
			p.levels = nil
		}
	}
	if p.levels == nil {
		p.levels = level.Report{}
		for _, r := range p.reports {
			p.levels = p.levels.Merge(r.Report)
		}
	}
	for i := range p.levels {
		row := &p.levels[i]
		d, ok := set.Index(row.Level)
		if !ok || !inScope(row, scope) {
			continue
		}
		if len(m.Levels) == levelsMost {
			m.MoreLevels = true
			return
		}
		m.Levels = append(m.Levels, levelPB(set.Definition(d), row))
	}
}

// inScope tells whether a row is what was asked for: of a queue or a worker that one, otherwise all but workers, of which there
// may be many.
func inScope(row *level.Row, scope *wirepb.Scope) bool {
	sub, _, _ := strings.Cut(scope.GetWorker(), "/") // of all his instances
	switch {
	case scope.GetWorker() != "":
		return row.Of == level.OfWorker && row.Name == sub
	case scope.GetQueue() != "":
		return row.Of == level.OfQueue && row.Name == scope.Queue
	}
	return row.Of != level.OfWorker
}

func levelPB(d *level.Definition, row *level.Row) *wirepb.LevelStats {
	m := &wirepb.LevelStats{Level: row.Level, Of: row.Of, Name: row.Name, LimitMs: d.LimitMS, Target: d.Target}
	for w := range row.Windows {
		c := &row.Windows[w]
		if c.Count == 0 && c.Timed == 0 {
			continue
		}
		m.Windows = append(m.Windows, &wirepb.LevelWindow{
			Window: level.WindowNames[w], Count: uint64(max(c.Count, 0)), Met: uint64(max(c.Met, 0)), Timed: uint64(max(c.Timed, 0)), //nolint:gosec // not negative
			MeanMs: c.Mean(), P50Ms: c.Percentile(0.5), P95Ms: c.Percentile(0.95),
		})
	}
	return m
}
