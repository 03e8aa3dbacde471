package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	natsInstall = "make peers (builds the version in bench/peers/go.mod), or: apt-get install nats-server"
	natsClient  = "nats.go " + nats.Version
)

// natsCore is NATS without storage: a queue group, and an answer to the reply subject.
func natsCore() *Peer {
	return &Peer{
		Name: "nats core", Client: natsClient, Settings: "defaults", Program: "nats-server", Version: []string{"--version"}, Install: natsInstall,
		Does:    "one worker gets each message",
		DoesNot: "store anything; order a customer's messages over workers; notice a worker that dies with them",
		start:   func(ctx context.Context, t *Turn) error { return startNATS(ctx, t, 1, "") },
		join:    joinNATS,
		gather:  gatherNATS,
	}
}

// natsWebSocket is natsCore over WebSocket, as browsers speak to it.
func natsWebSocket() *Peer {
	p := natsCore()
	p.Name, p.Settings = "nats core websocket", "websocket without TLS"
	p.start = func(ctx context.Context, t *Turn) error {
		ports, err := freePorts(1)
		if err != nil {
			return err
		}
		if err := startNATS(ctx, t, 1, fmt.Sprintf("websocket { listen: %q, no_tls: true }\n", loopback(ports[0]))); err != nil {
			return err
		}
		t.scheme, t.Addrs[0] = "ws://", loopback(ports[0])
		return nil
	}
	return p
}

// startNATS starts n servers, as one cluster when there are several, with more in each configuration.
func startNATS(ctx context.Context, t *Turn, n int, more string) error {
	ports, err := freePorts(2 * n)
	if err != nil {
		return err
	}
	var routes []string
	for i := range n {
		routes = append(routes, "nats://"+loopback(ports[n+i]))
	}
	for i := range n {
		conf := fmt.Sprintf("server_name: n%d\nlisten: %q\nmax_connections: 100000\n", i, loopback(ports[i]))
		conf += strings.ReplaceAll(more, "$DIR", fmt.Sprintf("%s/n%d", t.Dir, i))
		if n > 1 {
			conf += fmt.Sprintf("cluster { name: c, listen: %q, routes: [%s] }\n", loopback(ports[n+i]), strings.Join(routes, ", "))
		}
		file, err := t.write(fmt.Sprintf("n%d.conf", i), conf)
		if err != nil {
			return err
		}
		if err := t.launch(ctx, loopback(ports[i]), "-c", file); err != nil {
			return err
		}
	}
	return nil
}

// natsSwarm is connections of nats.go, one for each customer and worker.
type natsSwarm struct {
	conns []*nats.Conn // customers first
	send  func(i int, body []byte) error
	feeds []jetstream.ConsumeContext
	over  chan struct{} // closed by Close
	wg    sync.WaitGroup
}

func (s *natsSwarm) Say(i int, body []byte) error { return s.send(i, body) }

func (s *natsSwarm) Close() {
	close(s.over)
	for _, f := range s.feeds {
		f.Stop()
	}
	for _, c := range s.conns {
		c.Close()
	}
	s.wg.Wait()
}

// connect opens the connections of customers and workers, spread over the servers.
func (s *natsSwarm) connect(t *Turn, l *Load) error {
	for i := range l.Customers + l.Workers {
		c, err := nats.Connect(cmp.Or(t.scheme, "nats://")+t.Addrs[i%len(t.Addrs)], nats.NoReconnect(), nats.DontRandomize(), nats.Timeout(10*time.Second),
			nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.Fail(err) }))
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		s.conns = append(s.conns, c)
	}
	return nil
}

// flush waits until the servers have seen all subscriptions.
func (s *natsSwarm) flush() error {
	for _, c := range s.conns {
		if err := c.FlushTimeout(10 * time.Second); err != nil {
			return err
		}
	}
	return nil
}

func joinNATS(_ context.Context, t *Turn, l *Load) (Swarm, error) {
	s := &natsSwarm{over: make(chan struct{})}
	replies := make([]string, l.Customers)
	if err := s.connect(t, l); err != nil {
		return s, err
	}
	for i, c := range s.conns[:l.Customers] {
		replies[i] = "r." + strconv.Itoa(i)
		if _, err := c.Subscribe(replies[i], func(m *nats.Msg) { l.Heard(i, m.Data) }); err != nil {
			return s, err
		}
	}
	for _, c := range s.conns[l.Customers:] {
		if _, err := c.QueueSubscribe("w", "q", func(m *nats.Msg) { l.Fail(m.Respond(m.Data)) }); err != nil {
			return s, err
		}
	}
	s.send = func(i int, body []byte) error { return s.conns[i].PublishRequest("w", replies[i], body) }
	return s, s.flush()
}

// jetStream is a work-queue stream with one durable consumer that all workers share, and a stream of the answers. A customer
// publishes and hears of its ack beside the answer; a worker acknowledges its message when its answer was acknowledged.
func jetStream(sync string, replicas int) *Peer {
	p := &Peer{
		Name: fmt.Sprintf("jetstream %s r%d", sync, replicas), Client: natsClient + " (jetstream)", Program: "nats-server", Version: []string{"--version"}, Install: natsInstall,
		Settings: fmt.Sprintf("file storage, R%d, sync_interval %s", replicas, sync),
		Does:     "store both ways; come again when a worker dies",
		DoesNot:  "order a customer's messages over workers; hold back an answer until it is stored (customers subscribe to its subject)",
	}
	more := "jetstream { store_dir: \"$DIR\", max_file_store: 16GB }\n"
	if sync == "always" {
		more = "jetstream { store_dir: \"$DIR\", max_file_store: 16GB, sync_interval: always }\n"
		p.Does = "sync both ways; come again when a worker dies"
	} else {
		p.DoesNot = "sync before it acknowledges (every 2 min); " + p.DoesNot
	}
	if replicas > 1 {
		p.Settings += fmt.Sprintf(", %d servers on this machine", replicas)
		p.Does += "; survive the loss of one server"
	}
	p.start = func(ctx context.Context, t *Turn) error { return startNATS(ctx, t, replicas, more) }
	p.join = func(ctx context.Context, t *Turn, l *Load) (Swarm, error) { return joinJetStream(ctx, t, l, replicas) }
	return p
}

const windowOfWorker = 512 // messages on their way to one worker

func joinJetStream(ctx context.Context, t *Turn, l *Load, replicas int) (Swarm, error) {
	s := &natsSwarm{over: make(chan struct{})}
	if err := s.connect(t, l); err != nil {
		return s, err
	}
	if err := makeStreams(ctx, s.conns[0], replicas); err != nil {
		return s, err
	}
	for _, c := range s.conns[l.Customers:] {
		if err := s.work(ctx, c, l); err != nil {
			return s, err
		}
	}
	publish := make([]jetstream.JetStream, l.Customers)
	failed := jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { l.Fail(err) })
	for i, c := range s.conns[:l.Customers] {
		if _, err := c.Subscribe(fmt.Sprintf("rep.%08x", i), func(m *nats.Msg) { l.Heard(i, m.Data) }); err != nil {
			return s, err
		}
		var err error
		if publish[i], err = jetstream.New(c, failed); err != nil {
			return s, err
		}
	}
	s.send = func(i int, body []byte) error {
		_, err := publish[i].PublishAsync("work", body)
		return err
	}
	return s, s.flush()
}

// makeStreams makes the streams and the workers' consumer; a young cluster first has to find its leader.
func makeStreams(ctx context.Context, c *nats.Conn, replicas int) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	js, err := jetstream.New(c)
	if err != nil {
		return err
	}
	make := func() error {
		for _, cfg := range []jetstream.StreamConfig{
			{Name: "WORK", Subjects: []string{"work"}, Retention: jetstream.WorkQueuePolicy, Replicas: replicas},
			{Name: "REP", Subjects: []string{"rep.>"}, Replicas: replicas},
		} {
			if _, err := js.CreateOrUpdateStream(ctx, cfg); err != nil {
				return fmt.Errorf("making stream %s: %w", cfg.Name, err)
			}
		}
		_, err := js.CreateOrUpdateConsumer(ctx, "WORK", jetstream.ConsumerConfig{Durable: "w", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 100_000})
		return err
	}
	for {
		err := make()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// pending is a message whose answer waits for its ack.
type pending struct {
	msg jetstream.Msg
	ack jetstream.PubAckFuture
}

// work makes c a worker: one callback answers, one goroutine acknowledges once an answer was stored.
func (s *natsSwarm) work(ctx context.Context, c *nats.Conn, l *Load) error {
	js, err := jetstream.New(c, jetstream.WithPublishAsyncMaxPending(100_000))
	if err != nil {
		return err
	}
	consumer, err := js.Consumer(ctx, "WORK", "w")
	if err != nil {
		return err
	}
	answers := make(chan pending, 100_000)
	s.wg.Go(func() { s.settle(answers, l) })
	feed, err := consumer.Consume(func(m jetstream.Msg) {
		body := m.Data()
		if len(body) < header {
			l.Fail(fmt.Errorf("a worker got %q", body))
			return
		}
		ack, err := js.PublishAsync("rep."+string(body[8:16]), body)
		if err != nil {
			l.Fail(err)
			return
		}
		select {
		case answers <- pending{m, ack}:
		case <-s.over:
		}
	}, jetstream.PullMaxMessages(windowOfWorker), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { l.Fail(err) }))
	if err != nil {
		return err
	}
	s.feeds = append(s.feeds, feed)
	return nil
}

// settle acknowledges each message once its answer was stored.
func (s *natsSwarm) settle(answers <-chan pending, l *Load) {
	for {
		select {
		case <-s.over:
			return
		case p := <-answers:
			select {
			case <-s.over:
				return
			case <-p.ack.Ok():
				l.Fail(p.msg.Ack())
			case err := <-p.ack.Err():
				l.Fail(err)
			}
		}
	}
}
