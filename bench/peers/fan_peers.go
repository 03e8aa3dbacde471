package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats.go"

	"switchboard/edge/token"
	"switchboard/wire"
)

// boardAudience is a bot that streams one answer into several sessions, and connections that follow them: a session is followed by 64
// connections at most.
type boardAudience struct {
	boardSwarm
	bot    *socket
	live   []liveSession
	stream int
	off    int
	out    []byte
}

type liveSession struct{ session, ae string }

const (
	streamMost   = 12_000 // bytes, when an answer is ended and the next one begins: a body has a bound
	followedMost = 60
)

func gatherSwitchboard(ctx context.Context, t *Turn, h *hall) (Audience, error) {
	a := &boardAudience{}
	keys, err := token.LoadOrCreate(filepath.Join(t.Dir, "data"))
	if err != nil {
		return a, err
	}
	login := func(role wire.Role, sub string) (*socket, error) {
		tok, err := mint(keys, role, sub)
		if err != nil {
			return nil, err
		}
		c, err := dialSocket(ctx, t.Addrs[0], "/v1/connect", "Sec-WebSocket-Protocol: switchboard.v1.json\r\n")
		if err != nil {
			return nil, err
		}
		a.all = append(a.all, c)
		_, err = c.ask(`{"id":1,"hello":{"token":"` + tok + `","client":"peers"}}`)
		return c, err
	}
	if a.bot, err = login(wire.RoleWorker, "bot"); err != nil {
		return a, err
	}
	if _, err := a.bot.ask(`{"id":2,"subscribe":{"queues":["default"],"slots":1000,"window":64}}`); err != nil {
		return a, err
	}
	ask := ""
	for i := range h.watchers {
		first := i%followedMost == 0
		if first {
			ask = `{"id":2,"open":{"queue":"default"}}`
		}
		c, err := login(wire.RoleCustomer, "customer-"+strconv.Itoa(i/followedMost))
		if err != nil {
			return a, fmt.Errorf("watcher %d: %w", i, err)
		}
		answer, err := c.ask(ask)
		if err != nil {
			return a, fmt.Errorf("watcher %d: %w", i, err)
		}
		if first {
			id := string(field(answer, `"session":`))
			ask = `{"id":2,"open":{"session":"` + id + `"}}`
			if _, err := c.ask(`{"id":3,"send":{"session":"` + id + `","type":"text","body":"hello"}}`); err != nil {
				return a, err
			}
			ae, err := a.bot.assigned()
			if err != nil {
				return a, err
			}
			a.live = append(a.live, liveSession{id, ae})
		}
		a.wg.Go(func() { h.fail(c.watch(h)) })
	}
	a.wg.Go(func() { h.fail(a.bot.watch(&hall{})) })
	return a, nil
}

// assigned waits for an assignment, and returns its epoch.
func (s *socket) assigned() (string, error) {
	for {
		msg, err := s.read()
		if err != nil {
			return "", err
		}
		for frame := range bytes.SplitSeq(msg, []byte{'\n'}) {
			if bytes.HasPrefix(frame, []byte(`{"assigned":`)) {
				return string(field(frame, `"ae":`)), nil
			}
		}
	}
}

// watch counts what comes, until the connection ends.
func (s *socket) watch(h *hall) error {
	for {
		msg, err := s.read()
		if err != nil {
			return err
		}
		if bytes.Contains(msg, []byte(`"error":`)) || bytes.Contains(msg, []byte(`{"rewind":`)) {
			return fmt.Errorf("the server answered %.300s", msg)
		}
		h.heard(msg)
	}
}

// Speak implements Audience.
func (a *boardAudience) Speak(tok []byte) error {
	f, next := a.out[:0], a.off+len(tok)
	for i := range a.live {
		if i > 0 {
			f = append(f, '\n')
		}
		l := &a.live[i]
		f = fmt.Appendf(f, `{"delta":{"session":%q,"ae":%s,"stream":"m%d","off":%d,"text":%q}}`, l.session, l.ae, a.stream, a.off, tok)
	}
	if next > streamMost {
		for i := range a.live {
			l := &a.live[i]
			f = fmt.Appendf(f, "\n"+`{"reply":{"session":%q,"ae":%s,"stream":"m%d","type":"text","body":"done"}}`, l.session, l.ae, a.stream)
		}
		a.stream, next = a.stream+1, 0
	}
	a.out, a.off = f, next
	return a.bot.send(f)
}

// centrifugeAudience is one who publishes to a channel, and subscribers of it.
type centrifugeAudience struct {
	centrifugeSwarm
	speaker *socket
	id      uint64
	out     []byte
}

func gatherCentrifuge(ctx context.Context, t *Turn, h *hall) (Audience, error) {
	a := &centrifugeAudience{id: 10}
	for i := range h.watchers + 1 {
		c, err := dialSocket(ctx, t.Addrs[0], "/connection/websocket", "")
		if err != nil {
			return a, err
		}
		a.all = append(a.all, c)
		asks := []string{`{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"live:tokens"}}`}
		if i == h.watchers {
			a.speaker, asks = c, asks[:1]
		}
		for _, ask := range asks {
			if _, err := c.ask(ask); err != nil {
				return a, fmt.Errorf("watcher %d: %w", i, err)
			}
		}
		mine := h
		if c == a.speaker {
			mine = &hall{}
		}
		a.wg.Go(func() { h.fail(c.watchCentrifuge(mine)) })
	}
	return a, nil
}

// watchCentrifuge counts what comes, and answers the server's pings.
func (s *socket) watchCentrifuge(h *hall) error {
	for {
		msg, err := s.read()
		if err != nil {
			return err
		}
		if bytes.Contains(msg, []byte(`"error":`)) {
			return fmt.Errorf("the server answered %.300s", msg)
		}
		if bytes.Equal(msg, []byte("{}")) {
			if err := s.send(msg); err != nil {
				return err
			}
		}
		h.heard(msg)
	}
}

// Speak implements Audience.
func (a *centrifugeAudience) Speak(tok []byte) error {
	a.id++
	a.out = appendPublish(a.out[:0], a.id, "live:tokens", tok)
	return a.speaker.send(a.out)
}

// natsAudience is subscribers of one subject, and who publishes to it.
type natsAudience struct {
	conns []*nats.Conn // the speaker is the last
}

func gatherNATS(_ context.Context, t *Turn, h *hall) (Audience, error) {
	s := &natsSwarm{over: make(chan struct{})}
	a := &natsAudience{}
	l := &Load{Customers: h.watchers, Workers: 1}
	err := s.connect(t, l)
	a.conns = s.conns
	if err != nil {
		return a, err
	}
	for i, c := range a.conns[:h.watchers] {
		if _, err := c.Subscribe("tokens", func(m *nats.Msg) { h.heard(m.Data) }); err != nil {
			return a, fmt.Errorf("watcher %d: %w", i, err)
		}
	}
	return a, s.flush()
}

// Speak implements Audience.
func (a *natsAudience) Speak(tok []byte) error { return a.conns[len(a.conns)-1].Publish("tokens", tok) }

// Close implements Audience.
func (a *natsAudience) Close() {
	for _, c := range a.conns {
		c.Close()
	}
}
