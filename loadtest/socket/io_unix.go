//go:build unix

package socket

import (
	"errors"
	"io"
	"net"
	"syscall"
)

// rawIO reads and writes a descriptor without holding a buffer for it, and without waiting to write.
type rawIO struct {
	// Fixed after begin.
	raw syscall.RawConn
	try func(fd uintptr) bool

	// Owned by the reader, for try.
	buf  *[]byte
	have int
	most int
	n    int
	err  error
}

func (r *rawIO) begin(conn net.Conn) {
	if t, ok := conn.(syscall.Conn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			r.raw, r.try = raw, r.tryRead
		}
	}
}

// Read waits for bytes and reads them into buf behind have; it takes a buffer when there is something to read. most
// bounds them; 0 does not.
func (r *rawIO) read(buf *[]byte, have, most int) (int, error) {
	r.buf, r.have, r.most = buf, have, most
	r.n, r.err = 0, net.ErrClosed
	if r.raw == nil {
		return 0, r.err
	}
	if err := r.raw.Read(r.try); err != nil {
		return 0, err
	}
	return r.n, r.err
}

func (r *rawIO) tryRead(fd uintptr) bool {
	if *r.buf == nil {
		*r.buf = chunks.Get().(*[chunk]byte)[:]
	}
	into := (*r.buf)[r.have:]
	if r.most > 0 && r.most < len(into) {
		into = into[:r.most]
	}
	for {
		r.n, r.err = syscall.Read(int(fd), into) //nolint:gosec // a descriptor
		switch {
		case errors.Is(r.err, syscall.EINTR):
			continue
		case errors.Is(r.err, syscall.EAGAIN):
			if r.have == 0 && len(*r.buf) == chunk {
				chunks.Put((*[chunk]byte)(*r.buf))
				*r.buf = nil
			}
			return false
		case r.err == nil && r.n == 0:
			r.err = io.EOF
		}
		r.n = max(r.n, 0)
		return true
	}
}

// tryWrite writes what the system takes now.
func (r *rawIO) tryWrite(b []byte) (n int, err error) {
	if r.raw == nil {
		return 0, net.ErrClosed
	}
	outer := r.raw.Write(func(fd uintptr) bool {
		for {
			n, err = syscall.Write(int(fd), b) //nolint:gosec // a descriptor
			switch {
			case errors.Is(err, syscall.EINTR):
				continue
			case errors.Is(err, syscall.EAGAIN):
				err = nil
			}
			n = max(n, 0)
			return true
		}
	})
	if outer != nil {
		return 0, outer
	}
	return n, err
}
