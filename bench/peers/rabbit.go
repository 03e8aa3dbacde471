package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitQuorum is RabbitMQ with the work in a quorum queue and the answers in a durable classic queue for each customer (a
// thousand quorum queues would be a thousand Raft groups); all messages persistent, all publishing confirmed. A worker
// acknowledges its message when its answer was confirmed.
func rabbitQuorum() *Peer {
	return &Peer{
		Name: "rabbitmq quorum", Client: "amqp091-go 1.16.0", Settings: "quorum queue of one member, persistent, publisher confirms, prefetch 200",
		Program: "rabbitmq-server", Install: "apt-get install rabbitmq-server", Version: []string{"dpkg-query", "-W", "-f", "RabbitMQ ${Version}", "rabbitmq-server"},
		Does:    "store both ways, the work synced; come again when a worker dies; keep a customer's answers while away",
		DoesNot: "order a customer's messages over workers; hold back an answer until it is on disk",
		start:   startRabbit,
		join:    joinRabbit,
	}
}

// rabbitPath is where Debian keeps the real script; the one in PATH changes the user.
const rabbitPath = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// startRabbit starts a node of its own, with a name, ports and files that no installed one uses.
func startRabbit(ctx context.Context, t *Turn) error {
	if isProgram(rabbitPath) {
		t.Program = rabbitPath
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	epmd, err := exec.LookPath("epmd") // the names of Erlang's nodes; started here, or RabbitMQ would leave one behind
	if err != nil {
		return fmt.Errorf("looking for Erlang: %w", err)
	}
	t.env = []string{"ERL_EPMD_PORT=" + strconv.Itoa(ports[2]), "ERL_EPMD_ADDRESS=127.0.0.1"}
	if err := t.launchProgram(ctx, epmd, loopback(ports[2])); err != nil {
		return err
	}
	conf, err := t.write("rabbitmq.conf", fmt.Sprintf("listeners.tcp.1 = %s\nloopback_users = none\nvm_memory_high_watermark.relative = 0.6\ndisk_free_limit.absolute = 500MB\n", loopback(ports[0])))
	if err != nil {
		return err
	}
	plugins, err := t.write("enabled_plugins", "[].\n")
	if err != nil {
		return err
	}
	t.env = append(t.env, "HOME="+t.Dir, "RABBITMQ_NODENAME=peers"+strconv.Itoa(ports[0])+"@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(ports[0]), "RABBITMQ_DIST_PORT="+strconv.Itoa(ports[1]), "RABBITMQ_CONFIG_FILE="+conf, "RABBITMQ_ENABLED_PLUGINS_FILE="+plugins,
		"RABBITMQ_MNESIA_BASE="+filepath.Join(t.Dir, "mnesia"), "RABBITMQ_LOG_BASE="+filepath.Join(t.Dir, "log"), "RABBITMQ_PID_FILE="+filepath.Join(t.Dir, "pid"))
	t.Addrs = nil
	return t.launch(ctx, loopback(ports[0]))
}

type rabbitSwarm struct {
	conns  []*amqp.Connection
	people []*amqp.Channel
	over   chan struct{}
	wg     sync.WaitGroup
}

func joinRabbit(ctx context.Context, t *Turn, l *Load) (Swarm, error) {
	s := &rabbitSwarm{over: make(chan struct{})}
	dial := func() (*amqp.Channel, error) {
		conn, err := amqp.Dial("amqp://guest:guest@" + t.Addrs[0])
		for k := 0; err != nil && k < 40 && ctx.Err() == nil && len(s.conns) == 0; k++ { // it listens before it is ready
			<-time.After(250 * time.Millisecond)
			conn, err = amqp.Dial("amqp://guest:guest@" + t.Addrs[0])
		}
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, conn)
		ch, err := conn.Channel()
		if err != nil {
			return nil, err
		}
		return ch, ch.Confirm(false)
	}
	for k := range l.Workers {
		ch, err := dial()
		if err != nil {
			return s, fmt.Errorf("worker %d: %w", k, err)
		}
		if _, err := ch.QueueDeclare("work", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
			return s, err
		}
		if err := ch.Qos(200, 0, false); err != nil {
			return s, err
		}
		feed, err := ch.Consume("work", "", false, false, false, false, nil)
		if err != nil {
			return s, err
		}
		s.wg.Go(func() { s.work(ch, feed, l) })
	}
	for i := range l.Customers {
		ch, err := dial()
		if err != nil {
			return s, fmt.Errorf("customer %d: %w", i, err)
		}
		name := fmt.Sprintf("rep.%08x", i)
		if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
			return s, err
		}
		feed, err := ch.Consume(name, "", true, false, false, false, nil)
		if err != nil {
			return s, err
		}
		s.people = append(s.people, ch)
		s.wg.Go(func() {
			for d := range feed {
				l.Heard(i, d.Body)
			}
			s.fail(l, net.ErrClosed)
		})
	}
	return s, nil
}

func (s *rabbitSwarm) Say(i int, body []byte) error {
	return s.people[i].Publish("", "work", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
}

// work answers; settle acknowledges once an answer was confirmed.
func (s *rabbitSwarm) work(ch *amqp.Channel, feed <-chan amqp.Delivery, l *Load) {
	type pending struct {
		tag    uint64
		answer *amqp.DeferredConfirmation
	}
	answers := make(chan pending, 1000) // prefetch bounds it to 200
	s.wg.Go(func() {
		for p := range answers {
			select {
			case <-s.over:
				continue
			case <-p.answer.Done():
			}
			if !p.answer.Acked() {
				s.fail(l, errors.New("an answer was not confirmed"))
				continue
			}
			if err := ch.Ack(p.tag, false); err != nil {
				s.fail(l, err)
			}
		}
	})
	for d := range feed {
		if len(d.Body) < header {
			s.fail(l, fmt.Errorf("a worker got %q", d.Body))
			continue
		}
		answer, err := ch.PublishWithDeferredConfirm("", "rep."+string(d.Body[8:16]), true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: d.Body})
		if err != nil {
			s.fail(l, err)
			continue
		}
		answers <- pending{d.DeliveryTag, answer}
	}
	close(answers)
	s.fail(l, net.ErrClosed)
}

func (s *rabbitSwarm) fail(l *Load, err error) {
	select {
	case <-s.over:
	default:
		l.Fail(err)
	}
}

func (s *rabbitSwarm) Close() {
	close(s.over)
	for _, c := range s.conns {
		_ = c.CloseDeadline(time.Now().Add(time.Second))
	}
	s.wg.Wait()
}
