package session

import (
	"slices"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// waiting is how a session goes into its queue.
type waiting struct {
	since     int64
	humanOnly bool
	exact     bool // humanOnly counts in another queue too
	requeued  bool
	handed    bool
	exclude   string
	there     bool // its customer is, or will be in a moment
}

// enqueue puts the session in line, under a new ticket.
func (s *State) enqueue(env *Env, queue string, w waiting, d *Decision) {
	if w.since == 0 {
		w.since = env.Now
	}
	queue = env.Policy.Named(queue) // its own may be there no more
	moved := queue != env.Policy.Named(s.Queue) && !w.exact
	d.fact(s, Fact{Kind: Enqueued, Name: queue, Ticket: s.Ticket + 1, At: w.since, HumanOnly: w.humanOnly && !moved, Requeued: w.requeued, Handed: w.handed, Exclude: w.exclude, Followed: s.there() || w.there || w.requeued && s.Followed})
	s.event(env, EventQueued, object("queue", queue), d)
	s.stateChanged(d)
	d.post(env, s.task())
}

// task returns what the pool needs to know: of the transfer that is pending, or of the session that waits.
func (s *State) task() *wire.Task {
	t := &wire.Task{
		Tenant: s.Tenant, Session: s.ID, Ticket: s.Ticket, Queue: s.Queue, EnqueuedAt: s.EnqueuedAt,
		Shop: s.Shop, Tier: s.Tier, Channel: s.Channels[0], Attributes: s.Attributes, Sticky: s.LastWorker, HumansOnly: s.HumanOnly, Requeue: s.Requeued, Handed: s.Handed,
		BoostMS: s.boost, Ahead: s.ahead, Version: s.boosts, Classified: s.Classified,
	}
	if takesOver(s.LastWorker) {
		t.Sticky = "" // who took it over has no place in a pool: nobody waits for him
	}
	if s.Exclude != "" {
		t.Exclude, t.Sticky = []string{s.Exclude}, ""
	}
	if s.Phase == Assigned || s.Transfer.Ticket != 0 { // a transfer names its worker: nothing else decides
		t.Ticket, t.To, t.From, t.Force = s.Transfer.Ticket, s.Transfer.Worker, s.Owner.Worker, s.Transfer.Force
		t.Sticky, t.Exclude, t.Requeue, t.Handed, t.HumansOnly = "", nil, false, false, false
		t.Present = slices.ContainsFunc(s.Guests, func(g Guest) bool { return g.Worker == t.To && g.here })
	}
	t.Summary = s.summary()
	return t
}

// ask posts the task. Of who has the session meanwhile the pool is told once more: when it has not heard that he took it, it would forget him, as at most one
// word of a session waits for an answer.
func (s *State) ask(env *Env, d *Decision) {
	s.confirm(env, d)
	d.post(env, s.task())
}

// Confirmed returns the word that the pool's grant was taken, while its worker has the session, or nil. It goes before each [State.Again].
func (s *State) Confirmed() *wire.Confirm {
	if s.Phase != Assigned || s.Owner.taken() {
		return nil
	}
	return &wire.Confirm{Tenant: s.Tenant, Session: s.ID, Ticket: s.Owner.Ticket, Worker: s.Owner.Worker, Lease: s.Owner.Lease, AE: s.AE}
}

// summary is what an offer shows of the session.
func (s *State) summary() []byte {
	b := objectString(nil, "customer", s.Customer.ID)
	if s.Customer.Name != "" {
		b = objectString(b, "name", s.Customer.Name)
	}
	if s.Shop != "" {
		b = objectString(b, "shop", s.Shop)
	}
	b = objectNum(b, "messages", s.Head)
	if s.Phase == Assigned && s.Transfer.Note != "" {
		b = objectString(b, "note", s.Transfer.Note)
	}
	return b
}

// Waiting tells whether Again has something to say.
func (s *State) Waiting() bool {
	return s.Phase == Queued || s.Phase == Assigned && s.Transfer.Ticket != 0
}

// Again returns what the session still waits for an answer about, to be mailed once more, or nil.
func (s *State) Again() *wire.Task {
	if s.Waiting() {
		return s.task()
	}
	return nil
}

// AppendCensus appends s to live as a pool that opens needs it: its assignment, and what it waits for.
func (s *State) AppendCensus(live []wire.Live) []wire.Live {
	if s.Phase == Assigned && !s.Owner.taken() { // who took it is no worker of the pool's
		live = append(live, s.held())
	}
	if t := s.Again(); t != nil {
		live = append(live, wire.Live{Task: *t})
	}
	return live
}

// held is what the pool needs to know of the assignment.
func (s *State) held() wire.Live {
	return wire.Live{
		Task:     wire.Task{Tenant: s.Tenant, Session: s.ID, Ticket: s.Owner.Ticket, Queue: s.Queue, EnqueuedAt: s.EnqueuedAt, Shop: s.Shop, Tier: s.Tier, Channel: s.Channels[0]},
		Assigned: true, Worker: s.Owner.Worker, Kind: s.Owner.Kind, Lease: s.Owner.Lease, Offer: s.Owner.Offer, AE: s.AE,
	}
}

// Introduce notes the number of a pool that took over. From now on lower ones are refused.
func (s *State) Introduce(pool uint64, d *Decision) {
	if pool > s.Pool {
		d.fact(s, Fact{Kind: PoolSeen, N: pool})
	}
}

// Grant decides the pool's word that a worker is found.
func (s *State) Grant(env *Env, g *wire.Grant, d *Decision) {
	if g.Pool < s.Pool {
		return // the word of a pool that is none any more
	}
	if s.Phase == Assigned && s.Owner.Ticket == g.Ticket && s.Owner.Worker == g.Worker {
		s.Introduce(g.Pool, d) // what a pool before this one said, and comes later, is not to bind it to where he was
		s.confirm(env, d)      // it came twice; confirm says under which lease
		s.accepted(g, d)
		if g.Lease == s.Owner.Lease && g.Conn != s.owner.conn && g.Conn != (wire.Conn{}) { // the word that he is elsewhere by now was lost
			s.bindAgain(g.Conn, g.Window)
			s.present(g.Reason, d)
			s.pump(env, d)
		}
		return
	}
	transfer := s.Phase == Assigned && s.Transfer.Ticket != 0 && g.Ticket == s.Transfer.Ticket
	if !transfer && (s.Phase != Queued || g.Ticket != s.Ticket) {
		if w := s.wrapUpUnder(g.Ticket, g.Worker); w != nil {
			d.post(env, s.given(env, w.Worker, w.AE)) // the word that he was given back was lost: he is busy still
		}
		d.post(env, &wire.Declined{Tenant: s.Tenant, Session: s.ID, Ticket: g.Ticket, Worker: g.Worker})
		if g.Request != 0 {
			c := wire.Command{Verb: wire.VerbAccept, ID: g.Request, Conn: g.Conn, Session: s.ID}
			d.refuse(&c, wire.OfferRescinded)
		}
		return
	}
	s.Introduce(g.Pool, d)
	if !transfer && s.spurns(env, g, d) {
		return
	}
	humans := s.HumanOnly
	if transfer {
		humans = humans || s.Owner.Kind == wire.OriginBot && g.Kind == wire.OriginHuman // the bots had their turn
		s.interrupt(env, d)
		s.event(env, EventTransferred, s.transferBody("worker", g.Worker, s.Transfer.Note), d)
		r := &wire.Release{Tenant: s.Tenant, Session: s.ID, Ticket: s.Owner.Ticket, Worker: s.Owner.Worker, AE: s.AE}
		d.post(env, r)
		s.revoke(wire.Conn{}, "transfer", d)
		d.fact(s, Fact{Kind: Freed})
	}
	s.seated(env, g.Worker, d)
	d.fact(s, Fact{Kind: Granted, N: s.AE + 1, HumanOnly: humans, Owner: &Owner{
		Worker: g.Worker, Sub: g.Sub, Name: g.Name, Kind: g.Kind, Lease: g.Lease, Offer: g.Offer, Ticket: g.Ticket,
		Since: s.Head + 1, // session.assigned, which follows
	}})
	s.bind(g.Conn, g.Window, s.Cursor)
	body := objectString(objectString(nil, "kind", string(g.Kind)), "id", g.Sub)
	if g.Name != "" {
		body = objectString(body, "name", g.Name)
	}
	s.event(env, EventAssigned, body, d)
	s.confirm(env, d)
	s.accepted(g, d)
	s.stateChanged(d)
	s.present(g.Reason, d)
	s.pump(env, d)
}

// confirm tells the pool who has the session, if it is a worker of its.
func (s *State) confirm(env *Env, d *Decision) {
	if c := s.Confirmed(); c != nil {
		d.post(env, c)
	}
}

// accepted answers the accept behind a grant, once: a grant is repeated until it is confirmed, with the latest accept
// that came for its offer [SW-5.2].
func (s *State) accepted(g *wire.Grant, d *Decision) {
	if g.Request == 0 || s.owner.accept == g.Request && s.owner.acceptConn == g.Conn {
		return
	}
	s.owner.accept, s.owner.acceptConn = g.Request, g.Conn
	c := wire.Command{Verb: wire.VerbAccept, ID: g.Request, Conn: g.Conn, Session: s.ID}
	d.answer(&c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Accept{Accept: &wirepb.AcceptReply{Session: string(s.ID), Ae: s.AE}}})
}

// present pushes assigned: everything that the new owner needs to go on without asking the customer again. What is
// unacknowledged stands in the tail, and is delivered too [SW-5.4].
func (s *State) present(reason string, d *Decision) {
	a := &wirepb.Assigned{
		Session: string(s.ID), Ae: s.AE, Queue: s.Queue, Reason: reason, Epoch: s.Epoch(), Cursor: s.Cursor, Head: s.Head,
		Customer: s.Customer.PB(), Attributes: document(s.Attributes), AttributesV: s.AttributesV, Shop: s.Shop,
		Context: &wirepb.Document{V: s.ContextV, Doc: document(s.Context)},
	}
	// [SW-5.4] The documents and the tail share one frame; what is too old for it is read by history.
	tail := s.Tail()
	first, room := len(tail), TailBytes-len(s.Context)-len(s.Attributes)
	for first > 0 && room >= entrySize(tail[first-1]) {
		first--
		room -= entrySize(tail[first])
	}
	for _, e := range tail[first:] {
		a.Tail = append(a.Tail, e.PB(e.Seq-1))
	}
	f := d.push(s.owner.conn, wire.FrameAssigned, s.ID, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Assigned{Assigned: a}})
	f.AE = s.AE
}

// document returns doc, or an empty one: who reads assigned need not ask whether there is any [SW-5].
func document(doc []byte) []byte {
	if len(doc) == 0 {
		return []byte("{}")
	}
	return doc
}

// Lost decides the pool's word that the owner's grace is over [SW-5.7]: the session goes back to its old place.
func (s *State) Lost(env *Env, l *wire.Lost, d *Decision) {
	if l.Pool < s.Pool {
		return
	}
	if s.Phase != Assigned || s.AE != l.AE || s.Owner.Worker != l.Worker {
		d.post(env, s.given(env, l.Worker, l.AE))
		return
	}
	s.interrupt(env, d)
	s.event(env, EventWorkerLost, object("worker", l.Worker), d)
	failed, attempt := s.firstUnacked(env.Now), uint32(1)
	if failed != 0 && failed == s.FailSeq {
		attempt = s.Attempt + 1
	}
	if failed != 0 && attempt >= env.Policy.MaxAttempts {
		s.deadLetter(env, failed, attempt, "worker lost", d)
		return
	}
	s.endTransfer(env, "source_lost", d)
	since, human := s.EnqueuedAt, s.HumanOnly
	s.giveBack(env, wire.Conn{}, "lease", d)
	d.fact(s, Fact{Kind: Freed})
	if failed != 0 {
		d.fact(s, Fact{Kind: Failed, Seq: failed, Attempt: attempt})
	}
	s.settle()
	s.enqueue(env, s.Queue, waiting{since: since, humanOnly: human, requeued: true}, d)
}

// Rebind decides the pool's word that the owner is back with its lease [SW-5.7].
func (s *State) Rebind(env *Env, r *wire.Rebind, d *Decision) {
	if r.Pool < s.Pool {
		return
	}
	if s.Phase != Assigned || s.AE != r.AE || s.Owner.Worker != r.Worker {
		d.post(env, s.given(env, r.Worker, r.AE))
		f := d.push(r.Conn, wire.FrameRevoked, s.ID, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Session: string(s.ID), Ae: r.AE, Reason: "lease"}}})
		f.AE = r.AE
		return
	}
	if !env.ReadOnly {
		s.Introduce(r.Pool, d)
	}
	// Otherwise it is said again.
	s.confirm(env, d)
	if r.Fresh && r.Lease == "" && s.owner.conn == r.Conn { // asked for twice, or told by `kept` meanwhile: what was delivered there was not lost [SW-5.4]
		return
	}
	s.bindAgain(r.Conn, r.Window)
	if r.Fresh {
		s.present(r.Reason, d) // it came back before the pool knew of the assignment: `kept` could not tell it
	} else {
		s.known(d) // by `kept`
	}
	s.pump(env, d)
}

// known lets the owner's connection through with deliveries of an assignment that its worker has heard of.
func (s *State) known(d *Decision) {
	f := d.frame(s.owner.conn)
	f.Kind, f.Session, f.AE = wire.FrameAssigned, s.ID, s.AE // without a frame of its own
}

// Binding is where the deliveries of an assignment go. The zero Binding is nowhere.
type Binding struct {
	AE     uint64
	Conn   wire.Conn
	Window uint32
}

// Binding returns where the owner is now.
func (s *State) Binding() Binding {
	return Binding{s.AE, s.owner.conn, uint32(s.owner.window)} //nolint:gosec // it was one
}

// Resume binds s, which was read again from the log while its owner stayed connected, as it was bound before. What is
// unacknowledged is delivered once more. A binding of another assignment is over, and one that is bound stays so. He may have been bound in the very turn that the
// log refused, and what told him of the assignment went with it: so he is told once more, which an edge passes over that has told him.
func (s *State) Resume(env *Env, b Binding, d *Decision) {
	if s.Phase != Assigned || s.AE != b.AE || b.Conn == (wire.Conn{}) || s.owner.conn != (wire.Conn{}) {
		return
	}
	s.bindAgain(b.Conn, b.Window)
	if s.Owner.taken() {
		s.known(d) // by the answer to his own word
	} else {
		s.present("route", d)
	}
	s.pump(env, d)
}

// Unbound returns what is to be mailed to the pool as long as s, which was read from the log, does not know where its worker is
// connected; otherwise nil.
func (s *State) Unbound() *wire.Unbound {
	if s.Phase != Assigned || s.Owner.taken() || s.owner.conn != (wire.Conn{}) {
		return nil
	}
	return &wire.Unbound{Live: s.held()}
}

// NoGrant decides the pool's word that nobody will come under a ticket.
func (s *State) NoGrant(env *Env, n *wire.NoGrant, d *Decision) {
	if n.Pool >= s.Pool && s.Phase == Queued && n.Ticket == s.Ticket && s.Transfer.Ticket == n.Ticket {
		s.undirect(env, n.Why, d)
		return
	}
	if n.Pool >= s.Pool && s.Phase == Queued && n.Ticket == s.Ticket {
		s.reroute(env, n, d)
		return
	}
	if n.Pool < s.Pool || s.Phase != Assigned || s.Transfer.Ticket != n.Ticket || n.Ticket == 0 {
		return
	}
	d.fact(s, Fact{Kind: Requested, Transfer: &Transfer{}}) // [SW-5.8] the source stays owner
	s.event(env, EventTransferFailed, failed(n.Why), d)
	s.pump(env, d)
}

// LastResort tells whoever follows that the route has come to its last step, once a ticket, and the pool that the log has
// it. The session waits on: what the customer leaves meanwhile is in its log.
func (s *State) LastResort(env *Env, r *wire.Resort, d *Decision) {
	switch {
	case r.Pool < s.Pool:
		return
	case s.Phase != Queued || r.Ticket != s.Ticket:
		s.unwanted(env, r.Ticket, d)
		return
	}
	if s.Resort != r.Ticket {
		d.fact(s, Fact{Kind: ResortSeen, Ticket: r.Ticket})
		body := object("action", r.Action, "step", r.Step)
		if r.OpensAt > 0 {
			body = objectNum(body, "opens_at", uint64(r.OpensAt))
		}
		s.event(env, EventResort, body, d)
	}
	d.post(env, &wire.Resorted{Tenant: s.Tenant, Session: s.ID, Ticket: r.Ticket})
}

// reroute takes the session out of a queue that is configured no more, to where one without a queue goes. What else the pool
// refuses is asked for again.
func (s *State) reroute(env *Env, n *wire.NoGrant, d *Decision) {
	to, ok := env.Policy.Queue(s.Queue)
	if !ok {
		to = env.Policy.DefaultQueue
	}
	if n.Why != string(wire.NoQueue) || to == s.Queue || !env.Policy.Queues[to] {
		return
	}
	w := waiting{since: s.EnqueuedAt, requeued: s.Requeued, handed: s.Handed, exclude: s.Exclude}
	s.enqueue(env, to, w, d)
}

// Moved notes that s, which waits, does so in another queue by now: its own is there no more, and its pool has moved it as
// its tenant says. It keeps its ticket, and since when it waits. To be called when the policy has changed.
func (s *State) Moved(env *Env, d *Decision) {
	to, ok := env.Policy.Queue(s.Queue)
	if !ok || to == s.Queue || s.Phase != Queued || env.ReadOnly {
		return
	}
	d.fact(s, Fact{
		Kind: Enqueued, Name: to, Ticket: s.Ticket, At: s.EnqueuedAt, HumanOnly: s.HumanOnly, Requeued: s.Requeued, Handed: s.Handed, Exclude: s.Exclude, Followed: s.Followed,
	})
	s.event(env, EventQueued, object("queue", to), d)
	s.stateChanged(d)
}

// Explains tells whether the bearer of c may be told why s is where it is: who supervises it, and who owns it.
func (s *State) Explains(c *wire.Command) bool {
	return s.ErasedAt == 0 && s.entitled(c) && (supervises(c.Who.Role) || c.Who.Role == wire.RoleWorker && s.owns(c.Who))
}

// unwanted answers a word about a ticket under which s does not wait. Its pool has not heard that it was withdrawn, or that somebody has it: without an
// answer he would stand in line for nothing until it is his turn, be offered to people, and count as waiting.
func (s *State) unwanted(env *Env, ticket uint64, d *Decision) {
	switch {
	case s.Transfer.Ticket == ticket:
	case s.Phase == Assigned && s.Owner.Ticket == ticket && !s.Owner.taken():
		s.confirm(env, d)
	default:
		d.post(env, &wire.Withdraw{Tenant: s.Tenant, Session: s.ID, Ticket: ticket})
	}
}

// Place tells the attached where the session stands in its queue, or when that opens.
func (s *State) Place(env *Env, p *wire.Place, d *Decision) {
	if s.Phase != Queued || p.Ticket != s.Ticket {
		s.unwanted(env, p.Ticket, d)
		return
	}
	s.place = p
	m := s.placePB()
	for i := range s.Attached {
		d.push(s.Attached[i].Conn, wire.FramePush, s.ID, m)
	}
}

// placePB returns what is known of the session's place in its queue, or nil.
func (s *State) placePB() *wirepb.ServerFrame {
	p := s.place
	if p == nil || s.Phase != Queued || p.Ticket != s.Ticket {
		return nil
	}
	pb := &wirepb.State{Session: string(s.ID), State: s.Phase.String(), Queue: p.Queue, Position: p.Position, OpensAt: p.OpensAt}
	if p.ETAMS != [2]int64{} {
		pb.EtaMs = p.ETAMS[:]
	}
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_State{State: pb}}
}

// Recover prepares a session that was read from the log: an epoch above its own begins with the next entry [SW-1]. To be
// called before anything else is decided about it.
func (s *State) Recover(epoch uint64, d *Decision) {
	if epoch > s.Epoch() {
		d.fact(s, Fact{Kind: EpochBegan, N: epoch, Seq: s.Head + 1})
	}
}

// Wake does what is due, and returns when to come again, or 0.
func (s *State) Wake(env *Env, d *Decision) int64 {
	s.miss(env, d)
	s.settleInvites(env, d)
	s.park(env, d)
	s.abandon(env, d)
	s.wrappedUp(env, d)
	if s.Phase == Assigned {
		s.pump(env, d)
	}
	return s.Alarm(env.Now)
}

// Alarm returns when Wake has something to do, or 0.
func (s *State) Alarm(now int64) int64 {
	at := s.invitesDue(now)
	if s.lonely() {
		due := now + lonelyMS
		if s.lonelyUntil != 0 {
			due = s.lonelyUntil
		}
		if at == 0 || due < at {
			at = due
		}
	}
	if due := s.wrapUpDue(); due != 0 && (at == 0 || due < at) {
		at = due
	}
	if s.Phase != Assigned {
		return at
	}
	for _, v := range [...]int64{s.HoldUntil, s.owner.retryAt} {
		if v > now && (at == 0 || v < at) {
			at = v
		}
	}
	return at
}
