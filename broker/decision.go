package broker

import (
	"strings"

	"switchboard/wire"
)

// Bounds of a decision.
const (
	maxLooked = 15 // of the first in order: the best are among them, though some have been filled up
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
	Ended    string      // how the offer ended that nobody took: see [Untaken] and [Decision.End]; empty of all others
}

// End returns how the offer ended that nobody took, declined, expired, away or rescinded, and what who declined said of it.
func (d *Decision) End() (how, said string) {
	how, said, _ = strings.Cut(d.Ended, endedBy)
	return how, said
}

// trace holds the last decisions.
type trace struct {
	every, keep int
	n           int
	ring        []noted
	next        int
}

// noted is a decision as it was made: whom it was between is put in order when somebody asks.
type noted struct {
	Decision
	banded bool
	looked []looked
	told   bool // Top says it
}

// looked is a worker as he was.
type looked struct {
	s           *stand
	load, score float64
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
		n := &r.ring[(r.next+i)%len(r.ring)]
		n.tell()
		if !yield(&n.Decision) {
			return
		}
	}
}

// decide notes that t goes to x, before it does. It is part of every assignment, so it only copies.
func (c *Core) decide(t *task, x choice) {
	r := &c.trace
	t.noted, t.why = 0, nil
	if r.every == 0 {
		return
	}
	if r.n++; r.n%r.every != 0 {
		return
	}
	if len(r.ring) < r.keep {
		r.ring = append(r.ring, noted{})
		r.next = len(r.ring) - 1
	}
	at := r.next
	d := &r.ring[at]
	r.next = (r.next + 1) % r.keep
	if len(r.ring) < r.keep {
		r.next = 0
	}
	t.noted = int32(at + 1) //nolint:gosec // at most TraceKeep
	q := t.plan.queue
	*d = noted{
		Decision: Decision{
			At: c.now, Session: t.session, Ticket: t.ticket, Queue: q.Name, Worker: x.w.ID, Reason: t.reason, Step: q.stepName(x.step),
			WaitedMS: max(c.now-t.enqueuedAt, 0), Ahead: q.waiting, Top: d.Top[:0], Excluded: d.Excluded[:0],
		},
		banded: q.Scoring == Banded, looked: d.looked[:0],
	}
	for i := range t.bars {
		d.Excluded = append(d.Excluded, t.bars[i].worker)
	}
	if x.by == nil {
		d.Top, d.told = append(d.Top, Candidate{Worker: x.w.ID, Load: x.w.load, Rating: x.w.rating}), true
		return
	}
	found := false
	for i := range t.plan.gates {
		g := &t.plan.gates[i]
		if g.step != x.step || !t.plan.opens(i, t, c.now) {
			continue
		}
		x.w.easeIn(g.class)
		d.Asked = g.n - 1
		d.Eligible += g.class.members
		d.Free += int(g.class.ranking.free[g.class.bit])
		c.top = g.class.ranking.ranks.top(g.class.bit, maxLooked, c.top[:0])
		for _, p := range c.top {
			if p.w.takes(t.cost) && (len(t.bars) == 0 || !t.barred(p.w.ID)) {
				d.looked = append(d.looked, looked{p.s, p.w.load, score(p.fit, p.w.load, q)})
				found = found || p.w == x.w
			}
		}
	}
	if !found { // who took it when he became free need not be among the first places of all
		d.looked = append(d.looked, looked{x.by, x.w.load, score(x.by.fit, x.w.load, q)})
	}
}

// record appends why t goes to the worker whom it is granted to, when that was noted and is remembered.
func (r *trace) record(dst []byte, session wire.SessionID, ticket uint64, noted int32, worker string) []byte {
	if noted < 1 || int(noted) > len(r.ring) {
		return dst
	}
	n := &r.ring[noted-1]
	if n.Session != session || n.Ticket != ticket {
		return dst // others came since
	}
	n.tell()
	d := n.Decision
	d.Worker = worker // of several who are asked, or after the first of them has declined: the one who has it
	return AppendDecision(dst, &d)
}

// untaken notes that t's offer has ended, by how, and that nobody took it, and tells its session.
func (c *Core) untaken(t *task, how string, out *Effects) {
	if t.why == nil {
		return
	}
	if n := int(t.noted); n > 0 && n <= len(c.trace.ring) {
		if d := &c.trace.ring[n-1]; d.Session == t.session && d.Ticket == t.ticket {
			d.Ended = how
		}
	}
	t.untaken++
	e := out.add(Untaken)
	e.Session, e.Ticket, e.Queue, e.Worker, e.Reason, e.Position = t.session, t.ticket, t.plan.queue.Name, t.worker.ID, how, t.untaken
	e.why, t.why = t.why, nil
}

// Noted tells whether e is a grant, or says what was not taken, of which [Core.Why] may know something.
func (e *Effect) Noted() bool { return e.noted != 0 || e.why != nil }

// Why appends why e, a grant of the latest event, goes to its worker, or was offered to those who did not take it: a record for [ParseDecision], or nothing when it was not noted.
func (c *Core) Why(dst []byte, e *Effect) []byte {
	if e.why != nil {
		var d Decision
		if err := ParseDecision(e.why, &d); err == nil && e.Kind == Untaken {
			d.Ended = e.Reason
			return AppendDecision(dst, &d)
		} else if err != nil || d.Worker == e.Worker {
			return append(dst, e.why...)
		}
		d.Worker = e.Worker // another of those who were asked was the first to accept
		return AppendDecision(dst, &d)
	}
	return c.trace.record(dst, e.Session, e.Ticket, e.noted, e.Worker)
}

// score returns what somebody of fit and load counts in q.
func score(fit, load float64, q *queue) float64 {
	if q.Scoring == Weighted {
		fit += q.Weights.Load * (1 - load)
	}
	return fit
}

// tell makes Top of who was looked at, once: who got it, then the others, best first.
func (n *noted) tell() {
	if n.told {
		return
	}
	n.told = true
	list := n.looked
	for i := range list { // few, and small: it is part of every assignment that stays with its session
		x := list[i]
		for ; i > 0 && n.first(&x, &list[i-1]); i-- {
			list[i] = list[i-1]
		}
		list[i] = x
	}
	for i := range list {
		x := &list[i]
		if len(n.Top) == maxTop {
			break
		}
		if i > 0 && list[i-1].s.w == x.s.w { // he is in classes of two delays
			continue
		}
		n.Top = append(n.Top, Candidate{Worker: x.s.w.ID, Load: x.load, Skill: x.s.skill, Rating: x.s.rating, Preferred: x.s.preferred, Score: x.score})
	}
}

// first tells whether a comes before b in Top.
func (n *noted) first(a, b *looked) bool {
	if x, y := a.s.w.ID == n.Worker, b.s.w.ID == n.Worker; x != y {
		return x
	}
	switch {
	case a.s.preferred != b.s.preferred:
		return a.s.preferred
	case n.banded && a.load != b.load:
		return a.load < b.load
	case a.score != b.score:
		return a.score > b.score
	}
	return a.s.w.ID < b.s.w.ID
}

// candidate returns s with the terms of its score.
func (s *stand) candidate() Candidate {
	return Candidate{Worker: s.w.ID, Load: s.w.load, Skill: s.skill, Rating: s.w.rating, Preferred: s.preferred, Score: score(s.fit, s.w.load, s.in.queue)}
}
