package broker

import (
	"math"
	"slices"

	"switchboard/broker/selector"
	"switchboard/wire"
)

// AttributesOf returns a session's attributes as routes see them: its JSON document, with shop and tier, which are its own,
// besides. What is no document, or above the bounds of [selector.ParseAttrs], leaves these two; the error says so.
func AttributesOf(doc []byte, shop, tier string) (selector.Attrs, error) {
	a, err := selector.ParseAttrs(doc)
	for _, x := range [...]selector.Attr{{Name: shopAttribute, Value: selector.StringOf(shop)}, {Name: "tier", Value: selector.StringOf(tier)}} {
		if text, _ := x.Value.Text(); text != "" {
			a = a.With(x.Name, x.Value)
		}
	}
	return a, err
}

// Skill is a worker's level in something, or the least that a task wants: 0..1.
type Skill = selector.Skill

// Task is what a session wants: somebody who takes it. Lists are not kept beyond the call.
type Task struct {
	Session    wire.SessionID
	Ticket     uint64 // grows at every queueing of the session
	Queue      string
	EnqueuedAt int64 // Unix ms; since when the customer waits [I10]
	Priority   int32 // of Strict queues; the smaller first; default by its attribute priority, without one 0
	BoostMS    int64 // of Ageing and Strict queues: counts as if it had come so much earlier
	Ahead      int   // so many steps of its route open before their time: each when the one so many before it does
	Cost       int   // slots that it takes, or All; default by its channel
	Skills     []Skill
	Exclude    []string // worker ids that shall not get it at once; the first 8 count
	Sticky     string   // worker id that is preferred while it can take it, before any step
	To         string   // worker id of a transfer: nobody else [SW-5.8]
	Force      bool     // To has it at once, whatever his slots and presence are [SW-5a.4]
	HumansOnly bool     // the bots had their turn
	Requeue    bool     // it was assigned before
	Handed     bool     // and its owner handed it to the queue
	Present    bool     // To is with it as a guest: he takes it without being asked
	Classified bool     // what there is to say of it was said: it is not asked about again [SW-5a.3]
	Summary    []byte   // for offers; shared, never changed
	// Attributes are what routes see of it: intent, tier, language, channel, shop and the like. They are shared, and never
	// changed. The same ticket with a higher Version is routed again by its new ones; it keeps its place by age.
	Attributes selector.Attrs
	Version    uint64
}

// state is where a task stands: queued → offered → assigned → wrapup → done.
type state uint8

const (
	waiting state = iota // in the lines of its class
	offered              // to worker, who may accept until the timer
	asking               // worker is asked about it until the timer; the session is nobody's
	granted              // to worker; its session has not answered
	held                 // by worker under ae
	lost                 // by worker; its session has not released it
	wrapup               // worker is busy with it until the timer, its session is not [SW-5.9]
)

// The reasons of a grant [SW-5].
const (
	reasonRoute    = "route"
	reasonSticky   = "sticky"
	reasonTransfer = "transfer"
	reasonRequeue  = "requeue"
	reasonOverflow = "overflow"
)

// maxBars bounds the workers that one task is kept from; beyond it the oldest is forgotten.
const maxBars = 8

// bar keeps a task from a worker for a while.
type bar struct {
	worker string
	until  int64
}

// kind is bot or human: an index.
type kind uint8

const (
	bot kind = iota
	human
)

// task is a demand of a session for a worker, from its offer to the end of its wrap-up. It has one timer, whose meaning
// its state tells [I7]. Tasks are recycled.
type task struct {
	// What its end looks at stands together: a session that has lasted is far away.
	session wire.SessionID
	ticket  uint64
	plan    *plan
	worker  *worker
	index   int // in worker.tasks
	charge  int // of its slots
	state   state
	lined   bool   // it stands in lines
	era     uint32 // of the plan
	next    *task  // of the same session, or in the free list
	onRoll  int    // in the core's roll
	cost    int
	hash    uint64 // of the session, in the core's book
	offer   string // id, empty of bots
	also    []Ref  // further accepts, or ends of the wrap-up: answered here
	timer   timer

	// What was said of it; all of it may change with its version.
	version    uint64
	attributes selector.Attrs
	said       struct { // as it was, the plan aside
		cost     int
		priority int32
		boostMS  int64
		ahead    int
	}
	into *queue // where a configuration has moved it that was overtaken by the next before t had a route by it
	urgency
	sticky     string
	to         string
	awaits     bool // it waits for to, of whom nothing was heard since the census
	force      bool
	present    bool
	humansOnly bool
	requeue    bool
	handed     bool
	classified bool
	kept       bool  // its session remembers its wrap-up,
	over       bool  // which has ended: that is still to be heard
	bare       bool  // it is held by a word that says nothing else of it: the census may say more
	answerBy   int64 // while its plan is a question: until then somebody is asked
	summary    []byte

	bars     []bar
	lines    []waiter // by the plan's gates, while waiting
	own      waiter   // in its last worker's line
	at       int      // in plan.lined, from 1
	late     bool     // it has waited longer than it should
	hold     int64    // until then it waits for its last worker alone, when he is there
	resorted int64    // when its session was last told the last resort, or that it goes unclassified; 0 is never, -1 that it knows

	// What its session was told of its place.
	told   int   // 0: nothing
	opens  int64 // when its queue opens again
	toldAt int64
	looked uint64 // the look that has seen it

	// While a worker has to do with it.
	fee     float64   // of its lane's share
	step    int       // by which it got there; -1 is none
	conn    wire.Conn // that the grant named first, or a rebind since
	unsure  bool      // its session was told that it is elsewhere, and has not been heard of since; granted: he was told what he has, and not of this
	anew    bool      // it was told to tell him anew, too
	pause   int64     // in ms, after which what its session was told is said again
	lease   string
	ae      uint64
	reason  string
	noted   int32   // where why is noted in the trace, from 1; 0 is nowhere
	why     []byte  // that, while humans are asked: the trace may be full of others before one answers
	untaken uint32  // offers under this ticket that nobody took
	expires int64   // when the offer ends, or the wrap-up
	bids    []*task // the same offer to others
	lead    *task   // of a bid: the task that is offered
	ref     Ref     // the accept that its session will answer
}

// urgency is what orders the tasks of a lane. Those who are equal in it stand in the order of their sessions' ids.
type urgency struct {
	key        int64
	enqueuedAt int64
	priority   int32
}

// before tells whether a is the greater urgency.
func (a *urgency) before(b *urgency) bool {
	switch {
	case a.priority != b.priority:
		return a.priority < b.priority
	case a.key != b.key:
		return a.key < b.key
	}
	return a.enqueuedAt < b.enqueuedAt
}

// before is the order in which tasks of a lane are served.
func (t *task) before(o *task) bool {
	if t.urgency != o.urgency {
		return t.urgency.before(&o.urgency)
	}
	return t.session < o.session
}

// asks tells whether t is offered to w.
func (t *task) asks(w *worker) bool {
	if t.worker == w {
		return true
	}
	for _, b := range t.bids {
		if b.worker == w {
			return true
		}
	}
	return false
}

// barred tells whether t is kept from the worker.
func (t *task) barred(worker string) bool {
	for i := range t.bars {
		if t.bars[i].worker == worker {
			return true
		}
	}
	return false
}

func (t *task) bar(worker string, until int64) {
	if len(t.bars) == maxBars {
		t.bars = slices.Delete(t.bars, 0, 1)
	}
	t.bars = append(t.bars, bar{worker, until})
}

// lift drops the bars that are over.
func (t *task) lift(now int64) {
	t.bars = slices.DeleteFunc(t.bars, func(b bar) bool { return b.until <= now })
}

// wake returns when something changes for a waiting t by itself, or 0. Before calm nobody knows that there is no staff.
func (t *task) wake(now, calm int64) int64 {
	at := int64(0)
	soonest := func(due int64) {
		if due > now && (at == 0 || due < at) {
			at = due
		}
	}
	for i := range t.plan.gates {
		g := &t.plan.gates[i]
		if t.plan.after(i, t) == 0 || t.to != "" {
			continue
		}
		if g.timed.shut() {
			continue // its clock rings
		}
		since := g.timed.begins(t.enqueuedAt)
		soonest(since + t.plan.after(i, t))
		if g.when == Unstaffed {
			soonest(since + g.delay)
		}
	}
	for i := range t.bars {
		soonest(t.bars[i].until)
	}
	soonest(t.hold)
	if t.plan.queue.Order == SavableFirst {
		if due := t.lateAt(); due != math.MaxInt64 {
			soonest(due)
		}
	}
	if t.plan.question {
		if t.moot(now) {
			if at = t.resorted + againMS; at <= now {
				at = now + againMS // it was to be said by now: that is while nobody is matched, and is when somebody is
			}
			return at
		}
		soonest(t.answerBy)
		return at
	}
	if step, due := t.plan.resorted(t.enqueuedAt, now, calm); step >= 0 && t.resorted >= 0 {
		soonest(t.resorted + againMS)
	} else if due > 0 {
		soonest(due)
	}
	return at
}

// lateAt returns when t will have waited longer than it should, as its calendars count. While they are closed nobody is late.
func (t *task) lateAt() int64 {
	by := timed{InHours, t.plan.clocks}
	if by.shut() {
		return math.MaxInt64
	}
	return by.begins(t.enqueuedAt) + t.plan.queue.SLAMS
}
