package broker

import (
	"slices"
	"sort"

	"switchboard/wire"
)

// Worker is a subscriber as its token and its subscription describe it [SW-5.7].
type Worker struct {
	ID     string // sub, and "/instance" when it named one
	Sub    string
	Name   string
	Kind   wire.Origin // bot or human
	Queues []string
	Slots  int
	Window uint32
	Skills map[string]float64 // level 0..1
	Rating float64            // 0..1; 0 means not known yet
}

// The states of presence [SW-5.9].
const (
	Ready    = "ready"
	Away     = "away"
	Draining = "draining"
)

// worker is a Worker as the pool knows it.
type worker struct {
	Worker
	conn     wire.Conn // zero while it is gone
	lease    string
	state    string
	used     int // offers, grants, assignments and wrap-ups
	holds    []*hold
	last     uint64 // the turn in which it was assigned something; ties go to the lowest
	graceEnd int64
	graces   uint64 // counts disconnects: an older timer means nothing
	queued   []*queue
}

func (w *worker) remove(h *hold) {
	if i := slices.Index(w.holds, h); i >= 0 {
		w.holds = slices.Delete(w.holds, i, i+1)
	}
}

// free tells whether w can be given something now.
func (w *worker) free() bool {
	return w.state == Ready && w.used < w.Slots && w.conn != wire.Conn{}
}

// Subscribe makes w available on conn [SW-5.7]. lease is what the client shows, newLease an unguessable one to give out
// when the worker begins anew. A live subscription of the same worker is taken over with all that it has. A worker that
// comes back inside its grace with its lease keeps its assignments; without it, it begins anew, and what the one before it had
// is given up at the end of the grace.
func (c *Core) Subscribe(in *Worker, conn wire.Conn, lease, newLease string, request uint64, now int64, out *Effects) {
	for _, q := range in.Queues {
		if c.queues[q] == nil {
			out.add(Effect{Kind: Failed, Verb: wire.VerbSubscribe, Conn: conn, Request: request, Slug: wire.NoQueue})
			return
		}
	}
	w := c.workers[in.ID]
	fresh := w == nil
	if fresh {
		w = &worker{lease: newLease, state: Ready}
		c.workers[in.ID] = w
	}
	if other := c.conns[conn]; other != nil && other != w {
		c.ConnLost(conn, now, out)
	}
	switch {
	case fresh:
	case w.conn != (wire.Conn{}) && w.conn != conn: // [SW-5.7] the second takes over
		out.add(Effect{Kind: Revoked, Conn: w.conn, Worker: &w.Worker, Why: "takeover"})
		delete(c.conns, w.conn)
		c.rescind(w, now, out)
	case w.conn == (wire.Conn{}) && lease != w.lease:
		// Somebody else's return, or a process without memory: it does not get what it cannot know of.
		c.giveUp(w, now, out)
		w.lease = newLease
	}
	if w.state == Away {
		w.state = Ready
	}
	c.unlist(w)
	w.Worker, w.conn = *in, conn
	w.graces++
	c.conns[conn] = w
	for _, name := range w.Queues {
		q := c.queues[name]
		q.workers = append(q.workers, w)
		w.queued = append(w.queued, q)
	}
	c.count(w)
	e := Effect{Kind: Subscribed, Verb: wire.VerbSubscribe, Conn: conn, Request: request, Lease: w.lease}
	for _, h := range w.holds {
		if !h.wrapup && !h.lost {
			e.Kept = append(e.Kept, Kept{h.session, h.ae})
		}
	}
	out.add(e)
	for _, h := range w.holds {
		if !h.wrapup && !h.lost {
			out.add(Effect{Kind: Rebind, Session: h.session, AE: h.ae, Worker: &w.Worker, Conn: conn, Lease: w.lease})
		}
	}
	c.freed(w, now, out)
}

// giveUp tells the sessions of a worker that comes back without its lease that it is lost to them.
func (c *Core) giveUp(w *worker, now int64, out *Effects) {
	for _, h := range w.holds {
		if !h.wrapup && !h.lost {
			h.lost = true
			c.lose(h, now, out)
		}
	}
}

func (c *Core) lose(h *hold, now int64, out *Effects) {
	out.add(Effect{Kind: Lost, Session: h.session, AE: h.ae, Worker: &h.worker.Worker})
	c.due.add(now+c.cfg.RepeatMS, timer{kind: repeatLost, session: h.session, ticket: h.ae})
}

// unlist takes w out of its queues.
func (c *Core) unlist(w *worker) {
	for _, q := range w.queued {
		if i := slices.Index(q.workers, w); i >= 0 {
			q.workers = slices.Delete(q.workers, i, i+1)
		}
		q.count()
	}
	w.queued = w.queued[:0]
}

// count brings the number of ready bots of w's queues up to date.
func (c *Core) count(w *worker) {
	for _, q := range w.queued {
		q.count()
	}
}

func (q *queue) count() {
	q.bots = 0
	for _, w := range q.workers {
		if w.Kind == wire.OriginBot && w.state == Ready && (w.conn != wire.Conn{}) {
			q.bots++
		}
	}
}

// ConnLost is the end of a worker's connection: its offers are rescinded, its grace begins [SW-5.7].
func (c *Core) ConnLost(conn wire.Conn, now int64, out *Effects) {
	w := c.conns[conn]
	if w == nil {
		return
	}
	delete(c.conns, conn)
	w.conn = wire.Conn{}
	c.rescind(w, now, out)
	c.startGrace(w, now)
	queues := slices.Clone(w.queued)
	c.unlist(w)
	for _, q := range queues {
		c.match(q, now, out) // without it the humans' step may be open
	}
}

func (c *Core) startGrace(w *worker, now int64) {
	w.graces++
	w.graceEnd = now + c.cfg.GraceBotsMS
	if w.Kind == wire.OriginHuman {
		w.graceEnd = now + c.cfg.GraceHumansMS
	}
	c.due.add(w.graceEnd, timer{kind: endGrace, worker: w.ID, ticket: w.graces})
}

// rescind takes back what is offered to w and not accepted.
func (c *Core) rescind(w *worker, now int64, out *Effects) {
	for _, k := range c.sortedTasks() {
		if k.phase == offered && k.worker == w {
			c.endOffer(k.offer, "rescinded", out)
			w.used--
			c.back(k, "source_lost", now, out)
		}
	}
}

// back puts k into its line again, at its old place [I10]; a transfer to a worker fails instead.
func (c *Core) back(k *task, why string, now int64, out *Effects) {
	k.phase, k.worker, k.offer = waiting, nil, nil
	if k.To != "" {
		c.forget(k)
		out.add(Effect{Kind: NoGrant, Session: k.Session, Ticket: k.Ticket, Why: why})
		return
	}
	heapPush(&k.q.waiting, k)
	c.place(k, now, out)
}

// Presence changes what a worker is ready for [SW-5.9].
func (c *Core) Presence(conn wire.Conn, state, reason string, request uint64, now int64, out *Effects) {
	w := c.conns[conn]
	e := Effect{Kind: Done, Verb: wire.VerbPresence, Conn: conn, Request: request, State: state, Why: reason}
	switch {
	case w == nil:
		e.Kind, e.Slug = Failed, wire.NoWorker
	case state != Ready && state != Away && state != Draining:
		e.Kind, e.Slug = Failed, wire.BadRequest
	default:
		c.setState(w, state, now, out)
	}
	out.add(e)
	if w != nil && w.state == Ready {
		c.freed(w, now, out)
	}
}

func (c *Core) setState(w *worker, state string, now int64, out *Effects) {
	w.state = state
	c.count(w)
	if state != Ready {
		for _, q := range w.queued {
			c.match(q, now, out)
		}
	}
}

// Slots changes how many sessions a worker holds [SW-5.1]. Fewer than it has takes nothing away.
func (c *Core) Slots(conn wire.Conn, n int, request uint64, now int64, out *Effects) {
	w := c.conns[conn]
	if w == nil {
		out.add(Effect{Kind: Failed, Verb: wire.VerbSlots, Conn: conn, Request: request, Slug: wire.NoWorker})
		return
	}
	w.Slots = n
	out.add(Effect{Kind: Done, Verb: wire.VerbSlots, Conn: conn, Request: request})
	c.freed(w, now, out)
}

// sorted returns the workers in the order of their ids: nothing depends on the order of a map [I13].
func (c *Core) sorted() []*worker {
	list := make([]*worker, 0, len(c.workers))
	for _, w := range c.workers {
		list = append(list, w)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID < list[j].ID })
	return list
}

func (c *Core) sortedQueues() []*queue {
	list := make([]*queue, 0, len(c.queues))
	for _, q := range c.queues {
		list = append(list, q)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].cfg.Name < list[j].cfg.Name })
	return list
}

func (c *Core) sortedTasks() []*task {
	list := make([]*task, 0, len(c.tasks))
	for _, k := range c.tasks {
		list = append(list, k)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Session < list[j].Session })
	return list
}
