package broker

import "switchboard/wire"

// SessionStats tells how a session stands.
type SessionStats struct {
	Session    wire.SessionID
	Queue      string
	State      string // waiting, offered, classifying, assigned, lost or wrapup
	Worker     string // who has it, is asked, or is in wrap-up
	EnqueuedAt int64  // Unix ms
	Shop       string
	Channel    string
	Tier       string
}

// standing are the words for a task's state, and where it stands among others.
var standing = [...]struct {
	word string
	rank int
}{waiting: {"waiting", 0}, offered: {"offered", 0}, asking: {"classifying", 0}, granted: {"assigned", 1}, held: {"assigned", 1}, lost: {"lost", 0}, wrapup: {"wrapup", 2}}

// Sessions returns how at most n sessions of a queue stand, of all queues when it is empty, or of those that worker has to do with:
// whoever waits first, by since when, then those that somebody has. A session that is being transferred to a worker stands there
// twice. more tells that there are others. It looks at every task, but for a worker's: for people, not for routing.
func (c *Core) Sessions(queue, worker string, n int) (list []SessionStats, more bool) {
	l := listing{most: n}
	switch w := c.workers[worker]; {
	case w != nil:
		for _, t := range w.tasks {
			if t.lead != nil {
				t = t.lead
			}
			if queue == "" || t.plan.queue.Name == queue {
				l.add(t)
			}
		}
	case worker == "":
		for t := range c.sessions.all {
			for ; t != nil; t = t.next {
				if queue == "" || t.plan.queue.Name == queue {
					l.add(t)
				}
			}
		}
	}
	list = make([]SessionStats, len(l.top.nodes))
	for i := len(list) - 1; i >= 0; i-- {
		x, _ := l.top.top()
		l.top.remove(x)
		list[i] = x.task.stats()
	}
	return list, l.more
}

// Tasks returns how many sessions wait, are offered or assigned. It costs nothing.
func (c *Core) Tasks() int { return c.tasks }

// stats returns how t stands.
func (t *task) stats() SessionStats {
	s := SessionStats{Session: t.session, Queue: t.plan.queue.Name, State: standing[t.state].word, EnqueuedAt: t.enqueuedAt}
	if t.worker != nil {
		s.Worker = t.worker.ID
	}
	s.Shop, _ = t.attributes.Get(shopAttribute).Text()
	s.Channel, _ = t.attributes.Get("channel").Text()
	s.Tier, _ = t.attributes.Get("tier").Text()
	return s
}

// listing keeps those that are told first.
type listing struct {
	most int
	more bool
	top  heap[*listed] // the last to be told is its first
}

func (l *listing) add(t *task) {
	if len(l.top.nodes) < l.most {
		l.top.push(&listed{task: t})
		return
	}
	l.more = true
	if last, ok := l.top.top(); ok && last.before(&listed{task: t}) {
		last.task = t
		l.top.fix(last)
	}
}

// listed is a task among those that are told.
type listed struct {
	task *task
	at   int32
}

func (x *listed) place() *int32 { return &x.at }

// before tells whether x is told behind o.
func (x *listed) before(o *listed) bool {
	a, b := x.task, o.task
	ra, rb := standing[a.state].rank, standing[b.state].rank
	switch {
	case ra != rb:
		return ra > rb
	case a.enqueuedAt != b.enqueuedAt:
		return a.enqueuedAt > b.enqueuedAt
	case a.session != b.session:
		return a.session > b.session
	}
	return a.ticket > b.ticket
}
