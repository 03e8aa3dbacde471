package edge

import (
	"slices"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// early is what a worker's sessions told him before the answer to his subscription was here. They hear of him from the pool, as he does, and may be
// nearer to this edge than it is. Without the answer he does not know what he has: an assignment that the answer cannot name yet would be lost
// to him, and deliveries of one that only `kept` will name are nobody's, so they would never come again. They wait for it [SW-5.7].
type early struct {
	frames []*wire.Frame
	size   int // bytes, about
}

// tell writes a frame about a worker's assignment, once he knows what he has.
func (c *conn) tell(f *wire.Frame) {
	c.untold()
	if !c.subscribing() {
		c.encode(f)
		return
	}
	e := &c.unusual().early
	e.frames = append(e.frames, f)
	if e.size += frameSize(f); e.size > c.outboxMost() {
		c.abort(wire.CloseSlow) // as when it did not fit into the outbox
	}
}

// untold writes what has waited, when nothing is to be waited for any more.
func (c *conn) untold() {
	if c.rare == nil || len(c.rare.early.frames) == 0 || c.subscribing() {
		return
	}
	for _, f := range c.rare.early.frames {
		c.encode(f)
		c.spill()
	}
	c.rare.early = early{}
}

// learns is that a worker is about to hear, by the answer to his subscription, what he has. What waits for it and is named there need not be told
// again. Of what is neither, an owner has said that `kept` would name it, and it was another pool that has answered: he does not know of it, and is told
// when that pool has heard of it as well.
func (c *conn) learns(kept []*wirepb.Kept) {
	named := make(map[wire.SessionID]uint64, len(kept))
	for _, k := range kept {
		named[wire.SessionID(k.Session)] = k.Ae
	}
	if c.rare != nil {
		e := &c.rare.early
		e.frames = slices.DeleteFunc(e.frames, func(f *wire.Frame) bool {
			if f.Kind != wire.FrameAssigned {
				return false
			}
			again := named[f.Session] == f.AE
			named[f.Session] = f.AE
			return again
		})
	}
	if supervises(c.who.Load().Role) { // what he has taken is his own
		return
	}
	for l := range c.lines.all() {
		if l.ae != 0 && named[l.id] != l.ae {
			l.ae, l.resync = 0, 0
			c.forget(l)
		}
	}
}

// subscribing tells whether a connection waits to hear what its worker has. One that has a standing knows.
func (c *conn) subscribing() bool {
	if c.standing != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.pending.all() {
		if r.verb == wire.VerbSubscribe && !r.own {
			return true
		}
	}
	return false
}
