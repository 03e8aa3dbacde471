package edge

// A connection that nobody writes to looks for its owners when it is woken. When owners change, whoever waits for one, or for an
// answer, is woken at once. Then those who merely follow: what they are not told meanwhile comes later, and they may be many, whose
// questions would leave a shard that has just begun no room for requests.

// rouseMost is how many of those who merely follow are woken at once, and again with every stripe that is visited.
const rouseMost = 1024

// unrest lets c be woken as soon as owners have changed; without, it is when one of its own has.
func (e *Edge) unrest(c *conn) {
	e.restMu.Lock()
	if e.waiting == nil {
		e.waiting = map[*conn]struct{}{}
	}
	e.waiting[c] = struct{}{}
	e.restMu.Unlock()
}

// stir wakes whom it concerns that owners have changed.
func (e *Edge) stir() {
	changes := e.x.Changes()
	if changes == e.saw {
		return
	}
	e.saw = changes
	next := make(chan struct{})
	close(*e.changed.Swap(&next))
	e.restMu.Lock()
	list := e.waiting
	e.waiting = nil
	e.restMu.Unlock()
	for c := range list {
		c.wake()
	}
	clear(e.idle)
	e.idle = e.idle[:0] // they are found again
	for i := range e.table {
		e.stirred = e.table[i].list(e.stirred[:0])
		for _, c := range e.stirred {
			switch _, woken := list[c]; {
			case woken:
			case c.unanswered.Load() > 0:
				c.wake()
			case c.deserted():
				e.idle = append(e.idle, c)
			}
		}
		clear(e.stirred)
	}
	e.rouse()
	e.watchDesks(e.now())
}

// rouse wakes some of those who merely follow.
func (e *Edge) rouse() {
	n := min(len(e.idle), rouseMost)
	for i, c := range e.idle[:n] {
		c.wake()
		e.idle[i] = nil
	}
	if e.idle = e.idle[n:]; len(e.idle) == 0 {
		e.idle = nil
	}
}

// deserted tells whether somebody whom c is attached to, or stands by, is not there any more.
func (c *conn) deserted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.lines.all() {
		if _, slot, _ := l.id.Place(); l.generation != c.e.x.Generation(slot) {
			return true
		}
	}
	return c.standing != nil && c.standing.generation != c.e.x.Generation(c.standing.slot)
}
