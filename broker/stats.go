package broker

import (
	"iter"
	"slices"
	"strings"

	"switchboard/wire"
)

// QueueStats tells how a queue stands.
type QueueStats struct {
	Name      string
	Waiting   int
	OldestAt  int64 // enqueued_at of the one who has waited longest, Unix ms; 0 when nobody waits
	Offered   int
	Assigned  int // granted and held
	Bots      int // connected
	Humans    int // connected
	FreeSlots int // of workers who want work
}

// Queues returns how the queues stand, in the order of the configuration. It looks at every task and worker: for people
// and metrics, not for routing.
func (c *Core) Queues() iter.Seq[QueueStats] {
	stats := make(map[*queue]*QueueStats, len(c.order))
	for _, q := range c.order {
		s := &QueueStats{Name: q.Name}
		stats[q] = s
		for _, w := range q.workers {
			if !w.connected {
				continue
			}
			if w.kind == bot {
				s.Bots++
			} else {
				s.Humans++
			}
			if w.presence == Ready {
				s.FreeSlots += max(w.slots-w.used, 0)
			}
		}
	}
	for t := range c.sessions.all {
		for ; t != nil; t = t.next {
			s := stats[t.plan.queue]
			switch t.state {
			case waiting, asking:
				s.Waiting++
				if s.OldestAt == 0 || t.enqueuedAt < s.OldestAt {
					s.OldestAt = t.enqueuedAt
				}
			case offered:
				s.Offered++
			case granted, held:
				s.Assigned++
			}
		}
	}
	return func(yield func(QueueStats) bool) {
		for _, q := range c.order {
			if !yield(*stats[q]) {
				return
			}
		}
	}
}

// WorkerStats tells how a worker stands.
type WorkerStats struct {
	ID        string
	Name      string
	Kind      wire.Origin // bot or human
	Connected bool
	Presence  Presence
	Why       string // it is not ready
	Queues    []string
	Slots     int
	Used      int // offers, grants, assignments and wrap-up
}

// Workers returns how the workers stand, by their ids; with a queue those who have subscribed it, with a worker that one
// alone. It looks at every worker: for people, not for routing.
func (c *Core) Workers(queue, worker string) iter.Seq[WorkerStats] {
	var ids []string
	for id, w := range c.workers {
		if w.turn == 0 && len(w.tasks) == 0 {
			continue // somebody waits for him, and nobody has heard of him
		}
		if (worker == "" || id == worker) && (queue == "" || slices.Contains(w.queues, c.queues[queue])) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return func(yield func(WorkerStats) bool) {
		for _, id := range ids {
			w := c.workers[id]
			s := WorkerStats{ID: id, Name: w.name, Kind: w.kind.origin(), Connected: w.connected, Presence: w.presence, Why: w.why, Slots: w.slots, Used: w.used}
			for _, q := range w.queues {
				if q != c.everybody {
					s.Queues = append(s.Queues, q.Name)
				}
			}
			if !yield(s) {
				return
			}
		}
	}
}

// Knows tells whether there is such a queue, and such a worker; empty names are known.
func (c *Core) Knows(queue, worker string) (queueKnown, workerKnown bool) {
	return queue == "" || c.queues[queue] != nil, worker == "" || c.workers[worker] != nil
}

// QueueNow returns the name that the queue of that name has now: of one that has moved the other's. What is not there stays as it is.
func (c *Core) QueueNow(name string) string {
	if q := c.named(name); q != nil && c.queues[name] == nil {
		return q.Name
	}
	return name
}

// Where returns the connection on which a worker is ready or away; the zero Conn when he is not connected.
func (c *Core) Where(worker string) wire.Conn {
	if w := c.workers[worker]; w != nil && w.connected {
		return w.conn
	}
	return wire.Conn{}
}

// Settled tells whether everybody who may be connected has been heard: the census is taken.
func (c *Core) Settled() bool { return c.open }

// Waiting returns how many sessions wait in the queue. It costs nothing.
func (c *Core) Waiting(name string) int {
	if q := c.queues[name]; q != nil {
		return q.waiting
	}
	return 0
}

// Candidate is what stands for and against one worker.
type Candidate struct {
	Worker    string
	Why       string // why it does not take the session now; empty when it could
	Step      string // the first that would give it the session; empty when none does
	Preferred bool   // by that step
	Skill     float64
	Load      float64
	Rating    float64
	Score     float64 // as the queue's scoring has it; banded ones compare load first
}

// Explanation tells why a session waits, or with whom it is.
type Explanation struct {
	State      string // none, waiting, offered, asking, granted, held, lost, wrapup
	Queue      string
	Worker     string   // whom it was offered, granted or lost
	Asked      []string // who is asked besides him
	Reason     string   // why him
	Step       string   // by which he got it
	Ahead      int      // sessions of the queue that are served before it
	EnqueuedAt int64
	NextAt     int64       // when something happens by itself; 0 when nothing does
	Late       bool        // it has waited longer than its queue means it to
	Awaits     bool        // it is for somebody of whom nobody has heard since the pool began; he is waited for until NextAt
	OpensAt    int64       // when its queue and shop open again; 0 when they are open
	Workers    []Candidate // of its steps, best first
}

var stateNames = [...]string{"waiting", "offered", "asking", "granted", "held", "lost", "wrapup"}

// Explain tells where a session stands. It looks at everybody in its queue: for people, not for routing.
func (c *Core) Explain(session wire.SessionID) Explanation {
	t := c.sessions.get(session)
	if t == nil {
		return Explanation{State: "none"}
	}
	e := Explanation{State: stateNames[t.state], Queue: t.plan.queue.Name, EnqueuedAt: t.enqueuedAt, Late: t.late, Awaits: t.awaits}
	if t.timer.at > 0 {
		e.NextAt = t.timer.due
		if t.state == asking {
			e.NextAt = t.answerBy // that the question is said again is nothing to its session
		}
	}
	if t.worker != nil {
		e.Worker, e.Reason, e.Step = t.worker.ID, t.reason, t.plan.queue.stepName(t.step)
		for _, b := range t.bids {
			e.Asked = append(e.Asked, b.worker.ID)
		}
		return e
	}
	e.OpensAt = opensAt(t.plan.clocks, c.now)
	for o := range c.sessions.all {
		for ; o != nil; o = o.next {
			if o.state == waiting && o.to == "" && t.to == "" && o.plan.queue == t.plan.queue && o.comesBefore(t) {
				e.Ahead++
			}
		}
	}
	seen := map[*worker]bool{}
	look := func(q *queue) {
		for _, w := range q.workers {
			if !seen[w] {
				seen[w] = true
				e.Workers = append(e.Workers, c.candidate(t, w))
			}
		}
	}
	look(t.plan.queue)
	for i := range t.plan.gates {
		cl := t.plan.gates[i].class
		if t.era != c.era {
			break // those who met it may have left
		}
		for _, s := range cl.ranking.stands {
			if s.meets(cl.bit) && !seen[s.w] {
				seen[s.w] = true
				e.Workers = append(e.Workers, c.candidate(t, s.w))
			}
		}
	}
	slices.SortFunc(e.Workers, func(a, b Candidate) int {
		switch {
		case a.Score != b.Score && a.Score > b.Score:
			return -1
		case a.Score != b.Score:
			return 1
		}
		return strings.Compare(a.Worker, b.Worker)
	})
	return e
}

// comesBefore is the order of a queue, as its floor does not disturb it.
func (t *task) comesBefore(o *task) bool {
	switch {
	case t.late != o.late:
		return o.late
	case t.late && t.enqueuedAt != o.enqueuedAt:
		return t.enqueuedAt < o.enqueuedAt
	}
	return t.before(o)
}

// beingTakenUp is why nobody has a session yet who may have it by a configuration that has not come to it, or to him.
const beingTakenUp = "a new document is being taken up"

// candidate tells what stands for and against w.
func (c *Core) candidate(t *task, w *worker) Candidate {
	x := Candidate{Worker: w.ID, Load: w.load, Rating: w.rating}
	may, opens, shut := false, false, true
	for i := range t.plan.gates {
		g := &t.plan.gates[i]
		s := w.memberOf(g.class)
		if s == nil {
			continue
		}
		if !may {
			x = s.candidate()
			x.Step = t.plan.queue.stepName(g.step)
		}
		may = true
		opens = opens || t.plan.opens(i, t, c.now)
		shut = shut && g.timed.shut()
	}
	switch {
	case t.awaits:
		x.Why = "it waits for " + t.to
	case !may && c.anew != nil && (t.era != c.era || !w.seated):
		x.Why = beingTakenUp
	case !may:
		x.Why = c.excludes(t, w)
	case !w.connected:
		x.Why = "not connected"
	case w.presence != Ready:
		x.Why = w.presence.String()
	case t.cost > w.slots:
		x.Why = "has fewer slots than it takes"
	case !w.takes(t.cost):
		x.Why = "full"
	case t.barred(w.ID):
		x.Why = "declined or excluded"
	case t.hold > c.now && w.ID != t.sticky:
		x.Why = "it waits for " + t.sticky
	case shut:
		x.Why = "out of hours"
	case !opens:
		x.Why = "its step is not open"
	case t.moot(c.now):
		x.Why = "nobody is asked about it any more"
	case !c.open:
		x.Why = "the census is not taken"
	case c.anew != nil && c.anew.relined:
		x.Why = "who waits is being put in line anew"
	case c.anew != nil:
		x.Why = beingTakenUp
	}
	return x
}

// excludes tells why w meets no step of t.
func (c *Core) excludes(t *task, w *worker) string {
	for _, s := range t.plan.skills {
		if level, ok := w.level(s.Name); !ok || level < s.Level {
			return "lacks a skill"
		}
	}
	if t.humansOnly && w.kind == bot {
		return "is a bot"
	}
	return "no step selects it"
}
