package client

import (
	"context"
	"math"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// sayHello returns the first message: who we are, and where our sessions stand [SW-2.8] [SW-3.2]. It is one frame, within the limit that the server told
// last; sessions for which there is no room are opened again by their readers.
func (c *Client) sayHello(k *conn) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &wirepb.Hello{Token: k.token, Client: c.cfg.Client, Features: []string{"stream"}}
	for _, s := range c.followed {
		switch {
		case s.ge != 0:
			s.end(ErrRevoked) // a guest's seat ended with the connection [SW-5a.1]
		case s.feed.stale: // its reader opens it again when it gets there
		case s.feed.loose && s.feed.tail > 0:
			s.feed.stale = true // it has no position yet
			s.poke()
		default:
			h.Resume = append(h.Resume, &wirepb.Resume{Session: s.id, Epoch: s.feed.pos.Epoch, Seq: s.feed.pos.Seq, Customer: s.behalf})
		}
	}
	c.lastID++
	k.helloID = c.lastID
	f := &wirepb.ClientFrame{Id: k.helloID, Verb: &wirepb.ClientFrame_Hello{Hello: h}}
	for {
		b, err := k.codec.Append(nil, f)
		n := len(h.Resume)
		if n == 0 || err != nil || len(b) <= c.hello.Frame {
			return b, err
		}
		for _, line := range h.Resume[n/2:] {
			s := c.followed[line.Session]
			s.feed.stale = true
			s.poke()
		}
		h.Resume = h.Resume[:n/2]
	}
}

// welcome takes the answer to hello: the sessions go on, and so does everything that has no answer yet [SW-4.2].
func (c *Client) welcome(k *conn, f *wirepb.ServerFrame) {
	h := f.GetHello()
	if h == nil {
		k.refused = errorOf(or(f.GetError(), &wirepb.Error{Slug: string(wire.Internal)}))
		return
	}
	l := h.GetLimits()
	c.hello = Hello{
		Connection: h.Connection, Tenant: h.Tenant, Sub: h.Sub, Role: h.Role, Node: h.Node, Server: h.Server, Features: h.Features,
		Frame: int(or(l.GetFrame(), 65536)), Body: int(or(l.GetBody(), 32768)), Batch: int(or(l.GetBatch(), 64)),
		Sessions: int(or(l.GetSessions(), 8)), Inflight: int(or(l.GetInflight(), 8)),
	}
	k.silence = time.Duration(or(h.PingMs, 25000)+or(h.PongMs, 8000)) * time.Millisecond
	c.conn, c.lost = k, nil
	c.resumed(h.Resumed)
	c.expireIn(k, time.Duration(h.ExpiresMs)*time.Millisecond)
	if c.work != nil {
		c.subscribe(k)
	} else {
		c.open(k)
	}
	if hook, hello := c.cfg.On.Connected, c.hello; hook != nil {
		c.after(func() { hook(hello) })
	}
}

// open lets requests go.
func (c *Client) open(k *conn) {
	k.ready = true
	for _, m := range []map[string]*Session{c.followed, c.assigned} {
		for _, s := range m {
			s.touch() // levels that could not be written
		}
	}
	c.flush()
	k.poke()
	if !c.greeted {
		c.greeted = true
		close(c.first)
	}
}

// resumed lets the followed sessions go on as the server says.
func (c *Client) resumed(answers []*wirepb.Resumed) {
	missing := make(map[string]*Session, len(c.followed))
	for id, s := range c.followed {
		if !s.feed.stale {
			missing[id] = s
		}
	}
	for _, r := range answers {
		s := missing[r.Session]
		if s == nil {
			continue
		}
		delete(missing, r.Session)
		if r.Error != nil {
			if !again(r.Error) {
				s.end(errorOf(r.Error))
				continue
			}
			s.feed.stale = true
		} else {
			s.feed.attached(true, r.How, r.At, r.Head, r.Epoch)
			s.dropDrafts(r.Streams) // what still runs comes again, whole [SW-4.8]
		}
		s.poke()
	}
	for _, s := range missing {
		s.feed.stale = true
		s.poke()
	}
}

// expireIn plans the refresh of k's token, well before it expires [SW-3.3].
func (c *Client) expireIn(k *conn, left time.Duration) {
	if left <= 0 {
		return // it does not expire
	}
	c.refreshIn(k, left-min(left/5, time.Minute))
}

// refreshSoon is for a server that says the token has expired.
func (c *Client) refreshSoon(k *conn) {
	if k.expires != nil && k.expires.Stop() {
		c.tasks.Done()
		c.refreshIn(k, 0)
	}
}

func (c *Client) refreshIn(k *conn, wait time.Duration) {
	c.tasks.Add(1)
	k.expires = time.AfterFunc(min(wait, math.MaxInt64/2), func() {
		defer c.tasks.Done()
		c.refresh(k)
	})
}

// refresh gives the connection a new token. When that fails the server ends the connection at the old one's expiry,
// and the next begins with a new token anyway.
func (c *Client) refresh(k *conn) {
	ctx, cancel := context.WithTimeout(k.ctx, c.cfg.Timeout)
	defer cancel()
	token, err := c.cfg.Token(ctx)
	if err == nil {
		_, err = c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Refresh{Refresh: &wirepb.Refresh{Token: token}}}, func(f *wirepb.ServerFrame) {
			if c.conn == k {
				k.token = token
				c.expireIn(k, time.Duration(f.GetRefresh().GetExpiresMs())*time.Millisecond)
			}
		})
	}
	if err != nil && k.ctx.Err() == nil {
		c.cfg.Log.Warn("refreshing the token", "error", err)
	}
}
