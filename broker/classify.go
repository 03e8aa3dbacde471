package broker

import (
	"slices"
)

// A queue whose route begins with a step that classifies has its sessions looked at by one of that step's workers before they are
// routed [SW-5a.3]. Until a session says that it is classified, its task has a plan of that step alone, in which it waits and is
// given away like any other; what is given is not the session but a question, which ends with the answer or at the deadline.

// classifyMS is how long a classification may take, without word.
const classifyMS = 3_000

// classifies tells whether sessions of q are classified first.
func (q *queue) classifies() bool { return len(q.Steps) > 0 && q.Steps[0].Classify }

// question returns the plan of a task that is not classified yet, or nil when no worker is to be asked about it.
func (c *Core) question(q *queue, in *Task) *plan {
	x := *in
	x.HumansOnly, x.Skills = false, nil
	c.skills = c.skills[:0]
	p := &plan{queue: q, lane: q.laneOf(c, in.Attributes), cost: 1, question: true}
	c.addGates(p, 0, &q.Steps[0], &x)
	if len(p.gates) == 0 {
		return nil // its attributes say already what there is to say
	}
	c.watch(p)
	p.stirs = true
	for i := range p.gates {
		if cl := p.gates[i].class; !slices.Contains(cl.watchers, p) {
			cl.watchers = append(cl.watchers, p)
		}
	}
	return p
}

// moot tells whether nobody is to be asked about t any more: its time is over.
func (t *task) moot(now int64) bool { return t.plan.question && t.answerBy != 0 && t.answerBy <= now }

// inquire asks w about t.
func (c *Core) inquire(t *task, w *worker, out *Effects) {
	t.state, t.conn, t.reason = asking, w.conn, ""
	c.served++
	w.assigned = c.served
	c.charge(t, w)
	t.pause = againMS
	c.set(&t.timer, min(c.now+t.pause, t.answerBy))
	c.sayQuestion(t, out)
}

// askAgain says the question again, as its session's owner may be another since, who does not know of it; or ends it, at its time.
func (c *Core) askAgain(t *task, out *Effects) {
	if t.answerBy <= c.now {
		c.unanswered(t)
		return
	}
	c.sayQuestion(t, out)
	t.pause = min(2*t.pause, againMostMS)
	c.set(&t.timer, min(c.now+t.pause, t.answerBy))
}

func (c *Core) sayQuestion(t *task, out *Effects) {
	w := t.worker
	t.conn = w.conn
	e := out.add(Question)
	e.Session, e.Ticket, e.Queue, e.Worker, e.Conn, e.ExpiresAt = t.session, t.ticket, t.plan.queue.Name, w.ID, w.conn, t.answerBy
}

// unanswered lets t, about which its worker has not said anything, be asked about anew; when its time is over it is said that
// nobody has answered.
func (c *Core) unanswered(t *task) {
	c.unset(&t.timer)
	c.discharge(t)
	c.move(t)
}

// giveUp tells t's session that nobody answers, again until it has said that it goes on.
func (c *Core) giveUp(t *task, out *Effects) {
	if !t.moot(c.now) {
		if t.plan.staffed(len(t.plan.queue.Steps)) {
			return
		}
		t.answerBy = max(c.now, 1) // there is nobody to wait for
		for i := range t.lines {
			t.lines[i].leave()
		}
	}
	if t.resorted == 0 || t.resorted+againMS <= c.now {
		t.resorted = max(c.now, 1)
		e := out.add(Unanswered)
		e.Session, e.Ticket, e.Queue, e.Default = t.session, t.ticket, t.plan.queue.Name, t.plan.queue.Steps[0].Default
	}
	c.set(&t.timer, t.wake(c.now, c.calm))
}
