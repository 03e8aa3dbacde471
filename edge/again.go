package edge

import (
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// hungry notes whether a line has something to be read again.
func (c *conn) hungry(l *line, behind bool) {
	l.behind = behind
	if behind {
		c.list(l)
	}
}

func (c *conn) list(l *line) {
	if !l.listed {
		l.listed = true
		c.needs = append(c.needs, l)
	}
}

// missed takes note of what a full outbox dropped: it comes again from the log.
func (c *conn) missed(dropped map[wire.SessionID]*loss) {
	for id, d := range dropped {
		l := c.lines.get(id)
		if l == nil {
			continue
		}
		if l.attached && (d.entries || d.deltas) {
			if d.entries && !l.lagged {
				l.lagged = true
				c.e.m.lagged.Inc()
				c.encode(&wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Lag{Lag: &wirepb.Lag{
					Session: string(id), From: l.last + 1,
				}}}})
			}
			l.streams = l.streams || d.deltas
			if c.paging == l {
				c.paging = nil // its page may be what was dropped
			}
			c.hungry(l, true)
		}
		if d.seq != 0 && l.ae == d.ae {
			if l.resync == 0 || d.seq < l.resync {
				l.resync, l.synced = d.seq, false
			}
			c.list(l)
		}
	}
}

// ask asks for what the lines need, when everything that waited has left: a slow socket is fed as it drains [SW-4.7]. One
// page is on its way at a time. It is called again at askAt.
func (c *conn) ask() {
	now := c.e.now()
	if c.paging != nil && now-c.paging.askedAt >= askMost {
		c.paging = nil
	}
	var first, late *line
	n := 0
	for _, l := range c.needs {
		if l.resync != 0 && (!l.synced || now-l.askedAt >= askMost) {
			c.askResync(l, now)
		}
		switch {
		case !l.behind && l.resync == 0:
			l.listed = false
			continue
		case !l.behind || c.paging != nil || l.lost:
		case l.askedAt != 0 && late == nil: // its shard did not answer: the others first
			late = l
		case l.askedAt == 0 && first == nil:
			first = l
		}
		c.needs[n] = l
		n++
	}
	clear(c.needs[n:])
	c.needs = c.needs[:n]
	if first == nil {
		first = late
	}
	if first != nil {
		c.askPage(first, now)
	}
	if n == 0 {
		c.needs = nil
		c.askAt.Store(0)
		return
	}
	c.askAt.Store(now + askMost/4)
}

// askPage asks the session's shard for what lies behind the cursor.
func (c *conn) askPage(l *line, now int64) {
	_, slot, _ := l.id.Place()
	l.after, l.askedAt = l.last, now
	cmd := &wire.Command{Verb: wire.VerbPage, Conn: c.id, Who: c.who.Load(), Session: l.id, Seq: l.last}
	if c.e.post(wire.ToSlot(slot), cmd) == nil {
		c.paging = l
	}
}

// askResync asks for the deliveries that were dropped.
func (c *conn) askResync(l *line, now int64) {
	_, slot, _ := l.id.Place()
	l.askedAt = now
	cmd := &wire.Command{Verb: wire.VerbResync, Conn: c.id, Who: c.who.Load(), Session: l.id, AE: l.ae, Seq: l.resync}
	l.synced = c.e.post(wire.ToSlot(slot), cmd) == nil
}
