package session

import (
	"slices"

	"switchboard/wire"
)

// hear lets a connection, or the pool, read its mail as an edge does, and checks that it may and that it fits.
func (m *model) hear(e wire.Envelope) {
	m.t.Helper()
	f, ok := e.Mail.(*wire.Frame)
	if !ok {
		m.hearPool(e.Mail)
		return
	}
	c := m.client(wire.Conn{Node: e.To.Node, ID: e.To.ID})
	if c == nil {
		return
	}
	if c.who.Sub == "eve" && (f.Kind != wire.FrameError || f.Err.Slug != wire.NoSession) {
		m.t.Fatalf("a stranger was told %s [I11]", frameLine(f))
	}
	switch f.Kind {
	case wire.FrameAttach:
		c.following, c.last, c.gapped = true, f.Seq, f.Seq < f.Head
		if want := m.head(c); f.Head != want {
			m.t.Fatalf("attached with head %d; the last that %s may see is %d", f.Head, c.who.Sub, want)
		}
	case wire.FrameDetach:
		c.following, c.gapped = false, false
	case wire.FrameMessage:
		m.push(c, f, f.Entry.Seq)
	case wire.FrameWrote:
		if !f.Duplicate && c.following {
			m.push(c, f, f.Seq)
		}
	case wire.FramePage:
		m.page(c, f)
	case wire.FrameAnswer:
		for _, h := range f.PB.GetHistory().GetEntries() {
			m.may(c, m.entry(h.Seq))
		}
	case wire.FrameAssigned, wire.FrameRevoked, wire.FrameDelivery, wire.FrameResync:
		m.hearOwner(c, f)
	default:
	}
}

// hearPool checks a word for the pool.
func (m *model) hearPool(mail wire.Mail) {
	if t, ok := mail.(*wire.Task); ok {
		if m.since == 0 {
			m.since = t.EnqueuedAt
		}
		if t.EnqueuedAt != m.since {
			m.t.Fatalf("waits since %d; it did since %d [I10]", t.EnqueuedAt, m.since)
		}
	}
}

func (m *model) entry(seq uint64) *wire.Entry { return m.w[0].log[seq-1] }

// may checks that c is entitled to e [I11].
func (m *model) may(c *client, e *wire.Entry) {
	m.t.Helper()
	switch c.who.Role {
	case wire.RoleCustomer:
		if e.Visibility == wire.Staff || c.who.Sub != "alice" {
			m.t.Fatalf("%s was shown entry %d [I11]", c.who.Sub, e.Seq)
		}
	case wire.RoleWorker:
		if (m.owner == nil || m.owner.worker != c.who.Worker) && e.Seq > m.until[c.who.Worker] {
			m.t.Fatalf("%s was shown entry %d, and had the session until %d [I11]", c.who.Sub, e.Seq, m.until[c.who.Worker])
		}
	default:
	}
}

// head returns the last entry that c may see.
func (m *model) head(c *client) uint64 {
	for _, e := range slices.Backward(m.w[0].log) {
		if e.VisibleTo(c.who.Role) {
			return e.Seq
		}
	}
	return 0
}

// gapFree checks that c misses nothing between what it had and seq [I8].
func (m *model) gapFree(c *client, seq uint64) {
	m.t.Helper()
	for s := c.last + 1; s < seq; s++ {
		if m.entry(s).VisibleTo(c.who.Role) {
			m.t.Fatalf("%s/%d went from %d to %d and never saw %d [I8]", c.who.Sub, c.conn.ID, c.last, seq, s)
		}
	}
}

// push is an entry, or the reply that stands for it.
func (m *model) push(c *client, f *wire.Frame, seq uint64) {
	m.t.Helper()
	if !c.following {
		m.t.Fatalf("%s was pushed entry %d and follows nothing", c.who.Sub, seq)
	}
	m.may(c, m.entry(seq))
	if c.drop > 0 && f.Kind == wire.FrameMessage {
		c.drop--
		c.gapped = true
		return
	}
	switch {
	case seq <= c.last:
	case f.Prev > c.last:
		if !c.gapped {
			m.t.Fatalf("%s/%d has %d and was told that %d is behind %d [SW-4.4]", c.who.Sub, c.conn.ID, c.last, seq, f.Prev)
		}
	default:
		m.gapFree(c, seq)
		c.last = seq
		if seq == m.head(c) {
			c.gapped = false
		}
	}
}

func (m *model) page(c *client, f *wire.Frame) {
	m.seen["page"]++
	if !c.following || f.Seq > c.last { // the second was asked for before it attached again
		return
	}
	for _, e := range f.Entries {
		m.may(c, e)
		if e.Seq > c.last {
			m.gapFree(c, e.Seq)
			c.last = e.Seq
		}
	}
	c.gapped = c.last < f.Head
}

// hearOwner follows the assignment as its worker sees it.
func (m *model) hearOwner(c *client, f *wire.Frame) {
	m.t.Helper()
	o := m.owner
	switch f.Kind {
	case wire.FrameAssigned:
		if f.PB != nil {
			again := o != nil && o.worker == ownerName(c.who) && o.ae == f.AE // [SW-5.7] a rebind, and kept had not named it
			if o != nil && !o.gone && !again {
				m.t.Fatalf("%s was assigned ae %d before %s was revoked ae %d [I2]", c.who.Worker, f.AE, o.worker, o.ae)
			}
			a := f.PB.GetAssigned()
			if again {
				m.seen["fresh"]++
			} else {
				o = &owning{worker: ownerName(c.who), sub: c.who.Sub, role: c.who.Role, ae: f.AE, conn: c.conn, since: a.Head, first: a.Head + 1, cursor: a.Cursor, have: map[uint64]bool{}}
			}
			for _, e := range a.Tail {
				o.have[e.Seq] = true
			}
			if len(a.Tail) > 0 {
				o.first = min(o.first, a.Tail[0].Seq)
			}
			m.owner = o
		}
		if f.AE != m.ae || o == nil || o.worker != ownerName(c.who) {
			m.t.Fatalf("%s was assigned ae %d; the live one is %d [I2]", c.who.Worker, f.AE, m.ae)
		}
		o.maybe = max(o.maybe, o.last)
		o.conn, o.gone, o.unacked, o.last, o.chain, o.window = c.conn, false, nil, 0, false, m.state().owner.window
		if !m.state().owner.loading {
			o.maybe = 0
		}
	case wire.FrameRevoked:
		m.seen["revoked"]++
		if o != nil && o.ae == f.AE && o.worker == ownerName(c.who) {
			m.owner = nil
		}
	case wire.FrameResync:
		m.rewind(f.Seq)
	default:
		m.delivery(c, f)
	}
}

func (m *model) rewind(seq uint64) {
	o := m.owner
	o.last, o.chain, o.maybe = min(o.last, seq-1), false, min(o.maybe, seq-1)
	o.unacked = slices.DeleteFunc(o.unacked, func(v uint64) bool { return v >= seq })
}

func (m *model) delivery(c *client, f *wire.Frame) {
	m.t.Helper()
	m.seen["delivery"]++
	o, e := m.owner, f.Entry
	switch {
	case o == nil || o.conn != c.conn || f.AE != o.ae || f.AE != m.ae:
		m.t.Fatalf("%s was delivered %d under ae %d [I2]", c.who.Worker, e.Seq, f.AE)
	case e.Seq <= o.last:
		m.t.Fatalf("%d was delivered behind %d [SW-5.4]", e.Seq, o.last)
	case o.chain && f.Head != o.last || !o.chain && f.Head != 0:
		m.t.Fatalf("%d is delivered, it says, behind %d, and %d was before", e.Seq, f.Head, o.last)
	case e.From.Role == o.role && e.From.ID == o.sub && e.Seq > o.since:
		m.t.Fatalf("%d was delivered to its own author", e.Seq)
	}
	if o.have[e.Seq] && e.Seq > o.since {
		m.seen["redelivery"]++
	}
	o.last, o.chain, o.have[e.Seq] = e.Seq, true, true
	if e.Origin == wire.OriginCustomer {
		o.unacked = append(o.unacked, e.Seq)
		if f.Attempt == 0 {
			m.t.Fatalf("%d was delivered without attempt", e.Seq)
		}
	}
	if len(o.unacked) > o.window {
		m.t.Fatalf("%v are unacknowledged; the window is %d [SW-5.1]", o.unacked, o.window)
	}
}
