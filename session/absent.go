package session

import (
	"slices"

	"switchboard/wire"
)

// A customer who waits and has gone would be offered to people for nothing. Where his queue says so he keeps his place for a while, and
// then it is given up; when he is back he waits anew. Only one who was there can have gone: whoever is reached by other ways, by a
// service or by requests alone, keeps his place.

// there tells whether a connection of the customer follows s.
func (s *State) there() bool {
	for i := range s.Attached {
		if s.Attached[i].Who.Role == wire.RoleCustomer {
			return true
		}
	}
	return false
}

// seen takes note of a sign of life of the customer: he came, or said something.
func (s *State) seen(env *Env, who *wire.Principal) {
	switch {
	case who.Role != wire.RoleCustomer:
	case s.there():
		s.absent = 0
	case s.absent != 0:
		s.absent = env.Now
	}
}

// unseen notes that the last connection of the customer has gone, when was tells that there was one.
func (s *State) unseen(env *Env, was bool) {
	if was && s.absent == 0 && !s.there() {
		s.absent = env.Now
	}
}

// AbsentAt returns when the customer's place is given up, if he does not come back until then; 0 is never. Of one who was there when the
// session was put in line, and is not since it was read from the log, time begins now: his connection may be coming.
func (s *State) AbsentAt(p *Policy, now int64) int64 {
	r := s.rule(p)
	if r.AbsentMS == 0 || s.Phase != Queued || s.Transfer.Ticket != 0 {
		return 0
	}
	if s.absent == 0 && s.Followed && !s.there() {
		s.absent = now
	}
	if s.absent == 0 {
		return 0
	}
	return s.absent + r.AbsentMS
}

// abandon gives up the place of a customer who is not there. The session is nobody's until he is back.
func (s *State) abandon(env *Env, d *Decision) {
	if at := s.AbsentAt(env.Policy, env.Now); at == 0 || at > env.Now || env.ReadOnly {
		return
	}
	s.event(env, EventAbandoned, objectNum(objectString(nil, "queue", s.Queue), "since", uint64(s.EnqueuedAt)), d) //nolint:gosec // a time
	d.post(env, &wire.Withdraw{Tenant: s.Tenant, Session: s.ID, Ticket: s.Ticket})
	d.fact(s, Fact{Kind: Freed})
	s.place = nil
	s.settle()
	s.stateChanged(d)
}

// returned puts a customer who has given up his place, and is about to follow s again, in line anew: what he has said is not answered.
func (s *State) returned(env *Env, c *wire.Command, d *Decision) {
	if s.Phase != New || c.Who.Role != wire.RoleCustomer || env.ReadOnly {
		return
	}
	for _, e := range slices.Backward(s.Tail()) {
		if e.Seq <= s.Said {
			return
		}
		if e.Kind == wire.KindEvent && e.Type == EventAbandoned {
			s.enqueue(env, s.Queue, waiting{since: env.Now, humanOnly: s.HumanOnly, exact: true, there: true}, d)
			return
		}
	}
}
