package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// task is what a worker's session has beside; of a followed session it is zero.
type task struct {
	// Fixed.
	ae         uint64
	ctx        context.Context
	cancel     context.CancelFunc
	served     chan struct{} // closed when its goroutine has ended
	assignment Assignment

	// Guarded by Client.mu.
	inbox  inbox
	doc    Document
	reason string // why it ended
	// sure is how far an answer has told that the server knows of the acknowledgements; quiet is ack at the last beat, and confirm the
	// request for such an answer.
	sure, quiet uint64
	confirm     *request
}

// Assignment is what the server told a worker when a session became its own [SW-5.4].
type Assignment struct {
	AE            uint64
	Queue, Reason string // reason: route, sticky, overflow, transfer, requeue; "kept" when the rest was lost on the way
	Shop          string
	Customer      wire.Author
	Attributes    []byte  // JSON
	AttributesV   uint64  // their version, for SetAttributes
	Tail          []Entry // the latest entries before the assignment
}

// Document is a session's context: what its workers tell each other [SW-5].
type Document struct {
	V   uint64
	Doc []byte // JSON
}

func newTask(w *worker, m *wirepb.Assigned) task {
	t := task{
		ae: m.Ae, served: make(chan struct{}),
		assignment: Assignment{
			AE: m.Ae, Queue: m.Queue, Reason: m.Reason, Shop: m.Shop, Customer: wire.AuthorOf(m.Customer), Attributes: m.Attributes,
			AttributesV: m.AttributesV, Tail: entriesOf(m.Tail),
		},
		inbox: inbox{limit: max(w.c.cfg.Buffer, w.cfg.Window), sub: w.c.hello.Sub, last: m.Cursor, done: m.Cursor},
		doc:   Document{V: m.Context.GetV(), Doc: m.Context.GetDoc()},
	}
	// What was said before is in the tail; what of it needs an answer is delivered, and only that: no gaps up to head.
	t.inbox.past = m.Head
	t.inbox.loose = m.Reason == "kept"
	t.ctx, t.cancel = context.WithCancel(w.c.ctx)
	return t
}

// Assignment returns what the server told when the session became this worker's.
func (s *Session) Assignment() Assignment { return s.assignment }

// Context returns the context document, as this worker knows it.
func (s *Session) Context() Document {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.doc
}

// delivery takes an entry that was delivered.
func (s *Session) delivery(m *wirepb.Delivery) {
	if s.inbox.deliver(deliveryOf(m), m.Prev) && m.Attempt > 0 {
		s.ackLevel(m.Seq) // its ack was lost
	}
	s.poke()
}

// revoked ends the assignment at the server's word [SW-5.3].
func (s *Session) revoked(reason string) {
	s.reason = reason
	s.end(ErrRevoked)
	s.cancel()
}

// nextDelivery returns what is to be handled next, reading from the history what was missed; ok is false when the
// assignment has ended.
func (s *Session) nextDelivery() (e Entry, ok bool) {
	for failures := 0; s.ctx.Err() == nil; {
		s.c.mu.Lock()
		over := s.err != nil || s.c.work.stopping
		if !over {
			e, ok = s.inbox.queue.take()
		}
		behind := s.inbox.behind && !s.inbox.nacking
		s.c.mu.Unlock()
		switch {
		case ok:
			return e, true
		case over:
			return e, false
		case behind:
			err := s.catchUp()
			if err == nil {
				failures = 0
				continue
			}
			s.unread(err)
			s.rest(s.c.cfg.backoff(failures, 0))
			failures++
			continue
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
		}
	}
	return e, false
}

// catchUp reads deliveries that were missed [SW-4.4].
func (s *Session) catchUp() error {
	s.c.mu.Lock()
	after, asked := s.inbox.last, s.inbox.target
	s.c.mu.Unlock()
	h := &wirepb.History{Session: s.id, After: &after, Limit: 100}
	_, err := s.call(s.ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_History{History: h}}, func(f *wirepb.ServerFrame) {
		s.inbox.fill(entriesOf(f.GetHistory().GetEntries()), s.ae, f.GetHistory().GetMore(), asked)
	})
	return err
}

// unread does what follows when what was missed could not be read. The session is still this worker's, and its customer waits: to give it
// up here alone would leave it with a worker who does not know of it, as long as he lives. So it is tried again; and where the server
// refuses for good, the connection is hung up, because everything that is not acknowledged follows the next subscription.
func (s *Session) unread(err error) {
	s.c.mu.Lock()
	k, done := s.c.conn, s.err != nil || !s.inbox.behind
	s.c.mu.Unlock()
	if done {
		return
	}
	refusal, refused := errors.AsType[*wire.Error](err)
	final := refused && wire.FaultOf(refusal.Slug).Retry == wire.RetryNever
	s.c.cfg.Log.Warn("reading what was missed", "session", s.id, "final", final, "error", err)
	if final && k != nil {
		_ = k.ws.Close()
	}
}

// rest waits for d, or until the assignment or the work ends.
func (s *Session) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		s.c.mu.Lock()
		over := s.err != nil || s.c.work.stopping
		s.c.mu.Unlock()
		if over {
			return
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		case <-t.C:
			return
		}
	}
}

// handled acknowledges seq, unless a reply did.
func (s *Session) handled(seq uint64) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.inbox.done >= seq || s.err != nil {
		return
	}
	s.inbox.finish(seq)
	s.ackLevel(seq)
}

// confirmAck asks for an answer to an acknowledgement that got none, when the session has been quiet for a beat. One that nobody waits for
// may be lost where a node is overloaded: the next makes it good, but behind a full window there is no next. Client.mu is held.
func (s *Session) confirmAck() {
	if r := s.confirm; r != nil && r.over() {
		if e, ok := errors.AsType[*wire.Error](r.err); ok && e.Slug == wire.StaleAssignment {
			s.revoked("stale")
			return
		}
	}
	seq, moved := s.ack, s.ack != s.quiet
	s.quiet = seq
	if moved || seq <= s.sure || s.confirm != nil && !s.confirm.over() {
		return
	}
	r := &request{frame: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Ack{Ack: &wirepb.Ack{Session: s.id, Ae: s.ae, Seq: seq}}}, done: make(chan struct{})}
	r.settle = func(*wirepb.ServerFrame) { s.sure = max(s.sure, seq) }
	if s.c.enter(r, s.c.cfg.Pending) == nil { // with no room left, at the next beat
		s.confirm = r
	}
}

// settled tells whether seq was acknowledged: by the handler's reply, or by a release that was refused.
func (s *Session) settled(seq uint64) bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.inbox.done >= seq
}

// handling notes which delivery the handler has, 0 is none, and returns which it had: 0 too when that was given back meanwhile.
func (s *Session) handling(seq uint64) (had uint64) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	had, s.inbox.doing = s.inbox.doing, seq
	return had
}

// Reply appends a worker's entry, or a guest's, and with [WithAck] acknowledges what it answers in the same step [SW-5.5]. body is as
// for [Session.Send]. It fails with [wire.StaleAssignment] when the session is no longer this worker's; nothing has
// happened then [SW-5.3].
func (s *Session) Reply(ctx context.Context, typ string, body any, opts ...Option) (Sent, error) {
	var w words
	for _, o := range opts {
		o(&w)
	}
	if w.key == "" && w.ack == nil {
		w.key = newKey()
	}
	b, err := s.body(body)
	if err != nil {
		return Sent{}, fmt.Errorf("replying: %w", err)
	}
	if s.ge != 0 {
		return s.guestReply(ctx, typ, b, &w)
	}
	m := &wirepb.Reply{
		Session: s.id, Ae: s.ae, Ack: w.ack, Key: w.key, Stream: w.stream, Type: or(typ, "text"), Body: b, Visibility: w.visibility, ReplyTo: w.replyTo,
	}
	f, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Reply{Reply: m}}, func(f *wirepb.ServerFrame) {
		s.inbox.wrote(f.GetReply().GetSeq())
		if w.ack != nil {
			s.inbox.finish(*w.ack)
			s.sure = max(s.sure, *w.ack)
		}
	})
	if err != nil {
		return Sent{}, fmt.Errorf("replying: %w", s.stale(err))
	}
	return sentOf(f.GetReply()), nil
}

// Note appends an entry that only staff sees.
func (s *Session) Note(ctx context.Context, body any) (Sent, error) {
	return s.Reply(ctx, "note", body, ForStaff())
}

// stale ends the session here when the server says that it has ended there.
func (s *Session) stale(err error) error {
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Slug == wire.StaleAssignment {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		if s.ae != 0 && s.err == nil {
			s.revoked("stale")
		}
	}
	return err
}

// Nack gives the entry seq and all later ones back: they come again after delay [SW-5.6]. Handlers return an error
// instead. When it fails nothing was given back, as far as this worker knows, and the entries are handled again at once.
func (s *Session) Nack(ctx context.Context, seq uint64, delay time.Duration, reason string) error {
	var turn uint64
	s.c.mu.Lock()
	if seq > s.inbox.done { // otherwise the server refuses it, and nothing comes again
		turn = s.inbox.rewind(seq)
	}
	s.c.mu.Unlock()
	m := &wirepb.Nack{Session: s.id, Ae: s.ae, Seq: seq, DelayMs: delay.Milliseconds(), Reason: reason, Key: newKey()}
	_, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Nack{Nack: m}}, func(f *wirepb.ServerFrame) {
		s.inbox.rewound(turn, !f.GetNack().GetDuplicate())
	})
	if err != nil {
		s.c.mu.Lock()
		s.inbox.kept(turn)
		s.c.mu.Unlock()
		s.poke()
		return fmt.Errorf("giving back entry %d: %w", seq, s.stale(err))
	}
	s.poke()
	return nil
}

// EndOption refines how a worker gives a session up.
type EndOption func(*uint64)

// UpTo refuses to give the session up when the customer has said something after seq: it then fails with
// [wire.Unanswered] and nothing happens [SW-5.8].
func UpTo(seq uint64) EndOption { return func(u *uint64) { *u = seq + 1 } }

func uptoOf(opts []EndOption) *uint64 {
	var u uint64
	for _, o := range opts {
		o(&u)
	}
	if u == 0 {
		return nil
	}
	u--
	return &u
}

// TransferTo asks for the session to be handed to a queue or to a worker, of which exactly one is named [SW-5.8].
type TransferTo struct {
	Queue, Worker string
	Note          string
	Context       any // a JSON merge patch of the context document
}

// Transfer hands the session on. To a queue it is over with the answer; to a worker it is requested, and this worker
// keeps the session until the other accepts (the handler's context then ends), or the event
// session.transfer_failed tells why not.
func (s *Session) Transfer(ctx context.Context, to TransferTo, opts ...EndOption) error {
	m := &wirepb.Transfer{Session: s.id, Ae: s.ae, To: &wirepb.Target{Queue: to.Queue, Worker: to.Worker}, Note: to.Note, Key: newKey(), Upto: uptoOf(opts)}
	if to.Context != nil {
		var err error
		if m.Context, err = bodyOf(to.Context); err != nil {
			return fmt.Errorf("transferring: %w", err)
		}
	}
	f := &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{Transfer: m}}
	if to.Queue != "" {
		return s.finished(ctx, "transferring", f)
	}
	if _, err := s.call(ctx, f, nil); err != nil {
		return fmt.Errorf("transferring: %w", s.stale(err))
	}
	return nil
}

// Release ends the assignment: the worker is done with the session, and with the entry that its handler has, which is acknowledged
// first, unless [UpTo] names one before it: say that where it is not the handler who releases, as behind a silence. What the customer said behind that, or to a
// worker without a handler, and nobody acknowledged, is queued again at once.
func (s *Session) Release(ctx context.Context, outcome, summary string, tags []string, opts ...EndOption) error {
	upto := uptoOf(opts)
	s.c.mu.Lock()
	if d := s.inbox.doing; d > s.inbox.done && s.err == nil && (upto == nil || d <= *upto) {
		s.inbox.finish(d)
		s.ackLevel(d) // levels go before requests
	}
	s.c.mu.Unlock()
	m := &wirepb.Release{Session: s.id, Ae: s.ae, Outcome: outcome, Summary: summary, Tags: tags, Key: newKey(), Upto: upto}
	return s.finished(ctx, "releasing", &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Release{Release: m}})
}

// finished calls for something that ends a worker's assignment. The handler that did it may go on: its context ends
// when it returns.
func (s *Session) finished(ctx context.Context, doing string, f *wirepb.ClientFrame) error {
	_, err := s.call(ctx, f, func(*wirepb.ServerFrame) {
		if s.ae != 0 {
			s.reason = "released"
			s.end(ErrRevoked)
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", doing, s.stale(err))
	}
	return nil
}

// Wrapup says that the work after a release is done, so that its slot is free [SW-5.9].
func (s *Session) Wrapup(ctx context.Context) error {
	m := &wirepb.Wrapup{Session: s.id, Ae: s.ae, Done: true}
	if _, err := s.c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Wrapup{Wrapup: m}}, nil); err != nil {
		return fmt.Errorf("ending the wrap-up: %w", err)
	}
	return nil
}

// SetContext changes the context document by a JSON merge patch (RFC 7396), if it is still the version that this
// worker knows; otherwise it fails with [wire.VersionConflict].
func (s *Session) SetContext(ctx context.Context, patch any) (Document, error) {
	b, err := s.body(patch)
	if err != nil {
		return Document{}, fmt.Errorf("changing the context: %w", err)
	}
	old := s.Context()
	doc, err := mergePatch(old.Doc, b)
	if err != nil {
		return Document{}, fmt.Errorf("changing the context: %w", err)
	}
	m := &wirepb.Context{Session: s.id, Ae: s.ae, IfV: old.V, Patch: b, Key: newKey()}
	d := Document{Doc: doc}
	_, err = s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Context{Context: m}}, func(f *wirepb.ServerFrame) {
		d.V = f.GetContext().GetV()
		s.doc = d
	})
	if err != nil {
		return Document{}, fmt.Errorf("changing the context: %w", s.stale(err))
	}
	return d, nil
}

// mergePatch applies a JSON merge patch (RFC 7396).
func mergePatch(doc, patch []byte) ([]byte, error) {
	var p map[string]json.RawMessage
	if len(patch) == 0 || patch[0] != '{' {
		return patch, nil
	}
	if err := json.Unmarshal(patch, &p); err != nil {
		return nil, err
	}
	d := map[string]json.RawMessage{}
	if len(doc) > 0 && doc[0] == '{' {
		if err := json.Unmarshal(doc, &d); err != nil {
			return nil, err
		}
	}
	for k, v := range p {
		if string(v) == "null" {
			delete(d, k)
			continue
		}
		merged, err := mergePatch(d[k], v)
		if err != nil {
			return nil, err
		}
		d[k] = merged
	}
	return json.Marshal(d)
}

// Presence tells the server whether this worker takes work: "ready", "away" or "draining" [SW-5.9]. Who is not ready stays that over lost connections:
// it is said again behind each subscription, as a server that was started anew does not know it.
func (c *Client) Presence(ctx context.Context, state, reason string) error {
	m := &wirepb.Presence{State: state, Reason: reason}
	if _, err := c.call(ctx, presenceFrame(m), func(*wirepb.ServerFrame) {
		if c.work != nil {
			c.work.presence = m
		}
	}); err != nil {
		return fmt.Errorf("changing presence: %w", err)
	}
	return nil
}

func presenceFrame(m *wirepb.Presence) *wirepb.ClientFrame {
	return &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Presence{Presence: m}}
}

// Slots changes how many sessions this worker holds at a time. It lasts until the next subscription, which says
// WorkerConfig.Slots again.
func (c *Client) Slots(ctx context.Context, n int) error {
	m := &wirepb.Slots{Slots: uint32(max(n, 0))}
	if _, err := c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Slots{Slots: m}}, nil); err != nil {
		return fmt.Errorf("changing slots: %w", err)
	}
	return nil
}
