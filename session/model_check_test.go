package session

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"switchboard/wire"
)

// judge holds what came of a command against what it was.
func (m *model) judge(c *client, cmd *wire.Command, fenced bool, facts []Fact, mail []wire.Envelope) {
	m.t.Helper()
	var refused wire.Slug
	var wrote *wire.Frame
	answers := 0
	for _, e := range mail {
		f, ok := e.Mail.(*wire.Frame)
		if !ok || f.ID == 0 || e.To != c.conn.Address() {
			continue
		}
		answers++
		switch f.Kind {
		case wire.FrameError:
			refused = f.Err.Slug
		case wire.FrameWrote:
			wrote = f
		default:
		}
	}
	switch {
	case cmd.Verb == wire.VerbHistory || cmd.Verb == wire.VerbPage || cmd.Verb == wire.VerbGone:
	case cmd.ID == 0 && answers != 0, cmd.ID != 0 && answers != 1:
		m.t.Fatalf("%s with id %d had %d answers [SW-2.3]", cmd.Verb, cmd.ID, answers)
	}
	switch refused {
	case wire.StaleAssignment:
		m.seen["stale"]++
	case wire.IdempotencyConflict:
		m.seen["conflict"]++
	default:
	}
	if refused != "" && len(facts) > 0 {
		m.t.Fatalf("%s was refused, and there are facts", cmd.Verb)
	}
	if (c.who.Role == wire.RoleWorker || supervises(c.who.Role)) && cmd.GE == 0 && !fenced && m.fencedVerb(cmd) {
		if !bytes.Equal(m.before, AppendState(nil, m.state())) || len(facts) > 0 {
			m.t.Fatalf("%s under ae %d did something; the live one is %d [I2]", cmd.Verb, cmd.AE, m.ae)
		}
	}
	m.judgeKey(c, cmd, refused, wrote)
	if cmd.Verb == wire.VerbDelta && fenced && refused == "" && m.state().stream(cmd.Stream) != nil {
		m.streams[cmd.Stream] = true
	}
	if fenced && refused == "" && (wrote == nil || !wrote.Duplicate) && (cmd.Verb != wire.VerbReply || len(facts) > 0) {
		m.judgeAck(cmd)
	}
	if fenced && refused == wire.NotDelivered && cmd.Verb == wire.VerbAck && m.owner != nil && cmd.Seq <= m.owner.last {
		m.t.Fatalf("an ack of %d was refused; %d was delivered [SW-5.6]", cmd.Seq, m.owner.last)
	}
}

func (m *model) fencedVerb(cmd *wire.Command) bool {
	switch cmd.Verb {
	case wire.VerbReply, wire.VerbAck, wire.VerbNack, wire.VerbDelta, wire.VerbTyping, wire.VerbTransfer, wire.VerbRelease, wire.VerbContext, wire.VerbClose:
		return true
	default:
		return false
	}
}

// judgeKey checks that a key has one result [SW-4.3] [SW-5.5].
func (m *model) judgeKey(c *client, cmd *wire.Command, refused wire.Slug, wrote *wire.Frame) {
	m.t.Helper()
	if cmd.Verb != wire.VerbSend && cmd.Verb != wire.VerbReply {
		return
	}
	name, payload := cmd.Key, fmt.Sprint(cmd.Verb, string(cmd.Body), cmd.Ack, cmd.Stream, cmd.Visibility)
	if name == "" {
		if !cmd.Ack.Set {
			return
		}
		name, payload = "#ack:"+strconv.FormatUint(cmd.Ack.Value, 10), "any"
	}
	name = c.who.Sub + "/" + name
	known, ok := m.keys[name]
	switch {
	case !ok:
		if wrote != nil && wrote.Duplicate {
			m.t.Fatalf("key %s is new, and its reply a duplicate", name)
		}
	case known.payload == "" && (wrote == nil || !wrote.Duplicate): // just now
		known.payload = payload
		m.keys[name] = known
	case refused == wire.IdempotencyConflict:
		if known.payload == payload {
			m.t.Fatalf("key %s conflicts with itself", name)
		}
	case refused == wire.NoSession: // entitlement comes first
	case wrote == nil && cmd.ID != 0:
		m.t.Fatalf("key %s is known, and the answer was %q", name, refused)
	case wrote != nil && (!wrote.Duplicate || wrote.Seq != known.seq || known.payload != payload):
		m.t.Fatalf("key %s came to %d and now to %s", name, known.seq, frameLine(wrote))
	case wrote != nil:
		m.seen["duplicate"]++
	}
}

// judgeAck follows what the owner acknowledges and gives back.
func (m *model) judgeAck(cmd *wire.Command) {
	m.t.Helper()
	o, acked := m.owner, uint64(0)
	switch {
	case cmd.Verb == wire.VerbAck && (cmd.ID != 0 || m.state().Cursor >= cmd.Seq):
		acked = cmd.Seq
	case cmd.Verb == wire.VerbReply && cmd.Ack.Set:
		acked = cmd.Ack.Value
	case cmd.Verb == wire.VerbNack && o != nil:
		if !slices.Contains(o.unacked, cmd.Seq) && cmd.Seq > o.maybe {
			m.t.Fatalf("a nack of %d was taken; unacknowledged are %v [SW-5.6]", cmd.Seq, o.unacked)
		}
		m.rewind(cmd.Seq)
	}
	if acked == 0 || o == nil {
		return
	}
	for _, e := range m.w[0].log[:min(acked, m.state().Head)] {
		if e.Origin == wire.OriginCustomer && e.Seq > m.cursor && !o.have[e.Seq] && e.Seq > o.maybe {
			m.t.Fatalf("%d was acknowledged by %d and never delivered", e.Seq, acked)
		}
	}
	m.cursor = max(m.cursor, acked)
	o.unacked = slices.DeleteFunc(o.unacked, func(v uint64) bool { return v <= acked })
	if !o.gone && !m.state().owner.loading {
		o.maybe = 0
	}
}

// held checks that nothing came again too early.
func (m *model) held(cmd *wire.Command) {
	m.t.Helper()
	s := m.state()
	if cmd.Verb == wire.VerbNack && s.Phase == Assigned && s.HoldUntil > m.now && m.owner != nil && m.owner.last >= s.FailSeq {
		m.t.Fatalf("%d came again although it is held until %d [SW-5.6]", m.owner.last, s.HoldUntil)
	}
}

// check holds the session against what everybody knows, after every step.
func (m *model) check() {
	m.t.Helper()
	s, log := m.state(), m.w[0].log
	for i, e := range log {
		if e.Seq != uint64(i)+1 {
			m.t.Fatalf("entry %d is number %d [I8]", i+1, e.Seq)
		}
	}
	m.same()
	m.checkGuests()
	for _, c := range m.clients {
		if c.following && !c.gapped {
			m.gapFree(c, s.Head+1)
		}
	}
	if s.Phase == Queued && s.EnqueuedAt != m.since {
		m.t.Fatalf("waits since %d; it did since %d [I10]", s.EnqueuedAt, m.since)
	}
	if s.Phase == New || s.Phase == Closed {
		m.since = 0
	}
	if s.Cursor > m.cursor {
		m.t.Fatalf("the cursor is at %d; %d was acknowledged", s.Cursor, m.cursor)
	}
	if s.Phase == New && m.abandoned { // until he is there again [I7]
		if s.there() {
			m.t.Fatal("the customer is there, and nobody is looked for")
		}
	} else if (s.Phase == New || s.Phase == Closed) && m.cursor < s.Said {
		m.t.Fatalf("%s, and the customer's entry %d will never be delivered", s.Phase, s.Said)
	}
	if s.Phase == Queued && s.Again() == nil {
		m.t.Fatal("it waits and has nothing to say [I7]")
	}
	if len(s.streams) != len(m.streams) {
		m.t.Fatalf("%d streams run; %v were begun [SW-4.8]", len(s.streams), m.streams)
	}
	switch {
	case s.Phase == Assigned && m.owner == nil:
		m.t.Fatal("it is assigned, and nobody was told")
	case s.Phase != Assigned && m.owner != nil && !m.owner.gone:
		m.t.Fatalf("%s still believes to own it under ae %d", m.owner.worker, m.owner.ae)
	case s.Phase == Assigned:
		m.whole()
	}
}

// whole checks that the owner has, or will have, everything from its cursor on [I9] [I7].
func (m *model) whole() {
	m.t.Helper()
	s, o := m.state(), m.owner
	loading := slices.ContainsFunc(m.w[0].loads, func(l Load) bool { return l.Kind == LoadBack })
	if s.owner.loading && !loading {
		m.t.Fatal("it waits for entries that nobody reads [I7]")
	}
	if s.HoldUntil > m.now && s.Alarm(m.now) == 0 || s.owner.retryAt > m.now && s.Alarm(m.now) == 0 {
		m.t.Fatal("it holds something back and sets no alarm [I7]")
	}
	if o.gone || loading || s.HoldUntil > m.now || s.owner.retryAt != 0 || len(o.unacked) >= o.window {
		return
	}
	for _, e := range m.w[0].log[o.cursor:] {
		own := e.From.Role == o.role && e.From.ID == o.sub && e.Seq > o.since
		old := e.Seq < o.first && e.Origin != wire.OriginCustomer // read by history
		if !own && !old && !o.have[e.Seq] && e.Seq > m.cursor {
			m.t.Fatalf("%s was not told of %d although its window is open: cursor %d, %v unacknowledged [I9]", o.worker, e.Seq, o.cursor, o.unacked)
		}
		if e.Origin == wire.OriginCustomer && e.Seq > s.Cursor && !slices.Contains(o.unacked, e.Seq) {
			m.t.Fatalf("%d is neither acknowledged nor delivered [I9]", e.Seq)
		}
	}
}

// settle answers every question and lets every client catch up: all of them then have everything that they may see.
func (m *model) settle() {
	for len(m.w[0].loads) > 0 {
		m.load(false)
	}
	for _, c := range m.clients {
		for range 200 {
			if !c.following || !c.gapped {
				break
			}
			m.ask(c, &wire.Command{Verb: wire.VerbPage, Seq: c.last})
			for len(m.w[0].loads) > 0 {
				m.load(false)
			}
		}
		if c.following && c.gapped {
			m.t.Fatalf("%s/%d never caught up", c.who.Sub, c.conn.ID)
		}
	}
	m.check()
}
