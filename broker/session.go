package broker

import "switchboard/wire"

// Offer says that a session waits under a ticket. It is a level: the same again changes nothing, a lower ticket than known
// is ignored, a higher one takes the place of the one before. A task without To also says that nobody holds the session
// any more, which makes up for a release that was lost on its way.
func (c *Core) Offer(in *Task, now int64, out *Effects) {
	c.Tick(now, out)
	c.offerTask(in, out)
}

func (c *Core) offerTask(in *Task, out *Effects) {
	q := c.queues[in.Queue]
	if q == nil {
		reject(in, wire.NoQueue, out)
		return
	}
	for t := c.sessions[in.Session]; t != nil; t = t.next {
		if t.ticket >= in.Ticket {
			return
		}
	}
	w := c.supersede(in, out)
	if c.tasks >= c.cfg.MaxTasks {
		reject(in, wire.Overloaded, out)
		if w != nil {
			c.relieved(w, out)
		}
		return
	}
	t := c.newTask(q, in)
	if w != nil {
		c.serveBefore(w, t, out)
	}
	c.place(t, out)
	if w != nil {
		c.relieved(w, out)
	}
}

// supersede ends what the session's new task takes the place of. It returns the worker who is free by that, and has not
// been given anything yet: the new task has a say in what.
func (c *Core) supersede(in *Task, out *Effects) *worker {
	var last *task
	for t := c.sessions[in.Session]; t != nil; t = t.next {
		if t.state <= granted || t.state != wrapup && in.To == "" {
			if last != nil {
				c.cancel(last, out)
			}
			last = t
		}
	}
	if last == nil {
		return nil
	}
	w := last.worker
	c.conclude(last, out)
	c.drop(last)
	return w
}

func reject(in *Task, slug wire.Slug, out *Effects) {
	e := out.add(Reject)
	e.Session, e.Ticket, e.Slug = in.Session, in.Ticket, slug
}

// Withdraw says that nobody needs to be found under ticket, or a lower one, any more. What is held stays held.
func (c *Core) Withdraw(session wire.SessionID, ticket uint64, now int64, out *Effects) {
	c.Tick(now, out)
	if t := c.demand(session); t != nil && t.ticket <= ticket {
		c.cancel(t, out)
	}
}

// cancel ends t because its session does not want it any more.
func (c *Core) cancel(t *task, out *Effects) {
	c.conclude(t, out)
	c.free(t, out)
}

// conclude tells who is concerned that t ends because its session wants it so.
func (c *Core) conclude(t *task, out *Effects) {
	switch t.state {
	case offered:
		c.endOffer(t, outcomeRescinded, "rescinded", out)
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
	case t.state == granted && t.worker.ID == worker:
		c.hold(t, lease, ae, out)
	case t.state <= granted:
		l.Queue, l.EnqueuedAt, l.Cost = t.class.queue.Name, t.enqueuedAt, t.cost
		c.adopt(&l, out) // somebody else has it, by an earlier pool's word
	case t.state == held && t.ae == ae:
		c.set(&t.timer, c.now+auditMS)
	}
}

// hold makes a grant an assignment.
func (c *Core) hold(t *task, lease string, ae uint64, out *Effects) {
	w := t.worker
	t.state, t.lease, t.ae, t.ref, t.to = held, lease, ae, Ref{}, ""
	for _, ref := range t.also {
		out.accepted(ref, t.session, ae)
	}
	t.also = t.also[:0]
	if w.gone || lease != w.lease {
		c.lose(t, out)
		return
	}
	c.set(&t.timer, c.now+auditMS)
	if w.connected && w.conn != t.conn {
		c.rebind(t, true, out) // it came back before the session's word did: kept could not name it
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
		c.free(t, out)
	case held, lost:
		c.ended.put(t, outcomeAccepted)
		c.free(t, out)
	}
}

// Release gives back the worker who had the session under ae. It stays busy with it for wrapUpMS [SW-5.9].
func (c *Core) Release(session wire.SessionID, ae uint64, wrapUpMS, now int64, out *Effects) {
	c.Tick(now, out)
	for t := c.sessions[session]; t != nil; t = t.next {
		if (t.state != held && t.state != lost) || t.ae != ae {
			continue
		}
		c.ended.put(t, outcomeAccepted)
		if wrapUpMS <= 0 || t.state == lost || t.worker.gone {
			c.free(t, out)
			return
		}
		t.state = wrapup
		if t.offer != "" {
			delete(c.offers, t.offer)
			t.offer = ""
		}
		c.set(&t.timer, c.now+wrapUpMS)
		return
	}
}

// WrapupDone ends the wrap-up of worker after the assignment of the session under ae. Anything else is no_session.
func (c *Core) WrapupDone(session wire.SessionID, ae uint64, worker string, ref Ref, now int64, out *Effects) {
	c.Tick(now, out)
	for t := c.sessions[session]; t != nil; t = t.next {
		if t.state == wrapup && t.ae == ae && t.worker.ID == worker && t.worker.conn == ref.Conn {
			out.done(ref)
			c.free(t, out)
			return
		}
	}
	out.fail(ref, wire.NoSession, "there is no wrap-up of yours under this ae")
}
