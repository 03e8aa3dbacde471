package shard

import (
	"maps"
	"slices"

	"switchboard/broker"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// The bounds of stats [SW-5a.5].
const (
	statsMost   = 64 // subscriptions of one pool
	statsLeast  = 1_000
	statsEvery  = 60_000
	workersMost = 256 // in one snapshot: a frame is 64 KiB
	countEvery  = 200 // ms for which a count of the queues is good
	// sessionsMost is how many sessions are listed at most. A list takes a look at every task of the pool, so it is good for listEvery
	// ms, and for one ms more per listPerMS tasks.
	sessionsMost = 128
	listEvery    = 1_000
	listPerMS    = 20
)

// observer is a connection that wants to know how a pool stands.
type observer struct {
	scope    *wirepb.Scope
	sessions int
	every    int64
	due      int64
}

// listing is which sessions a scope has, and when they were looked up.
type listing struct {
	at    int64
	asked int
	list  []broker.SessionStats
	more  bool
}

// stats answers with a snapshot, and begins, changes or ends that one is pushed every so often.
func (p *pool) stats(s *Shard, c *wire.Command) {
	m := c.PB.GetStats()
	scope, sessions := p.scopeNow(m.GetScope()), int(min(m.GetSessions(), sessionsMost))
	queueKnown, workerKnown := p.core.Knows(scope.GetQueue(), scope.GetWorker())
	switch {
	case c.Who.Shop != "":
		s.d.Fail(c, &wire.Error{Slug: wire.Forbidden, Message: "queues and workers serve all shops, and the token names one"})
		return
	case scope.GetShop() != "" || scope.GetChannel() != "":
		s.d.Fail(c, &wire.Error{Slug: wire.BadRequest, Message: "stats are of a queue, of a worker, or of all"})
		return
	case !queueKnown:
		s.d.Refuse(c, wire.NoQueue)
		return
	case !workerKnown:
		s.d.Refuse(c, wire.NoWorker)
		return
	case m.GetEveryMs() <= 0:
		delete(p.observers, c.Conn)
	case len(p.observers) >= statsMost && p.observers[c.Conn] == nil:
		s.d.Refuse(c, wire.QuotaExceeded)
		return
	default:
		if p.observers == nil {
			p.observers = map[wire.Conn]*observer{}
		}
		every := min(max(m.EveryMs, statsLeast), statsEvery)
		p.observers[c.Conn] = &observer{scope: scope, sessions: sessions, every: every, due: s.now + every}
	}
	s.d.Answer(c, p.snapshot(s, scope, sessions))
}

// scopeNow returns scope with the queue that is meant now: who watches one that a document moves goes on to see those who wait in it.
func (p *pool) scopeNow(scope *wirepb.Scope) *wirepb.Scope {
	if scope.GetQueue() == "" || p.core.QueueNow(scope.Queue) == scope.Queue {
		return scope
	}
	return &wirepb.Scope{Queue: p.core.QueueNow(scope.Queue), Worker: scope.Worker}
}

// observe pushes what is due. Observers of one moment share what is counted.
func (p *pool) observe(s *Shard) {
	var all *wirepb.ServerFrame
	for _, conn := range slices.SortedFunc(maps.Keys(p.observers), func(a, b wire.Conn) int { return int(int64(a.ID - b.ID)) }) { //nolint:gosec // a difference
		o := p.observers[conn]
		if o.due > s.now {
			continue
		}
		o.due, o.scope = s.now+o.every, p.scopeNow(o.scope)
		f := s.said.Frame(conn)
		f.Kind = wire.FramePush
		usual := o.scope.GetQueue()+o.scope.GetWorker() == "" && o.sessions == 0
		if f.PB = all; !usual || all == nil {
			f.PB = p.snapshot(s, o.scope, o.sessions)
		}
		if usual {
			all = f.PB
		}
	}
}

// observed returns when the next push is due, or 0.
func (p *pool) observed() (at int64) {
	for _, o := range p.observers {
		if at == 0 || o.due < at {
			at = o.due
		}
	}
	return at
}

// snapshot tells what scope is about. Queues are counted by a look at every task, so that is done now and then, however many
// ask.
func (p *pool) snapshot(s *Shard, scope *wirepb.Scope, sessions int) *wirepb.ServerFrame {
	now := s.now
	if p.countedAt == 0 || now-p.countedAt >= countEvery {
		p.counted = slices.AppendSeq(p.counted[:0], p.core.Queues())
		p.countedAt = now
	}
	m := &wirepb.Snapshot{Ts: p.countedAt}
	if scope.GetWorker() == "" {
		for i := range p.counted {
			if q := &p.counted[i]; scope.GetQueue() == "" || q.Name == scope.GetQueue() {
				m.Queues = append(m.Queues, queueStats(q, p.countedAt))
			}
		}
	}
	set := p.t.Levels
	p.levelStats(now, set, scope, m)
	most := workersMost
	if len(m.Levels) > 0 {
		most /= 2
	}
	if sessions > 0 {
		most /= 2
		p.sessionStats(s, scope, sessions, m)
	}
	for w := range p.core.Workers(scope.GetQueue(), scope.GetWorker()) {
		if len(m.Workers) == most {
			m.More = true
			break
		}
		m.Workers = append(m.Workers, workerStats(&w))
	}
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Stats{Stats: m}}
}

// sessionStats lists sessions. A list of all is good for a while; a worker's costs little.
func (p *pool) sessionStats(s *Shard, scope *wirepb.Scope, n int, m *wirepb.Snapshot) {
	key, worker := scope.GetQueue(), scope.GetWorker()
	l := p.listed[key]
	if l == nil || worker != "" || s.now-l.at >= listEvery+int64(p.core.Tasks())/listPerMS || l.asked < n {
		l = &listing{at: s.now, asked: n}
		l.list, l.more = p.core.Sessions(scope.GetQueue(), worker, n)
		if worker == "" {
			if p.listed == nil {
				p.listed = map[string]*listing{}
			}
			p.listed[key] = l
		}
	}
	m.MoreSessions = l.more || len(l.list) > n
	for i := range l.list[:min(n, len(l.list))] {
		x := &l.list[i]
		m.Sessions = append(m.Sessions, &wirepb.SessionStats{
			Session: string(x.Session), Queue: x.Queue, State: x.State, Worker: x.Worker, Since: x.EnqueuedAt, WaitedMs: max(s.now-x.EnqueuedAt, 0),
			Shop: x.Shop, Channel: x.Channel, Tier: x.Tier,
		})
	}
}

//nolint:gosec // counts, which fit
func queueStats(q *broker.QueueStats, now int64) *wirepb.QueueStats {
	m := &wirepb.QueueStats{
		Queue: q.Name, Waiting: uint32(q.Waiting), Offered: uint32(q.Offered), Assigned: uint32(q.Assigned), Bots: uint32(q.Bots),
		Humans: uint32(q.Humans), FreeSlots: uint32(q.FreeSlots),
	}
	if q.OldestAt > 0 {
		m.OldestMs = max(now-q.OldestAt, 0)
	}
	return m
}

//nolint:gosec // counts, which fit
func workerStats(w *broker.WorkerStats) *wirepb.WorkerStats {
	m := &wirepb.WorkerStats{Worker: w.ID, Kind: string(w.Kind), Name: w.Name, State: "gone", Queues: w.Queues, Slots: uint32(max(w.Slots, 0)), Used: uint32(max(w.Used, 0))}
	if w.Connected {
		m.State, m.Reason = w.Presence.String(), w.Why
	}
	return m
}
