package edge

import (
	"errors"

	"switchboard/edge/secure"
)

// unsealedMost bounds what TLS itself wants to say to a peer who does not read.
const unsealedMost = 16 << 10

// open takes what the socket of a TLS connection had. What is no whole record yet stays with TLS; only bytes that make one
// count as heard.
func (l *loop) open(c *conn, b []byte) {
	c.tls.Feed(b)
	for !c.seat.ended && !c.seat.deaf {
		n, err := c.tls.Open(l.plain)
		if n > 0 {
			c.heard()
			l.take(c, l.plain[:n])
			mangle(l.plain[:n:n])
		}
		if errors.Is(err, secure.ErrWait) {
			break
		}
		if err != nil { // its goodbye, or what is no TLS: the alert may still be written
			l.end(c)
		}
	}
	c.tls.Feed(nil)
	switch n := c.tls.Unsealed(); {
	case n > unsealedMost:
		l.sever(c)
	case n > 0:
		c.wake() // a key update is answered
	}
}

// seal makes records of what was gathered since the last time, also when the socket is full: they are in order. It reports
// false when nothing can be written any more.
func (l *loop) seal(c *conn) bool {
	b := c.w
	out, err := c.tls.Seal(l.cipher[:0], b.out[b.sealed:], c.ending)
	b.out = append(b.out[:b.sealed], out...)
	b.sealed = len(b.out)
	mangle(out)
	if cap(out) <= 4*writeMost {
		l.cipher = out
	}
	if err != nil {
		b.empty()
		l.sever(c)
		return false
	}
	return true
}
