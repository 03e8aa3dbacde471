package socket

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"switchboard/edge/secure"
	"switchboard/edge/ws"
)

// Socket is a WebSocket client that costs as little as possible: it holds no buffer while nothing comes, and its writes
// never wait. One goroutine reads; anybody may send.
type Socket struct {
	// Conn is the connection. Closing it ends Read; Close also waits for what writes.
	Conn net.Conn
	io   rawIO
	tls  *secure.Conn // nil is plain; its methods want mu
	// Pace is called before every read, and bounds it; nil reads at once, all there is.
	Pace func() int

	// Owned by the reader.
	dec  ws.Decoder
	buf  []byte // from chunks while something is in it, nil otherwise
	have int    // bytes of buf that were read
	used int    // of them taken
	// Under TLS.
	cipher []byte // what was read, from chunks
	fed    bool   // some of it may not be decrypted yet

	mu sync.Mutex
	// Guarded by mu.
	key     uint64
	pending []byte // what the system did not take yet; a goroutine writes it
	flush   sync.WaitGroup
}

const (
	maxAnswer  = 1 << 20
	maxPending = 4 << 20 // what a server that does not read may make us hold, of one socket
	chunk      = 16 << 10
)

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// Dial connects to addr, host:port, and upgrades with the JSON subprotocol. from is an address of ours to come from; nil is
// any. trust is whom to trust, to speak TLS; nil speaks in the clear. When ctx ends before it returns, so does the connection.
func Dial(ctx context.Context, addr string, from net.Addr, trust *tls.Config) (*Socket, error) {
	d := net.Dialer{LocalAddr: from}
	if from != nil {
		d.Control = fromAddress
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	end := context.AfterFunc(ctx, func() { _ = conn.Close() }) // also while it upgrades
	defer end()
	var nonce [24]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:16])
	req := "GET /v1/connect HTTP/1.1\r\nHost: " + addr + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: switchboard.v1.json\r\nSec-WebSocket-Key: " + key + "\r\n\r\n"
	s := &Socket{Conn: conn, key: binary.LittleEndian.Uint64(nonce[16:])}
	s.io.begin(conn)
	s.dec.FromServer = true
	if trust != nil {
		if s.tls, err = secured(ctx, conn, addr, trust); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	s.mu.Lock()
	err = s.put([]byte(req))
	s.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("upgrading: %w", err), conn.Close())
	}
	if err := s.upgraded(); err != nil {
		return nil, errors.Join(fmt.Errorf("upgrading: %w", err), conn.Close())
	}
	return s, nil
}

// upgraded reads the answer to the upgrade.
func (s *Socket) upgraded() error {
	for {
		if err := s.fill(); err != nil {
			return err
		}
		head, _, whole := bytes.Cut(s.buf[:s.have], []byte("\r\n\r\n"))
		if !whole {
			if s.have >= chunk {
				return errors.New("the answer has no end")
			}
			continue
		}
		status, _, _ := bytes.Cut(head, []byte("\r\n"))
		if !bytes.HasPrefix(status, []byte("HTTP/1.1 101")) {
			return fmt.Errorf("the server answered %q", status)
		}
		s.used = len(head) + 4
		return nil
	}
}

// Send writes one text message, or an empty one. It never waits: what the system does not take now a goroutine writes,
// so that a server that does not read stops nobody who has others to serve.
func (s *Socket) Send(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = s.key*6364136223846793005 + 1442695040888963407
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], uint32(s.key>>32)) //nolint:gosec // the upper half is meant
	if len(s.pending)+len(frame) > maxPending {
		return errors.New("the server does not read")
	}
	out := chunks.Get().(*[chunk]byte)
	defer chunks.Put(out)
	return s.put(ws.AppendMasked(out[:0], ws.OpText, frame, mask))
}

// put writes b, now or behind what waits. It needs mu.
func (s *Socket) put(b []byte) error {
	if s.tls != nil {
		out := chunks.Get().(*[chunk]byte)
		defer chunks.Put(out)
		var err error
		if b, err = s.tls.Seal(out[:0], b, false); err != nil {
			return err
		}
	}
	if len(s.pending) > 0 {
		s.pending = append(s.pending, b...)
		return nil
	}
	n, err := s.io.tryWrite(b)
	if err != nil {
		return err
	}
	if n < len(b) {
		s.pending = append([]byte(nil), b[n:]...)
		s.flush.Go(s.writePending)
	}
	return nil
}

// writePending writes until nothing is left.
func (s *Socket) writePending() {
	for {
		s.mu.Lock()
		b := s.pending
		s.mu.Unlock()
		if len(b) == 0 {
			return
		}
		n, err := s.Conn.Write(b)
		s.mu.Lock()
		if s.pending = s.pending[n:]; len(s.pending) == 0 || err != nil {
			s.pending = nil
		}
		s.mu.Unlock()
		if err != nil {
			return // the reader hears of it
		}
	}
}

// Read returns the next message with something in it; it answers pings. The bytes are good until the next call.
func (s *Socket) Read() ([]byte, error) {
	for {
		m, n, err := s.dec.Next(s.buf[s.used:s.have], maxAnswer)
		s.used += n
		switch {
		case err != nil:
			return nil, err
		case m.Op == ws.OpText && len(m.Payload) > 0:
			return m.Payload, nil
		case m.Op == ws.OpText:
			if err := s.Send(nil); err != nil {
				return nil, err
			}
			continue
		case m.Op == ws.OpClose:
			code, reason := m.Closing()
			return nil, &ClosedError{code, string(reason)}
		case m.Op != 0:
			continue
		}
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

// ClosedError is what the server said when it closed [SW-6.2].
type ClosedError struct {
	Code   uint16
	Reason string
}

// Error implements error.
func (e *ClosedError) Error() string { return fmt.Sprintf("closed %d %s", e.Code, e.Reason) }

// fill reads more. Without anything left it gives the buffer back while it waits.
func (s *Socket) fill() error {
	switch {
	case s.used == s.have:
		s.release()
	case s.used > 0:
		s.have = copy(s.buf, s.buf[s.used:s.have])
		s.used = 0
	}
	if s.buf != nil && s.have == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	most := 0
	if s.Pace != nil {
		most = s.Pace()
	}
	var n int
	var err error
	if s.tls != nil {
		n, err = s.open(most)
	} else {
		n, err = s.io.read(&s.buf, s.have, most)
	}
	s.have += n
	if n > 0 {
		return nil
	}
	s.release()
	return err
}

func (s *Socket) release() {
	if len(s.buf) == chunk {
		chunks.Put((*[chunk]byte)(s.buf))
	}
	s.buf, s.have, s.used = nil, 0, 0
}

// Hello greets with a token and waits for the answer.
func (s *Socket) Hello(token string) error {
	if err := s.Send([]byte(`{"id":1,"hello":{"token":"` + token + `","client":"loadtest"}}`)); err != nil {
		return err
	}
	_, err := s.Answer("hello")
	return err
}

// Answer reads until a frame that answers verb, which it returns.
func (s *Socket) Answer(verb string) (string, error) {
	for {
		msg, err := s.Read()
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

// Close ends the connection, and waits for what writes to it.
func (s *Socket) Close() {
	_ = s.Conn.Close()
	s.flush.Wait()
}

// Field returns what stands behind "name": in a frame of our server, up to the next comma, brace or quote.
func Field(frame []byte, name string) []byte {
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
