package edge

import (
	"errors"

	"switchboard/exchange"
	"switchboard/wire"
)

// That a connection has ended is said once: whoever hears of it has nothing more to ask. On its way to another node it can be lost, or the way be cut just
// then; then a worker who is gone has his sessions for ever, and a customer who is gone waits in his line. So what was said of late to another node is said
// again when mail to it may have been lost, or when another leads there. It comes twice then, which changes nothing: no connection has the number of another.
//
// Both lists are bounded. Of those that may be lost the earliest are let go of first: that nothing of them is lost is the likeliest, as mail that is lost is
// noticed within seconds. Of those that find no room, the latest, but what pools are told has as much room again as what sessions are: a session that
// speaks to a connection of its own node finds out that it is gone, and a pool would never. For others it ends when this node does. Operators are told.

const (
	maxAgain  = 1 << 16
	maxParted = 1 << 16
	partedMS  = 30_000 // more than it takes to find out that a link is cut
	unsaidMS  = 60_000 // so often it is logged at most that ends are let go of
)

// parting is that a connection has ended, as it was said to another node.
type parting struct {
	env        wire.Envelope
	by         *conn // it goes on, and has given up the session of env alone: should it follow that again, this is not to be said behind it
	until      int64
	generation uint64 // of the slot when it was said,
	losses     uint64 // and of the exchange
}

// postGone posts env now, or when there is room, and again when it may have been lost.
func (e *Edge) postGone(env wire.Envelope) { e.part(parting{env: env}) }

func (e *Edge) part(p parting) {
	if p.until = e.now() + partedMS; e.say(&p) {
		e.mu.Lock()
		n := e.keepParted(append(e.parted, p))
		e.mu.Unlock()
		e.unsaid(n)
	}
}

// say posts p and tells whether it may be lost.
func (e *Edge) say(p *parting) bool {
	slot := slotOf(p.env.To)
	p.generation, p.losses = e.x.Generation(slot), e.x.Losses() // before: what is lost meanwhile counts
	err := e.x.Post(p.env)
	if errors.Is(err, exchange.ErrOverloaded) {
		e.sayLater(p)
		return false
	}
	return err != nil || e.x.Afar(slot)
}

// sayLater keeps p, which found no room, until it is said once more.
func (e *Edge) sayLater(p *parting) {
	most := maxAgain
	if gone, ok := p.env.Mail.(*wire.Command); ok && gone.Session == "" {
		most *= 2
	}
	e.mu.Lock()
	full := len(e.again) >= most
	if !full {
		e.again = append(e.again, *p)
	}
	e.mu.Unlock()
	if full {
		e.unsaid(1)
	}
}

// partLater says what found no room: of a connection that goes on only if it has not asked for the session since.
func (e *Edge) partLater(p parting) {
	if gone, ok := p.env.Mail.(*wire.Command); ok && p.by != nil {
		p.by.giveUp(gone.Session)
		return
	}
	e.part(p)
}

// partAgain says again what may have been lost.
func (e *Edge) partAgain(now int64) {
	e.mu.Lock()
	list := e.parted
	e.parted = nil
	e.mu.Unlock()
	if len(list) == 0 {
		return
	}
	losses := e.x.Losses()
	n := 0
	for i := range list {
		p := &list[i]
		if p.until <= now || (p.losses != losses || p.generation != e.x.Generation(slotOf(p.env.To))) && !e.say(p) {
			continue
		}
		list[n] = *p
		n++
	}
	clear(list[n:])
	e.mu.Lock()
	n = e.keepParted(append(list[:n], e.parted...))
	e.mu.Unlock()
	e.unsaid(n)
}

// keepParted makes list what may have been lost, but for the n earliest that are too many. It needs mu.
func (e *Edge) keepParted(list []parting) (n int) {
	n = max(len(list)-maxParted, 0)
	clear(list[:n])
	e.parted = list[n:]
	return n
}

// unsaid counts n ends that are not said any more, and tells operators, who should know that this node cannot say all.
func (e *Edge) unsaid(n int) {
	if n == 0 {
		return
	}
	e.m.unsaid.Add(float64(n))
	if now, last := e.now(), e.unsaidAt.Load(); (last == 0 || now-last >= unsaidMS) && e.unsaidAt.CompareAndSwap(last, now) {
		e.cfg.Log.Warn("more connections end than can be said: their sessions and pools may take some for open (switchboard_edge_ends_unsaid_total)")
	}
}
