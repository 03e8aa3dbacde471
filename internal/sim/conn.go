package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// room is how many bytes may be on their way in one direction before a writer waits, as in the buffers of a socket.
const room = 256 << 10

// conn is one end of a connection. What is written travels for a while, in order, and waits while the way is cut.
type conn struct {
	n        *Net
	from, to string // hosts: this end's and the other's
	peer     *conn

	mu sync.Mutex
	// Guarded by mu.
	in     []byte  // arrived
	way    []piece // on the way here
	eof    bool    // the other end has closed, behind what is on the way
	err    error   // broken
	closed bool    // this end
	rd, wd time.Time
	wake   chan struct{} // closed when anything of this changes
}

type piece struct {
	b   []byte
	at  time.Time
	end bool
}

func (n *Net) pair(from, to string) (a, b *conn) {
	a = &conn{n: n, from: from, to: to, wake: make(chan struct{})}
	b = &conn{n: n, from: to, to: from, wake: make(chan struct{}), peer: a}
	a.peer = b
	n.mu.Lock()
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	n.mu.Unlock()
	return a, b
}

// poke wakes whoever waits for something at this end, and at the other.
func (c *conn) poke() {
	for _, e := range []*conn{c, c.peer} {
		e.mu.Lock()
		e.changed()
		e.mu.Unlock()
	}
}

// changed needs c.mu.
func (c *conn) changed() {
	close(c.wake)
	c.wake = make(chan struct{})
}

// lost tells whether the way to this end is cut.
func (c *conn) lost() bool {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.n.lost(c.to, c.from)
}

// arrive takes in what has come by now, and says when more comes. It needs c.mu.
func (c *conn) arrive(now time.Time, lost bool) (next time.Time) {
	if lost {
		return time.Time{}
	}
	for len(c.way) > 0 && !c.way[0].at.After(now) {
		c.in = append(c.in, c.way[0].b...)
		c.eof = c.eof || c.way[0].end
		c.way = c.way[1:]
	}
	if len(c.way) > 0 {
		return c.way[0].at
	}
	return time.Time{}
}

// wait waits for a change, for next or for a deadline. It is called with c.mu held, and returns with it held.
func (c *conn) wait(next, deadline time.Time) {
	wake := c.wake
	if next.IsZero() || !deadline.IsZero() && deadline.Before(next) {
		next = deadline
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	if next.IsZero() {
		<-wake
		return
	}
	t := time.NewTimer(time.Until(next))
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	}
}

func (c *conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.mu.Unlock()
		lost := c.lost()
		c.mu.Lock()
		now := time.Now()
		next := c.arrive(now, lost)
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.in) > 0:
			n := copy(p, c.in)
			c.in = c.in[n:]
			c.changed() // there is room
			return n, nil
		case c.err != nil:
			return 0, c.err
		case c.eof:
			return 0, io.EOF
		case !c.rd.IsZero() && !now.Before(c.rd):
			return 0, os.ErrDeadlineExceeded
		}
		c.wait(next, c.rd)
	}
}

func (c *conn) Write(p []byte) (int, error) {
	done := 0
	for {
		c.mu.Lock()
		closed, err, deadline := c.closed, c.err, c.wd
		c.mu.Unlock()
		switch {
		case closed:
			return done, net.ErrClosed
		case err != nil:
			return done, err
		case !deadline.IsZero() && !time.Now().Before(deadline):
			return done, os.ErrDeadlineExceeded
		}
		e := c.peer
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			return done, errReset
		}
		held := len(e.in)
		for _, w := range e.way {
			held += len(w.b)
		}
		if n := min(room-held, len(p)-done); n > 0 {
			e.send(append([]byte(nil), p[done:done+n]...), false)
			done += n
		}
		if done == len(p) {
			e.mu.Unlock()
			return done, nil
		}
		e.wait(time.Time{}, deadline)
		e.mu.Unlock()
	}
}

// send puts a piece on its way to this end. It needs c.mu.
func (c *conn) send(b []byte, end bool) {
	if c.err != nil {
		return // it broke meanwhile
	}
	c.n.mu.Lock()
	at := time.Now()
	if c.n.delay > 0 {
		at = at.Add(time.Duration(c.n.rng.Int64N(int64(c.n.delay))))
	}
	c.n.mu.Unlock()
	if k := len(c.way); k > 0 && at.Before(c.way[k-1].at) {
		at = c.way[k-1].at
	}
	c.way = append(c.way, piece{b, at, end})
	c.changed()
}

func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.changed()
	c.mu.Unlock()
	c.peer.mu.Lock()
	c.peer.send(nil, true)
	c.peer.mu.Unlock()
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	return nil
}

// breaks ends both ends at once, as when a host is gone.
func (c *conn) breaks(err error) {
	for _, e := range []*conn{c, c.peer} {
		e.mu.Lock()
		if e.err == nil {
			e.err = err
		}
		e.way = nil
		e.changed()
		e.mu.Unlock()
	}
}

func (c *conn) LocalAddr() net.Addr  { return address(c.from + ":1") }
func (c *conn) RemoteAddr() net.Addr { return address(c.to + ":1") }

func (c *conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rd, c.wd = t, t
	c.changed()
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rd = t
	c.changed()
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	c.wd = t
	c.changed()
	c.mu.Unlock()
	c.peer.mu.Lock()
	c.peer.changed() // a writer waits there
	c.peer.mu.Unlock()
	return nil
}
