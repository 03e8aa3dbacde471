package shard

import (
	"crypto/rand"
	"encoding/base32"
	"slices"
	"strings"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// pool hosts one tenant's routing core.
type pool struct {
	tenant string
	number uint64
	core   *broker.Core
	out    broker.Effects
	// What it goes by, and what is decided and not durable yet. Its document is the tenant's.
	t       *Tenant
	decided *Tenant   // the latest
	before  *Tenant   // that, when this turn began; nil when the turn has not changed it
	pending []*Tenant // by version
	reading int       // jobs about the document that are on their way
	// What the shards that host its sessions go by.
	kept     []uint64 // by shard: a version
	settleAt int64    // when they are told again; 0 when all know
	// Connections that are told how it stands [SW-5a.5].
	observers map[wire.Conn]*observer
	counted   []broker.QueueStats
	countedAt int64
	listed    map[string]*listing // by queue; empty is all
	transit   transit
	taking    taking
	doubted   map[wire.Conn]bool // whose subscriptions are to be asked for once more
	sought    sought
	// What the shards have counted, by shard.
	reports map[uint32]report
	levels  level.Report // of all of them; nil when it is to be added up again
}

// openPool begins a pool's census. The shard's term is its number.
func (s *Shard) openPool(tenant string, t *Tenant) {
	p := &pool{tenant: tenant, number: s.term, core: broker.NewInPieces(t.Broker, rerouteMost), t: t, decided: t, kept: make([]uint64, len(s.cfg.Peers))}
	if t.Document.Version > 0 { // others may have opened before
		p.settleAt = s.now
	}
	s.pools[tenant] = p
	shards := make([]uint32, len(s.cfg.Peers))
	for i := range shards {
		shards[i] = uint32(i) //nolint:gosec // a node has few shards
	}
	p.core.Open(p.number, shards, s.now, &p.out)
	p.tell(s)
}

// rerouteMost is how many tasks or workers a document that has just come is applied to in one step, and how many are put anew in line when a step
// opens to them or the census ends, so that others are served between.
const rerouteMost = 256

// next returns when tick has something to do, or 0.
func (p *pool) next() int64 {
	if p.core.Unfinished() || p.takes() {
		return 1 // at once
	}
	at, ok := p.core.Next()
	if ok {
		at = max(at, 1)
	}
	for _, o := range [...]int64{p.observed(), p.settleAt} {
		if o != 0 && (at == 0 || o < at) {
			at = o
		}
	}
	return at
}

// revert undoes what was decided in a turn that the journal refused.
func (p *pool) revert() {
	p.decided, p.before = p.before, nil
	for n := len(p.pending); n > 0 && p.pending[n-1].Document.Version > p.decided.Document.Version; n-- {
		p.pending = p.pending[:n-1]
	}
}

// tick does what is due in the pool.
func (p *pool) tick(s *Shard) {
	if at := p.next(); at != 0 && at <= s.now {
		p.core.Tick(s.now, &p.out)
		p.takeSome(s)
		if p.core.Unfinished() {
			p.core.Continue(rerouteMost, s.now, &p.out)
			s.inbox.Nudge()
		}
		p.tell(s)
		p.observe(s)
		p.settle(s)
	}
}

// askShard posts the census to a shard. It does not go through the turn's mail: nothing depends on it, and it is repeated.
func (p *pool) askShard(s *Shard, shard uint32) {
	slot := s.cfg.Peers[shard]
	m := &wire.Census{Tenant: p.tenant, Pool: p.number, Shard: shard, Reply: wire.ToSlot(s.x.PoolSlot(p.tenant))}
	if s.owns(slot) {
		s.inbox.PutReserved(wire.Envelope{To: wire.ToSlot(slot), Mail: m})
		return
	}
	_ = s.x.Post(wire.Envelope{To: wire.ToSlot(slot), Term: s.term, Mail: m})
}

// poolMail hands a session's word to its pool.
func (s *Shard) poolMail(m wire.Mail) {
	switch p := s.pools[ofTenant(m)]; {
	case p == nil:
		s.log.Error("mail for a pool that is not here")
	case p.takes():
		p.wait(s, m)
		p.tell(s)
	default:
		p.hear(s, m)
		p.tell(s)
	}
}

// ofTenant returns for whose pool m is.
func ofTenant(m wire.Mail) string {
	switch m := m.(type) {
	case *wire.CensusAnswer:
		return m.Tenant
	case *wire.Task:
		return m.Tenant
	case *wire.Withdraw:
		return m.Tenant
	case *wire.Confirm:
		return m.Tenant
	case *wire.Unbound:
		return m.Tenant
	case *wire.Declined:
		return m.Tenant
	case *wire.Resorted:
		return m.Tenant
	case *wire.Seek:
		return m.Tenant
	case *wire.Release:
		return m.Tenant
	}
	return ""
}

// hear takes a session's word.
func (p *pool) hear(s *Shard, m wire.Mail) {
	switch m := m.(type) {
	case *wire.CensusAnswer:
		p.censusAnswer(s, m)
	case *wire.Task:
		t := p.taskOf(m)
		p.core.Offer(&t, s.now, &p.out)
	case *wire.Withdraw:
		p.core.Withdraw(m.Session, m.Ticket, s.now, &p.out)
	case *wire.Confirm:
		p.core.Confirm(m.Session, m.Ticket, m.Worker, m.Lease, m.AE, s.now, &p.out)
	case *wire.Unbound:
		l := p.liveTask(&m.Live)
		p.core.Unbound(&l, s.now, &p.out)
	case *wire.Declined:
		p.core.Refuse(m.Session, m.Ticket, m.Worker, s.now, &p.out)
	case *wire.Resorted:
		p.core.Resorted(m.Session, m.Ticket, s.now, &p.out)
	case *wire.Seek:
		p.seek(s, m)
	case *wire.Release:
		p.core.Release(m.Session, m.AE, m.WrapUpMS, m.Kept, s.now, &p.out)
	}
}

// poolCommand hands a worker's word to its pool.
func (s *Shard) poolCommand(c *wire.Command) {
	p := s.pools[c.Who.Tenant]
	switch {
	case p != nil && c.Verb == wire.VerbStats:
		p.stats(s, c)
		return
	case p != nil && c.Verb == wire.VerbGone:
		delete(p.observers, c.Conn)
		delete(p.doubted, c.Conn)
	}
	switch {
	case p == nil:
		s.strange(c)
		return
	case c.Who.Role != wire.RoleWorker:
		s.d.Refuse(c, wire.Forbidden)
		return
	}
	ref := broker.Ref{Conn: c.Conn, ID: c.ID, Verb: c.Verb}
	worker := c.Who.Worker
	switch c.Verb {
	case wire.VerbSubscribe:
		if p.doubts(c) {
			s.moved(c).Live = true
		} else if sub := s.subscription(c, ref); sub != nil {
			p.core.Subscribe(sub, s.now, &p.out)
		}
	case wire.VerbAccept:
		p.core.Accept(c.PB.GetAccept().GetOffer(), worker, ref, s.now, &p.out)
	case wire.VerbDecline:
		p.core.Decline(c.PB.GetDecline().GetOffer(), worker, c.PB.GetDecline().GetReason(), ref, s.now, &p.out)
	case wire.VerbPresence:
		state, ok := broker.ParsePresence(c.PB.GetPresence().GetState())
		if !ok {
			s.d.Fail(c, &wire.Error{Slug: wire.BadRequest, Message: "state is ready, away or draining"})
			break
		}
		p.core.Presence(worker, state, c.PB.GetPresence().GetReason(), ref, s.now, &p.out)
	case wire.VerbSlots:
		p.core.Slots(worker, int(c.PB.GetSlots().GetSlots()), ref, s.now, &p.out)
	case wire.VerbWrapup:
		p.core.WrapupDone(c.Session, c.AE, worker, ref, s.now, &p.out)
	case wire.VerbGone:
		p.core.ConnLost(c.Conn, s.now, &p.out)
	default:
		s.d.Refuse(c, wire.UnknownVerb)
	}
	p.tell(s)
}

// maxDoubted bounds the subscriptions that are to be asked for again.
const maxDoubted = 1024

// doubts tells whether a subscription is to be asked for once more. One that would take the work from a connection that is there may be older than that: its way was
// cut, its client has come by another since, and to hear of a takeover would be the end of it [SW-5.7]. For a connection that has ended nobody asks again.
func (p *pool) doubts(c *wire.Command) bool {
	again := p.doubted[c.Conn]
	delete(p.doubted, c.Conn)
	if at := p.core.Where(c.Who.Worker); again || c.Resume || c.ID == 0 || at == c.Conn || at == (wire.Conn{}) {
		return false
	}
	if p.doubted == nil || len(p.doubted) >= maxDoubted {
		p.doubted = map[wire.Conn]bool{}
	}
	p.doubted[c.Conn] = true
	return true
}

const (
	maxWindow = 256
	allQueues = "*"
	leaseMS   = 15_000 // [SW-5.7]
)

// subscription returns c as its token and its words describe a worker, or refuses it.
func (s *Shard) subscription(c *wire.Command, ref broker.Ref) *broker.Subscription {
	m, able := c.PB.GetSubscribe(), c.Who.Able()
	sub := &broker.Subscription{
		ID: c.Who.Worker, Sub: c.Who.Sub, Name: c.Who.Name, Kind: c.Who.Kind, Allowed: able.Queues, Slots: int(m.GetSlots()),
		Window: min(m.GetWindow(), maxWindow), Rating: able.Rating, Conn: c.Conn, Ref: ref, Lease: m.GetLease(), NewLease: newLease(),
		Attributes: traitsOf(c.Who),
	}
	if c.Resume {
		presence, ok := broker.ParsePresence(c.Type)
		sub.Resumed, sub.Presence, sub.Why, sub.Turn = true, presence, c.Reason, c.Seq
		if !ok {
			sub.Presence = broker.Ready
		}
	}
	skills := m.GetSkills()
	if len(skills) == 0 {
		skills = able.Skills
	}
	for name, level := range skills {
		sub.Skills = append(sub.Skills, broker.Skill{Name: name, Level: level})
	}
	names := m.GetQueues()
	if len(names) == 0 {
		names = []string{allQueues}
	}
	for _, q := range names {
		switch {
		case q == allQueues: // also those that come later
			sub.All = true
		case !slices.Contains(sub.Queues, q):
			sub.Queues = append(sub.Queues, q)
		}
	}
	return sub
}

// newLease returns an unguessable lease id [SW-5.7].
func newLease() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process when the system has no randomness
	return "l_" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// tell turns what the core decided into mail.
func (p *pool) tell(s *Shard) {
	for i := range p.out {
		p.effect(s, &p.out[i])
	}
	p.out.Reset()
	if s.cfg.Witness != nil {
		s.cfg.Witness.Pool(s.cfg.ID, p.number, p.core)
	}
}

func (p *pool) effect(s *Shard, e *broker.Effect) {
	switch e.Kind {
	case broker.Grant:
		s.toSlotOf(e.Session, &wire.Grant{
			Session: e.Session, Ticket: e.Ticket, Pool: p.number, Queue: e.Queue, Worker: e.Worker, Sub: e.Sub, Name: e.Name, Kind: e.Origin,
			Conn: e.Conn, Lease: e.Lease, Window: e.Window, Reason: e.Reason, Offer: e.Offer, Request: e.Ref.ID,
			Why: p.whyOf(e, s.now),
		})
	case broker.Lost:
		s.toSlotOf(e.Session, &wire.Lost{Session: e.Session, Pool: p.number, Worker: e.Worker, AE: e.AE})
	case broker.WrapUpOver:
		s.toSlotOf(e.Session, &wire.WrapUpOver{Session: e.Session, Pool: p.number, Worker: e.Worker, AE: e.AE})
	case broker.Rebind:
		s.toSlotOf(e.Session, &wire.Rebind{
			Session: e.Session, Pool: p.number, Worker: e.Worker, AE: e.AE, Conn: e.Conn, Lease: e.Lease, Window: e.Window,
			Fresh: e.Fresh, Reason: e.Reason,
		})
	case broker.TransferFailed:
		s.toSlotOf(e.Session, &wire.NoGrant{Session: e.Session, Ticket: e.Ticket, Pool: p.number, Why: e.Reason})
	case broker.Reject:
		s.toSlotOf(e.Session, &wire.NoGrant{Session: e.Session, Ticket: e.Ticket, Pool: p.number, Why: string(e.Slug)})
	case broker.LastResort:
		s.toSlotOf(e.Session, &wire.Resort{Session: e.Session, Ticket: e.Ticket, Pool: p.number, Action: e.Reason, Step: e.Step, OpensAt: e.OpensAt})
	case broker.Question, broker.Unanswered:
		s.toSlotOf(e.Session, &wire.Classify{
			Session: e.Session, Ticket: e.Ticket, Pool: p.number, Queue: e.Queue, Worker: e.Worker, Conn: e.Conn, Until: e.ExpiresAt, Default: e.Default,
		})
	case broker.Untaken:
		if w := p.whyOf(e, s.now); w != nil {
			s.toSlotOf(e.Session, &wire.Untaken{Session: e.Session, Ticket: e.Ticket, Pool: p.number, N: uint64(e.Position), Why: w})
		}
	case broker.Placed:
		s.toSlotOf(e.Session, &wire.Place{Session: e.Session, Ticket: e.Ticket, Queue: e.Queue, Position: e.Position, ETAMS: e.ETA, OpensAt: e.OpensAt})
	case broker.OfferPush:
		s.keep(e.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Offer{Offer: &wirepb.Offer{
			Offer: e.Offer, Session: string(e.Session), Queue: e.Queue, ExpiresMs: e.ExpiresAt - s.now, Summary: e.Summary,
		}}})
	case broker.OfferEnded:
		s.keep(e.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_OfferEnded{OfferEnded: &wirepb.OfferEnded{Offer: e.Offer, Reason: e.Reason}}})
	case broker.PresencePush:
		s.keep(e.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{State: e.State.String(), Reason: e.Reason}}})
	case broker.Revoked:
		if e.Reason == "unknown" {
			s.sendBack(e.Conn)
		} else {
			s.takenOver(e.Conn)
		}
	case broker.Subscribed:
		reply(s, e)
		p.found(s, e)
	case broker.CensusAsk:
		p.askShard(s, e.Shard)
	case broker.Opened:
		if e.Missing > 0 {
			s.log.Warn("a pool opens although shards have not answered its census", "tenant", p.tenant, "missing", e.Missing)
		}
	default:
		reply(s, e)
	}
}

// reply answers a worker's request.
func reply(s *Shard, e *broker.Effect) {
	c := &wire.Command{Verb: e.Ref.Verb, ID: e.Ref.ID, Conn: e.Ref.Conn}
	m := &wirepb.ServerFrame{}
	switch e.Kind {
	case broker.Fail:
		s.said.Fail(c, &wire.Error{Slug: e.Slug, Message: e.Reason})
		return
	case broker.Subscribed:
		r := &wirepb.SubscribeReply{Lease: e.Lease, LeaseMs: leaseMS}
		for _, k := range e.Kept {
			r.Kept = append(r.Kept, &wirepb.Kept{Session: string(k.Session), Ae: k.AE})
		}
		if c.ID != 0 { // as an answer, with its turn
			f := s.said.Frame(c.Conn)
			f.Kind, f.ID, f.Verb, f.Seq, f.Live = wire.FrameAnswer, c.ID, c.Verb, e.Turn, true
			f.PB = &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Subscribe{Subscribe: r}}
		}
		return
	case broker.Accepted:
		m.Verb = &wirepb.ServerFrame_Accept{Accept: &wirepb.AcceptReply{Session: string(e.Session), Ae: e.AE}}
	default:
		switch e.Ref.Verb {
		case wire.VerbDecline:
			m.Verb = &wirepb.ServerFrame_Decline{Decline: &wirepb.Done{}}
		case wire.VerbPresence:
			m.Verb = &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{}}
		case wire.VerbSlots:
			m.Verb = &wirepb.ServerFrame_Slots{Slots: &wirepb.Done{}}
		default:
			m.Verb = &wirepb.ServerFrame_Wrapup{Wrapup: &wirepb.Done{}}
		}
	}
	s.said.Answer(c, m)
}

// taskOf returns a session's word as the core takes it.
func (p *pool) taskOf(m *wire.Task) broker.Task {
	queue, ok := p.t.Session.Queue(m.Queue)
	if !ok {
		queue = m.Queue // the core says what becomes of it
	}
	return broker.Task{
		Session: m.Session, Ticket: m.Ticket, Queue: queue, EnqueuedAt: m.EnqueuedAt, Priority: m.Priority, Exclude: m.Exclude,
		Sticky: m.Sticky, To: m.To, Force: m.Force, HumansOnly: m.HumansOnly, Requeue: m.Requeue, Handed: m.Handed, Summary: m.Summary,
		Attributes: attributesOf(m),
		BoostMS:    m.BoostMS, Version: m.Version, Classified: m.Classified, Present: m.Present, Ahead: int(m.Ahead),
	}
}

func (p *pool) liveTask(l *wire.Live) broker.Live {
	return broker.Live{Task: p.taskOf(&l.Task), Assigned: l.Assigned, Worker: l.Worker, Origin: l.Kind, Lease: l.Lease, Offer: l.Offer, AE: l.AE}
}

func (s *Shard) toSlotOf(id wire.SessionID, m wire.Mail) {
	if _, slot, ok := id.Place(); ok {
		s.said.Mail = append(s.said.Mail, wire.Envelope{To: wire.ToSlot(slot), Mail: m})
	}
}

// takenOver tells a connection that another has subscribed as its worker: its client ends [SW-5.7].
func (s *Shard) takenOver(conn wire.Conn) {
	s.keep(conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Reason: "takeover"}}})
}

// sendBack tells a connection that its client shall come back, and subscribe anew.
func (s *Shard) sendBack(conn wire.Conn) {
	f := s.said.Frame(conn)
	f.Kind, f.Seq = wire.FrameBye, uint64(wire.CloseReconnect)
}

// keep pushes pb to a worker's connection.
func (s *Shard) keep(conn wire.Conn, pb *wirepb.ServerFrame) {
	f := s.said.Frame(conn)
	f.Kind, f.PB = wire.FrameKeep, pb
}
