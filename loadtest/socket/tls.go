package socket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"switchboard/edge/secure"
)

// secured makes a connection over conn, which is the socket's alone from now on.
func secured(ctx context.Context, conn net.Conn, addr string, trust *tls.Config) (*secure.Conn, error) {
	cfg := trust.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("the address is %q: %w", addr, err)
		}
		cfg.ServerName = host
	}
	c := secure.Client(conn, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("speaking TLS: %w", err)
	}
	c.Take()
	return c, nil
}

// open reads what was decrypted into buf behind have, or what comes; it holds no buffer while nothing does. One buffer of
// the size of a record is enough: what is left of a record stays with TLS.
func (s *Socket) open(most int) (int, error) {
	for {
		if s.fed {
			n, err := s.openFed()
			if err == nil {
				return n, nil
			}
			s.fed = false
			s.drained()
			if !errors.Is(err, secure.ErrWait) {
				return n, err
			}
			if s.have == 0 && len(s.buf) == chunk {
				s.release()
			}
		}
		n, err := s.io.read(&s.cipher, 0, most)
		if n > 0 {
			s.mu.Lock()
			s.tls.Feed(s.cipher[:n])
			s.mu.Unlock()
			s.fed = true
			continue
		}
		s.drained()
		return 0, err
	}
}

// drained gives back what was read into.
func (s *Socket) drained() {
	if s.cipher != nil {
		chunks.Put((*[chunk]byte)(s.cipher))
		s.cipher = nil
	}
}

// openFed decrypts some of what was fed.
func (s *Socket) openFed() (int, error) {
	if s.buf == nil {
		s.buf = chunks.Get().(*[chunk]byte)[:]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tls.Open(s.buf[s.have:])
}
