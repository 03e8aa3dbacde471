package session

import (
	"slices"
	"strings"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// supervises tells whether role may act on sessions that it does not own [SW-5a]. Which of them, entitled has checked.
func supervises(role wire.Role) bool { return role == wire.RoleSupervisor || role == wire.RoleOperator }

// attributes patches what routing sees, if it is still the version that its sender knows, and routes again whom nobody has
// yet [SW-5a.2]. The owner may, under its ae, who was asked what the session is about [SW-5a.3], and who supervises; a customer has said at open what he has to say.
func (s *State) attributes(env *Env, c *wire.Command, d *Decision) {
	a := c.PB.GetAttributes()
	if !supervises(c.Who.Role) && c.Who.Role != wire.RoleWorker {
		d.refuse(c, wire.Forbidden)
		return
	}
	key, done := s.remembered(env, c, d)
	if done || c.Who.Role == wire.RoleWorker && !s.answers(c, d) {
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
	again := s.Phase == Queued && s.Transfer.Ticket == 0 // who is assigned by name is not routed
	if again {
		f.Classified = true     // by whomever: it is not asked about any more
		f.Ticket = s.Ticket + 1 // a new ticket takes the place of the old in the pool, since when the customer waits stays
	}
	d.fact(s, f)
	s.done(c, key, Done{Seq: s.Head, Epoch: s.Epoch(), TS: env.Now, V: s.AttributesV}, 0, d)
	if again {
		d.post(env, s.task())
	}
	s.changed(env, d)
}

// ownerName returns the name under which who owns sessions. A supervisor's is no worker's: no id has its first sign.
func ownerName(who *wire.Principal) string {
	switch {
	case who.Role == wire.RoleWorker:
		return who.Worker
	case supervises(who.Role):
		return "@" + who.Sub // see takesOver
	}
	return ""
}

// takesOver tells of the name of an owner whether it is a supervisor's.
func takesOver(name string) bool { return strings.HasPrefix(name, "@") }

func (o *Owner) taken() bool { return o.Role != "" }

func (o *Owner) role() wire.Role {
	if o.taken() {
		return o.Role
	}
	return wire.RoleWorker
}

// supervised checks what the verbs of [SW-5a.4] have in common: who may, whether it was done before, and whether there is
// something to do it to.
func (s *State) supervised(env *Env, c *wire.Command, d *Decision) (key *Key, ok bool) {
	if !supervises(c.Who.Role) && (c.Who.Role != wire.RoleWorker || c.Verb != wire.VerbJoin) {
		d.refuse(c, wire.Forbidden)
		return nil, false
	}
	key, old, done := s.recall(env, c, d)
	if old != nil {
		s.repeated(env, c, &old.Done, d)
		return nil, false
	}
	if done {
		return nil, false
	}
	if s.Phase == Closed {
		d.refuse(c, wire.SessionClosed)
		return nil, false
	}
	return key, true
}

// repeated answers c, which was done before. Where the owner of the shard has ended between, the connection is bound again as it
// was then: its answer may have been lost.
func (s *State) repeated(env *Env, c *wire.Command, old *Done, d *Decision) {
	switch g := s.guestOf(c.Who); {
	case c.Verb == wire.VerbJoin && g != nil && g.GE == old.Seq && g.Conn == c.Conn && !s.followed(c.Conn) && !s.crowded(c.Who):
		g.here = true
		s.attachGuest(c, g.GE, d)
		return
	case c.Verb == wire.VerbTake && old.V == s.AE && s.owns(c.Who) && s.Owner.taken() && s.owner.conn == (wire.Conn{}):
		s.written(c, *old, true, 0, d)
		s.bindAgain(c.Conn, takeWindow)
		s.present("takeover", d)
		s.pump(env, d)
		return
	}
	s.written(c, *old, true, 0, d)
}

func (s *State) followed(conn wire.Conn) bool {
	return slices.ContainsFunc(s.Attached, func(a Attachment) bool { return a.Conn == conn })
}

// attachGuest answers a join on a connection that has not followed s, and does from now on.
func (s *State) attachGuest(c *wire.Command, ge uint64, d *Decision) {
	f := d.frame(c.Conn)
	f.Kind, f.ID, f.Session, f.Verb, f.Seq, f.Head = wire.FrameAttach, c.ID, s.ID, c.Verb, s.Head, s.Head
	f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Join{Join: &wirepb.JoinReply{Session: string(s.ID), Ge: ge}}}
	s.Attached = append(s.Attached, Attachment{c.Conn, c.Who, ""})
	s.running(c.Conn, d)
}

// takeWindow is how many deliveries a supervisor who took a session is sent without an ack.
const takeWindow = 16

// takeOver makes a supervisor the owner, whoever has it or waits for it [SW-5a.4].
func (s *State) takeOver(env *Env, c *wire.Command, d *Decision) {
	key, ok := s.supervised(env, c, d)
	if !ok {
		return
	}
	body := objectString(nil, "by", c.Who.Sub)
	since := int64(0) // of who waits, or has somebody, it goes on
	switch s.Phase {
	case New:
		since = env.Now // when he was waited for before is over
	case Assigned:
		body = objectString(body, "from", s.Owner.Worker)
	default:
	}
	s.interrupt(env, d)
	s.endTransfer(env, "source_lost", d)
	s.event(env, EventTaken, body, d)
	if s.Phase == Queued {
		d.post(env, &wire.Withdraw{Tenant: s.Tenant, Session: s.ID, Ticket: s.Ticket})
	}
	if s.giveBack(env, wire.Conn{}, "takeover", d) {
		d.fact(s, Fact{Kind: Freed})
	}
	s.settle()
	d.fact(s, Fact{Kind: Granted, N: s.AE + 1, At: since, HumanOnly: true, Owner: &Owner{
		Worker: ownerName(c.Who), Sub: c.Who.Sub, Name: c.Who.Name, Kind: wire.OriginHuman, Role: c.Who.Role, Since: s.Head + 1,
	}})
	s.bind(c.Conn, takeWindow, s.Cursor)
	body = objectString(objectString(nil, "kind", string(wire.OriginHuman)), "id", c.Who.Sub)
	if c.Who.Name != "" {
		body = objectString(body, "name", c.Who.Name)
	}
	s.event(env, EventAssigned, body, d)
	s.done(c, key, Done{Seq: s.Head, Epoch: s.Epoch(), TS: env.Now, V: s.AE}, 0, d)
	s.stateChanged(d)
	s.present("takeover", d)
	s.pump(env, d)
}

// direct asks the pool to give the session to one worker [SW-5a.4]. As with a transfer, whoever has it keeps it until then,
// and who waits goes on waiting when nothing comes of it.
func (s *State) direct(env *Env, c *wire.Command, d *Decision) {
	a := c.PB.GetAssign()
	if a.GetForce() && c.Who.Role != wire.RoleOperator { // [SW-5.1] slots are exceeded by an operator alone
		d.refuse(c, wire.Forbidden)
		return
	}
	key, ok := s.supervised(env, c, d)
	if !ok {
		return
	}
	bad := func(why string) { d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: why}) }
	switch {
	case a.GetWorker() == "":
		bad("assign needs a worker")
		return
	case s.Phase == Assigned && a.Worker == s.Owner.Worker:
		bad("the session is his already")
		return
	case s.Transfer.Ticket != 0:
		bad("a transfer is already pending")
		return
	}
	body := objectString(objectString(nil, "by", c.Who.Sub), "worker", a.Worker)
	if a.Force {
		body = append(member(body, "force"), "true}"...)
	}
	s.event(env, EventDirected, body, d)
	seq := s.Head
	if s.Phase == New {
		d.fact(s, Fact{Kind: Enqueued, Name: s.Queue, Ticket: s.Ticket + 1, At: env.Now, Followed: s.there()})
		s.event(env, EventQueued, object("queue", s.Queue), d)
		s.stateChanged(d)
	}
	d.fact(s, Fact{Kind: Requested, Transfer: &Transfer{Ticket: s.Ticket + 1, Worker: a.Worker, Force: a.Force}})
	s.done(c, key, Done{Seq: seq, Epoch: s.Epoch(), TS: env.Now}, 0, d)
	s.ask(env, d)
	s.pump(env, d)
}

// undirect lets a session wait for anybody again, at its old place, when nobody came of an assign.
func (s *State) undirect(env *Env, why string, d *Decision) {
	d.fact(s, Fact{Kind: Requested, Transfer: &Transfer{}})
	s.event(env, EventTransferFailed, failed(why), d)
	d.fact(s, Fact{
		Kind: Enqueued, Name: s.Queue, Ticket: s.Ticket + 1, At: s.EnqueuedAt, HumanOnly: s.HumanOnly, Requeued: s.Requeued, Handed: s.Handed, Exclude: s.Exclude, Followed: s.Followed,
	})
	d.post(env, s.task())
}

// lonelyMS is for how long somebody is looked for who is noted as present and not known to be. When it is the shard that was lost, the edge of one
// who is there says so well before; whatever else the session is woken for meanwhile ends nobody's presence.
const lonelyMS = 3000

// miss ends the presence of those who have been looked for long enough. When that began counts, not when the session was read: an owner may take his
// time until he hears anybody.
func (s *State) miss(env *Env, d *Decision) {
	for i := range s.Guests {
		g := &s.Guests[i]
		g.here = g.here || g.Conn.Node == env.Node && g.Conn.ID != 0
	}
	switch {
	case !s.lonely():
		s.lonelyUntil = 0
	case s.lonelyUntil == 0:
		s.lonelyUntil = env.Now + lonelyMS
	case env.Now >= s.lonelyUntil:
		s.settleLost(env, d)
	}
}

// comeBack takes note that the connection of a guest, which follows s again, is the one by which he is there.
func (s *State) comeBack(c *wire.Command) {
	if g := s.guestOf(c.Who); g != nil && g.Conn == c.Conn {
		g.here = true
	}
}

// rebound binds s, which was read from the log, to the connection of the supervisor who has taken it. Of workers the pool knows
// where they are.
func (s *State) rebound(env *Env, c *wire.Command, d *Decision) {
	if c.AE == s.AE && s.owns(c.Who) && s.Owner.taken() && s.owner.conn == (wire.Conn{}) {
		s.bindAgain(c.Conn, takeWindow)
		s.known(d)
		s.pump(env, d)
	}
}

// lonely tells whether somebody is noted as present whose connection has ended, or may have.
func (s *State) lonely() bool {
	for i := range s.Guests {
		if !s.Guests[i].here {
			return true
		}
	}
	return s.Phase == Assigned && s.Owner.taken() && s.owner.conn == (wire.Conn{})
}

// Present appends the connections that s takes for present: of those who follow it, of its guests, and of the supervisor who took
// it. Whoever has read s again asks whether they are: that one had ended may be what was lost.
func (s *State) Present(conns []wire.Conn) []wire.Conn {
	for i := range s.Attached {
		conns = append(conns, s.Attached[i].Conn)
	}
	for i := range s.Guests {
		if g := &s.Guests[i]; g.here || g.Conn.ID != 0 {
			conns = append(conns, g.Conn)
		}
	}
	if s.Phase == Assigned && s.Owner.taken() && s.owner.conn != (wire.Conn{}) {
		conns = append(conns, s.owner.conn)
	}
	return conns
}

// gone ends what a connection was to the session.
func (s *State) gone(env *Env, conn wire.Conn, d *Decision) {
	was, looking := s.there(), s.lonely()
	s.detach(conn)
	s.unseen(env, was)
	s.partOn(env, conn, d)
	if s.Phase == Assigned && s.Owner.taken() && s.owner.conn == conn {
		s.owner.conn = wire.Conn{}
		s.abdicate(env, d)
	}
	if !looking && s.lonely() { // the log takes nothing
		s.lonelyUntil = env.Now // as soon as it does
	}
}

// settleLost does what follows from connections that have ended, or count as ended: guests have left, and a session that was taken goes back
// to its old place [SW-5a.4]. What the log does not take now is done when it does.
func (s *State) settleLost(env *Env, d *Decision) {
	if env.ReadOnly {
		return
	}
	for i := 0; i < len(s.Guests); {
		g := &s.Guests[i]
		if g.here {
			i++
			continue
		}
		s.part(env, g, d)
	}
	s.abdicate(env, d)
}

// abdicate queues a session again that a supervisor has taken, who is not there.
func (s *State) abdicate(env *Env, d *Decision) {
	if env.ReadOnly || s.Phase != Assigned || !s.Owner.taken() || s.owner.conn != (wire.Conn{}) {
		return
	}
	s.interrupt(env, d)
	s.event(env, EventWorkerLost, object("worker", s.Owner.Worker), d)
	s.endTransfer(env, "source_lost", d)
	since := s.EnqueuedAt
	d.fact(s, Fact{Kind: Freed})
	s.settle()
	s.enqueue(env, s.Queue, waiting{since: since, humanOnly: true, requeued: true}, d)
}

// The ways to be a guest [SW-5a.1].
const (
	asMonitor = "monitor" // listens, and notes
	asAssist  = "assist"  // whispers to the owner
	asConsult = "consult" // talks with the owner, and with the customer when he says so
	asBarge   = "barge"   // talks with everybody
)

const guestKinds = "as is monitor, assist, consult or barge"

func isGuestKind(as string) bool {
	return as == asMonitor || as == asAssist || as == asConsult || as == asBarge
}

// join makes a supervisor, or a worker who was invited, a guest [SW-5a.1]. His connection follows the session from then on, and he
// is a guest as long as it does.
func (s *State) join(env *Env, c *wire.Command, d *Decision) {
	as, invite := c.PB.GetJoin().GetAs(), (*Invite)(nil)
	if c.Who.Role == wire.RoleWorker {
		if invite = s.invited(c.Who.Worker); invite != nil && as == "" {
			as = invite.As
		}
	}
	if !isGuestKind(as) {
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: guestKinds})
		return
	}
	key, ok := s.supervised(env, c, d)
	if !ok {
		return
	}
	if c.Who.Role == wire.RoleWorker && (invite == nil || invite.As != as || s.owns(c.Who)) {
		d.refuse(c, wire.Forbidden) // he comes as what he was asked to
		return
	}
	following := s.followed(c.Conn)
	before := s.guestOf(c.Who)
	if before == nil && len(s.Guests) >= maxGuests || !following && s.crowded(c.Who) {
		d.refuse(c, wire.QuotaExceeded)
		return
	}
	if before != nil {
		s.part(env, before, d) // one seat each
	}
	body := objectString(nil, "id", c.Who.Sub)
	if c.Who.Name != "" {
		body = objectString(body, "name", c.Who.Name)
	}
	s.event(env, EventJoined, objectString(objectString(body, "role", string(c.Who.Role)), "as", as), d)
	ge := s.Head
	d.fact(s, Fact{Kind: Joined, Guest: &Guest{GE: ge, Sub: c.Who.Sub, Role: c.Who.Role, As: as, Conn: c.Conn, Worker: c.Who.Worker, here: true}})
	done := Done{Seq: ge, Epoch: s.Epoch(), TS: env.Now}
	if following {
		s.done(c, key, done, 0, d)
	} else {
		s.know(key, done, d)
		s.attachGuest(c, ge, d)
	}
	s.pump(env, d)
}

// guestOf returns the seat of who, or nil.
func (s *State) guestOf(who *wire.Principal) *Guest {
	for i := range s.Guests {
		if g := &s.Guests[i]; g.Sub == who.Sub && g.Role == who.Role && g.Worker == who.Worker {
			return g
		}
	}
	return nil
}

// part ends a guest's presence.
func (s *State) part(env *Env, g *Guest, d *Decision) {
	ge, body := g.GE, objectString(objectString(nil, "id", g.Sub), "role", string(g.Role))
	if g.Worker != "" {
		s.unfollow(g.Worker, d)
	}
	d.fact(s, Fact{Kind: Left, N: ge})
	s.event(env, EventLeft, objectNum(body, "ge", ge), d)
	s.pump(env, d)
}

// partOn ends the presence of the guest whose connection it is. When the log takes nothing it is noted, and done later.
func (s *State) partOn(env *Env, conn wire.Conn, d *Decision) {
	for i := range s.Guests {
		g := &s.Guests[i]
		if g.Conn != conn {
			continue
		}
		if env.ReadOnly {
			g.here, g.Conn = false, wire.Conn{}
			return
		}
		s.part(env, g, d)
		return
	}
}

// guestSays is a guest's word, fenced by his ge [SW-5a.1].
func (s *State) guestSays(env *Env, c *wire.Command, d *Decision) {
	key, done := s.remembered(env, c, d)
	if done {
		return
	}
	g := s.guestOf(c.Who)
	if g == nil || g.GE != c.GE {
		d.refuse(c, wire.StaleAssignment)
		return
	}
	if c.Ack.Set || c.AE != 0 || c.Stream != "" {
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "a guest has no ae, acknowledges nothing and does not stream"})
		return
	}
	e := &wire.Entry{
		From: c.Who.Author(), Origin: wire.OriginAssist, Kind: wire.KindMessage, Type: c.Type, Body: c.Body,
		Visibility: wire.Staff, Channel: s.Channels[0], ReplyTo: c.ReplyTo,
	}
	if e.Type == "" {
		e.Type = "text"
	}
	if c.Visibility == wire.Public || c.Visibility == "" && g.As == asBarge {
		if g.As == asMonitor || g.As == asAssist {
			d.refuse(c, wire.Forbidden)
			return
		}
		e.Visibility, e.Origin = wire.Public, wire.OriginHuman
		if c.Who.Kind == wire.OriginBot {
			e.Origin = wire.OriginBot
		}
	}
	prev := s.append(env, e, replied(c), d)
	s.done(c, key, Done{Seq: e.Seq, Epoch: e.Epoch, TS: e.TS}, prev, d)
	s.pump(env, d)
}
