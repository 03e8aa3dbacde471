package edge

import (
	"sync"
	"time"
)

// patience is the connections of a loop whose acknowledgements wait. One timer is set while there are some: who begins to wait
// wakes nobody.
type patience struct {
	mu sync.Mutex
	// Guarded by mu.
	list  []waiting
	timer *time.Timer
	next  int64 // what the timer is set to, on the loop's clock; 0 is nothing
	ended bool
}

type waiting struct {
	c         *conn
	at, until int64
}

// sweepLeast is how often the list is gone through at most, so that a crowd is woken together.
const sweepLeast = time.Millisecond

// wait bounds the wait of c, which began at a time.
func (l *loop) wait(c *conn, at int64, most time.Duration) {
	p := &l.waits
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	until := at + int64(most)
	p.list = append(p.list, waiting{c, at, until})
	if p.next == 0 || until < p.next-int64(sweepLeast) {
		l.setPatience(until, most)
	}
}

// setPatience sets the timer. It needs waits.mu.
func (l *loop) setPatience(until int64, in time.Duration) {
	p := &l.waits
	p.next = until
	if p.timer == nil {
		p.timer = time.AfterFunc(in, l.lose)
		return
	}
	p.timer.Reset(in)
}

// lose ends the waits that are over. It runs on a goroutine of the timer.
func (l *loop) lose() {
	p := &l.waits
	p.mu.Lock()
	now, next := l.now(), int64(0)
	var over []waiting
	rest := p.list[:0]
	for _, w := range p.list {
		switch {
		case w.until <= now:
			over = append(over, w)
			continue
		case next == 0 || w.until < next:
			next = w.until
		}
		rest = append(rest, w)
	}
	clear(p.list[len(rest):])
	p.list, p.next = rest, 0
	switch {
	case p.ended:
		p.list = nil
	case next != 0:
		l.setPatience(next, max(time.Duration(next-now), sweepLeast))
	case cap(p.list) > eventsMost:
		p.list = nil
	}
	p.mu.Unlock()
	for _, w := range over {
		w.c.late(w.at)
	}
}

// endPatience lets nobody wait any more.
func (l *loop) endPatience() {
	p := &l.waits
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended, p.list = true, nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
