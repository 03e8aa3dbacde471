package broker

import (
	"slices"
	"strconv"

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
// [SW-5.2]. An offer that is gone fails with offer_expired or offer_rescinded.
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
		t.ref = ref
		c.grant(t, w, out)
	case granted:
		if ref.ID != 0 && ref != t.ref && len(t.also) < maxAlso && !slices.Contains(t.also, ref) {
			t.also = append(t.also, ref)
		}
	default:
		out.accepted(ref, t.session, t.ae)
	}
}

// maxAlso bounds the repeated accepts that wait for one grant. Whoever sends more is not waiting for an answer.
const maxAlso = 16

// Decline refuses an offer: it goes to somebody else, and does not come back at once. Declining twice is the same.
func (c *Core) Decline(offer, worker string, ref Ref, now int64, out *Effects) {
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
	c.endOffer(t, outcomeDeclined, "", out)
	out.done(ref)
	t.bar(w.ID, c.now+c.cfg.BarMS)
	c.turnOver(t, "declined", out)
	c.serve(w, out)
}

// turnOver finds somebody else for one task whose offer ended.
func (c *Core) turnOver(t *task, why string, out *Effects) {
	c.replace(append(c.scratch[:0], t), why, out)
}

// late answers who comes too late, or again.
func (c *Core) late(offer string, w *worker, accept bool, ref Ref, out *Effects) {
	e, ok := c.ended.get(offer, w.ID)
	switch {
	case ok && accept && e.outcome == outcomeAccepted:
		out.accepted(ref, e.session, e.ae)
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

// expire ends an offer that nobody answered: who missed it is away [SW-5.9], and his other offers are as good as missed.
func (c *Core) expire(t *task, out *Effects) {
	w := t.worker
	c.endOffer(t, outcomeExpired, "expired", out)
	w.presence = Away
	e := out.add(PresencePush)
	e.Conn, e.Worker, e.State, e.Reason = w.conn, w.ID, Away, "missed"
	moved := append(c.scratch[:0], t)
	for _, o := range w.tasks {
		if o.state == offered && o != t {
			c.endOffer(o, outcomeRescinded, "rescinded", out)
			moved = append(moved, o)
		}
	}
	inOrder(moved)
	w.changed()
	c.replaceMissed(moved, t, out)
}

// replaceMissed is replace for the offers of a worker who missed one of them.
func (c *Core) replaceMissed(moved []*task, missed *task, out *Effects) {
	if missed.to != "" {
		moved = slices.DeleteFunc(moved, func(t *task) bool { return t == missed })
		c.failTransfer(missed, "expired", out)
	}
	c.replace(moved, "away", out)
}
