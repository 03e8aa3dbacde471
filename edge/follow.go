package edge

import (
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// follow is the cursor of a session that the connection follows.
type follow struct {
	last    uint64 // the last entry that was written, or the position it began at
	head    uint64 // the last entry that there was when the last page came
	paging  bool   // a page is on its way
	streams bool   // deltas were dropped: the next page's streams are written
	lagged  bool   // lag was told, and is not over
	failed  bool   // the last request for a page was refused: ask again
	held    []*wire.Frame
}

// own is the assignment of a session to this connection's worker.
type own struct {
	ae   uint64
	lost uint64 // deliveries are dropped until a resync from this seq is answered
	sent bool   // the resync was asked for
}

// place puts one frame in its place.
func (c *conn) place(f *wire.Frame) {
	switch f.Kind {
	case wire.FrameAnswer, wire.FramePush, wire.FrameKeep:
		c.encode(f)
	case wire.FrameError:
		if f.ID&idPage != 0 {
			if w := c.follows[f.Session]; w != nil {
				w.paging, w.failed = false, true
				c.later()
			}
			return
		}
		c.encode(f)
	case wire.FrameMessage:
		c.entry(f)
	case wire.FrameWrote:
		c.wrote(f)
	case wire.FrameDelivery:
		if o := c.owns[f.Session]; o != nil && o.ae == f.AE && o.lost == 0 {
			c.encode(f)
		}
	case wire.FrameDelta:
		c.delta(f)
	case wire.FrameAttach:
		c.follow(f)
		c.encode(f)
	case wire.FrameDetach:
		c.unfollow(f.Session)
		if f.PB != nil {
			c.encode(f)
		}
	case wire.FramePage:
		c.pageIn(f)
	case wire.FrameAssigned:
		if c.owns == nil {
			c.owns = map[wire.SessionID]*own{}
		}
		c.owns[f.Session] = &own{ae: f.AE}
		if f.PB != nil {
			c.encode(f)
		}
	case wire.FrameResync:
		if o := c.owns[f.Session]; o != nil && o.ae == f.AE {
			o.lost, o.sent = 0, false
		}
	case wire.FrameRevoked:
		if o := c.owns[f.Session]; o != nil && o.ae == f.AE {
			delete(c.owns, f.Session)
		}
		if f.PB != nil {
			c.encode(f)
		}
	case wire.FrameBye:
		c.sayBye(f)
	case framePing, framePong, frameClose:
		c.control(f)
	}
}

// follow begins to follow a session where f says, and asks for what lies between there and the head.
func (c *conn) follow(f *wire.Frame) {
	if c.follows == nil {
		c.follows = map[wire.SessionID]*follow{}
	}
	w := &follow{last: f.Seq, head: f.Head}
	c.follows[f.Session] = w
	c.followed.Store(int64(len(c.follows)))
	if w.last < w.head {
		c.askPage(f.Session, w)
	}
}

func (c *conn) unfollow(id wire.SessionID) {
	delete(c.follows, id)
	c.followed.Store(int64(len(c.follows)))
}

// entry writes a pushed entry if it is the next [SW-4.4].
func (c *conn) entry(f *wire.Frame) {
	w := c.follows[f.Session]
	switch {
	case w == nil || f.Entry.Seq <= w.last:
	case f.Prev > w.last:
		c.askPage(f.Session, w)
	default:
		c.encode(f)
		w.last = f.Entry.Seq
	}
}

// wrote writes a reply to a send in the place of its entry [SW-4.4]. One that is ahead of its place waits for it.
func (c *conn) wrote(f *wire.Frame) {
	w := c.follows[f.Session]
	switch {
	case w == nil || f.Duplicate || f.Seq <= w.last:
		c.encode(f)
	case f.Prev > w.last:
		w.held = append(w.held, f) // bounded by the requests that may be unanswered
		c.askPage(f.Session, w)
	default:
		c.encode(f)
		w.last = f.Seq
	}
}

func (c *conn) delta(f *wire.Frame) {
	w := c.follows[f.Session]
	switch {
	case w == nil:
	case w.paging || w.streams:
		w.streams = true
	default:
		c.encode(f)
	}
}

// pageIn writes what a page holds, and asks for the next when it is not the last. The next one is asked for when this
// one has left: a slow socket is fed as it drains [SW-4.7].
func (c *conn) pageIn(f *wire.Frame) {
	w := c.follows[f.Session]
	if w == nil || !w.paging {
		return
	}
	w.paging = false
	for _, e := range f.Entries {
		if e.Seq <= w.last {
			continue
		}
		if mine := w.takeHeld(e.Seq); mine != nil {
			c.encode(mine)
		} else {
			c.encode(&wire.Frame{Kind: wire.FrameMessage, Session: f.Session, Entry: e, Prev: w.last})
		}
		w.last = e.Seq
		if len(c.out)+len(c.payload) > writeMost {
			c.flush()
		}
	}
	for len(w.held) > 0 && w.held[0].Prev <= w.last {
		mine := w.held[0]
		w.held = w.held[1:]
		c.encode(mine)
		w.last = max(w.last, mine.Seq)
	}
	if w.head = f.Head; w.last < w.head {
		c.flush()
		c.askPage(f.Session, w)
		return
	}
	w.lagged = false
	if w.streams {
		w.streams = false
		for _, s := range f.Streams {
			c.encode(&wire.Frame{Kind: wire.FramePush, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Stream{Stream: s}}})
		}
	}
}

func (w *follow) takeHeld(seq uint64) *wire.Frame {
	for i, f := range w.held {
		if f.Seq == seq {
			w.held = append(w.held[:i:i], w.held[i+1:]...)
			return f
		}
	}
	return nil
}

// askPage asks the session's shard for what lies behind the cursor, once.
func (c *conn) askPage(id wire.SessionID, w *follow) {
	if w.paging {
		return
	}
	w.paging, w.failed = true, false
	_, slot, _ := id.Place()
	c.page++
	cmd := &wire.Command{Verb: wire.VerbPage, ID: idPage | c.page, Conn: c.id, Who: c.who, Session: id, Seq: w.last}
	if c.e.post(wire.ToSlot(slot), cmd) != nil {
		w.paging, w.failed = false, true
		c.later()
	}
}

// recover asks again for what a full outbox dropped.
func (c *conn) recover(lost map[wire.SessionID]*loss) {
	for id, l := range lost {
		if w := c.follows[id]; w != nil && l.pushes {
			if !w.lagged {
				w.lagged = true
				c.e.m.lagged.Inc()
				c.encode(&wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Lag{Lag: &wirepb.Lag{Session: string(id), From: w.last + 1}}}})
			}
			w.streams = true
			c.flush()
			c.askPage(id, w)
		}
		if o := c.owns[id]; o != nil && l.seq != 0 && o.ae == l.ae {
			if o.lost == 0 || l.seq < o.lost {
				o.lost = l.seq
			}
			c.flush()
			c.resync(id, o)
		}
	}
}

func (c *conn) resync(id wire.SessionID, o *own) {
	_, slot, _ := id.Place()
	cmd := &wire.Command{Verb: wire.VerbResync, Conn: c.id, Who: c.who, Session: id, AE: o.ae, Seq: o.lost}
	if o.sent = c.e.post(wire.ToSlot(slot), cmd) == nil; !o.sent {
		c.later()
	}
}

// later lets the next tick wake the writer to ask again.
func (c *conn) later() {
	c.mu.Lock()
	c.askLater = true
	c.mu.Unlock()
}

// ask repeats every question that found nobody.
func (c *conn) ask() {
	for id, w := range c.follows {
		if w.failed {
			c.askPage(id, w)
		}
	}
	for id, o := range c.owns {
		if o.lost != 0 && !o.sent {
			c.resync(id, o)
		}
	}
}
