package broker

import (
	"math/bits"
	"slices"
	"strconv"

	"switchboard/broker/selector"
)

// queue is a Queue with what stands in it.
type queue struct {
	Queue
	workers  []*worker            // subscribed, in no order
	skilled  map[string][]*worker // of them those who have a skill, at any level
	classes  []*class             // that ask its workers
	lanes    []*lane              // the first is of all shops that are not configured
	waiting  int
	tasks    int      // in any state
	names    []string // of its steps, for people
	speaksOf []string
	tiers    []int64
	closed   bool     // not configured any more: it is kept until its tasks are done
	demands  []*class // of its tasks
	timer    timer    // of the next look at who waits
	pace     pace
}

// describe makes q what the configuration says of it. Lanes keep their past.
func (q *queue) describe(cfg *Config, x Queue) {
	q.Queue, q.closed = x, false
	q.names = make([]string, len(x.Steps))
	for i := range x.Steps {
		if q.names[i] = x.Steps[i].Name; q.names[i] == "" {
			q.names[i] = "step " + strconv.Itoa(i+1)
		}
	}
	q.tiers = tiers(cfg, x.Name)
	names := []string{"channel"}
	if len(x.Costs)+len(cfg.Costs) == 0 {
		names = nil
	}
	if x.SkillBy != "" {
		names = append(names, x.SkillBy)
	}
	if cfg.Fair && len(cfg.Shops) > 0 || slices.ContainsFunc(cfg.Shops, func(s Shop) bool { return s.Calendar != "" }) {
		names = append(names, shopAttribute)
	}
	for i := range x.Steps {
		names = append(append(names, x.Steps[i].Select.Attributes()...), x.Steps[i].Prefer.Attributes()...)
	}
	for i := range x.Boosts {
		names = append(names, x.Boosts[i].When.Attributes()...)
	}
	slices.Sort(names)
	q.speaksOf = slices.Compact(names)
}

// shopAttribute is the task's attribute that names its shop.
const shopAttribute = "shop"

// shop is a Shop with what it has.
type shop struct {
	Shop
	used int // cost of its tasks: offered, granted, held, lost, in wrap-up
}

// tier is how a shop stands: 0 below its floor, 2 at its cap, else 1.
func (s *shop) tier() int {
	switch {
	case s == nil:
		return 1
	case s.used < s.Floor:
		return 0
	case s.Cap > 0 && s.used >= s.Cap:
		return 2
	}
	return 1
}

// lane is the tasks of a queue and shop. Each has one head that it proposes to a worker; the heads are compared.
type lane struct {
	queue   *queue
	shop    *shop
	index   int     // in queue.lanes
	weight  float64 // its share
	finish  float64 // the virtual time at which what it was given is used up
	waiting int
	passed  int // picks of savable tasks in a row while a late one could be had

	// Of one look at what waits for a worker.
	round uint64
	rank  int32
	soon  head  // the first in order
	late  *task // the oldest of those beyond their time
	head  *task
}

// laneOf returns the lane of a task with these attributes.
func (q *queue) laneOf(c *Core, attrs selector.Attrs) *lane {
	var s *shop
	if c.cfg.Fair {
		name, _ := attrs.Get(shopAttribute).Text()
		s = c.shops[name]
	}
	for _, l := range q.lanes {
		if l.shop == s {
			return l
		}
	}
	l := &lane{queue: q, shop: s, index: len(q.lanes), weight: q.Weight}
	if s != nil {
		l.weight *= s.Weight
	}
	q.lanes = append(q.lanes, l)
	return l
}

// line is the tasks of a lane that wait in one class.
type line struct {
	class *class
	lane  *lane
	at    int           // in class.busy, from 1
	soon  heap[*waiter] // in order
	late  heap[*waiter] // beyond their time, by age: of SavableFirst
}

// waiter is a task's place in one line.
type waiter struct {
	t    *task
	line *line
	at   int32
	late bool
}

func (a *waiter) place() *int32 { return &a.at }

func (a *waiter) before(b *waiter) bool {
	if a.late && a.t.enqueuedAt != b.t.enqueuedAt {
		return a.t.enqueuedAt < b.t.enqueuedAt
	}
	return a.t.before(b.t)
}

// stand puts a into the line of its lane in cl.
func (a *waiter) stand(cl *class, t *task) {
	i := t.plan.lane.index
	for len(cl.lines) <= i {
		cl.lines = append(cl.lines, nil)
	}
	l := cl.lines[i]
	if l == nil {
		l = &line{class: cl, lane: t.plan.lane}
		cl.lines[i] = l
	}
	a.t, a.line, a.late = t, l, t.late
	l.heap(a.late).push(a)
	if l.at == 0 {
		cl.busy = append(cl.busy, l)
		if l.at = len(cl.busy); l.at == 1 {
			cl.ranking.call(cl.bit, true)
		}
	}
	cl.show()
}

func (l *line) heap(late bool) *heap[*waiter] {
	if late {
		return &l.late
	}
	return &l.soon
}

// leave undoes stand.
func (a *waiter) leave() {
	l := a.line
	if a.at == 0 || l == nil {
		return
	}
	l.heap(a.late).remove(a)
	cl := l.class
	if len(l.soon.nodes)+len(l.late.nodes) > 0 {
		cl.show()
		return
	}
	last := len(cl.busy) - 1
	moved := cl.busy[last]
	cl.busy[l.at-1], moved.at = moved, l.at
	cl.busy[last] = nil
	cl.busy = cl.busy[:last]
	if l.at = 0; last == 0 {
		cl.ranking.call(cl.bit, false)
	}
	cl.show()
}

// firstOf returns the first in h that w may have and could take now, or nil.
func firstOf(h *heap[*waiter], i int, w *worker) *task {
	if i >= len(h.nodes) {
		return nil
	}
	x := h.nodes[i]
	if !x.t.barred(w.ID) && w.takes(x.t.cost) {
		return x.t
	}
	return earlier(firstOf(h, 2*i+1, w), firstOf(h, 2*i+2, w), x.late)
}

// earlier returns the one of two tasks of a lane, either of which may be nil, that comes first.
func earlier(a, b *task, late bool) *task {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case late && a.enqueuedAt != b.enqueuedAt:
		if a.enqueuedAt < b.enqueuedAt {
			return a
		}
		return b
	case b.before(a):
		return b
	}
	return a
}

// first returns what w is to do next of all that waits for it, or nil. Each lane proposes one; the best of them is taken.
func (c *Core) first(w *worker) *task {
	if !c.open || c.calling == 0 && len(w.own.nodes) == 0 || !w.takes(1) {
		return nil
	}
	c.round++
	c.heads = c.heads[:0]
	for i := range w.feet {
		f := &w.feet[i]
		if !w.takes(int(f.cost)) || f.in.calling == 0 {
			continue
		}
		for waits := f.in.waits[0] & f.row; waits != 0; waits &= waits - 1 {
			c.call(w.stands[i], w, bits.TrailingZeros64(waits))
		}
		for k, waits := range f.in.waits[1:] {
			if s := w.stands[i]; waits != 0 && k < len(s.more) {
				for waits &= s.more[k]; waits != 0; waits &= waits - 1 {
					c.call(s, w, (k+1)*64+bits.TrailingZeros64(waits))
				}
			}
		}
	}
	if len(w.own.nodes) > 0 {
		for _, x := range w.own.nodes { // few: those who wait for one person
			if w.takes(x.t.cost) && !x.t.barred(w.ID) {
				soon, late := x.t, (*task)(nil)
				if x.t.late {
					soon, late = nil, x.t
				}
				c.propose(x.t.plan.lane, w.seatIn(x.t.plan.queue).Priority, soon, late)
			}
		}
	}
	var best *lane
	for _, l := range c.heads {
		l.head = l.soon.t
		if l.late != nil && (l.head == nil || l.passed >= l.queue.Floor-1) {
			l.head = l.late
		}
		if best == nil || c.ahead(l, best) {
			best = l
		}
	}
	if best == nil {
		return nil
	}
	return best.head
}

// call adds what waits in a class of s's ranking to the proposals for w.
func (c *Core) call(s *stand, w *worker, class int) {
	if h := &s.in.heads[class]; h.t != nil {
		h.lane.hear(c, s.rank)
		if l := h.lane; l.soon.t == nil || h.before(&l.soon) {
			l.soon = *h
		}
		return
	}
	for _, l := range s.in.classes[class].busy {
		c.propose(l.lane, s.rank, firstOf(&l.soon, 0, w), firstOf(&l.late, 0, w))
	}
}

// propose adds what a line has to its lane's proposal.
func (c *Core) propose(l *lane, rank int32, soon, late *task) {
	if soon == nil && late == nil {
		return
	}
	l.hear(c, rank)
	if soon != nil {
		if h := headOf(soon); l.soon.t == nil || h.before(&l.soon) {
			l.soon = h
		}
	}
	l.late = earlier(l.late, late, true)
}

// hear makes l, for which there is something, one of those that propose in this look.
func (l *lane) hear(c *Core, rank int32) {
	if l.round != c.round {
		l.round, l.rank, l.soon, l.late = c.round, rank, head{}, nil
		c.heads = append(c.heads, l)
	}
	l.rank = min(l.rank, rank)
}

// ahead tells whether a's head is taken before b's.
func (c *Core) ahead(a, b *lane) bool {
	if a.rank != b.rank {
		return a.rank < b.rank
	}
	if c.cfg.Fair {
		if x, y := a.shop.tier(), b.shop.tier(); x != y {
			return x < y
		}
		if a.finish != b.finish {
			return a.finish < b.finish
		}
	}
	return a.head.before(b.head)
}

// passes notes that t, which first returned, is taken: a late task of its lane is passed over, or is not.
func (c *Core) passes(t *task) {
	l := t.plan.lane
	switch {
	case t.late:
		l.passed = 0
	case l.round == c.round && l.late != nil:
		l.passed++
	}
}

// enter brings a lane in which nobody waits up to the present: who did not use its share has not saved it up.
func (c *Core) enter(l *lane) {
	if l.waiting == 0 {
		l.finish = max(l.finish, c.virtual)
	}
}

// bill charges a lane for what it is given: start-time fair queueing. The lane whose share is used up first is next.
func (c *Core) bill(t *task) {
	if !c.cfg.Fair {
		return
	}
	l := t.plan.lane
	t.fee = float64(t.charge) / l.weight
	c.virtual = max(c.virtual, l.finish)
	l.finish += t.fee
}

// refund undoes bill for a task that comes back unserved.
func (t *task) refund() {
	t.plan.lane.finish -= t.fee
	t.fee = 0
}
