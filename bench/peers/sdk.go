package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"

	"switchboard/client"
	"switchboard/edge/token"
	"switchboard/wire"
)

// switchboardSDK is Switchboard by its own Go client, with all that it does for an application: resuming, filling gaps,
// repeating what was not answered, one goroutine per assigned session at the worker.
func switchboardSDK() *Peer {
	p := switchboardRaw()
	p.Name, p.Client, p.join = "switchboard sdk", "its Go client, JSON", joinSDK
	return p
}

type sdkSwarm struct {
	clients []*client.Client
	queues  []chan []byte // what a customer's goroutine will send: Send waits for the answer
	stop    context.CancelFunc
	ctx     context.Context
	wg      sync.WaitGroup
}

func joinSDK(ctx context.Context, t *Turn, l *Load) (Swarm, error) {
	s := &sdkSwarm{}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	keys, err := token.LoadOrCreate(filepath.Join(t.Dir, "data"))
	if err != nil {
		return s, err
	}
	config := func(role wire.Role, sub string) (client.Config, error) {
		tok, err := mint(keys, role, sub)
		return client.Config{URL: "ws://" + t.Addrs[0] + "/v1/connect", Token: client.StaticToken(tok), Pending: 10_000}, err
	}
	for k := range l.Workers {
		cfg, err := config(wire.RoleWorker, "bot-"+strconv.Itoa(k))
		if err != nil {
			return s, err
		}
		s.wg.Go(func() {
			err := client.Work(s.ctx, client.WorkerConfig{Config: cfg, Queues: []string{"default"}, Slots: 10_000},
				func(ctx context.Context, c *client.Session, e client.Entry) error {
					_, err := c.Reply(ctx, "text", e.Text(), client.WithAck(e.Seq))
					return err
				})
			s.fail(l, err)
		})
	}
	for i := range l.Customers {
		cfg, err := config(wire.RoleCustomer, "c-"+strconv.Itoa(i))
		if err != nil {
			return s, err
		}
		c, err := client.Dial(ctx, cfg)
		if err != nil {
			return s, fmt.Errorf("connecting customer %d: %w", i, err)
		}
		s.clients = append(s.clients, c)
		session, err := c.Open(ctx, client.OpenOptions{Queue: "default"})
		if err != nil {
			return s, fmt.Errorf("opening the session of customer %d: %w", i, err)
		}
		queue := make(chan []byte, 4096)
		s.queues = append(s.queues, queue)
		s.wg.Go(func() { s.speak(session, queue, l) })
		s.wg.Go(func() { s.listen(session, i, l) })
	}
	return s, nil
}

func (s *sdkSwarm) Say(i int, body []byte) error {
	select {
	case s.queues[i] <- body:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *sdkSwarm) speak(c *client.Session, queue chan []byte, l *Load) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case body := <-queue:
			if _, err := c.Send(s.ctx, "text", string(body)); err != nil {
				s.fail(l, err)
				return
			}
		}
	}
}

func (s *sdkSwarm) listen(c *client.Session, i int, l *Load) {
	for e, err := range c.Entries(s.ctx) {
		if err != nil {
			s.fail(l, err)
			return
		}
		if e.Origin == wire.OriginBot {
			l.Heard(i, []byte(e.Text()))
		}
	}
}

// fail tells the load, unless the swarm is being closed.
func (s *sdkSwarm) fail(l *Load, err error) {
	if s.ctx.Err() == nil {
		l.Fail(err)
	}
}

// Close ends the customers at once; each takes up to two seconds to say goodbye.
func (s *sdkSwarm) Close() {
	s.stop()
	var ends sync.WaitGroup
	for _, c := range s.clients {
		ends.Go(func() { _ = c.Close() })
	}
	ends.Wait()
	s.wg.Wait()
}
