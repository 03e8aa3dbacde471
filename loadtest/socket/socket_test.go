package socket

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/edge/secure"
	"switchboard/edge/ws"
)

// server and client speak TLS in the second round; nil is in the clear.
var serverTLS, clientTLS *tls.Config

// TestMain runs everything twice.
func TestMain(m *testing.M) {
	code := m.Run()
	cert, key, err := secure.SelfSigned(time.Hour, "127.0.0.1")
	if err != nil {
		panic(err)
	}
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	serverTLS, clientTLS = &tls.Config{Certificates: []tls.Certificate{own}}, &tls.Config{RootCAs: roots} //nolint:gosec // a test's
	fmt.Println("with TLS")
	os.Exit(max(code, m.Run()))
}

// pair returns a socket and the server's end of its connection, which is behind the upgrade.
func pair(t testing.TB, early []byte) (*Socket, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	var wg sync.WaitGroup
	var server net.Conn
	wg.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		if serverTLS != nil {
			c = tls.Server(c, serverTLS)
		}
		var head []byte
		for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			var b [1]byte
			if _, err := io.ReadFull(c, b[:]); err != nil {
				return
			}
			head = append(head, b[0])
		}
		_, _ = c.Write(append([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"), early...))
		server = c
	})
	s, err := Dial(t.Context(), l.Addr().String(), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, clientTLS)
	if err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	t.Cleanup(func() { s.Close(); _ = server.Close() })
	return s, server
}

// TestRead: frames come as they were sent, whole, in pieces, large, and right behind the upgrade; pings are answered.
func TestRead(t *testing.T) {
	s, server := pair(t, ws.AppendFrame(nil, ws.OpText, []byte("early")))
	big := strings.Repeat("0123456789", 10_000)
	var stream []byte
	for _, text := range []string{"one", big, "", "two\nthree"} {
		stream = ws.AppendFrame(stream, ws.OpText, []byte(text))
	}
	stream = ws.AppendClose(stream, 3001, "drain")
	var wg sync.WaitGroup
	wg.Go(func() {
		for len(stream) > 0 { // in pieces of any size
			n := min(len(stream), 1+len(stream)/3)
			if _, err := server.Write(stream[:n]); err != nil {
				return
			}
			stream = stream[n:]
		}
	})
	defer wg.Wait()
	for _, want := range []string{"early", "one", big, "two\nthree"} {
		got, err := s.Read()
		if err != nil || string(got) != want {
			t.Fatalf("%.40q (%d bytes), %v; want %.40q", got, len(got), err, want)
		}
	}
	var closed *ClosedError
	if _, err := s.Read(); !errors.As(err, &closed) || closed.Code != 3001 || closed.Reason != "drain" {
		t.Errorf("the end is %v", err)
	}
	pong := make([]byte, 6)
	if _, err := io.ReadFull(server, pong); err != nil || pong[0] != 0x81 || pong[1] != 0x80 {
		t.Errorf("the pong is %x, %v", pong, err)
	}
}

// TestIdle: a socket that waits holds no buffer.
func TestIdle(t *testing.T) {
	s, server := pair(t, nil)
	if _, err := server.Write(ws.AppendFrame(nil, ws.OpText, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(); err != nil {
		t.Fatal(err)
	}
	_ = server.Close()
	if _, err := s.Read(); err == nil || s.buf != nil || s.cipher != nil {
		t.Errorf("%v; it holds %d and %d bytes", err, len(s.buf), len(s.cipher))
	}
}

// TestSendNeverWaits: to a server that does not read, everything up to a bound is taken at once, in order, and then it is
// an error.
func TestSendNeverWaits(t *testing.T) {
	s, server := pair(t, nil)
	frame := bytes.Repeat([]byte{'x'}, 30<<10)
	sent := 0
	for ; ; sent++ {
		frame[0] = 'A' + byte(sent%26)
		if err := s.Send(frame); err != nil {
			break
		}
		if sent > 10_000 {
			t.Fatal("there is no bound")
		}
	}
	var dec ws.Decoder
	var buf []byte
	chunk := make([]byte, 64<<10)
	for got := 0; got < sent; {
		m, n, err := dec.Next(buf, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			if m.Op == ws.OpText {
				if len(m.Payload) != len(frame) || m.Payload[0] != 'A'+byte(got%26) {
					t.Fatalf("frame %d has %d bytes and begins with %d", got, len(m.Payload), m.Payload[0])
				}
				got++
			}
			buf = buf[n:]
			continue
		}
		k, err := server.Read(chunk)
		if err != nil {
			t.Fatal(err)
		}
		buf = append(buf, chunk[:k]...)
	}
}

func TestDialFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := l.Accept()
		if err == nil {
			_, _ = c.Write([]byte("HTTP/1.1 503 Service Unavailable\r\n\r\n"))
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
		if c, err = l.Accept(); err == nil { // and says nothing
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	})
	if _, err := Dial(t.Context(), l.Addr().String(), nil, nil); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, l.Addr().String(), nil, nil); err == nil {
		t.Error("a server that says nothing is connected")
	}
	_ = l.Close()
	wg.Wait()
}

// echo lets the server answer every message with frames.
func echo(t testing.TB) *Socket {
	s, server := pair(t, nil)
	answer := ws.AppendFrame(nil, ws.OpText, []byte(`{"id":12,"send":{"seq":3,"epoch":1,"ts":1,"duplicate":false}}`))
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 4096)
		for {
			if _, err := server.Read(b); err != nil {
				return
			}
			if _, err := server.Write(answer); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { _ = server.Close(); wg.Wait() })
	return s
}

func turn(t testing.TB, s *Socket, frame []byte) {
	if err := s.Send(frame); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(); err != nil {
		t.Fatal(err)
	}
}

var request = []byte(`{"id":12,"send":{"session":"s_00cd04wxhah7pca4","key":"2","type":"text","body":{"n":2,"text":"Where is my order?"}}}`)

func BenchmarkTurn(b *testing.B) {
	s := echo(b)
	b.ReportAllocs()
	for b.Loop() {
		turn(b, s, request)
	}
}

// TestAllocs: a request and its answer allocate next to nothing.
func TestAllocs(t *testing.T) {
	s := echo(t)
	turn(t, s, request)
	if n := testing.AllocsPerRun(500, func() { turn(t, s, request) }); n > 3+forgets+tlsAllocs() {
		t.Errorf("%v allocations for a request and its answer", n)
	}
}

// tlsAllocs is what crypto/tls allocates of it on both sides.
func tlsAllocs() float64 {
	if clientTLS == nil {
		return 0
	}
	return 4
}
