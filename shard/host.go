package shard

import (
	"switchboard/broker/level"
	"switchboard/session"
	"switchboard/wire"
)

// hosted is one session's place in the shard's memory. While its state is not loaded, its mail parks here.
type hosted struct {
	id       wire.SessionID
	state    *session.State
	attached []session.Attachment // while state is nil
	bound    [2]session.Binding   // while state is nil, of its owner: the latest, and that before the turn that was refused
	before   session.Binding      // of its owner when its row was last in the log
	was      bool                 // live then
	parked   []wire.Mail
	opens    []wire.Mail // what is about another owner, and needs to know about this one: it is taken again then
	fetching bool
	dirty    bool
	live     bool // a live row exists
	wraps    bool // and is to be written anew: it has the wrap-ups
	busy     int  // reads on its behalf that are on their way
	doubted  bool // state was read while somebody was noted as present: wake looks whether he is
	asking   bool // a command waits for the row of its key: what is behind it waits too [SW-4.2]
	used     int64
	alarm    int64 // the earliest alarm that is set
	againAt  int64
	againIn  int64
	level    *level.Conversation // of its service levels; stays while state is nil
	levelBy  *level.Set          // whose definitions those of level are
	outdated bool                // level is by what sessions were counted by before
}

func (s *Shard) host(id wire.SessionID) *hosted {
	h := s.sessions[id]
	if h == nil {
		h = &hosted{id: id}
		s.sessions[id] = h
		s.stats.sessions.Add(1)
	}
	h.used = s.now
	return h
}

// command decides what a client asks for.
func (s *Shard) command(c *wire.Command) {
	s.heed(c.Conn.Node)
	switch {
	case c.Way != nil:
		s.errand(c)
		return
	case c.For != nil && (c.Who.Role == wire.RoleService || c.Verb == wire.VerbLink):
		s.external(c)
		return
	}
	switch c.Verb {
	case wire.VerbSubscribe, wire.VerbAccept, wire.VerbDecline, wire.VerbPresence, wire.VerbSlots, wire.VerbWrapup, wire.VerbStats:
		s.poolCommand(c)
		return
	case wire.VerbGone:
		if c.Session == "" {
			delete(s.feeds, c.Conn)
			s.poolCommand(c)
			return
		}
	case wire.VerbConfigure, wire.VerbDocument:
		s.document(c)
		return
	case wire.VerbWatch:
		s.watch(c)
		return
	case wire.VerbIdentify:
		s.identify(c)
		return
	case wire.VerbErase:
		c.Way = &wire.Way{Stage: wire.StageErase, At: c.Text}
		s.errand(c)
		return
	case wire.VerbIdentities:
		c.Way = &wire.Way{Stage: wire.StageList, At: c.Text}
		s.errand(c)
		return
	case wire.VerbOpen:
		if c.Session == "" {
			s.open(c)
			return
		}
	default:
	}
	if c.Session == "" {
		s.d.Refuse(c, wire.NoSession)
		return
	}
	s.toSession(c.Session, c)
}

// toSession hands m to its session, or parks it until the session is loaded.
func (s *Shard) toSession(id wire.SessionID, m wire.Mail) {
	if _, slot, ok := id.Place(); !ok || !s.owns(slot) {
		if c, ok := m.(*wire.Command); ok {
			s.d.Refuse(c, wire.NoSession)
		}
		return
	}
	h := s.sessions[id]
	if h != nil && h.state != nil && len(h.parked) == 0 && !h.asking {
		h.used = s.now
		s.decide(h, m)
		return
	}
	if c, ok := m.(*wire.Command); ok && c.Verb == wire.VerbGone {
		if h == nil {
			return
		}
		h.attached = detached(h.attached, c.Conn)
		if h.state == nil && len(h.parked) == 0 && !h.live {
			return // one that is live may have an owner or a guest there
		}
	}
	h = s.host(id)
	s.park(h, m)
}

func detached(list []session.Attachment, conn wire.Conn) []session.Attachment {
	for i := range list {
		if list[i].Conn == conn {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// park lets m wait for h's rows, in h's bounded line.
func (s *Shard) park(h *hosted, m wire.Mail) {
	c, isCommand := m.(*wire.Command)
	if isCommand && len(h.parked) >= s.cfg.Parked && c.Verb != wire.VerbGone {
		s.refuseOverloaded(c)
		return
	}
	h.parked = append(h.parked, m)
	s.fetch(h)
}

// drain decides what parked, until something has to wait for the row of its key.
func (s *Shard) drain(h *hosted) {
	for len(h.parked) > 0 && !h.asking && h.state != nil {
		m := h.parked[0]
		h.parked = h.parked[1:]
		s.decide(h, m)
	}
	if len(h.parked) == 0 {
		h.parked = nil
	}
}

// fetch asks the loader for h's rows, once.
func (s *Shard) fetch(h *hosted) {
	if h.fetching || h.state != nil {
		return
	}
	h.fetching = true
	s.wish(job{kind: jobSession, id: h.id, live: h.live})
}

func (s *Shard) refuseOverloaded(c *wire.Command) {
	s.d.Fail(c, &wire.Error{Slug: wire.Overloaded, RetryAfter: overloadRetry})
}

// surround fills the env for one decision of h.
func (s *Shard) surround(h *hosted) bool {
	t := s.merchants[h.state.Tenant]
	if t == nil {
		return false
	}
	s.env = session.Env{Now: s.now, Policy: &t.Session, Pool: wire.ToSlot(s.x.PoolSlot(h.state.Tenant)), Node: s.x.Node(), Begun: s.begun, ReadOnly: !s.writable, Lossy: s.lossy}
	return true
}

// decide hands m to a session that is loaded.
func (s *Shard) decide(h *hosted, m wire.Mail) {
	c, isCommand := m.(*wire.Command)
	if !s.surround(h) {
		if isCommand {
			s.strange(c)
		}
		return
	}
	if !s.writable && writes(m) {
		if isCommand {
			s.d.Refuse(c, wire.Unavailable)
		}
		return // a pool says it again
	}
	if isCommand && c.Verb == wire.VerbExplain {
		s.explain(h, c)
		return
	}
	st := h.state
	s.before(h)
	if s.writable && s.overdue(h) {
		s.due(h)
		s.note(h)
	}
	switch m := m.(type) {
	case *wire.Command:
		if s.stranger(h, m) {
			return
		}
		if m.Verb == wire.VerbSend && st.Phase == session.Closed && !s.mayReopen(h, m) {
			return
		}
		closed := st.Phase == session.Closed
		session.Decide(st, &s.env, m, &s.d)
		s.audit(m)
		if closed && st.Phase != session.Closed {
			s.reopened(st)
		}
	case *wire.Grant:
		ae := st.AE
		if st.Grant(&s.env, m, &s.d); st.AE != ae {
			s.keepWhy(h, m)
		}
	case *wire.Untaken:
		s.keepUntaken(h, m)
	case *wire.Lost:
		st.Lost(&s.env, m, &s.d)
	case *wire.WrapUpOver:
		st.WrapUpOver(&s.env, m, &s.d)
	case *wire.Rebind:
		st.Rebind(&s.env, m, &s.d)
	case *wire.NoGrant:
		st.NoGrant(&s.env, m, &s.d)
	case *wire.Resort:
		before := st.Resort
		if st.LastResort(&s.env, m, &s.d); st.Resort != before {
			s.callHook(h, m)
		}
	case *wire.Hooked:
		s.endHook(h, m)
	case *wire.Found:
		st.Found(&s.env, m, &s.d)
	case *wire.Classify:
		st.Classify(&s.env, m, &s.d)
	case *wire.Place:
		st.Place(&s.env, m, &s.d)
	}
	s.note(h)
}

// before notes what h was in the log, before it is changed.
func (s *Shard) before(h *hosted) {
	s.catchUp(h)
	if !h.dirty {
		h.before, h.was = h.state.Binding(), h.live
	}
}

// audit notes what was done over a worker's head [SW-5a.4]; the session's log has it too.
func (s *Shard) audit(c *wire.Command) {
	if len(s.d.Facts) == s.mark {
		return // refused, or done before
	}
	switch c.Verb {
	case wire.VerbTake, wire.VerbJoin, wire.VerbAssign, wire.VerbInvite:
		s.log.Info("supervision", "verb", string(c.Verb), "session", c.Session, "tenant", c.Who.Tenant, "by", c.Who.Sub, "role", string(c.Who.Role),
			"as", c.PB.GetJoin().GetAs()+c.PB.GetInvite().GetAs(), "worker", c.PB.GetAssign().GetWorker()+c.PB.GetInvite().GetWorker(), "force", c.PB.GetAssign().GetForce())
	default:
	}
}

// writes tells whether m changes the log.
func writes(m wire.Mail) bool {
	switch m := m.(type) {
	case *wire.Command:
		switch m.Verb {
		case wire.VerbOpen, wire.VerbHistory, wire.VerbPage, wire.VerbLeave, wire.VerbTyping, wire.VerbResync, wire.VerbGone, wire.VerbDelta, wire.VerbExplain:
			return false
		default:
			return true
		}
	case *wire.Rebind, *wire.Place:
		return false
	}
	return true
}

// note writes the rows of the facts that a decision about h has made, and sets its alarms. A decision that only says,
// acknowledges and remembers is told by the rows of its entries and keys; any other makes the state's row due.
func (s *Shard) note(h *hosted) {
	heavy, said := false, false
	for i := s.mark; i < len(s.d.Facts); i++ {
		f := &s.d.Facts[i]
		heavy = heavy || !f.Light()
		switch f.Kind {
		case session.Said:
			said = true
			s.key = numberedKey(s.key, rowEntry, h.id, f.Entry.Seq)
			s.row = session.AppendMarks(s.row[:0], h.state.Marks(), rider(s.d.Facts[i:], f.Entry.Seq))
			s.row = wire.AppendEntry(s.row, f.Entry)
			s.turn.Put(s.key, s.row)
			s.feed = appendFeed(s.feed, h.id, f.Entry.Seq)
			s.fed++
			s.stats.entries.Add(1)
			if len(s.levels) > 0 {
				s.count(h, f.Entry)
			}
			if len(s.feeds) > 0 {
				s.feedSaid(h, f.Entry, s.lsn+s.fed)
			}
		case session.Known:
			if f.Key.Seq == 0 {
				s.key = numberedKey(s.key, rowKey, h.id, f.Key.FP)
				s.row = session.AppendKey(s.row[:0], f.Key)
				s.turn.Put(s.key, s.row)
			}
		case session.WrapUpBegan, session.WrapUpEnded:
			h.wraps = true
		case session.Erased:
			s.put(keylessRows(nil, h.id))
			s.blankFeeds(h.id)
		default:
		}
	}
	if len(s.d.Facts) > s.mark && h.state.ListDue() {
		s.key = numberedKey(s.key, rowKeyList, h.id, h.state.KeyCount)
		s.row = h.state.AppendKeyList(s.row[:0])
		s.turn.Put(s.key, s.row)
	}
	if changed := len(s.d.Facts) > s.mark; changed && (heavy || !said) && !h.dirty {
		h.dirty = true
		s.dirty = append(s.dirty, h)
	}
	if len(s.d.Facts) > s.mark && len(s.censuses) > 0 {
		s.recount(h)
	}
	s.mark = len(s.d.Facts)
	for i := range s.d.Load {
		if l := &s.d.Load[i]; l.Session == "" {
			l.Session = h.id
			h.busy++
			h.asking = h.asking || l.Kind == session.LoadKey
		}
	}
	s.schedule(h)
}

// rider returns the key among facts that rides on the entry seq, or nil.
func rider(facts []session.Fact, seq uint64) *session.Key {
	for i := range facts {
		if f := &facts[i]; f.Kind == session.Known && f.Key.Seq == seq {
			return f.Key
		}
	}
	return nil
}

// rows writes the state of every session and customer that this turn changed.
func (s *Shard) rows() {
	for i, h := range s.dirty {
		s.dirty[i] = nil
		h.dirty = false
		s.key = sessionKey(s.key, rowState, h.id)
		s.row = session.AppendState(s.row[:0], h.state)
		s.turn.Put(s.key, s.row)
		if live := h.state.Live(); live != h.live || h.wraps {
			h.live, h.wraps = live, false
			s.key = sessionKey(s.key, rowLive, h.id)
			if live {
				s.row = session.AppendLive(s.row[:0], h.state)
				s.turn.Put(s.key, s.row)
			} else {
				s.turn.Delete(s.key)
			}
		}
	}
	s.dirty = s.dirty[:0]
	for i, c := range s.changed {
		s.changed[i] = nil
		c.dirty = false
		s.key = customerKey(s.key, c.state.Tenant, c.state.ID)
		s.row = session.AppendCustomer(s.row[:0], c.state)
		s.turn.Put(s.key, s.row)
		c.was = c.owing
		if owes := c.state.Owes(); owes != c.owing {
			c.owing = owes
			s.key = owesKey(s.key, c.state.Tenant, c.state.ID)
			if owes {
				s.turn.Put(s.key, nil)
			} else {
				s.turn.Delete(s.key)
			}
		}
	}
	s.changed = s.changed[:0]
	for n, i := range s.claimed {
		s.claimed[n] = nil
		i.dirty = false
		s.key = identityKey(s.key, i.id)
		s.row = session.AppendIdentity(s.row[:0], i.state)
		s.turn.Put(s.key, s.row)
	}
	s.claimed = s.claimed[:0]
	if s.fed > 0 {
		s.key = feedKey(s.key, s.lsn+1)
		s.turn.Put(s.key, s.feed)
	}
}
