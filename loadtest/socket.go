package loadtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"switchboard/edge/ws"
)

// socket is a WebSocket client that costs as little as possible: one buffer, one write per call.
type socket struct {
	conn net.Conn
	dec  ws.Decoder
	buf  []byte
	have int // bytes of buf that were read
	used int // of them taken
	out  []byte
	key  uint64
}

const maxAnswer = 1 << 20

// connect dials addr and upgrades with the JSON subprotocol.
func connect(ctx context.Context, addr string) (*socket, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	var nonce [24]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:16])
	req := "GET /v1/connect HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: switchboard.v1.json\r\nSec-WebSocket-Key: " + key + "\r\n\r\n"
	if _, err := conn.Write([]byte(req)); err != nil {
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
	s := &socket{conn: conn, buf: make([]byte, 4096), key: binary.LittleEndian.Uint64(nonce[16:])}
	s.dec.FromServer = true
	s.have = br.Buffered()
	early, _ := br.Peek(s.have) // what is buffered can be peeked
	copy(s.buf, early)
	return s, nil
}

// send writes one text message.
func (s *socket) send(frame []byte) error {
	s.key = s.key*6364136223846793005 + 1442695040888963407
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], uint32(s.key>>32)) //nolint:gosec // the upper half is meant
	s.out = ws.AppendMasked(s.out[:0], ws.OpText, frame, mask)
	_, err := s.conn.Write(s.out)
	return err
}

// read returns the next message with something in it; it answers pings. The bytes are good until the next call.
func (s *socket) read() ([]byte, error) {
	for {
		m, n, err := s.dec.Next(s.buf[s.used:s.have], maxAnswer)
		s.used += n
		switch {
		case err != nil:
			return nil, err
		case m.Op == ws.OpText && len(m.Payload) > 0:
			return m.Payload, nil
		case m.Op == ws.OpText:
			if err := s.send(nil); err != nil {
				return nil, err
			}
			continue
		case m.Op == ws.OpClose:
			code, reason := m.Closing()
			return nil, fmt.Errorf("closed %d %s", code, reason)
		case m.Op != 0:
			continue
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

func (s *socket) fill() error {
	if s.used > 0 {
		s.have = copy(s.buf, s.buf[s.used:s.have])
		s.used = 0
	}
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

// hello greets with a token and waits for the answer.
func (s *socket) hello(token string) error {
	if err := s.send([]byte(`{"id":1,"hello":{"token":"` + token + `","client":"loadtest"}}`)); err != nil {
		return err
	}
	_, err := s.answer("hello")
	return err
}

// answer reads until a frame that answers verb, which it returns.
func (s *socket) answer(verb string) (string, error) {
	for {
		msg, err := s.read()
		if err != nil {
			return "", fmt.Errorf("waiting for the answer to %s: %w", verb, err)
		}
		for frame := range strings.SplitSeq(string(msg), "\n") {
			switch {
			case strings.HasPrefix(frame, `{"id":`) && strings.Contains(frame, `,"error":`):
				return "", fmt.Errorf("%s was refused: %s", verb, frame)
			case strings.HasPrefix(frame, `{"id":`) && strings.Contains(frame, `,"`+verb+`":`):
				return frame, nil
			case strings.HasPrefix(frame, `{"bye":`):
				return "", fmt.Errorf("%s was answered %s", verb, frame)
			}
		}
	}
}

func (s *socket) close() { _ = s.conn.Close() }

// field returns what stands behind "name": in a frame of our server, up to the next comma, brace or quote.
func field(frame []byte, name string) []byte {
	i := strings.Index(string(frame), name) // does not allocate: the compiler sees that it is only read
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
