package edge

import "switchboard/internal/prefetch"

// Of ten thousand connections nearly none is in the processor's caches when something comes for it, and what serving one looks at is some
// thirty places, a wait for memory each. But a loop knows whose turn is next: while the kernel is asked for the bytes of one, the memory of
// the others comes. One place tells where the next is, so it is asked for in three steps.

// ahead asks for what serving the events behind the i'th will look at.
func (l *loop) ahead(i int) {
	if c := l.named(i + 2); c != nil {
		prefetch.Object(c)
	}
	if c := l.named(i + 1); c != nil {
		c.ahead()
	}
	if c := l.named(i); c != nil && c.lines.one != nil {
		prefetch.String(c.lines.one.id)
	}
}

// named returns whom the i'th of the events is for, or nil.
func (l *loop) named(i int) *conn {
	evs := l.p.events()
	if i >= len(evs) || evs[i].Fd < 0 {
		return nil
	}
	return l.slots[evs[i].Fd].c
}

// ahead asks for what c, which is in the caches, has elsewhere.
func (c *conn) ahead() {
	c.mu.Lock()
	pending := c.pending
	c.mu.Unlock()
	prefetch.Object(pending)
	prefetch.Object(c.lines.one)
	prefetch.Object(c.who.Load())
}
