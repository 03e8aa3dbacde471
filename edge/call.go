package edge

import (
	"errors"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// call is a connection for one request: an inlet that waits for one frame.
type call struct{ answer chan *wire.Frame }

// Put takes the answer; what else comes is nobody's.
func (c call) Put(e wire.Envelope) bool {
	if f, ok := e.Mail.(*wire.Frame); ok && f.ID == 1 {
		select {
		case c.answer <- f:
		default: // it has more answers than it was asked
		}
	}
	return true
}

// ask checks and posts cmd and waits for its answer. When an owner has changed meanwhile it is asked again, if that does no harm.
func (e *Edge) ask(cmd *wire.Command) *wire.Frame {
	failed := func(err *wire.Error) *wire.Frame { return &wire.Frame{Kind: wire.FrameError, Err: err} }
	if err := e.check(cmd); err != nil {
		return failed(err)
	}
	if e.draining.Load() {
		return failed(wire.Refuse(wire.Draining))
	}
	to, ok := e.route(cmd)
	if !ok {
		return failed(wire.Refuse(wire.NoSession))
	}
	c := call{make(chan *wire.Frame, 4)}
	keyed := cmd.Key != "" // by who asks
	cmd.ID, cmd.Conn = 1, wire.Conn{Node: e.x.Node(), ID: e.lastConn.Add(1)}
	e.stamp(cmd, 1)
	e.x.PlugConn(cmd.Conn.ID, c)
	a := asked{e: e, cmd: cmd, to: to, once: cmd.Verb == wire.VerbConfigure && !cmd.On}
	f, err := a.await(c.answer)
	switch {
	case err == nil:
		e.x.UnplugConn(cmd.Conn.ID)
		if f.Kind == wire.FrameAttach { // the request's own attachment ends with it
			e.gone(cmd.Conn, cmd.Who, f.Session)
		}
		return doubtful(f, cmd, keyed)
	case err.Slug == wire.Overloaded:
		e.x.UnplugConn(cmd.Conn.ID) // nobody was asked
	default:
		e.adopt(cmd.Conn, cmd.Who) // an attachment may still come
	}
	return doubtful(failed(err), cmd, keyed)
}

// asked is a request without a socket, on its way to an answer. It belongs to the goroutine that waits for it.
type asked struct {
	e    *Edge
	cmd  *wire.Command // never posted: copies are
	to   wire.Address
	once bool // it may be posted again only when it was certainly not taken

	generation uint64 // of the owner that has it; 0 is nobody
	changes    uint64 // of the exchange, when it was posted
	tried      bool   // somebody may have had it
	doubtAt    time.Time
	refusedBy  uint64 // the generation that did not take it,
	refusedAt  time.Time
}

// post asks whoever is there, unless he was asked already. An error is the answer.
func (a *asked) post(now time.Time) *wire.Error {
	generation, changes := a.e.x.Generation(slotOf(a.to)), a.e.x.Changes()
	switch {
	case a.generation == 0:
	case a.generation != generation && a.once:
		return wire.Refuse(wire.Unavailable) // it may have been done, and may not be done twice
	case a.generation != generation:
		a.generation = 0
	case a.changes == changes || a.once:
		return nil
	case a.doubtAt.IsZero(): // it may be on its way between two others, of which one has changed
		a.doubtAt = now
		return nil
	case now.Sub(a.doubtAt) < doubtMost:
		return nil
	}
	if generation == 0 || generation == a.refusedBy && now.Sub(a.refusedAt) < againAfter*time.Millisecond {
		return nil
	}
	cmd := *a.cmd
	switch err := a.e.x.PostTo(wire.Envelope{To: a.to, Mail: &cmd}, generation); {
	case err == nil:
		if a.tried {
			a.e.m.repeated.Inc()
		}
		a.generation, a.changes, a.tried, a.doubtAt = generation, changes, true, time.Time{}
	case errors.Is(err, exchange.ErrOverloaded) && !a.tried:
		a.e.m.overloaded.Inc()
		return overloaded()
	default:
		a.refused(generation, now)
	}
	return nil
}

// refused notes that whoever is of a generation has not taken it.
func (a *asked) refused(generation uint64, now time.Time) {
	a.generation, a.refusedBy, a.refusedAt = 0, generation, now
}

// await asks until there is an answer, or until it is too late for one.
func (a *asked) await(answer <-chan *wire.Frame) (*wire.Frame, *wire.Error) {
	begun := time.Now()
	late := time.NewTimer(a.e.cfg.Answer)
	defer late.Stop()
	tick := time.NewTicker(againAfter * time.Millisecond)
	defer tick.Stop()
	for {
		now, changed := time.Now(), *a.e.changed.Load()
		if err := a.post(now); err != nil {
			return nil, err
		}
		if a.generation == 0 && now.Sub(begun) > againMost {
			return nil, wire.Refuse(wire.Unavailable)
		}
		select {
		case f := <-answer:
			if f.Kind != wire.FrameMoved {
				return f, nil
			}
			a.refused(a.generation, now)
		case <-changed:
		case <-tick.C:
		case <-late.C:
			return nil, wire.Refuse(wire.Deadline)
		case <-a.e.stop:
			return nil, wire.Refuse(wire.Unavailable)
		}
	}
}
