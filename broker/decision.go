package broker

import (
	"slices"

	"switchboard/wire"
)

// Bounds of a decision.
const (
	maxLooked = 15 // of the first places of a heap: the best are among them
	maxTop    = 8
)

// Decision is why a session went to a worker.
type Decision struct {
	At       int64 // Unix ms
	Session  wire.SessionID
	Ticket   uint64
	Queue    string
	Worker   string
	Reason   string // as in the grant
	Step     string // empty when it came before all steps
	WaitedMS int64
	Ahead    int         // others of the queue that waited
	Eligible int         // workers who meet the step's requirement
	Free     int         // of them those who could take it, at most: who has been filled up is noticed later
	Asked    int         // others who are asked at the same time, at most
	Top      []Candidate // of the free ones, best first; at most 8
	Excluded []string    // whom it is kept from
}

// trace holds the last decisions.
type trace struct {
	every, keep int
	n           int
	ring        []Decision
	next        int
}

func (r *trace) configure(cfg *Config) {
	if r.keep != cfg.TraceKeep {
		r.ring, r.next = nil, 0
	}
	r.every, r.keep = cfg.TraceEvery, cfg.TraceKeep
}

// Decisions returns what was decided last, the oldest first: of every TraceEvery-th assignment, at most TraceKeep. They are
// good until the next event.
func (c *Core) Decisions(yield func(*Decision) bool) {
	r := &c.trace
	for i := range r.ring {
		if !yield(&r.ring[(r.next+i)%len(r.ring)]) {
			return
		}
	}
}

// decide notes that t goes to x, before it does.
func (c *Core) decide(t *task, x choice) {
	r := &c.trace
	if r.every == 0 {
		return
	}
	if r.n++; r.n%r.every != 0 {
		return
	}
	if len(r.ring) < r.keep {
		r.ring = append(r.ring, Decision{})
		r.next = len(r.ring) - 1
	}
	d := &r.ring[r.next]
	r.next = (r.next + 1) % r.keep
	if len(r.ring) < r.keep {
		r.next = 0
	}
	q := t.plan.queue
	*d = Decision{
		At: c.now, Session: t.session, Ticket: t.ticket, Queue: q.Name, Worker: x.w.ID, Reason: t.reason, Step: q.stepName(x.step),
		WaitedMS: max(c.now-t.enqueuedAt, 0), Ahead: q.waiting, Top: d.Top[:0], Excluded: d.Excluded[:0],
	}
	for i := range t.bars {
		d.Excluded = append(d.Excluded, t.bars[i].worker)
	}
	if x.m == nil {
		d.Top = append(d.Top, Candidate{Worker: x.w.ID, Load: x.w.load, Rating: x.w.rating})
		return
	}
	for i := range t.plan.gates {
		g := &t.plan.gates[i]
		if g.step != x.step || !t.plan.opens(i, t, c.now) {
			continue
		}
		d.Asked = g.n - 1
		d.Eligible += len(g.class.members)
		d.Free += len(g.class.free.nodes)
		for k := range g.class.free.nodes[:min(len(g.class.free.nodes), maxLooked)] {
			if x := &g.class.free.nodes[k]; !t.barred(x.w.ID) && x.w.takes(t.cost) {
				d.Top = append(d.Top, x.m.candidate())
			}
		}
	}
	slices.SortFunc(d.Top, func(a, b Candidate) int { return compareCandidates(q, a, b) })
	i := slices.IndexFunc(d.Top, func(a Candidate) bool { return a.Worker == x.w.ID })
	switch { // who took it when he became free need not be among the first places of all
	case i > 0:
		a := d.Top[i]
		copy(d.Top[1:i+1], d.Top[:i])
		d.Top[0] = a
	case i < 0:
		d.Top = slices.Insert(d.Top, 0, x.m.candidate())
	}
	d.Top = d.Top[:min(len(d.Top), maxTop)]
}

// candidate returns a with the terms of its score.
func (a *member) candidate() Candidate {
	x := Candidate{Worker: a.w.ID, Load: a.w.load, Skill: a.skill, Rating: a.w.rating, Preferred: a.preferred, Score: a.fit}
	if q := a.class.queue; q.Scoring == Weighted {
		x.Score += q.Weights.Load * (1 - a.w.load)
	}
	return x
}

// compareCandidates orders as scoring does, and ties by id.
func compareCandidates(q *queue, a, b Candidate) int {
	less := func(yes bool) int {
		if yes {
			return -1
		}
		return 1
	}
	switch {
	case a.Preferred != b.Preferred:
		return less(a.Preferred)
	case q.Scoring == Banded && a.Load != b.Load:
		return less(a.Load < b.Load)
	case a.Score != b.Score:
		return less(a.Score > b.Score)
	case a.Worker != b.Worker:
		return less(a.Worker < b.Worker)
	}
	return 0
}
