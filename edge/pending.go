package edge

import (
	"errors"
	"strconv"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// What a connection has asked for and nobody has answered is kept, in order for each lane, so that it can be asked again of another
// owner: a hot command itself, of which nobody changes anything, or a copy. docs/adr/0019 tells why that does no harm.

// lane is what requests of a connection are in order about: a session, or without one whatever lives at a slot, as a pool does.
type lane struct {
	session wire.SessionID
	slot    wire.Slot // when there is no session
}

// flight is how the unanswered requests of one lane are under way. While those of one generation are, nobody of another is asked.
type flight struct {
	line       *line // of which it is; nil of others
	n          int32
	waits      bool   // some are with nobody, or are being asked for again: those that come wait behind them
	generation uint64 // of the owner that the others were asked of
}

// request is what somebody was asked for.
type request struct {
	n          uint64 // its number
	id         uint64 // the client's; 0 when it wants no reply
	at         int64  // Unix ms
	verb       wire.Verb
	session    wire.SessionID
	cmd        *wire.Command // what to ask again
	line       int32         // of a resume, from 1
	size       int32
	slot       wire.Slot // whom it goes to
	own        bool      // the edge asks on its own account: the client hears nothing of the answer
	waits      bool      // nobody has it
	posted     bool      // somebody had it, or has
	again      bool      // it was posted more than once:
	left       bool      // see requests
	try        uint16    // so often
	losses     uint32    // of the exchange, when it was posted, but for what is above 32 bits
	generation uint64    // of the owner that it was posted to
	changes    uint64    // of the exchange, then
	postedAt   int64     // Unix ms
	lostAt     int64     // since when it waits, or is in doubt; Unix ms
}

// lane returns what r is in order about.
func (r *request) lane() lane {
	if r.session != "" && r.verb != wire.VerbWrapup {
		return lane{session: r.session}
	}
	return lane{slot: r.slot}
}

const (
	// keepBytes is how much of unanswered requests one connection may have; beyond it there are too many.
	keepBytes = 4 << 20
	// againMost is for how long a request waits for an owner.
	againMost = 5 * time.Second
	// doubtMost is after how long a request is asked for again that has had no answer since some owner changed: it may have been
	// on its way between two of them.
	doubtMost = time.Second
)

// stamp gives cmd a key when it writes and its client named none: so it may be asked for again. No client can name such a key.
func (e *Edge) stamp(cmd *wire.Command, n uint64) {
	if cmd.Key != "" {
		return
	}
	switch cmd.Verb {
	case wire.VerbReply:
		if cmd.Ack.Set { // that is its key [SW-5.5]
			return
		}
	case wire.VerbSend, wire.VerbNack, wire.VerbClose, wire.VerbRate, wire.VerbTransfer, wire.VerbRelease, wire.VerbContext,
		wire.VerbAttributes, wire.VerbJoin, wire.VerbTake, wire.VerbAssign:
	default:
		return
	}
	b := append(make([]byte, 0, 48), e.mark...)
	b = append(strconv.AppendUint(b, cmd.Conn.ID, 36), '.')
	cmd.Key = string(strconv.AppendUint(b, n, 36))
}

func slotOf(to wire.Address) wire.Slot { return wire.Slot(to.ID) } //nolint:gosec // it is one

// flight returns how the requests of a lane are under way. It needs mu, and holds until that is given up.
func (c *conn) flight(k lane) *flight {
	if l := c.lines.get(k.session); l != nil {
		return &l.flight
	}
	f := c.flights[k]
	if f == nil {
		if f, c.spareFlight = c.spareFlight, nil; f == nil {
			f = &flight{}
		}
		if c.flights == nil {
			c.flights = map[lane]*flight{}
		}
		c.flights[k] = f
	}
	return f
}

// landed forgets a flight of which nothing is under way. It needs mu.
func (c *conn) landed(k lane, f *flight) {
	if f.waits = false; f.line == nil && c.flights[k] == f {
		delete(c.flights, k)
		*f = flight{}
		c.spareFlight = f
	}
}

// pose asks for cmd at an address, or lets it wait until somebody is there. It gives it a number of the edge's own, so that a late
// answer never meets another request. At most limit of a client's may be unanswered. An error means that nobody was asked, and
// that cmd is as it was.
func (c *conn) pose(cmd *wire.Command, to wire.Address, line, limit int) *wire.Error {
	own := cmd.Verb == wire.VerbSend || cmd.Verb == wire.VerbReply // whose answers stand for their entries
	if cmd.ID == 0 && line == 0 && !own {
		return c.utter(cmd, to)
	}
	r := request{
		id: cmd.ID, at: c.lastRead.Load(), verb: cmd.Verb, session: cmd.Session, line: int32(line), slot: slotOf(to), size: int32(320 + len(cmd.Body) + len(cmd.Text)), //nolint:gosec // bounded by a frame
		losses: uint32(c.e.x.Losses()), changes: c.e.x.Changes(), generation: c.e.x.Generation(slotOf(to)), //nolint:gosec // see lossesThen
	}
	c.mu.Lock()
	if int(c.inflight) >= limit || c.pending.size() >= 2*limit+1 || c.kept > 0 && int(c.kept)+int(r.size) > keepBytes {
		c.mu.Unlock()
		return wire.Refuse(wire.TooManyInflight)
	}
	way := c.flight(r.lane())
	term, lost := c.admit(&r, way)
	if lost {
		c.mu.Unlock()
		return &wire.Error{Slug: wire.Unavailable, RetryAfter: time.Second}
	}
	n := c.enter(&r, cmd, way)
	c.mu.Unlock()
	if r.waits {
		c.unrest()
		return nil
	}
	switch err := c.e.x.PostTo(wire.Envelope{To: to, Term: term, Mail: cmd}, r.generation); {
	case err == nil:
	case errors.Is(err, exchange.ErrOverloaded):
		c.answered(n)
		c.e.m.overloaded.Inc()
		cmd.ID = r.id
		return overloaded()
	default:
		c.unposted(n, r.generation)
	}
	return nil
}

// utter says what wants no answer. What finds nobody is lost, as it may be.
func (c *conn) utter(cmd *wire.Command, to wire.Address) *wire.Error {
	switch err := c.e.x.Post(wire.Envelope{To: to, Mail: cmd}); {
	case errors.Is(err, exchange.ErrOverloaded):
		c.e.m.overloaded.Inc()
		return overloaded()
	case err != nil:
		c.unrest()
	}
	return nil
}

// admit takes r into its flight f, where it may have to wait. term is that of the owner whom it is meant for, if one is known; lost
// says that there has been none for too long. It needs mu.
func (c *conn) admit(r *request, f *flight) (term uint64, lost bool) {
	l, s := f.line, c.standing
	since := int64(0)
	switch {
	case l != nil && l.attached:
		since = l.lostAt
		_, slot, _ := l.id.Place()
		r.waits = l.lost || l.generation != c.e.x.Generation(slot)
		term = l.termFor(r.slot)
	case l == nil && s != nil && r.lane() == (lane{slot: s.slot}):
		since = s.lostAt
		r.waits = s.lost || s.generation != r.generation
	}
	r.waits = r.waits || r.generation == 0 || f.n > 0 && (f.waits || f.generation != r.generation)
	if !r.waits {
		f.generation = r.generation
		return term, false
	}
	r.lostAt = r.at
	if since != 0 && r.at-since > againMost.Milliseconds() {
		return 0, true
	}
	f.waits = true
	return 0, false
}

// enter notes r, which asks for cmd in a flight, and numbers it. It needs mu.
func (c *conn) enter(r *request, cmd *wire.Command, f *flight) uint64 {
	c.lastReq++
	cmd.ID = c.lastReq
	c.e.stamp(cmd, c.lastReq)
	if r.cmd = cmd; !cmd.Hot() {
		copied := *cmd
		r.cmd = &copied
	}
	if !r.waits {
		r.posted, r.postedAt = true, r.at
	}
	if c.pending == nil {
		c.pending = &requests{}
	}
	r.n = c.lastReq
	c.pending.add(r)
	c.unanswered.Add(1)
	c.count(r, 1, f)
	return c.lastReq
}

// unposted lets request n wait: whom it was for, of a generation, did not get it. Unless it was posted to another by now.
func (c *conn) unposted(n, generation uint64) {
	c.mu.Lock()
	if r := c.pending.get(n); r != nil && !r.waits && r.generation == generation {
		r.waits, r.lostAt, r.posted = true, c.e.now(), r.again
		if !r.own {
			c.flight(r.lane()).waits = true
		}
	}
	c.mu.Unlock()
	c.unrest()
}

// atOnce lets request n be asked again of whoever has just not taken it: he wants to know whether it is still to be done.
func (c *conn) atOnce(n uint64) {
	c.mu.Lock()
	if r := c.pending.get(n); r != nil {
		r.postedAt = 0
	}
	c.mu.Unlock()
}

// answered takes request n off the list, if it is still there.
func (c *conn) answered(n uint64) (r request, ok bool) {
	if n == 0 {
		return request{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q := c.pending.get(n); q != nil {
		return c.strike(q), true
	}
	return request{}, false
}

// strike takes q off the list, and returns what it was. It needs mu.
func (c *conn) strike(q *request) (r request) {
	r = *q
	c.pending.remove(q)
	c.unanswered.Add(-1)
	if r.own {
		return r
	}
	f := c.flight(r.lane())
	if c.count(&r, -1, f); f.n == 0 {
		c.landed(r.lane(), f)
	}
	return r
}

// count keeps the numbers of what is pending. It needs mu.
func (c *conn) count(r *request, by int32, f *flight) {
	if r.own {
		return
	}
	if r.id != 0 {
		c.inflight += by
	}
	if follows(r.verb) {
		c.opens += by
	}
	c.kept += by * r.size
	f.n += by
}

// askOwn asks for cmd on the edge's own account, of the owner of a generation. It returns the number of the request, or 0 when it was
// not posted.
func (c *conn) askOwn(cmd *wire.Command, to wire.Address, generation uint64) uint64 {
	r := request{at: c.e.now(), verb: cmd.Verb, session: cmd.Session, own: true, slot: slotOf(to), changes: c.e.x.Changes(), generation: generation}
	c.mu.Lock()
	n := c.enter(&r, cmd, nil)
	c.mu.Unlock()
	if c.e.x.PostTo(wire.Envelope{To: to, Mail: cmd}, generation) != nil {
		c.answered(n)
		return 0
	}
	return n
}

// repeated tells whether request n was asked for more than once.
func (c *conn) repeated(n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.pending.get(n)
	return r != nil && r.again
}

// againAfter is how long whoever did not take something is left alone, in ms, unless another comes.
const againAfter = 200

// watchRequests answers what nobody has answered in time, and lets be asked again what may have been lost between two owners.
func (c *conn) watchRequests(now int64) {
	var late []request
	var doubts map[lane]uint64 // the first request that is in doubt
	changes := c.e.x.Changes()
	c.mu.Lock()
	for r := range c.pending.all() {
		switch {
		case r.line != 0: // hello answers
		case r.waits && now-r.lostAt > againMost.Milliseconds(), now-r.at > c.e.cfg.Answer.Milliseconds():
			late = append(late, c.strike(r))
		case r.own || r.waits || r.changes == changes:
		case r.lostAt == 0:
			r.lostAt = now
		case now-r.lostAt > doubtMost.Milliseconds():
			if doubts == nil {
				doubts = map[lane]uint64{}
			}
			if _, ok := doubts[r.lane()]; !ok {
				doubts[r.lane()] = r.n
			}
		}
	}
	if doubts != nil {
		c.doubt(doubts, now)
	}
	c.mu.Unlock()
	for _, r := range late {
		slug := wire.Deadline
		if r.waits {
			slug = wire.Unavailable
		}
		c.reply(r.id, &wire.Frame{Kind: wire.FrameError, Session: r.session, Verb: r.verb, Err: wire.Refuse(slug)})
	}
	if doubts != nil {
		c.unrest()
	}
}

// doubt lets the requests of lanes from a number on be asked for again, in their order. It needs mu.
func (c *conn) doubt(from map[lane]uint64, now int64) {
	for r := range c.pending.all() {
		if first, ok := from[r.lane()]; ok && r.n >= first && !r.own && !r.waits {
			r.waits, r.lostAt = true, now
			c.flight(r.lane()).waits = true
		}
	}
}
