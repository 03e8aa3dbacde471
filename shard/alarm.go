package shard

import (
	"container/heap"
	"time"

	"switchboard/session"
	"switchboard/wire"
)

const (
	retryMS    = 50
	sweepMS    = 10_000
	againFirst = 1_000 // a level is repeated after so many ms,
	// unboundFirst is the same for where the worker is. The pool's node may not have heard of this owner when it answers the first
	// time, so that the answer goes to the one before, and a customer waits for it.
	unboundFirst = 20
	againMost    = 30_000 // then ever less often: mail inside a node is lost only when an inbox is full
)

// alarm is a moment at which a session or a customer, or with neither the shard itself, wants to be woken.
type alarm struct {
	at int64
	id wire.SessionID
	cu *customer
}

// alarms is a heap; it may hold stale ones, which find nothing to do.
type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].at < a[j].at }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *alarms) Push(v any) { *a = append(*a, v.(alarm)) } //nolint:forcetypeassert // heap hands back what add gave it

// Pop implements heap.Interface.
func (a *alarms) Pop() any {
	old := *a
	v := old[len(old)-1]
	*a = old[:len(old)-1]
	return v
}

func (a *alarms) add(at int64, id wire.SessionID) { heap.Push(a, alarm{at: at, id: id}) }

func (a *alarms) addCustomer(at int64, cu *customer) { heap.Push(a, alarm{at: at, cu: cu}) }

// arm sets t to the next moment at which something is due.
func (s *Shard) arm(t *time.Timer) {
	next := s.now + sweepMS
	if len(s.alarms) > 0 {
		next = min(next, s.alarms[0].at)
	}
	for _, p := range s.pools {
		if at := p.next(); at != 0 {
			next = min(next, at)
		}
	}
	if len(s.levels) > 0 {
		next = min(next, s.levelAt)
	}
	if s.hooks.at != 0 && s.cfg.Hook != nil && s.writable {
		next = min(next, s.hooks.at)
	}
	wait := next - s.cfg.Now().UnixMilli()
	t.Reset(time.Duration(max(wait, 0)) * time.Millisecond)
}

// schedule sets h's alarm to what its state wants.
func (s *Shard) schedule(h *hosted) {
	if h.state == nil {
		return
	}
	at := h.state.Alarm(s.now)
	if t := s.merchants[h.state.Tenant]; t != nil {
		if park := h.state.ParkAt(&t.Session); park != 0 && (at == 0 || park < at) {
			at = park
		}
		if absent := h.state.AbsentAt(&t.Session, s.now); absent != 0 && (at == 0 || absent < at) {
			at = absent
		}
	}
	if unbound := h.state.Unbound() != nil; unbound || h.state.Waiting() {
		if h.againAt == 0 {
			if h.againIn = againFirst; unbound {
				h.againIn = unboundFirst
			}
			h.againAt = s.now + h.againIn
		}
		if at == 0 || h.againAt < at {
			at = h.againAt
		}
	} else {
		h.againAt = 0
	}
	at = s.levelAlarm(h, at)
	if at != 0 && !s.writable { // it cannot be done now, and would be due again at once
		at = max(at, s.now+againFirst)
	}
	if at != 0 && (h.alarm == 0 || at < h.alarm) {
		h.alarm = at
		s.alarms.add(at, h.id)
	}
}

// tick does what is due.
func (s *Shard) tick() {
	s.tellLate()
	for left := len(s.alarms); left > 0 && s.alarms[0].at <= s.now; left-- { // what they bring about is for the next step
		a := heap.Pop(&s.alarms).(alarm) //nolint:forcetypeassert // only alarms are in it
		if a.cu != nil {
			s.wakeCustomer(a.cu)
			continue
		}
		if a.id == "" {
			if s.retryAt != 0 && s.retryAt <= s.now {
				s.again()
			}
			s.giveAgain()
			continue
		}
		if h := s.sessions[a.id]; h != nil {
			h.alarm = 0
			s.wake(h)
		}
	}
	for _, p := range s.pools {
		p.tick(s)
	}
	if len(s.moving) > 0 {
		s.move()
	}
	if len(s.censuses) > 0 {
		s.takeStock()
	}
	if len(s.outdated) > 0 {
		s.relevelSome()
	}
	if len(s.levels) > 0 && s.now >= s.levelAt {
		s.publish()
	}
	if s.now >= s.sweepAt {
		s.sweepAt = s.now + sweepMS
		s.sweep()
		s.lookFar()
		s.prune()
	}
}

// again posts the mail that found no room.
func (s *Shard) again() {
	list := s.retry
	s.retry, s.behind, s.retryAt, s.anew = nil, nil, 0, nil
	for _, e := range list {
		s.send(e)
	}
}

func (s *Shard) wake(h *hosted) {
	if h.state == nil {
		if h.live {
			s.fetch(h)
		}
		return
	}
	if !s.surround(h) {
		return
	}
	s.before(h)
	s.exorcise(h)
	h.state.Wake(&s.env, &s.d)
	s.due(h)
	if h.againAt != 0 && h.againAt <= s.now {
		t, u := h.state.Again(), h.state.Unbound()
		if t != nil {
			if c := h.state.Confirmed(); c != nil {
				s.d.Mail = append(s.d.Mail, wire.Envelope{To: s.env.Pool, Mail: c})
			}
			s.d.Mail = append(s.d.Mail, wire.Envelope{To: s.env.Pool, Mail: t})
		}
		if u != nil {
			s.d.Mail = append(s.d.Mail, wire.Envelope{To: s.env.Pool, Mail: u})
		}
		if t != nil || u != nil {
			h.againIn = min(2*h.againIn, againMost)
			h.againAt = s.now + h.againIn
		}
	}
	s.note(h)
}

// ask asks the pool where the worker is who has h, when nothing but the log is known of it.
func (s *Shard) ask(h *hosted) {
	if u := h.state.Unbound(); u != nil && s.surround(h) {
		s.d.Mail = append(s.d.Mail, wire.Envelope{To: s.env.Pool, Mail: u})
	}
}

// sweep lets go of what nobody has asked about for a while.
func (s *Shard) sweep() {
	cut := s.now - s.cfg.Idle.Milliseconds()
	for _, h := range s.sessions {
		if h.used > cut || h.live || h.dirty || h.busy > 0 || h.fetching || len(h.parked) > 0 || len(h.opens) > 0 || pending(h) {
			continue
		}
		if h.state != nil {
			s.keepLevel(h)
			s.unread = s.last // a disk may be slower than Idle
			h.attached, h.state = append([]session.Attachment(nil), h.state.Attached...), nil
			s.stats.loaded.Add(-1)
		}
		if len(h.attached) == 0 {
			s.forget(h)
		}
	}
	for k, c := range s.customers {
		if c.used <= cut && !c.dirty && !c.fetching && !c.owing && len(c.parked) == 0 && len(c.waiters) == 0 {
			s.unread = s.last
			delete(s.customers, k)
		}
	}
	for k, i := range s.identities {
		if i.used <= cut && !i.dirty && !i.fetching && len(i.parked) == 0 {
			s.unread = s.last
			delete(s.identities, k)
		}
	}
}

func (s *Shard) forget(h *hosted) {
	if s.sessions[h.id] == h {
		delete(s.sessions, h.id)
		s.stats.sessions.Add(-1)
	}
}
