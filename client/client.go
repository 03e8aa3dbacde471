package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Hello is what the server said about the connection [SW-3].
type Hello struct {
	Connection, Tenant, Sub, Role, Node, Server string
	// Limits of one connection: bytes of a frame and of a body, frames of a message, sessions, unanswered requests.
	Frame, Body, Batch, Sessions, Inflight int
	Features                               []string
}

// Client is one identity's connection to a Switchboard, and the sessions on it. It connects again by itself until
// [Client.Close] or a refusal that is final. All methods may be called from any goroutine.
type Client struct {
	// Fixed.
	cfg    Config
	work   *worker // nil for frontends
	ctx    context.Context
	cancel context.CancelFunc
	first  chan struct{} // closed after the first hello
	ended  chan struct{} // closed when run has returned
	tasks  sync.WaitGroup

	// Guarded by mu.
	mu       sync.Mutex
	err      error // final
	lost     error // why there is no connection just now
	closing  bool
	greeted  bool
	hello    Hello
	conn     *conn // nil while there is none that has said hello
	lastID   uint64
	pending  []*request // in the order of the calls
	onWire   int        // how many of them the server has
	followed map[string]*Session
	assigned map[string]*Session
	hooks    []func() // to be called by the reader
}

// Dial connects and says hello. It tries until that worked, ctx ends, or the server refuses for good; the client then
// lives on its own, and ctx has no more to do with it.
func Dial(ctx context.Context, cfg Config) (*Client, error) { return dial(ctx, cfg, nil) }

func dial(ctx context.Context, cfg Config, w *worker) (*Client, error) {
	cfg, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, work: w, first: make(chan struct{}), ended: make(chan struct{}),
		followed: map[string]*Session{}, assigned: map[string]*Session{},
	}
	if w != nil {
		w.c = c
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go c.run()
	select {
	case <-c.first:
		return c, nil
	case <-c.ended:
		return nil, c.Err()
	case <-ctx.Done():
		c.mu.Lock()
		lost := c.lost
		c.mu.Unlock()
		_ = c.Close()
		return nil, fmt.Errorf("connecting to %s: %w", cfg.URL, errors.Join(context.Cause(ctx), lost))
	}
}

// Close writes what waits to be written without an answer (acks, the last delta), ends the connection and fails
// everything that waits with [ErrClosed]. It returns when the client's goroutines have ended, within two seconds.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	k := c.conn
	if k != nil {
		k.poke()
	}
	c.mu.Unlock()
	if k == nil {
		c.cancel()
	}
	stuck := time.AfterFunc(2*time.Second, c.cancel)
	<-c.ended
	stuck.Stop()
	c.cancel()
	c.tasks.Wait()
	return nil
}

// Done is closed when the client has ended for good; [Client.Err] then tells why.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err returns why the client has ended, or nil while it lives: [ErrClosed], a [*CloseError], the [*wire.Error] of a
// refused hello, or of a worker [ErrTakenOver].
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Hello returns what the server said last about the connection.
func (c *Client) Hello() Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hello
}

// Identify links the customer of token, who has logged in, with this connection's [SW-3.4]. It returns the customer
// that survives and its open sessions. Further connections should use the new token.
func (c *Client) Identify(ctx context.Context, token string) (customer string, sessions []string, err error) {
	f, err := c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Identify{Identify: &wirepb.Identify{Token: token}}}, nil)
	if err != nil {
		return "", nil, fmt.Errorf("identifying: %w", err)
	}
	return f.GetIdentify().GetCustomer(), f.GetIdentify().GetSessions(), nil
}

// run is the client's life: one connection after the other.
func (c *Client) run() {
	defer close(c.ended)
	url, token := c.cfg.URL, ""
	for failures := 0; ; failures++ {
		end := c.connect(url, token)
		c.mu.Lock()
		closing := c.closing || c.ctx.Err() != nil
		c.mu.Unlock()
		if closing {
			c.fail(ErrClosed)
			return
		}
		if end.final {
			c.fail(end.err)
			c.disconnected(end.err, -1)
			return
		}
		if end.lived >= c.cfg.BackoffMax/2 {
			failures = 0 // it was a good connection; one that dies young counts on
		}
		wait := c.cfg.backoff(failures, end.after)
		c.mu.Lock()
		c.lost = end.err
		c.mu.Unlock()
		c.cfg.Log.Info("connection lost", "error", end.err, "wait", wait)
		c.disconnected(end.err, wait)
		pause := time.NewTimer(wait)
		select {
		case <-pause.C:
		case <-c.ctx.Done():
			pause.Stop()
		}
		url, token = or(end.to, c.cfg.URL), end.token
	}
}

func (c *Client) disconnected(err error, wait time.Duration) {
	if c.cfg.On.Disconnected != nil {
		c.cfg.On.Disconnected(err, wait)
	}
}

// fail ends everything with err.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	for len(c.pending) > 0 {
		c.complete(c.pending[0], nil, err)
	}
	for _, s := range c.followed {
		s.end(err)
	}
	for _, s := range c.assigned {
		s.end(err)
	}
}

// handle does what one frame of the server says. It returns the hooks to be called without the lock, and why the
// connection is to be given up, if it is.
func (c *Client) handle(k *conn, f *wirepb.ServerFrame) (hooks []func(), refused error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Id != 0 {
		c.answered(k, f)
	} else {
		c.pushed(k, f)
	}
	hooks, c.hooks = c.hooks, nil
	return hooks, k.refused
}

// after lets the reader call hook once the lock is free.
func (c *Client) after(hook func()) { c.hooks = append(c.hooks, hook) }

// pushed does what a frame says that answers nothing.
func (c *Client) pushed(k *conn, f *wirepb.ServerFrame) {
	switch v := f.Verb.(type) {
	case *wirepb.ServerFrame_Message:
		if s := c.followed[v.Message.Session]; s != nil {
			s.message(v.Message)
		}
	case *wirepb.ServerFrame_Delivery:
		if s := c.assigned[v.Delivery.Session]; s != nil && s.ae == v.Delivery.Ae {
			s.delivery(v.Delivery)
		}
	case *wirepb.ServerFrame_Assigned:
		c.work.take(v.Assigned)
	case *wirepb.ServerFrame_Revoked:
		if v.Revoked.Session == "" && c.work != nil { // [SW-5.7] all of it is another's
			c.takenOver(k)
			return
		}
		if s := c.assigned[v.Revoked.Session]; s != nil && s.ae == v.Revoked.Ae {
			s.revoked(v.Revoked.Reason)
		}
	case *wirepb.ServerFrame_Offer:
		c.work.offered(v.Offer)
	case *wirepb.ServerFrame_OfferEnded:
		c.work.offerEnded(v.OfferEnded.Offer)
	case *wirepb.ServerFrame_Classify:
		c.work.classify(v.Classify)
	case *wirepb.ServerFrame_Invited:
		c.work.invited(v.Invited)
	case *wirepb.ServerFrame_Rewind:
		if s := c.assigned[v.Rewind.Session]; s != nil {
			s.rewindStream(v.Rewind)
		}
	case *wirepb.ServerFrame_Presence:
		if c.work == nil || c.work.state() == v.Presence.State {
			break // what he knows: who comes back and is not ready is told so
		}
		c.work.presence = v.Presence
		if on := c.cfg.On.Presence; on != nil {
			c.after(func() { on(v.Presence.State, v.Presence.Reason) })
		}
	case *wirepb.ServerFrame_Lag:
		if s := c.followed[v.Lag.Session]; s != nil {
			s.feed.lag()
		}
	case *wirepb.ServerFrame_Bye:
		k.bye = v.Bye
	case *wirepb.ServerFrame_Error:
		c.cfg.Log.Warn("refused", "error", errorOf(v.Error))
	default:
		c.ephemeral(f)
	}
}

// takenOver gives up what another connection of the worker has by now, and the connection for good.
func (c *Client) takenOver(k *conn) {
	for _, s := range c.assigned {
		s.revoked("takeover")
	}
	k.refused = ErrTakenOver
}

// session finds the session that something ephemeral is about.
func (c *Client) session(id string) *Session {
	if s := c.followed[id]; s != nil {
		return s
	}
	return c.assigned[id]
}

// ephemeral hands on what is never stored [SW-4.8].
func (c *Client) ephemeral(f *wirepb.ServerFrame) {
	on := &c.cfg.On
	switch v := f.Verb.(type) {
	case *wirepb.ServerFrame_Typing:
		if s := c.session(v.Typing.Session); s != nil && on.Typing != nil {
			ttl := time.Duration(v.Typing.TtlMs) * time.Millisecond
			c.after(func() { on.Typing(s, wire.AuthorOf(v.Typing.From), v.Typing.On, ttl) })
		}
	case *wirepb.ServerFrame_Receipt:
		if s := c.session(v.Receipt.Session); s != nil && on.Receipt != nil {
			c.after(func() { on.Receipt(s, wire.AuthorOf(v.Receipt.Who), v.Receipt.Delivered, v.Receipt.Read) })
		}
	case *wirepb.ServerFrame_State:
		if s := c.session(v.State.Session); s != nil {
			s.status = stateOf(v.State)
			if status := s.status; on.State != nil {
				c.after(func() { on.State(s, status) })
			}
		}
	case *wirepb.ServerFrame_Delta:
		if s := c.session(v.Delta.Session); s != nil {
			s.written(v.Delta.Stream, v.Delta.Off, v.Delta.Text, false)
		}
	case *wirepb.ServerFrame_Stream:
		if s := c.session(v.Stream.Session); s != nil {
			s.written(v.Stream.Stream, 0, v.Stream.Text, true)
		}
	}
}

func stateOf(m *wirepb.State) State {
	st := State{State: m.State, Queue: m.Queue, Position: m.Position}
	for i, ms := range m.EtaMs {
		if i < len(st.ETA) {
			st.ETA[i] = time.Duration(ms) * time.Millisecond
		}
	}
	if m.OpensAt > 0 {
		st.OpensAt = time.UnixMilli(m.OpensAt)
	}
	return st
}
