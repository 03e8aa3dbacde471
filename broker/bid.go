package broker

// A task that is offered to several has a bid for each of them but one: a task of its own that stands for the offer in its
// worker's capacity and in the table of offers, and nowhere else. Whichever offer is accepted becomes the task's.

// broadcast also offers t, by the same step, to up to n other people who could take it now.
func (c *Core) broadcast(t *task, step, n int, out *Effects) {
	for ; n > 0; n-- {
		x := c.pick(t)
		if x.w == nil || x.step != step || x.w.kind != human {
			return
		}
		if first := c.first(x.w); first != nil && !t.before(first) {
			return // he is needed by somebody who waits
		}
		b := c.recycled()
		b.session, b.ticket, b.plan, b.key, b.priority, b.enqueuedAt = t.session, t.ticket, t.plan, t.key, t.priority, t.enqueuedAt
		b.cost, b.summary, b.lead, b.expires, b.step, b.reason = t.cost, t.summary, t, t.expires, t.step, t.reason
		t.bids = append(t.bids, b)
		c.ask(b, x.w, out)
	}
}

// swap gives the place of a task to one of its bids, and the bid that of the task. It returns the task.
func (c *Core) swap(b *task) *task {
	t := b.lead
	t.worker, b.worker = b.worker, t.worker
	t.index, b.index = b.index, t.index
	t.charge, b.charge = b.charge, t.charge
	t.conn, b.conn = b.conn, t.conn
	t.offer, b.offer = b.offer, t.offer
	t.worker.tasks[t.index], b.worker.tasks[b.index] = t, b
	c.offers[t.offer] = t
	if b.offer != "" {
		c.offers[b.offer] = b
	}
	return t
}

// endBids ends what else t is offered for.
func (c *Core) endBids(t *task, why string, out *Effects) {
	for len(t.bids) > 0 {
		b := t.bids[len(t.bids)-1]
		c.endOffer(b, outcomeRescinded, why, out)
		c.dropBid(b)
	}
}

// dropBid takes a bid, whose offer has ended, out of everything.
func (c *Core) dropBid(b *task) {
	t := b.lead
	for i, x := range t.bids {
		if x == b {
			last := len(t.bids) - 1
			copy(t.bids[i:], t.bids[i+1:])
			t.bids[last] = nil
			t.bids = t.bids[:last]
			break
		}
	}
	c.discharge(b)
	c.recycle(b)
}
