package link

import (
	"errors"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// deliver hands e to its inlet. When that has no room, or is not here, nobody on the other side would hear of it, so the
// answer is given here: a request is refused as its own edge would have refused it, or told to have moved, and a goodbye is kept
// until there is room.
// Other mail is a level, which its sender repeats, or a push, whose gap is noticed.
func (p *postbox) deliver(e wire.Envelope) {
	c, isCommand := e.Mail.(*wire.Command)
	if isCommand {
		if why := p.refusing(c); why != nil {
			p.refuse(c, why)
			return
		}
	}
	err := p.k.all.x.Deliver(e)
	switch {
	case err == nil || !isCommand:
	case c.Verb == wire.VerbGone:
		switch {
		case !errors.Is(err, exchange.ErrOverloaded): // nobody is here who knew him
		case len(p.again) < againMax:
			p.again = append(p.again, e)
		default:
			p.dropped++
		}
	default:
		p.refuse(c, err)
	}
}

// refusing tells whether a request before c, of the same connection about the same session, has just been refused, and why: c
// was sent before its sender could know, and must not overtake it [SW-4.2].
func (p *postbox) refusing(c *wire.Command) error {
	r, ok := p.refused[refusal{c.Conn, c.Session}]
	if !ok || c.Verb == wire.VerbGone || !time.Now().Before(r.until) {
		return nil
	}
	return r.why
}

func (p *postbox) refuse(c *wire.Command, err error) {
	now := time.Now()
	if r := (refusal{c.Conn, c.Session}); now.After(p.refused[r].until) {
		if len(p.refused) >= refusalsMax {
			p.forget(now)
		}
		if p.refused == nil {
			p.refused = map[refusal]refused{}
		}
		wait := movedFor
		if errors.Is(err, exchange.ErrOverloaded) {
			wait = refuseFor
		}
		p.refused[r] = refused{now.Add(wait), err}
	}
	f := &wire.Frame{Kind: wire.FrameMoved, ID: c.ID, Verb: c.Verb, Session: c.Session}
	if errors.Is(err, exchange.ErrOverloaded) {
		if c.ID == 0 {
			return
		}
		f.Kind, f.Err = wire.FrameError, &wire.Error{Slug: wire.Overloaded, RetryAfter: refuseFor}
	}
	_ = p.k.all.x.Post(wire.Envelope{To: c.Conn.Address(), Mail: f})
}

// forget makes room among the refusals. Those that are over go, and when none is, all: order is then held by the keys alone.
func (p *postbox) forget(now time.Time) {
	for r, f := range p.refused {
		if now.After(f.until) {
			delete(p.refused, r)
		}
	}
	if len(p.refused) >= refusalsMax {
		clear(p.refused)
	}
}

// retry delivers the goodbyes that found no room, and tells how many had not even room to wait.
func (p *postbox) retry() {
	again := p.again
	p.again = nil
	for _, e := range again {
		p.deliver(e)
	}
	if p.dropped == 0 {
		return
	}
	p.k.mu.Lock()
	p.k.unheard += p.dropped
	p.k.mu.Unlock()
	p.k.all.cfg.Log.Warn("link: goodbyes of connections found no room, and are lost", "node", p.k.node, "lost", p.dropped)
	p.dropped = 0
}

// close tries once more what waits, and gives up the rest.
func (p *postbox) close() {
	p.retry()
	p.dropped, p.again = uint64(len(p.again)), nil
	p.retry()
}
