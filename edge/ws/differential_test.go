package ws

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// canned is a connection on which everything has been said already.
type canned struct {
	net.Conn // nil: nothing else may be called
	in       io.Reader
}

func (c *canned) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }

// hijacked gives the upgrader a canned connection.
type hijacked struct {
	http.ResponseWriter
	conn *canned
}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// replay is play by github.com/fasthttp/websocket. The last line is "fail" when it gave up on in, and nothing when it ran
// out of it.
func replay(t *testing.T, limit int, in []byte) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	var up websocket.Upgrader
	conn, err := up.Upgrade(hijacked{httptest.NewRecorder(), &canned{in: bytes.NewReader(in)}}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	conn.SetReadLimit(int64(limit))
	conn.SetPingHandler(func(s string) error { fmt.Fprintf(&out, "ping %s\n", s); return nil })
	conn.SetPongHandler(func(s string) error { fmt.Fprintf(&out, "pong %s\n", s); return nil })
	conn.SetCloseHandler(func(code int, s string) error { fmt.Fprintf(&out, "close %d %s\n", code, s); return nil })
	for {
		kind, payload, err := conn.ReadMessage()
		var closed *websocket.CloseError
		switch {
		case err == nil:
			fmt.Fprintf(&out, "%v %s\n", Opcode(kind), payload)
			continue
		case errors.As(err, &closed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return out.String() // closed, or nothing more to read
		}
		return out.String() + "fail"
	}
}

// Where github.com/fasthttp/websocket sees a fault, so do we; and what we accept, it reads the same. We are stricter:
// it lets pass text that is not UTF-8, lengths not in their shortest form, half a close code and any number of fragments.
// It refuses one thing that we accept, the close code 1014, which the registry has since it was written.
func FuzzDifferential(f *testing.F) {
	seeds(f, func(in []byte) { f.Add(in) })
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 512
		ours, theirs := play(false, limit, in, all), replay(t, limit, in)
		if strings.Contains(ours, "close 1014 ") {
			return
		}
		events, _, failed := strings.Cut(ours, "fail ")
		switch {
		case !failed && ours != theirs:
			t.Errorf("we read %q, they %q", ours, theirs)
		case failed && !strings.HasPrefix(theirs, events):
			t.Errorf("we read %q before our fault, they %q", events, theirs)
		}
	})
}
