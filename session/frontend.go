package session

import (
	"slices"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Create begins the life of a session: birth has everything but its first entry.
func Create(env *Env, birth *Birth, d *Decision) *State {
	s := &State{}
	d.fact(s, Fact{Kind: Opened, Birth: birth})
	s.event(env, EventOpened, object("channel", birth.Channel, "shop", birth.Shop), d)
	return s
}

// open attaches the connection to s from a position on [SW-4.1] [SW-3.2].
func (s *State) open(env *Env, c *wire.Command, d *Decision) {
	if c.Who.Role == wire.RoleWorker && !s.owns(c.Who) && !s.hosts(c.Who) {
		d.refuse(c, wire.NoSession) // a former owner reads by history; nothing new comes to him
		return
	}
	key, old, done := s.recall(env, c, d)
	if done {
		return
	}
	s.detach(c.Conn)
	if s.crowded(c.Who) {
		d.refuse(c, wire.QuotaExceeded)
		return
	}
	o, channel := c.PB.GetOpen(), channelAsked(c)
	if !env.ReadOnly && frontend(c.Who.Role) && channel != "" && !slices.Contains(s.Channels, channel) && len(s.Channels) < 16 {
		d.fact(s, Fact{Kind: Attaching, Name: channel})
		s.event(env, EventChannel, object("channel", channel), d)
		s.pump(env, d)
	}
	s.returned(env, c, d)
	if key != nil && !env.ReadOnly {
		key.Done = Done{Seq: s.Head, Epoch: s.Epoch(), TS: env.Now}
		d.fact(s, Fact{Kind: Known, Key: key})
	}
	head := s.headFor(c.Who)
	start, how, at := s.position(env, o, head)
	s.Attached = append(s.Attached, Attachment{c.Conn, c.Who, channel})
	s.seen(env, c.Who)
	s.comeBack(c)
	f := d.frame(c.Conn)
	f.Kind, f.ID, f.Session, f.Verb, f.Seq, f.Head = wire.FrameAttach, c.ID, s.ID, wire.VerbOpen, start, head
	f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Open{Open: &wirepb.OpenReply{
		Session: string(s.ID), Epoch: s.Epoch(), Head: head, State: s.Phase.String(), Worker: s.workerPB(),
		How: how, At: at, Streams: s.streamsPB(), Duplicate: old != nil,
	}}}
	s.running(c.Conn, d)
	if m := s.placePB(); m != nil {
		d.push(c.Conn, wire.FramePush, s.ID, m) // who comes later is told as well
	}
}

// position returns where an attachment begins, how that meets what was asked for, and what was lost [SW-3.2].
func (s *State) position(env *Env, o *wirepb.Open, head uint64) (start uint64, how string, at uint64) {
	from := o.GetFrom()
	if env.Lossy { // what lies beyond the head may have been acknowledged
		start, head = min(head, from.GetSeq()), s.Head
		if from == nil {
			start = s.Head - min(s.Head, uint64(o.GetTail()))
		}
		return start, "truncated", head
	}
	if from == nil {
		if o.GetTail() > 0 {
			return head - min(head, uint64(o.GetTail())), "exact", 0
		}
		return head, "exact", 0
	}
	if from.Epoch == 0 { // a client that never saw one means the current
		from = &wirepb.Position{Epoch: s.Epoch(), Seq: from.Seq}
	}
	if from.Epoch > s.Epoch() {
		const tail = 50
		return head - min(head, tail), "reset", 0
	}
	last := s.Head
	for i := len(s.Epochs) - 1; i >= 0 && s.Epochs[i].Epoch > from.Epoch; i-- {
		last = s.Epochs[i].First - 1
	}
	if from.Seq > last {
		return last, "truncated", last
	}
	return from.Seq, "exact", 0
}

// crowded tells whether so many connections follow s that there is no place for another one of who.
func (s *State) crowded(who *wire.Principal) bool {
	if len(s.Attached) >= maxAttached {
		return true
	}
	if len(s.Attached) < maxFrontend || !frontend(who.Role) {
		return false
	}
	n := 0
	for i := range s.Attached {
		if frontend(s.Attached[i].Who.Role) {
			n++
		}
	}
	return n >= maxFrontend
}

func (s *State) owns(who *wire.Principal) bool {
	return s.Phase == Assigned && s.Owner.Worker == ownerName(who)
}

func (s *State) workerPB() *wirepb.Worker {
	if s.Phase != Assigned {
		return nil
	}
	return &wirepb.Worker{Id: s.Owner.Sub, Kind: string(s.Owner.Kind), Name: s.Owner.Name}
}

// send is a customer's word [SW-4.2], or what a service says for him [SW-5a.6].
func (s *State) send(env *Env, c *wire.Command, d *Decision) {
	if !frontend(c.Who.Role) {
		d.refuse(c, wire.Forbidden)
		return
	}
	key, done := s.remembered(env, c, d)
	if done {
		return
	}
	if s.Phase == Closed && !s.reopen(env, c, d) {
		return
	}
	e := &wire.Entry{
		From: s.speaker(c), Origin: wire.OriginCustomer, Kind: wire.KindMessage, Type: c.Type, Body: c.Body,
		Visibility: wire.Public, Channel: s.channelOf(c), ReplyTo: c.ReplyTo,
	}
	if e.Type == "" {
		e.Type = "text"
	}
	prev := s.append(env, e, replied(c), d)
	s.done(c, key, Done{Seq: e.Seq, Epoch: e.Epoch, TS: e.TS}, prev, d)
	s.seen(env, c.Who)
	switch {
	case s.asks(env, e):
		s.toPeople(env, d)
	case s.Phase == New:
		s.enqueue(env, s.Queue, waiting{since: env.Now}, d) // [SW-4.6]
	case s.Phase == Assigned:
		s.pump(env, d)
	}
}

// channelOf returns the channel that c comes from: a service's, the one that its connection opened the session with, or the
// session's first.
func (s *State) channelOf(c *wire.Command) string {
	if c.For != nil && c.Who.Role == wire.RoleService {
		return c.For.Channel
	}
	for i := range s.Attached {
		if a := &s.Attached[i]; a.Conn == c.Conn && a.Channel != "" {
			return a.Channel
		}
	}
	return s.Channels[0]
}

// reopen brings a closed session back, or refuses c [SW-4.6].
func (s *State) reopen(env *Env, c *wire.Command, d *Decision) bool {
	if env.Current != "" && env.Current != s.ID {
		d.fail(c, &wire.Error{Slug: wire.SessionClosed, Detail: object("session", string(env.Current))})
		return false
	}
	if env.Now-s.ClosedAt >= env.Policy.ReopenWindowMS {
		d.refuse(c, wire.SessionClosed)
		return false
	}
	d.fact(s, Fact{Kind: Reopened})
	s.event(env, EventReopened, nil, d)
	return true
}

// close ends the session, at the customer's or its owner's word.
func (s *State) close(env *Env, c *wire.Command, d *Decision) {
	key, done := s.remembered(env, c, d)
	if done {
		return
	}
	if !frontend(c.Who.Role) && (!s.fenced(c, d) || s.unanswered(c, d)) {
		return
	}
	if s.Phase == Closed {
		d.refuse(c, wire.SessionClosed)
		return
	}
	s.interrupt(env, d)
	s.endTransfer(env, "closed", d)
	s.event(env, EventClosed, object("by", string(c.Who.Role)), d)
	seq := s.Head
	if c.Reason != "" {
		s.event(env, EventReleased, object("outcome", c.Reason), d)
	}
	s.over(env, c.Conn, d)
	s.done(c, key, Done{Seq: seq, Epoch: s.Epoch(), TS: env.Now}, 0, d)
}

// over lets everybody go. to is the connection that knows by its own reply.
func (s *State) over(env *Env, to wire.Conn, d *Decision) {
	s.dismiss(env, d)
	gave := s.giveBack(env, to, "closed", d)
	if !gave && s.Phase == Queued {
		d.post(env, &wire.Withdraw{Tenant: s.Tenant, Session: s.ID, Ticket: s.Ticket})
	}
	d.fact(s, Fact{Kind: Ended, At: env.Now})
	s.settle()
	s.stateChanged(d)
}

// dismiss ends the presence of everybody who was invited or is a guest.
func (s *State) dismiss(env *Env, d *Decision) {
	s.disinvite(env, d)
	for len(s.Guests) > 0 {
		s.part(env, &s.Guests[0], d)
	}
}

// rate is the customer's judgement.
func (s *State) rate(env *Env, c *wire.Command, d *Decision) {
	r := c.PB.GetRate()
	if c.Who.Role != wire.RoleCustomer {
		d.refuse(c, wire.Forbidden)
		return
	}
	if r.GetScore() < 1 || r.GetScore() > 5 {
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "score must be 1 to 5"})
		return
	}
	key, done := s.remembered(env, c, d)
	if done {
		return
	}
	body := objectNum(nil, "score", uint64(r.Score))
	if r.Comment != "" {
		body = objectString(body, "comment", r.Comment)
	}
	if s.LastWorker != "" { // who is meant: he has it, or had it last
		body = objectString(body, "worker", s.LastWorker)
	}
	e := &wire.Entry{From: c.Who.Author(), Origin: wire.OriginSystem, Kind: wire.KindEvent, Type: EventRated, Body: body, Visibility: EventVisibility(EventRated)}
	s.append(env, e, wire.Conn{}, d)
	s.done(c, key, Done{Seq: e.Seq, Epoch: e.Epoch, TS: e.TS}, 0, d)
	if s.Phase == Assigned {
		s.pump(env, d)
	}
}

// leave ends the connection's following, and with it that its bearer is a guest.
func (s *State) leave(env *Env, c *wire.Command, d *Decision) {
	was := s.there()
	s.detach(c.Conn)
	s.unseen(env, was)
	if i := s.invited(c.Who.Worker); i != nil && c.Who.Role == wire.RoleWorker && !env.ReadOnly {
		if s.hosts(c.Who) {
			d.fact(s, Fact{Kind: Uninvited, Name: i.Worker})
		} else {
			s.uninvite(env, i, uninvitedDecline, d)
		}
	}
	s.partOn(env, c.Conn, d)
	f := d.frame(c.Conn)
	f.Kind, f.ID, f.Session, f.Verb = wire.FrameDetach, c.ID, s.ID, c.Verb
	if c.ID != 0 {
		f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Leave{Leave: &wirepb.Done{}}}
	}
}

func (s *State) detach(conn wire.Conn) {
	s.Attached = slices.DeleteFunc(s.Attached, func(a Attachment) bool { return a.Conn == conn })
}

// page asks for entries on behalf of c: a page for a connection that is behind, or history.
func (s *State) page(c *wire.Command, d *Decision) {
	until := s.headFor(c.Who)
	l := Load{Kind: LoadPage, Command: c, After: min(c.Seq, until), Before: until + 1, Limit: 64, Staff: sees(c.Who.Role) == wire.Staff}
	if h := c.PB.GetHistory(); h != nil {
		l.Limit = int(min(max(h.Limit, 1), 100))
		if h.Limit == 0 {
			l.Limit = 50
		}
		l.After, l.Reverse = 0, h.After == nil
		if h.After != nil {
			l.After = min(*h.After, until)
		}
		if h.Before != nil {
			l.Before = min(l.Before, *h.Before)
		}
	}
	d.Load = append(d.Load, l)
}

// Page answers a LoadPage with the entries that were read; prev is the seq of the one before them that who asks may see, and more
// tells that the range holds others.
func (s *State) Page(l *Load, entries []*wire.Entry, prev uint64, more bool, d *Decision) {
	c := l.Command
	if s.ErasedAt != 0 {
		if frontend(c.Who.Role) {
			d.refuse(c, wire.NoSession)
			return
		}
		for i, e := range entries { // read before their rows were rewritten
			entries[i] = Blank(e)
		}
	}
	if c.Verb == wire.VerbHistory {
		pb := &wirepb.HistoryReply{More: more}
		for _, e := range entries {
			pb.Entries = append(pb.Entries, e.PB(prev))
			prev = e.Seq
		}
		d.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_History{History: pb}})
		return
	}
	f := d.frame(c.Conn)
	f.Kind, f.Session, f.Entries, f.Seq = wire.FramePage, s.ID, entries, c.Seq
	f.Head, f.Streams = s.headFor(c.Who), s.streamsPB()
}

// typing tells the others; it is never stored [SW-4.8]. Only the two who talk type: who watches is not seen.
func (s *State) typing(c *wire.Command, d *Decision) {
	if c.Who.Role != wire.RoleCustomer && !s.fenced(c, d) {
		return
	}
	const ttl = 6000
	who := c.Who.Author()
	pb := &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Typing{Typing: &wirepb.Typing{Session: string(s.ID), From: who.PB(), On: c.On, TtlMs: ttl}}}
	s.tell(c.Conn, pb, d)
	if c.ID != 0 {
		d.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Typing{Typing: &wirepb.Typing{Session: string(s.ID), On: c.On}}})
	}
}

// tell pushes something ephemeral to everybody but from: the attached and the owner.
func (s *State) tell(from wire.Conn, pb *wirepb.ServerFrame, d *Decision) {
	owner := s.Phase == Assigned && s.owner.conn != from && s.owner.conn != wire.Conn{}
	for i := range s.Attached {
		if conn := s.Attached[i].Conn; conn != from {
			d.push(conn, wire.FramePush, s.ID, pb)
			owner = owner && conn != s.owner.conn
		}
	}
	if owner {
		d.push(s.owner.conn, wire.FramePush, s.ID, pb)
	}
}

// receipt is a customer's ack: the position is soft, the others are told.
func (s *State) receipt(c *wire.Command, d *Decision) {
	if c.Seq > s.Public || c.Read > s.Public {
		d.refuse(c, wire.NotDelivered)
		return
	}
	if c.Seq > s.Delivered || c.Read > s.Read {
		s.Delivered, s.Read = max(s.Delivered, c.Seq), max(s.Read, c.Read)
		who := c.Who.Author()
		s.tell(c.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Receipt{Receipt: &wirepb.Receipt{
			Session: string(s.ID), Who: who.PB(), Delivered: s.Delivered, Read: s.Read,
		}}}, d)
	}
	s.written(c, Done{Seq: c.Seq, Epoch: s.Epoch()}, false, 0, d)
}

// stateChanged tells the attached where the session stands [SW-4].
func (s *State) stateChanged(d *Decision) {
	if len(s.Attached) == 0 {
		return
	}
	pb := &wirepb.State{Session: string(s.ID), State: s.Phase.String()}
	if s.Phase == Queued {
		pb.Queue = s.Queue
	}
	m := &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_State{State: pb}}
	for i := range s.Attached {
		d.push(s.Attached[i].Conn, wire.FramePush, s.ID, m)
	}
}
