package edge

import (
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

const handshake = "GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// reads reads from sock until it has seen end.
func reads(t testing.TB, sock net.Conn, end string) string {
	t.Helper()
	var got []byte
	buf := make([]byte, 4096)
	for !strings.Contains(string(got), end) {
		n, err := sock.Read(buf)
		if err != nil {
			t.Fatalf("%v after %q; want %q", err, got, end)
		}
		got = append(got, buf[:n]...)
	}
	return string(got)
}

// handshakes sends handshake, changed, in one piece and in two: one is answered by a loop, the other by the HTTP server.
func handshakes(t *testing.T, r *rig, from, to string) []string {
	t.Helper()
	var answers []string
	for _, at := range []int{0, 10} {
		sock, err := way.dial(r.addr)
		if err != nil {
			t.Fatal(err)
		}
		request := strings.Replace(handshake, from, to, 1)
		put(t, sock, []byte(request[:at]))
		if at > 0 {
			eventually(t, "the head's first piece is taken", func() bool { return way.loops < 0 || way.server != nil || r.e.server.GetOpenConnectionsCount() > 0 })
		}
		put(t, sock, []byte(request[at:]))
		answers = append(answers, reads(t, sock, "\r\n\r\n"))
		_ = sock.Close()
		eventually(t, "it has left", func() bool { return r.e.Connections() == 0 && r.e.server.GetOpenConnectionsCount() == 0 })
	}
	return answers
}

// [SW-2.1] A list may be spread over several lines, as proxies do; it means what it means in one.
func TestHandshakeLists(t *testing.T) {
	r := newRig(t, nil)
	const pb = "sec-websocket-protocol: switchboard.v1.pb\r\n"
	for _, to := range []struct{ from, to, want string }{
		{"Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade", ""},
		{"Connection: Upgrade", "Connection: Upgrade\r\nConnection: keep-alive", ""},
		{"Upgrade: websocket", "Upgrade: h2c\r\nupgrade: WebSocket", ""},
		{"Host:", "Sec-WebSocket-Protocol: switchboard.v1.json\r\nSec-WebSocket-Protocol: switchboard.v1.pb\r\nHost:", pb},
		{"Host:", "Sec-WebSocket-Protocol: other\r\nHost: x\r\nsec-websocket-protocol: \tswitchboard.v1.pb\r\nX-Host:", pb},
	} {
		for _, answer := range handshakes(t, r, to.from, to.to) {
			if !strings.HasPrefix(answer, "HTTP/1.1 101 ") || !strings.Contains(strings.ToLower(answer), to.want) {
				t.Errorf("%q is answered %q", to.to, answer)
			}
		}
	}
}

// A nonce that is none is refused, whoever answers (RFC 6455, 4.2.1).
func TestHandshakeNonce(t *testing.T) {
	r := newRig(t, nil)
	const line = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	for _, to := range []string{
		"X: y", "Sec-WebSocket-Key:", "Sec-WebSocket-Key: abc", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==",
		"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh", line + "\r\n" + line,
	} {
		for _, answer := range handshakes(t, r, line, to) {
			if !strings.HasPrefix(answer, "HTTP/1.1 400 ") || !strings.Contains(answer, "Sec-Websocket-Version: 13") && !strings.Contains(answer, "Sec-WebSocket-Version: 13") {
				t.Errorf("%q is answered %q", to, answer)
			}
		}
	}
}

// [SW-2.1] A name with a blank is none (RFC 9112, 5.1), whoever answers and whatever header it would be.
func TestHandshakeNames(t *testing.T) {
	r := newRig(t, nil)
	for _, to := range []string{"X Y: z\r\nHost:", "Host :", "X-Y\t: z\r\nHost:", "Origin : http://evil\r\nHost:", "X: y\r\n z: a\r\nHost:", "Sec-WebSocket-Protocol : other\r\nHost:"} {
		for _, answer := range handshakes(t, r, "Host:", to) {
			if !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
				t.Errorf("%q is answered %q", to, answer)
			}
		}
	}
	for _, to := range []string{"X-Y: a b\tc : d\r\nHost:", "X:\r\nHost:"} {
		for _, answer := range handshakes(t, r, "Host:", to) {
			if !strings.HasPrefix(answer, "HTTP/1.1 101 ") {
				t.Errorf("%q is answered %q", to, answer)
			}
		}
	}
}

// What a handshake costs more than before is nothing where no list is spread.
func TestSettleAllocs(t *testing.T) {
	var h fasthttp.RequestHeader
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if err := settle(&h); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = settle(&h) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// [SW-2.9] The scheme's case and blanks are the client's.
func TestShownBy(t *testing.T) {
	for in, want := range map[string]string{
		"Bearer a.b": "a.b", "bearer a.b": "a.b", "BEARER   a.b ": "a.b", "Basic a.b": "", "Bearer": "", "Bearer ": "", "Bearera.b": "", "": "",
	} {
		var h fasthttp.RequestHeader
		h.Set("Authorization", in)
		if got := shownBy(&h); got != want {
			t.Errorf("%q shows %q", in, got)
		}
	}
}
