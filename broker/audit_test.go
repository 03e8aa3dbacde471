package broker

import "fmt"

// Audit tells what does not add up in the books of a pool, seen from inside, or "": whoever drives a pool with whatever comes to his mind may ask it behind each
// event.
func (c *Core) Audit() string {
	b := books{c: c, workers: map[*worker]account{}, shops: map[*shop]int{}, queues: map[*queue]account{}, lanes: map[*lane]int{}, plans: map[*plan]int32{}}
	for i := range c.roll {
		b.add(c.roll[i].t)
	}
	b.compare()
	if c.open && c.anew == nil {
		for i := range c.roll {
			if t := c.roll[i].t; t.state == waiting && !t.awaits {
				b.waits(t)
			}
		}
	}
	return b.wrong
}

// books are what the tasks of a pool come to.
type books struct {
	c       *Core
	wrong   string // the first thing that was found
	workers map[*worker]account
	shops   map[*shop]int
	queues  map[*queue]account
	lanes   map[*lane]int // who waits
	plans   map[*plan]int32
	offers  int
}

// account is so many tasks, what they cost, how many of them want a worker for themselves, and how many stand in line.
type account struct {
	tasks, cost, lined int
	whole              int32
}

func (b *books) check(holds bool, format string, args ...any) {
	if !holds && b.wrong == "" {
		b.wrong = fmt.Sprintf(format, args...)
	}
}

func (b *books) add(t *task) {
	b.check(b.c.find(t.session, t.ticket) == t, "%s/%d is on the roll and not to be found", t.session, t.ticket)
	b.check((t.worker != nil) == (t.state != waiting), "%s/%d is in state %d, and its worker is %v", t.session, t.ticket, t.state, t.worker)
	b.check(t.state == waiting || t.timer.at > 0, "%s/%d is in state %d, and nothing ends that", t.session, t.ticket, t.state)
	b.check(t.state == offered || len(t.bids) == 0, "%s/%d is in state %d, and offered to others", t.session, t.ticket, t.state)
	b.check(t.state == waiting || !t.lined, "%s/%d is in state %d, and in line", t.session, t.ticket, t.state)
	b.plans[t.plan]++
	q := b.queues[t.plan.queue]
	q.tasks++
	if t.lined {
		q.lined++
		b.lanes[t.plan.lane]++
	}
	b.queues[t.plan.queue] = q
	for _, x := range append([]*task{t}, t.bids...) {
		if x.worker != nil {
			b.charge(x)
		}
		b.check(x.plan == t.plan, "%s/%d is offered to others by another plan", t.session, t.ticket)
	}
}

func (b *books) charge(t *task) {
	w := b.workers[t.worker]
	w.tasks++
	w.cost += t.charge
	if t.cost == All {
		w.whole++
		b.check(t.charge == t.worker.slots, "%s/%d wants all of the %d slots of %s, and has %d", t.session, t.ticket, t.worker.slots, t.worker.ID, t.charge)
	}
	b.workers[t.worker] = w
	if s := t.plan.lane.shop; s != nil {
		b.shops[s] += t.charge
	}
	if t.offer != "" {
		b.offers++
		b.check(b.c.offers[t.offer] == t, "nobody knows the offer %s of %s/%d", t.offer, t.session, t.ticket)
	}
}

// compare holds what tasks come to against what is noted.
func (b *books) compare() {
	c := b.c
	b.check(b.offers == len(c.offers), "there are %d offers, and %d are known", b.offers, len(c.offers))
	for id, w := range c.workers {
		x := b.workers[w]
		b.check(x.tasks == len(w.tasks) && x.cost == w.used && x.whole == w.whole, "%s has %+v, and is noted with %d tasks that cost %d", id, x, len(w.tasks), w.used)
	}
	for name, s := range c.shops {
		b.check(b.shops[s] == s.used, "the shop %s has %d slots, and is noted with %d", name, b.shops[s], s.used)
	}
	for name, q := range c.queues {
		x := b.queues[q]
		b.check(x.tasks == q.tasks && x.lined == q.waiting, "the queue %s has %+v, and is noted with %d tasks, of which %d wait", name, x, q.tasks, q.waiting)
		b.check(!q.closed || q.tasks > 0 || c.anew != nil, "the queue %s is closed and empty, and still there", name)
		for _, l := range q.lanes {
			b.check(b.lanes[l] == l.waiting, "in a lane of %s wait %d, and %d are noted", name, b.lanes[l], l.waiting)
		}
	}
	for p, n := range b.plans {
		b.check(n == p.tasks, "a plan of %s has %d tasks, and is noted with %d", p.queue.Name, n, p.tasks)
	}
	if c.anew != nil {
		return // whoever comes and goes in the middle is looked at behind it
	}
	for _, cl := range c.classes {
		members, staffed := 0, 0
		for _, w := range c.workers {
			if w.isMember(cl) {
				members++
				if w.there() {
					staffed++
				}
			}
		}
		b.check(members == cl.members && staffed == cl.staffed && cl.manned == (staffed > 0), "of a class of %s are %d, %d of them there, and noted are %d and %d", cl.queue.Name, members, staffed, cl.members, cl.staffed)
	}
}

// waits checks that t stands where it can be had, and that nobody has a reason to wait who is free to go.
func (b *books) waits(t *task) {
	c := b.c
	b.check(t.lined, "%s/%d waits, and in no line", t.session, t.ticket)
	own := t.hold > c.now && t.own.at > 0
	for i := range t.plan.gates {
		opens := t.plan.opens(i, t, c.now)
		stands := opens && !own && !t.moot(c.now)
		b.check(!t.lined || stands == (t.lines[i].at > 0), "%s/%d stands in the line of the gate %d: %v; it is to: %v", t.session, t.ticket, i, !stands, stands)
		if g := &t.plan.gates[i]; !opens && !g.timed.shut() && !t.plan.question {
			at := g.timed.begins(t.enqueuedAt) + t.plan.after(i, t)
			b.check(t.timer.at > 0 && t.timer.due <= at, "%s/%d has a step that opens at %d, and is not looked at then", t.session, t.ticket, at)
		}
	}
	if t.moot(c.now) || c.sessions.get(t.session) != t {
		return
	}
	e := c.Explain(t.session)
	for i := range e.Workers {
		b.check(e.Workers[i].Why != "", "%s/%d waits, and nothing keeps %s from it [I1]", t.session, t.ticket, e.Workers[i].Worker)
	}
}
