package shard

import (
	"crypto/rand"
	"encoding/base32"
	"strings"

	"switchboard/broker"
	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

const (
	censusRepeatMS = 100
	censusWaitMS   = 2_000
)

// pool hosts one tenant's routing core.
type pool struct {
	tenant   string
	core     *broker.Core
	out      broker.Effects
	missing  map[wire.Slot]bool // peers that have not answered the census
	askAt    int64
	openAt   int64 // the latest moment at which it opens
	censused bool
	early    []*wire.Command // of workers who came before it opened
}

func newPool(tenant string, t *Tenant, number uint64, peers []wire.Slot, now int64) *pool {
	p := &pool{tenant: tenant, core: broker.New(t.Broker, number), missing: map[wire.Slot]bool{}, askAt: now, openAt: now + censusWaitMS}
	for _, slot := range peers {
		p.missing[slot] = true
	}
	return p
}

// next returns when tick has something to do, or 0.
func (p *pool) next() int64 {
	at := p.core.Next()
	if !p.censused {
		if at == 0 || p.askAt < at {
			at = p.askAt
		}
	}
	return at
}

// tick asks the shards that have not answered, opens the pool, and does what is due in it.
func (p *pool) tick(s *Shard) {
	if !p.censused {
		p.ask(s)
	}
	if at := p.core.Next(); at != 0 && at <= s.now {
		p.core.Tick(s.now, &p.out)
		p.tell(s)
	}
}

// ask posts the census to every shard that has not answered. It does not go through the turn's mail: nothing depends on it.
func (p *pool) ask(s *Shard) {
	if len(p.missing) == 0 || s.now >= p.openAt {
		if len(p.missing) > 0 {
			s.log.Warn("a pool opens although shards have not answered its census", "tenant", p.tenant, "missing", len(p.missing))
		}
		p.censused = true
		early := p.early
		p.early = nil
		for _, c := range early {
			s.poolCommand(c)
		}
		p.core.Opened(s.now, &p.out)
		p.tell(s)
		return
	}
	if s.now < p.askAt {
		return
	}
	p.askAt = s.now + censusRepeatMS
	for slot := range p.missing {
		m := &wire.Census{Tenant: p.tenant, Pool: p.core.Pool(), Peer: slot, Reply: wire.ToSlot(exchange.PoolSlot(p.tenant))}
		if s.owns(slot) {
			s.census(m)
			continue
		}
		_ = s.x.Post(wire.Envelope{To: wire.ToSlot(slot), Term: s.term, Mail: m})
	}
}

// census answers a pool with every live task that the shard knows, and notes the pool's number with each.
func (s *Shard) census(m *wire.Census) {
	if !s.writable {
		return // it asks again
	}
	a := &wire.CensusAnswer{Tenant: m.Tenant, Pool: m.Pool, Peer: m.Peer}
	for _, h := range s.sessions {
		if h.state == nil {
			if h.live {
				return // still being read again: it asks again
			}
			continue
		}
		if h.state.Tenant != m.Tenant || !h.state.Live() {
			continue
		}
		h.state.Introduce(m.Pool, &s.d)
		s.note(h)
		a.Live = append(a.Live, h.state.Census()...)
	}
	s.d.Mail = append(s.d.Mail, wire.Envelope{To: m.Reply, Mail: a})
}

// poolMail hands a session's word to its pool.
func (s *Shard) poolMail(m wire.Mail) {
	var p *pool
	switch m := m.(type) {
	case *wire.CensusAnswer:
		if p = s.pools[m.Tenant]; p != nil && m.Pool == p.core.Pool() && p.missing[m.Peer] {
			delete(p.missing, m.Peer)
			for i := range m.Live {
				p.core.Restore(&m.Live[i], s.now, &p.out)
			}
		}
	case *wire.Task:
		if p = s.pools[m.Tenant]; p != nil {
			p.core.Offer(m, s.now, &p.out)
		}
	case *wire.Withdraw:
		if p = s.pools[m.Tenant]; p != nil {
			p.core.Withdraw(m.Session, m.Ticket, s.now, &p.out)
		}
	case *wire.Confirm:
		if p = s.pools[m.Tenant]; p != nil {
			p.core.Confirm(m.Session, m.Ticket, m.Worker, m.Lease, m.AE, s.now, &p.out)
		}
	case *wire.Declined:
		if p = s.pools[m.Tenant]; p != nil {
			p.core.Declined(m.Session, m.Ticket, s.now, &p.out)
		}
	case *wire.Release:
		if p = s.pools[m.Tenant]; p != nil {
			p.core.Release(m.Session, m.AE, m.WrapUpMS, s.now, &p.out)
		}
	}
	if p == nil {
		s.log.Error("mail for a pool that is not here")
		return
	}
	p.tell(s)
}

// poolCommand hands a worker's word to its pool.
func (s *Shard) poolCommand(c *wire.Command) {
	p := s.pools[c.Who.Tenant]
	if p == nil || c.Who.Role != wire.RoleWorker {
		s.d.Refuse(c, wire.Forbidden)
		return
	}
	if !p.censused { // a worker that comes back finds what it had, also when it is faster than the census
		if len(p.early) >= s.cfg.Inbox {
			s.refuseOverloaded(c)
			return
		}
		p.early = append(p.early, c)
		return
	}
	switch c.Verb {
	case wire.VerbSubscribe:
		if w := s.subscriber(c); w != nil {
			p.core.Subscribe(w, c.Conn, c.PB.GetSubscribe().GetLease(), newLease(), c.ID, s.now, &p.out)
		}
	case wire.VerbAccept:
		p.core.Accept(c.Conn, c.PB.GetAccept().GetOffer(), c.ID, s.now, &p.out)
	case wire.VerbDecline:
		p.core.Decline(c.Conn, c.PB.GetDecline().GetOffer(), c.ID, s.now, &p.out)
	case wire.VerbPresence:
		p.core.Presence(c.Conn, c.PB.GetPresence().GetState(), c.PB.GetPresence().GetReason(), c.ID, s.now, &p.out)
	case wire.VerbSlots:
		p.core.Slots(c.Conn, int(min(c.PB.GetSlots().GetSlots(), maxSlots)), c.ID, s.now, &p.out)
	case wire.VerbWrapup:
		p.core.WrapupDone(c.Conn, c.Session, c.AE, c.ID, s.now, &p.out)
	case wire.VerbGone:
		p.core.ConnLost(c.Conn, s.now, &p.out)
	default:
		s.d.Refuse(c, wire.UnknownVerb)
	}
	p.tell(s)
}

const (
	maxSlots      = 10_000
	maxWindow     = 256
	defaultSlots  = 1
	defaultWindow = 16
)

// subscriber returns c's worker as its token and its subscription describe it, or refuses c.
func (s *Shard) subscriber(c *wire.Command) *broker.Worker {
	sub := c.PB.GetSubscribe()
	t := s.cfg.Tenants[c.Who.Tenant]
	w := &broker.Worker{
		ID: c.Who.Worker, Sub: c.Who.Sub, Name: c.Who.Name, Kind: c.Who.Kind, Slots: int(min(sub.GetSlots(), maxSlots)),
		Window: min(sub.GetWindow(), maxWindow), Skills: sub.GetSkills(), Rating: c.Who.Rating,
	}
	if w.Slots == 0 {
		w.Slots = defaultSlots
	}
	if w.Window == 0 {
		w.Window = defaultWindow
	}
	if len(w.Skills) == 0 {
		w.Skills = c.Who.Skills
	}
	names := sub.GetQueues()
	if len(names) == 0 {
		names = c.Who.Queues
	}
	seen := map[string]bool{}
	for _, q := range names {
		if q == "*" {
			for _, bq := range t.Broker.Queues {
				if !seen[bq.Name] && allowed(c.Who.Queues, bq.Name) {
					seen[bq.Name] = true
					w.Queues = append(w.Queues, bq.Name)
				}
			}
			continue
		}
		if !t.Session.Queues[q] || !allowed(c.Who.Queues, q) {
			s.d.Fail(c, &wire.Error{Slug: wire.NoQueue, Message: "no queue " + q + " for you: check the token's queues"})
			return nil
		}
		if !seen[q] {
			seen[q] = true
			w.Queues = append(w.Queues, q)
		}
	}
	if len(w.Queues) == 0 {
		s.d.Refuse(c, wire.NoQueue)
		return nil
	}
	return w
}

func allowed(queues []string, name string) bool {
	for _, q := range queues {
		if q == "*" || q == name {
			return true
		}
	}
	return false
}

// newLease returns an unguessable lease id [SW-5.7].
func newLease() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process when the system has no randomness
	return "l_" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// tell turns what the core decided into mail.
func (p *pool) tell(s *Shard) {
	for i := range p.out.List {
		p.effect(s, &p.out.List[i])
	}
	p.out.Reset()
}

func (p *pool) effect(s *Shard, e *broker.Effect) {
	number := p.core.Pool()
	switch e.Kind {
	case broker.Grant:
		w := e.Worker
		s.toSlotOf(e.Session, &wire.Grant{
			Session: e.Session, Ticket: e.Ticket, Pool: number, Queue: e.Queue, Worker: w.ID, Sub: w.Sub, Name: w.Name, Kind: w.Kind,
			Conn: e.Conn, Lease: e.Lease, Window: w.Window, Reason: e.Reason, Offer: e.Offer, Request: e.Request,
		})
	case broker.Lost:
		s.toSlotOf(e.Session, &wire.Lost{Session: e.Session, Pool: number, Worker: e.Worker.ID, AE: e.AE})
	case broker.Rebind:
		s.toSlotOf(e.Session, &wire.Rebind{
			Session: e.Session, Pool: number, Worker: e.Worker.ID, AE: e.AE, Conn: e.Conn, Lease: e.Lease, Window: e.Worker.Window,
		})
	case broker.NoGrant:
		s.toSlotOf(e.Session, &wire.NoGrant{Session: e.Session, Ticket: e.Ticket, Pool: number, Why: e.Why})
	case broker.Offered:
		s.keep(e.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Offer{Offer: &wirepb.Offer{
			Offer: e.Offer, Session: string(e.Session), Queue: e.Queue, ExpiresMs: e.At, Summary: e.Summary,
		}}})
	case broker.OfferEnded:
		s.keep(e.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_OfferEnded{OfferEnded: &wirepb.OfferEnded{Offer: e.Offer, Reason: e.Why}}})
	case broker.Presence:
		s.keep(e.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{State: e.State, Reason: e.Why}}})
	case broker.Revoked:
		s.keep(e.Conn, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Revoked{Revoked: &wirepb.Revoked{Reason: e.Why}}})
	default:
		p.reply(s, e)
	}
}

// reply answers a worker's request.
func (p *pool) reply(s *Shard, e *broker.Effect) {
	c := &wire.Command{Verb: e.Verb, ID: e.Request, Conn: e.Conn}
	m := &wirepb.ServerFrame{}
	switch e.Kind {
	case broker.Failed:
		s.d.Refuse(c, e.Slug)
		return
	case broker.Subscribed:
		r := &wirepb.SubscribeReply{Lease: e.Lease, LeaseMs: p.core.LeaseMS()}
		for _, k := range e.Kept {
			r.Kept = append(r.Kept, &wirepb.Kept{Session: string(k.Session), Ae: k.AE})
		}
		m.Verb = &wirepb.ServerFrame_Subscribe{Subscribe: r}
	case broker.Accepted:
		m.Verb = &wirepb.ServerFrame_Accept{Accept: &wirepb.AcceptReply{Session: string(e.Session), Ae: e.AE}}
	default:
		switch e.Verb {
		case wire.VerbDecline:
			m.Verb = &wirepb.ServerFrame_Decline{Decline: &wirepb.Done{}}
		case wire.VerbPresence:
			m.Verb = &wirepb.ServerFrame_Presence{Presence: &wirepb.Presence{State: e.State, Reason: e.Why}}
		case wire.VerbSlots:
			m.Verb = &wirepb.ServerFrame_Slots{Slots: &wirepb.Done{}}
		default:
			m.Verb = &wirepb.ServerFrame_Wrapup{Wrapup: &wirepb.Done{}}
		}
	}
	s.d.Answer(c, m)
}

func (s *Shard) toSlotOf(id wire.SessionID, m wire.Mail) {
	if _, slot, ok := id.Place(); ok {
		s.d.Mail = append(s.d.Mail, wire.Envelope{To: wire.ToSlot(slot), Mail: m})
	}
}

// keep pushes pb to a worker's connection.
func (s *Shard) keep(conn wire.Conn, pb *wirepb.ServerFrame) {
	f := s.d.Frame(conn)
	f.Kind, f.PB = wire.FrameKeep, pb
}
