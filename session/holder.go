package session

import "switchboard/wire"

// Who a session belongs to: the customer who opened it, whom he became since [SW-3.4], and the services that speak for him
// [SW-5a.6].

// frontend tells whether role speaks for a customer.
func frontend(role wire.Role) bool { return role == wire.RoleCustomer || role == wire.RoleService }

// Holds tells whether the bearer of c, a customer or a service, is the customer of s, as far as s and c know [SW-4.5]. The shard
// finds out what they do not know, and notes it in c's way.
func (s *State) Holds(c *wire.Command) bool {
	if c.Way != nil && (c.Way.Proved || c.Way.Root != "" && s.calls(c.Way.Root)) {
		return true
	}
	if c.Who.Role == wire.RoleCustomer {
		return s.calls(c.Who.Sub)
	}
	switch c.Verb {
	case wire.VerbPage, wire.VerbLeave: // what a service follows it may read on, and leave
		return s.follows(c)
	default:
		return false
	}
}

// calls tells whether id is the customer of s.
func (s *State) calls(id string) bool { return id == s.Customer.ID || id == s.Holder && id != "" }

func (s *State) follows(c *wire.Command) bool {
	for i := range s.Attached {
		if a := &s.Attached[i]; a.Conn == c.Conn && a.Who.Tenant == c.Who.Tenant && a.Who.Sub == c.Who.Sub {
			return true
		}
	}
	return false
}

// sender returns whose idempotency keys c uses [SW-4.3]. A customer who became another repeats what he asked for before, so
// everybody who is the customer of s has the keys of him who opened it. A service's are its own: the sign in front is in no id.
func (s *State) sender(c *wire.Command) string {
	switch c.Who.Role {
	case wire.RoleCustomer:
		return s.Customer.ID
	case wire.RoleService:
		return "#service:" + c.Who.Sub
	default:
		return c.Who.Sub
	}
}

// speaker returns the author of what c says: of a service the customer that it speaks for.
func (s *State) speaker(c *wire.Command) wire.Author {
	if c.Who.Role != wire.RoleService {
		return c.Who.Author()
	}
	a := wire.Author{Role: wire.RoleCustomer, ID: s.Customer.ID}
	if c.Way != nil && c.Way.Root != "" {
		a.ID = c.Way.Root
	}
	switch {
	case c.For != nil && c.For.Name != "":
		a.Name = c.For.Name
	case a.ID == s.Customer.ID:
		a.Name = s.Customer.Name
	}
	return a
}

// channelAsked returns the channel that an open names, of services the customer's; may be empty.
func channelAsked(c *wire.Command) string {
	if c.For != nil && c.Who.Role == wire.RoleService {
		return c.For.Channel
	}
	return c.PB.GetOpen().GetChannel()
}

// Adopt notes that the customer of s has become holder, so that he is let in without being asked for.
func (s *State) Adopt(env *Env, holder string, d *Decision) {
	if s.ErasedAt == 0 && s.Holder != holder && s.Customer.ID != holder && !env.ReadOnly {
		d.fact(s, Fact{Kind: Adopted, Name: holder})
	}
}

// Before tells whether s was opened before another session: of two that turn out to be one customer's it goes on [SW-3.4].
func (s *State) Before(at int64, id wire.SessionID) bool {
	return s.OpenedAt < at || s.OpenedAt == at && s.ID < id
}

// Merge ends s because its customer's session into goes on in its place [SW-4.9]. Positions in s stay valid.
func (s *State) Merge(env *Env, into wire.SessionID, d *Decision) {
	if s.Phase == Closed { // or erased
		return
	}
	s.interrupt(env, d)
	s.endTransfer(env, "closed", d)
	s.event(env, EventMerged, object("into", string(into)), d)
	s.over(env, wire.Conn{}, d)
}
