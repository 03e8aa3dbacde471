package broker

import (
	"math"
	"slices"
)

// Configure makes the pool what cfg says, at once and without anybody losing a place or capacity. cfg must be valid.
//
// Everybody who waits is routed by the new routes with the age that he has. Offers stay where their worker may still have
// them; what is granted or held stays where it is. A queue that is not there any more hands its tasks to the one that
// Moves names; without that it takes nobody new, and is kept until its tasks are done. Workers keep their subscription: to
// a queue that comes back, or with All to a new one, they belong at once.
//
// It looks at every worker and task: a word of an operator, not of traffic. Who has others to serve meanwhile begins it with [Core.Reconfigure].
func (c *Core) Configure(cfg Config, now int64, out *Effects) {
	c.Reconfigure(cfg, now, out)
	for c.anew != nil {
		c.piece(math.MaxInt, out)
	}
	c.settle(out)
}

// adoptConfig makes queues and shops what cfg says. Those that were there before keep what they have.
func (c *Core) adoptConfig(cfg Config) {
	c.cfg = cfg.withDefaults()
	c.trace.configure(&c.cfg)
	c.wind()
	old := c.shops
	c.shops = make(map[string]*shop, len(c.cfg.Shops))
	for _, x := range c.cfg.Shops {
		x.Weight = or(x.Weight, 1)
		s := old[x.Name]
		if s == nil {
			s = &shop{}
		}
		s.Shop = x
		c.shops[x.Name] = s
	}
	before := c.order
	c.order = nil
	for _, q := range before {
		q.closed = true
	}
	for _, x := range c.cfg.Queues {
		q := c.queues[x.Name]
		if q == nil {
			q = &queue{}
			c.queues[x.Name] = q
		}
		q.describe(&c.cfg, x)
		c.order = append(c.order, q)
	}
	for _, q := range before {
		if !q.closed {
			continue
		}
		x := q.Queue // its own steps may ask queues and teams that are gone: then they ask nobody there
		q.describe(&c.cfg, x)
		q.closed = true
		c.order = append(c.order, q)
	}
	for _, q := range c.order {
		for _, l := range q.lanes {
			if l.shop != nil && c.shops[l.shop.Name] != l.shop {
				l.shop = &shop{Shop: Shop{Weight: 1}} // not configured any more: of nobody who comes
			}
			l.weight = q.Weight
			if l.shop != nil {
				l.weight *= l.shop.Weight
			}
		}
	}
}

// queue is where t belongs, if a configuration that it has no route by yet has not closed it.
func (t *task) queue() *queue {
	if t.into != nil {
		return t.into
	}
	return t.plan.queue
}

// successor is where the tasks of q go: to itself, unless it is closed and was moved.
func (c *Core) successor(q *queue) *queue {
	if q.closed {
		for _, m := range c.cfg.Moves {
			if m.From == q.Name {
				return c.queues[m.To]
			}
		}
	}
	return q
}

// replan gives t, which is in no line, its route by the new configuration. Who waits then is to be put in line.
func (c *Core) replan(t *task, out *Effects) {
	in := t.again()
	p := c.planOf(c.successor(t.queue()), &in)
	if t.worker == nil {
		c.aim(t, p)
		return
	}
	if t.state == asking {
		c.unset(&t.timer) // it is asked about anew, if it still is to be
		c.discharge(t)
		t.state = waiting
		c.aim(t, p)
		return
	}
	stays := t.state != offered || t.to != "" || p.cost == t.plan.cost && c.suits(t, p)
	if stays {
		c.reaccount(t, p)
		for _, b := range t.bids {
			c.reaccount(b, p)
		}
		c.aim(t, p)
		return
	}
	c.endBids(t, "rescinded", out)
	c.endOffer(t, outcomeRescinded, "rescinded", out)
	c.unset(&t.timer)
	c.discharge(t)
	t.refund()
	t.state = waiting
	c.aim(t, p)
}

// reaccount moves what t uses from its shop to that of p. A bid's plan is only its task's.
func (c *Core) reaccount(t *task, p *plan) {
	if s := t.plan.lane.shop; s != nil {
		s.used -= t.charge
	}
	if s := p.lane.shop; s != nil {
		s.used += t.charge
	}
	if t.lead != nil {
		t.plan = p
	}
}

// closeQueue forgets a queue that is not configured and has no tasks.
func (c *Core) closeQueue(q *queue) {
	if c.queues[q.Name] != q {
		return
	}
	delete(c.queues, q.Name)
	c.unset(&q.timer)
	c.order = slices.DeleteFunc(c.order, func(o *queue) bool { return o == q })
	c.plans.keep(func(p *plan) bool {
		if p.queue == q {
			c.forgetPlan(p)
		}
		return p.queue != q
	})
	c.forgetClasses()
	for _, w := range slices.Clone(q.workers) {
		i := slices.Index(w.queues, q)
		w.queues, w.seats = slices.Delete(w.queues, i, i+1), slices.Delete(w.seats, i, i+1)
	}
	q.workers = nil
}
