package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// A frame is the length of its payload (4 bytes, little-endian), its type, a CRC-32C of these five bytes and the payload, and
// the payload.
const frameHead = 4 + 1 + 4

const frameMax = recordMax + 64

// The types of frames.
const (
	frameHello   = 1 + iota // the first of the one who dials
	frameWelcome            // the first of the one who was dialled, or
	frameRefuse             // why not; the connection ends. Also a stream's bad end
	frameBatch              // the number of the first record, then records: length (4 bytes) and bytes
	framePing               // the number of the next record
	framePong               // the number of the next record that is expected
	frameBye                // this incarnation ends
	frameData               // of a stream
	frameEnd                // of a stream; answered with the same when all is well
)

// errGarbage says that a peer does not speak our protocol, or that bytes were changed on their way.
var errGarbage = errors.New("link: garbage")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes the head of the frame b, whose payload stands behind room for it.
func seal(b []byte, typ byte) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-frameHead)) //nolint:gosec // at most frameMax and a record
	b[4] = typ
	binary.LittleEndian.PutUint32(b[5:], checksum(b[:5], b[frameHead:]))
}

func checksum(head, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, payload)
}

func appendFrame(dst []byte, typ byte, payload []byte) []byte {
	at := len(dst)
	dst = append(append(dst, make([]byte, frameHead)...), payload...)
	seal(dst[at:], typ)
	return dst
}

func appendNumber(dst []byte, typ byte, n uint64) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, frameHead)...)
	dst = binary.LittleEndian.AppendUint64(dst, n)
	seal(dst[at:], typ)
	return dst
}

// frames reads frames from a connection.
type frames struct {
	r    *bufio.Reader
	max  int // bytes of payload
	head [frameHead]byte
	buf  []byte
}

// next returns the next frame, whose payload is good until the next call. io.EOF is an end between two frames. Memory
// grows with what has come, not with what is announced.
func (f *frames) next() (typ byte, payload []byte, err error) {
	if cap(f.buf) > 1<<20 {
		f.buf = nil
	}
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.LittleEndian.Uint32(f.head[:]))
	if n > f.max {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", errGarbage, n)
	}
	f.buf = f.buf[:0]
	for have := 0; have < n; {
		step := min(n-have, max(frameSize, have))
		f.buf = slices.Grow(f.buf, step)[:have+step]
		m, err := io.ReadFull(f.r, f.buf[have:])
		if err != nil {
			return 0, nil, fmt.Errorf("reading a frame: %w", noEOF(err))
		}
		have += m
	}
	if checksum(f.head[:5], f.buf) != binary.LittleEndian.Uint32(f.head[5:]) {
		return 0, nil, fmt.Errorf("%w: a wrong checksum", errGarbage)
	}
	return f.head[4], f.buf, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// number reads the payload of a ping, a pong or the head of a batch.
func number(payload []byte) (n uint64, rest []byte, err error) {
	if len(payload) < 8 {
		return 0, nil, fmt.Errorf("%w: a number is cut short", errGarbage)
	}
	return binary.LittleEndian.Uint64(payload), payload[8:], nil
}

// record cuts the next record off a batch.
func record(batch []byte) (rec, rest []byte, err error) {
	if len(batch) >= 4 {
		if n := binary.LittleEndian.Uint32(batch); uint64(n) <= uint64(len(batch)-4) {
			return batch[4 : 4+n], batch[4+n:], nil
		}
	}
	return nil, nil, fmt.Errorf("%w: a record is cut short", errGarbage)
}

// timed is a connection each of whose reads and writes must come to something within limit.
type timed struct {
	net.Conn
	limit time.Duration
	heard *atomic.Int64 // when something was last read, by since; may be nil
	since func() int64
}

func (t *timed) Read(p []byte) (int, error) {
	if err := t.SetReadDeadline(time.Now().Add(t.limit)); err != nil {
		return 0, err
	}
	n, err := t.Conn.Read(p)
	if n > 0 && t.heard != nil {
		t.heard.Store(t.since())
	}
	return n, err
}

// Write writes all of p, a piece at a time.
func (t *timed) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		var m int
		if err := t.SetWriteDeadline(time.Now().Add(t.limit)); err != nil {
			return n, err
		}
		m, err = t.Conn.Write(p[:min(len(p), pieceSize)])
		n, p = n+m, p[m:]
	}
	return n, err
}
