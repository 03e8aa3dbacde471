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
	for _, t := range c.sessions {
		for ; t != nil; t = t.next {
			s := stats[t.class.queue]
			switch t.state {
			case waiting:
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
	Queues    []string
	Slots     int
	Used      int // offers, grants, assignments and wrap-up
}

// Workers returns how the workers stand, by their ids; with a queue those who have subscribed it, with a worker that one
// alone. It looks at every worker: for people, not for routing.
func (c *Core) Workers(queue, worker string) iter.Seq[WorkerStats] {
	var ids []string
	for id, w := range c.workers {
		if (worker == "" || id == worker) && (queue == "" || slices.Contains(w.queues, c.queues[queue])) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return func(yield func(WorkerStats) bool) {
		for _, id := range ids {
			w := c.workers[id]
			s := WorkerStats{ID: id, Name: w.name, Kind: w.kind.origin(), Connected: w.connected, Presence: w.presence, Slots: w.slots, Used: w.used}
			for _, q := range w.queues {
				s.Queues = append(s.Queues, q.Name)
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

// Waiting returns how many sessions wait in the queue. It costs nothing.
func (c *Core) Waiting(name string) int {
	if q := c.queues[name]; q != nil {
		return q.waiting
	}
	return 0
}

// Candidate is what stands for and against one worker.
type Candidate struct {
	Worker string
	Why    string // why it does not take the session now; empty when it could
	Load   float64
	Score  float64 // as the queue's scoring has it; banded ones compare load first
}

// Explanation tells why a session waits, or with whom it is.
type Explanation struct {
	State      string // none, waiting, offered, granted, held, lost, wrapup
	Queue      string
	Worker     string // whom it was offered, granted or lost
	Ahead      int    // sessions of the queue that are served before it
	EnqueuedAt int64
	NextAt     int64       // when something happens by itself; 0 when nothing does
	Workers    []Candidate // of the queue, best first
}

var stateNames = [...]string{"waiting", "offered", "granted", "held", "lost", "wrapup"}

// Explain tells where a session stands. It looks at everybody in its queue: for people, not for routing.
func (c *Core) Explain(session wire.SessionID) Explanation {
	t := c.sessions[session]
	if t == nil {
		return Explanation{State: "none"}
	}
	e := Explanation{State: stateNames[t.state], Queue: t.class.queue.Name, EnqueuedAt: t.enqueuedAt}
	if t.timer.at > 0 {
		e.NextAt = t.timer.due
	}
	if t.worker != nil {
		e.Worker = t.worker.ID
		return e
	}
	for _, o := range c.sessions {
		for ; o != nil; o = o.next {
			if o.state == waiting && o.class.queue == t.class.queue && o.before(t) {
				e.Ahead++
			}
		}
	}
	for _, w := range t.class.queue.workers {
		e.Workers = append(e.Workers, c.candidate(t, w))
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

// candidate tells what stands for and against w.
func (c *Core) candidate(t *task, w *worker) Candidate {
	x := Candidate{Worker: w.ID, Load: w.load}
	i := slices.IndexFunc(w.members, func(m *member) bool { return m.class == t.class })
	if i >= 0 {
		x.Score = w.members[i].fit
		if t.class.queue.Scoring == Weighted {
			x.Score += weightLoad * (1 - w.load)
		}
	}
	switch {
	case i < 0:
		x.Why = "lacks a skill"
	case !w.connected:
		x.Why = "not connected"
	case w.presence != Ready:
		x.Why = w.presence.String()
	case !w.takes(t.cost):
		x.Why = "full"
	case t.barred(w.ID):
		x.Why = "declined or excluded"
	case !t.opens(w.kind, c.now):
		x.Why = "its step is not open"
	case !c.open:
		x.Why = "the census is not taken"
	}
	return x
}
