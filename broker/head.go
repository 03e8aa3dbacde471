package broker

// head is the first of those who wait in a class, with what it is compared by. The heads of all classes lie in one piece of memory, by the
// classes' numbers: who becomes free is in some hundred of thousands, and finds his next task by a look at each head and at nothing behind
// it. A class in which more than one lane waits, or somebody late, or whose first is kept from somebody, has none: there its lines are
// asked.
type head struct {
	urgency
	t    *task
	lane *lane
}

// headOf returns t as a head.
func headOf(t *task) head { return head{t.urgency, t, t.plan.lane} }

// before is [task.before].
func (a *head) before(b *head) bool {
	if a.urgency != b.urgency {
		return a.urgency.before(&b.urgency)
	}
	return a.t.session < b.t.session
}

// show makes the head of c what its lines have come to.
func (c *class) show() {
	h := &c.ranking.heads[c.bit]
	if len(c.busy) == 1 {
		l := c.busy[0]
		if first, ok := l.soon.top(); ok && len(l.late.nodes) == 0 && len(first.t.bars) == 0 && first.t.cost == c.cost {
			*h = headOf(first.t)
			return
		}
	}
	*h = head{}
}
