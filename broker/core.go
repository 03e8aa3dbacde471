package broker

import (
	"container/heap"
	"strconv"

	"switchboard/wire"
)

// Core is one pool. It has one owner; nothing here is safe for concurrent use.
type Core struct {
	cfg     Config
	pool    uint64 // its number
	queues  map[string]*queue
	workers map[string]*worker
	conns   map[wire.Conn]*worker
	tasks   map[wire.SessionID]*task // waiting, offered or granted and not confirmed
	holds   map[wire.SessionID]*hold // assigned, in wrap-up
	offers  map[string]*offer
	ended   []string // offers that are over, oldest first, for accepts that come twice
	due     timers
	number  uint64 // of the next offer
	turns   uint64 // counts assignments: the order in which workers got something
	opening bool   // a census is under way: nothing is matched
}

// queue is a waiting line.
type queue struct {
	cfg     Queue
	waiting line
	workers []*worker
	bots    int // ready bots with a connection
}

// phase is how far a task is.
type phase uint8

const (
	waiting phase = iota
	offered
	granted
)

// task is a session that needs somebody.
type task struct {
	wire.Task
	q      *queue
	key    int64
	n      int // place in the line, or -1
	phase  phase
	worker *worker // that it is offered or granted to
	offer  *offer
	grant  Effect // to be repeated
	humans bool   // the step of the humans is open
}

// hold is capacity that a session has of a worker.
type hold struct {
	session wire.SessionID
	ticket  uint64
	ae      uint64
	worker  *worker
	queue   string
	lease   string
	wrapup  bool
	lost    bool // the session was told, and has not given it back yet
}

// offer is a session shown to a human.
type offer struct {
	id     string
	task   *task
	worker *worker
	end    string // accepted, declined, expired, rescinded; terminal, never changes [I6]
	ticket uint64
	sess   wire.SessionID
}

// New returns an empty pool with its number. Until Opened is called it matches nothing.
func New(cfg Config, pool uint64) *Core {
	cfg.defaults()
	c := &Core{
		cfg: cfg, pool: pool, queues: map[string]*queue{}, workers: map[string]*worker{}, conns: map[wire.Conn]*worker{},
		tasks: map[wire.SessionID]*task{}, holds: map[wire.SessionID]*hold{}, offers: map[string]*offer{}, opening: true,
	}
	for _, q := range cfg.Queues {
		c.queues[q.Name] = &queue{cfg: q, waiting: line{order: q.Order}}
	}
	return c
}

// Pool returns the pool's number.
func (c *Core) Pool() uint64 { return c.pool }

// LeaseMS returns what workers are told of their lease.
func (c *Core) LeaseMS() int64 { return c.cfg.LeaseMS }

// Restore puts in a live task that a session's log knows of. An assignment's worker counts as gone: its grace begins
// when the pool is opened.
func (c *Core) Restore(l *wire.Live, now int64, out *Effects) {
	if !l.Assigned {
		c.Offer(&l.Task, now, out)
		return
	}
	w := c.workers[l.Worker]
	if w == nil {
		w = &worker{Worker: Worker{ID: l.Worker, Kind: l.Kind}, state: Ready, lease: l.Lease}
		c.workers[w.ID] = w
	}
	if w.lease == "" {
		w.lease = l.Lease
	}
	if h := c.holds[l.Session]; h != nil && h.ae >= l.AE {
		return
	}
	h := &hold{session: l.Session, ticket: l.Ticket, ae: l.AE, worker: w, queue: l.Queue, lease: l.Lease}
	c.holds[l.Session] = h
	w.used++
	w.holds = append(w.holds, h)
	if l.Offer != "" {
		c.remember(&offer{id: l.Offer, worker: w, end: "accepted", ticket: l.Ticket, sess: l.Session})
	}
}

// Opened ends the census: from now on the pool matches.
func (c *Core) Opened(now int64, out *Effects) {
	c.opening = false
	for _, w := range c.sorted() {
		if w.conn == (wire.Conn{}) && len(w.holds) > 0 {
			c.startGrace(w, now)
		}
	}
	for _, q := range c.sortedQueues() {
		c.match(q, now, out)
	}
}

// Offer is a session's word that it waits [I10]. It may come any number of times.
func (c *Core) Offer(t *wire.Task, now int64, out *Effects) {
	if old := c.tasks[t.Session]; old != nil {
		if old.Ticket >= t.Ticket {
			if old.Ticket == t.Ticket && old.phase == granted {
				out.add(old.grant)
			}
			return
		}
		c.drop(old, "rescinded", now, out)
	}
	if h := c.holds[t.Session]; h != nil && !h.wrapup {
		if h.ticket >= t.Ticket {
			return
		}
		if t.To == "" { // the session queued again, so it has given the old assignment back
			c.release(h, 0, now, out)
		}
	}
	q := c.queues[t.Queue]
	if q == nil {
		out.add(Effect{Kind: NoGrant, Session: t.Session, Ticket: t.Ticket, Why: string(wire.NoQueue)})
		return
	}
	k := &task{Task: *t, q: q, n: -1, humans: t.HumansOnly}
	k.key = q.keyOf(k)
	c.tasks[t.Session] = k
	if t.To != "" {
		c.target(k, now, out)
		return
	}
	heap.Push(&q.waiting, k)
	if !k.humans {
		c.due.add(now+q.cfg.HumansAfterMS, timer{kind: openHumans, session: k.Session, ticket: k.Ticket})
	}
	if !c.opening {
		c.place(k, now, out)
	}
}

// keyOf returns the place of k in its line: smaller comes first.
func (q *queue) keyOf(k *task) int64 {
	if q.cfg.Order == Ageing {
		return k.EnqueuedAt - int64(k.Priority)*q.cfg.BoostMS
	}
	return k.EnqueuedAt
}

// target offers k to the one worker that a transfer names [SW-5.8].
func (c *Core) target(k *task, now int64, out *Effects) {
	w := c.workers[k.To]
	switch {
	case w == nil || w.conn == (wire.Conn{}) || w.state != Ready:
		c.forget(k)
		out.add(Effect{Kind: NoGrant, Session: k.Session, Ticket: k.Ticket, Why: "away"})
	case w.used >= w.Slots:
		c.forget(k)
		out.add(Effect{Kind: NoGrant, Session: k.Session, Ticket: k.Ticket, Why: "full"})
	default:
		c.give(k, w, now, out)
	}
}

// Withdraw is a session's word that it needs nobody under a ticket any more.
func (c *Core) Withdraw(session wire.SessionID, ticket uint64, now int64, out *Effects) {
	if k := c.tasks[session]; k != nil && k.Ticket <= ticket {
		c.drop(k, "rescinded", now, out)
	}
}

// Confirm is a session's word that the grant under ticket is durable.
func (c *Core) Confirm(session wire.SessionID, ticket uint64, worker, lease string, ae uint64, now int64, out *Effects) {
	k := c.tasks[session]
	if k == nil || k.Ticket != ticket || k.phase != granted || k.worker.ID != worker {
		return // it came twice, or late
	}
	if old := c.holds[session]; old != nil {
		c.release(old, 0, now, out) // the source of a transfer, or a wrap-up
	}
	w := k.worker
	h := &hold{session: session, ticket: ticket, ae: ae, worker: w, queue: k.Queue, lease: lease}
	c.holds[session] = h
	w.holds = append(w.holds, h)
	c.forget(k) // its capacity is the hold's now
	if w.conn != k.grant.Conn && w.conn != (wire.Conn{}) {
		out.add(Effect{Kind: Rebind, Session: session, AE: ae, Worker: &w.Worker, Conn: w.conn, Lease: w.lease})
	}
}

// Declined is a session's word that it did not take the grant under ticket.
func (c *Core) Declined(session wire.SessionID, ticket uint64, now int64, out *Effects) {
	k := c.tasks[session]
	if k == nil || k.Ticket != ticket || k.phase != granted {
		return
	}
	w := k.worker
	c.forget(k)
	w.used--
	c.freed(w, now, out)
}

// Release gives back what session has of a worker under ae, after wrapUp ms.
func (c *Core) Release(session wire.SessionID, ae uint64, wrapUp, now int64, out *Effects) {
	if h := c.holds[session]; h != nil && h.ae <= ae && !h.wrapup {
		c.release(h, wrapUp, now, out)
	}
}

func (c *Core) release(h *hold, wrapUp, now int64, out *Effects) {
	if wrapUp > 0 {
		h.wrapup = true
		c.due.add(now+wrapUp, timer{kind: endWrapup, session: h.session, ticket: h.ae})
		return
	}
	delete(c.holds, h.session)
	w := h.worker
	w.remove(h)
	w.used--
	c.freed(w, now, out)
}

// WrapupDone is a human's word that it is done with what it released.
func (c *Core) WrapupDone(conn wire.Conn, session wire.SessionID, ae, request uint64, now int64, out *Effects) {
	h := c.holds[session]
	if h != nil && h.wrapup && h.ae == ae && h.worker.conn == conn {
		c.release(h, 0, now, out)
	}
	out.add(Effect{Kind: Done, Verb: wire.VerbWrapup, Conn: conn, Request: request})
}

// drop ends k wherever it stands. Capacity that was granted and not confirmed comes back when the session declines.
func (c *Core) drop(k *task, why string, now int64, out *Effects) {
	switch k.phase {
	case waiting:
		c.forget(k)
	case offered:
		w := k.worker
		c.endOffer(k.offer, why, out)
		c.forget(k)
		w.used--
		c.freed(w, now, out)
	case granted:
		w := k.worker
		c.forget(k)
		w.used--
		c.freed(w, now, out)
	}
}

func (c *Core) forget(k *task) {
	if k.n >= 0 {
		heap.Remove(&k.q.waiting, k.n)
	}
	if c.tasks[k.Session] == k {
		delete(c.tasks, k.Session)
	}
}

// remember keeps a terminal offer for accepts that come twice.
func (c *Core) remember(o *offer) {
	const kept = 1024
	c.offers[o.id] = o
	c.ended = append(c.ended, o.id)
	if len(c.ended) > kept {
		delete(c.offers, c.ended[0])
		c.ended = append(c.ended[:0], c.ended[1:]...)
	}
}

func (c *Core) offerID() string {
	c.number++
	return "o_" + strconv.FormatUint(c.pool, 10) + "_" + strconv.FormatUint(c.number, 10)
}

// line is the heap of waiting tasks of a queue.
type line struct {
	order Order
	list  []*task
}

func (l *line) Len() int { return len(l.list) }
func (l *line) Less(i, j int) bool {
	return l.before(l.list[i], l.list[j])
}

func (l *line) before(a, b *task) bool {
	if l.order == Strict && a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	if a.key != b.key {
		return a.key < b.key
	}
	return a.Session < b.Session
}

func (l *line) Swap(i, j int) {
	l.list[i], l.list[j] = l.list[j], l.list[i]
	l.list[i].n, l.list[j].n = i, j
}

// Push implements heap.Interface.
func (l *line) Push(v any) {
	k := v.(*task) //nolint:forcetypeassert // only tasks are pushed
	k.n = len(l.list)
	l.list = append(l.list, k)
}

// Pop implements heap.Interface.
func (l *line) Pop() any {
	k := l.list[len(l.list)-1]
	l.list[len(l.list)-1] = nil
	l.list = l.list[:len(l.list)-1]
	k.n = -1
	return k
}
