package session

import (
	"slices"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Workers come as guests when they are asked to [SW-5a.1]: a colleague is consulted, takes over what he has read already, or talks
// along. An invitation is durable; that its worker has heard of it is not, so he may hear of it twice.

// Invite is that a worker may join. It ends when he leaves, declines or is not to be found, with the session, and by time.
type Invite struct {
	N      uint64 // the seq of its participant.invited
	Worker string // worker id
	As     string
	By     string // the sub of who asked him
	Note   string
	Until  int64 // Unix ms

	told  bool  // as far as this memory knows
	fresh bool  // this memory has made it
	seek  int64 // when the pool is asked again where its worker is; 0 is that this memory has not asked
	pause int64 // behind that, ms
}

const (
	inviteMS        = 600_000 // how long an invitation holds
	seekAgainMS     = 1_000   // after how long the pool is asked for the second time where its worker is; it says so itself when he comes,
	seekAgainMostMS = 60_000  // unless that is lost: so each pause is twice the one before, up to this
)

// The reasons why an invitation ends without a guest.
const (
	uninvitedAway    = "away"
	uninvitedDecline = "declined"
	uninvitedExpired = "expired"
	uninvitedClosed  = "closed"
)

// invite asks a worker to join. The owner may, under his ae, and who supervises.
func (s *State) invite(env *Env, c *wire.Command, d *Decision) {
	i := c.PB.GetInvite()
	if c.Who.Role != wire.RoleWorker && !supervises(c.Who.Role) {
		d.refuse(c, wire.Forbidden)
		return
	}
	key, done := s.remembered(env, c, d)
	if done || c.Who.Role == wire.RoleWorker && !s.fenced(c, d) {
		return
	}
	bad := func(why string) { d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: why}) }
	switch {
	case s.Phase == Closed:
		d.refuse(c, wire.SessionClosed)
		return
	case i.GetWorker() == "":
		bad("invite needs a worker")
		return
	case i.GetWorker() == ownerName(c.Who) || s.Phase == Assigned && i.Worker == s.Owner.Worker:
		bad("the session is his already")
		return
	case !isGuestKind(i.GetAs()):
		bad(guestKinds)
		return
	case s.invited(i.Worker) == nil && len(s.Invites) >= maxGuests:
		d.refuse(c, wire.QuotaExceeded)
		return
	}
	body := objectString(objectString(objectString(nil, "worker", i.Worker), "as", i.As), "by", c.Who.Sub)
	if i.Note != "" {
		body = objectString(body, "note", i.Note)
	}
	s.event(env, EventInvited, body, d)
	d.fact(s, Fact{Kind: Invited, Invite: &Invite{N: s.Head, Worker: i.Worker, As: i.As, By: c.Who.Sub, Note: i.Note, Until: env.Now + inviteMS, fresh: true}})
	s.done(c, key, Done{Seq: s.Head, Epoch: s.Epoch(), TS: env.Now}, 0, d)
	s.seek(env, s.invited(i.Worker), d)
	s.pump(env, d)
}

// invited returns the invitation of a worker, or nil.
func (s *State) invited(worker string) *Invite {
	i := slices.IndexFunc(s.Invites, func(i Invite) bool { return i.Worker == worker })
	if i < 0 {
		return nil
	}
	return &s.Invites[i]
}

// invites tells whether who may join, or say that he does not.
func (s *State) invites(who *wire.Principal) bool {
	return who.Role == wire.RoleWorker && s.invited(who.Worker) != nil
}

// seek asks the pool where an invited worker is.
func (s *State) seek(env *Env, i *Invite, d *Decision) {
	i.pause = min(max(2*i.pause, seekAgainMS), seekAgainMostMS)
	i.seek = env.Now + i.pause
	d.post(env, &wire.Seek{Tenant: s.Tenant, Session: s.ID, N: i.N, Worker: i.Worker})
}

// seekAnew lets another pool be asked where the invited are: it knows nothing of what the one before was asked.
func (s *State) seekAnew() {
	for n := range s.Invites {
		s.Invites[n].seek, s.Invites[n].pause = 0, 0
	}
}

// Found decides the pool's word where an invited worker is: he is shown the session there. Who has no connection when he is invited is away, and
// the invitation is over. One that was read from the log is older: his connection may have ended with the node, as all others, and he is looked for
// until he is back or its time is over.
func (s *State) Found(env *Env, f *wire.Found, d *Decision) {
	i := s.invited(f.Worker)
	if i == nil || i.N != f.N || i.told || s.isGuest(i.Worker) {
		return
	}
	if f.Conn == (wire.Conn{}) {
		if i.fresh {
			s.uninvite(env, i, uninvitedAway, d)
		}
		return
	}
	i.told = true
	d.push(f.Conn, wire.FrameKeep, s.ID, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Invited{Invited: &wirepb.Invited{
		Session: string(s.ID), As: i.As, By: i.By, Note: i.Note, Queue: s.Queue, Summary: s.summary(), ExpiresMs: max(i.Until-env.Now, 0),
	}}})
}

// uninvite ends an invitation.
func (s *State) uninvite(env *Env, i *Invite, why string, d *Decision) {
	worker := i.Worker
	d.fact(s, Fact{Kind: Uninvited, Name: worker})
	s.event(env, EventUninvited, object("worker", worker, "why", why), d)
	s.pump(env, d)
}

// settleInvites ends what is over by time, and asks again for whom nobody has found.
func (s *State) settleInvites(env *Env, d *Decision) {
	for n := 0; n < len(s.Invites); {
		i := &s.Invites[n]
		switch {
		case i.Until <= env.Now && !env.ReadOnly:
			s.uninvite(env, i, uninvitedExpired, d)
			continue
		case i.seek <= env.Now && !i.told && !s.isGuest(i.Worker):
			s.seek(env, i, d)
		}
		n++
	}
}

// invitesDue returns when settleInvites has something to do, or 0.
func (s *State) invitesDue(now int64) (at int64) {
	for n := range s.Invites {
		i := &s.Invites[n]
		due := i.Until
		switch {
		case due <= now: // the log takes nothing
			due = now + seekAgainMS
		case i.told || s.isGuest(i.Worker):
		case i.seek == 0:
			due = min(due, now+seekAgainMS)
		default:
			due = min(due, i.seek)
		}
		if at == 0 || due < at {
			at = due
		}
	}
	return at
}

// disinvite ends all invitations with the session.
func (s *State) disinvite(env *Env, d *Decision) {
	for len(s.Invites) > 0 {
		s.uninvite(env, &s.Invites[0], uninvitedClosed, d)
	}
}

// seated ends what worker was to the session as a guest: he has it now. What he followed as a guest he is delivered.
func (s *State) seated(env *Env, worker string, d *Decision) {
	if i := s.invited(worker); i != nil {
		d.fact(s, Fact{Kind: Uninvited, Name: worker})
	}
	for n := range s.Guests {
		if g := &s.Guests[n]; g.Worker == worker && worker != "" {
			s.part(env, g, d)
			return
		}
	}
}

// unfollow lets a worker's connections follow s no more: he sees no later entry [SW-5.10].
func (s *State) unfollow(worker string, d *Decision) {
	his := func(a Attachment) bool { return a.Who.Role == wire.RoleWorker && a.Who.Worker == worker }
	for i := range s.Attached {
		if a := &s.Attached[i]; his(*a) {
			f := d.frame(a.Conn)
			f.Kind, f.Session = wire.FrameDetach, s.ID
		}
	}
	s.Attached = slices.DeleteFunc(s.Attached, his)
}

// isGuest tells whether a worker is a guest of s.
func (s *State) isGuest(worker string) bool {
	return slices.ContainsFunc(s.Guests, func(g Guest) bool { return g.Worker == worker })
}

// hosts tells whether who is a guest of s.
func (s *State) hosts(who *wire.Principal) bool { return s.guestOf(who) != nil }
