package ws

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// AppendPong appends a server's pong to dst and returns the extended slice, as all the Append functions do, with the payload of the ping that it answers [RFC 6455 5.5.3]. It panics when
// payload is above MaxControl bytes, which that of a decoded ping never is.
func AppendPong(dst, payload []byte) []byte { return AppendFrame(dst, OpPong, payload) }

// AppendFrame appends a server's frame, whole and unmasked. The payload must not overlap the free end of dst.
// It panics when op is not a message's, or is a control opcode with more than MaxControl bytes: both are the caller's
// bugs, not the peer's. It does not check that text is UTF-8.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendHeader appends the header of a server's frame of n payload bytes, which the caller then appends or writes
// itself: a batch encoded elsewhere leaves without a copy. It panics as AppendFrame does, and when n is negative.
func AppendHeader(dst []byte, op Opcode, n int) []byte {
	return appendHeader(dst, op, n, 0)
}

// AppendMasked appends a client's frame, masked with key, and returns the extended slice; payload is left as it is and
// must not overlap the free end of dst. The key must be new for every frame and not to be guessed from earlier ones,
// or a script in a browser's place could choose the bytes on the wire [RFC 6455 10.3]. It panics as AppendFrame does.
func AppendMasked(dst []byte, op Opcode, payload []byte, key [4]byte) []byte {
	dst = append(appendHeader(dst, op, len(payload), bitMask), key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	mask(dst[start:], binary.LittleEndian.Uint32(key[:]))
	return dst
}

// AppendClose appends a server's close frame; see AppendCloseBody for its code and reason.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	if code == CodeNoStatus {
		return AppendHeader(dst, OpClose, 0)
	}
	dst = AppendHeader(dst, OpClose, 2+fit(reason))
	return AppendCloseBody(dst, code, reason)
}

// AppendCloseBody appends the payload of a close frame, for AppendMasked. The reason is cut at 123 bytes, before a
// character that does not fit whole, and before the first byte that is not UTF-8. CodeNoStatus makes an empty
// payload, so that what Closing returned can be echoed. It panics when the code is another that is not valid.
func AppendCloseBody(dst []byte, code uint16, reason string) []byte {
	if code == CodeNoStatus {
		return dst
	}
	if !ValidCode(code) {
		panic("ws: a close code that must not be sent")
	}
	dst = binary.BigEndian.AppendUint16(dst, code)
	return append(dst, reason[:fit(reason)]...)
}

// fit returns how many leading bytes of reason a close frame takes.
func fit(reason string) int {
	for i := 0; i < len(reason); {
		r, size := utf8.DecodeRuneInString(reason[i:])
		if (r == utf8.RuneError && size == 1) || i+size > MaxControl-2 {
			return i
		}
		i += size
	}
	return len(reason)
}

// appendHeader appends all of a header but the key. The length takes the fewest bytes, as it must [RFC 6455 5.2].
func appendHeader(dst []byte, op Opcode, n int, masked byte) []byte {
	switch {
	case op == OpContinuation || !op.known():
		panic("ws: an opcode that begins no message")
	case n < 0 || (op.Control() && n > MaxControl):
		panic("ws: a frame of this length must not be sent")
	case n < len16:
		return append(dst, bitFin|byte(op), masked|byte(n))
	case n <= math.MaxUint16:
		return append(dst, bitFin|byte(op), masked|len16, byte(n>>8), byte(n))
	}
	dst = append(dst, bitFin|byte(op), masked|len64)
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}
