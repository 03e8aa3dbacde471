package shard

import (
	"slices"

	"switchboard/session"
	"switchboard/wire"
)

// One customer becomes another [SW-3.4]: package session tells how, here is the mail. The loser's owner repeats what it waits for
// until it is answered, also after a restart: a row says of whom that is. When he has become the winner, one shop after the other
// is settled: his open session goes on as the winner's, or the younger of the two ends with session.merged; then identify is
// answered.

// mergeFirst is after how many ms a wish is said again that nobody has answered: whoever was first may be done by then.
const mergeFirst = 100

// waitersMost bounds how many requests wait for one customer to have become another.
const waitersMost = 16

// identify begins: who are the two customers by now? It begins with him whose token was given where he is of this shard, as then it is at the other when it is
// known that one of them is to become the other. goes are sessions that are known to go on.
func (s *Shard) identify(c *wire.Command, goes ...wire.SessionID) {
	c.Way = &wire.Way{}
	for _, id := range goes {
		c.Way.Open = append(c.Way.Open, string(id))
	}
	if !s.owns(s.x.CustomerSlot(c.Who.Tenant, c.Who.Sub)) {
		s.toCustomer(c, wire.StagePeer, c.Text)
		return
	}
	s.toCustomer(c, wire.StageIdentify, c.Who.Sub)
}

// identified is where cu, one of the two, is himself, and Root is who the other is: they are one by now, or the connection's customer is to become the one whose
// token was given.
func (s *Shard) identified(cu *customer, c *wire.Command) {
	w := c.Way
	was := w.Root // the connection's customer
	if w.Stage == wire.StageIdentify {
		was = cu.id.id
	}
	switch {
	case cu.id.id == w.Root:
		if len(w.Settled) > 0 && !s.settledAhead(cu, c) {
			return
		}
		if c.Who.Sub != cu.id.id {
			s.joined(cu)
		}
		known := w.Open
		w.Open = nil
		for _, l := range cu.state.Shops {
			if slices.Contains(known, string(l.Session)) {
				w.Open = append(w.Open, string(l.Session))
			} else {
				w.Todo = append(w.Todo, l.Session)
			}
		}
		s.tour(c)
	case was != c.Who.Sub:
		s.differs(c) // the connection's customer has become somebody else before
	default:
		if w.Stage == wire.StagePeer {
			s.expect(cu, c)
		}
		s.toCustomer(c, wire.StageMerge, c.Who.Sub)
	}
}

// expect lets cu, whose token was given, expect the connection's customer: c carries that to him when it is durable.
func (s *Shard) expect(cu *customer, c *wire.Command) {
	if cu.id.id == c.Who.Sub || !s.writable {
		return
	}
	changed, ok := cu.state.Expect()
	if changed {
		s.changedCustomer(cu)
	}
	if ok {
		c.Way.Owner = cu.id.id
	}
}

// joined notes that somebody has become cu, whose row does not say so when an earlier version has erased him meanwhile.
func (s *Shard) joined(cu *customer) {
	if s.writable && !cu.state.Linked && cu.state.Joined() {
		s.changedCustomer(cu)
	}
}

// merge lets cu, the connection's customer, become the one whose token was given.
func (s *Shard) merge(cu *customer, c *wire.Command) {
	if cu.state.Alias != "" {
		s.identify(c)
		return
	}
	if !s.writable {
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	if !s.waitMerged(cu, c) {
		return
	}
	if w := c.Way.Owner; w != "" && cu.state.Become(w) { // nobody can have become cu
		s.changedCustomer(cu)
		s.became(cu)
		return
	}
	changed, err := cu.state.Leave(c.Text, s.now)
	if err != nil {
		cu.waiters = cu.waiters[:len(cu.waiters)-1]
		s.d.Fail(c, err)
		return
	}
	if changed {
		s.log.Info("a customer becomes another", "tenant", cu.id.tenant, "customer", cu.id.id, "other", c.Text)
		s.changedCustomer(cu)
		cu.againAt = 0
		s.chase(cu)
	}
}

// waitMerged lets c wait until cu is somebody else, and reports whether there was room.
func (s *Shard) waitMerged(cu *customer, c *wire.Command) bool {
	if len(cu.waiters) >= waitersMost {
		s.refuseOverloaded(c)
		return false
	}
	cu.waiters = append(cu.waiters, c)
	return true
}

// chase says what cu waits for, and sees to it that it is said again.
func (s *Shard) chase(cu *customer) {
	st := cu.state
	if !st.Owes() {
		cu.againAt, cu.againIn = 0, 0
		return
	}
	if s.writable {
		if l, changed := st.Wish(); l != nil {
			if changed {
				s.changedCustomer(cu)
			}
			s.post1(s.x.CustomerSlot(l.Tenant, l.Winner), l)
		}
		if st.Erasure.Open() {
			s.goOn(cu)
		}
		if st.Alias != "" && st.Erasure.Stage != session.Erasing {
			for _, l := range slices.Clone(st.Shops) {
				s.unite(&wire.Unite{Tenant: st.Tenant, Loser: st.ID, Winner: st.Alias, Shop: l.Shop, Session: l.Session}, wire.UniteAsk)
			}
		}
	}
	cu.againIn = min(max(2*cu.againIn, mergeFirst), againMost)
	if cu.againAt == 0 {
		cu.againIn = mergeFirst
	}
	cu.againAt = s.now + cu.againIn
	s.alarms.addCustomer(cu.againAt, cu)
}

// wakeCustomer says again what nobody has answered.
func (s *Shard) wakeCustomer(cu *customer) {
	switch {
	case s.customers[cu.id] != cu:
	case cu.state == nil:
		if cu.owing && !cu.fetching { // reading it failed
			cu.fetching = true
			s.wish(job{kind: jobCustomer, customer: cu.id})
		}
	case cu.againAt != 0 && cu.againAt <= s.now:
		s.chase(cu)
	}
}

func (s *Shard) post1(to wire.Slot, m wire.Mail) {
	s.d.Mail = append(s.d.Mail, wire.Envelope{To: wire.ToSlot(to), Mail: m})
}

// askCustomer returns the customer when he is loaded; otherwise m waits.
func (s *Shard) askCustomer(tenant, id string, m wire.Mail) *customer {
	if !s.owns(s.x.CustomerSlot(tenant, id)) {
		return nil
	}
	cu := s.customer(tenant, id)
	if cu.state == nil {
		s.await(cu, m)
		return nil
	}
	return cu
}

// wished is somebody's wish to become the customer.
func (s *Shard) wished(l *wire.Link) {
	cu := s.askCustomer(l.Tenant, l.Winner, l)
	if cu == nil || !s.writable {
		return
	}
	taken, changed := cu.state.Take(l)
	if changed {
		s.changedCustomer(cu)
	}
	switch taken {
	case session.TakenOnward:
		on := *l
		if on.Winner, on.Hops = cu.state.Alias, on.Hops+1; on.Hops <= hopsMost {
			s.post1(s.x.CustomerSlot(on.Tenant, on.Winner), &on)
		}
	case session.TakenItself, session.TakenExpected:
		s.post1(s.x.CustomerSlot(l.Tenant, l.Loser), &wire.Linked{Tenant: l.Tenant, Loser: l.Loser, Winner: cu.id.id, Try: l.Try})
	case session.TakenLater:
	}
}

// linked is the winner's answer: with this record the customer is he.
func (s *Shard) linked(m *wire.Linked) {
	cu := s.askCustomer(m.Tenant, m.Loser, m)
	if cu == nil || !s.writable || !cu.state.Left(m) {
		return
	}
	s.changedCustomer(cu)
	s.became(cu)
}

// became goes on when cu is another, or has found out that the other is he: his shops are settled, and those who waited go on.
func (s *Shard) became(cu *customer) {
	if cu.state.Alias != "" {
		s.log.Info("a customer has become another", "tenant", cu.id.tenant, "customer", cu.id.id, "other", cu.state.Alias)
	}
	cu.againAt = 0
	s.chase(cu)
	if !cu.state.Becoming() || cu.state.Alias == "" {
		s.merged(cu)
		return
	}
	waiters := cu.waiters
	cu.waiters = nil
	for _, c := range waiters { // behind what settles the shops
		s.identify(c)
	}
}

// ahead sends c, which asks who cu is, on behind what settles his shops, if the sessions are here that he has: mostly they are settled where it arrives, and it
// need not wait until he knows that. He has become another.
func (s *Shard) ahead(cu *customer, c *wire.Command) bool {
	w := c.Way
	if w.Waits || cu.state.Leaving.To != "" || cu.state.Erasure.Stage == session.Erasing {
		return false
	}
	list := w.Settled // of who became cu, when c comes from there
	for _, l := range cu.state.Shops {
		if h := s.sessions[l.Session]; h == nil || h.state == nil || h.state.Phase == session.Closed {
			return false
		}
		list = append(list, string(l.Session))
	}
	w.Settled = list
	return true
}

// settledAhead tells whether the sessions of who has just become cu are cu's by now. Otherwise c waits where it comes from until they are settled.
func (s *Shard) settledAhead(cu *customer, c *wire.Command) bool {
	w := c.Way
	for _, id := range w.Settled {
		if !slices.ContainsFunc(cu.state.Shops, func(l session.Latest) bool { return string(l.Session) == id }) {
			c.Way = &wire.Way{Waits: true}
			s.toCustomer(c, wire.StageIdentify, c.Who.Sub)
			return false
		}
		w.Open = append(w.Open, id)
	}
	w.Settled = nil
	return true
}

// merged lets those who waited go on when they need not wait any more: that files may have something of who was erased before is not their business.
func (s *Shard) merged(cu *customer) {
	if cu.state.Becoming() || cu.state.Erasure.Stage == session.Erasing {
		return
	}
	if !cu.state.Owes() {
		cu.againAt, cu.againIn = 0, 0
	}
	waiters, goes := cu.waiters, cu.goes
	cu.waiters, cu.goes = nil, nil
	for _, c := range waiters {
		s.identify(c, goes...)
	}
}

// unite sends u to where step is.
func (s *Shard) unite(u *wire.Unite, step wire.UniteStep) {
	on := *u
	on.Step = step
	if on.Hops++; on.Hops > hopsMost {
		return
	}
	to := s.x.CustomerSlot(on.Tenant, on.Winner)
	at := on.Session
	switch step {
	case wire.UniteWinner:
		s.near(to, &on)
		return
	case wire.UniteOther:
		at = on.Other
	default:
	}
	if _, slot, ok := at.Place(); ok {
		s.near(slot, &on)
	}
}

// uniting is one step of settling a shop.
func (s *Shard) uniting(u *wire.Unite) {
	if u.Step == wire.UniteWinner {
		if cu := s.askCustomer(u.Tenant, u.Winner, u); cu != nil && s.writable {
			s.uniteWinner(cu, u)
		}
		return
	}
	id := u.Session
	if u.Step == wire.UniteOther {
		id = u.Other
	}
	if _, slot, ok := id.Place(); !ok || !s.owns(slot) || !s.writable {
		return
	}
	h := s.host(id)
	if h.state == nil {
		s.wait(h, u)
		return
	}
	if h.state.Tenant != u.Tenant || !s.surround(h) {
		return
	}
	open := h.state.Phase != session.Closed
	switch u.Step {
	case wire.UniteAsk:
		if !open {
			s.united(u, "")
			return
		}
		u.OpenedAt = h.state.OpenedAt
		s.unite(u, wire.UniteWinner)
		return
	case wire.UniteOther:
		if open && h.state.Before(u.OpenedAt, u.Session) {
			s.unite(u, wire.UniteEnd)
			return
		}
		s.before(h)
		h.state.Merge(&s.env, u.Session, &s.d)
		u.Tried = u.Other
		s.unite(u, wire.UniteWinner)
	case wire.UniteKeep:
		s.before(h)
		h.state.Adopt(&s.env, u.Winner, &s.d)
		if !open {
			s.united(u, "")
			break
		}
		s.united(u, u.Session)
	case wire.UniteEnd:
		s.before(h)
		h.state.Merge(&s.env, u.Other, &s.d)
		s.united(u, u.Other)
	}
	s.note(h)
}

// uniteWinner is where the winner is himself: the session is his latest, unless he has another that may be open.
func (s *Shard) uniteWinner(cu *customer, u *wire.Unite) {
	if cu.state.Alias != "" {
		u.Winner = cu.state.Alias
		s.unite(u, wire.UniteWinner)
		return
	}
	if cu.state.Erasure.Stage == session.Erasing {
		return // it is said again: then he is somebody new
	}
	s.joined(cu)
	id := cu.state.Latest(u.Shop)
	if id != "" && id != u.Session && !cu.closed(id, u.Tried, u.Turn) {
		u.Other, u.Turn = id, cu.turn
		s.unite(u, wire.UniteOther)
		return
	}
	if id != u.Session {
		if cu.state.SetLatest(u.Shop, u.Session) {
			s.changedCustomer(cu)
		} else { // it goes on all the same
			s.log.Warn("a customer has more shops than are remembered", "tenant", cu.id.tenant, "customer", cu.id.id)
		}
		s.turned(cu)
	}
	s.unite(u, wire.UniteKeep)
}

// united tells the loser that the session is settled, and which goes on, if any.
func (s *Shard) united(u *wire.Unite, goes wire.SessionID) {
	s.near(s.x.CustomerSlot(u.Tenant, u.Loser), &wire.United{Tenant: u.Tenant, Loser: u.Loser, Shop: u.Shop, Session: u.Session, Goes: goes})
}

// settled is the end of it, at the loser.
func (s *Shard) settled(m *wire.United) {
	cu := s.askCustomer(m.Tenant, m.Loser, m)
	if cu == nil || !s.writable || !cu.state.Settled(m.Shop, m.Session) {
		return
	}
	s.changedCustomer(cu)
	if m.Goes != "" {
		cu.goes = append(cu.goes, m.Goes)
	}
	s.merged(cu)
}
