package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/wire"
)

// converse is the customer of c: he opens, says his words when they are due, and stays until all is answered.
func (r *replay) converse(ctx context.Context, c *conversation) {
	if !r.until(ctx, c.begin) {
		c.failed("beginning", context.Cause(ctx))
		return
	}
	cl, s, err := r.open(ctx, c)
	if err != nil {
		c.failed("opening", err)
		return
	}
	r.m.opened(time.Since(r.start) - c.begin)
	listening, stop := context.WithCancel(ctx)
	defer stop()
	var listener sync.WaitGroup
	listener.Go(func() { r.listen(listening, c, s) })
	if r.say(ctx, c, s) {
		r.finish(ctx, c, s)
	}
	stop()
	listener.Wait()
	_ = cl.Close()
}

func (r *replay) open(ctx context.Context, c *conversation) (*client.Client, *client.Session, error) {
	token, err := r.Token(wire.RoleCustomer, "", c.sub)
	if err != nil {
		return nil, nil, fmt.Errorf("minting a token: %w", err)
	}
	cfg := r.config(token, c.disturber, c.index)
	cfg.On.Reset = func(_ *client.Session, b client.Reset) {
		c.failed("following", fmt.Errorf("the server has lost history: %s at %d", b.How, b.At))
	}
	cl, err := client.Dial(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	s, err := cl.Open(ctx, client.OpenOptions{
		Queue: r.Queue, Attributes: map[string]any{"run": r.name, "dialogue": c.index},
	})
	if err != nil {
		_ = cl.Close()
		return nil, nil, err
	}
	c.mu.Lock()
	c.session = s.ID()
	c.mu.Unlock()
	return cl, s, nil
}

// say sends c's words when they are due. It reports whether all were acknowledged.
func (r *replay) say(ctx context.Context, c *conversation, s *client.Session) bool {
	for n, text := range c.said {
		if !r.until(ctx, c.due[n]) {
			c.failed(fmt.Sprintf("waiting for turn %d", n), context.Cause(ctx))
			return false
		}
		c.mu.Lock()
		c.tried = n + 1
		c.mu.Unlock()
		c.disturber.cut(c.customerCuts[n])
		sent, err := s.Send(ctx, "text", json.RawMessage(text))
		if err != nil {
			c.failed(fmt.Sprintf("sending turn %d", n), err)
			return false
		}
		r.m.acknowledged(time.Since(r.start) - c.due[n])
		c.mu.Lock()
		c.sent[n] = sent.Seq
		if sent.Duplicate {
			c.known++
		}
		c.mu.Unlock()
	}
	return true
}

// listen records what the customer receives.
func (r *replay) listen(ctx context.Context, c *conversation, s *client.Session) {
	first := make([]bool, len(c.said))
	for e, err := range s.Entries(ctx) {
		if err != nil {
			if ctx.Err() == nil {
				c.failed("listening", err)
			}
			return
		}
		now := time.Since(r.start)
		c.hear(&e)
		var b carried
		if e.Origin != wire.OriginBot && e.Origin != wire.OriginHuman || json.Unmarshal(e.Body, &b) != nil {
			continue
		}
		if b.Turn >= 0 && b.Turn < len(first) && !first[b.Turn] {
			first[b.Turn] = true
			r.m.answered(now - c.due[b.Turn])
		} else {
			r.m.more()
		}
	}
}

// finish waits until everything has arrived, as long as something still does, and closes the session.
func (r *replay) finish(ctx context.Context, c *conversation, s *client.Session) {
	patience := time.NewTimer(r.Patience)
	defer patience.Stop()
	for !c.complete() {
		select {
		case <-c.progress:
			patience.Reset(r.Patience)
			continue
		case <-patience.C:
			c.failed("waiting for the end", fmt.Errorf("nothing came for %v; %s", r.Patience, c.standing(s.State())))
		case <-ctx.Done():
			c.failed("waiting for the end", context.Cause(ctx))
		}
		break
	}
	if err := s.Close(ctx, "replayed"); err != nil && ctx.Err() == nil {
		c.failed("closing", err)
	}
}

// audit reads the history of every session, once nobody writes any more.
func (r *replay) audit(ctx context.Context) {
	const readers = 16
	work := make(chan *conversation)
	var reading sync.WaitGroup
	for range readers {
		reading.Go(func() {
			for c := range work {
				if err := r.readHistory(ctx, c); err != nil {
					c.failed("reading the history", err)
				}
			}
		})
	}
	for _, c := range r.all {
		work <- c
	}
	close(work)
	reading.Wait()
}

func (r *replay) readHistory(ctx context.Context, c *conversation) error {
	if c.session == "" {
		return errors.New("the session was never opened")
	}
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	token, err := r.Token(wire.RoleCustomer, "", c.sub)
	if err != nil {
		return fmt.Errorf("minting a token: %w", err)
	}
	cl, err := client.Dial(ctx, r.config(token, &disturber{}, c.index+1)) // in the other codec
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	s, err := cl.Open(ctx, client.OpenOptions{Session: c.session})
	if err != nil {
		return err
	}
	var after uint64
	for {
		page, more, err := s.History(ctx, client.Page{After: &after, Limit: 100})
		if err != nil {
			return err
		}
		for i := range page {
			if page[i].Kind == wire.KindMessage {
				c.history = append(c.history, wordOf(&page[i]))
			}
			after = page[i].Seq
		}
		if !more || len(page) == 0 {
			c.audited = true
			return nil
		}
	}
}
