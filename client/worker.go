package client

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Handler answers one entry of the customer. It is called for the entries of one session in seq order, one at a time;
// for different sessions at the same time. Returning nil acknowledges the entry, unless a reply with [WithAck] did;
// so does [Session.Release], which ends the assignment before the handler returns, and [Session.Nack] does not: it gave the entry back. An error gives it back, and it comes
// again after a delay ([Later] names one) until the server's limit of attempts [SW-5.6]; behind an acknowledgement, also
// that of a release that was refused, it does not, and the next entry follows. The same entry may come again after a
// crash or a lost lease: at least once. ctx ends when the assignment does; what the handler returns then is of no
// interest.
type Handler func(ctx context.Context, s *Session, e Entry) error

// WorkerConfig says which work to take, and how much.
type WorkerConfig struct {
	Config
	// Queues to wait at; the token must allow them. Needed.
	Queues []string
	// Slots bounds the sessions held at a time, Window the unacknowledged entries of each [SW-5.1]. Defaults: 16 and 16.
	Slots, Window int
	// Skills override the token's levels.
	Skills map[string]float64
	// Instance tells workers of one sub apart. Of two of the same sub and instance the later has the work, and the
	// earlier ends with [ErrTakenOver] [SW-5.7].
	Instance string
	// Concurrency bounds the handlers that run at a time, over all sessions. Default: Slots.
	Concurrency int
	// NackDelay is how long an entry rests after its handler failed. Default: 1 s.
	NackDelay time.Duration
	// Grace is how long running handlers may go on after Work's context has ended, before theirs does. Default: 5 s.
	Grace time.Duration
	// Accept is asked about every offer, on a goroutine of its own; ctx ends when the offer does [SW-5.2]. nil accepts
	// all. (Bots are assigned sessions without being asked.)
	Accept func(ctx context.Context, o Offer) bool
	// Classify says what a waiting session is about: a JSON merge patch of its attributes, or nil for nothing [SW-5a.3]. It runs on a
	// goroutine of its own; ctx ends when the question does, and the session is then routed without an answer. nil answers nothing.
	Classify func(ctx context.Context, q Question) (patch any, err error)
	// Invited is asked to come to another's session as a guest [SW-5a.1], on a goroutine of its own; ctx ends when the invitation does.
	// It calls [Client.Join] and returns true when it has done with it, or false to decline. nil lets invitations expire.
	Invited func(ctx context.Context, c *Client, i Invitation) bool
	// Ready is called once, after the first subscription.
	Ready func(*Client)
	// Begin is called before the first entry of an assignment, Ended after the last, and Notice for entries that need
	// no answer: events, notes, the words of guests. They run in the session's place, like the handler.
	Begin  func(ctx context.Context, s *Session)
	Notice func(ctx context.Context, s *Session, e Entry)
	Ended  func(s *Session, reason string)
}

// Offer is a session that this worker may accept.
type Offer struct {
	ID, Session, Queue string
	Expires            time.Duration
	Summary            []byte // JSON
}

// later is an error with a delay.
type later struct {
	error
	delay time.Duration
}

func (l later) Unwrap() error { return l.error }

// Later wraps err so that the entry that a handler could not answer comes again after delay.
func Later(delay time.Duration, err error) error { return later{err, delay} }

// worker is what a client does beside, when it takes work.
type worker struct {
	// Fixed.
	cfg    WorkerConfig
	handle Handler
	c      *Client
	busy   chan struct{} // tokens: handlers that run
	all    sync.WaitGroup

	// Guarded by Client.mu.
	lease    string
	leaseFor time.Duration
	stopping bool
	presence *wirepb.Presence        // that was said last, by us or by the server; nil is ready
	serving  map[string]*Session     // the latest assignment of each session whose goroutine runs
	offers   map[string]*considering // questions and invitations too
}

// Work subscribes to queues and calls handle for what their customers say, until ctx ends or the server refuses for
// good, or with [ErrTakenOver] another connection works as the same worker. The lease is kept over lost connections: within its grace the sessions stay, under the same ae [SW-5.7]. When
// ctx ends no new entries are handled, the running handlers get Grace to finish, and Work returns nil; the sessions
// are then requeued by the server.
func Work(ctx context.Context, cfg WorkerConfig, handle Handler) error {
	if len(cfg.Queues) == 0 || handle == nil {
		return errors.New("client: Work needs Queues and a handler")
	}
	cfg.Slots, cfg.Window = max(or(cfg.Slots, 16), 1), max(or(cfg.Window, 16), 1)
	cfg.Concurrency = max(or(cfg.Concurrency, cfg.Slots), 1)
	cfg.Pending = or(cfg.Pending, max(pendingLeast, 2*cfg.Concurrency)) // each handler waits for one, and others may be confirmed
	cfg.NackDelay, cfg.Grace = or(cfg.NackDelay, time.Second), or(cfg.Grace, 5*time.Second)
	w := &worker{
		cfg: cfg, handle: handle, busy: make(chan struct{}, cfg.Concurrency),
		serving: map[string]*Session{}, offers: map[string]*considering{},
	}
	c, err := dial(ctx, cfg.Config, w)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready(c)
	}
	select {
	case <-ctx.Done():
		w.stop()
	case <-c.Done():
	}
	err = c.Err()
	w.cancelAll()
	_ = c.Close()
	w.all.Wait()
	return err
}

// stop lets the running handlers finish.
func (w *worker) stop() {
	w.c.mu.Lock()
	w.stopping = true
	for _, s := range w.serving {
		s.poke()
	}
	for _, o := range w.offers {
		o.cancel()
	}
	w.c.mu.Unlock()
	late := time.AfterFunc(w.cfg.Grace, w.cancelAll)
	defer late.Stop()
	w.all.Wait()
}

func (w *worker) cancelAll() {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.stopping = true
	for _, s := range w.serving {
		s.cancel()
	}
	for _, o := range w.offers {
		o.cancel()
	}
}

// beat returns how often a worker shows that it lives.
func (w *worker) beat() time.Duration {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return or(w.leaseFor, 15*time.Second) / 3
}

// subscribe asks for work, before anything else goes over the connection [SW-5.7].
func (c *Client) subscribe(k *conn) {
	cfg := &c.work.cfg
	c.lastID++
	k.subscribeID = c.lastID
	k.out = append(k.out, &request{id: c.lastID, phase: sent, frame: &wirepb.ClientFrame{Id: c.lastID, Verb: &wirepb.ClientFrame_Subscribe{Subscribe: &wirepb.Subscribe{
		Queues: cfg.Queues, Slots: uint32(cfg.Slots), Window: uint32(cfg.Window), Skills: cfg.Skills, Instance: cfg.Instance, Lease: c.work.lease,
	}}}})
	k.poke()
}

// subscribed takes the answer: what is not kept was lost with the lease.
func (c *Client) subscribed(k *conn, f *wirepb.ServerFrame) {
	r, w := f.GetSubscribe(), c.work
	if r == nil {
		k.refused = errorOf(or(f.GetError(), &wirepb.Error{Slug: string(wire.Internal)}))
		return
	}
	w.lease, w.leaseFor = r.Lease, time.Duration(r.LeaseMs)*time.Millisecond
	for _, o := range w.offers {
		o.cancel() // those of the old connection ended with it
	}
	clear(w.offers) // what still holds is shown again, under the same name, perhaps before anybody notices that
	kept := make(map[string]uint64, len(r.Kept))
	for _, m := range r.Kept {
		kept[m.Session] = m.Ae
	}
	for id, s := range c.assigned {
		if kept[id] != s.ae {
			s.revoked("lease")
			continue
		}
		s.inbox.resubscribed()
	}
	for id, ae := range kept {
		if c.assigned[id] == nil {
			// The connection was lost before we heard of it. Its entries come as deliveries, the rest is in the history.
			w.take(&wirepb.Assigned{Session: id, Ae: ae, Reason: "kept"})
		}
	}
	w.sayPresence()
	c.open(k)
}

// state returns the presence that w knows of.
func (w *worker) state() string {
	if w.presence == nil {
		return "ready"
	}
	return w.presence.State
}

// sayPresence tells a server that may not know it that this worker is not ready, unless a later word of that is on its way.
func (w *worker) sayPresence() {
	if w.state() == "ready" {
		return
	}
	if !slices.ContainsFunc(w.c.pending, func(r *request) bool { return r.frame.GetPresence() != nil }) {
		_ = w.c.enter(&request{frame: presenceFrame(w.presence), done: make(chan struct{})}, w.c.cfg.Pending) // with no room left nobody could say anything
	}
}

// take begins an assignment.
func (w *worker) take(m *wirepb.Assigned) {
	if w == nil || w.stopping {
		return
	}
	if old := w.c.assigned[m.Session]; old != nil {
		if old.ae >= m.Ae {
			return
		}
		old.revoked("superseded")
	}
	s := &Session{c: w.c, id: m.Session, wake: make(chan struct{}, 1), reading: make(chan struct{}, 1)}
	s.task = newTask(w, m)
	w.c.assigned[s.id] = s
	before := w.serving[s.id]
	w.serving[s.id] = s
	w.employ(s, before)
}

// employ starts the goroutine of s, behind that of an earlier assignment of the same session.
func (w *worker) employ(s, before *Session) {
	w.all.Go(func() {
		defer close(s.served)
		if before != nil {
			<-before.served
		}
		w.serve(s)
		s.cancel()
		w.c.mu.Lock()
		if w.serving[s.id] == s {
			delete(w.serving, s.id)
		}
		reason := s.reason
		w.c.mu.Unlock()
		if w.cfg.Ended != nil {
			w.cfg.Ended(s, reason)
		}
	})
}

// serve calls the handler for what is delivered, until the assignment ends.
func (w *worker) serve(s *Session) {
	if w.cfg.Begin != nil && s.ctx.Err() == nil {
		w.cfg.Begin(s.ctx, s)
	}
	for {
		e, ok := s.nextDelivery()
		if !ok {
			return
		}
		if e.Attempt == 0 {
			if w.cfg.Notice != nil {
				w.cfg.Notice(s.ctx, s, e)
			}
			continue
		}
		select {
		case w.busy <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		s.handling(e.Seq)
		err := w.handle(s.ctx, s, e)
		had := s.handling(0)
		<-w.busy
		if s.ctx.Err() != nil {
			return
		}
		if err == nil {
			if had == e.Seq { // otherwise it has called Nack itself, and it comes again
				s.handled(e.Seq)
			}
			continue
		}
		delay := w.cfg.NackDelay
		if l, ok := errors.AsType[later](err); ok {
			delay = l.delay
		}
		w.c.cfg.Log.Warn("handling failed", "session", s.id, "seq", e.Seq, "attempt", e.Attempt, "error", err)
		if s.settled(e.Seq) {
			continue
		}
		if err := s.Nack(s.ctx, e.Seq, delay, err.Error()); err != nil && s.ctx.Err() == nil {
			w.c.cfg.Log.Info("giving back failed", "session", s.id, "seq", e.Seq, "error", err)
			s.rest(delay) // the server does not know that it is to rest: it is read from the history
		}
	}
}

// offered asks whether to accept.
func (w *worker) offered(m *wirepb.Offer) {
	if w == nil || w.stopping || w.offers[m.Offer] != nil {
		return // how many there may be at once the server knows: who misses one is away
	}
	ctx, cancel := context.WithTimeout(w.c.ctx, time.Duration(or(m.ExpiresMs, 20000))*time.Millisecond)
	it := &considering{cancel}
	w.offers[m.Offer] = it
	o := Offer{ID: m.Offer, Session: m.Session, Queue: m.Queue, Expires: time.Duration(m.ExpiresMs) * time.Millisecond, Summary: m.Summary}
	w.all.Go(func() { w.consider(ctx, it, o) })
}

// considering is an offer, a question or an invitation that somebody thinks about.
type considering struct{ cancel context.CancelFunc }

// consider accepts or declines o. An offer that has ended meanwhile is no error.
func (w *worker) consider(ctx context.Context, it *considering, o Offer) {
	defer w.considered(o.ID, it)
	yes := w.cfg.Accept == nil || w.cfg.Accept(ctx, o)
	if ctx.Err() != nil {
		return
	}
	f := &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: o.ID}}}
	if !yes {
		f.Verb = &wirepb.ClientFrame_Decline{Decline: &wirepb.Decline{Offer: o.ID}}
	}
	if _, err := w.c.call(ctx, f, nil); err != nil {
		w.c.cfg.Log.Debug("answering an offer", "offer", o.ID, "error", err)
	}
}

func (w *worker) offerEnded(id string) {
	if w != nil && w.offers[id] != nil {
		w.offers[id].cancel()
	}
}
