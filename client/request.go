package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// phase is where a request is.
type phase uint8

const (
	waiting phase = iota // for its turn on the wire
	sent                 // the server has it, or had it when the connection ended
	held                 // refused for now; its timer sends it again
)

// request is one call until its answer. Client.mu guards it, but for done.
type request struct {
	id     uint64
	frame  *wirepb.ClientFrame
	phase  phase
	tries  int
	gone   bool // the caller does not wait any more
	timer  *time.Timer
	settle func(*wirepb.ServerFrame) // with mu held, in the order of the socket
	done   chan struct{}

	// Written before done is closed.
	reply *wirepb.ServerFrame
	err   error
}

// over tells whether r has ended.
func (r *request) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// call sends f and waits for its answer, over as many connections as that takes: every verb that writes carries a
// key, so that sending it again is safe [SW-4.3]. settle, which may be nil, sees a good answer before anything that
// the server said after it. When ctx ends first the outcome is unknown.
func (c *Client) call(ctx context.Context, f *wirepb.ClientFrame, settle func(*wirepb.ServerFrame)) (*wirepb.ServerFrame, error) {
	return c.callWithin(ctx, c.cfg.Pending, f, settle)
}

// callWithin is call where fewer than most requests wait; otherwise it fails with [ErrBusy].
func (c *Client) callWithin(ctx context.Context, most int, f *wirepb.ClientFrame, settle func(*wirepb.ServerFrame)) (*wirepb.ServerFrame, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &request{frame: f, settle: settle, done: make(chan struct{})}
	c.mu.Lock()
	if err := c.enter(r, most); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.flush()
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.reply, r.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-r.done:
		return r.reply, r.err
	default:
	}
	if r.gone = true; r.phase != sent {
		c.complete(r, nil, ctx.Err())
	}
	return nil, fmt.Errorf("the outcome is unknown: %w", ctx.Err())
}

// enter puts r into the line, if that is shorter than most.
func (c *Client) enter(r *request, most int) error {
	switch {
	case c.err != nil:
		return c.err
	case c.closing:
		return ErrClosed
	case len(c.pending) >= most:
		return ErrBusy
	}
	c.lastID++
	r.id = c.lastID
	r.frame.Id = r.id
	c.pending = append(c.pending, r)
	return nil
}

// flush puts onto the wire what may go there: in the order of the calls, and never more than the server allows.
func (c *Client) flush() {
	k := c.conn
	if k == nil || !k.ready {
		return
	}
	for _, r := range c.pending {
		if c.onWire >= c.hello.Inflight {
			break
		}
		if r.phase == waiting {
			r.phase = sent
			c.onWire++
			k.out = append(k.out, r)
		}
	}
	k.poke()
}

// requeue puts everything that has no answer back into the line, in its order: the connection it went over is gone.
func (c *Client) requeue() {
	c.onWire = 0
	c.pending = slices.DeleteFunc(c.pending, func(r *request) bool { return r.gone })
	for _, r := range c.pending {
		if r.phase == sent {
			r.phase = waiting
		}
	}
}

// answered finds the request that f answers.
func (c *Client) answered(k *conn, f *wirepb.ServerFrame) {
	switch f.Id {
	case k.helloID:
		c.welcome(k, f)
		return
	case k.subscribeID:
		c.subscribed(k, f)
		return
	}
	i := slices.IndexFunc(c.pending, func(r *request) bool { return r.id == f.Id && r.phase == sent })
	if i < 0 {
		return
	}
	r := c.pending[i]
	if e := f.GetError(); e != nil {
		if r.gone || r.tries >= c.cfg.Tries || !again(e) {
			c.complete(r, nil, errorOf(e))
			return
		}
		c.hold(r, e)
		if wire.Slug(e.Slug) == wire.TokenExpired {
			c.refreshSoon(k)
		}
		return
	}
	c.complete(r, f, nil)
}

// hold keeps r back for as long as the refusal asks for, and a random time more.
func (c *Client) hold(r *request, e *wirepb.Error) {
	c.onWire--
	r.phase = held
	wait := c.cfg.backoff(r.tries, time.Duration(e.RetryAfterMs)*time.Millisecond)
	r.tries++
	r.timer = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.phase == held {
			r.phase = waiting
			c.flush()
		}
	})
	c.flush()
}

// complete ends r.
func (c *Client) complete(r *request, f *wirepb.ServerFrame, err error) {
	i := slices.Index(c.pending, r)
	if i < 0 {
		return
	}
	c.pending = slices.Delete(c.pending, i, i+1)
	if r.phase == sent {
		c.onWire = max(c.onWire-1, 0)
	}
	if r.timer != nil {
		r.timer.Stop()
	}
	if f != nil && r.settle != nil {
		r.settle(f)
	}
	r.reply, r.err = f, err
	close(r.done)
	c.flush()
}
