package broker

import (
	"cmp"
	"slices"

	"switchboard/wire"
)

// Core is one pool: the queues and workers of a tenant, and who is with whom. One goroutine owns it; nothing here is safe
// for concurrent use. Every method that is handed the time appends what came of it to out.
type Core struct {
	cfg    Config
	order  []*queue // as configured
	queues map[string]*queue

	classes  map[string]*class
	sessions map[wire.SessionID]*task // the newest of each; the others follow
	workers  map[string]*worker
	conns    map[wire.Conn]*worker
	offers   map[string]*task // by offer id: offered, granted, held, lost
	ended    memory           // offers that are no more

	timers heap[*timer]
	now    int64
	count  uint64 // of timers set
	served uint64 // of assignments made
	open   bool   // the census is taken: matching goes on
	census census
	number uint64 // p
	offerN uint64
	tasks  int
	looks  uint64 // at queues
	// manyClasses is how many classes there may be before unused ones are dropped.
	manyClasses int

	// Reused.
	spare   *task
	front   []spot
	skills  []Skill
	key     []byte
	scratch []*task
	aged    []*task
}

// New returns a pool that matches nothing until [Core.Open] and its census. cfg must be valid.
func New(cfg Config) *Core {
	c := &Core{
		cfg:         cfg.withDefaults(),
		queues:      make(map[string]*queue),
		classes:     make(map[string]*class),
		sessions:    make(map[wire.SessionID]*task),
		workers:     make(map[string]*worker),
		conns:       make(map[wire.Conn]*worker),
		offers:      make(map[string]*task),
		ended:       newMemory(),
		manyClasses: maxIdle,
	}
	for _, q := range c.cfg.Queues {
		line := &queue{Queue: q}
		c.order = append(c.order, line)
		c.queues[q.Name] = line
	}
	return c
}

// find returns the task of a session under ticket, or nil.
func (c *Core) find(session wire.SessionID, ticket uint64) *task {
	for t := c.sessions[session]; t != nil; t = t.next {
		if t.ticket == ticket {
			return t
		}
	}
	return nil
}

// demand returns the session's task that looks for a worker or waits for the session's word, or nil. There is at most one.
func (c *Core) demand(session wire.SessionID) *task {
	for t := c.sessions[session]; t != nil; t = t.next {
		if t.state <= granted {
			return t
		}
	}
	return nil
}

// newTask makes a task of the session, in no line and of no worker.
func (c *Core) newTask(q *queue, in *Task) *task {
	t := c.spare
	if t == nil {
		t = &task{}
	} else {
		c.spare = t.next
	}
	bars := t.bars[:0]
	*t = task{
		session: in.Session, ticket: in.Ticket, class: c.classOf(q, in), rank: q.Priority,
		key: in.EnqueuedAt - in.BoostMS, enqueuedAt: in.EnqueuedAt, cost: max(in.Cost, 1),
		sticky: in.Sticky, to: in.To, force: in.Force, humansOnly: in.HumansOnly, requeue: in.Requeue, summary: in.Summary, bars: bars,
	}
	switch q.Order {
	case Strict:
		t.priority = in.Priority
	case FIFO:
		t.key = in.EnqueuedAt
	}
	t.timer.task = t
	for k := range t.line {
		t.line[k].t = t
	}
	for _, w := range in.Exclude[:min(len(in.Exclude), maxBars)] {
		t.bar(w, c.now+c.cfg.BarMS)
	}
	t.next = c.sessions[t.session]
	c.sessions[t.session] = t
	t.class.tasks++
	c.tasks++
	return t
}

// free ends t, whatever it was. Its worker takes what waits for it.
func (c *Core) free(t *task, out *Effects) {
	w := t.worker
	c.drop(t)
	if w != nil {
		c.relieved(w, out)
	}
}

// relieved lets w, who has a task less, take another, or go.
func (c *Core) relieved(w *worker, out *Effects) {
	if w.gone && len(w.tasks) == 0 {
		c.forget(w)
		return
	}
	c.serve(w, out)
}

// drop takes t out of everything.
func (c *Core) drop(t *task) {
	c.timers.remove(&t.timer)
	if t.worker == nil {
		c.unwait(t)
	} else {
		t.worker.discharge(t)
	}
	if t.offer != "" {
		delete(c.offers, t.offer)
	}
	if first := c.sessions[t.session]; first != t {
		for first.next != t {
			first = first.next
		}
		first.next = t.next
	} else if t.next != nil {
		c.sessions[t.session] = t.next
	} else {
		delete(c.sessions, t.session)
	}
	t.class.tasks--
	c.tasks--
	bars := t.bars[:0]
	clear(t.also)
	*t = task{bars: bars, also: t.also[:0], next: c.spare}
	c.spare = t
}

// inOrder sorts tasks as they are served.
func inOrder(tasks []*task) {
	slices.SortFunc(tasks, func(a, b *task) int {
		switch {
		case a.before(b):
			return -1
		case b.before(a):
			return 1
		}
		return cmp.Compare(a.ticket, b.ticket)
	})
}
