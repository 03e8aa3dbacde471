package edge

import (
	"errors"
	"syscall"

	"switchboard/edge/ws"
)

// event does what the socket of c is ready for.
func (l *loop) event(c *conn, ready uint32) {
	if ready&(syscall.EPOLLOUT|syscall.EPOLLERR|syscall.EPOLLHUP) != 0 && c.seat.rest != nil {
		l.resume(c)
	}
	if ready&^syscall.EPOLLOUT != 0 && !c.seat.ended && c.seat.fd >= 0 {
		l.read(c, ready&(syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) != 0)
	}
}

// readMore goes on with those who had more than the buffer takes.
func (l *loop) readMore() {
	l.again, l.more = l.more, l.again[:0]
	for _, c := range l.again {
		c.seat.more = false
		if !c.seat.ended && c.seat.fd >= 0 {
			l.read(c, true)
		}
	}
	clear(l.again)
}

// read takes what the socket has, at most a buffer of it. A read that does not fill the buffer has emptied the socket, and
// what comes later is another event; but of a hang-up, which came already, it has to be asked.
func (l *loop) read(c *conn, hangup bool) {
	n, err := read(c.seat.fd, l.in)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return
	case c.seat.knocking && (err != nil || n == 0):
		l.unseat(c)
		return
	case err != nil || n == 0:
		l.end(c)
		return
	}
	if (n == len(l.in) || hangup) && !c.seat.more {
		c.seat.more = true
		l.more = append(l.more, c)
	}
	switch {
	case c.seat.deaf:
	case c.seat.knocking:
		l.knock(c, l.in[:n])
	case c.tls != nil:
		l.open(c, l.in[:n])
	default:
		c.heard()
		l.take(c, l.in[:n])
	}
	mangle(l.in[:n:n])
}

// take is conn.take behind a message that was cut. The bytes are the caller's again afterwards. A frame whose header has
// been looked at is not looked at again before it is whole.
func (l *loop) take(c *conn, b []byte) {
	if was := len(c.part); was > 0 {
		c.grow(len(b))
		c.part = append(c.part, b...)
		if was >= ws.MaxHeader && len(c.part) < ws.Need(c.part) {
			return
		}
		b, c.part = c.part, nil
	}
	c.take(b)
}

// end is the end of reading.
func (l *loop) end(c *conn) {
	if !c.seat.ended {
		c.seat.ended = true
		c.end()
	}
}

// sever ends a connection whose socket is of no use any more: what waits for it is thrown away.
func (l *loop) sever(c *conn) {
	c.ending = true
	c.seat.severed.Store(true)
	l.end(c)
	if r := c.seat.rest; r != nil {
		r.bytes = nil
		l.settle(c)
	}
}

// write writes what waits for c, for a few turns. When there is more, the others come first.
func (l *loop) write(c *conn) {
	c.w = l.w
	for range turnsMost {
		if !c.turn(l.w) {
			return
		}
	}
	c.taken(l.w.done) // the next turn is not with these buffers
	l.w.done = 0
	l.mark(c)
}

// taken takes bytes of items that have left off what waits.
func (c *conn) taken(size int) {
	c.mu.Lock()
	c.bytes -= size
	c.mu.Unlock()
}

// offer writes what is gathered, as far as the socket takes it. The rest stays in w.out until the end of the turn.
func (c *conn) offer() {
	b := c.w
	if c.seat.severed.Load() {
		b.empty()
		return
	}
	if c.tls != nil && !c.loop.seal(c) || c.seat.full || len(b.out) == 0 {
		return
	}
	n, err := write(c.seat.fd, b.out)
	switch {
	case err == nil && n == len(b.out):
		b.empty()
		c.lastWrite.Store(c.e.now())
		if c.ending {
			c.shut()
		}
	case err == nil || errors.Is(err, syscall.EAGAIN):
		c.seat.full = true
		b.out = b.out[:copy(b.out, b.out[n:])]
		b.sealed = max(b.sealed-n, 0)
		now := c.e.now()
		c.writing.Store(now)
		c.lastWrite.Store(now)
	default:
		b.empty()
		c.loop.sever(c)
	}
}

// shut ends the sending side behind a close frame; the peer has a moment to do the same.
func (c *conn) shut() {
	_ = syscall.Shutdown(int(c.seat.fd), syscall.SHUT_WR)
	c.hurry()
}

// park keeps what a full socket did not take, in memory of the connection's own. The turn goes on when there is room.
func (c *conn) park(upTo uint64, closed bool) {
	b := c.w
	c.seat.rest = &rest{bytes: append([]byte(nil), b.out...), size: b.done, upTo: upTo, closed: closed}
	b.empty()
	b.done = 0
	c.w = nil
	c.loop.resume(c) // there may be room by now, of which no event would tell
}

// resume goes on with a turn whose bytes found no room.
func (l *loop) resume(c *conn) {
	r := c.seat.rest
	for len(r.bytes) > 0 {
		n, err := write(c.seat.fd, r.bytes)
		if errors.Is(err, syscall.EAGAIN) {
			return
		}
		if err != nil {
			l.sever(c)
			l.mark(c)
			return
		}
		r.bytes = r.bytes[n:]
		now := c.e.now() // the kernel tells of room only when a good part of its buffer is free
		c.writing.Store(now)
		c.lastWrite.Store(now)
	}
	l.settle(c)
	if c.ending {
		c.shut()
	}
	l.mark(c)
}

// settle ends a turn that had found no room.
func (l *loop) settle(c *conn) {
	r := c.seat.rest
	c.seat.rest, c.seat.full = nil, false
	c.writing.Store(0)
	c.taken(r.size)
	c.left(r.upTo, r.closed)
}
