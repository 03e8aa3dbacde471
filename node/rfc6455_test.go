package node_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"switchboard/node"
)

// The table of cases is edge/ws.TestConformance, for the codec; what stands here is what only a socket shows: the handshake, what is
// answered, and how a connection ends. The groups are those of the Autobahn test suite.

// line is a WebSocket as bytes.
type line struct {
	t  testing.TB
	c  net.Conn
	in *bufio.Reader
}

// shake dials and asks for a connection with these lines in the request, and returns the answer.
func shake(t testing.TB, n *node.Node, request string) (*line, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr()) //nolint:noctx // loopback
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	l := &line{t, c, bufio.NewReader(c)}
	res, err := http.ReadResponse(l.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return l, res
}

const handshake = "GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

// greeted is a line on which hello was said, and answered.
func greeted(t testing.TB, n *node.Node) *line {
	t.Helper()
	l, res := shake(t, n, handshake)
	if res.StatusCode != 101 {
		t.Fatalf("status %d", res.StatusCode)
	}
	l.write(frame(fin|opText, fmt.Appendf(nil, `{"id":1,"hello":{"token":%q}}`, mint(t, n, customerOf("alice")))))
	if op, p := l.read(); op != opText || !strings.Contains(string(p), `"hello":{`) {
		t.Fatalf("hello was answered %d %q", op, p)
	}
	return l
}

func (l *line) write(parts ...[]byte) {
	l.t.Helper()
	if _, err := l.c.Write(bytes.Join(parts, nil)); err != nil {
		l.t.Fatal(err)
	}
}

// read returns the next frame, which must be whole, not masked and without reserved bits; 0 at the end.
func (l *line) read() (op int, payload []byte) {
	l.t.Helper()
	head := make([]byte, 2, 10)
	if _, err := io.ReadFull(l.in, head); err != nil {
		return 0, nil
	}
	n := uint64(head[1] & 0x7f)
	if wide := map[uint64]int{126: 2, 127: 8}[n]; wide > 0 {
		b := make([]byte, 8)
		if _, err := io.ReadFull(l.in, b[8-wide:]); err != nil {
			l.t.Fatal(err)
		}
		n = binary.BigEndian.Uint64(b)
	}
	if head[0]&0xf0 != fin || head[1]&0x80 != 0 {
		l.t.Fatalf("the server sent a frame that begins with %x", head)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(l.in, payload); err != nil {
		l.t.Fatal(err)
	}
	return int(head[0] & 0x0f), payload
}

// next is read beyond pushes and pings of the server's own.
func (l *line) next() (op int, payload []byte) {
	l.t.Helper()
	for {
		op, payload = l.read()
		if op != opText || bytes.HasPrefix(payload, []byte(`{"id"`)) {
			return op, payload
		}
	}
}

// RFC 6455 4.2: the handshake as the RFC's own example has it, and what browsers and proxies make of it.
func TestHandshake(t *testing.T) {
	n := start(t, t.TempDir())
	t.Cleanup(func() { stop(t, n) }) // behind the lines' own end
	for name, request := range map[string]string{
		"as in the RFC":     handshake,
		"of a browser":      strings.Replace(handshake, "Connection: Upgrade", "Connection: keep-alive, Upgrade", 1),
		"in lower case":     strings.ReplaceAll(strings.ReplaceAll(handshake, "Upgrade: websocket", "upgrade: WebSocket"), "Connection: Upgrade", "connection: upgrade"),
		"with an extension": strings.Replace(handshake, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n", 1),
	} {
		l, res := shake(t, n, request)
		h := res.Header
		if res.StatusCode != 101 || h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || !strings.EqualFold(h.Get("Upgrade"), "websocket") ||
			!strings.EqualFold(h.Get("Connection"), "upgrade") || h.Get("Sec-WebSocket-Extensions") != "" || h.Get("Sec-WebSocket-Protocol") != "" {
			t.Errorf("%s: answered %d %v", name, res.StatusCode, h)
		}
		_ = l.c.Close()
	}
	for name, request := range map[string]string{
		"another version": strings.Replace(handshake, "Version: 13", "Version: 12", 1), "no key": strings.Replace(handshake, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 1),
		"no upgrade": strings.Replace(handshake, "Upgrade: websocket\r\n", "", 1), "no connection": strings.Replace(handshake, "Connection: Upgrade\r\n", "", 1),
	} {
		if _, res := shake(t, n, request); res.StatusCode != 400 || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: answered %d %v", name, res.StatusCode, res.Header)
		}
	}
	// What a client sends behind its request without waiting for the answer is not lost.
	l, res := shake(t, n, handshake+string(frame(fin|opText, fmt.Appendf(nil, `{"id":1,"hello":{"token":%q}}`, mint(t, n, customerOf("alice"))))))
	if op, p := l.read(); res.StatusCode != 101 || op != opText || !bytes.Contains(p, []byte(`"hello"`)) {
		t.Errorf("early words: %d, then %d %q", res.StatusCode, op, p)
	}
}

// Groups 2 and 5: pings are answered with what they carried, in order, also inside a message; fragments come in any size.
func TestPongs(t *testing.T) {
	n := start(t, t.TempDir())
	t.Cleanup(func() { stop(t, n) }) // behind the lines' own end
	l := greeted(t, n)
	f := func(payload string) {
		t.Helper()
		if op, p := l.next(); op != opPong || string(p) != payload {
			t.Fatalf("%q was answered %d %q", payload, op, p)
		}
	}
	for _, p := range []string{"", "hello", "\x00\xff\xfe", strings.Repeat("p", 125)} {
		l.write(frame(fin|opPing, []byte(p)))
		f(p)
	}
	for i := range 10 {
		l.write(frame(fin|opPing, []byte{byte(i)}))
		f(string([]byte{byte(i)}))
	}
	l.write(frame(fin|opPong, []byte("unasked")))
	ask := []byte(`{"id":2,"open":{}}`)
	l.write(frame(opText, ask[:3]), frame(fin|opPing, []byte("within")))
	f("within") // at once: the message is not whole
	l.write(frame(0, nil), frame(0, ask[3:4]), frame(fin, ask[4:]))
	if op, p := l.next(); op != opText || !bytes.Contains(p, []byte(`"open":{"session":`)) {
		t.Fatalf("a message in four frames was answered %d %q", op, p)
	}
	whole := bytes.Join([][]byte{frame(opText, ask[:7]), frame(fin|opPing, []byte("x")), frame(fin, ask[7:])}, nil)
	for i := range whole { // an octet at a time
		l.write(whole[i : i+1])
	}
	f("x")
	if op, p := l.next(); op != opText || !bytes.Contains(p, []byte(`"open":{"session":`)) {
		t.Fatalf("octets were answered %d %q", op, p)
	}
}

// Group 6: text that is no UTF-8 ends the connection where that shows, not at the end of a message that may never come.
func TestFailsFast(t *testing.T) {
	n := start(t, t.TempDir())
	t.Cleanup(func() { stop(t, n) }) // behind the lines' own end
	for name, parts := range map[string][][]byte{
		"in the first fragment":    {frame(opText, []byte("ok\xff"))},
		"in a later one":           {frame(opText, []byte("ok")), frame(0, []byte("\xed\xa0\x80"))},
		"broken by the next":       {frame(opText, []byte("\xe2\x82")), frame(0, []byte("a"))},
		"behind a ping":            {frame(opText, []byte("\xe2\x82")), frame(fin|opPing, nil), frame(0, []byte("a"))},
		"beyond the last one":      {frame(opText, []byte("\xf4\x90"))},
		"a whole message":          {frame(fin|opText, []byte("\xc0\xaf"))},
		"the reason of a close":    {frame(fin|opClose, []byte("\x03\xe8\xff"))},
		"cut by the message's end": {frame(opText, []byte("\xf0\x9d")), frame(fin, nil)},
	} {
		l := greeted(t, n)
		l.write(parts...)
		op, p := l.next()
		for op == opPong {
			op, p = l.next()
		}
		if op != opClose || len(p) < 2 || binary.BigEndian.Uint16(p) != 1007 {
			t.Errorf("%s: answered %d %q", name, op, p)
		}
	}
}

// Group 7: a close is answered with its code, nothing behind it is listened to, and the server ends the connection.
func TestClosing(t *testing.T) {
	n := start(t, t.TempDir())
	t.Cleanup(func() { stop(t, n) }) // behind the lines' own end
	ask := frame(fin|opText, []byte(`{"id":2,"open":{}}`))
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		l := greeted(t, n)
		l.write(frame(fin|opClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), "bye"...)), ask, frame(fin|opPing, nil)) //nolint:gosec // it fits
		if op, p := l.read(); op != opClose || len(p) < 2 || int(binary.BigEndian.Uint16(p)) != code {
			t.Errorf("a close with %d was answered %d %q", code, op, p)
		}
		if op, p := l.read(); op != 0 {
			t.Errorf("behind the close came %d %q", op, p)
		}
	}
	for _, bad := range []string{"\x03", "\x03\xe7", "\x03\xec", "\x03\xed", "\x03\xee", "\x03\xf7", "\x07\xd0", "\x13\x88", "\xff\xff", "\x00\x00"} {
		l := greeted(t, n)
		l.write(frame(fin|opClose, []byte(bad)))
		if op, p := l.read(); op != opClose || len(p) < 2 || binary.BigEndian.Uint16(p) != 1002 {
			t.Errorf("a close with %x was answered %d %q", bad, op, p)
		}
	}
	l := greeted(t, n)
	l.write(frame(fin|opClose, nil))
	if op, p := l.read(); op != opClose || len(p) >= 2 && binary.BigEndian.Uint16(p) != 1000 {
		t.Errorf("an empty close was answered %d %q", op, p)
	}
	// A message that was not whole when the close came is not taken.
	l = greeted(t, n)
	l.write(frame(opText, []byte(`{"id":2,`)), frame(fin|opClose, []byte("\x03\xe8")), frame(fin, []byte(`"open":{}}`)))
	if op, _ := l.read(); op != opClose {
		t.Errorf("a half message and a close were answered %d", op)
	}
	if op, p := l.read(); op != 0 {
		t.Errorf("behind the close came %d %q", op, p)
	}
}

// Group 9 and [SW-6.3]: a message may be as large as the limits of hello say, in one frame or in many, and one that is too large is
// refused from its header, before it has come.
func TestLargeMessages(t *testing.T) {
	n := start(t, t.TempDir(), func(c *node.Config) { c.Limits.Body = 60_000 })
	t.Cleanup(func() { stop(t, n) }) // behind the lines' own end
	l := greeted(t, n)
	big := []byte(`{"id":7,"open":{"attributes":{"x":"` + strings.Repeat("y", 50_000) + `"}}}`)
	big = append(big, bytes.Repeat([]byte(" "), 65_536-len(big))...)
	pieces := [][]byte{frame(opText, big[:1])}
	for i := 1; i < len(big); i += 1021 {
		pieces = append(pieces, frame(0, big[i:min(i+1021, len(big))]))
	}
	l.write(append(pieces, frame(fin, nil))...)
	if op, p := l.next(); op != opText || !bytes.Contains(p, []byte(`"id":7,"open":{"session"`)) {
		t.Fatalf("a frame of 64 KiB in fragments was answered %d %.200q", op, p)
	}
	l.write(frame(fin|opText, append(big, ' ')))
	if op, p := l.next(); op != opText || !bytes.Contains(p, []byte(`"slug":"too_large"`)) {
		t.Fatalf("a byte more was answered %d %.200q", op, p)
	}
	l.write([]byte{fin | opText, 0x80 | 127, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4})
	if op, p := l.next(); op != opClose || binary.BigEndian.Uint16(p) != 1009 {
		t.Fatalf("the header of a gigabyte was answered %d %q", op, p)
	}
}
