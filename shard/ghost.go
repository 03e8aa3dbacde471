package shard

import (
	"errors"

	"switchboard/exchange"
	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// That a connection has ended is said once. It can be lost: the journal may refuse the turn in which it was heard, or the
// connection may have asked for something that came to its session by a longer way than its end. So a session that is read again
// while somebody is noted as present is looked at a moment later, and one that speaks to a connection which is not there hears of
// its end.

// ghostMS is how long after a session was read again those who are present are looked for: by then a connection whose end was
// heard before is unplugged.
const ghostMS = 1000

// suspect has h looked at when it may have missed that somebody went; those who are of other nodes go with their node.
func (s *Shard) suspect(h *hosted) {
	s.conns = h.state.Present(s.conns[:0])
	for _, conn := range s.conns {
		s.heed(conn.Node)
	}
	if len(s.conns) > 0 {
		h.doubted = true
		s.alarms.add(s.now+ghostMS, h.id)
	}
}

// exorcise ends what connections that are gone are to h.
func (s *Shard) exorcise(h *hosted) {
	if !h.doubted {
		return
	}
	h.doubted = false
	for _, conn := range h.state.Present(nil) {
		if !s.x.Plugged(conn) {
			session.Decide(h.state, &s.env, &wire.Command{Verb: wire.VerbGone, Conn: conn, Session: h.id}, &s.d)
		}
	}
}

// nowhere takes a connection that is not there for gone, as far as the session is concerned that spoke to it.
func (s *Shard) nowhere(e *wire.Envelope, err error) {
	f, ok := e.Mail.(*wire.Frame)
	if !ok || f.Session == "" || !errors.Is(err, exchange.ErrNowhere) || e.To.Node != s.x.Node() {
		return
	}
	switch f.Kind {
	case wire.FrameAttach, wire.FrameMessage, wire.FrameAssigned:
	default:
		return
	}
	_, slot, ok := f.Session.Place()
	if !ok {
		return
	}
	// Should there be no room, the next word to it does the same.
	_ = s.inbox.PutReserved(wire.Envelope{To: wire.ToSlot(slot), Term: s.term, Mail: &wire.Command{
		Verb: wire.VerbGone, Conn: wire.Conn{Node: e.To.Node, ID: e.To.ID}, Session: f.Session,
	}})
}

// refuseParked answers those whose commands wait for rows when everything is read again: nobody has decided them, and they hear of
// it at once.
func (s *Shard) refuseParked() {
	s.eachParked(func(c *wire.Command) { s.d.Refuse(c, wire.Unavailable) })
	s.held = append(s.held, outgoing{index: s.last, mail: append([]wire.Envelope(nil), s.d.Mail...)})
	s.d.Reset()
}

// deny answers those whose requests were decided in a turn that the log did not take: nothing has come of them, and they hear of it at once. Who
// leads no more says nothing: whoever leads next is asked again. The goodbye to a connection that follows no more stands, as it is not in the log.
func (s *Shard) deny(err error) {
	if errors.Is(err, journal.ErrNotLeading) {
		return
	}
	var mail []wire.Envelope
	for i := range s.d.Mail {
		switch m := s.d.Mail[i].Mail.(type) {
		case *wire.Frame:
			switch {
			case m.Kind == wire.FrameError, m.Kind == wire.FrameMoved, m.Kind == wire.FrameDetach:
				mail = append(mail, s.d.Mail[i])
			case m.ID != 0 && m.Verb != wire.VerbAccept: // that is the pool's, who says its grant again
				mail = append(mail, denied(s.d.Mail[i].To, m.ID, m.Session, m.Verb))
			}
		case *wire.Command: // which was to go on to another shard
			if m.ID != 0 {
				mail = append(mail, denied(m.Conn.Address(), m.ID, m.Session, m.Verb))
			}
		}
	}
	for i := range s.d.Load {
		if c := s.d.Load[i].Command; c != nil && c.ID != 0 {
			mail = append(mail, denied(c.Conn.Address(), c.ID, c.Session, c.Verb))
		}
	}
	if len(mail) > 0 {
		s.held = append(s.held, outgoing{index: s.last, mail: mail})
	}
}

func denied(to wire.Address, id uint64, session wire.SessionID, verb wire.Verb) wire.Envelope {
	return wire.Envelope{To: to, Mail: &wire.Frame{Kind: wire.FrameError, ID: id, Session: session, Verb: verb, Err: wire.Refuse(wire.Unavailable)}}
}

// eachParked calls do for every command that waits for rows.
func (s *Shard) eachParked(do func(*wire.Command)) {
	each := func(list []wire.Mail) {
		for _, m := range list {
			if c, ok := m.(*wire.Command); ok && c.Verb != wire.VerbGone {
				do(c)
			}
		}
	}
	for _, h := range s.sessions {
		each(h.parked)
		each(h.opens)
	}
	for _, cu := range s.customers {
		each(cu.parked)
	}
	for _, i := range s.identities {
		for _, c := range i.parked {
			do(c)
		}
	}
}
