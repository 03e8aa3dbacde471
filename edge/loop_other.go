//go:build !linux

package edge

import (
	"net"
	"time"

	"switchboard/wire"
)

// loop does not exist here: every connection has goroutines of its own.
type loop struct{ names names }

// door does not exist here: the HTTP server accepts.
type door struct{ net.Listener }

type handed struct{}

const handedMost = 0

func (e *Edge) openDoor(ln net.Listener) net.Listener { return ln }
func (e *Edge) admit(net.Listener) error              { return nil }
func (e *Edge) closeDoors()                           {}
func (e *Edge) turnAway()                             {}
func whole(sock net.Conn) net.Conn                    { return sock }

func (e *Edge) openLoops() error                   { return nil }
func (e *Edge) closeLoops()                        {}
func (e *Edge) seat(*conn, []byte) bool            { return false }
func (l *loop) mark(*conn)                         {}
func (l *loop) cut(*conn)                          {}
func (l *loop) hurry(*conn)                        {}
func (l *loop) unseat(*conn)                       {}
func (l *loop) now() int64                         { return 0 }
func (l *loop) wait(*conn, int64, time.Duration)   {}
func (l *loop) command() *wire.Command             { return &wire.Command{} }
func (l *loop) took(c *wire.Command) *wire.Command { return c }
func (c *conn) offer()                             {}
func (c *conn) park(upTo uint64, _ bool)           {}
