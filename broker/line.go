package broker

import (
	"math"
	"slices"
)

// Where somebody stands in his queue, and how long that may take, is told while he waits [SW-4]. It is a courtesy: looked up
// in the heaps that are there, for those in front, a few at a time.
const (
	lookMS   = 1_000 // how often a queue in which somebody waits is looked at
	tellMS   = 5_000 // how often one session is told, at most
	lookMost = 256   // who comes behind so many is told where he stands at most, and exactly when he comes nearer
	tellMost = 64    // told at one look
)

// pace is the recent rate of a queue's assignments: the moments of the last ones.
type pace struct {
	at   [64]int64 // a ring
	next int
	n    int
}

// paceMS is how long an assignment counts as recent.
const paceMS = 600_000

func (p *pace) add(now int64) {
	p.at[p.next] = now
	p.next = (p.next + 1) % len(p.at)
	p.n = min(p.n+1, len(p.at))
}

// paceLeast is how many assignments a rate wants to be told.
const paceLeast = 5

// spread is how many standard deviations the range has to either side: four of five waits lie within 1.3 of a Poisson
// stream's.
const spread = 1.3

// eta returns the range in ms in which the task at position, from 1, will be assigned if the queue goes on as it did; ok is
// false when too little is known. The range covers both how uneven a steady stream is and how few assignments its rate was
// taken from. Ranges are whole seconds.
func (p *pace) eta(position int, now int64) (eta [2]int64, ok bool) {
	n, first := 0, now
	for i := range p.n {
		if at := p.at[(p.next-1-i+len(p.at))%len(p.at)]; now-at <= paceMS {
			n, first = n+1, at
		}
	}
	if n < paceLeast || now <= first {
		return eta, false
	}
	rate := float64(n) / float64(now-first) // also when the last is long ago: then it is slower
	doubt, ahead := spread/math.Sqrt(float64(n)), float64(position)
	low := max(ahead-spread*math.Sqrt(ahead), 0) / (rate * (1 + doubt))
	high := (ahead + spread*math.Sqrt(ahead)) / (rate * (1 - doubt))
	return [2]int64{int64(low/1000) * 1000, int64(math.Ceil(high/1000)) * 1000}, true
}

// lineUp sees to it that q, in which somebody waits, is looked at.
func (c *Core) lineUp(q *queue) {
	if q.timer.at == 0 {
		q.timer.queue = q
		c.set(&q.timer, c.now+lookMS)
	}
}

// look tells those in front of q where they stand: who has come nearer, and has not been told a moment ago.
func (c *Core) look(q *queue, out *Effects) {
	if q.waiting == 0 {
		return
	}
	c.set(&q.timer, c.now+lookMS)
	if !c.open || c.anew != nil { // not everybody is in line
		return
	}
	c.looks++
	told := 0
	front := c.front[:0]
	for _, cl := range q.demands {
		for _, l := range cl.busy {
			for _, h := range [...]*heap[*waiter]{&l.soon, &l.late} {
				if len(h.nodes) > 0 {
					front = pushSpot(front, spot{h, 0})
				}
			}
		}
	}
	for position := 1; position <= lookMost && told < tellMost && len(front) > 0; {
		var s spot
		s, front = popSpot(front)
		for i := 2*s.i + 1; i <= 2*s.i+2 && i < len(s.line.nodes); i++ {
			front = pushSpot(front, spot{s.line, i})
		}
		t := s.line.nodes[s.i].t
		if t.looked == c.looks {
			continue // it stands in the lines of several steps
		}
		t.looked = c.looks
		if since := c.now - t.toldAt; t.told == 0 || position < t.told && since >= tellMS || since >= auditMS {
			if t.told == 0 || position < t.told {
				t.told = position
			}
			t.toldAt = c.now
			c.sayPlace(t, out)
			told++
		}
		position++
	}
	clear(front[:cap(front)])
	c.front = front[:0]
}

// tellFar tells t, who has come to a line longer than look goes through, where he stands at most: behind everybody. He hears more when
// he has come to its front.
func (c *Core) tellFar(t *task, out *Effects) {
	q := t.plan.queue
	if t.told != 0 || q.waiting <= lookMost || !slices.ContainsFunc(t.lines, func(x waiter) bool { return x.at > 0 }) {
		return
	}
	t.told, t.toldAt = q.waiting, c.now
	c.sayPlace(t, out)
}

func (c *Core) sayPlace(t *task, out *Effects) {
	e := out.add(Placed)
	q := t.plan.queue
	e.Session, e.Ticket, e.Queue, e.Position = t.session, t.ticket, q.Name, uint32(t.told) //nolint:gosec // at most MaxTasks
	e.ETA, _ = q.pace.eta(t.told, c.now)
	t.opens = opensAt(t.plan.clocks, c.now) // other hours may count by now
	e.OpensAt = t.opens
}

// spot is a node of a line. The first nodes of several heaps are found in order by a heap of spots, without touching them.
type spot struct {
	line *heap[*waiter]
	i    int
}

func (a spot) before(b spot) bool { return a.line.nodes[a.i].t.comesBefore(b.line.nodes[b.i].t) }

func pushSpot(h []spot, s spot) []spot {
	h = append(h, s)
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
	return h
}

func popSpot(h []spot) (first spot, rest []spot) {
	first = h[0]
	last := len(h) - 1
	h[0] = h[last]
	h[last] = spot{}
	h = h[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first, h
		}
		if right := child + 1; right < last && h[right].before(h[child]) {
			child = right
		}
		if !h[child].before(h[i]) {
			return first, h
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
