package edge

import (
	"sync"
	"time"
)

// patience is the connections of a loop whose acknowledgements wait, in the order in which they began. One timer is set while there
// are some: who begins to wait wakes nobody.
type patience struct {
	mu sync.Mutex
	// Guarded by mu.
	list  []waiting
	timer *time.Timer // nil until somebody waits
	set   bool
	ended bool
}

type waiting struct {
	c  *conn
	at int64
}

// wait bounds the wait of c, which began at a time.
func (l *loop) wait(c *conn, at int64) {
	p := &l.patience
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, waiting{c, at})
	if p.set || p.ended {
		return
	}
	p.set = true
	if p.timer == nil {
		p.timer = time.AfterFunc(l.e.cfg.AckDelay, l.lose)
		return
	}
	p.timer.Reset(l.e.cfg.AckDelay)
}

// lose ends the waits that are over. It runs on a goroutine of the timer.
func (l *loop) lose() {
	p := &l.patience
	p.mu.Lock()
	now, n := l.now(), 0
	for n < len(p.list) && now-p.list[n].at >= int64(l.e.cfg.AckDelay) {
		n++
	}
	over := append([]waiting(nil), p.list[:n]...)
	rest := copy(p.list, p.list[n:])
	clear(p.list[rest:])
	p.list = p.list[:rest]
	if p.set = rest > 0 && !p.ended; p.set {
		p.timer.Reset(time.Duration(p.list[0].at+int64(l.e.cfg.AckDelay)-now) + time.Millisecond) // so that a crowd is woken together
	} else if cap(p.list) > eventsMost {
		p.list = nil
	}
	p.mu.Unlock()
	for _, w := range over {
		w.c.late(w.at)
	}
}

// endPatience lets nobody wait any more.
func (l *loop) endPatience() {
	p := &l.patience
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended, p.list = true, nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
