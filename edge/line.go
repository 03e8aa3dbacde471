package edge

import (
	"errors"
	"slices"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// line is what the writer knows of one session: the cursor of a connection that follows it, and the assignment of a
// worker that owns it.
type line struct {
	id     wire.SessionID
	listed bool // in conn.needs

	attached bool
	last     uint64 // the last entry that was written, or the position it began at
	head     uint64 // the last entry that there is, as far as was told
	behind   bool   // there is something to be read again
	lagged   bool   // lag was told, and is not over
	streams  bool   // deltas are dropped until a page brings the text so far
	after    uint64 // of the page that is on its way
	held     []item // replies and entries that are ahead of the cursor, by seq

	ae      uint64
	resync  uint64 // deliveries are dropped until this one and those behind it come again
	synced  bool   // the resync was asked for
	askedAt int64  // when a page or a resync was asked for; 0 when none is on its way

	// Of its owner: docs/adr/0019.
	epoch   uint64         // of the last entry that was written, or the owner's
	whom    *wire.External // that a service follows it for
	running []string       // streams that were shown and have not ended; bounded by those that a session may have
	told    bool           // the client knows that nobody is there
	asking  asking         // by which it is attached again
	aeTerm  uint64         // of the owner that the deliveries are of
	given   uint64         // the last of them

	// Changed by write under conn.mu, as attached is.
	flight     flight
	term       uint64 // of the owner that it is attached to
	generation uint64 // of that owner, or of whom the assignment was last known to
	lost       bool   // he is not there any more;
	back       bool   // and it is attached to another, but requests still wait
	lostAt     int64
}

// askMost is after how long a question that nobody answered is asked again.
const askMost = 2000

// heldMost is how many entries are held back while a page is on its way; those behind come with the next page.
const heldMost = 64

// place puts one frame in its place.
func (c *conn) place(it item) {
	f := it.f
	switch f.Kind {
	case wire.FrameAnswer, wire.FrameError:
		c.answer(it)
	case wire.FramePush, wire.FrameKeep:
		if it.own || f.Session != "" || c.poolSays(it) {
			if r := f.PB.GetRevoked(); r != nil && r.Session == "" {
				c.ousted.Store(true)
			}
			c.encode(f)
		}
	case wire.FrameMessage:
		c.entry(it)
	case wire.FrameWrote:
		c.wrote(it)
	case wire.FrameDelivery:
		if l := c.lines.get(f.Session); l == nil || l.ae < f.AE {
			c.unheard(it)
		} else if l.ae == f.AE && it.term >= l.aeTerm {
			c.deliver(l, f)
		}
	case wire.FrameDelta:
		if l := c.lines.get(f.Session); l != nil && l.attached && !l.streams && c.current(l, it) {
			l.runs(f.Stream)
			c.encode(f)
		}
	case wire.FrameAttach:
		c.attach(it)
	case wire.FrameDetach:
		c.detached(f)
	case wire.FramePage:
		c.page(it)
	case wire.FrameAssigned, wire.FrameRevoked, wire.FrameResync:
		c.assignment(it)
	case wire.FrameMoved:
		c.moved(f)
	case wire.FrameFeed:
		c.feedFrame(f)
	case wire.FrameBye:
		c.sayBye(f)
	case framePing, framePong, frameClose:
		c.control(f)
	}
}

// answer writes a reply, if somebody still waits for it [SW-2.3].
func (c *conn) answer(it item) {
	f := it.f
	var r request
	if !it.own {
		if f.Kind == wire.FrameError && c.outlived(it) {
			return
		}
		var ok bool
		switch r, ok = c.answered(f.ID); {
		case !ok:
			return
		case r.own && f.Kind == wire.FrameError:
			c.refusedOwn(f, &r)
			return
		case r.own && r.verb == wire.VerbSubscribe:
			c.stoodUp(f, &r, it.term)
			return
		case r.own:
			if o := c.observes(); r.verb == wire.VerbStats && o != nil && o.asking.n == r.cmd.ID {
				o.asking.n, o.generation = 0, r.generation
			}
			return
		}
	}
	if c.mode == modeSSE {
		c.bye(wire.CloseReconnect, 0) // a stream that cannot begin: its open was refused
		return
	}
	if it.own {
		c.encode(f)
		return
	}
	if f.PB.GetSubscribe() != nil {
		c.ousted.Store(false)
	}
	stood := c.standing != nil
	if f.Kind == wire.FrameAnswer {
		c.settled(f, &r, it.term)
	} else if r.again && r.verb == wire.VerbWrapup && f.Err.Slug == wire.NoSession {
		// It has ended by the first of them, whose answer was lost with the pool.
		f = &wire.Frame{Kind: wire.FrameAnswer, Verb: r.verb, Session: r.session, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Wrapup{Wrapup: &wirepb.Done{}}}}
	}
	if m := f.PB.GetSubscribe(); m != nil && !stood {
		c.learns(m.GetKept())
	}
	if f.ID = r.id; f.ID != 0 {
		c.encode(f)
	}
	if m := f.PB.GetAccept(); m != nil {
		c.overtaken(m.GetSession(), m.GetAe(), r.n)
	}
	if stood { // otherwise what ended meanwhile waits for the answer: see early
		for _, k := range f.PB.GetSubscribe().GetKept() {
			c.overtaken(k.GetSession(), k.GetAe(), r.n)
		}
	}
	c.untold() // at once: what has waited is older than what comes behind the answer, a takeover for instance
}

// settled takes note of what an answer has settled, so that another owner can be told.
func (c *conn) settled(f *wire.Frame, r *request, term uint64) {
	switch r.verb {
	case wire.VerbSubscribe, wire.VerbStats, wire.VerbSlots, wire.VerbPresence, wire.VerbAccept, wire.VerbDecline:
		c.poolAnswered(f, r, term)
	case wire.VerbRelease: // when it was asked for again, the first answer told nobody that the assignment is over
		if l := c.lines.get(r.session); l != nil && l.ae != 0 && l.ae == r.cmd.AE {
			c.endAssignment(&wire.Frame{Session: l.id, AE: l.ae}, l.aeTerm)
		}
	default:
	}
}

// attach begins to follow a session where f says [SW-4.4].
func (c *conn) attach(it item) {
	f := it.f
	if l := c.lines.get(f.Session); l != nil && l.attached && it.term != 0 && it.term < l.term {
		return // of an owner that has ended: it is asked for again
	}
	r, ok := c.answered(f.ID)
	switch {
	case f.ID != 0 && !ok:
		c.giveUp(f.Session)
		return
	case r.own:
		c.attachedAgain(f, &r, it.term)
		return
	}
	c.follow(f, &r, it.term)
	f.ID = r.id
	if c.mode == modeSSE { // nobody waits for an answer: it is told when it does not go on where it was [SW-7]
		if f.ID = 0; f.PB.GetOpen().GetHow() != "exact" {
			c.encode(f)
		}
		return
	}
	if f.ID != 0 {
		c.encode(f)
	}
}

// streams writes the text so far of running streams [SW-4.8].
func (c *conn) streams(list []*wirepb.Stream) {
	for _, s := range list {
		c.encode(&wire.Frame{Kind: wire.FramePush, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Stream{Stream: s}}})
	}
}

// giveUp tells a session that nobody follows it through a request whose client has stopped waiting, unless he asked again. It may be called
// from any goroutine. It is posted under mu: whoever asks to follow is noted under it and posted behind, so the session hears of him last.
func (c *conn) giveUp(id wire.SessionID) {
	_, slot, ok := id.Place()
	if !ok {
		return
	}
	p := parting{by: c, env: wire.Envelope{To: wire.ToSlot(slot), Mail: &wire.Command{Verb: wire.VerbGone, Conn: c.id, Who: c.who.Load(), Session: id}}}
	c.mu.Lock()
	full := !c.asksFor(id) && errors.Is(c.e.x.Post(p.env), exchange.ErrOverloaded)
	c.mu.Unlock()
	if full {
		c.e.sayLater(&p)
	}
}

// asksFor tells whether the connection follows a session, or may when what is asked for is answered. It needs mu.
func (c *conn) asksFor(id wire.SessionID) bool {
	if l := c.lines.get(id); l != nil && l.attached {
		return true
	}
	for r := range c.pending.all() {
		if follows(r.verb) && (r.session == id || r.session == "") {
			return true
		}
	}
	return false
}

// follows tells whether verb makes its connection follow a session.
func follows(verb wire.Verb) bool { return verb == wire.VerbOpen || verb == wire.VerbJoin }

// follow makes the cursor of an attachment, which r has asked for.
func (c *conn) follow(f *wire.Frame, r *request, term uint64) {
	l := c.line(f.Session)
	_, slot, _ := l.id.Place()
	generation := c.e.x.Generation(slot)
	if r.changes != 0 && r.changes != c.e.x.Changes() && (r.slot != slot || r.generation != generation) {
		generation = 0 // it may be an owner's that has ended by now: attached again it is certain
	}
	c.mu.Lock()
	l.attached, l.term, l.generation = true, term, generation
	if l.lost {
		l.back = true
		c.restless.Store(true)
	}
	c.mu.Unlock()
	l.epoch, l.running, l.asking = f.PB.GetOpen().GetEpoch(), nil, asking{}
	if r.cmd != nil {
		l.whom = r.cmd.For
	}
	for _, s := range f.PB.GetOpen().GetStreams() {
		l.runs(s.Stream)
	}
	held := l.held
	l.held = nil
	for _, it := range held {
		if it.f.Kind == wire.FrameWrote {
			c.writeReply(it.f)
		}
	}
	l.lagged, l.streams = false, false
	l.last, l.head = f.Seq, f.Head
	c.hungry(l, l.last < l.head)
}

// line returns the session's line, made when there is none.
func (c *conn) line(id wire.SessionID) *line {
	if l := c.lines.get(id); l != nil {
		return l
	}
	l := &line{id: id}
	c.mu.Lock()
	if f := c.flights[lane{session: id}]; f != nil {
		l.flight = *f
		delete(c.flights, lane{session: id})
	}
	l.flight.line = l
	c.lines.add(l)
	c.mu.Unlock()
	return l
}

// streamsMost bounds the streams of one session that are remembered.
const streamsMost = 8

// runs notes that a stream was shown.
func (l *line) runs(name string) {
	if !slices.Contains(l.running, name) && len(l.running) < streamsMost {
		l.running = append(l.running, name)
	}
}

// wrote notes that an entry was written, by which a stream may have ended.
func (l *line) wrote(e *wire.Entry) {
	l.last, l.epoch = e.Seq, max(l.epoch, e.Epoch)
	if e.Stream != "" {
		l.running = slices.DeleteFunc(l.running, func(name string) bool { return name == e.Stream })
	}
}

// forget drops a line that nothing is left of.
func (c *conn) forget(l *line) {
	if l.attached || l.ae != 0 {
		return
	}
	c.mu.Lock()
	c.lines.remove(l.id)
	if l.flight.n > 0 {
		f := c.flight(lane{session: l.id})
		*f, f.line = l.flight, nil
	}
	c.mu.Unlock()
	if c.paging == l {
		c.paging = nil
	}
	l.behind, l.resync = false, 0
}

// detached ends what attach began.
func (c *conn) detached(f *wire.Frame) {
	if l := c.lines.get(f.Session); l != nil {
		for _, it := range l.held {
			if it.f.Kind == wire.FrameWrote {
				c.writeReply(it.f)
			}
		}
		l.held = nil
		c.mu.Lock()
		l.attached, l.lost, l.back, l.lostAt = false, false, false, 0
		c.mu.Unlock()
		c.answered(l.asking.n)
		l.asking, l.told, l.running = asking{}, false, nil
		c.hungry(l, false)
		c.forget(l)
	}
	r, ok := c.answered(f.ID)
	if f.PB != nil && (f.ID == 0 || ok && r.id != 0) {
		f.ID = r.id
		c.encode(f)
	}
}

// entry writes a pushed entry if it is the next [SW-4.4], and holds it back if it is ahead.
func (c *conn) entry(it item) {
	f := it.f
	l := c.lines.get(f.Session)
	switch {
	case l == nil || !l.attached || !c.current(l, it) || f.Entry.Seq <= l.last:
	case f.Prev > l.last:
		c.hold(l, it)
	default:
		c.encode(f)
		l.wrote(f.Entry)
		c.release(l)
	}
}

// wrote writes a reply to a send in the place of its entry [SW-4.4]. One that is ahead of its place waits for it.
func (c *conn) wrote(it item) {
	f := it.f
	l := c.lines.get(f.Session)
	if !c.current(l, it) {
		return // and not answered: it is asked for again
	}
	if l != nil && l.attached && f.Duplicate && f.Seq > l.last && c.repeated(f.ID) {
		// The first answer is lost, so this one stands for the entry. What lies before it is read first.
		f.Duplicate, f.Prev = false, f.Seq-1
	}
	switch {
	case l == nil || !l.attached || f.Duplicate || f.Seq <= l.last:
		c.writeReply(f)
	case f.Prev > l.last:
		c.hold(l, it)
	default:
		c.writeOwn(l, f)
		c.release(l)
	}
}

// writeReply writes the reply of a request that somebody still waits for, and reports whether it stands for the entry.
func (c *conn) writeReply(f *wire.Frame) bool {
	r, ok := c.answered(f.ID)
	if !ok || r.id == 0 {
		return false
	}
	f.ID = r.id
	c.encode(f)
	return true
}

// writeOwn writes the reply that stands for an entry, and moves the cursor over it. Without a reply (none was asked for, or
// it comes too late) the entry is read like everybody else's.
func (c *conn) writeOwn(l *line, f *wire.Frame) {
	if c.writeReply(f) {
		l.last, l.epoch = f.Seq, max(l.epoch, f.Epoch)
		return
	}
	l.head = max(l.head, f.Seq)
	c.hungry(l, true)
}

// hold keeps a frame that is ahead of the cursor until what is missing has come.
func (c *conn) hold(l *line, it item) {
	if it.f.Kind == wire.FrameWrote || len(l.held) < heldMost {
		l.held = append(l.held, it) // replies are bounded by the requests that may be unanswered
	}
	l.head = max(l.head, it.f.Prev, it.f.Seq)
	c.hungry(l, true)
}

// release writes what was held back and is next by now.
func (c *conn) release(l *line) {
	for len(l.held) > 0 {
		f := l.held[0].f
		if f.Prev > l.last {
			return
		}
		l.held[0] = item{}
		l.held = l.held[1:]
		switch {
		case f.Kind == wire.FrameWrote && f.Seq > l.last:
			c.writeOwn(l, f)
		case f.Kind == wire.FrameWrote:
			c.writeReply(f)
		case f.Entry.Seq > l.last:
			c.encode(f)
			l.wrote(f.Entry)
		}
	}
	l.held = nil
}

// page writes what a page holds [SW-4.7].
func (c *conn) page(it item) {
	f := it.f
	l := c.lines.get(f.Session)
	if !c.current(l, it) || l == nil || c.paging != l || f.Seq != l.after {
		return // of an attachment that is no more
	}
	c.paging, l.askedAt = nil, 0
	if !l.attached || f.Seq > l.last {
		c.hungry(l, l.attached)
		return
	}
	for _, e := range f.Entries {
		if e.Seq <= l.last {
			continue
		}
		if mine := l.takeWrote(e.Seq); mine == nil || !c.writeReply(mine) {
			c.encode(&wire.Frame{Kind: wire.FrameMessage, Session: f.Session, Entry: e, Prev: l.last})
		}
		l.wrote(e)
		c.spill()
	}
	l.head = f.Head
	behind := l.last < l.head
	if !behind && l.streams {
		l.streams = false
		c.streams(f.Streams)
	}
	c.hungry(l, behind)
	c.release(l)
	if len(l.held) > 0 {
		c.hungry(l, true)
	}
	if !l.behind {
		l.lagged = false
	}
}

// takeWrote takes the held reply that stands for entry seq.
func (l *line) takeWrote(seq uint64) *wire.Frame {
	for i := range l.held {
		if f := l.held[i].f; f.Kind == wire.FrameWrote && f.Seq == seq {
			l.held = append(l.held[:i], l.held[i+1:]...)
			return f
		}
	}
	return nil
}

// deliver writes a delivery, unless one before it was dropped, or lost on its way: whoever acknowledges what follows acknowledges that, too.
func (c *conn) deliver(l *line, f *wire.Frame) {
	from := l.resync
	switch {
	case from != 0:
		from = min(from, f.Entry.Seq) // what was given back meanwhile is before it
	case f.Head > l.given:
		from = l.given + 1
	case f.Head != 0 && f.Head < l.given: // they have begun again before that one, and from where is lost: all that is not acknowledged comes
		from = 1
	default:
		l.given = f.Entry.Seq
		c.tell(f)
		return
	}
	if from != l.resync {
		l.resync, l.synced = from, false
		c.list(l)
	}
}

// assignment begins, renews and ends the deliveries of a session [SW-5.4].
func (c *conn) assignment(it item) {
	f := it.f
	switch f.Kind {
	case wire.FrameAssigned:
		if c.outdated(it) {
			return
		}
		l := c.line(f.Session)
		again := f.AE == l.ae
		l.ae, l.aeTerm, l.resync, l.synced, l.given = f.AE, it.term, 0, false, 0
		if !l.attached {
			_, slot, _ := l.id.Place()
			c.mu.Lock()
			l.generation, l.lostAt = c.e.x.Generation(slot), 0
			c.mu.Unlock()
			c.goesOn(l, "assigned")
		}
		c.assignedSince(f.Session, f.AE)
		if again && (f.PB == nil || !c.subscribing()) { // it was told here, by an owner that has ended; the next cannot know that
			return
		}
	case wire.FrameResync:
		if l := c.lines.get(f.Session); l != nil && l.ae == f.AE && l.resync == f.Seq {
			l.resync, l.synced = 0, false
		}
		return
	default:
		if c.outdated(it) {
			return
		}
		f = c.endAssignment(f, it.term)
	}
	if f.PB != nil {
		c.tell(f)
	}
}

// overtaken tells the end of an assignment again that the answer to request n says the worker has, accepted [SW-5.2] or kept [SW-5.7], where it was here
// before the answer: they come from two shards, of which the session's may be nearer than the pool's, and who hears the answer last believes that he has it.
func (c *conn) overtaken(session string, ae, n uint64) {
	id := wire.SessionID(session)
	if c.rare == nil {
		return
	}
	reason, over := c.rare.ended.since(id, ae, n)
	if !over {
		return
	}
	if l := c.lines.get(id); l != nil && l.ae >= ae {
		return // it was given back, or the next has come
	}
	c.encode(&wire.Frame{Kind: wire.FrameRevoked, Session: id, AE: ae, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
		Revoked: &wirepb.Revoked{Session: session, Ae: ae, Reason: reason},
	}}})
}

// outdated tells whether what is said of an assignment is the word of an owner that has ended: of one before the line's, of the line's by an owner before
// him who told it last, or of one that has ended.
func (c *conn) outdated(it item) bool {
	f := it.f
	if l := c.lines.get(f.Session); l != nil && (f.AE < l.ae || f.AE == l.ae && it.term < l.aeTerm) {
		return true
	}
	return c.rare != nil && c.rare.ended.late(f.Session, f.AE, it.term)
}

// endAssignment ends the assignment that f revokes, also one of which nothing was heard yet: an owner before may still tell it. One before it has ended
// as well, as at most one is live [SW-5.3]: what is returned revokes the one that the worker knows.
func (c *conn) endAssignment(f *wire.Frame, term uint64) *wire.Frame {
	l := c.lines.get(f.Session)
	known := l != nil && l.ae != 0
	if known && l.ae == f.AE {
		term = max(term, l.aeTerm)
	}
	c.mu.Lock()
	asked := c.lastReq
	c.mu.Unlock()
	c.unusual().ended.note(f.Session, fence{f.AE, term, asked, f.PB.GetRevoked().GetReason()})
	if !known {
		return f
	}
	if r := f.PB.GetRevoked(); r != nil && l.ae != f.AE {
		f = &wire.Frame{Kind: f.Kind, Session: f.Session, AE: l.ae, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
			Revoked: &wirepb.Revoked{Session: r.Session, Ae: l.ae, Reason: r.Reason},
		}}}
	}
	l.ae, l.resync = 0, 0
	c.forget(l)
	return f
}
