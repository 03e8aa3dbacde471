package shard

import (
	"github.com/cespare/xxhash/v2"

	"switchboard/exchange"
	"switchboard/session"
	"switchboard/wire"
)

type customerID struct{ tenant, id string }

// customer is one customer's place in the shard's memory.
type customer struct {
	id       customerID
	state    *session.Customer // nil until it is loaded
	parked   []*wire.Command
	fetching bool
	dirty    bool
	used     int64
}

func (s *Shard) customer(tenant, id string) *customer {
	k := customerID{tenant, id}
	c := s.customers[k]
	if c == nil {
		c = &customer{id: k}
		s.customers[k] = c
	}
	c.used = s.now
	return c
}

// await parks cmd until cu is loaded.
func (s *Shard) await(cu *customer, cmd *wire.Command) {
	if len(cu.parked) >= s.cfg.Parked {
		s.refuseOverloaded(cmd)
		return
	}
	cu.parked = append(cu.parked, cmd)
	if cu.fetching {
		return
	}
	cu.fetching = true
	s.wish(job{kind: jobCustomer, customer: cu.id})
}

// open gets or creates the customer's session of a shop [SW-4.1]. All his opens meet here, so racing ones yield one
// session.
func (s *Shard) open(c *wire.Command) {
	if c.Who.Role != wire.RoleCustomer {
		s.d.Fail(c, &wire.Error{Slug: wire.BadRequest, Message: "open needs a session"})
		return
	}
	t := s.cfg.Tenants[c.Who.Tenant]
	if t == nil {
		s.d.Refuse(c, wire.Forbidden)
		return
	}
	cu := s.customer(c.Who.Tenant, c.Who.Sub)
	if cu.state == nil {
		s.await(cu, c)
		return
	}
	if cu.state.Alias != "" {
		s.forward(cu.state.Alias, c)
		return
	}
	shop := c.Who.Shop
	if shop == "" {
		shop = c.PB.GetOpen().GetShop()
	}
	if id := cu.state.Latest(shop); id != "" {
		h := s.host(id)
		if h.state == nil {
			s.wait(h, c)
			return
		}
		if h.state.Phase != session.Closed || h.state.Repeats(c) {
			s.decide(h, c)
			return
		}
	}
	s.create(cu, t, shop, c)
}

// wait lets c wait for h's rows; it is decided from its beginning then.
func (s *Shard) wait(h *hosted, c *wire.Command) {
	if len(h.opens) >= s.cfg.Parked {
		s.refuseOverloaded(c)
		return
	}
	h.opens = append(h.opens, c)
	s.fetch(h)
}

// forward sends an open on to the customer that this one was linked with.
func (s *Shard) forward(alias string, c *wire.Command) {
	who := *c.Who
	who.Sub = alias
	on := *c
	on.Who = &who
	s.d.Mail = append(s.d.Mail, wire.Envelope{To: wire.ToSlot(exchange.CustomerSlot(who.Tenant, alias)), Mail: &on})
}

// create begins a session on the customer's slot.
func (s *Shard) create(cu *customer, t *Tenant, shop string, c *wire.Command) {
	o := c.PB.GetOpen()
	queue, channel := o.GetQueue(), o.GetChannel()
	if queue == "" {
		queue = t.Session.DefaultQueue
	}
	if channel == "" {
		channel = "web"
	}
	switch {
	case !t.Session.Queues[queue]:
		s.d.Refuse(c, wire.NoQueue)
		return
	case !s.writable:
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	slot := exchange.CustomerSlot(cu.id.tenant, cu.id.id)
	var id wire.SessionID
	for id == "" || s.sessions[id] != nil {
		cu.state.Born++
		id = wire.NewSessionID(0, slot, birthNumber(cu.state, shop))
	}
	if !cu.state.SetLatest(shop, id) {
		s.d.Refuse(c, wire.QuotaExceeded)
		return
	}
	s.changedCustomer(cu)
	h := s.host(id)
	s.env = session.Env{Now: s.now, Policy: &t.Session, Pool: wire.ToSlot(exchange.PoolSlot(cu.id.tenant))}
	s.stats.loaded.Add(1)
	h.state = session.Create(&s.env, &session.Birth{
		ID: id, Tenant: cu.id.tenant, Shop: shop, Queue: queue, Channel: channel, Tier: c.Who.Tier,
		Customer: wire.Author{Role: wire.RoleCustomer, ID: cu.id.id, Name: c.Who.Name}, Attributes: o.GetAttributes(), Epoch: s.epoch(),
	}, &s.d)
	s.note(h)
	s.decide(h, c)
}

// birthNumber makes the number in a session's id. Sixty bits of a hash over what no two births share: two ids of one slot
// meet once in some 10^12 slots with a million sessions each.
func birthNumber(c *session.Customer, shop string) uint64 {
	var d xxhash.Digest
	d.Reset()
	for _, part := range [...]string{c.Tenant, c.ID, shop} {
		_, _ = d.WriteString(part)
		_, _ = d.Write([]byte{0})
	}
	var n [8]byte
	for i := range n {
		n[i] = byte(c.Born >> (8 * i))
	}
	_, _ = d.Write(n[:])
	return d.Sum64()
}

func (s *Shard) changedCustomer(cu *customer) {
	if !cu.dirty {
		cu.dirty = true
		s.changed = append(s.changed, cu)
	}
}

// mayReopen looks up whether the customer has another open session of the shop [SW-4.6], and notes it in env. It
// reports false when c waits for rows; it is decided again then.
func (s *Shard) mayReopen(h *hosted, c *wire.Command) bool {
	cu := s.customer(h.state.Tenant, h.state.Customer.ID)
	if cu.state == nil {
		s.await(cu, c)
		return false
	}
	id := cu.state.Latest(h.state.Shop)
	if id == "" || id == h.id {
		return true
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

// reopened makes st the session that an open finds.
func (s *Shard) reopened(st *session.State) {
	cu := s.customer(st.Tenant, st.Customer.ID)
	if cu.state != nil && cu.state.Latest(st.Shop) != st.ID && cu.state.SetLatest(st.Shop, st.ID) {
		s.changedCustomer(cu)
	}
}
