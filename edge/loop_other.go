//go:build !linux

package edge

import "time"

// loop does not exist here: every connection has goroutines of its own.
type loop struct{}

func (e *Edge) openLoops() error                 { return nil }
func (e *Edge) closeLoops()                      {}
func (e *Edge) seat(*conn, []byte) bool          { return false }
func (l *loop) mark(*conn)                       {}
func (l *loop) cut(*conn)                        {}
func (l *loop) hurry(*conn)                      {}
func (l *loop) unseat(*conn)                     {}
func (l *loop) now() int64                       { return 0 }
func (l *loop) wait(*conn, int64, time.Duration) {}
func (c *conn) offer()                           {}
func (c *conn) park(upTo uint64, _ bool)         {}
