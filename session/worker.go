package session

import (
	"slices"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// reply is the owner's word, and with Ack the end of its work on what came before: one durable step [SW-5.5].
func (s *State) reply(env *Env, c *wire.Command, d *Decision) {
	if c.GE != 0 {
		s.guestSays(env, c, d)
		return
	}
	key, done := s.remembered(env, c, d)
	if done || !s.fenced(c, d) {
		return
	}
	if c.Ack.Set && !s.delivered(c.Ack.Value) {
		d.refuse(c, wire.NotDelivered) // [SW-5.6]
		return
	}
	if c.Visibility == wire.Staff && s.stream(c.Stream) != nil { // [SW-4.8] it would end for staff alone
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "the customer has seen what has streamed: what ends a stream is public"})
		return
	}
	e := &wire.Entry{
		From: c.Who.Author(), Origin: s.Owner.Kind, Kind: wire.KindMessage, Type: c.Type, Body: c.Body,
		Visibility: wire.Public, Channel: s.Channels[0], ReplyTo: c.ReplyTo, Stream: c.Stream,
	}
	if e.Type == "" {
		e.Type = "text"
	}
	if c.Visibility == wire.Staff {
		e.Visibility = wire.Staff
	}
	s.endStream(c.Stream)
	prev := s.append(env, e, replied(c), d)
	if c.Ack.Set {
		s.moveCursor(c.Ack.Value, d)
	}
	s.done(c, key, Done{Seq: e.Seq, Epoch: e.Epoch, TS: e.TS}, prev, d)
	s.turned(env, e, d)
	s.pump(env, d)
}

// ack moves the owner's cursor [SW-5.6], or a customer's receipt.
func (s *State) ack(env *Env, c *wire.Command, d *Decision) {
	if c.Who.Role == wire.RoleCustomer {
		s.receipt(c, d)
		return
	}
	if !s.fenced(c, d) {
		return
	}
	if !s.delivered(c.Seq) {
		d.refuse(c, wire.NotDelivered)
		return
	}
	s.heard(c, d)
	if c.ID == 0 {
		// Nobody waits for an answer, so it need not survive a crash: the entry then comes again.
		s.acked(c.Seq)
		s.trim()
	} else {
		s.moveCursor(c.Seq, d)
	}
	s.written(c, Done{Seq: c.Seq, Epoch: s.Epoch()}, false, 0, d)
	s.pump(env, d)
}

// heard tells the others how far the owner's ack has come [SW-4]: a customer sees that his words have arrived, and, when the owner says so, that they
// were read. A reply that acknowledges says it by itself, and what a bot takes note of it answers in a moment.
func (s *State) heard(c *wire.Command, d *Decision) {
	if c.Read == 0 && (c.Who.Kind != wire.OriginHuman || c.Seq <= s.Cursor) || len(s.Attached) == 0 {
		return
	}
	upto := min(max(c.Seq, s.Cursor), s.Public) // staff entries are nobody else's business
	who := c.Who.Author()
	s.tell(c.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Receipt{Receipt: &wirepb.Receipt{
		Session: string(s.ID), Who: who.PB(), Delivered: upto, Read: min(c.Read, upto),
	}}}, d)
}

// moveCursor acknowledges everything up to seq, durably, and with it what plain acks have said before.
func (s *State) moveCursor(seq uint64, d *Decision) {
	d.acked(s, max(seq, s.Cursor))
	s.trim()
}

// maxDelayMS bounds how long a nack can keep a customer waiting.
const maxDelayMS = 3_600_000

// nack gives an entry of the customer back: it comes again after a delay, and what follows waits too [SW-5.6]. What is
// acknowledged is over: it may have been answered, and its answer is remembered under its seq [SW-5.5], so it is not taken
// back.
func (s *State) nack(env *Env, c *wire.Command, d *Decision) {
	key, done := s.remembered(env, c, d)
	if done || !s.fenced(c, d) {
		return
	}
	if !s.owed(c.Seq) {
		d.refuse(c, wire.NotDelivered)
		return
	}
	attempt := uint32(1)
	if s.FailSeq == c.Seq {
		attempt = s.Attempt + 1
	}
	s.done(c, key, Done{Seq: c.Seq, Epoch: s.Epoch(), TS: env.Now}, 0, d)
	d.fact(s, Fact{Kind: Failed, Seq: c.Seq, Attempt: attempt, At: env.Now + min(max(c.DelayMS, 0), maxDelayMS)})
	s.rewind(c.Seq - 1)
	if attempt >= env.Policy.MaxAttempts {
		s.deadLetter(env, c.Seq, attempt, c.Reason, d)
		return
	}
	s.pump(env, d)
}

// deadLetter takes the session from an owner that cannot answer seq, and sends it on along its route [SW-5.6].
func (s *State) deadLetter(env *Env, seq uint64, attempt uint32, reason string, d *Decision) {
	body := objectNum(nil, "seq", seq)
	body = objectNum(body, "attempts", uint64(attempt))
	if reason != "" {
		body = objectString(body, "reason", reason)
	}
	s.interrupt(env, d)
	s.endTransfer(env, "source_lost", d)
	s.event(env, EventDeadLettered, body, d)
	worker, since := s.Owner.Worker, s.EnqueuedAt
	s.giveBack(env, wire.Conn{}, "transfer", d)
	d.fact(s, Fact{Kind: Freed})
	// The next owner begins with a clean count; the entry was not acknowledged, so it is delivered to him.
	d.fact(s, Fact{Kind: Failed, Seq: seq})
	s.settle()
	s.enqueue(env, s.Queue, waiting{since: since, humanOnly: true, requeued: true, exclude: worker}, d)
}

// transfer hands the session on [SW-5.8].
func (s *State) transfer(env *Env, c *wire.Command, d *Decision) {
	t := c.PB.GetTransfer()
	key, done := s.remembered(env, c, d)
	if done || !s.fenced(c, d) || s.unanswered(c, d) {
		return
	}
	queue, worker, kind := t.GetTo().GetQueue(), t.GetTo().GetWorker(), t.GetTo().GetKind()
	switch {
	case (queue == "") == (worker == ""):
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "to needs a queue or a worker"})
		return
	case kind != "" && (worker != "" || kind != string(wire.OriginBot) && kind != string(wire.OriginHuman)):
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "kind is bot or human, and of a queue"})
		return
	}
	if _, ok := env.Policy.Queue(queue); queue != "" && !ok {
		d.refuse(c, wire.NoQueue)
		return
	}
	if worker != "" && s.Transfer.Ticket != 0 {
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "a transfer is already pending"})
		return
	}
	if worker == s.Owner.Worker {
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "the session is yours already"})
		return
	}
	if len(t.Context) > 0 {
		doc, err := merge(s.Context, t.Context)
		switch {
		case err != nil || doc[0] != '{':
			d.refuse(c, wire.InvalidBody)
			return
		case len(doc) > env.Policy.MaxBody:
			d.refuse(c, wire.TooLarge)
			return
		}
		d.fact(s, Fact{Kind: Patched, N: s.ContextV + 1, Doc: doc})
	}
	if worker != "" {
		d.fact(s, Fact{Kind: Requested, Transfer: &Transfer{Ticket: s.Ticket + 1, Worker: worker, Note: t.Note}})
		s.done(c, key, Done{Seq: s.Head, Epoch: s.Epoch(), TS: env.Now}, 0, d)
		s.ask(env, d)
		return
	}
	s.interrupt(env, d)
	s.endTransfer(env, "source_lost", d)
	s.event(env, EventTransferred, s.transferBody("queue", queue, t.Note), d)
	seq := s.Head
	// A bot that sends the session on inside its own queue hands it to a human there, and no human there gives it back to the
	// bots. In another queue the bots have their turn. Unless it is said who shall have it.
	w := waiting{since: s.EnqueuedAt, humanOnly: s.HumanOnly || s.Owner.Kind == wire.OriginBot, requeued: true, handed: true, exclude: s.Owner.Worker}
	if kind != "" {
		w.exact, w.humanOnly = true, kind == string(wire.OriginHuman)
	}
	s.giveBack(env, c.Conn, "transfer", d)
	d.fact(s, Fact{Kind: Freed})
	s.settle()
	s.done(c, key, Done{Seq: seq, Epoch: s.Epoch(), TS: env.Now}, 0, d)
	s.enqueue(env, queue, w, d)
}

func (s *State) transferBody(kind, to, note string) []byte {
	body := objectString(nil, kind, to)
	body = objectString(body, "from", s.Owner.Worker)
	body = objectNum(body, "context_v", s.ContextV)
	if note != "" {
		body = objectString(body, "note", note)
	}
	return body
}

// release ends the assignment [SW-5.8]. What the customer said and nobody acknowledged is queued again: it cannot be
// released away.
func (s *State) release(env *Env, c *wire.Command, d *Decision) {
	r := c.PB.GetRelease()
	key, done := s.remembered(env, c, d)
	if done || !s.fenced(c, d) || s.unanswered(c, d) {
		return
	}
	body := objectString(nil, "outcome", r.GetOutcome())
	if r.GetSummary() != "" {
		body = objectString(body, "summary", r.Summary)
	}
	if len(r.GetTags()) > 0 {
		body = objectStrings(body, "tags", r.Tags)
	}
	s.interrupt(env, d)
	s.endTransfer(env, "source_lost", d)
	s.event(env, EventReleased, body, d)
	seq := s.Head
	w := waiting{since: s.EnqueuedAt, humanOnly: s.HumanOnly, requeued: true}
	if again, others := s.circles(); again {
		w.exclude = s.Owner.Worker
		if others && s.Owner.Kind == wire.OriginBot { // and so it would go on between them
			w.humanOnly, w.exact = true, true
		}
	}
	s.giveBack(env, c.Conn, "", d)
	d.fact(s, Fact{Kind: Freed})
	s.settle()
	s.done(c, key, Done{Seq: seq, Epoch: s.Epoch(), TS: env.Now}, 0, d)
	if s.Cursor < s.Said {
		s.enqueue(env, s.Queue, w, d)
		return
	}
	s.stateChanged(d)
}

// circles tells whether the owner had the session before as well, since its customer said something, and whether others had it since then, too. He has
// acknowledged nothing this time: then he would get it again at once, and so on without end; whoever acknowledges something each time comes to an end. When the
// assignment began at an earlier owner of the shard it is not known what was acknowledged since, unless nothing ever was: he may have it once more.
func (s *State) circles() (again, others bool) {
	if s.Owner.taken() || s.Cursor > s.owner.began {
		return false, false
	}
	for _, p := range s.Past {
		switch {
		case p.Until < s.Said:
		case p.Worker == s.Owner.Worker:
			again = true
		default:
			others = true
		}
	}
	return again, others
}

// unanswered refuses c when the customer said something after what its sender has seen [SW-5.8].
func (s *State) unanswered(c *wire.Command, d *Decision) bool {
	if !c.Upto.Set || s.Said <= c.Upto.Value {
		return false
	}
	d.fail(c, &wire.Error{Slug: wire.Unanswered, Detail: objectNum(nil, "seq", s.Said)})
	return true
}

// context patches the context document, if it is still the version that the owner knows.
func (s *State) context(env *Env, c *wire.Command, d *Decision) {
	p := c.PB.GetContext()
	key, done := s.remembered(env, c, d)
	if done || !s.fenced(c, d) {
		return
	}
	if p.GetIfV() != s.ContextV {
		d.fail(c, &wire.Error{Slug: wire.VersionConflict, Detail: objectNum(nil, "v", s.ContextV)})
		return
	}
	doc, err := merge(s.Context, p.GetPatch())
	if err != nil || doc[0] != '{' {
		d.refuse(c, wire.InvalidBody)
		return
	}
	if len(doc) > env.Policy.MaxBody {
		d.refuse(c, wire.TooLarge)
		return
	}
	d.fact(s, Fact{Kind: Patched, N: s.ContextV + 1, Doc: doc})
	s.done(c, key, Done{Seq: s.Head, Epoch: s.Epoch(), TS: env.Now, V: s.ContextV}, 0, d)
}

// giveBack tells the pool and the owner that the assignment is over. to is the connection that knows by its own reply.
// It reports whether there was an assignment. The fact that frees the session follows it.
func (s *State) giveBack(env *Env, to wire.Conn, reason string, d *Decision) bool {
	if s.Phase != Assigned {
		return false
	}
	r := &wire.Release{Tenant: s.Tenant, Session: s.ID, Ticket: s.Owner.Ticket, Worker: s.Owner.Worker, AE: s.AE}
	if s.Owner.Kind == wire.OriginHuman && (reason == "" || reason == "closed") {
		s.wrapsUp(env, s.wrapUp(env.Policy), r, d)
	}
	d.post(env, r)
	s.revoke(to, reason, d)
	return true
}

// failed returns the body of a session.transfer_failed [SW-5.8]: who is away has no room, as who is full has none.
func failed(why string) []byte {
	if why == "away" {
		return object("why", "full", "target", why)
	}
	return object("why", why)
}

// endTransfer takes a pending transfer to a worker back: every one ends in exactly one entry [SW-5.8].
func (s *State) endTransfer(env *Env, why string, d *Decision) {
	if s.Transfer.Ticket == 0 {
		return
	}
	d.post(env, &wire.Withdraw{Tenant: s.Tenant, Session: s.ID, Ticket: s.Transfer.Ticket})
	d.fact(s, Fact{Kind: Requested, Transfer: &Transfer{}})
	s.event(env, EventTransferFailed, failed(why), d)
}

// revoke tells the owner that it is not any more, and ends what its connections follow as a worker: they see no later
// entry [SW-5.10].
func (s *State) revoke(to wire.Conn, reason string, d *Decision) {
	owners := func(a Attachment) bool { return a.Who.Role == wire.RoleWorker && !s.hosts(a.Who) }
	for i := range s.Attached {
		if a := &s.Attached[i]; owners(*a) {
			f := d.frame(a.Conn)
			f.Kind, f.Session = wire.FrameDetach, s.ID
		}
	}
	s.Attached = slices.DeleteFunc(s.Attached, owners)
	conn := s.owner.conn
	if conn == (wire.Conn{}) {
		return
	}
	f := d.frame(conn)
	f.Kind, f.Session, f.AE = wire.FrameRevoked, s.ID, s.AE
	if conn != to {
		f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Session: string(s.ID), Ae: s.AE, Reason: reason}}}
	}
}
