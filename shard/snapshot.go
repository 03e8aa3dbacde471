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
)

// observer is a connection that wants to know how a pool stands.
type observer struct {
	scope *wirepb.Scope
	every int64
	due   int64
}

// stats answers with a snapshot, and begins, changes or ends that one is pushed every so often.
func (p *pool) stats(s *Shard, c *wire.Command) {
	m := c.PB.GetStats()
	scope := m.GetScope()
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
		p.observers[c.Conn] = &observer{scope: scope, every: every, due: s.now + every}
	}
	s.d.Answer(c, p.snapshot(s, scope))
}

// observe pushes what is due. Observers of one moment share what is counted.
func (p *pool) observe(s *Shard) {
	var all *wirepb.ServerFrame
	for _, conn := range slices.SortedFunc(maps.Keys(p.observers), func(a, b wire.Conn) int { return int(int64(a.ID - b.ID)) }) { //nolint:gosec // a difference
		o := p.observers[conn]
		if o.due > s.now {
			continue
		}
		o.due = s.now + o.every
		f := s.said.Frame(conn)
		f.Kind = wire.FramePush
		if f.PB = all; o.scope.GetQueue()+o.scope.GetWorker() != "" || all == nil {
			f.PB = p.snapshot(s, o.scope)
		}
		if o.scope.GetQueue()+o.scope.GetWorker() == "" {
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
func (p *pool) snapshot(s *Shard, scope *wirepb.Scope) *wirepb.ServerFrame {
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
	p.levelStats(set, scope, m)
	most := workersMost
	if len(m.Levels) > 0 {
		most /= 2
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
		m.State = w.Presence.String()
	}
	return m
}
