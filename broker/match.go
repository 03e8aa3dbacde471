package broker

import "switchboard/wire"

// place finds a worker for t, which is in no line, or puts it in line.
func (c *Core) place(t *task, out *Effects) {
	t.lift(c.now)
	switch {
	case !c.open:
		t.state = waiting
	case t.to != "":
		c.target(t, out)
	default:
		if w := c.workers[t.sticky]; t.sticky != "" && w != nil && c.suits(w, t) {
			c.assign(t, w, reasonSticky, out)
			return
		}
		if m := c.pick(t); m != nil {
			c.assign(t, m.w, reasonRoute, out)
			return
		}
		c.wait(t)
	}
}

// pick returns the best worker for t who could take it now, or nil: the best of the first open step that has one.
func (c *Core) pick(t *task) *member {
	for _, s := range t.class.queue.Steps {
		var best *member
		for k := range kinds {
			if !t.serves(s, k, c.now) {
				continue
			}
			if m := t.class.best(k, t); m != nil && (best == nil || m.before(best)) {
				best = m
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// suits tells whether w, by any step, could take t now.
func (c *Core) suits(w *worker, t *task) bool {
	if !w.takes(t.cost) || t.barred(w.ID) || t.humansOnly && w.kind == bot {
		return false
	}
	for _, m := range w.members {
		if m.class == t.class {
			return true
		}
	}
	return false
}

// target offers a transfer to the one whom it is for [SW-5.8].
func (c *Core) target(t *task, out *Effects) {
	w := c.workers[t.to]
	switch {
	case w == nil || !w.connected || w.presence != Ready && !t.force:
		c.failTransfer(t, "away", out)
	case t.force:
		t.reason = reasonTransfer
		c.grant(t, w, out)
	case !w.takes(t.cost):
		c.failTransfer(t, "full", out)
	default:
		c.assign(t, w, reasonTransfer, out)
	}
}

// failTransfer ends a transfer. When the session did not hear it and asks again, the target is tried anew.
func (c *Core) failTransfer(t *task, why string, out *Effects) {
	e := out.add(TransferFailed)
	e.Session, e.Ticket, e.Reason = t.session, t.ticket, why
	c.free(t, out)
}

// wait puts t in the lines of its class that are open to it.
func (c *Core) wait(t *task) {
	t.state = waiting
	t.class.queue.waiting++
	for k := range kinds {
		if t.opens(k, c.now) {
			t.class.line[k].push(&t.line[k])
		}
	}
	if at := t.wake(c.now); at != 0 {
		c.set(&t.timer, at)
	}
	t.lined = true
	c.lineUp(t.class.queue)
}

// unwait takes t out of all lines.
func (c *Core) unwait(t *task) {
	if !t.lined {
		return
	}
	t.lined = false
	t.class.queue.waiting--
	for k := range kinds {
		t.class.line[k].remove(&t.line[k])
	}
	c.timers.remove(&t.timer)
}

// serve gives w what waits for it, until it is busy or nothing waits.
func (c *Core) serve(w *worker, out *Effects) { c.serveBefore(w, nil, out) }

// serveBefore is serve with what comes before t, if there is one.
func (c *Core) serveBefore(w *worker, t *task, out *Effects) {
	for c.open && w.takes(1) {
		var first *waiter
		for _, m := range w.members {
			if len(m.class.line[w.kind].nodes) == 0 || !w.takes(m.class.cost) {
				continue
			}
			if x := m.class.first(w); x != nil && (first == nil || x.before(first)) {
				first = x
			}
		}
		if first == nil || t != nil && !first.t.before(t) {
			return
		}
		c.unwait(first.t)
		c.assign(first.t, w, reasonRoute, out)
	}
}

// assign gives t to w: a bot has it at once, a human is asked [SW-5.2].
func (c *Core) assign(t *task, w *worker, reason string, out *Effects) {
	if t.requeue {
		reason = reasonRequeue
	}
	t.reason = reason
	if w.kind == bot {
		c.grant(t, w, out)
		return
	}
	c.offerN++
	t.state, t.conn = offered, w.conn
	t.offer = offerID(c.number, c.offerN)
	t.expires = c.now + t.class.queue.OfferTTLMS
	c.offers[t.offer] = t
	w.charge(t)
	c.set(&t.timer, t.expires)
	c.sayOffer(t, out)
}

// grant tells t's session that it is w's.
func (c *Core) grant(t *task, w *worker, out *Effects) {
	t.state, t.conn, t.lease = granted, w.conn, w.lease
	c.served++
	w.assigned = c.served
	if t.worker == nil {
		w.charge(t)
	} else {
		w.changed()
	}
	c.set(&t.timer, c.now+againMS)
	t.class.queue.pace.add(c.now)
	c.sayGrant(t, out)
}

func (c *Core) sayGrant(t *task, out *Effects) {
	w := t.worker
	e := out.add(Grant)
	e.Session, e.Ticket, e.Queue = t.session, t.ticket, t.class.queue.Name
	e.Worker, e.Sub, e.Name, e.Origin = w.ID, w.sub, w.name, w.kind.origin()
	e.Lease, e.Window, e.Reason, e.Offer, e.Ref = t.lease, w.window, t.reason, t.offer, t.ref
	e.Conn = t.conn
	if w.connected {
		e.Conn = w.conn
	}
}

func (c *Core) sayOffer(t *task, out *Effects) {
	e := out.add(OfferPush)
	e.Conn, e.Offer, e.Session, e.Queue = t.worker.conn, t.offer, t.session, t.class.queue.Name
	e.Worker, e.ExpiresAt, e.Summary = t.worker.ID, t.expires, t.summary
}

// lose says that t's worker does not come back.
func (c *Core) lose(t *task, out *Effects) {
	t.state = lost
	c.sayLost(t, out)
}

func (c *Core) sayLost(t *task, out *Effects) {
	e := out.add(Lost)
	e.Session, e.AE, e.Worker = t.session, t.ae, t.worker.ID
	c.set(&t.timer, c.now+againMS)
}

// rebind tells t's session where its worker is now. fresh says that the worker has not heard of it there.
func (c *Core) rebind(t *task, fresh bool, out *Effects) {
	w := t.worker
	t.conn = w.conn
	e := out.add(Rebind)
	e.Session, e.AE, e.Worker, e.Conn, e.Lease, e.Window = t.session, t.ae, w.ID, w.conn, w.lease, w.window
	e.Fresh, e.Reason, e.Origin = fresh, t.reason, w.kind.origin()
}

// displace takes every open offer from w and finds somebody else for them, in their order.
func (c *Core) displace(w *worker, out *Effects) {
	moved := c.scratch[:0]
	for _, t := range w.tasks {
		if t.state == offered {
			moved = append(moved, t)
		}
	}
	inOrder(moved)
	for _, t := range moved {
		c.endOffer(t, outcomeRescinded, "rescinded", out)
	}
	c.replace(moved, "away", out)
	c.scratch = moved[:0]
	clear(c.scratch[:cap(c.scratch)])
}

// replace finds somebody for tasks whose offers ended: first all of them wait, so that none is passed over for another.
func (c *Core) replace(tasks []*task, why string, out *Effects) {
	for _, t := range tasks {
		t.worker.discharge(t)
		if t.to == "" {
			c.wait(t)
		}
	}
	for _, t := range tasks {
		if t.to != "" {
			c.failTransfer(t, why, out)
		} else if t.state == waiting {
			c.unwait(t)
			c.place(t, out)
		}
	}
}

// slug of an offer that is no more.
func (o outcome) slug() wire.Slug {
	if o == outcomeExpired {
		return wire.OfferExpired
	}
	return wire.OfferRescinded
}
