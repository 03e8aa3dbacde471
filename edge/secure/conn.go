package secure

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// Conn is a TLS connection. See the package's documentation.
type Conn struct {
	*tls.Conn
	pipe  pipe
	met   func(tls.ConnectionState, error)
	early bool // a server's, which nobody has asked for its handshake yet
}

// Server returns the server's side of TLS over sock. met is told how the handshake went, once; it may be nil. Nothing can be written before
// Handshake was called.
func Server(sock net.Conn, cfg *tls.Config, met func(tls.ConnectionState, error)) *Conn {
	c := &Conn{pipe: pipe{Conn: sock}, met: met, early: true}
	c.Conn = tls.Server(&c.pipe, cfg)
	return c
}

// Client returns the client's side of TLS over sock.
func Client(sock net.Conn, cfg *tls.Config) *Conn {
	c := &Conn{pipe: pipe{Conn: sock}}
	c.Conn = tls.Client(&c.pipe, cfg)
	return c
}

// Handshake runs the handshake, if it did not yet.
func (c *Conn) Handshake() error {
	c.early = false
	err := c.Conn.Handshake()
	if met := c.met; met != nil {
		c.met = nil
		met(c.ConnectionState(), err)
	}
	return err
}

// errEarly is of a server that has something to say before anybody has asked for the handshake.
var errEarly = errors.New("secure: nothing is written before the handshake")

// Write implements net.Conn. It never does the handshake: an HTTP server that is full says so where it accepts, with no deadline, and one peer who is silent
// would keep everybody out.
func (c *Conn) Write(b []byte) (int, error) {
	if c.early {
		return 0, errEarly
	}
	return c.Conn.Write(b)
}

// Sock returns the socket, or nil when it was taken. Closing it ends the connection at once, whoever reads or writes: Close
// would try to say goodbye, and wait for a peer that does not read.
func (c *Conn) Sock() net.Conn { return c.pipe.Conn }

// Take gives the socket to the caller, and what memory the handshake took back. The handshake must be over, and nobody may
// be reading or writing.
func (c *Conn) Take() net.Conn {
	sock := c.pipe.Conn
	c.pipe.Conn = nil
	slim(c.Conn)
	return sock
}

// Feed gives bytes that came from the socket. They must stay as they are until Open has returned an error.
func (c *Conn) Feed(b []byte) { c.pipe.in = b }

// Open decrypts into b what was fed: some of it, or ErrWait when there is no whole record. io.EOF is the peer's goodbye. It
// may make us answer: see Unsealed.
func (c *Conn) Open(b []byte) (int, error) { return c.Read(b) }

// Unsealed returns how many bytes Open wants to be written, which the next Seal appends.
func (c *Conn) Unsealed() int { return len(c.pipe.out) }

// Seal appends to dst what Open wants to be written, and the records of plain. With last our goodbye follows, and nothing
// can be sealed any more. dst must not overlap plain.
func (c *Conn) Seal(dst, plain []byte, last bool) (_ []byte, err error) {
	c.pipe.out = append(dst, c.pipe.out...)
	if len(plain) > 0 {
		_, err = c.Write(plain)
	}
	if last && err == nil {
		err = c.CloseWrite()
	}
	dst = c.pipe.out
	c.pipe.out = nil
	return dst, err
}

// ErrWait says that more has to be fed.
var ErrWait net.Error = wait{}

// wait is an error that crypto/tls does not take for the end.
type wait struct{}

// Error implements error.
func (wait) Error() string { return "more has to be fed" }

// Timeout implements net.Error.
func (wait) Timeout() bool { return true }

// Temporary implements net.Error.
func (wait) Temporary() bool { return true }

// pipe is what crypto/tls reads and writes: the socket, or what is fed and sealed.
type pipe struct {
	net.Conn // nil when it was taken
	in, out  []byte
}

// Read implements net.Conn.
func (p *pipe) Read(b []byte) (int, error) {
	if p.Conn != nil {
		return p.Conn.Read(b)
	}
	if len(p.in) == 0 {
		p.in = nil
		return 0, ErrWait
	}
	n := copy(b, p.in)
	p.in = p.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (p *pipe) Write(b []byte) (int, error) {
	if p.Conn != nil {
		return p.Conn.Write(b)
	}
	p.out = append(p.out, b...)
	return len(b), nil
}

// SetDeadline implements net.Conn.
func (p *pipe) SetDeadline(t time.Time) error {
	if p.Conn == nil {
		return nil
	}
	return p.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (p *pipe) SetReadDeadline(t time.Time) error {
	if p.Conn == nil {
		return nil
	}
	return p.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (p *pipe) SetWriteDeadline(t time.Time) error {
	if p.Conn == nil {
		return nil
	}
	return p.Conn.SetWriteDeadline(t)
}
