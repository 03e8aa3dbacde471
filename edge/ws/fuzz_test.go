package ws

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// seeds are inputs from both sides, good and bad.
func seeds(f *testing.F, add func(in []byte)) {
	f.Helper()
	for _, masked := range []bool{true, false} {
		add(frames(masked, piece{fin | text, "Hello"}, piece{ping, "p"}, piece{end, closing(1000, "bye")}))
		add(frames(masked, piece{text, "a\xc2"}, piece{pong, ""}, piece{cont, "\xb5"}, piece{fin | cont, ""}))
		add(frames(masked, piece{bin, strings.Repeat("x", 300)}, piece{fin | cont, strings.Repeat("y", 300)}))
		add(frames(masked, piece{fin | text, "\xff"}))
		add(frames(masked, piece{end, closing(1005, "")}))
	}
	add([]byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	add([]byte("\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00"))
}

// Whatever comes in: no panic, nothing above the limit, text that is text, control frames that are short, and the
// same however the bytes were cut.
func FuzzDecode(f *testing.F) {
	seeds(f, func(in []byte) {
		f.Add(in, true, uint16(512), uint64(1))
		f.Add(in, false, uint16(4), uint64(2))
	})
	f.Fuzz(func(t *testing.T, in []byte, fromServer bool, limit uint16, seed uint64) {
		dec := Decoder{FromServer: fromServer}
		for buf := bytes.Clone(in); ; {
			m, n, err := dec.Next(buf, int(limit))
			if n > len(buf) || dec.Held() > int(limit) {
				t.Fatalf("consumed %d of %d, held %d of %d", n, len(buf), dec.Held(), limit)
			}
			if err != nil && (m.Op != 0 || dec.Held() != 0) {
				t.Fatalf("%v with a message, or with %d bytes held", err, dec.Held())
			}
			buf = buf[n:]
			if m.Op == 0 {
				if err == nil && !dec.closed && Need(buf) <= len(buf) {
					t.Fatalf("%x was left, and needs only %d bytes", buf, Need(buf))
				}
				break
			}
			if m.Op.Control() && len(m.Payload) > MaxControl || !m.Op.Control() && len(m.Payload) > int(limit) {
				t.Fatalf("%v of %d bytes, limit %d", m.Op, len(m.Payload), limit)
			}
			if m.Op == OpText && !utf8.Valid(m.Payload) {
				t.Fatalf("text %x is not UTF-8", m.Payload)
			}
		}
		want := play(fromServer, int(limit), in, all)
		r := rand.New(rand.NewPCG(seed, 0))
		if got := play(fromServer, int(limit), in, func(left int) int { return 1 + r.IntN(left) }); got != want {
			t.Errorf("in chunks %q; whole %q", got, want)
		}
		if got := play(fromServer, int(limit), in, one); got != want {
			t.Errorf("byte by byte %q; whole %q", got, want)
		}
	})
}

// What is encoded decodes to the same, from both sides.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("Hello"), uint8(OpText), uint32(0x3d21fa37))
	f.Add(bytes.Repeat([]byte{0xff}, 70000), uint8(OpBinary), uint32(1))
	f.Add([]byte(closing(3001, "drain")), uint8(OpClose), uint32(0))
	f.Fuzz(func(t *testing.T, payload []byte, kind uint8, seed uint32) {
		op := Opcode(kind)
		if op == OpContinuation || !op.known() || op.Control() && len(payload) > MaxControl ||
			op == OpText && !utf8.Valid(payload) || op == OpClose && checkClose(payload) != 0 {
			return // not for the encoder
		}
		key := [4]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}
		f := func(fromServer bool, frame []byte) {
			t.Helper()
			dec := Decoder{FromServer: fromServer}
			if need := Need(frame); need != len(frame) {
				t.Errorf("Need = %d of %d", need, len(frame))
			}
			m, n, err := dec.Next(frame, len(payload))
			if m.Op != op || !bytes.Equal(m.Payload, payload) || n != len(frame) || err != nil {
				t.Errorf("%v %x reads as %v %x, %d of %d bytes, %v", op, payload, m.Op, m.Payload, n, len(frame), err)
			}
		}
		f(false, AppendMasked(nil, op, payload, key))
		f(true, AppendFrame(nil, op, payload))
		if op == OpClose {
			code, reason := Message{Op: op, Payload: payload}.Closing()
			f(true, AppendClose(nil, code, string(reason)))
		}
	})
}
