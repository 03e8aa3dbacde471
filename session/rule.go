package session

import (
	"slices"

	"switchboard/wire"
)

// Rule is what sessions of a queue go by themselves, while somebody has them. It is shared and never changes; its functions are
// pure, and depend on nothing but the state.
type Rule struct {
	// FailedTurns is after how many replies in a row of one of FailedTypes a bot's session goes to people; 0 is never.
	FailedTurns uint32
	FailedTypes []string
	// Holds tells that no bot shall have the session; nil is never.
	Holds func(*State) bool
	// AskedTypes are types of messages by which a customer asks for people.
	AskedTypes []string
	// To is the queue whose people get it; default the session's.
	To string
	// ParkMS is after how much silence of a customer who was answered the session is let go until he writes again; 0 is never.
	ParkMS int64
	// AbsentMS is how long a customer who waits keeps his place while no connection of his follows the session; 0 is for good.
	AbsentMS int64
	// WrapUpMS is a human's time after a session [SW-5.9]; nil is the policy's.
	WrapUpMS *int64
}

// rule returns what the session's queue goes by, or the one that took its place, or an empty Rule.
func (s *State) rule(p *Policy) *Rule {
	if r := p.Rules[p.Named(s.Queue)]; r != nil {
		return r
	}
	return &Rule{}
}

// wrapUp returns how long a human may take after the session, in ms.
func (s *State) wrapUp(p *Policy) int64 {
	if ms := s.rule(p).WrapUpMS; ms != nil {
		return *ms
	}
	return p.WrapUpMS
}

// The reasons why a bot's session goes to people by itself.
const (
	handedFailed = "failed_turns"
	handedHolds  = "when"
	handedAsked  = "asked"
)

// turned counts a bot's failed turns by what it has just said, and hands its session to people when they are too many.
func (s *State) turned(env *Env, e *wire.Entry, d *Decision) {
	r := s.rule(env.Policy)
	if s.Owner.Kind != wire.OriginBot || e.Visibility != wire.Public || r.FailedTurns == 0 {
		return
	}
	failed := slices.Contains(r.FailedTypes, e.Type)
	switch {
	case failed:
		d.fact(s, Fact{Kind: Stumbled, N: uint64(s.Stumbles) + 1})
	case s.Stumbles > 0:
		d.fact(s, Fact{Kind: Stumbled})
	}
	if failed && s.Stumbles >= r.FailedTurns {
		s.handOff(env, r, handedFailed, d)
	}
}

// changed hands a bot's session to people when its attributes say so by now.
func (s *State) changed(env *Env, d *Decision) {
	if r := s.rule(env.Policy); s.Phase == Assigned && s.Owner.Kind == wire.OriginBot && r.Holds != nil && r.Holds(s) {
		s.handOff(env, r, handedHolds, d)
	}
}

// asks tells whether the customer's message says that he wants a human, and nobody but humans could have it from then on.
func (s *State) asks(env *Env, e *wire.Entry) bool {
	r := s.rule(env.Policy)
	if s.HumanOnly || len(r.AskedTypes) == 0 || !slices.Contains(r.AskedTypes, e.Type) {
		return false
	}
	return s.Phase != Assigned || s.Owner.Kind == wire.OriginBot
}

// toPeople gives the customer, who has just asked for them, to people: from the bot that has him, from the line in which bots are asked as
// well, with since when he waits, or at the end of it. What he has said is delivered to whoever comes.
func (s *State) toPeople(env *Env, d *Decision) {
	r := s.rule(env.Policy)
	if s.Phase == Assigned {
		s.handOff(env, r, handedAsked, d)
		return
	}
	w := waiting{since: s.EnqueuedAt, humanOnly: true, exact: true, requeued: s.Requeued, handed: s.Handed, exclude: s.Exclude}
	if s.Phase == New {
		w = waiting{since: env.Now, humanOnly: true, exact: true}
	}
	s.endTransfer(env, "closed", d) // an assign that is pending: he wants whoever comes
	s.enqueue(env, r.to(env, s.Queue), w, d)
}

// handOff takes the session from a bot and queues it for people, at its place. What they are given first holds what was said, the
// context and why.
func (s *State) handOff(env *Env, r *Rule, why string, d *Decision) {
	queue := r.to(env, s.Queue)
	s.interrupt(env, d)
	s.endTransfer(env, "source_lost", d)
	s.event(env, EventTransferred, objectString(s.transferBody("queue", queue, ""), "why", why), d)
	w := waiting{since: s.EnqueuedAt, humanOnly: true, exact: true, requeued: true, handed: true, exclude: s.Owner.Worker}
	s.giveBack(env, wire.Conn{}, "transfer", d)
	d.fact(s, Fact{Kind: Freed})
	s.settle()
	s.enqueue(env, queue, w, d)
}

// to returns the queue whose people get a session of queue.
func (r *Rule) to(env *Env, queue string) string {
	if to, ok := env.Policy.Queue(r.To); ok {
		return to
	}
	return queue
}

// spurns tells that a bot shall not have the session that was just granted to it: it is queued for people instead.
func (s *State) spurns(env *Env, g *wire.Grant, d *Decision) bool {
	r := s.rule(env.Policy)
	if g.Kind != wire.OriginBot || s.HumanOnly || r.Holds == nil || !r.Holds(s) {
		return false
	}
	d.post(env, &wire.Declined{Tenant: s.Tenant, Session: s.ID, Ticket: g.Ticket, Worker: g.Worker})
	w := waiting{since: s.EnqueuedAt, humanOnly: true, exact: true, requeued: s.Requeued, handed: s.Handed, exclude: s.Exclude}
	s.enqueue(env, r.to(env, s.Queue), w, d)
	return true
}

// ParkAt returns when the session is let go because its customer is silent, if nothing is said until then; 0 is never.
func (s *State) ParkAt(p *Policy) int64 {
	r := s.rule(p)
	if r.ParkMS == 0 || s.Phase != Assigned || s.Owner.taken() || s.Cursor < s.Said || s.Transfer.Ticket != 0 ||
		len(s.Guests)+len(s.Invites)+len(s.streams) > 0 || s.tail.len() == 0 {
		return 0
	}
	return s.tail.last().TS + r.ParkMS
}

// park lets go of a session whose customer has been silent for so long. It is nobody's until he writes again; then it prefers who
// had it.
func (s *State) park(env *Env, d *Decision) {
	if at := s.ParkAt(env.Policy); at == 0 || at > env.Now || env.ReadOnly {
		return
	}
	s.event(env, EventParked, object("worker", s.Owner.Worker), d)
	s.giveBack(env, wire.Conn{}, "parked", d)
	d.fact(s, Fact{Kind: Freed})
	s.settle()
	s.stateChanged(d)
}
