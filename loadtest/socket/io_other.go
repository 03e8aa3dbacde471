//go:build !unix

package socket

import "net"

// rawIO is for systems whose descriptors cannot be read without a buffer: sockets hold one, and writes wait.
type rawIO struct{ conn net.Conn }

func (r *rawIO) begin(conn net.Conn) { r.conn = conn }

func (r *rawIO) read(buf *[]byte, have, most int) (int, error) {
	if *buf == nil {
		*buf = chunks.Get().(*[chunk]byte)[:]
	}
	into := (*buf)[have:]
	if most > 0 && most < len(into) {
		into = into[:most]
	}
	return r.conn.Read(into)
}

func (r *rawIO) tryWrite(b []byte) (int, error) { return r.conn.Write(b) }
