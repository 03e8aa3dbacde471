package broker

import "slices"

// choice is a worker for a task, and why.
type choice struct {
	w      *worker
	step   int // -1 is before all steps
	reason string
	by     *stand // what he is to the class that he was found by; nil when by no step
}

// place finds a worker for t, which is in no line, or puts it in line. Nobody else may be waiting whom its worker could take.
func (c *Core) place(t *task, out *Effects) {
	t.lift(c.now)
	switch {
	case !c.open:
		t.state = waiting
	case t.to != "":
		c.target(t, out)
	case c.unmatched(t):
	case c.anew != nil: // others may be in line whom its worker could take
		c.move(t)
	default:
		c.enter(t.plan.lane)
		if x := c.match(t); x.w != nil {
			c.assign(t, x, out)
			return
		}
		c.wait(t)
		c.tellWaiting(t, out)
		c.tellFar(t, out)
	}
}

// match returns who is to have t now: its last worker, or the best of the first open step that has one.
func (c *Core) match(t *task) choice {
	if t.moot(c.now) {
		return choice{}
	}
	if t.sticky != "" && !t.plan.question {
		if w := c.workers[t.sticky]; w != nil && w.takes(t.cost) && c.eligible(w, t) {
			return choice{w: w, step: -1, reason: reasonSticky}
		}
		if t.hold > c.now {
			return choice{}
		}
	}
	return c.pick(t)
}

// pick returns the best worker for t by its open steps.
func (c *Core) pick(t *task) choice {
	if len(c.freed) > 0 {
		c.ease()
	}
	p := t.plan
	var w *worker
	var best *stand
	var by *gate
	for i := range p.gates {
		g := &p.gates[i]
		if best != nil && g.step != by.step {
			break
		}
		if !p.opens(i, t, c.now) {
			continue
		}
		if x, s := g.class.best(t); x != nil && (best == nil || s.before(best)) {
			w, best, by = x, s, g
		}
	}
	if best == nil {
		return choice{}
	}
	reason := reasonRoute
	if by.foreign {
		reason = t.reasonOf(w)
	}
	return choice{w: w, step: by.step, reason: reason, by: best}
}

// reasonOf returns why w gets t by a step.
func (t *task) reasonOf(w *worker) string {
	if w.serves(t.plan.queue) {
		return reasonRoute
	}
	return reasonOverflow
}

// eligible tells whether w, by any step, may have t, load aside.
func (c *Core) eligible(w *worker, t *task) bool {
	if t.barred(w.ID) {
		return false
	}
	for i := range t.plan.gates {
		if w.isMember(t.plan.gates[i].class) && !t.plan.gates[i].timed.shut() {
			return true
		}
	}
	return false
}

// chosen returns the step by which w, who looked at what waits, takes t.
func (c *Core) chosen(t *task, w *worker) choice {
	p := t.plan
	for i := range p.gates {
		if !p.opens(i, t, c.now) || t.hold > c.now {
			continue
		}
		if s := w.memberOf(p.gates[i].class); s != nil {
			return choice{w: w, step: p.gates[i].step, reason: t.reasonOf(w), by: s}
		}
	}
	return choice{w: w, step: -1, reason: reasonSticky}
}

// target offers a transfer to the one whom it is for [SW-5.8].
func (c *Core) target(t *task, out *Effects) {
	w := c.workers[t.to]
	switch {
	case c.unheard(w):
		c.await(t)
	case w == nil || !w.connected || w.presence != Ready && !t.force:
		c.failTransfer(t, "away", out)
	case t.force:
		t.reason = reasonTransfer
		c.decide(t, choice{w: w, step: -1, reason: reasonTransfer})
		c.grant(t, w, out)
	case !w.takes(t.cost):
		c.failTransfer(t, "full", out)
	case t.present: // he talks along already
		t.reason = reasonTransfer
		c.decide(t, choice{w: w, step: -1, reason: reasonTransfer})
		c.grant(t, w, out)
	default:
		c.assign(t, choice{w: w, step: -1, reason: reasonTransfer}, out)
	}
}

// unheard tells whether w, who may be nil, has not been heard of since the census, and may be on his way back still.
func (c *Core) unheard(w *worker) bool {
	return c.now < c.calm && (w == nil || !w.connected && w.said.ID == "")
}

// await lets a transfer wait until the one whom it is for is heard of, or would have been.
func (c *Core) await(t *task) {
	t.state, t.awaits = waiting, true
	c.awaited[t.to] = append(c.awaited[t.to], t)
	c.set(&t.timer, c.calm)
}

// unawait lets t, should it be one, be no transfer that waits.
func (c *Core) unawait(t *task) {
	if !t.awaits {
		return
	}
	t.awaits = false
	c.unset(&t.timer)
	if c.awaited[t.to] = slices.DeleteFunc(c.awaited[t.to], func(o *task) bool { return o == t }); len(c.awaited[t.to]) == 0 {
		delete(c.awaited, t.to)
	}
}

// heard offers w, who has just subscribed, the transfers that have waited for him: they had his slots before whoever is in line.
func (c *Core) heard(w *worker, out *Effects) {
	all := c.awaited[w.ID]
	delete(c.awaited, w.ID)
	inOrder(all)
	for _, t := range all {
		t.awaits = false
		c.unset(&t.timer)
		c.place(t, out)
	}
}

// failTransfer ends a transfer. When the session did not hear it and asks again, the target is tried anew.
func (c *Core) failTransfer(t *task, why string, out *Effects) {
	e := out.add(TransferFailed)
	e.Session, e.Ticket, e.Reason = t.session, t.ticket, why
	c.drop(t)
}

// wait puts t in the lines that are open to it, or in that of its last worker.
func (c *Core) wait(t *task) {
	p := t.plan
	t.state = waiting
	c.enter(p.lane)
	p.queue.waiting++
	p.lane.waiting++
	t.late = p.queue.Order == SavableFirst && t.lateAt() <= c.now
	if cap(t.lines) < len(p.gates) {
		t.lines = make([]waiter, len(p.gates), max(len(p.gates), 4))
	}
	t.lines = t.lines[:len(p.gates)]
	clear(t.lines)
	w := c.workers[t.sticky]
	if t.hold > c.now && !c.holds(w, t) {
		if c.expects(w, t) {
			w = c.expected(t.sticky)
		} else {
			t.hold = 0
		}
	}
	if t.hold > c.now {
		t.own.t = t
		w.own.push(&t.own)
	} else {
		for i := range p.gates {
			if p.opens(i, t, c.now) && !t.moot(c.now) {
				t.lines[i].stand(p.gates[i].class, t)
			}
		}
	}
	if p.stirs {
		p.lined = append(p.lined, t)
		t.at = len(p.lined)
	}
	if at := t.wake(c.now, c.calm); at != 0 {
		c.set(&t.timer, at)
	}
	t.lined = true
	c.lineUp(p.queue)
}

// unwait takes t out of all lines.
func (c *Core) unwait(t *task) {
	if !t.lined {
		return
	}
	p := t.plan
	t.lined = false
	p.queue.waiting--
	p.lane.waiting--
	if t.era != c.era { // these lines are nobody's any more
		clear(t.lines)
	}
	for i := range t.lines {
		t.lines[i].leave()
	}
	if t.own.at > 0 {
		c.workers[t.sticky].own.remove(&t.own)
	}
	if t.at > 0 {
		last := len(p.lined) - 1
		moved := p.lined[last]
		p.lined[t.at-1], moved.at = moved, t.at
		p.lined[last] = nil
		p.lined = p.lined[:last]
		t.at = 0
	}
	c.unset(&t.timer)
}

// move puts t, which is in no line and of no worker, in line until the end of the event: so none is passed over for another.
func (c *Core) move(t *task) {
	if c.unmatched(t) {
		return
	}
	t.lift(c.now)
	if c.open {
		c.wait(t)
	} else {
		t.state = waiting
	}
	c.moved = append(c.moved, t)
}

// tellWaiting tells t's session, for which nobody is there, when that may change.
func (c *Core) tellWaiting(t *task, out *Effects) {
	if t.plan.question {
		c.giveUp(t, out)
		return
	}
	if len(t.plan.clocks) > 0 {
		c.sayOpens(t, out)
	}
	if len(t.plan.resorts) > 0 {
		c.resort(t, out)
	}
}

// resort tells t's session that it has come to the last resort, again until it is answered.
func (c *Core) resort(t *task, out *Effects) {
	step, _ := t.plan.resorted(t.enqueuedAt, c.now, c.calm)
	if step < 0 || t.resorted < 0 || t.resorted > 0 && t.resorted+againMS > c.now {
		return
	}
	t.resorted = max(c.now, 1)
	e := out.add(LastResort)
	e.Session, e.Ticket, e.Queue = t.session, t.ticket, t.plan.queue.Name
	e.Reason, e.Step = t.plan.queue.Steps[step].Resort.String(), t.plan.queue.stepName(step)
	e.OpensAt = opensAt(t.plan.clocks, c.now)
	if t.lined {
		c.set(&t.timer, t.wake(c.now, c.calm))
	}
}

// settle ends an event: who waits and may be taken, and who is free and may take, are matched in the order of those who
// wait, as each worker has it, until nothing is left to match [I1].
func (c *Core) settle(out *Effects) {
	if len(c.dirty)+len(c.moved)+len(c.freed) == 0 || c.anew != nil && c.anew.stage != matching {
		return
	}
	if c.restaff() {
		return
	}
	if c.open && c.anew == nil && len(c.moved) == 0 && len(c.freed) == 1 {
		c.serve(c.freed[0], out)
	}
	if c.open {
		inOrder(c.moved)
		for n := 0; ; {
			for n < len(c.moved) && !c.moved[n].lined {
				n++
			}
			var t *task
			if n < len(c.moved) {
				t = c.moved[n]
			}
			if t == nil && c.unlooked() {
				break
			}
			var of *worker
			for _, w := range c.freed {
				if x := c.first(w); x != nil && (t == nil || served(x, t) < 0) {
					t, of = x, w
				}
			}
			if t == nil {
				break
			}
			x := c.match(t)
			if of != nil && x.w == nil {
				x = c.chosen(t, of) // a task that one person alone may have
			}
			if x.w == nil {
				c.tellWaiting(t, out)
				n++
				continue
			}
			if first := c.first(x.w); first != nil && (x.reason != reasonSticky || sooner(x.w, first, t)) { // he has his own order
				if first != t {
					t, x = first, c.chosen(first, x.w)
				}
				c.passes(t)
			}
			c.unwait(t)
			c.assign(t, x, out)
		}
	}
	clear(c.moved)
	c.moved = c.moved[:0]
	c.ease()
	if c.unlooked() {
		return
	}
	for i, w := range c.freed {
		w.freed, c.freed[i] = false, nil
		if w.gone && len(w.tasks) == 0 && c.workers[w.ID] == w {
			c.forget(w)
		}
	}
	c.freed = c.freed[:0]
}

// serve gives w, who alone has become free, what waits for him. Nobody else could take any of it, or he would have it [I1]: so nobody is
// looked for, and as long as w takes what he has got rid of, he stands in his classes as he did.
func (c *Core) serve(w *worker, out *Effects) {
	for t := c.first(w); t != nil && t.sticky == ""; t = c.first(w) { // who had somebody may be his, whoever else is free
		x := c.chosen(t, w)
		c.passes(t)
		c.unwait(t)
		c.assign(t, x, out)
	}
}

// sooner tells whether a is served before b by w.
func sooner(w *worker, a, b *task) bool {
	if x, y := w.seatIn(a.plan.queue).Priority, w.seatIn(b.plan.queue).Priority; x != y {
		return x < y
	}
	return a.before(b)
}

// restaff puts those anew in line for whom steps opened or closed because somebody came or went. When they are too many for one event, that has only
// begun: it tells so, and nobody is matched until they all are.
func (c *Core) restaff() (begun bool) {
	n := 0
	for _, p := range c.dirty {
		n += len(p.lined)
	}
	if c.most > 0 && n > c.most {
		all := make([]*task, 0, n)
		for _, p := range c.dirty {
			all = append(all, p.lined...)
		}
		if c.reline(all) {
			return true
		}
	}
	for i := 0; i < len(c.dirty); i++ {
		p := c.dirty[i]
		p.dirty, c.dirty[i] = false, nil
		n := len(c.moved)
		c.moved = append(c.moved, p.lined...)
		for _, t := range c.moved[n:] {
			c.unwait(t)
			t.lift(c.now) // what ends this very moment has no timer any more
			c.wait(t)
		}
	}
	c.dirty = c.dirty[:0]
	return false
}

// holds tells whether t, who would wait for w alone, has a reason to.
func (c *Core) holds(w *worker, t *task) bool { return w != nil && w.there() && c.eligible(w, t) }

// expects tells whether w, the last worker of t, may be on his way back from the pool before this one, which knew him: he is not there, and has not been.
func (c *Core) expects(w *worker, t *task) bool {
	return c.now < c.calm && (w == nil || w.turn == 0 && !w.gone) && !t.barred(t.sticky)
}

// expected returns the worker id, whether he has been heard of or not: somebody waits for him, until people could be back at most.
func (c *Core) expected(id string) *worker {
	w := c.workers[id]
	if w == nil {
		w = newWorker(id, "", human)
		c.workers[id] = w
		c.set(&w.timer, c.calm)
	}
	return w
}

// unhold lets those look elsewhere who waited for w alone, and have no reason to any more.
func (c *Core) unhold(w *worker) {
	if len(w.own.nodes) == 0 {
		return
	}
	for _, x := range slices.Clone(w.own.nodes) {
		if !c.holds(w, x.t) {
			c.unwait(x.t)
			c.move(x.t)
		}
	}
}

// assign gives t to a worker: a bot has it at once, a human is asked [SW-5.2].
func (c *Core) assign(t *task, x choice, out *Effects) {
	t.reason, t.step = x.reason, x.step
	if t.plan.question {
		c.inquire(t, x.w, out)
		return
	}
	switch {
	case t.handed:
		t.reason = reasonTransfer
	case t.requeue:
		t.reason = reasonRequeue
	}
	c.decide(t, x)
	if x.w.kind == bot {
		c.grant(t, x.w, out)
		return
	}
	n, ttl := 1, t.plan.queue.OfferTTLMS
	if x.by != nil {
		for i := range t.plan.gates {
			if g := &t.plan.gates[i]; g.step == x.step {
				n, ttl = g.n, g.ttl
				break
			}
		}
	}
	t.expires = c.now + ttl
	t.why = c.trace.record(nil, t.session, t.ticket, t.noted, x.w.ID)
	c.ask(t, x.w, out)
	c.bill(t)
	c.set(&t.timer, t.expires)
	if n > 1 {
		c.broadcast(t, x.step, n-1, out)
	}
}

// ask offers t to w.
func (c *Core) ask(t *task, w *worker, out *Effects) {
	c.offerN++
	t.state, t.conn = offered, w.conn
	t.offer = offerID(c.number, c.offerN)
	c.offers[t.offer] = t
	c.charge(t, w)
	c.sayOffer(t, out)
}

// grant tells t's session that it is w's.
func (c *Core) grant(t *task, w *worker, out *Effects) {
	t.state, t.conn, t.lease = granted, w.conn, w.lease
	c.served++
	w.assigned = c.served
	if t.worker == nil {
		c.charge(t, w)
		c.bill(t)
	}
	c.saidFirst(t)
	t.plan.queue.pace.add(c.now)
	c.sayGrant(t, out)
}

func (c *Core) sayGrant(t *task, out *Effects) {
	w := t.worker
	e := out.add(Grant)
	e.Session, e.Ticket, e.Queue = t.session, t.ticket, t.plan.queue.Name
	e.Worker, e.Sub, e.Name, e.Origin = w.ID, w.sub, w.name, w.kind.origin()
	e.Lease, e.Window, e.Reason, e.Offer, e.Ref = t.lease, w.window, t.reason, t.offer, t.ref
	if t.state == granted { // what is held is said again to hear whether it is
		e.noted, e.why = t.noted, t.why
	}
	switch {
	case w.connected && w.lease == t.lease:
		e.Conn = w.conn
	case t.state == granted:
		e.Conn = t.conn
	} // else nowhere: its session is not to bind it to one who is gone, or who begins anew and does not have it
}

func (c *Core) sayOffer(t *task, out *Effects) {
	e := out.add(OfferPush)
	e.Conn, e.Offer, e.Session, e.Queue = t.worker.conn, t.offer, t.session, t.plan.queue.Name
	e.Worker, e.ExpiresAt, e.Summary = t.worker.ID, t.expires, t.summary
}

// lose says that t's worker does not come back.
func (c *Core) lose(t *task, out *Effects) {
	t.state = lost
	c.sayLost(t, out)
	c.saidFirst(t)
}

func (c *Core) sayLost(t *task, out *Effects) {
	e := out.add(Lost)
	e.Session, e.AE, e.Worker = t.session, t.ae, t.worker.ID
}

// rebind tells t's session where its worker is now. fresh says that the worker has not heard of it there. Should that be lost, it is said
// again soon, with the grant, which is answered.
func (c *Core) rebind(t *task, fresh bool, out *Effects) {
	t.conn, t.unsure, t.anew = t.worker.conn, true, fresh
	c.saidFirst(t)
	c.sayRebind(t, out)
}

func (c *Core) sayRebind(t *task, out *Effects) {
	w := t.worker
	e := out.add(Rebind)
	e.Session, e.AE, e.Worker, e.Conn, e.Lease, e.Window = t.session, t.ae, w.ID, w.conn, w.lease, w.window
	e.Fresh, e.Reason, e.Origin = t.anew, t.reason, w.kind.origin()
}
