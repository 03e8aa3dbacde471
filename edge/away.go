package edge

import (
	"math/rand/v2"

	"switchboard/wire"
)

// awayMS is the longest pause that a connection which is sent away is asked to make, in milliseconds.
const awayMS = 500

// Latest is the number of the connection that came last, of those that SendAway speaks of.
func (e *Edge) Latest() uint64 { return e.lastConn.Load() }

// SendAway tells up to n of the open connections that came no later than upTo, as Latest was then, to come back at another node, at one of the
// URLs to when there are any [SW-6.2], and returns how many of these are left that were not told. Their sessions stay where they are. Its
// caller sets the pace.
func (e *Edge) SendAway(n int, upTo uint64, to []string) (left int) {
	for _, c := range e.list() {
		if c.byeAt.Load() != 0 || c.id.ID > upTo {
			continue
		}
		if n <= 0 {
			left++
			continue
		}
		n--
		url := ""
		if len(to) > 0 {
			url = to[rand.IntN(len(to))]
		}
		c.byeTo(wire.CloseDrain, rand.Int64N(awayMS), url)
	}
	return left
}
