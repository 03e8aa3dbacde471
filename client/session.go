package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"math"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Session is one conversation: one that [Client.Open] follows, or one that is assigned to a worker by [Work]. All
// methods may be called from any goroutine; entries are read by one at a time.
type Session struct {
	// Fixed.
	c       *Client
	id      string
	channel string
	behalf  *wirepb.Customer // whom a service acts for [SW-5a.6]
	wake    chan struct{}    // for whoever reads entries
	reading chan struct{}    // a token: one reader at a time
	task                     // of a worker
	seat                     // of a guest

	// Guarded by Client.mu.
	err     error // once it has ended
	status  State
	feed    feed
	streams map[string]*draft  // being written by others
	writers map[string]*Stream // being written by us

	// Levels, guarded by Client.mu: what counts is their last value when the writer comes by.
	dirty     bool
	ack, read uint64
	acked     bool // ack and read are to be written
	typing    int8 // 1 on, -1 off, 0 nothing to say
	leave     bool
}

// OpenOptions says which conversation to follow, and from where.
type OpenOptions struct {
	// Session is its id. Empty gets the customer's open session of Shop, or creates it [SW-4.1].
	Session string
	// Channel, Queue, Shop and Attributes (a JSON object, or anything that marshals to one) are used when the session
	// is created. Default channel: "web".
	Channel, Queue, Shop string
	Attributes           any
	// From continues after a position that an earlier run kept; see [Session.Position].
	From *wire.Position
	// Tail begins that many entries before the head. Without From and Tail only new entries are seen.
	Tail int
	// Key makes creating idempotent [SW-4.3]. Default: a new one per call.
	Key string
	// Customer is whom a service acts for [SW-5a.6]: an external id of a channel, which is also the session's Channel. Services
	// must set it, everybody else must not. What the session says from then on, it says for him.
	Customer *wire.External
}

// Open follows a session. Opening one that this client follows already returns the same Session, which goes on where
// it was. A session that does not exist and one that the token does not allow both fail with [wire.NoSession].
func (c *Client) Open(ctx context.Context, o OpenOptions) (*Session, error) {
	open := &wirepb.Open{Session: o.Session, Channel: or(o.Channel, "web"), Queue: o.Queue, Shop: o.Shop, Key: or(o.Key, newKey()), Customer: o.Customer.PB()}
	if o.Customer != nil {
		open.Channel = o.Customer.Channel
	}
	if o.Attributes != nil {
		var err error
		if open.Attributes, err = bodyOf(o.Attributes); err != nil {
			return nil, fmt.Errorf("opening a session: %w", err)
		}
	}
	if o.From != nil {
		open.From = &wirepb.Position{Epoch: o.From.Epoch, Seq: o.From.Seq}
	} else if o.Tail > 0 {
		tail := uint32(min(o.Tail, math.MaxInt32))
		open.Tail = &tail
	}
	var s *Session
	_, err := c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: open}}, func(f *wirepb.ServerFrame) {
		s = c.follow(open, f.GetOpen())
	})
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	return s, nil
}

// follow begins to follow the session of r, which answers o.
func (c *Client) follow(o *wirepb.Open, r *wirepb.OpenReply) *Session {
	if s := c.followed[r.Session]; s != nil {
		s.feed.stale = true // the server now begins elsewhere; the reader opens it once more from its own position
		s.poke()
		return s
	}
	s := &Session{c: c, id: r.Session, channel: o.Channel, behalf: o.Customer, wake: make(chan struct{}, 1), reading: make(chan struct{}, 1)}
	s.feed.limit, s.feed.tail = c.cfg.Buffer, o.GetTail()
	if o.From != nil {
		s.feed.pos = wire.Position{Epoch: o.From.Epoch, Seq: o.From.Seq}
		s.feed.read = s.feed.pos
	}
	c.followed[s.id] = s
	s.attached(o.From != nil, r)
	return s
}

// attached takes the server's answer to an open.
func (s *Session) attached(from bool, r *wirepb.OpenReply) {
	s.feed.attached(from, r.How, r.At, r.Head, r.Epoch)
	s.status.State = r.State
	s.dropDrafts(r.Streams) // those that are not shown again are gone [SW-4.8]
	for _, st := range r.Streams {
		s.written(st.Stream, 0, st.Text, true)
	}
	s.poke()
}

// ID returns the session's id.
func (s *Session) ID() string { return s.id }

// Client returns the client that the session belongs to.
func (s *Session) Client() *Client { return s.c }

// State returns where the session stands, as far as the server has told.
func (s *Session) State() State {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.status
}

// Position returns the place of the entry that [Session.Recv] returned last. Kept over a restart and given to
// [Client.Open] as From, it continues exactly behind it.
func (s *Session) Position() wire.Position {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.feed.read
}

// Err returns why the session has ended, or nil.
func (s *Session) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// Recv returns the next entry that this client may see: in seq order, each once, none left out, over any number of
// connections [SW-4.4]. What this client sends is among them, in its place (see [Entry].Own). It fails when ctx ends,
// and with the session's error once the session has ended and everything before was read. Of sessions that are
// assigned to a worker the entries go to the handler instead.
func (s *Session) Recv(ctx context.Context) (Entry, error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	}
	for {
		s.c.mu.Lock()
		it, ok := s.feed.next()
		err, stale := s.err, s.feed.stale
		s.c.mu.Unlock()
		switch {
		case ok && it.reset != nil:
			if s.c.cfg.On.Reset != nil {
				s.c.cfg.On.Reset(s, *it.reset)
			}
			continue
		case ok:
			return it.entry, nil
		case err != nil:
			return Entry{}, err
		case stale:
			if err := s.reopen(ctx); err != nil {
				return Entry{}, err
			}
			continue
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		}
	}
}

// Entries returns the entries as [Session.Recv] does, until ctx ends or the session does; the last pair then carries
// the error.
func (s *Session) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for {
			e, err := s.Recv(ctx)
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// reopen continues a stale feed from its position. There is room for it whatever else waits, as one session has one reader: a connection that is lost may
// make thousands of them stale at once.
func (s *Session) reopen(ctx context.Context) error {
	open := &wirepb.Open{Session: s.id, Channel: s.channel, Customer: s.behalf}
	s.c.mu.Lock()
	from := !s.feed.loose || s.feed.tail == 0
	if from {
		open.From = &wirepb.Position{Epoch: s.feed.pos.Epoch, Seq: s.feed.pos.Seq}
	} else {
		open.Tail = &s.feed.tail
	}
	s.c.mu.Unlock()
	_, err := s.c.callWithin(ctx, math.MaxInt, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: open}}, func(f *wirepb.ServerFrame) {
		s.attached(from, f.GetOpen())
	})
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("continuing session %s: %w", s.id, err)
		s.c.mu.Lock()
		s.end(err)
		s.c.mu.Unlock()
	}
	return err
}

// message takes a pushed entry.
func (s *Session) message(m *wirepb.Entry) {
	e := entryOf(m)
	switch s.took(s.feed.push(e, m.Prev)) {
	case taken:
		s.ended(e.Stream)
	case gap:
		s.c.cfg.Log.Warn("an entry is missing", "session", s.id, "after", s.feed.pos.Seq, "before", e.Seq)
	case dropped, full:
	}
}

// took does what follows from what became of an entry.
func (s *Session) took(v verdict) verdict {
	if v == full && s.ge == 0 { // a guest who leaves has no seat any more
		s.leave = true // the server need not send what nobody reads
		s.touch()
	}
	if v != dropped {
		s.poke()
	}
	return v
}

// end ends the session with err. Client.mu is held.
func (s *Session) end(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	if s.c.followed[s.id] == s {
		delete(s.c.followed, s.id)
	}
	if s.c.assigned[s.id] == s {
		delete(s.c.assigned, s.id)
	}
	s.poke()
}

// poke wakes whoever reads entries.
func (s *Session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// touch lets the writer come by, when there is one. Client.mu is held.
func (s *Session) touch() {
	k := s.c.conn
	if k == nil || !k.ready || s.dirty {
		return
	}
	s.dirty = true
	k.dirty = append(k.dirty, s)
	k.poke()
}

// levels appends the frames of everything that is no request. Acks come first: what follows may rest on them.
func (s *Session) levels(out []outgoing) []outgoing {
	add := func(f *wirepb.ClientFrame) { out = append(out, outgoing{frame: f}) }
	if s.acked {
		s.acked = false
		add(&wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Ack{Ack: &wirepb.Ack{Session: s.id, Ae: s.ae, Seq: s.ack, Read: s.read}}})
	}
	if s.typing != 0 {
		add(&wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Typing{Typing: &wirepb.Typing{Session: s.id, Ae: s.ae, On: s.typing > 0}}})
		s.typing = 0
	}
	if s.leave {
		s.leave = false
		add(&wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Leave{Leave: &wirepb.Leave{Session: s.id, Customer: s.behalf}}})
	}
	return s.deltas(out)
}

// newKey returns a key that nobody used before.
func newKey() string { return rand.Text() }
