package broker

import (
	"encoding/binary"
	"slices"
	"strconv"

	"switchboard/broker/selector"
)

// class is a requirement: all tasks of a queue that want the same of the same workers, for one step. It shares its ranking with those that
// want them in the same order, so finding the best worker for a task and the next task for a worker needs no look at anybody else.
type class struct {
	ranking *ranking
	bit     int // in its ranking
	cost    int
	staffed int  // members who are connected and ready, busy or not
	manned  bool // whether there are, as steps go by it: see attend
	turned  bool // among the core's: it is to be seen
	members int  // workers who meet it
	pool    *Core
	key     string
	queue   *queue   // whose tasks
	from    []*queue // whose workers
	skills  []Skill  // the least levels, sorted by name
	demand  selector.Residual
	delay   int64 // of the workers in the queue; -1 when it does not matter

	lines    []*line // by the index of their lane, made when needed
	busy     []*line // in which somebody waits
	plans    int     // that have it
	watchers []*plan // to whom it matters whether it is staffed
}

// best returns the best member for t who could take a task now, or nil, and what he is to the ranking. Only those whom t is kept from are looked past.
func (c *class) best(t *task) (*worker, *stand) {
	if len(t.bars) == 0 && t.worker == nil {
		t = nil
	}
	for {
		n, slot := c.ranking.ranks.best(c.bit, t)
		if n == nil {
			return nil, nil
		}
		if !c.ranking.refresh(n, slot) {
			return n.ranks[slot].w, n.ranks[slot].s
		}
	}
}

// classOf returns the class of a step of p.
func (c *Core) classOf(p *plan, s *Step, demand, prefer selector.Residual, in *Task, delay int64) *class {
	cl := &p.own
	if p.owned {
		cl = &class{}
	}
	*cl = class{pool: c, queue: p.queue, cost: p.cost, skills: p.skills, demand: demand, delay: -1}
	var scored []string
	if len(p.skills) == 0 && p.queue.SkillBy != "" {
		scored = slices.Sorted(in.Attributes.Get(p.queue.SkillBy).Strings)
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
	text(strconv.Itoa(len(scored)))
	for _, name := range scored {
		text(name)
	}
	text(demand.Key())
	text(prefer.Key())
	if old := c.classes[string(key)]; old != nil {
		*cl = class{}
		return old
	}
	p.owned = p.owned || cl == &p.own
	cl.key = string(key)
	c.classes[cl.key] = cl
	for _, s := range p.skills {
		scored = append(scored, s.Name)
	}
	c.rankingOf(cl, scored, prefer)
	cl.queue.demands = append(cl.queue.demands, cl)
	for _, q := range cl.from {
		q.classes = append(q.classes, cl)
		list := q.candidates(cl)
		for _, w := range list {
			cl.admit(w)
		}
		c.heldAgainst += len(list)
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

// forgetClasses takes the classes that no plan has out of everything. Nobody waits in them. Everybody in a ranking is looked at once, however many
// of its classes go.
func (c *Core) forgetClasses() {
	unused := func(cl *class) bool { return cl.plans == 0 }
	for _, q := range c.order {
		q.classes, q.demands = slices.DeleteFunc(q.classes, unused), slices.DeleteFunc(q.demands, unused)
	}
	c.everybody.classes = slices.DeleteFunc(c.everybody.classes, unused)
	for _, r := range c.rankings {
		r.forget()
	}
}

// admit makes w a member when it meets the requirement.
func (c *class) admit(w *worker) {
	if c.delay >= 0 && w.seatIn(c.queue).DelayMS != c.delay {
		return
	}
	for _, s := range c.skills {
		if level, ok := w.level(s.Name); !ok || level < s.Level {
			return
		}
	}
	if !c.demand.Eval(&w.facts) || len(c.from) > 1 && w.isMember(c) {
		return
	}
	s := w.standIn(c.ranking)
	if s == nil {
		s = c.ranking.enlist(w)
	}
	s.join(c)
}

// attend notes that a member has come, or gone. When the first comes or the last goes, steps of others close or open: at the end of the event, or, while
// tasks are put anew in line in pieces, behind that. Until then all of them go by the same, and who comes and goes meanwhile changes nothing.
func (c *class) attend(d int) {
	c.staffed += d
	switch {
	case c.manned == (c.staffed > 0):
	case len(c.watchers) == 0 || c.pool.anew == nil:
		c.turn()
	case !c.turned:
		c.turned = true
		c.pool.turned = append(c.pool.turned, c)
	}
}

// turn lets steps go by whether c is staffed now.
func (c *class) turn() {
	c.manned = c.staffed > 0
	for _, p := range c.watchers {
		c.pool.stir(p)
	}
}
