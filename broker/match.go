package broker

import (
	"container/heap"
	"slices"

	"switchboard/wire"
)

// Matching happens at events, never by polling. Both directions end in give.

// place looks for the best worker for k, which waits in its line.
func (c *Core) place(k *task, now int64, out *Effects) {
	if c.opening {
		return
	}
	if w := c.best(k, now); w != nil {
		c.take(k, w, now, out)
	}
}

// match places everything in q that can be placed.
func (c *Core) match(q *queue, now int64, out *Effects) {
	if c.opening || len(q.waiting.list) == 0 {
		return
	}
	anyFree := false
	for _, w := range q.workers {
		anyFree = anyFree || w.free()
	}
	if !anyFree {
		return
	}
	list := slices.Clone(q.waiting.list)
	slices.SortFunc(list, func(a, b *task) int {
		if q.waiting.before(a, b) {
			return -1
		}
		return 1
	})
	for _, k := range list {
		if k.n >= 0 {
			c.place(k, now, out)
		}
	}
}

// freed gives w what it can take: over all its queues the first in line that it matches.
func (c *Core) freed(w *worker, now int64, out *Effects) {
	for !c.opening && w.free() {
		var first *task
		for _, q := range w.queued {
			if k := q.firstFor(w, now); k != nil && (first == nil || q.waiting.before(k, first)) {
				first = k
			}
		}
		if first == nil {
			return
		}
		c.take(first, w, now, out)
	}
}

// firstFor returns the first task of q that w may have, or nil. Nearly always that is the top of the heap; what it
// excludes or may not have yet lies between.
func (q *queue) firstFor(w *worker, now int64) *task {
	var first *task
	if len(q.waiting.list) == 0 {
		return nil
	}
	if k := q.waiting.list[0]; q.matches(k, w, now) {
		return k
	}
	for _, k := range q.waiting.list {
		if (first == nil || q.waiting.before(k, first)) && q.matches(k, w, now) {
			first = k
		}
	}
	return first
}

// matches tells whether w may have k by the step that is open.
func (q *queue) matches(k *task, w *worker, now int64) bool {
	if w.Kind == wire.OriginBot && k.HumansOnly || slices.Contains(k.Exclude, w.ID) && q.others(k, w) {
		return false
	}
	if w.Kind == wire.OriginHuman && !k.humans && !k.HumansOnly && q.bots > 0 && now < k.EnqueuedAt+q.cfg.HumansAfterMS {
		return false
	}
	return true
}

// others tells whether anybody but w could ever have k: an exclusion must not leave a customer with nobody.
func (q *queue) others(k *task, w *worker) bool {
	for _, o := range q.workers {
		if o != w && (o.Kind == wire.OriginHuman || !k.HumansOnly) {
			return true
		}
	}
	return w.Kind == wire.OriginBot
}

// best returns the best free worker for k, or nil: its last one when it is free, bots before humans, then by score.
func (c *Core) best(k *task, now int64) *worker {
	var best *worker
	for _, w := range k.q.workers {
		if !w.free() || !k.q.matches(k, w, now) {
			continue
		}
		if w.ID == k.Sticky {
			return w
		}
		if best == nil || k.q.better(w, best) {
			best = w
		}
	}
	return best
}

// better tells whether a comes before b.
func (q *queue) better(a, b *worker) bool {
	if a.Kind != b.Kind {
		return a.Kind == wire.OriginBot
	}
	if q.cfg.Scoring == Banded {
		if x, y := a.band(), b.band(); x != y {
			return x < y
		}
	}
	if x, y := a.score(q), b.score(q); x != y {
		return x > y
	}
	if a.last != b.last {
		return a.last < b.last
	}
	return a.ID < b.ID
}

const bands = 4

// band is the quarter of the slots that is in use.
func (w *worker) band() int { return w.used * bands / max(w.Slots, 1) }

// prior is the rating of a worker that nobody has rated yet.
const prior = 0.7

// score is in [0,1]; every term is, so none drowns another.
func (w *worker) score(q *queue) float64 {
	skill, rating := 1.0, w.Rating
	if len(w.Skills) > 0 {
		skill = w.Skills[q.cfg.Name]
	}
	if rating == 0 {
		rating = prior
	}
	load := 0.0
	if q.cfg.Scoring == Weighted {
		load = float64(w.used) / float64(max(w.Slots, 1))
	}
	return 0.4*skill + 0.3*(1-load) + 0.3*rating
}

// take gives k, which waits, to w.
func (c *Core) take(k *task, w *worker, now int64, out *Effects) {
	heap.Remove(&k.q.waiting, k.n)
	c.give(k, w, now, out)
}

// give uses a slot of w for k: a bot has it, a human is offered it [SW-5.2].
func (c *Core) give(k *task, w *worker, now int64, out *Effects) {
	w.used++
	k.worker = w
	c.turns++
	w.last = c.turns
	if w.Kind == wire.OriginBot {
		c.grant(k, "", 0, now, out)
		return
	}
	o := &offer{id: c.offerID(), task: k, worker: w, ticket: k.Ticket, sess: k.Session}
	k.phase, k.offer = offered, o
	c.offers[o.id] = o
	ttl := k.q.cfg.OfferTTLMS
	c.due.add(now+ttl, timer{kind: endOffer, worker: o.id})
	out.add(Effect{Kind: Offered, Conn: w.conn, Offer: o.id, Session: k.Session, Queue: k.Queue, At: ttl, Summary: k.Summary})
}

// grant tells the session, again and again until it answers.
func (c *Core) grant(k *task, offerID string, request uint64, now int64, out *Effects) {
	w := k.worker
	reason := "route"
	switch {
	case k.To != "":
		reason = "transfer"
	case k.Requeue:
		reason = "requeue"
	case k.Sticky == w.ID:
		reason = "sticky"
	}
	k.phase = granted
	k.grant = Effect{
		Kind: Grant, Session: k.Session, Ticket: k.Ticket, Queue: k.Queue, Worker: &w.Worker, Conn: w.conn, Lease: w.lease,
		Reason: reason, Offer: offerID, Request: request,
	}
	out.add(k.grant)
	c.due.add(now+c.cfg.RepeatMS, timer{kind: repeatGrant, session: k.Session, ticket: k.Ticket})
}

// endOffer makes o terminal [I6] and tells the worker when the end was not its own doing.
func (c *Core) endOffer(o *offer, end string, out *Effects) {
	o.end, o.task = end, nil
	c.remember(o)
	if end != "accepted" && end != "declined" {
		out.add(Effect{Kind: OfferEnded, Conn: o.worker.conn, Offer: o.id, Why: end})
	}
}

// Accept is a human's yes [SW-5.2]. The session answers it when the assignment is durable; an accept that comes twice
// gets the same answer.
func (c *Core) Accept(conn wire.Conn, id string, request uint64, now int64, out *Effects) {
	fail := func(slug wire.Slug) {
		out.add(Effect{Kind: Failed, Verb: wire.VerbAccept, Conn: conn, Request: request, Slug: slug})
	}
	w, o := c.conns[conn], c.offers[id]
	if w == nil {
		fail(wire.NoWorker)
		return
	}
	if o == nil || o.worker != w {
		fail(wire.OfferRescinded)
		return
	}
	switch o.end {
	case "":
		k := o.task
		c.endOffer(o, "accepted", out)
		k.offer = nil
		c.grant(k, id, request, now, out)
	case "accepted":
		if h := c.holds[o.sess]; h != nil && h.ticket == o.ticket {
			out.add(Effect{Kind: Accepted, Verb: wire.VerbAccept, Conn: conn, Request: request, Session: h.session, AE: h.ae})
			return
		}
		if k := c.tasks[o.sess]; k != nil && k.Ticket == o.ticket && k.phase == granted {
			k.grant.Request, k.grant.Conn = request, conn // the session has not answered the first: answer the second
			out.add(k.grant)
			return
		}
		fail(wire.OfferRescinded)
	case "expired":
		fail(wire.OfferExpired)
	default:
		fail(wire.OfferRescinded)
	}
}

// Decline is a human's no: the session goes back to its place, and to somebody else first.
func (c *Core) Decline(conn wire.Conn, id string, request uint64, now int64, out *Effects) {
	w, o := c.conns[conn], c.offers[id]
	if w == nil || o == nil || o.worker != w || o.end != "" {
		slug := wire.OfferRescinded
		if o != nil && o.end == "expired" {
			slug = wire.OfferExpired
		}
		out.add(Effect{Kind: Failed, Verb: wire.VerbDecline, Conn: conn, Request: request, Slug: slug})
		return
	}
	k := o.task
	c.endOffer(o, "declined", out)
	out.add(Effect{Kind: Done, Verb: wire.VerbDecline, Conn: conn, Request: request})
	w.used--
	exclude(k, w)
	c.back(k, "declined", now, out)
	c.freed(w, now, out)
}

// exclude keeps k from w; after many declines the oldest may be asked again.
func exclude(k *task, w *worker) {
	const most = 8
	if len(k.Exclude) == most {
		k.Exclude = k.Exclude[1:]
	}
	k.Exclude = append(slices.Clone(k.Exclude), w.ID)
}

func heapPush(l *line, k *task) { heap.Push(l, k) }
