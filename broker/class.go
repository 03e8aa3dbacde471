package broker

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// maxIdle bounds the classes that are kept though nobody waits in them.
const maxIdle = 256

// queue is a Queue with what stands in it.
type queue struct {
	Queue
	workers []*worker // subscribed, in no order
	classes []*class  // in the order of their making
	waiting int
	timer   timer // of the next look at who waits
	pace    pace
}

// class is a requirement: all tasks of a queue that want the same of a worker. It knows who meets it, so finding the best
// worker for a task and the next task for a worker needs no look at anybody else.
type class struct {
	queue  *queue
	key    string
	cost   int
	skills []Skill // sorted by name

	members []*member
	free    [kinds]heap[*member] // members who could take a task now, best first
	line    [kinds]heap[*waiter] // tasks that wait, and are open to the kind
	tasks   int                  // of the class, in any state
}

// member is a worker who meets a class's requirement.
type member struct {
	w     *worker
	class *class
	fit   float64 // 0.4·skill + 0.3·rating: changes only with the worker
	index int     // in class.members
	at    int32   // in class.free
}

func (a *member) place() *int32 { return &a.at }

// before tells whether a shall be asked before b.
func (a *member) before(b *member) bool {
	x, y := a.fit, b.fit
	if a.class.queue.Scoring == Weighted {
		x, y = x-weightLoad*a.w.load, y-weightLoad*b.w.load
	} else if a.w.load != b.w.load {
		return a.w.load < b.w.load
	}
	switch {
	case x != y:
		return x > y
	case a.w.assigned != b.w.assigned:
		return a.w.assigned < b.w.assigned
	}
	return a.w.ID < b.w.ID
}

// The weights of a score.
const (
	weightSkill  = 0.4
	weightLoad   = 0.3
	weightRating = 0.3
)

// best returns the best member for t that could take a task of kind k now, or nil. Only barred ones are looked past.
func (c *class) best(k kind, t *task) *member {
	h := &c.free[k]
	if len(t.bars) == 0 {
		m, _ := h.top()
		return m
	}
	return bestOf(h, 0, t)
}

func bestOf(h *heap[*member], i int, t *task) *member {
	if i >= len(h.nodes) {
		return nil
	}
	m := h.nodes[i]
	if !t.barred(m.w.ID) {
		return m
	}
	left, right := bestOf(h, 2*i+1, t), bestOf(h, 2*i+2, t)
	if left == nil || right != nil && right.before(left) {
		return right
	}
	return left
}

// first returns the first task that waits in c and w may have, or nil.
func (c *class) first(w *worker) *waiter { return firstOf(&c.line[w.kind], 0, w) }

func firstOf(h *heap[*waiter], i int, w *worker) *waiter {
	if i >= len(h.nodes) {
		return nil
	}
	x := h.nodes[i]
	if !x.t.barred(w.ID) {
		return x
	}
	left, right := firstOf(h, 2*i+1, w), firstOf(h, 2*i+2, w)
	if left == nil || right != nil && right.before(left) {
		return right
	}
	return left
}

// classOf returns the class of a task, made if it is new. Nothing is allocated for a known one.
func (c *Core) classOf(q *queue, t *Task) *class {
	cost := max(t.Cost, 1)
	c.skills = append(c.skills[:0], t.Skills...)
	slices.SortFunc(c.skills, func(a, b Skill) int { return strings.Compare(a.Name, b.Name) })
	key := append(c.key[:0], q.Name...)
	key = binary.AppendUvarint(append(key, 0), uint64(cost))
	for _, s := range c.skills {
		key = binary.AppendUvarint(key, uint64(len(s.Name)))
		key = append(key, s.Name...)
		key = binary.LittleEndian.AppendUint64(key, math.Float64bits(s.Level))
	}
	c.key = key
	if cl := c.classes[string(key)]; cl != nil {
		return cl
	}
	if len(c.classes) >= c.manyClasses {
		c.dropClasses()
		c.manyClasses = max(maxIdle, 2*len(c.classes))
	}
	cl := &class{queue: q, key: string(key), cost: cost, skills: slices.Clone(c.skills)}
	c.classes[cl.key] = cl
	q.classes = append(q.classes, cl)
	for _, w := range q.workers {
		cl.admit(w)
	}
	return cl
}

// dropClasses forgets the classes that have no task. Their workers forget them too.
func (c *Core) dropClasses() {
	for _, q := range c.order {
		q.classes = slices.DeleteFunc(q.classes, func(cl *class) bool {
			if cl.tasks > 0 {
				return false
			}
			for _, m := range cl.members {
				m.w.members = slices.DeleteFunc(m.w.members, func(o *member) bool { return o == m })
			}
			delete(c.classes, cl.key)
			return true
		})
	}
}

// admit makes w a member when it meets the requirement.
func (c *class) admit(w *worker) {
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
	}
	m := &member{w: w, class: c, fit: weightSkill*skill + weightRating*w.rating, index: len(c.members)}
	c.members = append(c.members, m)
	w.members = append(w.members, m)
	m.update()
}

// dismiss undoes admit. Whoever calls drops m from its worker.
func (c *class) dismiss(m *member) {
	c.free[m.w.kind].remove(m)
	last := len(c.members) - 1
	moved := c.members[last]
	c.members[m.index], moved.index = moved, m.index
	c.members[last] = nil
	c.members = c.members[:last]
}

// update puts a where it belongs among the free after its worker changed.
func (a *member) update() {
	h := &a.class.free[a.w.kind]
	switch in := a.at > 0; {
	case !a.w.takes(a.class.cost):
		h.remove(a)
	case in:
		h.fix(a)
	default:
		h.push(a)
	}
}
