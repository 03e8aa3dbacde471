package ws

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// piece is a frame to build, masked or not as the side that sends it must: its first byte as it is, and a payload.
type piece struct {
	first   byte
	payload string
}

const (
	fin  = 0x80
	text = byte(OpText)
	bin  = byte(OpBinary)
	cont = byte(OpContinuation)
	end  = fin | byte(OpClose)
	ping = fin | byte(OpPing)
	pong = fin | byte(OpPong)
)

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d} // that of the examples in RFC 6455 5.7

// frame builds p without the package's encoder, which would refuse most of the table.
func (p piece) frame(masked bool) []byte {
	n := len(p.payload)
	out := []byte{p.first}
	switch {
	case n < 126:
		out = append(out, byte(n))
	case n < 1<<16:
		out = append(out, 126, byte(n>>8), byte(n))
	default:
		out = append(out, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	if !masked {
		return append(out, p.payload...)
	}
	out[1] |= 0x80
	out = append(out, testKey[:]...)
	for i := range n {
		out = append(out, p.payload[i]^testKey[i%4])
	}
	return out
}

func frames(masked bool, pieces ...piece) []byte {
	var out []byte
	for _, p := range pieces {
		out = append(out, p.frame(masked)...)
	}
	return out
}

// closing is the payload of a close frame.
func closing(code int, reason string) string {
	return string([]byte{byte(code >> 8), byte(code)}) + reason
}

// play feeds in to a decoder, cut(left) bytes at a time, through a buffer that slides as a connection's does. It
// returns what came out, an event a line; the last line is "fail CODE" when the decoder gave up.
func play(fromServer bool, limit int, in []byte, cut func(left int) int) string {
	dec := Decoder{FromServer: fromServer}
	var out strings.Builder
	var buf []byte
	for len(in) > 0 {
		n := cut(len(in))
		buf = append(buf, in[:n]...)
		in = in[n:]
		for {
			m, n, err := dec.Next(buf, limit)
			if m.Op == OpClose {
				code, reason := m.Closing()
				fmt.Fprintf(&out, "close %d %s\n", code, reason)
			} else if m.Op != 0 {
				fmt.Fprintf(&out, "%v %s\n", m.Op, m.Payload)
			}
			if n > 0 {
				clear(buf[:n]) // nobody may look at consumed bytes once the message is handled
				buf = buf[:copy(buf, buf[n:])]
			}
			if err != nil {
				fmt.Fprintf(&out, "fail %d\n", codeOf(err))
				return out.String()
			}
			if m.Op == 0 {
				break
			}
		}
	}
	return out.String()
}

func codeOf(err error) uint16 {
	e, _ := errors.AsType[Error](err)
	return e.Code()
}

func all(left int) int { return left }
func one(int) int      { return 1 }

// agree plays in whole, byte by byte and in random chunks, and wants the same of all of them.
func agree(t *testing.T, fromServer bool, limit int, in []byte, want string) {
	t.Helper()
	f := func(how string, cut func(int) int) {
		t.Helper()
		if got := play(fromServer, limit, in, cut); got != want {
			t.Errorf("FromServer=%v, %s: got\n%.400s\nwant\n%.400s", fromServer, how, got, want)
		}
	}
	f("whole", all)
	f("byte by byte", one)
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 6455))
		most := 1 << r.IntN(12)
		f(fmt.Sprintf("chunks of seed %d", seed), func(left int) int { return 1 + r.IntN(min(left, most)) })
	}
}

// The groups and their numbers are those under which the Autobahn test suite made these cases known; the frames and the
// outcomes are derived from RFC 6455. Every case runs for both sides of a connection.
func TestConformance(t *testing.T) {
	const limit = 1 << 20
	f := func(name, want string, pieces ...piece) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			agree(t, false, limit, frames(true, pieces...), want)
			agree(t, true, limit, frames(false, pieces...), want)
		})
	}
	long := func(n int) string { return strings.Repeat("*", n) }

	for _, n := range []int{0, 1, 2, 3, 4, 7, 8, 9, 31, 32, 33, 125, 126, 127, 128, 65535, 65536} {
		f(fmt.Sprintf("1.1 text of %d", n), "text "+long(n)+"\n", piece{fin | text, long(n)})
		f(fmt.Sprintf("1.2 binary of %d", n), "binary "+long(n)+"\n", piece{fin | bin, long(n)})
	}

	f("2.1 ping without payload", "ping \n", piece{ping, ""})
	f("2.2 ping with payload", "ping hello\n", piece{ping, "hello"})
	f("2.3 ping of bytes", "ping \x00\xff\xfe\n", piece{ping, "\x00\xff\xfe"})
	f("2.4 ping of 125", "ping "+long(125)+"\n", piece{ping, long(125)})
	f("2.5 ping of 126", "fail 1002\n", piece{ping, long(126)})
	f("2.7 pong unasked", "pong \n", piece{pong, ""})
	f("2.9 pong, then ping", "pong x\nping y\n", piece{pong, "x"}, piece{ping, "y"})
	f("2.10 ten pings", strings.Repeat("ping p\n", 10), times(piece{ping, "p"}, 10)...)

	for rsv := byte(1); rsv < 8; rsv++ {
		f(fmt.Sprintf("3.%d reserved bits", rsv), "text a\nfail 1002\n", piece{fin | text, "a"}, piece{fin | rsv<<4 | text, "b"}, piece{ping, ""})
		f(fmt.Sprintf("3.%d reserved bits on a ping", rsv), "fail 1002\n", piece{ping | rsv<<4, ""})
		f(fmt.Sprintf("3.%d reserved bits on a continuation", rsv), "fail 1002\n", piece{text, "a"}, piece{fin | rsv<<4 | cont, "b"})
	}

	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		f(fmt.Sprintf("4 opcode %d", op), "text a\nfail 1002\n", piece{fin | text, "a"}, piece{fin | op, ""}, piece{ping, ""})
		f(fmt.Sprintf("4 opcode %d with payload", op), "fail 1002\n", piece{fin | op, "x"})
		f(fmt.Sprintf("4 opcode %d in a message", op), "fail 1002\n", piece{text, "a"}, piece{fin | op, ""})
	}

	f("5.1 ping in two", "fail 1002\n", piece{byte(OpPing), "a"}, piece{fin | cont, "b"})
	f("5.2 pong in two", "fail 1002\n", piece{byte(OpPong), "a"}, piece{fin | cont, "b"})
	f("5.2 close in two", "fail 1002\n", piece{byte(OpClose), "\x03"}, piece{fin | cont, "\xe8"})
	f("5.3 text in two", "text ab\n", piece{text, "a"}, piece{fin | cont, "b"})
	f("5.4 binary in three", "binary abc\n", piece{bin, "a"}, piece{cont, "b"}, piece{fin | cont, "c"})
	f("5.6 ping between fragments", "ping p\ntext ab\n", piece{text, "a"}, piece{ping, "p"}, piece{fin | cont, "b"})
	f("5.9 continuation of nothing", "fail 1002\n", piece{fin | cont, "x"}, piece{fin | text, "a"})
	f("5.10 continuation after a message", "text a\nfail 1002\n", piece{fin | text, "a"}, piece{fin | cont, "x"})
	f("5.12 open continuation of nothing", "fail 1002\n", piece{cont, "x"}, piece{fin | text, "a"})
	f("5.15 continuation after the last", "text ab\nfail 1002\n", piece{text, "a"}, piece{fin | cont, "b"}, piece{cont, "c"})
	f("5.18 text inside a text", "fail 1002\n", piece{text, "a"}, piece{fin | text, "b"})
	f("5.18 binary begins inside a text", "fail 1002\n", piece{text, "a"}, piece{bin, "b"})
	f("5.19 two messages and pings", "ping 1\nping 2\ntext abcde\nping 3\nbinary f\n",
		piece{text, "a"}, piece{cont, "b"}, piece{ping, "1"}, piece{cont, "c"}, piece{cont, "d"}, piece{ping, "2"}, piece{fin | cont, "e"},
		piece{ping, "3"}, piece{bin, ""}, piece{fin | cont, "f"})

	f("6.1 empty text", "text \n", piece{fin | text, ""})
	f("6.1 empty fragments", "text \n", piece{text, ""}, piece{cont, ""}, piece{fin | cont, ""})
	f("6.1 empty around a full one", "text a\n", piece{text, ""}, piece{cont, "a"}, piece{fin | cont, ""})
	f("6.2 a character in four frames", "text 𝄞\n", piece{text, "\xf0"}, piece{cont, "\x9d"}, piece{cont, "\x84"}, piece{fin | cont, "\x9e"})
	f("6.2 a ping inside a character", "ping \xff\ntext µ\n", piece{text, "\xc2"}, piece{ping, "\xff"}, piece{fin | cont, "\xb5"})
	f("6.2 characters cut at odd places", "text Hello-µ@ßöäüàá-UTF-8!!\n", piece{text, "Hello-\xc2"}, piece{cont, "\xb5@\xc3"}, piece{fin | cont, "\x9föäüàá-UTF-8!!"})
	f("6.3 invalid text", "fail 1007\n", piece{fin | text, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"})
	f("6.4 fails at the fragment, not at the end", "fail 1007\n", piece{text, "ok"}, piece{cont, "\xf4\x90"})
	f("6.4 cut by the end of the message", "fail 1007\n", piece{text, "ok\xf4"}, piece{fin | cont, ""})
	f("6.4 broken by the next fragment", "fail 1007\n", piece{text, "\xe2\x82"}, piece{cont, "a"})
	f("6.4 binary may hold anything", "binary \xed\xa0\x80\xff\n", piece{bin, "\xed\xa0"}, piece{fin | cont, "\x80\xff"})
	for i, s := range []string{"\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufdd0", "\ufffd", "\ufffe", "\uffff", "\U00010000", "\U0001fffe", "\U0010ffff", "κόσμε"} {
		f(fmt.Sprintf("6.5 valid %d", i), "text "+s+"\n", piece{fin | text, s})
		f(fmt.Sprintf("6.5 valid %d, cut", i), "text "+s+"\n", piece{text, s[:1]}, piece{fin | cont, s[1:]})
	}
	for i, s := range []string{
		"\x80", "\xbf", "\xfe", "\xff", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x80\x80\x80\xaf", "\xfc\x80\x80\x80\x80\xaf", // alone, overlong
		"\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xc0\x80", "\xe0\x80\x80", // overlong by one
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", // surrogates
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf7\xbf\xbf\xbf", // beyond U+10FFFF
		"\xc2", "\xe2\x82", "\xf0\x9d\x84", "\xc2a", "\xe2\x82a", "\xf0\x9d\x84a", "\xe2\x28\xa1", // cut short
	} {
		f(fmt.Sprintf("6.6 invalid %d", i), "fail 1007\n", piece{fin | text, s})
		f(fmt.Sprintf("6.6 invalid %d after good", i), "fail 1007\n", piece{fin | text, "gut" + s})
		f(fmt.Sprintf("6.6 invalid %d, cut", i), "fail 1007\n", piece{text, s[:1]}, piece{fin | cont, s[1:]})
	}

	f("7.1 all after a close is ignored", "text a\nclose 1000 \n", piece{fin | text, "a"}, piece{end, closing(1000, "")}, piece{fin | text, "b"}, piece{ping, ""}, piece{0xff, ""})
	f("7.1 a close inside a message", "close 1001 away\n", piece{text, "a"}, piece{end, closing(1001, "away")}, piece{fin | cont, "b"})
	f("7.3.1 close without payload", "close 1005 \n", piece{end, ""})
	f("7.3.2 close of one byte", "fail 1002\n", piece{end, "a"})
	f("7.3.4 close with a reason", "close 1000 Hello World!\n", piece{end, closing(1000, "Hello World!")})
	f("7.3.5 close with 123 bytes of reason", "close 1000 "+long(123)+"\n", piece{end, closing(1000, long(123))})
	f("7.3.6 close with 124 bytes of reason", "fail 1002\n", piece{end, closing(1000, long(124))})
	f("7.5.1 close with an invalid reason", "fail 1007\n", piece{end, closing(1000, "\xed\xa0\x80")})
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3001, 3999, 4000, 4999} {
		f(fmt.Sprintf("7.7 close code %d", code), fmt.Sprintf("close %d \n", code), piece{end, closing(code, "")})
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		f(fmt.Sprintf("7.9 close code %d", code), "fail 1002\n", piece{end, closing(code, "")})
		f(fmt.Sprintf("7.9 close code %d with a reason", code), "fail 1002\n", piece{end, closing(code, "why")})
	}

	f("9.1 text at the limit", "text "+long(limit)+"\n", piece{fin | text, long(limit)})
	f("9.1 text above the limit", "fail 1009\n", piece{fin | text, long(limit + 1)})
	f("9.3 fragments at the limit", "text "+long(limit)+"\n", times(piece{text, long(limit / 4)}, 4)...)
	f("9.3 a byte more", "fail 1009\n", append(times(piece{text, long(limit / 4)}, 4)[:3:3], piece{fin | cont, long(limit/4 + 1)})...)
	f("9.3 as many fragments as may be", "binary "+long(MaxFragments)+"\n", times(piece{bin, "*"}, MaxFragments)...)
	f("9.3 a fragment more", "fail 1009\n", times(piece{bin, "*"}, MaxFragments+1)...)
}

// times returns n pieces like p: n control frames, or one data message in n fragments.
func times(p piece, n int) []piece {
	out := make([]piece, n)
	for i := range out {
		out[i] = p
		if p.first < fin && i > 0 {
			out[i].first = cont
		}
	}
	if p.first < fin {
		out[n-1].first |= fin
	}
	return out
}

// What a header can say wrong about lengths and masks, and that it is said at the byte that shows it: each row ends
// there, and without its last byte there is no fault yet.
func TestHeaderFaults(t *testing.T) {
	f := func(fromServer bool, in string, want Error) {
		t.Helper()
		dec := Decoder{FromServer: fromServer}
		if m, n, err := dec.Next([]byte(in[:len(in)-1]), 1000); m.Op != 0 || n != 0 || err != nil {
			t.Errorf("%x without its last byte: %v, %d, %v; want nothing yet", in, m, n, err)
		}
		m, n, err := dec.Next([]byte(in), 1000)
		if m.Op != 0 || n != 0 || !errors.Is(err, want) {
			t.Errorf("%x: %v, %d, %v; want %v", in, m, n, err, want)
		}
		if _, _, again := dec.Next([]byte{0x81, 0x80, 0, 0, 0, 0}, 1000); !errors.Is(again, want) {
			t.Errorf("%x: then %v; want it again", in, again)
		}
	}
	f(false, "\x81\x05", ErrMask)
	f(true, "\x81\x85", ErrMask)
	f(false, "\x81\xfe\x00\x7d", ErrLength) // 125 in 16 bits
	f(true, "\x81\x7e\x00\x00", ErrLength)
	f(false, "\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", ErrLength) // 65535 in 64 bits
	f(true, "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00", ErrLength)
	f(false, "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", ErrLength) // the top bit
	f(false, "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", ErrLength)
	f(false, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", ErrTooBig)
	f(false, "\x81\xfe\x03\xe9", ErrTooBig) // 1001
	f(false, "\x89\xfe", ErrControlLength)
	f(false, "\x88\xff", ErrControlLength)
	f(true, "\x8a\x7e", ErrControlLength)
	f(false, "\xc1", ErrReserved)
	f(false, "\x83", ErrOpcode)
	f(false, "\x09", ErrControlFragmented)
	f(false, "\x80", ErrContinuation)
	f(false, "\x00", ErrContinuation)
}

// [RFC 6455 7.4.1] A fault is answered by the code that the RFC gives for it, and in words that a close frame can carry.
func TestErrorCodes(t *testing.T) {
	for e := ErrReserved; e <= ErrCloseReason; e++ {
		want := uint16(1002)
		switch e {
		case ErrText, ErrCloseReason:
			want = 1007
		case ErrTooBig, ErrFragments:
			want = 1009
		}
		if e.Code() != want {
			t.Errorf("%v: code %d; want %d", e, e.Code(), want)
		}
		if frame := AppendClose(nil, e.Code(), e.Error()); !bytes.HasSuffix(frame, []byte(e.Error())) || e.Error() == "" {
			t.Errorf("%v does not fit a close frame", e)
		}
	}
}
