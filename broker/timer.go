package broker

// Repetitions, in ms.
const (
	againMS     = 1_000  // what is unanswered is said again
	againMostMS = 8_000  // and again, each time after twice as long, up to this
	auditMS     = 60_000 // a held session is asked whether it still is
)

// timer is what makes something happen by itself. Timers of the same moment ring in the order in which they were set.
type timer struct {
	due    int64
	at     int32
	task   *task // whose it is; none of them is the census's
	worker *worker
	queue  *queue
}

// alarm is a timer as it stands among those that are set. What it is compared by stands here: the timers are in their tasks, which are far away.
type alarm struct {
	due int64
	n   uint64
	*timer
}

func (a alarm) place() *int32 { return &a.at }

func (a alarm) before(b alarm) bool {
	if a.due != b.due {
		return a.due < b.due
	}
	return a.n < b.n
}

// set makes t ring at due, and at no other time.
func (c *Core) set(t *timer, due int64) {
	c.unset(t)
	c.count++
	t.due = due
	c.timers.push(alarm{due, c.count, t})
}

// unset keeps t from making anything happen.
func (c *Core) unset(t *timer) { c.timers.remove(alarm{timer: t}) }

// Next returns when Tick has something to do, in Unix ms; ok is false when nothing will happen by itself.
func (c *Core) Next() (due int64, ok bool) {
	t, ok := c.timers.top()
	switch {
	case !ok:
		return c.chimes, c.chimes != 0
	case c.chimes != 0:
		return min(t.due, c.chimes), true
	}
	return t.due, true
}

// Tick does what is due at now: offers expire, steps open, grace and wrap-up end, what is unanswered is repeated. Every
// other event does the same first, so nothing depends on how punctual Tick is. A clock that steps back stands still.
func (c *Core) Tick(now int64, out *Effects) {
	c.now = max(c.now, now)
	if c.chimes != 0 && c.chimes <= c.now { // first of all: nothing is decided by hours that are over
		c.chime()
		c.settle(out)
	}
	for {
		t, ok := c.timers.top()
		if !ok || t.due > c.now {
			return
		}
		c.unset(t.timer)
		switch {
		case t.task != nil:
			c.ring(t.task, out)
		case t.worker != nil:
			c.graceOver(t.worker, out)
		case t.queue != nil:
			c.look(t.queue, out)
		default:
			c.ringCensus(out)
		}
		c.settle(out)
	}
}

// ring does what t's timer is for.
func (c *Core) ring(t *task, out *Effects) {
	switch t.state {
	case waiting:
		if t.awaits {
			c.unawait(t)
			c.place(t, out) // he is not coming
			return
		}
		c.unwait(t)
		c.move(t)
	case offered:
		c.expire(t, out)
	case asking:
		c.askAgain(t, out)
	case granted:
		c.sayGrant(t, out)
		c.saidAgain(t)
	case held:
		if t.unsure && t.worker.connected {
			c.sayRebind(t, out) // the grant alone tells nobody anew who is where he was
			c.sayGrant(t, out)
			c.saidAgain(t)
		} else {
			c.sayGrant(t, out)
			c.set(&t.timer, c.now+auditMS)
		}
	case lost:
		c.sayLost(t, out)
		c.saidAgain(t)
	case wrapup:
		if t.over && c.now < t.expires {
			c.sayWrapUpOver(t, out)
		} else {
			c.wrapped(t, out)
		}
	}
}

// saidFirst lets t say again what its session was told, unless that is answered soon.
func (c *Core) saidFirst(t *task) {
	t.pause = againMS
	c.set(&t.timer, c.now+t.pause)
}

// saidAgain lets t say it once more, after a longer pause: a shard that is away, or has more to do than it can, is not helped by those who ask.
func (c *Core) saidAgain(t *task) {
	t.pause = min(2*t.pause, againMostMS)
	c.set(&t.timer, c.now+t.pause)
}
