package session

import (
	"switchboard/wire"
)

// supervises tells whether role may act on sessions that it does not own [SW-5a]. Which of them, entitled has checked.
func supervises(role wire.Role) bool { return role == wire.RoleSupervisor || role == wire.RoleOperator }

// attributes patches what routing sees, if it is still the version that its sender knows, and routes again whom nobody has
// yet [SW-5a.2]. The owner may, under its ae, and who supervises; a customer has said at open what he has to say.
func (s *State) attributes(env *Env, c *wire.Command, d *Decision) {
	a := c.PB.GetAttributes()
	if !supervises(c.Who.Role) && c.Who.Role != wire.RoleWorker {
		d.refuse(c, wire.Forbidden)
		return
	}
	key, done := s.remembered(env, c, d)
	if done || c.Who.Role == wire.RoleWorker && !s.fenced(c, d) {
		return
	}
	if s.Phase == Closed {
		d.refuse(c, wire.SessionClosed)
		return
	}
	if a.GetIfV() != s.AttributesV {
		d.fail(c, &wire.Error{Slug: wire.VersionConflict, Detail: objectNum(nil, "v", s.AttributesV)})
		return
	}
	doc, err := merge(s.Attributes, a.GetPatch())
	switch {
	case err != nil || doc[0] != '{':
		d.refuse(c, wire.InvalidBody)
		return
	case len(doc) > env.Policy.MaxBody:
		d.refuse(c, wire.TooLarge)
		return
	}
	f := Fact{Kind: Attributed, N: s.AttributesV + 1, Doc: doc}
	if s.Phase == Queued {
		f.Ticket = s.Ticket + 1 // a new ticket takes the place of the old in the pool, since when the customer waits stays
	}
	d.fact(s, f)
	s.done(c, key, Done{Seq: s.Head, Epoch: s.Epoch(), TS: env.Now, V: s.AttributesV}, 0, d)
	if s.Phase == Queued {
		d.post(env, s.task())
	}
}
