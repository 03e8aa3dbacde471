package client

import (
	"context"
	"fmt"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Option refines one word of ours.
type Option func(*words)

// words is a send or a reply before it is put into a frame.
type words struct {
	key        string
	replyTo    uint64
	ack        *uint64
	visibility string
	stream     string
}

// WithKey sets the idempotency key [SW-4.3]. A program that may be restarted between sending and noting that it has
// sent uses one that it can find again. Default: a new one per call.
func WithKey(key string) Option { return func(w *words) { w.key = key } }

// ReplyTo says which entry is answered.
func ReplyTo(seq uint64) Option { return func(w *words) { w.replyTo = seq } }

// WithAck lets a worker's reply acknowledge everything up to seq in the same durable step [SW-5.5]. Without
// [WithKey] the seq is the key: a worker that crashed and answers again cannot answer twice.
func WithAck(seq uint64) Option { return func(w *words) { w.ack = &seq } }

// ForStaff hides a worker's reply from the customer.
func ForStaff() Option { return func(w *words) { w.visibility = wire.Staff } }

// Send appends an entry and returns once it is durable [SW-4.2]. body is one JSON value: bytes as they are, a string
// as {"text":…}, anything else as it marshals. It is sent again, with the same key, over as many connections as it
// takes; when ctx ends first the outcome is unknown, and repeating it with the same key is safe. Of two calls that do
// not overlap the first comes first.
func (s *Session) Send(ctx context.Context, typ string, body any, opts ...Option) (Sent, error) {
	w := words{key: newKey()}
	for _, o := range opts {
		o(&w)
	}
	b, err := s.body(body)
	if err != nil {
		return Sent{}, fmt.Errorf("sending: %w", err)
	}
	send := &wirepb.Send{Session: s.id, Key: w.key, Type: or(typ, "text"), Body: b, ReplyTo: w.replyTo, Customer: s.behalf}
	f, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Send{Send: send}}, func(f *wirepb.ServerFrame) {
		r := f.GetSend()
		s.took(s.feed.own(s.ownEntry(send, r), r.GetDuplicate()))
	})
	if err != nil {
		return Sent{}, fmt.Errorf("sending: %w", err)
	}
	return sentOf(f.GetSend()), nil
}

// ownEntry returns what m became. Of a service's customer the id is known to the server alone.
func (s *Session) ownEntry(m *wirepb.Send, r *wirepb.SendReply) Entry {
	from := wire.Author{Role: wire.Role(s.c.hello.Role), ID: s.c.hello.Sub}
	if s.behalf != nil {
		from = wire.Author{Role: wire.RoleCustomer, Name: s.behalf.Name}
	}
	return Entry{Own: true, Entry: wire.Entry{
		Session: wire.SessionID(s.id), Seq: r.GetSeq(), Epoch: r.GetEpoch(), TS: r.GetTs(),
		From: from, Origin: wire.OriginCustomer,
		Kind: wire.KindMessage, Type: m.Type, Body: m.Body, Visibility: wire.Public, Channel: s.channel, ReplyTo: m.ReplyTo,
	}}
}

func sentOf(r *wirepb.SendReply) Sent {
	return Sent{Seq: r.GetSeq(), Epoch: r.GetEpoch(), TS: r.GetTs(), Duplicate: r.GetDuplicate()}
}

// body prepares v, within the server's limit.
func (s *Session) body(v any) ([]byte, error) {
	b, err := bodyOf(v)
	if err != nil {
		return nil, err
	}
	if most := s.c.Hello().Body; most > 0 && len(b) > most {
		return nil, &wire.Error{Slug: wire.TooLarge, Message: fmt.Sprintf("the body has %d bytes, the server takes %d", len(b), most)}
	}
	return b, nil
}

// call is [Client.call] for a session that has not ended.
func (s *Session) call(ctx context.Context, f *wirepb.ClientFrame, settle func(*wirepb.ServerFrame)) (*wirepb.ServerFrame, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	return s.c.call(ctx, f, settle)
}

// Ack tells the server, for a customer, that everything up to seq has arrived on this device. For a worker it
// acknowledges everything up to seq [SW-5.6]; handlers seldom need it, because returning nil does it. It is not
// waited for: a lost one is made good by the next, and a worker's entry then comes again. A worker's fails with [wire.NotDelivered], and nothing
// happens, when seq is above everything that was delivered to him.
func (s *Session) Ack(seq uint64) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.ae != 0 {
		if seq > s.inbox.highest() { // the server would refuse it, and what is up to there would pass for dealt with here
			return wire.Refuse(wire.NotDelivered)
		}
		s.inbox.finish(seq)
	}
	s.ackLevel(seq)
	return nil
}

// ackLevel lets the writer acknowledge seq. Client.mu is held.
func (s *Session) ackLevel(seq uint64) {
	if s.acked || s.ae == 0 {
		seq = max(seq, s.ack)
	}
	s.ack, s.acked = seq, true
	s.touch()
}

// Read tells the others that this customer has read everything up to seq.
func (s *Session) Read(seq uint64) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.read = max(s.read, seq)
	s.ackLevel(max(s.ack, seq))
	return nil
}

// Typing tells the others that we type, or stopped. It is not waited for and may be lost; without a connection nothing
// is said. While it holds it is to be repeated every few seconds.
func (s *Session) Typing(on bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.err != nil || s.c.conn == nil {
		return
	}
	if s.typing = -1; on {
		s.typing = 1
	}
	s.touch()
}

// Page asks for a part of the past: the Limit entries before Before, the latest when it is 0, or those after After.
type Page struct {
	Before uint64
	After  *uint64
	Limit  int // default 50; the server may return fewer
}

// History returns entries of the log in seq order, and whether there are more of them. It does not touch what
// [Session.Recv] returns.
func (s *Session) History(ctx context.Context, p Page) (entries []Entry, more bool, err error) {
	h := &wirepb.History{Session: s.id, After: p.After, Limit: uint32(max(or(p.Limit, 50), 1)), Customer: s.behalf}
	if p.Before > 0 {
		h.Before = &p.Before
	}
	f, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_History{History: h}}, nil)
	if err != nil {
		return nil, false, fmt.Errorf("reading the history: %w", err)
	}
	return entriesOf(f.GetHistory().GetEntries()), f.GetHistory().GetMore(), nil
}

func entriesOf(ms []*wirepb.Entry) []Entry {
	out := make([]Entry, len(ms))
	for i, m := range ms {
		out[i] = entryOf(m)
	}
	return out
}

// Close ends the conversation itself, for everybody. A customer's next word may open it again [SW-4.6]. A worker's
// assignment is over with it.
func (s *Session) Close(ctx context.Context, reason string, opts ...EndOption) error {
	m := &wirepb.Close{Session: s.id, Reason: reason, Ae: s.ae, Key: newKey(), Upto: uptoOf(opts), Customer: s.behalf}
	return s.finished(ctx, "closing the session", &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Close{Close: m}})
}

// Rate gives the customer's judgement: a score from 1 to 5, and what there is to say about it.
func (s *Session) Rate(ctx context.Context, score int, comment string) error {
	m := &wirepb.Rate{Session: s.id, Score: uint32(max(score, 0)), Comment: comment, Key: newKey()}
	if _, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Rate{Rate: m}}, nil); err != nil {
		return fmt.Errorf("rating: %w", err)
	}
	return nil
}

// Leave stops following; the conversation goes on without us. Recv returns [ErrLeft] once it has returned what had
// come before.
func (s *Session) Leave(ctx context.Context) error {
	_, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Leave{Leave: &wirepb.Leave{Session: s.id, Customer: s.behalf}}}, func(*wirepb.ServerFrame) { s.end(ErrLeft) })
	if err != nil {
		return fmt.Errorf("leaving: %w", err)
	}
	return nil
}
