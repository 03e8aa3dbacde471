package ws

import (
	"bytes"
	"strings"
	"testing"
)

func TestAppend(t *testing.T) {
	f := func(got []byte, want string) {
		t.Helper()
		if string(got) != want {
			t.Errorf("got %.60q; want %.60q", got, want)
		}
	}
	f(AppendFrame(nil, OpText, []byte("Hello")), "\x81\x05Hello")
	f(AppendFrame([]byte("before"), OpBinary, nil), "before\x82\x00")
	f(AppendFrame(nil, OpPing, []byte("Hello")), "\x89\x05Hello")
	f(AppendPong(nil, []byte("Hello")), "\x8a\x05Hello")
	f(AppendHeader(nil, OpText, 125), "\x81\x7d")
	f(AppendHeader(nil, OpText, 126), "\x81\x7e\x00\x7e")
	f(AppendHeader(nil, OpText, 65535), "\x81\x7e\xff\xff")
	f(AppendHeader(nil, OpBinary, 65536), "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00")
	f(AppendMasked(nil, OpText, []byte("Hello"), testKey), "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")
	f(AppendClose(nil, 1000, ""), "\x88\x02\x03\xe8")
	f(AppendClose(nil, 3001, "drain"), "\x88\x07\x0b\xb9drain")
	f(AppendClose(nil, CodeNoStatus, "ignored"), "\x88\x00")
	f(AppendCloseBody(nil, CodeNoStatus, "ignored"), "")
}

// [RFC 6455 5.5] A reason is cut to what a control frame takes, and never inside a character.
func TestCloseReasonFits(t *testing.T) {
	f := func(reason, want string) {
		t.Helper()
		frame := AppendClose(nil, 1011, reason)
		var dec Decoder
		dec.FromServer = true
		m, n, err := dec.Next(frame, 0)
		if err != nil || n != len(frame) {
			t.Fatalf("the frame of %q: consumed %d of %d, %v", reason, n, len(frame), err)
		}
		if code, got := m.Closing(); code != 1011 || string(got) != want {
			t.Errorf("%q reads as %d %q; want %q", reason, code, got, want)
		}
	}
	f("why", "why")
	f(strings.Repeat("x", 123), strings.Repeat("x", 123))
	f(strings.Repeat("x", 124), strings.Repeat("x", 123))
	f(strings.Repeat("x", 122)+"µ", strings.Repeat("x", 122))
	f(strings.Repeat("x", 121)+"µ", strings.Repeat("x", 121)+"µ")
	f("bad\xffbyte", "bad")
	f("cut\xe2\x82", "cut")
	f("the character \ufffd itself", "the character \ufffd itself")
}

func TestAppendPanics(t *testing.T) {
	f := func(what string, do func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s did not panic", what)
			}
		}()
		do()
	}
	f("a continuation", func() { AppendHeader(nil, OpContinuation, 0) })
	f("a reserved opcode", func() { AppendHeader(nil, 3, 0) })
	f("an opcode with more than four bits", func() { AppendHeader(nil, 0x81, 0) })
	f("a negative length", func() { AppendHeader(nil, OpText, -1) })
	f("a long ping", func() { AppendFrame(nil, OpPing, make([]byte, 126)) })
	f("a long masked pong", func() { AppendMasked(nil, OpPong, make([]byte, 126), testKey) })
	f("a local close code", func() { AppendClose(nil, CodeAbnormal, "") })
	f("a close code of nobody", func() { AppendClose(nil, 2999, "") })
}

// A turn is framed into a slice that is kept from turn to turn.
func TestEncodeAllocatesNothing(t *testing.T) {
	body, dst := bytes.Repeat([]byte("x"), 256), make([]byte, 0, 8<<10)
	if n := testing.AllocsPerRun(100, func() {
		out := dst
		for range 16 {
			out = AppendFrame(out, OpText, body)
		}
		out = AppendMasked(out, OpBinary, body, testKey)
		out = AppendPong(out, body[:5])
		out = AppendClose(out, 1000, "done")
		if len(out) > cap(dst) {
			t.Fatal("the slice is too small for the test")
		}
	}); n != 0 {
		t.Errorf("%v allocations; want none", n)
	}
}

func BenchmarkEncodeBatch16(b *testing.B) {
	body, dst := bytes.Repeat([]byte("x"), 256), make([]byte, 0, 8<<10)
	b.ReportAllocs()
	b.SetBytes(16 * int64(len(body)))
	for b.Loop() {
		out := dst
		for range 16 {
			out = AppendFrame(out, OpText, body)
		}
	}
}

func BenchmarkEncodeMasked256(b *testing.B) {
	body, dst := bytes.Repeat([]byte("x"), 256), make([]byte, 0, 8<<10)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		AppendMasked(dst, OpText, body, testKey)
	}
}
