package shard

import (
	"switchboard/session"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Some commands need to know more than one owner does: who an external id is, whom a customer has become, whether his session of
// another slot is open. They go from owner to owner as mail, each adds what it knows to the command's Way, and nobody waits for
// them. Like all mail they are lost at most once; then their client hears nothing, and asks again.

// hopsMost bounds how far a command goes. Chains of customers have an end long before it.
const hopsMost = 64

// begun returns c with a Way: c itself when it has one, else a copy. Who posted a hot command may have kept it, to post it again, so nothing
// is ever written into one.
func begun(c *wire.Command) *wire.Command {
	if c.Way != nil {
		return c
	}
	copied := *c
	copied.Way = &wire.Way{}
	return &copied
}

// errand takes a command on its next step.
func (s *Shard) errand(c *wire.Command) {
	w := c.Way
	switch w.Stage {
	case wire.StageSession:
		s.toSession(c.Session, c)
		return
	case wire.StageExplain:
		s.explained(c)
		return
	case wire.StageFind, wire.StageLook, wire.StageTour:
		s.visit(c)
		return
	case wire.StageClaim:
		if w.At == "" {
			s.external(c)
			return
		}
	default:
	}
	if !s.owns(s.x.CustomerSlot(c.Who.Tenant, w.At)) {
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	cu := s.customer(c.Who.Tenant, w.At)
	if cu.state == nil {
		s.await(cu, c)
		return
	}
	if w.Stage != wire.StageMerge && w.Stage != wire.StageClaim && cu.state.Alias != "" {
		if w.Stage == wire.StageIdentify && (cu.state.Becoming() || cu.state.Erasure.Stage == session.Erasing) { // he is not quite the other yet
			if !s.ahead(cu, c) {
				s.waitMerged(cu, c)
				return
			}
		}
		s.toCustomer(c, w.Stage, cu.state.Alias)
		return
	}
	s.atCustomer(cu, c)
}

// atCustomer is the part of an errand for which a customer is asked. He is himself.
func (s *Shard) atCustomer(cu *customer, c *wire.Command) {
	w := c.Way
	if err := cu.state.Doomed(); err != nil && w.Stage != wire.StageErase {
		if w.Stage == wire.StageLink {
			s.claimedLate(cu)
		}
		s.d.Fail(c, err)
		return
	}
	switch w.Stage {
	case wire.StageErase:
		s.erase(cu, c)
	case wire.StageBearer:
		w.Root = cu.id.id
		s.onward(c)
	case wire.StageOwner:
		if cu.id.id != w.Root {
			s.differs(c)
			return
		}
		w.Proved = true
		s.toItsSession(c)
	case wire.StageOpen:
		s.seat(cu, c)
	case wire.StageReopen:
		s.permit(cu, c)
	case wire.StageIdentify:
		if w.Root != "" { // who the other is by now
			s.identified(cu, c)
			return
		}
		w.Root = cu.id.id
		s.toCustomer(c, wire.StagePeer, c.Text)
	case wire.StagePeer:
		if w.Root == "" { // it has begun here
			w.Root = cu.id.id
			s.expect(cu, c)
			s.toCustomer(c, wire.StageIdentify, c.Who.Sub)
			return
		}
		s.identified(cu, c)
	case wire.StageMerge:
		s.merge(cu, c)
	case wire.StageLink:
		w.Root = cu.id.id
		s.toCustomer(c, wire.StageTaken, w.Owner)
	case wire.StageClaim:
		s.toIdentity(c)
	case wire.StageTaken:
		s.link(cu, c)
	case wire.StageStill:
		s.still(cu, c)
	case wire.StageList:
		s.answerIdentities(cu, c, false)
	default:
	}
}

// differs has found another than Root where c is. That may be because Root is himself no more: two are different when both were
// themselves at one time, and nobody is himself again.
func (s *Shard) differs(c *wire.Command) {
	c.Way.Then, c.Way.Found = c.Way.Stage, c.Way.At
	s.toCustomer(c, wire.StageStill, c.Way.Root)
}

// still is the answer to differs.
func (s *Shard) still(cu *customer, c *wire.Command) {
	w := c.Way
	if cu.id.id != w.Root {
		w.Root = cu.id.id
		s.toCustomer(c, w.Then, w.Found)
		return
	}
	switch w.Then {
	case wire.StagePeer, wire.StageIdentify:
		s.d.Refuse(c, wire.IdentityTaken)
	case wire.StageTaken:
		s.auditCustomer(c, "identity refused", w.Root)
		s.d.Fail(c, &wire.Error{Slug: wire.IdentityTaken, Detail: append(wire.AppendString([]byte(`{"customer":`), w.Found), '}')})
	default:
		s.d.Refuse(c, wire.NoSession) // [SW-4.5] as one that does not exist
	}
}

// onward takes a command whose bearer is known to the session, or to him whose session it is when that is known by now.
func (s *Shard) onward(c *wire.Command) {
	if c.Way.Owner != "" {
		s.toCustomer(c, wire.StageOwner, c.Way.Owner)
		return
	}
	s.toItsSession(c)
}

// toCustomer sends c to a customer.
func (s *Shard) toCustomer(c *wire.Command, stage wire.Stage, id string) {
	c.Way.Stage, c.Way.At = stage, id
	s.further(c, s.x.CustomerSlot(c.Who.Tenant, id))
}

// toItsSession sends c to the session that it is about.
func (s *Shard) toItsSession(c *wire.Command) {
	c.Way.Stage = wire.StageSession
	s.toVisit(c, c.Session)
}

// toVisit sends c to a session.
func (s *Shard) toVisit(c *wire.Command, id wire.SessionID) {
	_, slot, ok := id.Place()
	if !ok {
		s.d.Refuse(c, wire.NoSession)
		return
	}
	s.further(c, slot)
}

func (s *Shard) further(c *wire.Command, to wire.Slot) {
	if c.Way.Hops++; c.Way.Hops > hopsMost {
		s.log.Error("a command found no end of its way", "verb", string(c.Verb), "tenant", c.Who.Tenant, "stage", c.Way.Stage)
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	if c.Verb == wire.VerbIdentify {
		s.near(to, c)
		return
	}
	s.d.Mail = append(s.d.Mail, wire.Envelope{To: wire.ToSlot(to), Mail: c})
}

// visit is the part of an errand for which a session is asked that the command is not about.
func (s *Shard) visit(c *wire.Command) {
	w := c.Way
	if _, slot, ok := w.Visit.Place(); !ok || !s.owns(slot) {
		s.d.Refuse(c, wire.NoSession)
		return
	}
	h := s.host(w.Visit)
	if h.state == nil {
		s.wait(h, c)
		return
	}
	open := h.state.Phase != session.Closed
	switch w.Stage {
	case wire.StageFind:
		if open || h.state.Repeats(c) {
			w.Proved = true // he whose latest session it is has sent it here
			s.decide(h, c)
			return
		}
		w.Tried = w.Visit
		s.toCustomer(c, wire.StageOpen, w.At)
	case wire.StageLook:
		if open {
			w.Current = w.Visit
			s.toItsSession(c)
			return
		}
		w.Tried = w.Visit
		s.toCustomer(c, wire.StageReopen, w.At)
	default: // a tour
		if open {
			w.Open = append(w.Open, string(w.Visit))
		}
		s.tour(c)
	}
}

// stranger looks whether the bearer of c, a customer or a service, is not the customer of h as far as h knows. He may have become
// him, or the other way round [SW-3.4]: then c goes on an errand, and comes back when that is proved. Nobody else does, so that
// those who try hear as soon that there is no such session.
func (s *Shard) stranger(h *hosted, c *wire.Command) bool {
	if c.Verb == wire.VerbGone || c.Who == nil || c.Who.Tenant != h.state.Tenant || c.Who.Role != wire.RoleCustomer && c.Who.Role != wire.RoleService {
		return false
	}
	if h.state.Holds(c) || c.Who.Role == wire.RoleService && c.Way == nil {
		return false
	}
	if h.state.ErasedAt != 0 {
		s.d.Refuse(c, wire.NoSession)
		return true
	}
	owner := s.customer(h.state.Tenant, h.state.Customer.ID) // of the same slot as his session
	if owner.state == nil {
		s.await(owner, c)
		return true
	}
	if owner.state.Alias == "" && !owner.state.Linked {
		s.d.Refuse(c, wire.NoSession)
		return true
	}
	c = begun(c)
	c.Way.Owner = owner.id.id
	if c.Way.Root != "" {
		s.toCustomer(c, wire.StageOwner, owner.id.id)
	} else {
		s.toCustomer(c, wire.StageBearer, c.Who.Sub)
	}
	return true
}

// seat gets or creates the session of a customer who is himself [SW-4.1]. All his opens meet here, so racing ones yield one
// session. His latest may be of another slot, when it was that of somebody who became him: then the open goes there, and comes
// back when it is closed.
func (s *Shard) seat(cu *customer, c *wire.Command) {
	w := c.Way
	t := s.merchants[c.Who.Tenant]
	if t == nil {
		s.strange(c)
		return
	}
	if c.For != nil && c.Who.Role == wire.RoleService && s.writable {
		if changed, _ := cu.state.Know(c.For.Channel, c.For.ID); changed { // one beyond the list is his all the same
			s.changedCustomer(cu)
		}
	}
	shop := shopOf(c)
	if id := cu.state.Latest(shop); id != "" && !cu.closed(id, w.Tried, w.Turn) {
		_, slot, _ := id.Place()
		if !s.owns(slot) {
			w.Stage, w.Visit, w.Turn = wire.StageFind, id, cu.turn
			s.toVisit(c, id)
			return
		}
		h := s.host(id)
		if h.state == nil {
			s.wait(h, c)
			return
		}
		if h.state.Phase != session.Closed || h.state.Repeats(c) {
			w.Proved = true
			s.decide(h, c)
			return
		}
	}
	s.create(cu, t, shop, c)
}

// closed tells whether id, the customer's latest session, was found closed since his last turn.
func (cu *customer) closed(id, tried wire.SessionID, turn uint64) bool {
	return id == tried && turn == cu.turn
}

// turned notes that one of the customer's sessions begins, or begins again: what was found closed before may be open.
func (s *Shard) turned(cu *customer) {
	s.turns++
	cu.turn = s.turns
}

func shopOf(c *wire.Command) string {
	if c.Who.Shop != "" {
		return c.Who.Shop
	}
	return c.PB.GetOpen().GetShop()
}

// permit says whether a closed session may be opened again: while its customer, who is himself, has no other open one of the
// shop [SW-4.6].
func (s *Shard) permit(cu *customer, c *wire.Command) {
	w := c.Way
	id := cu.state.Latest(w.Shop)
	if id != "" && id != c.Session && !cu.closed(id, w.Tried, w.Turn) {
		w.Stage, w.Visit, w.Turn = wire.StageLook, id, cu.turn
		s.toVisit(c, id)
		return
	}
	if !s.writable {
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	if id != c.Session {
		if !cu.state.SetLatest(w.Shop, c.Session) {
			s.d.Refuse(c, wire.QuotaExceeded)
			return
		}
		s.changedCustomer(cu)
	}
	s.turned(cu)
	w.Granted = true
	s.toItsSession(c)
}

// tour takes c to the next of the sessions that are to be looked at, and answers identify behind the last [SW-3.4].
func (s *Shard) tour(c *wire.Command) {
	w := c.Way
	if len(w.Todo) > 0 {
		w.Stage, w.Visit, w.Todo, w.Hops = wire.StageTour, w.Todo[0], w.Todo[1:], 0
		s.toVisit(c, w.Visit)
		return
	}
	s.d.Answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Identify{Identify: &wirepb.IdentifyReply{Customer: w.Root, Sessions: w.Open}}})
}
