package edge

import (
	"errors"

	"switchboard/exchange"
	"switchboard/wire"
)

// That a connection has ended is said once: whoever hears of it has nothing more to ask. On its way to another node it can be lost, or the way be cut just
// then; then a worker who is gone has his sessions for ever, and a customer who is gone waits in his line. So what was said of late to another node is said
// again when mail to it may have been lost, or when another leads there. It comes twice then, which changes nothing: no connection has the number of another.

const (
	maxAgain  = 1 << 16
	maxParted = 1 << 16
	partedMS  = 30_000 // more than it takes to find out that a link is cut
)

// parting is that a connection has ended, as it was said to another node.
type parting struct {
	env        wire.Envelope
	goes       *conn // on, and only follows the session no more: should it follow it again, this is not to be said behind that
	until      int64
	generation uint64 // of the slot when it was said,
	losses     uint64 // and of the exchange
}

// postGone posts env now, or when there is room, and again when it may have been lost.
func (e *Edge) postGone(env wire.Envelope) { e.part(parting{env: env}) }

func (e *Edge) part(p parting) {
	if p.until = e.now() + partedMS; e.say(&p) {
		e.mu.Lock()
		if len(e.parted) < maxParted {
			e.parted = append(e.parted, p)
		}
		e.mu.Unlock()
	}
}

// say posts p and tells whether it may be lost.
func (e *Edge) say(p *parting) bool {
	slot := slotOf(p.env.To)
	p.generation, p.losses = e.x.Generation(slot), e.x.Losses() // before: what is lost meanwhile counts
	err := e.x.Post(p.env)
	if errors.Is(err, exchange.ErrOverloaded) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.again) < maxAgain {
			e.again = append(e.again, *p)
		}
		return false
	}
	return p.goes == nil && (err != nil || e.x.Afar(slot))
}

// partNow says what found no room.
func (e *Edge) partNow(list []parting) {
	for _, p := range list {
		if p.goes != nil {
			p.goes.giveUp(p.env.Mail.(*wire.Command).Session) // unless it follows it by now
			continue
		}
		e.part(p)
	}
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
	e.parted = append(list[:n], e.parted...)
	e.mu.Unlock()
}
