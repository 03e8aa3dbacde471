package shard

import (
	"crypto/rand"
	"errors"

	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

type identityID struct{ tenant, channel, external string }

// identity is one external id's place in the shard's memory.
type identity struct {
	id       identityID
	state    *session.Identity // nil until it is loaded
	parked   []*wire.Command
	fetching bool
	dirty    bool
	gone     bool // it was taken out of the log while it was being read
	used     int64
}

// external is where a command begins that names a customer by an external id [SW-5a.6]: who is that?
func (s *Shard) external(c *wire.Command) {
	k := identityID{c.Who.Tenant, c.For.Channel, c.For.ID}
	switch {
	case !s.owns(s.x.IdentitySlot(k.tenant, k.channel, k.external)):
		s.d.Refuse(c, wire.Unavailable)
		return
	case s.merchants[k.tenant] == nil:
		s.strange(c)
		return
	}
	i := s.identities[k]
	if i == nil {
		i = &identity{id: k}
		s.identities[k] = i
	}
	i.used = s.now
	if i.state == nil {
		s.awaitIdentity(i, c)
		return
	}
	opens := c.Verb == wire.VerbOpen && c.Session == ""
	if i.state.Customer == "" {
		if !opens && c.Verb != wire.VerbLink {
			delete(s.identities, k) // whoever asks for any number of them fills no memory
			s.d.Refuse(c, wire.NoSession)
			return
		}
		if !s.writable {
			s.d.Refuse(c, wire.Unavailable)
			return
		}
		newcomer := c.Text
		switch {
		case c.Verb != wire.VerbLink:
			newcomer = newcomerName()
		case s.keptOff(c):
			return
		}
		i.state.Claim(newcomer)
		if !i.dirty {
			i.dirty = true
			s.claimed = append(s.claimed, i)
		}
	}
	before := c.Way
	c.Way = &wire.Way{}
	switch {
	case c.Verb == wire.VerbLink:
		if before != nil {
			c.Way.Mark, c.Way.Hops = before.Mark, before.Hops
		}
		c.Way.Owner = i.state.Customer
		s.toCustomer(c, wire.StageLink, c.Text)
	case opens:
		s.toCustomer(c, wire.StageOpen, i.state.Customer)
	default:
		s.toCustomer(c, wire.StageBearer, i.state.Customer)
	}
}

// newcomerName names the customer that an external id is when nobody has said otherwise. It is chance, and the id's row keeps it: whoever sees the name
// learns nothing of the id, which may be somebody's telephone number, and there are few of those.
func newcomerName() string {
	var b [session.NewcomerBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	return session.Newcomer(b)
}

// awaitIdentity parks c until i is loaded.
func (s *Shard) awaitIdentity(i *identity, c *wire.Command) {
	if len(i.parked) >= s.cfg.Parked {
		s.refuseOverloaded(c)
		return
	}
	i.parked = append(i.parked, c)
	if !i.fetching {
		i.fetching = true
		s.wish(job{kind: jobIdentity, identity: i.id})
	}
}

func (s *Shard) readIdentity(j job) result {
	r := result{job: j, ident: &session.Identity{Tenant: j.identity.tenant, Channel: j.identity.channel, External: j.identity.external}}
	row, err := s.g.Get(identityKey(nil, j.identity), nil)
	switch {
	case errors.Is(err, journal.ErrNotFound):
	case err != nil:
		r.err = err
	default:
		r.err = session.ParseIdentity(row, r.ident)
	}
	return r
}

func (s *Shard) identityLoaded(r *result) {
	i := s.identities[r.identity]
	if i == nil || !i.fetching {
		return
	}
	i.fetching = false
	parked := i.parked
	i.parked = nil
	if r.err != nil {
		for _, c := range parked {
			s.d.Refuse(c, slugOf(r.err))
		}
		delete(s.identities, r.identity)
		return
	}
	i.state = r.ident
	if i.gone {
		i.gone, i.state.Customer = false, ""
	}
	for _, c := range parked {
		if s.identities[r.identity] == nil { // forgotten by the one before
			s.identities[r.identity] = i
		}
		s.command(c)
	}
}

// know notes that the external id of c is the customer's, who is himself.
func (s *Shard) know(cu *customer, c *wire.Command) bool {
	changed, ok := cu.state.Know(c.For.Channel, c.For.ID)
	switch {
	case !ok:
		s.d.Fail(c, &wire.Error{Slug: wire.QuotaExceeded, Message: "the customer has as many identities as he may"})
		return false
	case changed && !s.writable:
		s.d.Refuse(c, wire.Unavailable)
		return false
	case changed:
		s.changedCustomer(cu)
	}
	return true
}

// link makes an external id the customer's, who is himself, when it is nobody else's [SW-7].
func (s *Shard) link(cu *customer, c *wire.Command) {
	if cu.id.id != c.Way.Root {
		s.differs(c)
		return
	}
	if m := cu.state.Erasure.Mark; c.Way.Mark != m { // what was claimed before that has gone with him who was here then
		c.Way.Mark = m
		s.toIdentity(c)
		return
	}
	n := len(cu.state.Identities)
	if !s.know(cu, c) {
		return
	}
	s.auditCustomer(c, "identity linked", cu.id.id)
	s.answerIdentities(cu, c, len(cu.state.Identities) == n)
}

// auditCustomer notes who said what about a customer. The external id is not noted: it may be an address.
func (s *Shard) auditCustomer(c *wire.Command, what, customer string) {
	s.log.Info(what, "tenant", c.Who.Tenant, "customer", customer, "channel", c.For.Channel, "by", c.Who.Sub, "role", string(c.Who.Role))
}

// answerIdentities answers with all external ids of the customer, who is himself [SW-7].
func (s *Shard) answerIdentities(cu *customer, c *wire.Command, duplicate bool) {
	pb := &wirepb.Identities{Customer: cu.id.id, Duplicate: duplicate}
	for i := range cu.state.Identities {
		pb.Identities = append(pb.Identities, cu.state.Identities[i].PB())
	}
	s.d.Answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Identities{Identities: pb}})
}
