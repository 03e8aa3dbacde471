package ws

import (
	"encoding/binary"
	"math"
)

// The bits of a frame's first two bytes, and the lengths that mean "see the next bytes" [RFC 6455 5.2].
const (
	bitFin  = 0x80
	bitsRsv = 0x70
	bitMask = 0x80
	len16   = 126
	len64   = 127
)

// header is the front of a frame.
type header struct {
	size int    // bytes of the header itself; 0 while some of them are missing
	n    int    // payload bytes
	key  uint32 // as mask wants it; 0 when unmasked
	op   Opcode
	fin  bool
}

// header reads the front of the frame that begins b. It checks in the order of the bytes and as far as there are any,
// so a fault is the same however the bytes were cut, and is known before a payload has to be buffered.
func (d *Decoder) header(b []byte, limit int) (h header, fault Error) {
	if len(b) == 0 {
		return h, 0
	}
	h.op, h.fin = Opcode(b[0]&0x0F), b[0]&bitFin != 0
	if fault := d.fits(b[0], h.op, h.fin); fault != 0 || len(b) < 2 {
		return h, fault
	}
	if masked := b[1]&bitMask != 0; masked == d.FromServer {
		return h, ErrMask // [RFC 6455 5.1] a client masks, a server does not
	}
	size, n := 2, uint64(b[1]&^bitMask)
	if h.op.Control() && n > MaxControl {
		return h, ErrControlLength
	}
	switch n {
	case len16:
		if len(b) < 4 {
			return h, 0
		}
		size, n = 4, uint64(binary.BigEndian.Uint16(b[2:]))
		if n < len16 {
			return h, ErrLength
		}
	case len64:
		if len(b) < 10 {
			return h, 0
		}
		size, n = 10, binary.BigEndian.Uint64(b[2:])
		if n <= math.MaxUint16 || n > math.MaxInt64 {
			return h, ErrLength
		}
	}
	if !h.op.Control() && n > d.room(limit) {
		return h, ErrTooBig // [SW-6.3] before the payload is there
	}
	if !d.FromServer {
		if len(b) < size+4 {
			return h, 0
		}
		h.key = binary.LittleEndian.Uint32(b[size:])
		size += 4
	}
	h.size, h.n = size, int(n)
	return h, 0
}

// fits tells whether a frame that begins with first may come now.
func (d *Decoder) fits(first byte, op Opcode, fin bool) Error {
	switch {
	case first&bitsRsv != 0:
		return ErrReserved
	case !op.known():
		return ErrOpcode
	case op.Control():
		if !fin {
			return ErrControlFragmented
		}
	case op == OpContinuation:
		switch {
		case d.part == nil:
			return ErrContinuation
		case d.part.frames == MaxFragments:
			return ErrFragments
		}
	case d.part != nil:
		return ErrInterleaved
	}
	return 0
}

// room returns how many payload bytes the message at hand may still take.
func (d *Decoder) room(limit int) uint64 {
	if d.part != nil {
		limit -= len(d.part.payload)
	}
	return uint64(max(limit, 0))
}

// Need returns how many bytes the frame at the front of b takes in all, header included, as far as its header tells:
// while the header is not whole, how many bytes it takes to know more. When Next has left b because its frame is not
// whole, that is more than len(b) and at most MaxHeader plus the limit; of bytes that Next has not seen, it is only
// what they claim.
func Need(b []byte) int {
	if len(b) < 2 {
		return 2
	}
	size, n := 2, uint64(b[1]&^bitMask)
	if b[1]&bitMask != 0 {
		size += 4
	}
	switch n {
	case len16:
		size += 2
		if len(b) < 4 {
			return size
		}
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case len64:
		size += 8
		if len(b) < 10 {
			return size
		}
		n = binary.BigEndian.Uint64(b[2:])
	}
	if n > uint64(math.MaxInt-size) {
		return math.MaxInt
	}
	return size + int(n)
}
