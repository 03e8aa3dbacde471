package edge

import (
	"maps"
	"slices"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// standing is what a worker's connection is to its pool, kept so that a pool that begins anew can be told.
type standing struct {
	// Owned by write.
	subscribe *wire.Command // as the client last said it; shared, and never changed
	slots     uint32        // said since; 0 is none
	presence  string
	why       string // it is not ready
	lease     string
	turn      uint64               // by which a pool knows whether another connection has subscribed as the worker since
	offers    map[string]openOffer // that have not ended
	term      uint64
	asking    asking                    // by which a pool is told
	since     map[wire.SessionID]uint64 // what was assigned while it was: an answer may be older
	losses    uint64                    // of the exchange when the pool was told: mail that was lost later may have been an assignment
	asked     uint64                    // losses when it was asked last
	sparing   sparing

	// Changed by write under conn.mu.
	slot       wire.Slot
	generation uint64
	lost       bool // its pool is not there any more;
	back       bool // and another knows the worker, but requests still wait
	lostAt     int64
}

// openOffer is an offer that the client was shown, and of whose end nothing is known.
type openOffer struct {
	term  uint64 // of the pool that said it last,
	asked uint64 // while it was asked this
}

// observing is the stats that the connection is sent [SW-5a.5].
type observing struct {
	cmd        *wire.Command // shared, and never changed
	generation uint64        // of the pool that was told
	asking     asking
}

// rare is what few connections have: one pointer for all others.
type rare struct {
	stats   *observing
	early   early
	ended   ended
	unheard unheard
}

// unusual returns the place of what few connections have.
func (c *conn) unusual() *rare {
	if c.rare == nil {
		c.rare = &rare{}
	}
	return c.rare
}

// observes returns what stats c is sent, or nil.
func (c *conn) observes() *observing {
	if c.rare == nil {
		return nil
	}
	return c.rare.stats
}

// observe notes what stats c is sent; nil is none.
func (c *conn) observe(o *observing) {
	if o != nil || c.rare != nil {
		c.unusual().stats = o
	}
}

// poolAnswered takes note of what a worker has agreed upon with his pool.
func (c *conn) poolAnswered(f *wire.Frame, r *request, term uint64) {
	s := c.standing
	switch r.verb {
	case wire.VerbSubscribe:
		c.stand(f, r, term)
	case wire.VerbStats:
		if r.cmd.PB.GetStats().GetEveryMs() > 0 {
			c.observe(&observing{cmd: r.cmd, generation: r.generation})
		} else {
			c.observe(nil)
		}
	case wire.VerbSlots:
		if s != nil {
			s.slots = r.cmd.PB.GetSlots().GetSlots()
		}
	case wire.VerbPresence:
		if s != nil {
			s.presence, s.why = r.cmd.PB.GetPresence().GetState(), r.cmd.PB.GetPresence().GetReason()
		}
	case wire.VerbAccept:
		if s != nil {
			delete(s.offers, r.cmd.PB.GetAccept().GetOffer())
		}
	case wire.VerbDecline:
		if s != nil {
			delete(s.offers, r.cmd.PB.GetDecline().GetOffer())
		}
	default:
	}
}

// stand notes a subscription that its client has asked for.
func (c *conn) stand(f *wire.Frame, r *request, term uint64) {
	s := c.standing
	if s == nil {
		s = &standing{presence: "ready"}
	}
	s.subscribe, s.slots, s.lease, s.turn, s.term, s.losses = r.cmd, 0, f.PB.GetSubscribe().GetLease(), f.Seq, term, r.lossesThen(c.e.x.Losses())
	c.mu.Lock()
	s.slot, s.generation = r.slot, r.generation
	c.standing = s
	c.mu.Unlock()
	if s.losses != c.e.x.Losses() { // that was looked at when nothing was known to be missing
		c.restless.Store(true)
	}
}

// lossesThen returns how many losses there were when r was posted, of those that there are now: what was lost since may have come behind its answer.
func (r *request) lossesThen(now uint64) uint64 {
	return now - uint64(uint32(now)-r.losses) //nolint:gosec // a difference of the lower 32 bits
}

// poolSays takes note of what a pool pushes, and tells whether its worker is to hear of it.
func (c *conn) poolSays(it item) bool {
	s := c.standing
	if s == nil || it.f.Kind != wire.FrameKeep {
		return true
	}
	switch v := it.f.PB.GetVerb().(type) {
	case *wirepb.ServerFrame_Offer:
		if it.term < s.term && it.term != 0 {
			return false // of a pool that is none any more
		}
		_, before := s.offers[v.Offer.Offer]
		if s.offers == nil {
			s.offers = map[string]openOffer{}
		}
		s.offers[v.Offer.Offer] = openOffer{it.term, s.asking.n}
		return !before
	case *wirepb.ServerFrame_OfferEnded:
		delete(s.offers, v.OfferEnded.Offer)
	case *wirepb.ServerFrame_Presence:
		s.presence, s.why = v.Presence.State, v.Presence.Reason
	case *wirepb.ServerFrame_Revoked:
		if v.Revoked.Session == "" { // [SW-5.7] another connection is the worker's
			c.fall()
		}
	}
	return true
}

// assignedSince notes an assignment that is told while a pool is told who works here. Sessions may be nearer than the pool: its answer, which does not name
// the assignment when it was made behind that, takes nothing away then.
func (c *conn) assignedSince(id wire.SessionID, ae uint64) {
	s := c.standing
	if s == nil || s.asking.n == 0 {
		return
	}
	if s.since == nil {
		s.since = map[wire.SessionID]uint64{}
	}
	s.since[id] = ae
}

// fall ends the standing, and with it everything that the worker has here.
func (c *conn) fall() {
	c.mu.Lock()
	c.standing = nil
	c.mu.Unlock()
	if supervises(c.who.Load().Role) {
		return
	}
	for l := range c.lines.all() {
		if l.ae != 0 {
			l.ae, l.resync = 0, 0
			c.forget(l)
		}
	}
}

// restoreStanding tells a pool that has begun anew who works here, and one from whose sessions mail may have been lost: an assignment
// that was never heard of has no line that could be attached again. It reports whether nothing is to be waited for.
func (c *conn) restoreStanding(now int64) bool {
	s := c.standing
	if s == nil {
		return true
	}
	losses, generation := c.e.x.Losses(), c.e.x.Generation(s.slot)
	switch {
	case (!s.lost || s.back) && s.generation == generation && s.losses == losses:
		return true
	case (!s.lost || s.back) && s.generation == generation && !s.sparing.over(now):
		return false
	default:
		c.mu.Lock()
		if !s.lost {
			s.lost, s.lostAt = true, now
		}
		s.back = false
		c.mu.Unlock()
	}
	if generation == 0 || !s.asking.due(generation, now) {
		return false
	}
	c.answered(s.asking.n)
	cmd := *s.subscribe
	m := s.subscribe.PB.GetSubscribe()
	pb := &wirepb.Subscribe{Queues: m.GetQueues(), Slots: m.GetSlots(), Window: m.GetWindow(), Skills: m.GetSkills(), Instance: m.GetInstance(), Lease: s.lease}
	if s.slots != 0 {
		pb.Slots = s.slots
	}
	cmd.Who, cmd.Resume, cmd.Seq, cmd.Type, cmd.Reason, cmd.PB = c.who.Load(), true, s.turn, s.presence, s.why, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{Subscribe: pb}}
	clear(s.since)
	s.sparing.ask(now)
	s.asking, s.asked = asking{c.askOwn(&cmd, wire.ToSlot(s.slot), generation), generation, now}, losses
	return false
}

// stoodUp is the answer to restoreStanding.
func (c *conn) stoodUp(f *wire.Frame, r *request, term uint64) {
	s := c.standing
	if s == nil || s.asking.n != r.cmd.ID {
		return
	}
	s.asking.n, s.losses, s.turn = 0, s.asked, max(s.turn, f.Seq)
	m := f.PB.GetSubscribe()
	if m.GetLease() != s.lease { // it would come back with one that nobody knows
		c.bye(wire.CloseReconnect, 0)
		return
	}
	c.rescind(s, func(o openOffer) bool { return o.term < term || f.Live && o.asked != r.cmd.ID })
	kept := map[string]uint64{}
	for _, k := range m.GetKept() {
		kept[k.Session] = k.Ae
	}
	for l := range c.lines.all() {
		if l.ae != 0 && kept[string(l.id)] != l.ae && s.since[l.id] != l.ae {
			c.encode(c.endAssignment(&wire.Frame{Kind: wire.FrameRevoked, Session: l.id, AE: l.ae, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{
				Revoked: &wirepb.Revoked{Session: string(l.id), Ae: l.ae, Reason: "lease"},
			}}}, l.aeTerm))
		}
	}
	s.since = nil
	c.e.m.reattached.Inc()
	c.mu.Lock()
	s.term, s.generation, s.back = term, s.asking.of, true
	c.mu.Unlock()
	c.restless.Store(true) // what waits behind it
}

// rescind ends the offers that are over: those of a pool that is none any more, which cannot be asked what became of them, and those that a
// pool which says its own again has not said. One that is being accepted or declined is answered.
func (c *conn) rescind(s *standing, over func(openOffer) bool) {
	if len(s.offers) == 0 {
		return
	}
	answering := map[string]bool{}
	c.mu.Lock()
	for r := range c.pending.all() {
		switch r.verb {
		case wire.VerbAccept:
			answering[r.cmd.PB.GetAccept().GetOffer()] = true
		case wire.VerbDecline:
			answering[r.cmd.PB.GetDecline().GetOffer()] = true
		default:
		}
	}
	c.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.offers)) {
		if !answering[id] && over(s.offers[id]) {
			delete(s.offers, id)
			c.encode(&wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_OfferEnded{
				OfferEnded: &wirepb.OfferEnded{Offer: id, Reason: "rescinded"},
			}}})
		}
	}
}

// unseated ends a standing that a pool does not take: another connection has it. A pool that says no turns, as it is of an earlier version, cannot know
// which of two is the later, so the client is not told that it was taken over, which would end it for good.
func (c *conn) unseated(err *wire.Error) {
	if s := c.standing; err.Slug != wire.StaleAssignment || s != nil && s.turn == 0 {
		c.bye(wire.CloseReconnect, 0)
		return
	}
	c.fall()
	c.encode(&wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Reason: "takeover"}}}})
}

// restoreStats asks a pool that has begun anew for what the connection is sent of it.
func (c *conn) restoreStats(now int64) bool {
	s := c.observes()
	if s == nil {
		return true
	}
	to, _ := c.e.route(s.cmd)
	generation := c.e.x.Generation(slotOf(to))
	if s.generation == generation {
		return true
	}
	if generation == 0 || !s.asking.due(generation, now) {
		return false
	}
	cmd := *s.cmd
	cmd.Who = c.who.Load()
	s.asking = asking{c.askOwn(&cmd, to, generation), generation, now}
	return false
}
