package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// redisStreams keeps every message in the stream "work", read by a group of workers, and every answer in the customer's
// stream; an answer is published to its customer besides.
func redisStreams(fsync string) *Peer {
	p := &Peer{
		Name: "redis " + fsync, Client: "go-redis " + redis.Version(), Settings: "appendonly, appendfsync " + fsync + ", no RDB, no rewrite",
		Program: "redis-server", Version: []string{"--version"}, Install: "apt-get install redis-server",
		Does:    "sync both ways before anybody hears of it; keep what a dead worker has not acknowledged",
		DoesNot: "give a dead worker's messages to another by itself (XAUTOCLAIM); order a customer's messages over workers; keep an answer's push for who is away",
	}
	if fsync != "always" {
		p.Does = "store both ways; keep what a dead worker has not acknowledged"
		p.DoesNot = "sync before it acknowledges (every second); " + p.DoesNot
	}
	p.start = func(ctx context.Context, t *Turn) error {
		ports, err := freePorts(1)
		if err != nil {
			return err
		}
		return t.launch(ctx, loopback(ports[0]), "--bind", "127.0.0.1", "--port", strconv.Itoa(ports[0]), "--dir", t.Dir, "--appendonly", "yes",
			"--appendfsync", fsync, "--save", "", "--auto-aof-rewrite-percentage", "0", "--maxclients", "100000")
	}
	p.join = joinRedis
	return p
}

// redisSwarm is clients of go-redis: a customer has one connection for its commands and one for what is published to it.
type redisSwarm struct {
	clients []*redis.Client
	subs    []*redis.PubSub
	queues  []chan []byte // messages that a customer's goroutine will send
	over    chan struct{}
	wg      sync.WaitGroup
}

func (s *redisSwarm) client(addr string, conns int) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr: addr, PoolSize: conns, DisableIdentity: true, ReadTimeout: 30 * time.Second, ContextTimeoutEnabled: true, MaxRetries: -1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	s.clients = append(s.clients, c)
	return c
}

// Say hands the message to the customer's goroutine, since the client's XADD waits for its answer.
func (s *redisSwarm) Say(i int, body []byte) error {
	select {
	case s.queues[i] <- body:
		return nil
	case <-s.over:
		return net.ErrClosed
	}
}

func (s *redisSwarm) Close() {
	close(s.over)
	for _, p := range s.subs {
		_ = p.Close()
	}
	for _, c := range s.clients {
		_ = c.Close()
	}
	s.wg.Wait()
}

func joinRedis(ctx context.Context, t *Turn, l *Load) (Swarm, error) {
	s := &redisSwarm{over: make(chan struct{})}
	addr := t.Addrs[0]
	first := s.client(addr, 1)
	if err := first.XGroupCreateMkStream(ctx, "work", "g", "$").Err(); err != nil {
		return s, fmt.Errorf("making the group: %w", err)
	}
	for k := range l.Workers {
		c := s.client(addr, 1)
		s.wg.Go(func() { s.work(c, "w"+strconv.Itoa(k), l) })
	}
	for i := range l.Customers {
		c := s.client(addr, 1)
		sub := c.Subscribe(ctx, "r:"+strconv.Itoa(i))
		s.subs = append(s.subs, sub)
		if _, err := sub.Receive(ctx); err != nil {
			return s, fmt.Errorf("subscribing customer %d: %w", i, err)
		}
		if err := c.Ping(ctx).Err(); err != nil { // the other connection
			return s, fmt.Errorf("connecting customer %d: %w", i, err)
		}
		queue := make(chan []byte, 4096)
		s.queues = append(s.queues, queue)
		s.wg.Go(func() { s.speak(c, i, queue, l) })
		s.wg.Go(func() { s.listen(sub, i, l) })
	}
	return s, nil
}

func (s *redisSwarm) speak(c *redis.Client, i int, queue chan []byte, l *Load) {
	ctx, who := context.Background(), strconv.Itoa(i)
	for {
		select {
		case <-s.over:
			return
		case body := <-queue:
			if err := c.XAdd(ctx, &redis.XAddArgs{Stream: "work", Values: []any{"c", who, "b", body}}).Err(); err != nil {
				s.fail(l, err)
				return
			}
		}
	}
}

func (s *redisSwarm) listen(sub *redis.PubSub, i int, l *Load) {
	for {
		m, err := sub.ReceiveMessage(context.Background())
		if err != nil {
			s.fail(l, err)
			return
		}
		l.Heard(i, []byte(m.Payload))
	}
}

// work reads what waits, and answers all of it in one pipeline.
func (s *redisSwarm) work(c *redis.Client, name string, l *Load) {
	ctx := context.Background()
	for {
		got, err := c.XReadGroup(ctx, &redis.XReadGroupArgs{Group: "g", Consumer: name, Streams: []string{"work", ">"}, Count: 128, Block: time.Second}).Result()
		switch {
		case errors.Is(err, redis.Nil):
			continue // nothing came for a second
		case err != nil:
			s.fail(l, err)
			return
		}
		pipe := c.Pipeline()
		for _, m := range got[0].Messages {
			who, body := m.Values["c"].(string), m.Values["b"].(string)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: "h:" + who, Values: []any{"b", body}})
			pipe.Publish(ctx, "r:"+who, body)
			pipe.XAck(ctx, "work", "g", m.ID)
			pipe.XDel(ctx, "work", m.ID)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			s.fail(l, err)
			return
		}
	}
}

// fail tells the load, unless the swarm was closed.
func (s *redisSwarm) fail(l *Load, err error) {
	select {
	case <-s.over:
	default:
		if !errors.Is(err, io.EOF) || l.until.Load() == 0 {
			l.Fail(err)
		}
	}
}
