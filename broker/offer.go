package broker

import (
	"slices"
	"strconv"
	"strings"

	"switchboard/wire"
)

// outcome is how an offer ended. It never changes [I6].
type outcome uint8

const (
	outcomeAccepted outcome = iota + 1
	outcomeDeclined
	outcomeExpired
	outcomeRescinded
)

// maxEnded bounds the offers that are remembered after their end, so that a late word about them gets the same answer.
const maxEnded = 1024

type endedOffer struct {
	id      string
	worker  string
	session wire.SessionID
	ae      uint64
	outcome outcome
}

// memory holds the last offers that ended.
type memory struct {
	ring  []endedOffer
	index map[string]int
	next  int
}

func newMemory() memory { return memory{index: make(map[string]int)} }

// put remembers how t's offer ended, if it had one.
func (m *memory) put(t *task, o outcome) {
	if t.offer == "" {
		return
	}
	e := endedOffer{t.offer, t.worker.ID, t.session, t.ae, o}
	if i, ok := m.index[e.id]; ok {
		m.ring[i] = e
		return
	}
	if len(m.ring) < maxEnded {
		m.index[e.id] = len(m.ring)
		m.ring = append(m.ring, e)
		return
	}
	delete(m.index, m.ring[m.next].id)
	m.ring[m.next] = e
	m.index[e.id] = m.next
	m.next = (m.next + 1) % maxEnded
}

// get returns how worker's offer ended.
func (m *memory) get(id, worker string) (endedOffer, bool) {
	i, ok := m.index[id]
	if !ok || m.ring[i].worker != worker {
		return endedOffer{}, false
	}
	return m.ring[i], true
}

// offerID names the n'th offer of pool p. It need not be secret: only the worker whom it was made can accept it.
func offerID(p, n uint64) string {
	b := append(make([]byte, 0, 24), "o_"...)
	b = append(strconv.AppendUint(b, p, 36), '_')
	return string(strconv.AppendUint(b, n, 36))
}

// endOffer ends t's open offer; why goes to the worker who had it, when it does not know.
func (c *Core) endOffer(t *task, o outcome, why string, out *Effects) {
	c.ended.put(t, o)
	delete(c.offers, t.offer)
	if why != "" && t.worker.connected {
		e := out.add(OfferEnded)
		e.Conn, e.Offer, e.Worker, e.Reason, e.Session = t.worker.conn, t.offer, t.worker.ID, why, t.session
	}
	t.offer = ""
}

// Accept takes an offer. The session answers ref, once the assignment is durable; accepting twice gives the same answer
// [SW-5.2]. An offer that is gone fails with offer_expired or offer_rescinded. Of several who are asked at once the first
// has it, in the same moment the others' offers end as taken.
func (c *Core) Accept(offer, worker string, ref Ref, now int64, out *Effects) {
	c.Tick(now, out)
	w := c.bound(worker, ref, out)
	if w == nil {
		return
	}
	t := c.offers[offer]
	if t == nil || t.worker != w {
		c.late(offer, w, true, ref, out)
		return
	}
	switch t.state {
	case offered:
		if t.lead != nil {
			t = c.swap(t)
		}
		t.ref = ref
		c.grant(t, w, out)
		c.endBids(t, "taken", out)
	case granted:
		if ref != t.ref {
			t.alsoAnswer(ref)
		}
	default:
		out.accepted(ref, t.session, t.ae)
		if t.state == lost {
			c.revoke(t.session, t.ae, w, ref, out)
		}
	}
	c.settle(out)
}

// maxAlso bounds the repeated accepts that wait for one grant, and what waits for the end of one wrap-up. Whoever sends more is not waiting for an answer.
const maxAlso = 16

// alsoAnswer lets ref wait for what t's session says.
func (t *task) alsoAnswer(ref Ref) {
	if ref.ID != 0 && len(t.also) < maxAlso && !slices.Contains(t.also, ref) {
		t.also = append(t.also, ref)
	}
}

// Decline refuses an offer: it goes to somebody else, and does not come back at once. Of why, which may be empty, 100 bytes are kept for those
// who ask why it went to somebody else. Declining twice is the same.
func (c *Core) Decline(offer, worker, why string, ref Ref, now int64, out *Effects) {
	c.Tick(now, out)
	w := c.bound(worker, ref, out)
	if w == nil {
		return
	}
	t := c.offers[offer]
	if t == nil || t.worker != w || t.state != offered {
		c.late(offer, w, false, ref, out)
		return
	}
	out.done(ref)
	lead := t
	if t.lead != nil {
		lead = t.lead
	}
	lead.bar(w.ID, c.now+c.cfg.BarMS)
	how := "declined"
	if why != "" {
		how += endedBy + shortWhy(why)
	}
	c.unask(t, outcomeDeclined, "", how, out)
	c.settle(out)
}

// late answers who comes too late, or again.
func (c *Core) late(offer string, w *worker, accept bool, ref Ref, out *Effects) {
	e, ok := c.ended.get(offer, w.ID)
	switch {
	case ok && accept && e.outcome == outcomeAccepted:
		out.accepted(ref, e.session, e.ae)
		c.revoke(e.session, e.ae, w, ref, out)
	case ok && !accept && e.outcome == outcomeDeclined:
		out.done(ref)
	case ok:
		out.fail(ref, e.outcome.slug(), "")
	case len(c.census.missing) > 0:
		out.fail(ref, wire.Unavailable, "") // who accepted it before may be told by a shard that has not answered yet
	default:
		out.fail(ref, wire.OfferRescinded, "")
	}
}

// revoke lets the session of an assignment that has ended, or is lost, tell so to w, who has just heard for the first time, or again, that he has it: what came
// of it may have been said when nobody knew where he was. The session does not have him under that ae, and answers a word that he is back with revoked. One
// that has not heard yet that he is lost takes him for back, and revokes it when it is told again.
func (c *Core) revoke(session wire.SessionID, ae uint64, w *worker, ref Ref, out *Effects) {
	if ref.ID == 0 {
		return
	}
	e := out.add(Rebind)
	e.Session, e.AE, e.Worker, e.Conn, e.Lease, e.Window, e.Reason, e.Origin = session, ae, w.ID, ref.Conn, w.lease, w.window, reasonRoute, w.kind.origin()
}

// slug of an offer that is no more.
func (o outcome) slug() wire.Slug {
	if o == outcomeExpired {
		return wire.OfferExpired
	}
	return wire.OfferRescinded
}

// endedBy is between how an offer ended and what its worker said of that.
const endedBy = ": "

// unask ends one offer of a task. When nobody else is asked, the task waits again, or its transfer has failed by why, of which what the worker said
// is for those who ask alone.
func (c *Core) unask(t *task, o outcome, said, why string, out *Effects) {
	c.endOffer(t, o, said, out)
	if t.lead == nil && len(t.bids) > 0 { // its place is taken by one of the others
		lead := t
		t = lead.bids[0]
		c.swap(t)
	}
	if t.lead != nil {
		c.dropBid(t)
		return
	}
	c.unset(&t.timer)
	c.untaken(t, why, out)
	c.discharge(t)
	t.refund()
	if t.to != "" {
		why, _, _ = strings.Cut(why, endedBy)
		c.failTransfer(t, why, out)
		return
	}
	c.move(t)
}

// displace takes every open offer from w; somebody else is found for them.
func (c *Core) displace(w *worker, why string, out *Effects) {
	c.unhold(w)
	for _, t := range c.byAge(w) {
		if t.state == offered {
			c.unask(t, outcomeRescinded, "rescinded", why, out)
		}
		if t.state == asking {
			c.unanswered(t)
		}
	}
}

// expire ends an offer that nobody answered: who missed it is away [SW-5.9], and his other offers are as good as missed.
func (c *Core) expire(t *task, out *Effects) {
	missed := []*worker{t.worker}
	for _, b := range t.bids {
		missed = append(missed, b.worker)
	}
	for len(t.bids) > 0 {
		b := t.bids[len(t.bids)-1]
		c.endOffer(b, outcomeExpired, "expired", out)
		c.dropBid(b)
	}
	for _, w := range missed {
		w.is(Away, "missed")
		w.changed()
	}
	c.unask(t, outcomeExpired, "expired", "expired", out)
	for _, w := range missed {
		c.tellPresence(w, out)
		c.displace(w, "away", out)
	}
}
