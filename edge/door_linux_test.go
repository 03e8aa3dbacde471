package edge

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchboard/edge/ws"
	"switchboard/exchange"
	"switchboard/wire"
)

// What a loop answers and what the HTTP server answers is the same: the same request in one piece, and in two.
func TestHandshakeAnswers(t *testing.T) {
	r := newRig(t, nil)
	f := func(change func(string) string) {
		t.Helper()
		var answers []string
		for _, at := range []int{0, 10} {
			sock, err := way.dial(r.addr)
			if err != nil {
				t.Fatal(err)
			}
			request := change(handshake)
			put(t, sock, []byte(request[:at]))
			if at > 0 {
				eventually(t, "the head's first piece is taken", func() bool { return way.loops < 0 || way.server != nil || r.e.server.GetOpenConnectionsCount() > 0 })
			}
			put(t, sock, []byte(request[at:]))
			answer := reads(t, sock, "\r\n\r\n")
			if strings.HasPrefix(answer, "HTTP/1.1 100 ") && strings.Count(answer, "\r\n\r\n") < 2 {
				answer += reads(t, sock, "\r\n\r\n") // what follows the invitation to go on
			}
			answers = append(answers, answer)
			_ = sock.Close()
			eventually(t, "it has left", func() bool { return r.e.Connections() == 0 && r.e.server.GetOpenConnectionsCount() == 0 })
		}
		lines := func(s string) map[string]bool {
			set := map[string]bool{}
			for line := range strings.SplitSeq(strings.ToLower(s), "\r\n") {
				set[line] = true
			}
			return set
		}
		if a, b := lines(answers[0]), lines(answers[1]); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%q is answered\n%q, and in two pieces\n%q", change(handshake), answers[0], answers[1])
		}
	}
	f(func(s string) string { return s })
	f(func(s string) string {
		return strings.Replace(s, "Host:", "Sec-WebSocket-Protocol: other, switchboard.v1.pb\r\nHost:", 1)
	})
	f(func(s string) string { return strings.Replace(s, "Host:", "Sec-WebSocket-Protocol: other\r\nHost:", 1) })
	f(func(s string) string { return strings.Replace(s, "Version: 13", "Version: 12", 1) })
	f(func(s string) string { return strings.Replace(s, "GET ", "POST ", 1) })
	f(func(s string) string { return strings.Replace(s, "/v1/connect", "/v1/connected", 1) })
	f(func(s string) string { return strings.Replace(s, "/v1/connect", "/v1/connect?x=%zz&token=%20", 1) })
	f(func(s string) string { return strings.Replace(s, "Host: x", "Host: x\r\nConnection : nonsense", 1) })
	f(func(s string) string { return strings.Replace(s, "HTTP/1.1", "HTTP/1.0", 1) })
	f(func(s string) string { return strings.Replace(s, "Host:", "Content-Length: 5\r\nHost:", 1) + "hello" })
	f(func(s string) string {
		return strings.Replace(s, "Host:", "Transfer-Encoding: chunked\r\nHost:", 1) + "0\r\n\r\n"
	})
	f(func(s string) string { return strings.Replace(s, "Host:", "Expect: 100-continue\r\nHost:", 1) })
}

// A body, or the wish for one, is not for the loops: who counts its bytes otherwise would take the rest for frames.
func TestShakeRefusesBodies(t *testing.T) {
	e, err := Open(exchange.New(1), Config{Tokens: plain{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close() //nolint:errcheck // a test's
	s := &shaker{}
	for _, line := range []string{"Content-Length: 5", "Content-Length: 0", "Transfer-Encoding: chunked", "Expect: 100-continue"} {
		if s.shake(e, []byte(strings.Replace(handshake, "Host:", line+"\r\nHost:", 1))) {
			t.Errorf("%q was taken", line)
		}
	}
}

// Who says nothing takes no more room than there is, and is told so; who hangs up gives it back.
func TestManyKnock(t *testing.T) {
	r := newRig(t, func(c *Config) {
		if c.Connections = 2; c.Loops > 0 {
			c.Loops = 1 // so that they are counted in the order in which they come
		}
	})
	if way.server != nil || way.loops < 0 {
		t.Skip("the HTTP server accepts")
	}
	const silent = knockersSpare + 20
	var list []net.Conn
	for range silent {
		sock, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close() //nolint:errcheck // a test's
		list = append(list, sock)
	}
	eventually(t, "all are accepted", func() bool { return r.e.knockers.Load() == knockersSpare+2 })
	for _, sock := range list[knockersSpare+2:] {
		if got := reads(t, sock, "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
			t.Fatalf("who is one too many is answered %q", got)
		}
	}
	for _, sock := range list {
		_ = sock.Close()
	}
	eventually(t, "all have left", func() bool { return r.e.knockers.Load() == 0 })
	sock, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close() //nolint:errcheck // a test's
	put(t, sock, []byte(handshake))
	reads(t, sock, "101 Switching")
	if n := r.e.knockers.Load(); n != 0 {
		t.Errorf("%d knock", n)
	}
}

// What a client sends right behind its handshake is its first message.
func TestHelloBehindHandshake(t *testing.T) {
	r := newRig(t, nil)
	sock, err := way.dial(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close() //nolint:errcheck // a test's
	hello := ws.AppendMasked(nil, ws.OpText, []byte(`{"id":1,"hello":{"token":"demo/customer/alice"}}`), [4]byte{1, 2, 3, 4})
	put(t, sock, append([]byte(handshake), hello...))
	reads(t, sock, `"sub":"alice"`)
}

// A token in the handshake is the hello's [SW-2.9], and a huge one is the HTTP server's to refuse.
func TestHandshakeShowsToken(t *testing.T) {
	r := newRig(t, nil)
	sock, err := way.dial(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close() //nolint:errcheck // a test's
	put(t, sock, []byte(strings.Replace(handshake, "Host:", "Authorization: Bearer demo/customer/bob\r\nHost:", 1)))
	reads(t, sock, "\r\n\r\n")
	put(t, sock, ws.AppendMasked(nil, ws.OpText, []byte(`{"id":1,"hello":{}}`), [4]byte{1, 2, 3, 4}))
	reads(t, sock, `"sub":"bob"`)
	huge, err := way.dial(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer huge.Close() //nolint:errcheck // a test's
	put(t, huge, []byte(strings.Replace(handshake, "Host:", "Authorization: Bearer "+strings.Repeat("x", headMost)+"\r\nHost:", 1)))
	if got := reads(t, huge, "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Errorf("a head of more than %d bytes is answered %q", headMost, got)
	}
}

// Who says nothing for a while is the HTTP server's, and may still ask.
func TestSilentAtTheDoor(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Knock = time.Millisecond })
	sock, err := way.dial(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close() //nolint:errcheck // a test's
	eventually(t, "the HTTP server has it", func() bool { return r.e.server.GetOpenConnectionsCount() == 1 })
	put(t, sock, []byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
	reads(t, sock, "ok\n")
	put(t, sock, []byte(handshake)) // also a WebSocket, on the connection of a request before
	reads(t, sock, "101 Switching")
	eventually(t, "it is a connection", func() bool { return r.e.Connections() == 1 })
}

// Who hangs up before he has asked leaves nothing behind.
func TestHangUpAtTheDoor(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Loops = max(c.Loops, 2) })
	if way.server != nil {
		t.Skip("with TLS the HTTP server accepts")
	}
	before := descriptors(t)
	for range 20 {
		sock, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = sock.(*net.TCPConn).SetLinger(0)
		_ = sock.Close()
	}
	sock, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close() //nolint:errcheck // a test's
	put(t, sock, []byte(handshake))
	reads(t, sock, "101 Switching")
	eventually(t, "one is left, with a descriptor on each side", func() bool {
		return r.e.Connections() == 1 && r.e.knockers.Load() == 0 && descriptors(t) <= before+2
	})
}

// When no descriptor is left, those at the door wait, the node says so, and nobody is turned away.
func TestNoDescriptors(t *testing.T) {
	var log strings.Builder
	r := newRig(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	first, err := way.dial(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close() //nolint:errcheck // a test's
	put(t, first, []byte(handshake))
	reads(t, first, "101 Switching") // now it serves
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) //nolint:errcheck // again, if the test fails
	low := limit
	low.Cur = 3
	d := net.Dialer{Control: func(string, string, syscall.RawConn) error { // the client has its descriptor
		return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low)
	}}
	sock, err := d.Dial("tcp", r.addr)
	if err == nil {
		defer sock.Close() //nolint:errcheck // a test's
		eventually(t, "the door is shut", func() bool { return r.e.shutDoors.Load() > 0 })
	}
	if back := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || back != nil {
		t.Fatal(err, back)
	}
	if way.client != nil {
		cfg := way.client.Clone()
		cfg.ServerName = "127.0.0.1"
		sock = tls.Client(sock, cfg)
	}
	put(t, sock, []byte(handshake))
	reads(t, sock, "101 Switching")
	if err := r.e.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "raise the limit of open files") {
		t.Errorf("the node says %q", log.String())
	}
}

// After a drain the address is free, also for those who listen there next in the same process.
func TestDoorCloses(t *testing.T) {
	x := exchange.New(7)
	e, err := Open(x, Config{Tokens: plain{}, Loops: way.loops, TLS: way.server})
	if err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- e.Serve(ln) }()
	eventually(t, "it serves", func() bool {
		resp, err := http.Get(way.url("http") + ln.Addr().String() + "/readyz")
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
	idle, err := net.Dial("tcp", ln.Addr().String()) // it never says anything
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close() //nolint:errcheck // a test's
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
	late, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serve(late); err != nil { // too late: it is closed
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", late.Addr().String()); err == nil {
		t.Error("a listener that came too late listens")
	}
	eventually(t, "no descriptor is left but the client's", func() bool { return descriptors(t) <= before+1 })
}

func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// The handshake itself costs few allocations: of the connection, the key's digest and the upgrade's headers.
func TestShakeAllocates(t *testing.T) {
	e, err := Open(exchange.New(1), Config{Tokens: plain{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close() //nolint:errcheck // a test's
	s := &shaker{}
	b := []byte(handshake)
	if n := testing.AllocsPerRun(200, func() {
		if !s.shake(e, b) {
			t.Fatal("refused")
		}
	}); n > 10 {
		t.Errorf("%v allocations for a handshake; want at most 10", n)
	}
	if s.used != len(b) || s.codec != wire.JSON || !strings.Contains(string(s.out), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") { // RFC 6455, 1.3
		t.Errorf("%d bytes are used and %q is answered", s.used, s.out)
	}
}

func BenchmarkShake(b *testing.B) {
	e, err := Open(exchange.New(1), Config{Tokens: plain{}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close() //nolint:errcheck // a benchmark's
	s := &shaker{}
	in := []byte(handshake)
	b.ReportAllocs()
	for b.Loop() {
		if !s.shake(e, in) {
			b.Fatal("refused")
		}
	}
}

// BenchmarkConnect is a client that connects, says hello, and leaves, one after the other; the client's part is in it.
func BenchmarkConnect(b *testing.B) {
	r := newRig(b, nil)
	hello := ws.AppendMasked(nil, ws.OpText, []byte(`{"id":1,"hello":{"token":"demo/customer/alice"}}`), [4]byte{1, 2, 3, 4})
	b.ReportAllocs()
	for b.Loop() {
		sock, err := way.dial(r.addr)
		if err != nil {
			b.Fatal(err)
		}
		if t, ok := sock.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // or thousands of ports would wait
		}
		if _, err := sock.Write([]byte(handshake)); err != nil {
			b.Fatal(err)
		}
		reads(b, sock, "\r\n\r\n")
		if _, err := sock.Write(hello); err != nil {
			b.Fatal(err)
		}
		reads(b, sock, "features")
		_ = sock.Close()
	}
}
