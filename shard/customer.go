package shard

import (
	"crypto/rand"
	"encoding/binary"

	"switchboard/session"
	"switchboard/wire"
)

type customerID struct{ tenant, id string }

// customer is one customer's place in the shard's memory.
type customer struct {
	id       customerID
	state    *session.Customer // nil until it is loaded
	parked   []wire.Mail
	fetching bool
	dirty    bool
	used     int64
	turn     uint64 // grows whenever one of his sessions begins, or begins again
	// Of one who becomes another.
	owing            bool // a row says so
	was              bool // and before the latest turn that changed him
	waiters          []*wire.Command
	goes             []wire.SessionID // of those that were settled since he is another; no more than there were shops
	againAt, againIn int64
	// Of one who is being erased; nil before his owner has begun.
	erasing *erasing
}

func (s *Shard) customer(tenant, id string) *customer {
	k := customerID{tenant, id}
	c := s.customers[k]
	if c == nil {
		c = &customer{id: k}
		s.turned(c)
		s.customers[k] = c
	}
	c.used = s.now
	return c
}

// await parks m until cu is loaded. Mail that is no command is said again when there is no room.
func (s *Shard) await(cu *customer, m wire.Mail) {
	if len(cu.parked) >= s.cfg.Parked {
		if c, ok := m.(*wire.Command); ok {
			s.refuseOverloaded(c)
		}
		return
	}
	cu.parked = append(cu.parked, m)
	if cu.fetching {
		return
	}
	cu.fetching = true
	s.wish(job{kind: jobCustomer, customer: cu.id})
}

// open gets or creates the bearer's session of a shop [SW-4.1].
func (s *Shard) open(c *wire.Command) {
	if c.Who.Role != wire.RoleCustomer {
		s.d.Fail(c, &wire.Error{Slug: wire.BadRequest, Message: "open needs a session"})
		return
	}
	c.Way = &wire.Way{Stage: wire.StageOpen, At: c.Who.Sub}
	s.errand(c)
}

// wait lets m wait for h's rows; it is taken from its beginning then.
func (s *Shard) wait(h *hosted, m wire.Mail) {
	if len(h.opens) >= s.cfg.Parked {
		if c, ok := m.(*wire.Command); ok {
			s.refuseOverloaded(c)
		}
		return
	}
	h.opens = append(h.opens, m)
	s.fetch(h)
}

// create begins a session on the slot of a customer who is himself.
func (s *Shard) create(cu *customer, t *merchant, shop string, c *wire.Command) {
	o := c.PB.GetOpen()
	queue, channel, name := o.GetQueue(), o.GetChannel(), c.Who.Name
	if c.Who.Role == wire.RoleService { // [SW-5a.6]
		channel, name = c.For.Channel, c.For.Name
	}
	if queue == "" {
		queue = t.Session.DefaultQueue
	}
	if channel == "" {
		channel = "web"
	}
	to, ok := t.Session.Queue(queue)
	switch {
	case !ok:
		s.d.Refuse(c, wire.NoQueue)
		return
	case !s.writable:
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	slot := s.x.CustomerSlot(cu.id.tenant, cu.id.id)
	var id wire.SessionID
	for id == "" || s.sessions[id] != nil {
		cu.state.Born++
		id = wire.NewSessionID(slot.Group(), slot, birthNumber())
	}
	if !cu.state.SetLatest(shop, id) {
		s.d.Refuse(c, wire.QuotaExceeded)
		return
	}
	s.changedCustomer(cu)
	s.turned(cu)
	c.Way.Proved = true
	h := s.host(id)
	s.env = session.Env{Now: s.now, Policy: &t.Session, Pool: wire.ToSlot(s.x.PoolSlot(cu.id.tenant))}
	s.stats.loaded.Add(1)
	h.state = session.Create(&s.env, &session.Birth{
		ID: id, At: s.now, Tenant: cu.id.tenant, Shop: shop, Queue: to, Channel: channel, Tier: c.Who.Tier,
		Customer: wire.Author{Role: wire.RoleCustomer, ID: cu.id.id, Name: name}, Attributes: o.GetAttributes(), Epoch: s.epoch(),
	}, &s.d)
	s.note(h)
	s.decide(h, c)
}

// birthNumber draws the number in a session's id. It is chance, and nothing of what a customer is called or says goes into it: whoever could compute it
// could choose a shop whose name leads to a session that there is already, and would have begun his own in its place. Of sixty bits that are left of it two are the same
// once in some 10^12 slots with a million sessions each.
func birthNumber() uint64 {
	var n [8]byte
	_, _ = rand.Read(n[:]) // never fails: it ends the process when the system has no randomness
	return binary.LittleEndian.Uint64(n[:])
}

func (s *Shard) changedCustomer(cu *customer) {
	if !cu.dirty {
		cu.dirty = true
		s.changed = append(s.changed, cu)
	}
}

// mayReopen looks up whether the customer has another open session of the shop [SW-4.6], and notes it in env. It
// reports false when c waits for rows, or goes to ask; it is decided again then.
func (s *Shard) mayReopen(h *hosted, c *wire.Command) bool {
	if w := c.Way; w != nil && (w.Granted || w.Current != "") {
		s.env.Current = w.Current
		return true
	}
	cu := s.customer(h.state.Tenant, h.state.Customer.ID)
	if cu.state == nil {
		s.await(cu, c)
		return false
	}
	id := cu.state.Latest(h.state.Shop)
	if cu.state.Alias == "" && (id == "" || id == h.id) {
		return true
	}
	if _, slot, _ := id.Place(); cu.state.Alias != "" || !s.owns(slot) {
		c = begun(c)
		c.Way.Shop = h.state.Shop
		s.toCustomer(c, wire.StageReopen, cu.id.id)
		return false
	}
	other := s.host(id)
	if other.state == nil {
		s.wait(other, c)
		return false
	}
	if other.state.Phase != session.Closed {
		s.env.Current = id
	}
	return true
}

// reopened makes st the session that an open finds. Of one who has become another that is done by him.
func (s *Shard) reopened(st *session.State) {
	cu := s.customer(st.Tenant, st.Customer.ID)
	s.turned(cu)
	if cu.state != nil && cu.state.Alias == "" && cu.state.Latest(st.Shop) != st.ID && cu.state.SetLatest(st.Shop, st.ID) {
		s.changedCustomer(cu)
	}
}
