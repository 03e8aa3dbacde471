package broker

import (
	"slices"

	"switchboard/wire"
)

// Offer says that a session waits under a ticket. It is a level: the same again changes nothing, a lower ticket than known
// is ignored, a higher one takes the place of the one before. A task without To also says that nobody holds the session
// any more, which makes up for a release that was lost on its way. The same ticket with a higher Version says that the
// attributes have changed: who waits, or is offered to somebody who may not have him any more, is routed anew with the
// age that he has; who is granted or held stays where he is.
func (c *Core) Offer(in *Task, now int64, out *Effects) {
	c.Tick(now, out)
	c.offerTask(in, out)
	c.settle(out)
}

func (c *Core) offerTask(in *Task, out *Effects) {
	q := c.queues[in.Queue]
	known := c.sessions.get(in.Session)
	for t := known; t != nil; t = t.next {
		if t.ticket == in.Ticket && in.Version > t.version && q != nil {
			c.retask(t, c.successor(q), in, out) // its session need not have heard yet that q is closed
		}
		if t.ticket >= in.Ticket {
			return
		}
	}
	if q == nil || q.closed {
		reject(in, wire.NoQueue, out)
		return
	}
	freed := known != nil && c.supersede(in, out)
	if c.tasks >= c.cfg.MaxTasks {
		reject(in, wire.Overloaded, out)
		return
	}
	t := c.newTask(q, in)
	if freed && t.to == "" {
		c.move(t) // the worker who had it is free: others who wait have a say in whom he takes
		return
	}
	c.place(t, out)
}

// retask gives t its new attributes, and what follows from them.
func (c *Core) retask(t *task, q *queue, in *Task, out *Effects) {
	x := *in
	x.EnqueuedAt, x.To = t.enqueuedAt, t.to // [I10]
	if t.state == waiting {
		c.unwait(t)
		c.describe(t, q, &x)
		if t.to == "" { // otherwise it stands in no line
			c.move(t)
		}
		return
	}
	t.version, t.attributes, t.summary = in.Version, in.Attributes, in.Summary
	if t.state != offered || t.to != "" {
		return
	}
	p := c.planOf(q, &x)
	if p.queue == t.plan.queue && p.lane == t.plan.lane && p.cost == t.plan.cost && c.suits(t, p) {
		c.describe(t, q, &x)
		for _, b := range t.bids {
			b.plan, b.summary = p, t.summary
		}
		return
	}
	c.endBids(t, "rescinded", out)
	c.endOffer(t, outcomeRescinded, "rescinded", out)
	c.untaken(t, "rescinded", out)
	c.unset(&t.timer)
	c.discharge(t)
	t.refund()
	c.describe(t, q, &x)
	c.move(t)
}

// suits tells whether everybody who is asked for t may have it by p.
func (c *Core) suits(t *task, p *plan) bool {
	may := func(w *worker) bool {
		return slices.ContainsFunc(p.gates, func(g gate) bool { return w.isMember(g.class) })
	}
	return may(t.worker) && !slices.ContainsFunc(t.bids, func(b *task) bool { return !may(b.worker) })
}

// supersede ends what the session's new task takes the place of. It tells whether a worker is free by that.
func (c *Core) supersede(in *Task, out *Effects) (freed bool) {
	for t := c.sessions.get(in.Session); t != nil; {
		next := t.next
		if t.state <= granted || t.state != wrapup && in.To == "" {
			freed = freed || t.worker != nil
			c.conclude(t, out)
			c.drop(t)
		}
		t = next
	}
	return freed
}

func reject(in *Task, slug wire.Slug, out *Effects) {
	e := out.add(Reject)
	e.Session, e.Ticket, e.Slug = in.Session, in.Ticket, slug
}

// Withdraw says that nobody needs to be found under ticket, or a lower one, any more. What is held stays held.
func (c *Core) Withdraw(session wire.SessionID, ticket uint64, now int64, out *Effects) {
	c.Tick(now, out)
	if t := c.demand(session); t != nil && t.ticket <= ticket {
		c.conclude(t, out)
		c.drop(t)
	}
	c.settle(out)
}

// Resorted says that the session has told its customer of the last resort under ticket. It waits on.
func (c *Core) Resorted(session wire.SessionID, ticket uint64, now int64, out *Effects) {
	c.Tick(now, out)
	if t := c.find(session, ticket); t != nil && t.resorted > 0 {
		t.resorted = -1
	}
	c.settle(out)
}

// conclude tells who is concerned that t ends because its session wants it so.
func (c *Core) conclude(t *task, out *Effects) {
	switch t.state {
	case offered:
		c.endOffer(t, outcomeRescinded, "rescinded", out)
		c.endBids(t, "rescinded", out)
	case granted:
		c.rescindGrant(t, out)
	case held, lost:
		c.ended.put(t, outcomeAccepted)
	}
}

// rescindGrant answers those who wait for a grant that its session did not take. It has told the first of them itself.
func (c *Core) rescindGrant(t *task, out *Effects) {
	c.ended.put(t, outcomeRescinded)
	for _, ref := range t.also {
		out.fail(ref, wire.OfferRescinded, "")
	}
}

// Confirm says that the session is assigned to worker under ae, durably. It may be the answer to a grant, come again, or
// tell of an assignment that this pool does not know.
func (c *Core) Confirm(session wire.SessionID, ticket uint64, worker, lease string, ae uint64, now int64, out *Effects) {
	c.Tick(now, out)
	l := Live{Task: Task{Session: session, Ticket: ticket, EnqueuedAt: c.now}, Assigned: true, Worker: worker, Lease: lease, AE: ae}
	switch t := c.find(session, ticket); {
	case t == nil:
		c.adopt(&l, out)
		if t = c.find(session, ticket); t != nil {
			t.bare = len(c.census.missing) > 0
		}
	case t.state == granted && t.worker.ID == worker:
		c.hold(t, lease, ae, out)
	case t.state <= granted:
		l.Queue, l.EnqueuedAt, l.Cost, l.Attributes = t.plan.queue.Name, t.enqueuedAt, t.cost, t.attributes
		c.adopt(&l, out) // somebody else has it, by an earlier pool's word
	case t.state == held && t.ae == ae:
		t.unsure = false
		c.set(&t.timer, c.now+auditMS)
	}
	c.settle(out)
}

// Unbound says that the session is assigned as l says, and that its shard does not know where the worker is: a shard that was
// made anew. Its worker's connection is told it when there is one; otherwise it waits for him, as the pool does.
func (c *Core) Unbound(l *Live, now int64, out *Effects) {
	c.Tick(now, out)
	before := len(*out)
	switch t := c.find(l.Session, l.Ticket); {
	case t == nil:
		c.adopt(l, out)
	case t.state == granted && t.worker.ID == l.Worker:
		c.hold(t, l.Lease, l.AE, out)
	case t.state <= granted:
		c.adopt(l, out)
	}
	told := slices.ContainsFunc((*out)[before:], func(e Effect) bool { return e.Kind == Rebind && e.Session == l.Session })
	if t := c.find(l.Session, l.Ticket); !told && t != nil && t.state == held && t.ae == l.AE && t.worker.connected && t.worker.lease == t.lease {
		c.rebind(t, true, out)         // of what the earlier shard has told it nothing is certain
		(*out)[len(*out)-1].Lease = "" // the session knows it, if it has heard meanwhile
	}
	c.settle(out)
}

// hold makes a grant an assignment.
func (c *Core) hold(t *task, lease string, ae uint64, out *Effects) {
	w := t.worker
	t.state, t.lease, t.ae, t.ref, t.to, t.fee = held, lease, ae, Ref{}, "", 0
	t.noted, t.why = 0, nil // it is with the session
	for _, ref := range t.also {
		out.accepted(ref, t.session, ae)
	}
	t.also = t.also[:0]
	if w.gone || lease != w.lease {
		c.lose(t, out)
		return
	}
	c.set(&t.timer, c.now+auditMS)
	if w.connected && (t.unsure || w.conn != t.conn) {
		c.rebind(t, true, out) // it came back, or asked what it has, before the session's word came: kept could not name it
	}
}

// Refuse says that the session did not take, or does not have, what was granted under ticket to worker: capacity is back,
// the task forgotten until it is offered again.
func (c *Core) Refuse(session wire.SessionID, ticket uint64, worker string, now int64, out *Effects) {
	c.Tick(now, out)
	t := c.find(session, ticket)
	if t == nil || t.worker == nil || t.worker.ID != worker {
		return
	}
	switch t.state {
	case granted:
		c.rescindGrant(t, out)
		c.drop(t)
	case held, lost:
		c.ended.put(t, outcomeAccepted)
		c.drop(t)
	}
	c.settle(out)
}

// Release gives back the worker who had the session under ae. It stays busy with it for wrapUpMS [SW-5.9]. kept says that the session remembers that,
// for the pools that follow: it is told when the wrap-up ends before its time, and says so by a Release without one.
func (c *Core) Release(session wire.SessionID, ae uint64, wrapUpMS int64, kept bool, now int64, out *Effects) {
	c.Tick(now, out)
	for t := c.sessions.get(session); t != nil; t = t.next {
		switch {
		case t.ae != ae:
		case t.state == held || t.state == lost:
			c.giveBack(t, wrapUpMS, kept, out)
			c.settle(out)
			return
		case t.state == wrapup && t.over && wrapUpMS <= 0:
			c.wrapped(t, out)
			c.settle(out)
			return
		}
	}
}

// Ended says that the assignment of the session under ae is over, and the wrap-up behind it as well: where the session has come to, nothing is known of
// either.
func (c *Core) Ended(session wire.SessionID, ae uint64, now int64, out *Effects) {
	c.Release(session, ae, 0, false, now, out)
	for t := c.sessions.get(session); t != nil; t = t.next {
		if t.ae == ae && t.state == wrapup && t.kept {
			c.wrapped(t, out)
			c.settle(out)
			return
		}
	}
}

// giveBack ends the assignment of t, behind which its worker is busy for wrapUpMS.
func (c *Core) giveBack(t *task, wrapUpMS int64, kept bool, out *Effects) {
	c.ended.put(t, outcomeAccepted)
	none := t.state == lost || t.worker.gone
	if wrapUpMS <= 0 || none && !kept {
		c.drop(t)
		return
	}
	t.state, t.kept = wrapup, kept
	if t.offer != "" {
		delete(c.offers, t.offer)
		t.offer = ""
	}
	t.expires = c.now + wrapUpMS
	c.set(&t.timer, t.expires)
	if none {
		c.endWrapUp(t, out)
	}
}

// WrapupDone ends the wrap-up of worker after the assignment of the session under ae. When the session keeps it, it is over, and ref answered, when that says
// so. Anything else is no_session, or unavailable as long as not all shards have told what they know.
func (c *Core) WrapupDone(session wire.SessionID, ae uint64, worker string, ref Ref, now int64, out *Effects) {
	c.Tick(now, out)
	for t := c.sessions.get(session); t != nil; t = t.next {
		if t.state == wrapup && t.ae == ae && t.worker.ID == worker && t.worker.conn == ref.Conn {
			t.alsoAnswer(ref)
			c.endWrapUp(t, out)
			c.settle(out)
			return
		}
	}
	if len(c.census.missing) > 0 {
		out.fail(ref, wire.Unavailable, "not all of the sessions are known yet")
		return
	}
	out.fail(ref, wire.NoSession, "there is no wrap-up of yours under this ae")
}

// endWrapUp ends t, a wrap-up, before its time: at once, or when its session, which keeps it, has heard. So no pool that follows begins it again.
func (c *Core) endWrapUp(t *task, out *Effects) {
	switch {
	case !t.kept:
		c.wrapped(t, out)
	case !t.over:
		t.over, t.pause = true, againMS/2
		c.sayWrapUpOver(t, out)
	}
}

// sayWrapUpOver tells t's session that its wrap-up has ended, as long as it has not by itself.
func (c *Core) sayWrapUpOver(t *task, out *Effects) {
	e := out.add(WrapUpOver)
	e.Session, e.Worker, e.AE = t.session, t.worker.ID, t.ae
	if c.saidAgain(t); t.timer.due > t.expires {
		c.set(&t.timer, t.expires)
	}
}

// wrapped forgets t, whose wrap-up has ended.
func (c *Core) wrapped(t *task, out *Effects) {
	for _, ref := range t.also {
		out.done(ref)
	}
	c.drop(t)
}
