package edge

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// raw opens a socket to r and says something.
func (r *rig) raw(said string) net.Conn {
	r.t.Helper()
	sock, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	if way.client != nil {
		cfg := way.client.Clone()
		cfg.ServerName = "127.0.0.1"
		sock = tls.Client(sock, cfg)
	}
	r.t.Cleanup(func() { _ = sock.Close() })
	_ = sock.SetDeadline(time.Now().Add(time.Minute)) // rather than wait for good
	if _, err := io.WriteString(sock, said); err != nil {
		r.t.Fatal(err)
	}
	return sock
}

// answered reads one answer, of any request but HEAD.
func (r *rig) answered(br *bufio.Reader) (status int, body string) {
	r.t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a test's
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// slowRig is a rig that answers /slow, once, when answer is closed. It closes served when it is asked.
func slowRig(t *testing.T) (r *rig, served, answer chan struct{}) {
	t.Helper()
	served, answer = make(chan struct{}), make(chan struct{})
	return openRig(t, func(c *Config) {
		c.Static = func(ctx *fasthttp.RequestCtx) bool {
			if string(ctx.Path()) != "/slow" {
				return false
			}
			close(served)
			<-answer
			ctx.SetBodyString("whole")
			return true
		}
	}), served, answer
}

// A drain waits for who is being answered, and not for the rest of a request.
func TestDrainOfHalves(t *testing.T) {
	r, served, answer := slowRig(t)
	r.e.server.ReadTimeout = time.Hour // nobody else ends them
	r.serve()
	slow := bufio.NewReader(r.raw("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
	<-served
	var halves []*bufio.Reader
	for _, half := range []string{"GET /healthz HT", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"} {
		halves = append(halves, bufio.NewReader(r.raw(half)))
	}
	again := bufio.NewReader(r.raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /hea")) // the second of a connection
	if status, body := r.answered(again); status != 200 || body != "ok\n" {
		t.Fatalf("answered %d %q", status, body)
	}
	idle := bufio.NewReader(r.raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
	if status, body := r.answered(idle); status != 200 || body != "ok\n" {
		t.Fatalf("answered %d %q", status, body)
	}
	eventually(t, "all of them are the HTTP server's, and one asks nothing", func() bool {
		return r.e.server.GetOpenConnectionsCount() == 5 && r.e.Requests() == 4
	})

	done := make(chan struct{})
	go func() {
		defer close(done)
		r.e.Drain(t.Context())
	}()
	for i, br := range append(halves, again) {
		if status, body := r.answered(br); status != wire.FaultOf(wire.Draining).Code || !strings.Contains(body, `"slug":"draining"`) {
			t.Errorf("half a request (%d) was answered %d %s", i, status, body)
		}
		if _, err := br.ReadByte(); err == nil {
			t.Errorf("half a request (%d) was answered, and then there was more", i)
		}
	}
	select {
	case <-done:
		t.Error("the drain did not wait for who is being answered")
	default:
	}
	close(answer)
	if status, body := r.answered(slow); status != 200 || body != "whole" {
		t.Errorf("a request that was being answered was answered %d %q", status, body)
	}
	<-done
	if n := r.e.Requests(); n != 0 {
		t.Errorf("%d requests are left", n)
	}
}

// Who is being answered when the edge closes gets the answer, and nothing that he asks behind it another: nor who connects meanwhile.
func TestCloseBesideAnswer(t *testing.T) {
	r, served, answer := slowRig(t)
	r.e.server.ReadTimeout, r.e.server.IdleTimeout = time.Hour, time.Hour // nobody else ends them
	r.serve()
	sock := r.raw("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	slow := bufio.NewReader(sock)
	<-served
	if err := r.e.Close(); err != nil {
		t.Fatal(err)
	}
	close(answer)
	if status, body := r.answered(slow); status != 200 || body != "whole" {
		t.Errorf("a request that was being answered was answered %d %q", status, body)
	}
	_, _ = io.WriteString(sock, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") // it may be closed by now
	if b, err := slow.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the end there was %q, %v", b, err)
	}

	here, there := net.Pipe() // accepted a moment before the end, and given to the server a moment after it
	defer here.Close()        //nolint:errcheck // a test's
	r.e.callers.note(there, fasthttp.StateNew)
	_ = there.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := there.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who came late is read: %v", err)
	}
}

// As many who say nothing as the HTTP server has room for keep others out until they have gone, and one more of them does not keep them out for longer.
func TestFullOfSilence(t *testing.T) {
	if way.server == nil && way.loops > 0 {
		t.Skip("the loops accept")
	}
	r := openRig(t, nil)
	r.e.server.Concurrency = 2
	r.serve()
	var silent [3]net.Conn
	for i := range silent {
		sock, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer sock.Close() //nolint:errcheck // a test's
		silent[i] = sock
	}
	_ = silent[2].SetReadDeadline(time.Now().Add(20 * time.Second)) // rather than wait for good
	if b, err := io.ReadAll(silent[2]); err != nil {
		t.Fatalf("who found no room was told %q, %v", b, err)
	}
	_, _ = silent[0].Close(), silent[1].Close()
	eventually(t, "there is room again", func() bool {
		resp, err := http.Get(way.url("http") + r.addr + "/healthz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// Where many have a connection to the HTTP server nobody keeps his behind an answer, and who becomes a WebSocket is no such connection.
func TestManyCallers(t *testing.T) {
	r := newRig(t, nil)
	var idle []net.Conn
	for range keepMost {
		here, there := net.Pipe()
		defer here.Close() //nolint:errcheck // a test's
		r.e.callers.note(there, fasthttp.StateNew)
		r.e.callers.note(there, fasthttp.StateIdle)
		idle = append(idle, there)
	}
	f := func(want bool) {
		t.Helper()
		resp, err := http.Get(way.url("http") + r.addr + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.Close != want {
			t.Errorf("answered %d, and closed: %v; want %v", resp.StatusCode, resp.Close, want)
		}
	}
	f(true)
	r.login(wire.JSON, "demo/customer/alice")
	for _, sock := range idle {
		r.e.callers.note(sock, fasthttp.StateClosed)
	}
	f(false)
}

// What could hide another request is refused, and nothing behind it is answered.
func TestSmuggled(t *testing.T) {
	r := newRig(t, nil)
	const hidden = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	f := func(headers, body string, want ...int) {
		t.Helper()
		br := bufio.NewReader(r.raw("POST /healthz HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body + hidden))
		for _, want := range want {
			if status, answer := r.answered(br); status != want {
				t.Errorf("%q was answered %d %s; want %d", headers, status, answer, want)
			}
		}
		if want[len(want)-1] == 200 {
			return
		}
		if b, err := br.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q was answered, and then there was %q (%v)", headers, b, err)
		}
	}
	const whole = "2\r\n{}\r\n0\r\n\r\n"
	f("Content-Length: 2\r\n", "{}", 404, 200)
	f("Transfer-Encoding: chunked\r\n", whole, 404, 200)
	f("transfer-encoding: Chunked\r\n", whole, 404, 200)
	f("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", whole, 400)
	f("Transfer-Encoding: chunked\r\ncontent-length: 2\r\n", whole, 400)
	f("Transfer-Encoding: chunked\r\nContent-Length: 0\r\nExpect: 100-continue\r\n", whole, 100, 400)
	f("Content-Length: 2\r\nContent-Length: 3\r\n", "{}", 400)
	f("Content-Length: 2\r\nContent-Length: 2\r\n", "{}", 400)
	f("Content-Length: 2, 2\r\n", "{}", 400)
	f("Content-Length: +2\r\n", "{}", 400)
	f("Transfer-Encoding: identity\r\n", "", 400)
	f("Transfer-Encoding: identity\r\nContent-Length: 2\r\n", "{}", 400)
	f("Transfer-Encoding: gzip, chunked\r\n", whole, 400)
	f("Transfer-Encoding: xchunked\r\n", whole, 400)
	f("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", whole, 400)
	f("Transfer-Encoding:\r\n", "", 400)
	f("Transfer-Encoding:\r\n chunked\r\n", whole, 400)
	f("Content-Length:\r\n 2\r\n", "{}", 400)
	f("X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "{}", 400)
	f("X: a\r\n\tb\r\nContent-Length: 2\r\n", "{}", 400)
	f("Content-Length : 2\r\nTransfer-Encoding: chunked\r\n", whole, 400)
	f("Content-Length: 2\r\nTransfer-Encoding : chunked\r\n", "{}", 400)
}
