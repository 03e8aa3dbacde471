package ws

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unsafe"
)

// The examples of RFC 6455 5.7, byte for byte.
func TestExamplesOfTheRFC(t *testing.T) {
	agree(t, true, 1<<20, []byte("\x81\x05Hello"), "text Hello\n")
	agree(t, false, 1<<20, []byte("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "text Hello\n")
	agree(t, true, 1<<20, []byte("\x01\x03Hel\x80\x02lo"), "text Hello\n")
	agree(t, true, 1<<20, []byte("\x89\x05Hello"), "ping Hello\n")
	agree(t, false, 1<<20, []byte("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), "pong Hello\n")
	body := strings.Repeat("x", 256)
	agree(t, true, 1<<20, []byte("\x82\x7e\x01\x00"+body), "binary "+body+"\n")
	body = strings.Repeat("x", 65536)
	agree(t, true, 1<<20, []byte("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"+body), "binary "+body+"\n")
}

// An idle connection costs its Decoder and nothing more; a million of them are 16 MB.
func TestDecoderIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Decoder{}); size > 16 {
		t.Errorf("a Decoder is %d bytes; want at most 16", size)
	}
}

// A message in one frame is where it was read; one in fragments is its own memory, which the decoder lets go of.
func TestPayloadLivesInTheBuffer(t *testing.T) {
	var dec Decoder
	buf := frames(true, piece{fin | text, "whole"}, piece{text, "in "}, piece{fin | cont, "parts"})
	m, n, err := dec.Next(buf, 100)
	if err != nil || string(m.Payload) != "whole" || &m.Payload[0] != &buf[n-len("whole")] || cap(m.Payload) != len("whole") {
		t.Fatalf("Next = %q (cap %d), %v; want the buffer's own bytes and no more of them", m.Payload, cap(m.Payload), err)
	}
	m, rest, err := dec.Next(buf[n:], 100)
	if err != nil || n+rest != len(buf) {
		t.Fatalf("Next = %d, %v", rest, err)
	}
	clear(buf)
	if string(m.Payload) != "in parts" || dec.Held() != 0 {
		t.Errorf("payload %q, held %d; want it whole, and nothing held", m.Payload, dec.Held())
	}
}

// [SW-6.3] However the fragments come, the decoder never holds more than the limit.
func TestHeldIsBounded(t *testing.T) {
	const limit = 1000
	for _, size := range []int{1, 3, 100, 334, 999} {
		var dec Decoder
		part := piece{bin, strings.Repeat("x", size)}
		for sum := 0; sum+size <= limit; sum += size {
			if _, _, err := dec.Next(part.frame(true), limit); err != nil {
				t.Fatalf("fragments of %d: %v after %d bytes", size, err, sum)
			}
			if held := dec.Held(); held < sum+size || held > limit {
				t.Fatalf("fragments of %d: held %d; want %d to %d", size, held, sum+size, limit)
			}
			part.first = cont
		}
		part.payload = strings.Repeat("x", limit)
		if _, _, err := dec.Next(part.frame(true)[:8], limit); !errors.Is(err, ErrTooBig) || dec.Held() != 0 {
			t.Errorf("fragments of %d: %v, held %d; want %v from the header, and nothing held", size, err, dec.Held(), ErrTooBig)
		}
	}
}

// A server that shortens the limit of a connection, or has none for it yet, still reads its control frames.
func TestLimitIsOfTheCall(t *testing.T) {
	var dec Decoder
	buf := frames(true, piece{ping, "p"}, piece{fin | text, ""}, piece{fin | text, "x"})
	for _, want := range []Opcode{OpPing, OpText} {
		m, n, err := dec.Next(buf, -1)
		if m.Op != want || err != nil {
			t.Fatalf("Next = %v, %v; want %v", m.Op, err, want)
		}
		buf = buf[n:]
	}
	if _, _, err := dec.Next(buf, 0); !errors.Is(err, ErrTooBig) {
		t.Errorf("a byte under a limit of none: %v; want %v", err, ErrTooBig)
	}
}

func TestNeed(t *testing.T) {
	f := func(in string, want int) {
		t.Helper()
		if got := Need([]byte(in)); got != want {
			t.Errorf("Need(%x) = %d; want %d", in, got, want)
		}
	}
	f("", 2)
	f("\x81", 2)
	f("\x81\x05", 7)
	f("\x81\x85", 11)
	f("\x81\xfe", 8)
	f("\x81\xfe\x01\x00", 8+256)
	f("\x81\x7e\x01\x00", 4+256)
	f("\x81\xff", 14)
	f("\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00", 14+65536)
	f("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", int(^uint(0)>>1))
}

// Unmasking eight at a time is the same as one at a time, at every length and alignment.
func TestMask(t *testing.T) {
	src := []byte(strings.Repeat("0123456789abcdef~", 8))
	for from := range 9 {
		for n := range len(src) - from {
			got := bytes.Clone(src)
			mask(got[from:from+n], 0x3d21fa37)
			for i := range got {
				want := src[i]
				if i >= from && i < from+n {
					want ^= testKey[(i-from)%4]
				}
				if got[i] != want {
					t.Fatalf("mask of %d bytes at %d: byte %d is %x; want %x", n, from, i, got[i], want)
				}
			}
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	in := frames(true, piece{fin | text, strings.Repeat("µ", 128)}, piece{ping, "p"}, piece{fin | bin, "b"})
	buf := make([]byte, len(in))
	var dec Decoder
	if n := testing.AllocsPerRun(100, func() {
		copy(buf, in)
		rest := buf
		for len(rest) > 0 {
			m, n, err := dec.Next(rest, 1<<16)
			if err != nil || m.Op == 0 {
				t.Fatal(m.Op, err)
			}
			rest = rest[n:]
		}
	}); n != 0 {
		t.Errorf("%v allocations; want none", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		var dec Decoder
		if _, _, err := dec.Next([]byte{0x81, 0x05}, 1<<16); err == nil {
			t.Fatal("no fault")
		}
	}); n != 0 {
		t.Errorf("a fault makes %v allocations; want none", n)
	}
}

func BenchmarkDecode256(b *testing.B) {
	in := piece{fin | text, strings.Repeat("x", 256)}.frame(true)
	buf := make([]byte, len(in))
	var dec Decoder
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		copy(buf, in)
		if m, _, err := dec.Next(buf, 1<<16); err != nil || m.Op != OpText {
			b.Fatal(m.Op, err)
		}
	}
}

func BenchmarkDecodeBatch16(b *testing.B) {
	in := frames(true, times(piece{fin | text, strings.Repeat("x", 256)}, 16)...)
	buf := make([]byte, len(in))
	var dec Decoder
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		copy(buf, in)
		for rest := buf; len(rest) > 0; {
			_, n, err := dec.Next(rest, 1<<16)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}

func BenchmarkMask4K(b *testing.B) {
	buf := make([]byte, 4096)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		mask(buf, 0x3d21fa37)
	}
}
