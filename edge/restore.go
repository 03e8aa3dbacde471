package edge

import (
	"errors"
	"slices"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// When an owner has ended and another is there, the connection is attached to it where it was, what nobody has answered is asked
// again in order, and only then pages are asked for: so the reply of a repeated send still stands for its entry [SW-4.4].

// stalledAfter is how long a session is without an owner before its client is told, in ms.
const stalledAfter = 250

// unrest lets the writer look for owners, now and whenever one has changed, until everything is with somebody.
func (c *conn) unrest() {
	c.restless.Store(true)
	c.e.unrest(c)
	c.wake()
}

// restore looks whether those who have changed are there, and goes on with them.
func (c *conn) restore() {
	changes := c.e.x.Changes()
	if c.seen.Load() == changes && !c.restless.Load() {
		return
	}
	c.seen.Store(changes)
	c.restless.Store(false) // who is restless from now on says so again
	now, rest := c.e.now(), true
	for l := range c.lines.all() {
		rest = c.restoreLine(l, now) && rest
	}
	rest = c.restoreStanding(now) && rest
	rest = c.restoreStats(now) && rest
	c.restoreFeeds()
	rest = c.repeat(now) && rest
	if !rest {
		c.restless.Store(true)
		c.e.unrest(c)
	}
}

// restoreLine attaches a line again whose owner has changed. It reports whether nothing is to be waited for.
func (c *conn) restoreLine(l *line, now int64) bool {
	_, slot, _ := l.id.Place()
	generation := c.e.x.Generation(slot)
	if !l.attached {
		return c.restoreOwner(l, slot, generation, now)
	}
	switch {
	case !l.lost && l.generation == generation:
		return true
	case !l.lost || l.back && l.generation != generation:
		c.lose(l, now)
	case l.back:
		return true
	}
	if !l.told && now-l.lostAt >= stalledAfter {
		c.stalled(l)
	}
	if generation == 0 || !l.asking.due(generation, now) {
		return false
	}
	c.answered(l.asking.n)
	cmd := &wire.Command{
		Verb: wire.VerbOpen, Conn: c.id, Who: c.who.Load(), Session: l.id, Resume: true, For: l.whom,
		PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{
			Session: string(l.id), From: &wirepb.Position{Epoch: l.epoch, Seq: l.last},
		}}},
	}
	if to, ok := c.e.route(cmd); ok {
		l.asking = asking{c.askOwn(cmd, to, c.e.x.Generation(slotOf(to))), generation, now}
	}
	return false
}

// answerMost is after how long, in ms, who has not answered is asked to attach once more.
const answerMost = 1000

// asking is a question of the edge's own to whoever is of a generation.
type asking struct {
	n  uint64 // its request; 0 when it was refused, or not taken
	of uint64
	at int64 // Unix ms
}

// due tells whether it is time to ask, or to ask again: also when the clock was set back.
func (a *asking) due(generation uint64, now int64) bool {
	wait := int64(againAfter)
	if a.n != 0 {
		wait = answerMost
	}
	return a.of != generation || now < a.at || now-a.at >= wait
}

// termFor returns the term of the owner that a request to a slot is meant for. Those that go another way to the session are
// for whoever is there.
func (l *line) termFor(to wire.Slot) uint64 {
	if _, slot, _ := l.id.Place(); to == slot {
		return l.term
	}
	return 0
}

// restoreOwner looks after a session that the connection owns and does not follow. Its pool says again where it is connected; who
// has taken one says it himself.
func (c *conn) restoreOwner(l *line, slot wire.Slot, generation uint64, now int64) bool {
	if l.ae == 0 || l.generation == generation {
		return true
	}
	if generation == 0 {
		if l.lostAt == 0 {
			l.lostAt = now
		}
		if !l.told && now-l.lostAt >= stalledAfter {
			c.stalled(l)
		}
		return false
	}
	if !c.ownsAgain(l, slot, generation) {
		return false
	}
	c.mu.Lock()
	l.generation, l.lostAt = generation, 0
	c.mu.Unlock()
	l.synced = false
	c.goesOn(l, "assigned")
	return true
}

// ownsAgain says that the connection is that of the supervisor who has taken a session.
func (c *conn) ownsAgain(l *line, slot wire.Slot, generation uint64) bool {
	who := c.who.Load()
	if l.ae == 0 || !supervises(who.Role) {
		return true
	}
	cmd := &wire.Command{Verb: wire.VerbResync, Conn: c.id, Who: who, Session: l.id, AE: l.ae, Resume: true}
	return c.e.x.PostTo(wire.Envelope{To: wire.ToSlot(slot), Mail: cmd}, generation) == nil
}

// lose notes that whom a line is attached to is not there any more.
func (c *conn) lose(l *line, now int64) {
	c.mu.Lock()
	if !l.lost {
		l.lost, l.lostAt = true, now
	}
	l.back = false
	c.mu.Unlock()
	l.held = nil // replies are asked for again
	l.after, l.askedAt, l.synced = 0, 0, false
	if c.paging == l {
		c.paging = nil
	}
}

// stalled tells the client that nobody has its session for the moment.
func (c *conn) stalled(l *line) {
	l.told = true
	c.e.m.stalled.Inc()
	c.sayState(l, "stalled")
}

// goesOn takes back what stalled has told.
func (c *conn) goesOn(l *line, state string) {
	if l.told {
		l.told = false
		c.sayState(l, state)
	}
}

func (c *conn) sayState(l *line, state string) {
	c.encode(&wire.Frame{Kind: wire.FramePush, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_State{State: &wirepb.State{Session: string(l.id), State: state}}}})
}

// attachedAgain is the answer to restoreLine.
func (c *conn) attachedAgain(f *wire.Frame, r *request, term uint64) {
	l := c.lines.get(f.Session)
	if l == nil || !l.attached || l.asking.n != r.cmd.ID {
		c.giveUp(f.Session)
		return
	}
	o := f.PB.GetOpen()
	l.asking.n, l.asking.at = 0, 0 // should he be lost again, he is asked at once
	if o.GetHow() != "exact" {     // [SW-3.2] what it has is not what there is: its own resume tells it
		c.bye(wire.CloseReconnect, 0)
		return
	}
	if _, slot, _ := l.id.Place(); !c.ownsAgain(l, slot, l.asking.of) {
		c.restless.Store(true)
		return // once more
	}
	c.e.m.reattached.Inc()
	l.epoch, l.head, l.lagged = max(l.epoch, o.GetEpoch()), max(f.Head, l.last), false
	c.streamsAgain(l, o.GetStreams())
	c.mu.Lock()
	l.term, l.generation, l.back = term, l.asking.of, true
	c.mu.Unlock()
	c.goesOn(l, o.GetState())
	c.hungry(l, l.last < l.head)
	c.restless.Store(true) // what waits behind it
}

// streamsAgain tells of the streams that run what there is of them: the owner of one that is not there any more will begin
// again [SW-4.8].
func (c *conn) streamsAgain(l *line, list []*wirepb.Stream) {
	l.streams = false
	for _, name := range l.running {
		if !slices.ContainsFunc(list, func(s *wirepb.Stream) bool { return s.Stream == name }) {
			c.streams([]*wirepb.Stream{{Session: string(l.id), Stream: name}})
		}
	}
	c.streams(list)
}

// refusedOwn is the answer to a question of the edge's own that was refused: it asks again, if that may help.
func (c *conn) refusedOwn(f *wire.Frame, r *request) {
	c.restless.Store(true)
	switch {
	case f.Kind == wire.FrameMoved:
	case f.Err.Slug == wire.Overloaded, f.Err.Slug == wire.Unavailable, f.Err.Slug == wire.Deadline:
	case r.verb == wire.VerbSubscribe:
		c.unseated(f.Err)
		return
	case r.verb == wire.VerbStats:
		c.observe(nil)
		return
	default:
		c.bye(wire.CloseReconnect, 0)
		return
	}
	switch r.verb {
	case wire.VerbSubscribe:
		if s := c.standing; s != nil && s.asking.n == r.cmd.ID {
			s.asking.n = 0
		}
	case wire.VerbStats:
		if s := c.observes(); s != nil && s.asking.n == r.cmd.ID {
			s.asking.n, s.generation = 0, 0
		}
	default:
		if l := c.lines.get(r.session); l != nil && l.asking.n == r.cmd.ID {
			l.asking.n = 0
		}
	}
}

// A request that is asked for again carries how often it was, above its number. So the word of one who did not take it, which comes
// when another was asked already, is not taken for his.
const (
	tryShift = 48
	tryMask  = 1<<tryShift - 1
)

// latest takes how often it was asked for off the number of the request that f answers. It reports false for the word that one was not
// taken which is answered by now, or was asked for again.
func (c *conn) latest(f *wire.Frame) bool {
	try := uint16(f.ID >> tryShift)
	if f.ID &= tryMask; f.Kind != wire.FrameMoved || f.ID == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.pending.get(f.ID)
	return r != nil && r.try == try
}

// moved takes note that a request was not taken, because it was asked of one who is not there.
func (c *conn) moved(f *wire.Frame) {
	c.mu.Lock()
	q := c.pending.get(f.ID)
	ok, r := q != nil, request{}
	if ok {
		r = *q
	}
	c.mu.Unlock()
	if l := c.lines.get(f.Session); l != nil && l.attached && (!ok || !r.own) && (f.Seq == 0 || f.Seq >= l.term) {
		c.lose(l, c.e.now())
	}
	switch {
	case ok && r.own:
		c.answered(f.ID)
		c.refusedOwn(f, &r)
	case ok:
		if f.Live {
			c.atOnce(f.ID)
		}
		c.unposted(f.ID, r.generation)
	default:
		c.restless.Store(true)
	}
}

// current tells whether f, which only the owner of its session sends, is of the one that the line is attached to. One of a
// later owner says that there is one; whatever it is, it comes again when the line is attached to him.
func (c *conn) current(l *line, it item) bool {
	switch {
	case l == nil || !l.attached || it.term == 0 || l.term == 0 || it.term == l.term:
		return true
	case it.term > l.term:
		c.lose(l, c.e.now())
		c.restless.Store(true)
	}
	return false
}

// outlived tells whether a request is refused by an owner before him who gave its session to this connection: a node that has not heard yet that
// another leads. He knows nothing of the assignment, and what he says of it is over [SW-5.3]: the request waits for whoever is there.
func (c *conn) outlived(it item) bool {
	l := c.lines.get(it.f.Session)
	if l == nil || l.ae == 0 || it.term == 0 || it.term >= l.aeTerm {
		return false
	}
	_, slot, _ := l.id.Place()
	c.mu.Lock()
	r := c.pending.get(it.f.ID)
	if r == nil || r.own || r.slot != slot { // who else answers counts other terms
		c.mu.Unlock()
		return false
	}
	generation := r.generation
	c.mu.Unlock()
	c.unposted(it.f.ID, generation)
	return true
}

// repeat asks again for what is unanswered and was asked of an owner that has changed, in order, and for what waits behind it. It
// reports whether nothing waits any more.
func (c *conn) repeat(now int64) (rest bool) {
	blocked := map[lane]bool{}
	touched := map[lane]bool{}
	for {
		c.mu.Lock()
		list := c.unsettled(touched, blocked, now)
		if len(list) == 0 {
			c.settleLanes(touched, blocked)
			c.mu.Unlock()
			return len(blocked) == 0
		}
		c.mu.Unlock()
		for _, n := range list {
			c.postAgain(n, blocked, now)
		}
	}
}

// unsettled returns the requests that are to be posted again, in order, and notes their lanes: until all of them are, those
// that come wait behind. Lanes whose owner is not there, or does not know the connection yet, are blocked. It needs mu.
func (c *conn) unsettled(touched, blocked map[lane]bool, now int64) (list []uint64) {
	for r := range c.pending.all() {
		if r.own || blocked[r.lane()] {
			continue
		}
		generation := c.e.x.Generation(r.slot)
		if !r.waits && r.generation == generation {
			continue
		}
		c.flight(r.lane()).waits = true
		soon := r.waits && r.generation == generation && now-r.postedAt < againAfter // he has just not taken it
		if generation == 0 || soon || !c.ready(r.lane()) {
			blocked[r.lane()] = true
			continue
		}
		touched[r.lane()] = true
		list = append(list, r.n)
	}
	return slices.DeleteFunc(list, func(n uint64) bool { return blocked[c.pending.get(n).lane()] })
}

// ready tells whether requests of a lane may be posted. It needs mu.
func (c *conn) ready(k lane) bool {
	if l := c.lines.get(k.session); l != nil && l.attached {
		return !l.lost || l.back
	}
	if s := c.standing; s != nil && k == (lane{slot: s.slot}) {
		return !s.lost || s.back
	}
	return true
}

// settleLanes lets requests be posted at once again, where nothing waits. It needs mu.
func (c *conn) settleLanes(touched, blocked map[lane]bool) {
	for k := range touched {
		if blocked[k] {
			continue
		}
		f := c.flight(k)
		f.waits = false
		for r := range c.pending.all() {
			if r.lane() == k && !r.own {
				f.generation = r.generation
				break
			}
		}
		if f.n == 0 {
			c.landed(k, f)
		}
	}
	for l := range c.lines.all() {
		id := l.id
		if l.lost && l.back && !blocked[lane{session: id}] {
			l.lost, l.back, l.lostAt = false, false, 0
		}
	}
	if s := c.standing; s != nil && s.lost && s.back && !blocked[lane{slot: s.slot}] {
		s.lost, s.back, s.lostAt = false, false, 0
	}
}

// postAgain posts request n, unless one before it in its lane could not be.
func (c *conn) postAgain(n uint64, blocked map[lane]bool, now int64) {
	c.mu.Lock()
	q := c.pending.get(n)
	if q == nil || blocked[q.lane()] {
		c.mu.Unlock()
		return
	}
	r := *q
	generation, term := c.e.x.Generation(r.slot), uint64(0)
	if l := c.lines.get(r.lane().session); l != nil && l.attached {
		term = l.termFor(r.slot)
	}
	r.try++
	copied := *r.cmd // also of a hot one: whom it was posted to may look at it still
	cmd := &copied
	cmd.ID = n | uint64(r.try)<<tryShift
	r.waits, r.lostAt, r.again, r.posted = false, 0, r.again || r.posted, true
	r.losses = uint32(c.e.x.Losses()) //nolint:gosec // see lossesThen
	r.generation, r.changes, r.postedAt = generation, c.e.x.Changes(), now
	*q = r
	c.mu.Unlock()
	if r.again {
		c.e.m.repeated.Inc()
	}
	err := exchange.ErrNowhere
	if generation != 0 {
		err = c.e.x.PostTo(wire.Envelope{To: wire.ToSlot(r.slot), Term: term, Mail: cmd}, generation)
	}
	if err == nil {
		return
	}
	blocked[r.lane()] = true
	c.mu.Lock()
	if r := c.pending.get(n); r != nil {
		if r.waits, r.lostAt = true, now; errors.Is(err, exchange.ErrOverloaded) && !r.again {
			r.posted = false
		}
		c.flight(r.lane()).waits = true
	}
	c.mu.Unlock()
}
