package edge

import (
	"math"
	"time"

	"switchboard/wire"
)

// Half of what a busy broker costs is the kernel sending small packets: a customer's message is acknowledged in one, and the bot's
// answer comes in the next. So an acknowledgement waits for company, where company is usual. It is what TCP does with its own
// (RFC 1122, 4.2.3.2: a delayed acknowledgement, at most 500 ms), with the same guess: a connection on which the last
// acknowledgement was followed soon is one on which the next will be. docs/adr/0022 tells more.

// DefaultAckDelay is for how long an acknowledgement waits for company at most: whoever waits as long does not feel it.
const DefaultAckDelay = 100 * time.Millisecond

// company is what a connection knows of what follows its acknowledgements. conn.mu guards it.
type company struct {
	at    int64 // when the last acknowledgement was queued that nothing has followed yet, on the loop's clock; 0 is none
	after int32 // about how soon something follows, where it does; µs
	usual bool  // something followed the one before it
	waits bool  // the last one waits, and nobody was told to write it
}

// patience is for how long the next acknowledgement waits: most of those that had company had it within twice the mean.
func (k *company) patience(most time.Duration) time.Duration {
	return min(2*time.Duration(k.after)*time.Microsecond+time.Millisecond, most)
}

// alone tells whether it, which is queued, is an acknowledgement that may wait. It needs mu.
func (c *conn) alone(it *item) bool {
	k := &c.company
	if it.f.Kind != wire.FrameWrote || it.f.Verb != wire.VerbSend {
		c.met()
		return false
	}
	if c.loop == nil || c.e.cfg.AckDelay < 0 || it.f.Duplicate {
		return false
	}
	if who := c.who.Load(); who == nil || who.Role != wire.RoleCustomer {
		return false
	}
	second := k.at != 0 // whoever sends on without waiting for an answer gets what he has earned
	k.at = c.loop.now()
	k.waits = k.usual && !second && !c.writer
	return k.waits
}

// met takes note that something follows. It needs mu.
func (c *conn) met() {
	k := &c.company
	if k.at != 0 {
		after := time.Duration(c.loop.now() - k.at)
		was := k.usual
		switch k.usual, k.at = after < c.e.cfg.AckDelay, 0; {
		case k.usual && was:
			k.after += (micros(after) - k.after) / 4
		case k.usual:
			k.after = micros(after)
		}
	}
	k.waits = false
}

// micros is d, which is shorter than an acknowledgement may wait, in µs.
func micros(d time.Duration) int32 { return int32(min(d.Microseconds(), math.MaxInt32)) } //nolint:gosec // bounded

// late writes the acknowledgement that was queued at a time, if it still waits: nobody came.
func (c *conn) late(at int64) {
	c.mu.Lock()
	k := &c.company
	start := k.waits && k.at == at
	if start {
		k.waits, k.usual = false, false
		start = c.begin()
	}
	c.mu.Unlock()
	if start {
		c.start()
	}
}
