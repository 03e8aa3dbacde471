package session

import (
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Decide decides c, whose session is s, and adds what comes of it to d. When it needs a row that is not in memory it
// adds nothing but a Load, and is to be called again with the row in env.
func Decide(s *State, env *Env, c *wire.Command, d *Decision) {
	d.begin = len(d.Facts)
	if !s.entitled(c) {
		s.unknown(env, c, d)
		return
	}
	if s.ErasedAt != 0 && !reads(c.Verb) {
		d.refuse(c, wire.SessionClosed)
		return
	}
	switch c.Verb {
	case wire.VerbOpen:
		s.open(env, c, d)
	case wire.VerbSend:
		s.send(env, c, d)
	case wire.VerbReply:
		s.reply(env, c, d)
	case wire.VerbAck:
		s.ack(env, c, d)
	case wire.VerbNack:
		s.nack(env, c, d)
	case wire.VerbDelta:
		s.delta(env, c, d)
	case wire.VerbTyping:
		s.typing(c, d)
	case wire.VerbHistory, wire.VerbPage:
		s.page(c, d)
	case wire.VerbClose:
		s.close(env, c, d)
	case wire.VerbRate:
		s.rate(env, c, d)
	case wire.VerbLeave:
		s.leave(env, c, d)
	case wire.VerbTransfer:
		s.transfer(env, c, d)
	case wire.VerbRelease:
		s.release(env, c, d)
	case wire.VerbContext:
		s.context(env, c, d)
	case wire.VerbAttributes:
		s.attributes(env, c, d)
	case wire.VerbInvite:
		s.invite(env, c, d)
	case wire.VerbJoin:
		s.join(env, c, d)
	case wire.VerbTake:
		s.takeOver(env, c, d)
	case wire.VerbAssign:
		s.direct(env, c, d)
	case wire.VerbResync:
		s.resync(env, c, d)
	case wire.VerbGone:
		s.gone(env, c.Conn, d)
	default:
		d.refuse(c, wire.UnknownVerb)
	}
}

// reads tells whether verb changes nothing that is kept: all that is left to do with an erased session.
func reads(verb wire.Verb) bool {
	switch verb {
	case wire.VerbOpen, wire.VerbHistory, wire.VerbPage, wire.VerbLeave, wire.VerbResync, wire.VerbGone:
		return true
	default:
		return false
	}
}

// entitled tells whether the bearer may know that s exists [SW-4.5] [SW-5.10]. What he may do with it is each verb's
// own check.
func (s *State) entitled(c *wire.Command) bool {
	if c.Verb == wire.VerbGone {
		return true
	}
	if c.Who == nil || c.Who.Tenant != s.Tenant {
		return false
	}
	switch c.Who.Role {
	case wire.RoleCustomer, wire.RoleService:
		return s.ErasedAt == 0 && (c.Who.Shop == "" || c.Who.Shop == s.Shop) && s.Holds(c) // [SW-3.1] a token's shop binds
	case wire.RoleWorker:
		_, ok := s.until(c.Who)
		switch {
		case ok:
		case c.Verb == wire.VerbAttributes:
			return s.asked(c.Who)
		case c.Verb == wire.VerbJoin || c.Verb == wire.VerbLeave:
			return s.invites(c.Who)
		}
		return ok
	case wire.RoleSupervisor, wire.RoleOperator:
		return c.Who.Shop == "" || c.Who.Shop == s.Shop
	case wire.RoleSystem:
		return false
	}
	return false
}

// until returns the last seq that who may see, and whether he may see anything at all.
func (s *State) until(who *wire.Principal) (seq uint64, ok bool) {
	if who.Role != wire.RoleWorker {
		return s.Head, true
	}
	if s.Phase == Assigned && s.Owner.Worker == who.Worker || s.hosts(who) {
		return s.Head, true
	}
	for _, p := range s.Past {
		if p.Worker == who.Worker {
			return p.Until, true
		}
	}
	return 0, false
}

// fenced tells whether c speaks for the live assignment, and refuses it otherwise [SW-5.3].
func (s *State) fenced(c *wire.Command, d *Decision) bool {
	if s.owns(c.Who) && c.AE == s.AE {
		return true
	}
	d.refuse(c, wire.StaleAssignment)
	return false
}

// remembered answers c from what its key came to before [SW-4.3]. done means that c needs no further decision.
// Otherwise key is to be remembered with the result; it is nil when c has no key.
func (s *State) remembered(env *Env, c *wire.Command, d *Decision) (key *Key, done bool) {
	key, old, done := s.recall(env, c, d)
	if old != nil {
		s.written(c, old.Done, true, 0, d)
		return nil, true
	}
	return key, done
}

// recall looks for c's key: old is what it came to before; key is to be remembered when it is new; done means that c is
// answered, or waits for a row.
func (s *State) recall(env *Env, c *wire.Command, d *Decision) (key, old *Key, done bool) {
	name, payload := keyName(c)
	if name == "" {
		return nil, nil, false
	}
	hash := uint64(0)
	if payload {
		hash = payloadHash(c)
	}
	sender := s.sender(c)
	fp := Fingerprint(sender, name)
	// A reply that is keyed by its ack moves the cursor in the same turn: only what the cursor has passed can be known.
	fresh := !payload && c.Ack.Value > s.Cursor
	var k *Key
	var at uint64
	var wide, may bool
	if !fresh {
		k, at, wide, may = s.knownKey(fp, sender, name)
	}
	if k == nil && may {
		if !env.Loaded {
			d.Load = append(d.Load, Load{Kind: LoadKey, FP: fp, Seq: at, Wide: wide, Command: c})
			return nil, nil, true
		}
		if env.Row != nil && env.Row.Sender == sender && env.Row.Key == name {
			k = env.Row
		}
	}
	if k == nil {
		return d.key(Key{N: s.KeyCount + 1, FP: fp, Hash: hash, At: env.Now, Sender: sender, Key: name}), nil, false
	}
	if k.Hash != hash {
		d.refuse(c, wire.IdempotencyConflict)
		return nil, nil, true
	}
	return nil, k, false
}

// Repeats tells whether c is an open without session that opened s before, so that a closed s answers it and no new
// session is born [SW-4.3].
func (s *State) Repeats(c *wire.Command) bool {
	name, _ := keyName(c)
	sender := s.sender(c)
	return c.Verb == wire.VerbOpen && name != "" && s.Keys.find(Fingerprint(sender, name), sender, name) != nil
}

// written answers c, which wrote, or had written before.
func (s *State) written(c *wire.Command, done Done, duplicate bool, prev uint64, d *Decision) {
	if c.ID == 0 {
		return
	}
	switch c.Verb {
	case wire.VerbSend, wire.VerbReply:
		f := d.frame(c.Conn)
		f.Kind, f.Verb, f.ID, f.Session, f.Duplicate = wire.FrameWrote, c.Verb, c.ID, s.ID, duplicate
		f.Seq, f.Epoch, f.TS, f.Prev = done.Seq, done.Epoch, done.TS, prev
		return
	}
	pb := &wirepb.Done{Seq: done.Seq, Epoch: done.Epoch, Duplicate: duplicate}
	m := &wirepb.ServerFrame{}
	switch c.Verb {
	case wire.VerbNack:
		m.Verb = &wirepb.ServerFrame_Nack{Nack: pb}
	case wire.VerbClose:
		m.Verb = &wirepb.ServerFrame_Close{Close: pb}
	case wire.VerbRate:
		m.Verb = &wirepb.ServerFrame_Rate{Rate: pb}
	case wire.VerbTransfer:
		m.Verb = &wirepb.ServerFrame_Transfer{Transfer: pb}
	case wire.VerbRelease:
		m.Verb = &wirepb.ServerFrame_Release{Release: pb}
	case wire.VerbContext:
		m.Verb = &wirepb.ServerFrame_Context{Context: &wirepb.ContextReply{V: done.V, Duplicate: duplicate}}
	case wire.VerbJoin:
		m.Verb = &wirepb.ServerFrame_Join{Join: &wirepb.JoinReply{Session: string(s.ID), Ge: done.Seq, Duplicate: duplicate}}
	case wire.VerbTake:
		m.Verb = &wirepb.ServerFrame_Take{Take: &wirepb.TakeReply{Session: string(s.ID), Ae: done.V, Duplicate: duplicate}}
	case wire.VerbAssign:
		m.Verb = &wirepb.ServerFrame_Assign{Assign: pb}
	case wire.VerbInvite:
		m.Verb = &wirepb.ServerFrame_Invite{Invite: pb}
	case wire.VerbAttributes:
		m.Verb = &wirepb.ServerFrame_Attributes{Attributes: &wirepb.AttributesReply{V: done.V, Duplicate: duplicate}}
	default:
		m.Verb = &wirepb.ServerFrame_Ack{Ack: pb}
	}
	d.answer(c, m)
}

// done remembers key and answers c with what it came to.
func (s *State) done(c *wire.Command, key *Key, done Done, prev uint64, d *Decision) {
	s.know(key, done, d)
	s.written(c, done, false, prev, d)
}

// know remembers key, if there is one, with what it came to.
func (s *State) know(key *Key, done Done, d *Decision) {
	if key != nil {
		key.Done = done
		key.Seq = d.rides(key)
		d.known(s, key)
	}
}

// append writes an entry and shows it to everybody attached but its writer's connection, whose reply stands for it
// [SW-4.4]. It returns the entry and the prev of a recipient like writer.
func (s *State) append(env *Env, e *wire.Entry, writer wire.Conn, d *Decision) (prev uint64) {
	e.Session, e.Seq, e.Epoch, e.TS = s.ID, s.Head+1, s.Epoch(), env.Now
	if e.Channel == "" {
		e.Channel = s.Channels[0] // [SW-5a.6] it stands on every entry
	}
	head, public := s.Head, s.Public
	d.said(s, e)
	for i := range s.Attached {
		a := &s.Attached[i]
		if !e.VisibleTo(a.Who.Role) {
			continue
		}
		p := head
		if sees(a.Who.Role) == wire.Public {
			p = public
		}
		if a.Conn == writer {
			prev = p
			continue
		}
		f := d.frame(a.Conn)
		f.Kind, f.Session, f.Entry, f.Prev = wire.FrameMessage, s.ID, e, p
	}
	return prev
}

// replied returns the connection on which a reply stands for what c writes: without a reply the entry is pushed there.
func replied(c *wire.Command) wire.Conn {
	if c.ID == 0 {
		return wire.Conn{}
	}
	return c.Conn
}

// sees returns the visibility that bounds what role is shown.
func sees(role wire.Role) string {
	if role == wire.RoleCustomer || role == wire.RoleService {
		return wire.Public
	}
	return wire.Staff
}

// headFor returns the last seq that who may see.
func (s *State) headFor(who *wire.Principal) uint64 {
	if sees(who.Role) == wire.Public {
		return s.Public
	}
	seq, _ := s.until(who)
	return seq
}

// event writes what happened to the session [SW-4.9].
func (s *State) event(env *Env, typ string, body []byte, d *Decision) {
	s.append(env, &wire.Entry{Origin: wire.OriginSystem, Kind: wire.KindEvent, Type: typ, Body: body, Visibility: EventVisibility(typ)}, wire.Conn{}, d)
}

// The events of a session's life [SW-4.9].
const (
	EventOpened         = "session.opened"
	EventQueued         = "session.queued"
	EventAssigned       = "session.assigned"
	EventTransferred    = "session.transferred"
	EventTransferFailed = "session.transfer_failed"
	EventWorkerLost     = "worker.lost"
	EventReleased       = "session.released"
	EventDeadLettered   = "session.dead_lettered"
	EventClosed         = "session.closed"
	EventReopened       = "session.reopened"
	EventMerged         = "session.merged"
	EventWarned         = "level.warned"
	EventMissed         = "level.missed"
	EventRated          = "session.rated"
	EventChannel        = "channel.attached"
	EventJoined         = "participant.joined"
	EventInvited        = "participant.invited"
	EventUninvited      = "participant.uninvited"
	EventLeft           = "participant.left"
	EventTaken          = "session.taken"
	EventDirected       = "session.directed"
	EventParked         = "session.parked"
	EventAbandoned      = "session.abandoned"
	EventResort         = "session.last_resort"
	EventHookDelivered  = "hook.delivered"
	EventHookFailed     = "hook.failed"
	EventErased         = "session.erased"
)

// EventVisibility returns the one visibility of an event's type [SW-4.9]: that somebody came or went is public, why is
// staff's.
func EventVisibility(typ string) string {
	switch typ {
	case EventOpened, EventQueued, EventAssigned, EventClosed, EventReopened, EventMerged, EventResort, EventAbandoned, EventErased:
		return wire.Public
	}
	return wire.Staff
}
