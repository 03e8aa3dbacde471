package sim_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"

	"switchboard/edge/token"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// tapped is a way to connect on which every frame is heard, of both directions, before whom it is for has it: see book.
func (w *world) tapped(who *token.Claims, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l := w.book.connected(who)
		return &tap{Conn: c, in: stream{heard: l.answered}, out: stream{heard: l.asked}}, nil
	}
}

// tap is a connection to which somebody listens. One goroutine reads and one writes.
type tap struct {
	net.Conn
	in, out stream
}

func (c *tap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.take(p[:n])
	return n, err
}

func (c *tap) Write(p []byte) (int, error) {
	c.out.take(p)
	return c.Conn.Write(p)
}

// stream is one direction of a WebSocket: a handshake, then frames. Those of a client are masked; nothing is compressed.
type stream struct {
	heard func(frame []byte) // a frame of the protocol
	open  bool               // the handshake is over
	held  []byte
	msg   []byte // of a message whose last piece has not come
}

func (s *stream) take(p []byte) {
	s.held = append(s.held, p...)
	if !s.open {
		_, rest, ok := bytes.Cut(s.held, []byte("\r\n\r\n"))
		if !ok {
			return
		}
		s.open, s.held = true, append(s.held[:0], rest...)
	}
	rest := s.held
	for {
		n, final, kind, payload := piece(rest)
		if n == 0 {
			break
		}
		if kind < 8 { // no ping, and no close
			s.msg = append(s.msg, payload...)
			if final {
				s.message()
			}
		}
		rest = rest[n:]
	}
	s.held = append(s.held[:0], rest...)
}

func (s *stream) message() {
	for rest := s.msg; len(rest) > 0; {
		var frame []byte
		frame, rest, _ = wire.JSON.Next(rest)
		if len(frame) > 0 {
			s.heard(frame)
		}
	}
	s.msg = s.msg[:0]
}

// piece cuts the first frame of a WebSocket off b; n is 0 while it is not all there. It unmasks in place.
func piece(b []byte) (n int, final bool, kind byte, payload []byte) {
	if len(b) < 2 {
		return 0, false, 0, nil
	}
	size, at := uint64(b[1]&0x7f), 2
	switch size {
	case 126:
		if len(b) < 4 {
			return 0, false, 0, nil
		}
		size, at = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		if len(b) < 10 {
			return 0, false, 0, nil
		}
		size, at = binary.BigEndian.Uint64(b[2:]), 10
	}
	masked := b[1]&0x80 != 0
	if masked {
		at += 4
	}
	if uint64(len(b)) < uint64(at)+size { //nolint:gosec // small
		return 0, false, 0, nil
	}
	end := at + int(size) //nolint:gosec // it is all there
	payload = b[at:end]
	if masked {
		mask := b[at-4 : at]
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
	}
	return end, b[0]&0x80 != 0, b[0] & 0xf, payload
}

func (l *line) asked(frame []byte) {
	m := new(wirepb.ClientFrame)
	if err := wire.JSON.Parse(frame, m); err != nil {
		l.b.fail("%s asks what cannot be read: %v: %s", l.who.Sub, err, frame)
		return
	}
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.trail("asks", frame)
	l.asks(m)
}

func (l *line) answered(frame []byte) {
	m := new(wirepb.ServerFrame)
	if err := wire.JSON.Parse(frame, m); err != nil {
		l.b.fail("%s is told what cannot be read: %v: %s", l.who.Sub, err, frame)
		return
	}
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	l.trail("hears", frame)
	l.hears(m)
}
