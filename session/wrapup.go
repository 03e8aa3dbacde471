package session

import (
	"slices"

	"switchboard/wire"
)

// WrapUp is what a worker is still busy with after an assignment [SW-5.9]. The pool, whose memory is soft, counts it against his slots; the session keeps it
// for the pools that follow.
type WrapUp struct {
	Worker string
	Lease  string // under which he had the session
	Queue  string // that it came to him from
	Ticket uint64
	AE     uint64
	Until  int64 // Unix ms
}

// maxWrapUps bounds the wrap-ups of one session; beyond it the oldest is left to the pool's memory alone.
const maxWrapUps = 16

// longestWrapUp is the most that a document allows, in ms. More is left of none, whatever the clock says of the machine where the session is by now.
const longestWrapUp = 3_600_000

// left returns how much longer w goes on, in ms; at most 0 when it is over.
func (w *WrapUp) left(now int64) int64 { return min(w.Until-now, longestWrapUp) }

// wrapsUp lets r, which gives the owner back, say that he is busy for ms, and keeps it.
func (s *State) wrapsUp(env *Env, ms int64, r *wire.Release, d *Decision) {
	if r.WrapUpMS = ms; ms <= 0 || s.Owner.taken() { // who took it has no slots
		return
	}
	r.Kept = true
	s.confirm(env, d) // a pool that has not heard it would take r for nothing, and his slot for free
	owner := s.Owner
	d.fact(s, Fact{Kind: WrapUpBegan, Owner: &owner, Name: s.Queue, N: s.AE, At: env.Now + ms})
}

// WrapUpOver decides the pool's word that the wrap-up of a worker has ended before its time. The answer is that there is none any more.
func (s *State) WrapUpOver(env *Env, m *wire.WrapUpOver, d *Decision) {
	if m.Pool < s.Pool {
		return
	}
	for i := range s.WrapUps {
		if w := &s.WrapUps[i]; w.AE == m.AE && w.Worker == m.Worker {
			d.fact(s, Fact{Kind: WrapUpEnded, N: m.AE})
			break
		}
	}
	d.post(env, s.given(env, m.Worker, m.AE))
}

// given is what the pool is told of an assignment that is not there any more: also how long the worker is still busy with what came after it.
func (s *State) given(env *Env, worker string, ae uint64) *wire.Release {
	r := &wire.Release{Tenant: s.Tenant, Session: s.ID, Worker: worker, AE: ae}
	for i := range s.WrapUps {
		if w := &s.WrapUps[i]; w.AE == ae && w.Worker == worker && w.Until > env.Now {
			r.Ticket, r.WrapUpMS, r.Kept = w.Ticket, w.left(env.Now), true
		}
	}
	return r
}

// wrapUpUnder returns the wrap-up of a worker who was found under a ticket, or nil.
func (s *State) wrapUpUnder(ticket uint64, worker string) *WrapUp {
	for i := range s.WrapUps {
		if w := &s.WrapUps[i]; w.Ticket == ticket && w.Worker == worker {
			return w
		}
	}
	return nil
}

// AppendWrapUps appends to list what a pool that opens needs to know of wrap-ups after the session.
func (s *State) AppendWrapUps(list []wire.WrapUp, now int64) []wire.WrapUp {
	for i := range s.WrapUps {
		w := &s.WrapUps[i]
		if w.Until <= now {
			continue
		}
		list = append(list, wire.WrapUp{LeftMS: w.left(now), Live: wire.Live{
			Task:   wire.Task{Tenant: s.Tenant, Session: s.ID, Ticket: w.Ticket, Queue: w.Queue, EnqueuedAt: now, Shop: s.Shop, Tier: s.Tier, Channel: s.Channels[0]},
			Worker: w.Worker, Kind: wire.OriginHuman, Lease: w.Lease, AE: w.AE,
		}})
	}
	return list
}

// wrappedUp forgets the wrap-ups whose time is over.
func (s *State) wrappedUp(env *Env, d *Decision) {
	if env.ReadOnly {
		return
	}
	for i := 0; i < len(s.WrapUps); {
		if w := &s.WrapUps[i]; w.Until > env.Now {
			i++
		} else {
			d.fact(s, Fact{Kind: WrapUpEnded, N: w.AE})
		}
	}
}

// wrapUpDue returns when the first wrap-up ends, or 0.
func (s *State) wrapUpDue() (at int64) {
	for i := range s.WrapUps {
		if w := &s.WrapUps[i]; at == 0 || w.Until < at {
			at = w.Until
		}
	}
	return at
}

func (s *State) wrapUpBegan(f *Fact) {
	if len(s.WrapUps) == maxWrapUps {
		s.WrapUps = slices.Delete(s.WrapUps, 0, 1)
	}
	s.WrapUps = append(s.WrapUps, WrapUp{Worker: f.Owner.Worker, Lease: f.Owner.Lease, Queue: f.Name, Ticket: f.Owner.Ticket, AE: f.N, Until: f.At})
}

func (s *State) wrapUpEnded(ae uint64) {
	if s.WrapUps = slices.DeleteFunc(s.WrapUps, func(w WrapUp) bool { return w.AE == ae }); len(s.WrapUps) == 0 {
		s.WrapUps = nil
	}
}

// AppendLive appends the row that marks s, which is live, as such: it has the wrap-ups, and nothing when there are none.
func AppendLive(dst []byte, s *State) []byte {
	if len(s.WrapUps) == 0 {
		return dst
	}
	w := writer{append(dst, rowVersion)}
	w.num(uint64(len(s.WrapUps)))
	for i := range s.WrapUps {
		u := &s.WrapUps[i]
		for _, x := range [...]string{u.Worker, u.Lease, u.Queue} {
			w.str(x)
		}
		w.num(u.Ticket)
		w.num(u.AE)
		w.int(u.Until)
	}
	return w.b
}

// ParseLive reads a row of AppendLive into s. It copies what it keeps.
func ParseLive(b []byte, s *State) error {
	s.WrapUps = nil
	if len(b) == 0 {
		return nil
	}
	r := reader{b: b}
	if r.byte() != rowVersion {
		return ErrRow
	}
	for range r.count() {
		s.WrapUps = append(s.WrapUps, WrapUp{Worker: r.str(), Lease: r.str(), Queue: r.str(), Ticket: r.num(), AE: r.num(), Until: r.int()})
	}
	if r.bad || len(r.b) != 0 {
		return ErrRow
	}
	return nil
}
