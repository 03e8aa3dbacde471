//go:build !unix

package edge

import "net"

// ownChunk is what is read at once.
const ownChunk = 2 << 10

// source reads from a socket. Where readiness cannot be asked for, the connection keeps a small buffer while it waits.
type source struct {
	// Fixed after accept.
	sock net.Conn

	// Owned by the reader.
	buf [ownChunk]byte
}

// begin must be called once, before anything else.
func (s *source) begin() {}

// next waits for bytes and returns them. They are the caller's until done.
func (s *source) next() ([]byte, error) {
	n, err := s.sock.Read(s.buf[:])
	return s.buf[:n], err
}

// done gives the buffer of next back.
func (s *source) done() {}
