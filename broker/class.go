package broker

import (
	"encoding/binary"
	"slices"
	"strconv"

	"switchboard/broker/selector"
)

// class is a requirement: all tasks of a queue that want the same of the same workers, for one step. It knows who meets
// it, so finding the best worker for a task and the next task for a worker needs no look at anybody else.
type class struct {
	cost   int
	free   ranks // members who could take a task, best first as they were when last looked at
	number int32 // in its pool
	pool   *Core
	key    string
	queue  *queue   // whose tasks
	from   []*queue // whose workers
	skills []Skill  // the least levels, sorted by name
	scored []string
	demand selector.Residual
	prefer selector.Residual
	delay  int64 // of the workers in the queue; -1 when it does not matter

	members  []*member
	staffed  int     // members who are connected and ready, busy or not
	lines    []*line // by the index of their lane, made when needed
	busy     []*line // in which somebody waits
	plans    int     // that have it
	watchers []*plan // to whom it matters whether it is staffed
}

// member is a worker who meets a class's requirement.
type member struct {
	w         *worker
	class     *class
	skill     float64
	fit       float64 // of skill and rating: changes only with the worker
	preferred bool
	rating    float64 // of the worker, as it was when he became a member
	there     bool    // counts in class.staffed
	rank      int32   // of the class's queue, to the worker

	index int   // in class.members
	seat  int32 // in w.members and w.stands
}

// stand returns where a's worker notes his place.
func (a *member) stand() *stand { return &a.w.stands[a.seat] }

// best returns the place of the best member for t that could take a task now, or nil. Only those whom t is kept from are looked past.
func (c *class) best(t *task) *rank {
	plain := len(t.bars) == 0 && t.worker == nil
	for c.free.n > 0 {
		x := &c.free.front[0]
		if !plain {
			x = c.free.of(0, t)
		}
		if x == nil {
			return nil
		}
		i := 0
		if !plain {
			i = int(x.s.at) - 1
		}
		if !c.free.refresh(i, c.cost) {
			return c.free.node(i)
		}
	}
	return nil
}

// classOf returns the class of a step of p.
func (c *Core) classOf(p *plan, s *Step, demand, prefer selector.Residual, in *Task, delay int64) *class {
	cl := &p.own
	if p.owned {
		cl = &class{}
	}
	*cl = class{free: ranks{by: p.queue}, pool: c, queue: p.queue, cost: p.cost, skills: p.skills, demand: demand, prefer: prefer, delay: -1}
	if len(p.skills) == 0 && p.queue.SkillBy != "" {
		cl.scored = slices.Sorted(in.Attributes.Get(p.queue.SkillBy).Strings)
	}
	switch {
	case len(s.Queues) > 0:
		for _, name := range s.Queues {
			if q := c.queues[name]; q != nil && !slices.Contains(cl.from, q) {
				cl.from = append(cl.from, q)
			}
		}
	case len(s.Teams) > 0:
		cl.from = []*queue{c.everybody}
	default:
		cl.from = []*queue{p.queue}
		if len(p.queue.tiers) > 1 {
			cl.delay = delay
		}
	}
	var key []byte
	text := func(s string) { key = append(binary.AppendUvarint(key, uint64(len(s))), s...) }
	text(p.queue.Name)
	key = binary.AppendVarint(binary.AppendVarint(key, int64(p.cost)), cl.delay)
	key = appendSkills(key, p.skills)
	for _, q := range cl.from {
		text(q.Name)
	}
	text(strconv.Itoa(len(cl.scored)))
	for _, name := range cl.scored {
		text(name)
	}
	text(demand.Key())
	text(prefer.Key())
	if old := c.classes[string(key)]; old != nil {
		*cl = class{}
		return old
	}
	p.owned = p.owned || cl == &p.own
	cl.key, cl.number = string(key), c.numbers.take()
	c.classes[cl.key] = cl
	cl.queue.demands = append(cl.queue.demands, cl)
	for _, q := range cl.from {
		q.classes = append(q.classes, cl)
		for _, w := range q.candidates(cl) {
			cl.admit(w)
		}
	}
	return cl
}

// candidates returns the workers among whom those are who meet cl: all, or those with a skill that it cannot do without.
func (q *queue) candidates(cl *class) []*worker {
	if len(cl.skills) > 0 {
		return q.skilled[cl.skills[0].Name]
	}
	if name, ok := cl.demand.Skill(); ok {
		return q.skilled[name]
	}
	return q.workers
}

// forgetClass takes a class out of everything. Nobody waits in it.
func (c *Core) forgetClass(cl *class) {
	for len(cl.members) > 0 {
		cl.members[len(cl.members)-1].leave()
	}
	for _, q := range cl.from {
		q.classes = slices.DeleteFunc(q.classes, func(o *class) bool { return o == cl })
	}
	cl.queue.demands = slices.DeleteFunc(cl.queue.demands, func(o *class) bool { return o == cl })
	delete(c.classes, cl.key)
	c.numbers.give(cl.number)
}

// admit makes w a member when it meets the requirement.
func (c *class) admit(w *worker) {
	if c.delay >= 0 && w.seatIn(c.queue).DelayMS != c.delay {
		return
	}
	skill := 1.0
	if len(c.skills) > 0 {
		sum := 0.0
		for _, s := range c.skills {
			level, ok := w.level(s.Name)
			if !ok || level < s.Level {
				return
			}
			sum += level
		}
		skill = sum / float64(len(c.skills))
	} else if len(c.scored) > 0 {
		sum := 0.0
		for _, name := range c.scored {
			level, _ := w.level(name)
			sum += level
		}
		skill = sum / float64(len(c.scored))
	}
	if !c.demand.Eval(&w.facts) || len(c.from) > 1 && w.isMember(c) {
		return
	}
	by := c.queue.Weights
	m := &member{
		w: w, class: c, skill: skill, fit: by.Skill*skill + by.Rating*w.rating, preferred: c.prefer.Key() != "" && c.prefer.Eval(&w.facts),
		rating: w.rating, rank: w.seatIn(c.queue).Priority, index: len(c.members),
	}
	c.members = append(c.members, m)
	w.enlist(m)
	c.pool.members++
	m.update()
}

// leave undoes admit.
func (a *member) leave() {
	c := a.class
	c.free.remove(a.stand())
	a.attend(false)
	last := len(c.members) - 1
	moved := c.members[last]
	c.members[a.index], moved.index = moved, a.index
	c.members[last] = nil
	c.members = c.members[:last]
	a.w.delist(a)
	c.pool.members--
}

// update puts a where it belongs after its worker changed.
func (a *member) update() {
	if there := a.w.there(); there != a.there {
		a.attend(there)
	}
	switch s := a.stand(); {
	case s.at > 0:
		a.class.free.refresh(int(s.at)-1, a.class.cost)
	case a.w.takes(a.class.cost):
		a.class.free.push(a)
	}
}

// attend notes whether a's worker is there. When the first comes or the last goes, steps of others close or open.
func (a *member) attend(there bool) {
	if a.there == there {
		return
	}
	a.there = there
	c := a.class
	before := c.staffed > 0
	if there {
		c.staffed++
	} else {
		c.staffed--
	}
	if before == (c.staffed > 0) {
		return
	}
	for _, p := range c.watchers {
		c.pool.stir(p)
	}
}
