package broker

import (
	"cmp"
	"math"
	"slices"

	"switchboard/internal/prefetch"
	"switchboard/wire"
)

// Core is one pool: the queues and workers of a tenant, and who is with whom. One goroutine owns it; nothing here is safe
// for concurrent use. Every method that is handed the time appends what came of it to out.
type Core struct {
	cfg       Config
	order     []*queue // as configured, those that are closed behind
	queues    map[string]*queue
	everybody *queue // all workers
	shops     map[string]*shop
	clocks    []*clock
	chimes    int64 // when the next of them changes; 0 is never

	plans    planBook
	classes  map[string]*class
	rankings map[string]*ranking
	sessions sessionBook
	roll     []onRoll // of the session of each task, in an order that follows from what came and went
	workers  map[string]*worker
	conns    map[wire.Conn]*worker
	offers   map[string]*task // by offer id: offered, granted, held, lost
	ended    memory           // offers that are no more

	timers heap[alarm]
	now    int64
	count  uint64 // of timers set
	served uint64 // of assignments made
	open   bool   // the census is taken: matching goes on
	census census
	number uint64 // p
	offerN uint64
	tasks  int
	looks  uint64 // at queues
	trace  trace

	blocks  blocks // of all rankings
	taker   taker
	ladder  ladder
	calling int // classes in which somebody waits

	members     int // stands in all rankings, one for each 64 classes
	heldAgainst int // workers who were held against a class when it was made, ever
	manyPlans   int // so many plans may there be before unused ones are forgotten
	manyMembers int
	virtual     float64 // the time of fair sharing
	round       uint64  // of looks at what waits

	anew *rerouting // a configuration that is being taken up; nil when none is
	era  uint32     // of configurations: plans are of one

	// Before calm nobody who waits has come to a last resort because nobody is there, and a transfer waits for whom it is for: whoever was there may be
	// on his way back.
	calm    int64
	awaited map[string][]*task // transfers that wait for a worker, by his id

	// While tasks are put anew in line.
	turned []*class // staffed or not by now, as steps do not go by yet

	// Of one event, done at its end by settle; while nobody is matched, of several.
	dirty []*plan   // some of its steps opened or closed with somebody's coming or going
	moved []*task   // wait, and somebody may be there for them
	freed []*worker // may take something that waits
	most  int       // tasks that one event puts anew in line; 0 is no bound

	// Reused.
	spare  *task
	front  []spot
	skills []Skill
	key    []byte
	aged   []*task
	heads  []*lane
	top    []*rank
}

// New returns a pool that matches nothing until [Core.Open] and its census. cfg must be valid.
func New(cfg Config) *Core {
	c := &Core{
		queues:      make(map[string]*queue),
		everybody:   &queue{},
		plans:       newPlanBook(),
		classes:     make(map[string]*class),
		rankings:    make(map[string]*ranking),
		sessions:    newSessionBook(),
		workers:     make(map[string]*worker),
		conns:       make(map[wire.Conn]*worker),
		offers:      make(map[string]*task),
		awaited:     make(map[string][]*task),
		ended:       newMemory(),
		manyPlans:   maxPlans,
		manyMembers: maxMembers,
	}
	c.adoptConfig(cfg)
	return c
}

// NewInPieces is New for an owner who serves others as well: what puts more than most tasks anew in line, as a step that opens or closes for all of them
// or the end of the census, is left to [Core.Continue], as a configuration is.
func NewInPieces(cfg Config, most int) *Core {
	c := New(cfg)
	c.most = most
	return c
}

// find returns the task of a session under ticket, or nil.
func (c *Core) find(session wire.SessionID, ticket uint64) *task {
	for t := c.sessions.get(session); t != nil; t = t.next {
		if t.ticket == ticket {
			return t
		}
	}
	return nil
}

// demand returns the session's task that looks for a worker or waits for the session's word, or nil. There is at most one.
func (c *Core) demand(session wire.SessionID) *task {
	for t := c.sessions.get(session); t != nil; t = t.next {
		if t.state <= granted {
			return t
		}
	}
	return nil
}

// recycled returns an empty task.
func (c *Core) recycled() *task {
	t := c.spare
	if t == nil {
		t = &task{}
	} else {
		c.spare = t.next
	}
	t.next, t.step = nil, -1
	t.timer.task = t
	return t
}

// recycle takes t, which stands nowhere, for the next.
func (c *Core) recycle(t *task) {
	clear(t.also)
	clear(t.bids)
	*t = task{bars: t.bars[:0], also: t.also[:0], lines: t.lines[:0], bids: t.bids[:0], next: c.spare}
	c.spare = t
}

// newTask makes a task of the session, in no line and of no worker.
func (c *Core) newTask(q *queue, in *Task) *task {
	t := c.recycled()
	t.session, t.ticket = in.Session, in.Ticket
	c.describe(t, q, in)
	for _, w := range in.Exclude[:min(len(in.Exclude), maxBars)] {
		t.bar(w, c.now+c.cfg.BarMS)
	}
	if q.StickyMS > 0 && t.sticky != "" && !t.plan.question {
		switch w := c.workers[t.sticky]; {
		case !c.open: // it is looked at when t comes into line; who has waited longer is not held once more
			t.hold = t.enqueuedAt + q.StickyMS
		case c.holds(w, t), c.expects(w, t), c.anew != nil && w != nil && w.there(): // it is looked at again when t comes into line
			t.hold = c.now + q.StickyMS
		}
	}
	c.sessions.put(t)
	t.onRoll = len(c.roll)
	c.roll = append(c.roll, onRoll{t.session, t})
	c.tasks++
	return t
}

// onRoll is a task in a list of all, with its session's name: whoever needs all names need not touch the tasks, which are far away.
type onRoll struct {
	session wire.SessionID
	t       *task
}

// unroll takes t off the roll.
func (c *Core) unroll(t *task) {
	last := len(c.roll) - 1
	c.roll[t.onRoll] = c.roll[last]
	c.roll[t.onRoll].t.onRoll = t.onRoll
	c.roll[last] = onRoll{}
	c.roll = c.roll[:last]
}

// describe makes t, which stands in no line, what in says of it in q.
func (c *Core) describe(t *task, q *queue, in *Task) {
	t.version, t.enqueuedAt, t.sticky, t.to = in.Version, in.EnqueuedAt, in.Sticky, in.To
	t.force, t.humansOnly, t.requeue, t.handed, t.summary = in.Force, in.HumansOnly, in.Requeue, in.Handed, in.Summary
	t.classified, t.present = in.Classified, in.Present
	t.said.ahead = in.Ahead
	t.said.cost, t.said.priority, t.said.boostMS, t.attributes = in.Cost, in.Priority, in.BoostMS, in.Attributes
	c.aim(t, c.planOf(q, in))
}

// aim gives t, which stands in no line, another plan, and the place that follows from it.
func (c *Core) aim(t *task, p *plan) {
	was := t.plan
	t.plan, t.era, t.into = p, c.era, nil
	p.tasks++
	p.queue.tasks++
	if was != nil {
		was.tasks--
		c.lessIn(was.queue)
	}
	if p.question && t.answerBy == 0 {
		t.answerBy = max(c.now+or(p.queue.Steps[0].OfferTTLMS, classifyMS), 1)
	}
	boost := t.said.boostMS + p.boost
	if m := p.queue.MaxBoostMS; m > 0 {
		boost = min(boost, m)
	}
	t.priority, t.key = 0, t.enqueuedAt-boost
	switch p.queue.Order {
	case Strict:
		t.priority = t.ranks()
	case FIFO:
		t.key = t.enqueuedAt
	}
	if t.worker == nil {
		t.cost = p.cost
	}
}

// priorityAttribute is the task's attribute that tells how urgent it is, when its session does not.
const priorityAttribute = "priority"

// ranks returns the priority of t: what was said of it, else its attribute's, cut to a whole number.
func (t *task) ranks() int32 {
	if t.said.priority != 0 {
		return t.said.priority
	}
	x, _ := t.attributes.Get(priorityAttribute).Number()
	return int32(min(max(x, math.MinInt32), math.MaxInt32))
}

// again returns t as its session would say it anew.
func (t *task) again() Task {
	in := Task{Ahead: t.said.ahead, Cost: t.said.cost, Priority: t.said.priority, BoostMS: t.said.boostMS, Attributes: t.attributes}
	in.Session, in.Ticket, in.Version, in.Queue, in.EnqueuedAt, in.Skills = t.session, t.ticket, t.version, t.plan.queue.Name, t.enqueuedAt, t.plan.skills
	in.Classified, in.Present = t.classified, t.present
	in.Sticky, in.To, in.Force, in.HumansOnly, in.Requeue, in.Handed, in.Summary = t.sticky, t.to, t.force, t.humansOnly, t.requeue, t.handed, t.summary
	return in
}

// drop takes t, whose offers have ended, out of everything.
func (c *Core) drop(t *task) {
	if t.worker != nil {
		t.soon()
	}
	c.unset(&t.timer)
	if t.worker == nil {
		c.unwait(t)
		c.unawait(t)
	} else {
		c.discharge(t)
	}
	if t.offer != "" {
		delete(c.offers, t.offer)
	}
	c.sessions.remove(t)
	c.unroll(t)
	t.plan.tasks--
	c.lessIn(t.plan.queue)
	c.tasks--
	c.recycle(t)
}

// soon asks for what the end of t looks at besides, while its timer and others' are put right: its plan, its worker, and where he stands.
func (t *task) soon() {
	w := t.worker
	prefetch.Start(t.plan, planUsed)
	prefetch.Object(w)
	if len(w.feet) <= fewFeet { // of hundreds none may be looked at
		prefetch.Slice(w.feet)
	}
}

// lessIn notes that q has a task less.
func (c *Core) lessIn(q *queue) {
	if q.tasks--; q.closed && q.tasks == 0 && c.anew == nil { // others may be on their way to it
		c.closeQueue(q)
	}
}

// inOrder sorts tasks as they are served, over all queues of a pool.
func inOrder(tasks []*task) { slices.SortFunc(tasks, served) }

// served compares tasks as they are served, over all queues of a pool.
func served(a, b *task) int {
	switch x, y := a.plan.queue.Priority, b.plan.queue.Priority; {
	case x != y:
		return cmp.Compare(x, y)
	case a.before(b):
		return -1
	case b.before(a):
		return 1
	}
	return cmp.Compare(a.ticket, b.ticket)
}
