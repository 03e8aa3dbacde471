package broker

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"switchboard/broker/selector"
)

// Unused plans, and the memberships of all classes, that are kept before the unused are forgotten.
const (
	maxPlans   = 8_192
	maxMembers = 4 << 20
)

// plan is a route as one kind of task takes it: what the queue's steps ask for once the task's attributes are in them.
// Tasks that agree in all attributes of which the route speaks share a plan, so nothing is evaluated at dispatch.
type plan struct {
	// What every task looks at stands together, down to the best of its first step's workers: six lines of memory, and no other page.
	named
	queue    *queue
	lane     *lane
	cost     int
	boost    int64 // of the queue's boosts
	gates    []gate
	tasks    int32 // that have it, in any state
	question bool  // it classifies: the route comes behind
	owned    bool  // the first class is own
	stirs    bool  // steps open and close by more than the time that one has waited
	dirty    bool
	few      [1]gate // where gates are, when there is one
	own      class   // where the first class is, when it is new with this plan

	clocks  []*clock // of its queue and shop
	skills  []Skill  // that the task wants, sorted by name
	resorts []resort
	lined   []*task // that wait, where that matters
}

// gate is a step of a plan, to the workers who share a delay.
type gate struct {
	class   *class
	step    int
	after   int64 // ms that the task has waited
	delay   int64 // of after, the workers' own
	when    When
	foreign bool // it asks others than the queue's own workers
	timed   timed
	n       int
	ttl     int64
}

// resort is a last resort of a plan.
type resort struct {
	step  int
	timed timed
}

// after returns how long t has to wait for the i'th gate. Steps that are opened ahead take the time of one in front of them.
func (p *plan) after(i int, t *task) int64 {
	g := &p.gates[i]
	if t.said.ahead == 0 {
		return g.after
	}
	n, step := t.said.ahead, g.step
	for j := i - 1; j >= 0; j-- {
		o := &p.gates[j]
		if o.step == step || !o.timed.hours.overlaps(g.timed.hours) {
			continue
		}
		if step = o.step; n == 1 {
			return min(o.after-o.delay+g.delay, g.after)
		}
		n--
	}
	return g.delay
}

// opens tells whether the i'th gate is open to t.
func (p *plan) opens(i int, t *task, now int64) bool {
	g, since := &p.gates[i], t.enqueuedAt
	if len(g.timed.clocks) > 0 {
		if g.timed.shut() {
			return false
		}
		since = g.timed.begins(since)
	}
	// A gate without delay is open also to one whose session's clock is ahead.
	if after := p.after(i, t); after == 0 || since+after <= now {
		return true
	}
	return g.when == Unstaffed && (g.delay == 0 || since+g.delay <= now) && !p.staffed(g.step)
}

// staffed tells whether somebody is there for a step before the given one, as far as these are in their hours.
func (p *plan) staffed(step int) bool {
	for i := range p.gates {
		if p.gates[i].step >= step {
			break
		}
		if p.gates[i].class.manned && !p.gates[i].timed.shut() {
			return true
		}
	}
	return false
}

// resorted returns the step of the last resort that it has come to, or -1, and then when it will have come to one, or 0. Before calm nobody
// knows that there is no staff.
func (p *plan) resorted(since, now, calm int64) (step int, at int64) {
	for i := range p.resorts {
		r := &p.resorts[i]
		if r.timed.shut() {
			continue
		}
		s := &p.queue.Steps[r.step]
		due := r.timed.begins(since) + s.AfterMS
		if s.When == Unstaffed && !p.staffed(r.step) {
			due = min(due, max(calm, now))
		}
		if due <= now {
			return r.step, 0
		}
		if at == 0 || due < at {
			at = due
		}
	}
	return -1, at
}

// planOf returns the plan of a task, made if it is new. Nothing is allocated for a known one.
func (c *Core) planOf(q *queue, in *Task) *plan {
	cost := c.costOf(q, in)
	c.sortSkills(in)
	key := append(c.key[:0], q.Name...)
	key = append(key, 0)
	ask := q.classifies() && !in.Classified && in.To == ""
	if in.HumansOnly {
		key[len(key)-1] = 1
	}
	if ask {
		key[len(key)-1] += 2
	}
	key = binary.AppendVarint(key, int64(cost))
	key = appendSkills(key, c.skills)
	for _, name := range q.speaksOf {
		key = in.Attributes.Get(name).AppendKey(key)
	}
	c.key = key
	if p := c.plans.get(key); p != nil {
		return p
	}
	if c.plans.n >= c.manyPlans || c.members > c.manyMembers {
		c.forgetPlans()
	}
	var p *plan
	if ask {
		p = c.question(q, in)
	}
	if p == nil {
		p = c.makePlan(q, in, cost)
	}
	p.name(key)
	c.plans.put(p)
	return p
}

// sortSkills makes c.skills what the task wants, by name.
func (c *Core) sortSkills(in *Task) {
	c.skills = append(c.skills[:0], in.Skills...)
	if len(c.skills) > 1 {
		slices.SortFunc(c.skills, func(a, b Skill) int { return strings.Compare(a.Name, b.Name) })
	}
}

func appendSkills(key []byte, skills []Skill) []byte {
	key = binary.AppendUvarint(key, uint64(len(skills)))
	for _, s := range skills {
		key = binary.AppendUvarint(key, uint64(len(s.Name)))
		key = append(key, s.Name...)
		key = binary.LittleEndian.AppendUint64(key, math.Float64bits(s.Level))
	}
	return key
}

// costOf returns what a task costs: its own word, else its channel's.
func (c *Core) costOf(q *queue, in *Task) int {
	if in.Cost > 0 || in.Cost == All {
		return in.Cost
	}
	if len(q.Costs)+len(c.cfg.Costs) == 0 {
		return 1
	}
	if channel, ok := in.Attributes.Get("channel").Text(); ok {
		for _, list := range [...][]ChannelCost{q.Costs, c.cfg.Costs} {
			for i := range list {
				if list[i].Channel == channel {
					return list[i].Cost
				}
			}
		}
	}
	return 1
}

func (c *Core) makePlan(q *queue, in *Task, cost int) *plan {
	c.sortSkills(in)
	p := &plan{queue: q, lane: q.laneOf(c, in.Attributes), skills: slices.Clone(c.skills), cost: cost}
	p.gates = p.few[:0]
	shop, _ := in.Attributes.Get(shopAttribute).Text()
	p.clocks = c.clocksOf(q.Calendar)
	if s := c.shops[shop]; s != nil {
		p.clocks = c.clocksOf(q.Calendar, s.Calendar)
	}
	for i := range q.Boosts {
		if q.Boosts[i].When.Eval(in.Attributes, &selector.Worker{}) {
			p.boost = max(p.boost, q.Boosts[i].MS)
		}
	}
	for i := range q.Steps {
		s := &q.Steps[i]
		switch {
		case s.Classify: // it was
		case s.Resort != NoResort:
			p.resorts = append(p.resorts, resort{i, c.timedOf(p, s)})
		case in.HumansOnly && s.Who == Bots: // they had their turn
		default:
			c.addGates(p, i, s, in)
		}
	}
	if in.HumansOnly && len(p.gates) == 0 {
		c.addGates(p, 0, &Step{Who: Humans}, in)
	}
	c.watch(p)
	return p
}

// watch lets p hear of what opens and closes its steps besides time.
func (c *Core) watch(p *plan) {
	staff := slices.ContainsFunc(p.gates, func(g gate) bool { return g.when == Unstaffed })
	staff = staff || slices.ContainsFunc(p.resorts, func(r resort) bool { return p.queue.Steps[r.step].When == Unstaffed })
	if staff {
		for i := range p.gates {
			if cl := p.gates[i].class; !slices.Contains(cl.watchers, p) {
				cl.watchers = append(cl.watchers, p)
			}
		}
	}
	by := func(clocks []*clock) {
		for _, k := range clocks {
			if p.stirs = true; !slices.Contains(k.watchers, p) {
				k.watchers = append(k.watchers, p)
			}
		}
	}
	p.stirs = staff
	by(p.clocks)
	for i := range p.gates {
		by(p.gates[i].timed.clocks)
	}
	for i := range p.resorts {
		by(p.resorts[i].timed.clocks)
	}
}

// addGates adds a step to p, once for each delay of the queue's workers. For those who are left to humans the first step
// opens at once: what was in front of it had its turn.
func (c *Core) addGates(p *plan, step int, s *Step, in *Task) {
	demand := selector.Both(s.Select.Bind(in.Attributes), whoOf(s, in.HumansOnly))
	if demand.Never() {
		return
	}
	after := s.AfterMS
	earlier := func(g gate) bool { return g.step != step && g.timed.hours.overlaps(s.Hours) }
	if in.HumansOnly && !slices.ContainsFunc(p.gates, earlier) {
		after = 0
	}
	delays := []int64{0}
	if len(s.Queues)+len(s.Teams) == 0 {
		delays = p.queue.tiers
	}
	for _, d := range delays {
		cl := c.classOf(p, s, demand, s.Prefer.Bind(in.Attributes), in, d)
		g := gate{class: cl, step: step, after: after + d, delay: d, when: s.When, timed: c.timedOf(p, s)}
		g.foreign = len(cl.from) != 1 || cl.from[0] != p.queue
		g.n, g.ttl = max(s.OfferN, 1), or(s.OfferTTLMS, p.queue.OfferTTLMS)
		cl.plans++
		p.gates = append(p.gates, g)
	}
}

var (
	onlyBots   = selector.MustParse("worker.kind == 'bot'")
	onlyHumans = selector.MustParse("worker.kind == 'human'")
)

// whoOf returns what a step says of workers besides its selector.
func whoOf(s *Step, humansOnly bool) selector.Residual {
	var r selector.Residual
	switch {
	case s.Who == Humans || humansOnly:
		r = onlyHumans.Bind(nil)
	case s.Who == Bots:
		r = onlyBots.Bind(nil)
	}
	if len(s.Teams) > 0 {
		r = selector.Both(r, selector.AnyOf("teams", s.Teams))
	}
	return r
}

// forgetPlans forgets the plans that have no task, and the classes that no plan has.
func (c *Core) forgetPlans() {
	c.plans.keep(func(p *plan) bool {
		if p.tasks == 0 {
			c.forgetPlan(p)
		}
		return p.tasks > 0
	})
	c.forgetClasses()
	c.manyPlans = max(maxPlans, 2*c.plans.n)
	c.manyMembers = max(maxMembers, 2*c.members)
}

// forgetPlan takes p, which has no task, out of everything but the map. The classes that nobody else has are to be forgotten behind it.
func (c *Core) forgetPlan(p *plan) {
	is := func(o *plan) bool { return o == p }
	for i := range p.gates {
		cl := p.gates[i].class
		cl.watchers = slices.DeleteFunc(cl.watchers, is)
		cl.plans--
	}
	for _, k := range c.clocks {
		k.watchers = slices.DeleteFunc(k.watchers, is)
	}
}

// stepName returns how people call a step.
func (q *queue) stepName(i int) string {
	if i < 0 || i >= len(q.names) {
		return ""
	}
	return q.names[i]
}
