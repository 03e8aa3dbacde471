//go:build unix

package edge

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// ownChunk is what is read at once where a connection has to hold its buffer while it waits.
const ownChunk = 2 << 10

// source reads from a socket and holds no buffer while nothing comes: it takes one when there is something to read.
type source struct {
	// Fixed after accept.
	sock net.Conn

	// Fixed after begin.
	raw syscall.RawConn
	try func(fd uintptr) bool

	// Owned by the reader.
	buf *[chunk]byte
	own []byte // of a socket whose readiness cannot be asked for
	n   int
	err error
}

// begin must be called once, before anything else.
func (s *source) begin() {
	if t, ok := s.sock.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			s.raw, s.try = raw, s.read
		}
	}
}

// next waits for bytes and returns them. They are the caller's until done.
func (s *source) next() ([]byte, error) {
	if s.raw == nil { // a TLS connection, or another that is no descriptor
		if s.own == nil {
			s.own = make([]byte, ownChunk)
		}
		n, err := s.sock.Read(s.own)
		return s.own[:n], err
	}
	if err := s.raw.Read(s.try); err != nil {
		return nil, err
	}
	if s.err != nil {
		return nil, s.err
	}
	return s.buf[:s.n], nil
}

// read is what the poller calls when there may be something. It reports false when it is to wait.
func (s *source) read(fd uintptr) bool {
	s.buf = chunks.Get().(*[chunk]byte)
	for {
		s.n, s.err = syscall.Read(int(fd), s.buf[:])
		switch {
		case errors.Is(s.err, syscall.EINTR):
			continue
		case errors.Is(s.err, syscall.EAGAIN):
			s.done()
			return false
		case s.err == nil && s.n == 0:
			s.err = io.EOF
		}
		return true
	}
}

// done gives the buffer of next back.
func (s *source) done() {
	if s.buf != nil {
		mangle(s.buf[:])
		chunks.Put(s.buf)
		s.buf = nil
	}
}
