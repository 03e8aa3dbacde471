package broker

import (
	"slices"

	"switchboard/wire"
)

// Skill is a worker's level in something, or the least that a task wants: 0..1.
type Skill struct {
	Name  string
	Level float64
}

// Task is what a session wants: somebody who takes it. Lists are not kept beyond the call.
type Task struct {
	Session    wire.SessionID
	Ticket     uint64 // grows at every queueing of the session
	Queue      string
	EnqueuedAt int64 // Unix ms; since when the customer waits [I10]
	Priority   int32 // of Strict queues; the smaller first
	BoostMS    int64 // of Ageing and Strict queues: counts as if it had come so much earlier
	Cost       int   // slots that it takes; default 1
	Skills     []Skill
	Exclude    []string // worker ids that shall not get it at once; the first 8 count
	Sticky     string   // worker id that is preferred while it can take it, before any step
	To         string   // worker id of a transfer: nobody else [SW-5.8]
	Force      bool     // To has it at once, whatever his slots and presence are [SW-5a.4]
	HumansOnly bool     // the bots had their turn
	Requeue    bool     // it was assigned before
	Summary    []byte   // for offers; shared, never changed
}

// state is where a task stands: queued → offered → assigned → wrapup → done.
type state uint8

const (
	waiting state = iota // in the lines of its class
	offered              // to worker, who may accept until the timer
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
	kinds
)

// task is a demand of a session for a worker, from its offer to the end of its wrap-up. It has one timer, whose meaning
// its state tells [I7]. Tasks are recycled.
type task struct {
	// Fixed while it lives.
	session    wire.SessionID
	ticket     uint64
	class      *class
	rank       int32 // the queue's priority
	priority   int32
	key        int64
	enqueuedAt int64
	cost       int
	sticky     string
	to         string
	force      bool
	humansOnly bool
	requeue    bool
	summary    []byte

	state state
	timer timer
	lined bool          // it stands in lines
	line  [kinds]waiter // in its class, while waiting
	// What its session was told of its place.
	told   int // 0: nothing
	toldAt int64
	looked uint64 // the look that has seen it
	bars   []bar

	// While a worker has to do with it.
	worker  *worker
	index   int       // in worker.tasks
	conn    wire.Conn // that the grant named first
	lease   string
	ae      uint64
	reason  string
	offer   string // id, empty of bots
	expires int64
	ref     Ref   // the accept that its session will answer
	also    []Ref // further accepts, answered here

	next *task // of the same session, or in the free list
}

// waiter is a task's place in the line of one kind of workers.
type waiter struct {
	t  *task
	at int32
}

func (a *waiter) place() *int32         { return &a.at }
func (a *waiter) before(b *waiter) bool { return a.t.before(b.t) }

// before is the order in which tasks are served, over all queues of a pool.
func (t *task) before(o *task) bool {
	switch {
	case t.rank != o.rank:
		return t.rank < o.rank
	case t.priority != o.priority:
		return t.priority < o.priority
	case t.key != o.key:
		return t.key < o.key
	case t.enqueuedAt != o.enqueuedAt:
		return t.enqueuedAt < o.enqueuedAt
	}
	return t.session < o.session
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

// serves tells whether the step is open to t for workers of kind k.
func (t *task) serves(s Step, k kind, now int64) bool {
	if t.humansOnly {
		return k == human
	}
	// A step without delay is open also to one whose session's clock is ahead.
	return (s.AfterMS == 0 || t.enqueuedAt+s.AfterMS <= now) && (s.Who == Any || (s.Who == Humans) == (k == human))
}

// opens tells whether any step of t is open for k.
func (t *task) opens(k kind, now int64) bool {
	for _, s := range t.class.queue.Steps {
		if t.serves(s, k, now) {
			return true
		}
	}
	return false
}

// wake returns when something changes for a waiting t by itself, or 0: a step opens or a bar ends.
func (t *task) wake(now int64) int64 {
	at := int64(0)
	for _, s := range t.class.queue.Steps {
		if due := t.enqueuedAt + s.AfterMS; due > now && s.AfterMS > 0 && !t.humansOnly && t.to == "" {
			at = due
			break
		}
	}
	for _, b := range t.bars {
		if at == 0 || b.until < at {
			at = b.until
		}
	}
	return at
}
