package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
)

// centrifuge is the library that Centrifugo is made of, in the smallest server that does this work.
func centrifuge() *Peer {
	return &Peer{
		Name: "centrifuge memory", Client: "raw WebSocket, JSON", Settings: "history of 100 in memory for a minute", Program: "centrifuge-server",
		Version: []string{"sh", "-c", "echo centrifuge 0.38.0, as in go.mod"}, Install: "make peers (builds it)",
		Does:    "keep a history in memory, from which a customer can recover",
		DoesNot: "store anything; know queues (the server of this comparison takes the workers in turn); notice a worker that dies with messages",
		start: func(ctx context.Context, t *Turn) error {
			ports, err := freePorts(1)
			if err != nil {
				return err
			}
			addr := loopback(ports[0])
			return t.launch(ctx, addr, "-listen", addr, "-workers", strconv.Itoa(t.Workers))
		},
		join:   joinCentrifuge,
		gather: gatherCentrifuge,
		echoes: echoCentrifuge,
	}
}

type centrifugeSwarm struct {
	people []*centrifugeCustomer
	all    []*socket
	wg     sync.WaitGroup
}

type centrifugeCustomer struct {
	*socket
	id    uint64
	frame []byte
}

func joinCentrifuge(ctx context.Context, t *Turn, l *Load) (Swarm, error) {
	s := &centrifugeSwarm{}
	login := func(channel string) (*socket, error) {
		c, err := dialSocket(ctx, t.Addrs[0], "/connection/websocket", "")
		if err != nil {
			return nil, err
		}
		s.all = append(s.all, c)
		for _, ask := range []string{`{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"` + channel + `"}}`} {
			if _, err := c.ask(ask); err != nil {
				return nil, err
			}
		}
		return c, nil
	}
	for k := range l.Workers {
		c, err := login("w:" + strconv.Itoa(k))
		if err != nil {
			return s, fmt.Errorf("worker %d: %w", k, err)
		}
		s.wg.Go(func() { l.Fail(c.publications(answerIn(c))) })
	}
	for i := range l.Customers {
		c, err := login(fmt.Sprintf("c:%08x", i))
		if err != nil {
			return s, fmt.Errorf("customer %d: %w", i, err)
		}
		s.people = append(s.people, &centrifugeCustomer{socket: c, id: 2})
		s.wg.Go(func() {
			l.Fail(c.publications(func(bodies [][]byte) error {
				for _, b := range bodies {
					l.Heard(i, b)
				}
				return nil
			}))
		})
	}
	return s, nil
}

// answerIn returns what a worker does: it answers all of a message at once, each in its customer's channel.
func answerIn(c *socket) func([][]byte) error {
	id, out := uint64(2), []byte(nil)
	return func(bodies [][]byte) error {
		out = out[:0]
		for _, b := range bodies {
			if len(b) < header {
				return fmt.Errorf("a worker got %q", b)
			}
			id++
			out = appendPublish(out, id, "c:"+string(b[8:16]), b)
			out = append(out, '\n')
		}
		return c.send(bytes.TrimSuffix(out, []byte{'\n'}))
	}
}

func appendPublish(out []byte, id uint64, channel string, body []byte) []byte {
	out = append(out, `{"id":`...)
	out = strconv.AppendUint(out, id, 10)
	out = append(out, `,"publish":{"channel":"`...)
	out = append(out, channel...)
	out = append(out, `","data":"`...)
	out = append(out, body...)
	return append(out, `"}}`...)
}

func (s *centrifugeSwarm) Say(i int, body []byte) error {
	c := s.people[i]
	c.id++
	c.frame = appendPublish(c.frame[:0], c.id, "work", body)
	return c.send(c.frame)
}

func (s *centrifugeSwarm) Close() {
	for _, c := range s.all {
		_ = c.conn.Close()
	}
	s.wg.Wait()
}

// publications calls do with the bodies of each message, and answers the server's pings.
func (s *socket) publications(do func([][]byte) error) error {
	var bodies [][]byte
	for {
		msg, err := s.read()
		if err != nil {
			return err
		}
		bodies = bodies[:0]
		for frame := range bytes.SplitSeq(msg, []byte{'\n'}) {
			switch {
			case bytes.Equal(frame, []byte("{}")):
				err = s.send(frame)
			case bytes.Contains(frame, []byte(`"error":`)):
				err = fmt.Errorf("the server answered %.200s", frame)
			case bytes.HasPrefix(frame, []byte(`{"push":`)):
				bodies = append(bodies, field(frame, `"data":`))
			}
			if err != nil {
				return err
			}
		}
		if len(bodies) > 0 {
			if err := do(bodies); err != nil {
				return err
			}
		}
	}
}
