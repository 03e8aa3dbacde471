package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"switchboard/edge/token"
	"switchboard/edge/ws"
	"switchboard/wire"
)

// switchboardRaw is Switchboard, spoken to by frames that are put together by hand: what a lean client costs.
func switchboardRaw() *Peer {
	return &Peer{
		Name: "switchboard", Client: "raw WebSocket, JSON", Settings: "limits that let the load through", Program: "switchboard", Version: []string{"version"},
		Install: "make build",
		Does:    "sync both ways before anybody hears of it; order a session; come again when a worker dies; resume a customer's feed",
		DoesNot: "replicate",
		start:   startSwitchboard,
		join:    joinSwitchboard,
		gather:  gatherSwitchboard,
	}
}

func startSwitchboard(ctx context.Context, t *Turn) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	file, err := t.write("load.yaml", "limits: {rate: 100000, burst: 100000, inflight: 1000}\n")
	if err != nil {
		return err
	}
	addr := loopback(ports[0])
	return t.launch(ctx, addr, "serve", "--dev", "--data", filepath.Join(t.Dir, "data"), "--listen", addr, "--config", file, "--log-level", "warn")
}

// mint returns a token, made with the keys of the node's data directory.
func mint(keys *token.Keyring, role wire.Role, sub string) (string, error) {
	c := token.Claims{Tenant: "demo", Sub: sub, Role: role}
	if role == wire.RoleWorker {
		c.Kind, c.Queues = wire.OriginBot, []string{"*"}
	}
	return keys.Mint(c, time.Hour)
}

// boardSwarm is sockets, one for each customer and worker.
type boardSwarm struct {
	people []*boardCustomer
	all    []*socket
	wg     sync.WaitGroup
}

type boardCustomer struct {
	*socket
	session string
	id      uint64
	frame   []byte
}

func joinSwitchboard(ctx context.Context, t *Turn, l *Load) (Swarm, error) {
	s := &boardSwarm{}
	keys, err := token.LoadOrCreate(filepath.Join(t.Dir, "data"))
	if err != nil {
		return s, err
	}
	login := func(n int, role wire.Role, sub, ask string) (*socket, []byte, error) {
		tok, err := mint(keys, role, sub)
		if err != nil {
			return nil, nil, err
		}
		c, err := dialSocket(ctx, t.Addrs[n%len(t.Addrs)], "/v1/connect", "Sec-WebSocket-Protocol: switchboard.v1.json\r\n")
		if err != nil {
			return nil, nil, err
		}
		s.all = append(s.all, c)
		if _, err := c.ask(`{"id":1,"hello":{"token":"` + tok + `","client":"peers"}}`); err != nil {
			return nil, nil, err
		}
		answer, err := c.ask(ask)
		return c, answer, err
	}
	for k := range l.Workers {
		c, _, err := login(k, wire.RoleWorker, "bot-"+strconv.Itoa(k), `{"id":2,"subscribe":{"queues":["default"],"slots":10000,"window":64}}`)
		if err != nil {
			return s, fmt.Errorf("worker %d: %w", k, err)
		}
		s.wg.Go(func() { l.Fail(c.work()) })
	}
	for i := range l.Customers {
		c, answer, err := login(i, wire.RoleCustomer, "c-"+strconv.Itoa(i), `{"id":2,"open":{"queue":"default"}}`)
		if err != nil {
			return s, fmt.Errorf("customer %d: %w", i, err)
		}
		s.people = append(s.people, &boardCustomer{socket: c, session: string(field(answer, `"session":`)), id: 2})
		s.wg.Go(func() { l.Fail(c.listen(i, l)) })
	}
	return s, nil
}

func (s *boardSwarm) Say(i int, body []byte) error {
	c := s.people[i]
	c.id++
	f := append(c.frame[:0], `{"id":`...)
	f = strconv.AppendUint(f, c.id, 10)
	f = append(f, `,"send":{"session":"`...)
	f = append(f, c.session...)
	f = append(f, `","type":"text","body":"`...)
	f = append(f, body...)
	c.frame = append(f, `"}}`...)
	return c.send(c.frame)
}

func (s *boardSwarm) Close() {
	for _, c := range s.all {
		_ = c.conn.Close()
	}
	s.wg.Wait()
}

// listen tells the load what the bots answered.
func (s *socket) listen(i int, l *Load) error {
	for {
		msg, err := s.read()
		if err != nil {
			return err
		}
		for frame := range bytes.SplitSeq(msg, []byte{'\n'}) {
			switch {
			case bytes.Contains(frame, []byte(`"error":`)):
				return fmt.Errorf("the server answered %.200s", frame)
			case bytes.Contains(frame, []byte(`"origin":"bot"`)):
				l.Heard(i, field(frame, `"body":`))
			}
		}
	}
}

// work answers every delivery with its own body, all answers of a message at once.
func (s *socket) work() error {
	var out []byte
	id := uint64(10)
	for {
		msg, err := s.read()
		if err != nil {
			return err
		}
		out = out[:0]
		for frame := range bytes.SplitSeq(msg, []byte{'\n'}) {
			if bytes.Contains(frame, []byte(`"error":`)) {
				return fmt.Errorf("the server answered %.200s", frame)
			}
			if !bytes.HasPrefix(frame, []byte(`{"delivery":`)) || !bytes.Contains(frame, []byte(`"origin":"customer"`)) {
				continue
			}
			id++
			if len(out) > 0 {
				out = append(out, '\n')
			}
			out = append(out, `{"id":`...)
			out = strconv.AppendUint(out, id, 10)
			out = append(out, `,"reply":{"session":"`...)
			out = append(out, field(frame, `"session":`)...)
			out = append(out, `","ae":`...)
			out = append(out, field(frame, `"ae":`)...)
			out = append(out, `,"ack":`...)
			out = append(out, field(frame, `"seq":`)...)
			out = append(out, `,"type":"text","body":"`...)
			out = append(out, field(frame, `"body":`)...)
			out = append(out, `"}}`...)
			if len(out) > 48<<10 {
				if err := s.send(out); err != nil {
					return err
				}
				out = out[:0]
			}
		}
		if len(out) > 0 {
			if err := s.send(out); err != nil {
				return err
			}
		}
	}
}

// field returns what stands behind "name": in a frame of our server, up to the next comma, brace or quote.
func field(frame []byte, name string) []byte {
	i := bytes.Index(frame, []byte(name))
	if i < 0 {
		return nil
	}
	v := frame[i+len(name):]
	if len(v) > 0 && v[0] == '"' {
		v = v[1:]
	}
	for j, c := range v {
		if c == ',' || c == '}' || c == '"' {
			return v[:j]
		}
	}
	return v
}

// socket is a WebSocket with one buffer and one write per message.
type socket struct {
	conn net.Conn

	// Owned by the reader.
	dec  ws.Decoder
	buf  []byte
	have int // bytes of buf that were read
	used int // of them taken

	mu sync.Mutex // pongs are written by the reader
	// Guarded by mu.
	out  []byte
	mask uint32
}

// dialSocket connects and upgrades; more is further lines of the request.
func dialSocket(ctx context.Context, addr, path, more string) (*socket, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	var nonce [20]byte
	_, _ = rand.Read(nonce[:]) // never fails
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n%sSec-WebSocket-Key: %s\r\n\r\n",
		path, addr, more, base64.StdEncoding.EncodeToString(nonce[:16]))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upgrading: %w", err), conn.Close())
	}
	br := bufio.NewReaderSize(conn, 1024)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upgrading: %w", err), conn.Close())
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.Join(fmt.Errorf("upgrading: %s", resp.Status), conn.Close())
	}
	s := &socket{conn: conn, buf: make([]byte, 4096), mask: binary.LittleEndian.Uint32(nonce[16:])}
	s.dec.FromServer = true
	s.have = br.Buffered()
	early, _ := br.Peek(s.have) // what is buffered can be peeked
	copy(s.buf, early)
	return s, nil
}

// send writes one message.
func (s *socket) send(frame []byte) error { return s.write(ws.OpText, frame) }

func (s *socket) write(op ws.Opcode, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mask = s.mask*1664525 + 1013904223
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], s.mask)
	s.out = ws.AppendMasked(s.out[:0], op, payload, key)
	_, err := s.conn.Write(s.out)
	return err
}

// read returns the next message with something in it. It is good until the next call.
func (s *socket) read() ([]byte, error) {
	const largest = 1 << 20
	for {
		m, n, err := s.dec.Next(s.buf[s.used:s.have], largest)
		s.used += n
		switch {
		case err != nil:
			return nil, err
		case m.Op == ws.OpText && len(m.Payload) > 0:
			return m.Payload, nil
		case m.Op == ws.OpText: // the node asks whether we are there
			err = s.send(nil)
		case m.Op == ws.OpPing:
			err = s.write(ws.OpPong, m.Payload)
		case m.Op == ws.OpClose:
			code, reason := m.Closing()
			return nil, fmt.Errorf("the server closed: %d %s", code, reason)
		case m.Op == 0:
			err = s.fill()
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s *socket) fill() error {
	s.have = copy(s.buf, s.buf[s.used:s.have])
	s.used = 0
	if s.have == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := s.conn.Read(s.buf[s.have:])
	s.have += n
	if n > 0 {
		return nil
	}
	return err
}

// ask sends a request and returns the frame that answers it.
func (s *socket) ask(frame string) ([]byte, error) {
	if err := s.send([]byte(frame)); err != nil {
		return nil, err
	}
	id, _, _ := strings.Cut(frame, ",")
	for {
		msg, err := s.read()
		if err != nil {
			return nil, err
		}
		for f := range bytes.SplitSeq(msg, []byte{'\n'}) {
			switch {
			case bytes.HasPrefix(f, []byte(`{"bye":`)), bytes.HasPrefix(f, []byte(id+`,"error":`)):
				return nil, fmt.Errorf("%.40s was answered %s", frame, f)
			case bytes.HasPrefix(f, []byte(id+",")):
				return bytes.Clone(f), nil
			}
		}
	}
}
