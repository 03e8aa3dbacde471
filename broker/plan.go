package broker

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
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
	key    string
	queue  *queue
	lane   *lane
	skills []Skill // that the task wants, sorted by name
	cost   int
	boost  int64 // of the queue's boosts
	gates  []gate
	resort int // the step, or -1
	staff  bool
	tasks  int     // that have it, in any state
	lined  []*task // that wait, where staff matters
	dirty  bool
}

// gate is a step of a plan, to the workers who share a delay.
type gate struct {
	class *class
	step  int
	after int64 // ms that the task has waited
	delay int64 // of after, the workers' own
	when  When
	n     int
	ttl   int64
}

// opens tells whether the i'th gate is open to a task that waits since.
func (p *plan) opens(i int, since, now int64) bool {
	g := &p.gates[i]
	// A gate without delay is open also to one whose session's clock is ahead.
	if g.after == 0 || since+g.after <= now {
		return true
	}
	return g.when == Unstaffed && (g.delay == 0 || since+g.delay <= now) && !p.staffed(g.step)
}

// staffed tells whether somebody is there for a step before the given one.
func (p *plan) staffed(step int) bool {
	for i := range p.gates {
		if p.gates[i].step >= step {
			break
		}
		if p.gates[i].class.staffed > 0 {
			return true
		}
	}
	return false
}

// resorts tells whether it has come to the last resort, and from when on it will have.
func (p *plan) resorts(since, now int64) (open bool, at int64) {
	if p.resort < 0 {
		return false, 0
	}
	s := &p.queue.Steps[p.resort]
	at = since + s.AfterMS
	return at <= now || s.When == Unstaffed && !p.staffed(p.resort), at
}

// planOf returns the plan of a task, made if it is new. Nothing is allocated for a known one.
func (c *Core) planOf(q *queue, in *Task) *plan {
	cost := c.costOf(q, in)
	c.skills = append(c.skills[:0], in.Skills...)
	if len(c.skills) > 1 {
		slices.SortFunc(c.skills, func(a, b Skill) int { return strings.Compare(a.Name, b.Name) })
	}
	key := append(c.key[:0], q.Name...)
	key = append(key, 0)
	if in.HumansOnly {
		key[len(key)-1] = 1
	}
	key = binary.AppendVarint(key, int64(cost))
	key = appendSkills(key, c.skills)
	for _, name := range q.speaksOf {
		key = append(in.Attributes.Get(name).Append(key), 0)
	}
	c.key = key
	if p := c.plans[string(key)]; p != nil {
		return p
	}
	if len(c.plans) >= c.manyPlans || c.members > c.manyMembers {
		c.forgetPlans()
	}
	p := c.makePlan(q, in, cost)
	p.key = string(key)
	c.plans[p.key] = p
	return p
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
	p := &plan{queue: q, lane: q.laneOf(c, in.Attributes), skills: slices.Clone(c.skills), cost: cost, resort: -1}
	for i := range q.Boosts {
		if q.Boosts[i].When.Eval(in.Attributes, &selector.Worker{}) {
			p.boost = max(p.boost, q.Boosts[i].MS)
		}
	}
	for i := range q.Steps {
		s := &q.Steps[i]
		switch {
		case s.Resort != NoResort:
			p.resort = i
		case in.HumansOnly && s.Who == Bots: // they had their turn
		default:
			c.addGates(p, i, s, in)
		}
	}
	if in.HumansOnly && len(p.gates) == 0 {
		c.addGates(p, 0, &Step{Who: Humans}, in)
	}
	for i := range p.gates {
		p.staff = p.staff || p.gates[i].when == Unstaffed
	}
	if p.resort >= 0 && q.Steps[p.resort].When == Unstaffed {
		p.staff = true
	}
	if p.staff {
		for i := range p.gates {
			if cl := p.gates[i].class; !slices.Contains(cl.watchers, p) {
				cl.watchers = append(cl.watchers, p)
			}
		}
	}
	return p
}

// addGates adds a step to p, once for each delay of the queue's workers. For those who are left to humans the first step
// opens at once: what was in front of it had its turn.
func (c *Core) addGates(p *plan, step int, s *Step, in *Task) {
	demand := selector.Both(s.Select.Bind(in.Attributes), whoOf(s, in.HumansOnly))
	if demand.Never() {
		return
	}
	after := s.AfterMS
	if in.HumansOnly && (len(p.gates) == 0 || p.gates[0].step == step) {
		after = 0
	}
	delays := []int64{0}
	if len(s.Queues)+len(s.Teams) == 0 {
		delays = p.queue.tiers
	}
	for _, d := range delays {
		cl := c.classOf(p, s, demand, s.Prefer.Bind(in.Attributes), in, d)
		g := gate{class: cl, step: step, after: after + d, delay: d, when: s.When, n: max(s.OfferN, 1), ttl: or(s.OfferTTLMS, p.queue.OfferTTLMS)}
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
	for key, p := range c.plans {
		if p.tasks > 0 {
			continue
		}
		delete(c.plans, key)
		for i := range p.gates {
			cl := p.gates[i].class
			cl.watchers = slices.DeleteFunc(cl.watchers, func(o *plan) bool { return o == p })
			if cl.plans--; cl.plans == 0 {
				c.forgetClass(cl)
			}
		}
	}
	c.manyPlans = max(maxPlans, 2*len(c.plans))
	c.manyMembers = max(maxMembers, 2*c.members)
}

// stepName returns how people call a step.
func (q *queue) stepName(i int) string {
	if i < 0 || i >= len(q.Steps) {
		return ""
	}
	if n := q.Steps[i].Name; n != "" {
		return n
	}
	return "step " + strconv.Itoa(i+1)
}
