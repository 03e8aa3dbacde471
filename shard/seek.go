package shard

import (
	"maps"
	"slices"

	"switchboard/broker"
	"switchboard/wire"
)

// Sessions ask their pool where the workers are whom they have invited. Behind a restart that may be thousands, for people who need minutes until they are back. So
// the pool notes who has asked for somebody who is not there, and says so when he comes; sessions ask again seldom, in case that is lost.

const (
	maxSought = 4_096   // invitations that a pool notes. Whose is not noted is told when it asks again
	soughtMS  = 120_000 // for how long: longer than a session waits until it asks again
	tidyMS    = 10_000  // how often those are looked for that are over, when there is no room
)

// sought is who has asked for workers who are not there.
type sought struct {
	by     map[string]map[wire.SessionID]seeker // by worker
	n      int
	tidyAt int64 // when those that are over may be looked for again
}

// seeker is the invitation that a session has asked about.
type seeker struct {
	n  uint64
	at int64 // Unix ms
}

// seek tells a session where the worker is whom it has invited, and notes it when he is not there. That he is not is nobody's to say before
// the census is taken: he may be about to be heard.
func (p *pool) seek(s *Shard, m *wire.Seek) {
	at := p.core.Where(m.Worker)
	if at == (wire.Conn{}) {
		p.sought.note(m, s.now)
		if !p.core.Settled() {
			return
		}
	}
	s.toSlotOf(m.Session, &wire.Found{Session: m.Session, N: m.N, Worker: m.Worker, Conn: at})
}

// found tells those who have asked for a worker that he is there.
func (p *pool) found(s *Shard, e *broker.Effect) {
	asked := p.sought.by[e.Worker]
	delete(p.sought.by, e.Worker)
	p.sought.n -= len(asked)
	for _, id := range slices.Sorted(maps.Keys(asked)) {
		s.toSlotOf(id, &wire.Found{Session: id, N: asked[id].n, Worker: e.Worker, Conn: e.Conn})
	}
}

// note notes a question, if there is room. Those that are no more asked make it.
func (q *sought) note(m *wire.Seek, now int64) {
	if _, known := q.by[m.Worker][m.Session]; !known {
		if q.n >= maxSought && now >= q.tidyAt {
			q.tidyAt = now + tidyMS
			q.forget(now - soughtMS)
		}
		if q.n >= maxSought {
			return
		}
		q.n++
	}
	if q.by == nil {
		q.by = map[string]map[wire.SessionID]seeker{}
	}
	if q.by[m.Worker] == nil {
		q.by[m.Worker] = map[wire.SessionID]seeker{}
	}
	q.by[m.Worker][m.Session] = seeker{m.N, now}
}

// forget forgets what was asked before a moment, and not again.
func (q *sought) forget(before int64) {
	q.n = 0
	for worker, asked := range q.by {
		maps.DeleteFunc(asked, func(_ wire.SessionID, a seeker) bool { return a.at < before })
		if len(asked) == 0 {
			delete(q.by, worker)
		}
		q.n += len(asked)
	}
}
