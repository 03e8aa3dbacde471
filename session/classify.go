package session

import (
	"slices"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// question is that somebody is asked what the session is about, under a ticket. It is memory: whoever is asked when it is lost is
// too late, and the pool goes on at its deadline.
type question struct {
	worker string
	ticket uint64
	conn   wire.Conn
}

// unsureMS is how long an owner who has begun does not know whom its sessions' pools are asking; they say it again every 8 s at the latest.
const unsureMS = 15_000

// Classify decides the pool's word that a worker is to say what the session is about, or, without a worker, that nobody has
// [SW-5a.3]. Routing goes on with the next ticket.
func (s *State) Classify(env *Env, m *wire.Classify, d *Decision) {
	if m.Pool < s.Pool || s.Phase != Queued || m.Ticket != s.Ticket || s.Classified {
		return
	}
	if m.Worker == "" {
		s.unclassified(env, m.Default, d)
		return
	}
	asked := question{m.Worker, m.Ticket, m.Conn}
	if s.question == asked {
		return // it is said again, as the owner may have been another
	}
	s.question = asked
	q := &wirepb.Classify{
		Session: string(s.ID), Queue: m.Queue, Shop: s.Shop, ExpiresMs: max(m.Until-env.Now, 0), Customer: s.Customer.PB(),
		Attributes: s.Attributes, AttributesV: s.AttributesV, Head: s.Head,
	}
	// He sees what the customer and everybody may see, as far as it is at hand and fits.
	room, tail := TailBytes-len(s.Attributes), []*wirepb.Entry(nil)
	for _, e := range slices.Backward(s.Tail()) {
		if e.Visibility == wire.Staff {
			continue
		}
		if room -= entrySize(e); room < 0 {
			break
		}
		tail = append(tail, e.PB(0))
	}
	slices.Reverse(tail)
	for i := 1; i < len(tail); i++ {
		tail[i].Prev = tail[i-1].Seq
	}
	q.Tail = tail
	d.push(m.Conn, wire.FrameKeep, s.ID, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Classify{Classify: q}})
}

// unclassified lets the session be routed by what is known of it, and by what stands in for what is not.
func (s *State) unclassified(env *Env, standIn []byte, d *Decision) {
	f := Fact{Kind: Attributed, N: s.AttributesV, Doc: s.Attributes, Ticket: s.Ticket + 1, Classified: true}
	if doc, err := merge(standIn, s.Attributes); len(standIn) > 0 && len(s.Attributes) > 0 && err == nil && len(doc) <= env.Policy.MaxBody {
		f.N, f.Doc = f.N+1, doc
	} else if len(standIn) > 0 && len(s.Attributes) == 0 {
		f.N, f.Doc = f.N+1, standIn
	}
	d.fact(s, f)
	d.post(env, s.task())
}

// asked tells whether who was asked what the session is about, under the ticket that it has or an earlier one.
func (s *State) asked(who *wire.Principal) bool {
	return s.question.worker != "" && s.question.worker == who.Worker && who.Role == wire.RoleWorker
}

// unknown refuses c, whose sender is nobody whom the session knows. That somebody is asked what it is about is memory, so behind another owner the one who
// is asked is unknown too, until the pool says it again: his answer is refused as what is to be repeated, and when it had been taken before, he is told that.
func (s *State) unknown(env *Env, c *wire.Command, d *Decision) {
	answer := c.Verb == wire.VerbAttributes && c.AE == 0 && c.Who != nil && c.Who.Role == wire.RoleWorker && c.Who.Tenant == s.Tenant
	switch {
	case !answer || s.question.worker != "" || s.ErasedAt != 0 || env.Now-env.Begun >= unsureMS:
	case s.Phase == Queued && !s.Classified && s.Transfer.Ticket == 0:
		d.fail(c, &wire.Error{Slug: wire.Unavailable, RetryAfter: time.Second, Message: "the session has another owner, who does not know yet who is asked about it; answer again"})
		return
	default:
		if _, old, done := s.recall(env, c, d); old != nil {
			s.written(c, old.Done, true, 0, d)
			return
		} else if done {
			return
		}
	}
	d.refuse(c, wire.NoSession)
}

// answers tells whether c is the answer of who was asked, in time. When it comes too late it is refused.
func (s *State) answers(c *wire.Command, d *Decision) bool {
	if s.asked(c.Who) && c.AE == 0 && s.Phase == Queued && s.question.ticket == s.Ticket && !s.Classified {
		return true
	}
	return s.fenced(c, d)
}
