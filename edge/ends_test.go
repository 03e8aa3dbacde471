package edge

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/edge/ws"
	"switchboard/wire"
)

const upgrade = "GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func masked(s string) []byte { return ws.AppendMasked(nil, ws.OpText, []byte(s), [4]byte{1, 2, 3, 4}) }

// bytesOf dials, sends b with the upgrade, hangs its side up, and returns everything that comes behind the upgrade's answer.
func (r *rig) bytesOf(b []byte) []byte {
	r.t.Helper()
	sock, err := way.dial(r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer sock.Close() //nolint:errcheck // a test's
	_ = sock.SetDeadline(time.Now().Add(20 * time.Second))
	put(r.t, sock, append([]byte(upgrade), b...))
	if err := sock.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		r.t.Fatal(err)
	}
	got, err := io.ReadAll(sock)
	if err != nil {
		r.t.Fatal(err)
	}
	_, got, ok := bytes.Cut(got, []byte("\r\n\r\n"))
	if !ok {
		r.t.Fatalf("the upgrade was answered %q", got)
	}
	return got
}

func put(t testing.TB, w io.Writer, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// A client may say all it has in one packet with the upgrade, and stop talking: what it asked of the edge is answered, and
// then the connection ends.
func TestHalfOpen(t *testing.T) {
	r := newRig(t, nil)
	hello := masked(`{"id":1,"hello":{"token":"demo/worker/w"}}`)
	f := func(b []byte, want ...string) {
		t.Helper()
		got := r.bytesOf(b)
		for _, s := range want {
			i := bytes.Index(got, []byte(s))
			if i < 0 {
				t.Fatalf("%s did not come; %q is left", s, got)
			}
			got = got[i+len(s):]
		}
		eventually(t, "it has ended", func() bool { return r.e.Connections() == 0 })
	}
	f(nil)
	f(hello, `"id":1,"hello"`)
	f(hello[:9])
	many := hello
	for i := range 50 {
		many = append(many, masked(fmt.Sprintf(`{"id":%d,"leave":{"session":"nowhere"}}`, i+2))...)
	}
	f(many, `"id":1,"hello"`, `"id":2,"error"`, `"id":51,"error"`)
	f(append(slices.Clip(hello), ws.AppendMasked(nil, ws.OpClose, ws.AppendCloseBody(nil, 1000, ""), [4]byte{5, 6, 7, 8})...), `"id":1`, "\x88\x02\x03\xe8")
}

// Who is told to go while his socket is full hears of it behind what was written for him; who does not read at all does not
// hold the edge up.
func TestByeBehindFullSocket(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Outbox = 32 << 20 })
	reads, deaf := r.login(wire.JSON, "demo/customer/reads"), r.login(wire.JSON, "demo/customer/deaf")
	see := follower{t: t, text: map[string]string{}}
	total := uint64(0)
	for _, p := range []*peer{reads, deaf} {
		id := p.open()
		c := r.conn(r.shard.lastConn(wire.VerbOpen))
		body := `"` + strings.Repeat("x", 8000) + `"`
		total = 0
		eventually(t, "the socket is full", func() bool {
			for range 20 {
				r.shard.say(id, body, wire.Public)
				total++
			}
			since := c.writing.Load()
			return since != 0 && r.e.now()-since > 50
		})
	}
	id := wire.SessionID("")
	r.shard.mu.Lock()
	for s, e := range r.shard.sessions {
		if e.customer == "reads" {
			id, total = s, uint64(len(e.log))
		}
	}
	r.shard.mu.Unlock()
	if id == "" {
		t.Fatal("there is no session")
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.e.Drain(t.Context()) })
	defer wg.Wait()
	eventually(t, "it drains", r.e.draining.Load)
	bye := false
	for {
		m, err := reads.read()
		if err != nil {
			if !bye || see.last != total {
				t.Fatalf("bye %v, %d of %d entries, then %v", bye, see.last, total, err)
			}
			break
		}
		if m != nil {
			bye = bye || m.GetBye() != nil
			see.see(m)
		}
	}
	_ = reads.ws.Close()
	r.pass(6 * time.Second) // longer than anybody may take to go
	eventually(t, "both are gone", func() bool { return r.e.Connections() == 0 })
}

// Close does not wait for those who do not read.
func TestCloseWithFullSocket(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Outbox = 32 << 20 })
	p := r.login(wire.JSON, "demo/customer/deaf")
	id := p.open()
	c := r.conn(r.shard.lastConn(wire.VerbOpen))
	eventually(t, "the socket is full", func() bool {
		for range 20 {
			r.shard.say(id, `"`+strings.Repeat("x", 8000)+`"`, wire.Public)
		}
		since := c.writing.Load()
		return since != 0 && r.e.now()-since > 50
	})
	if err := r.e.Close(); err != nil {
		t.Fatal(err)
	}
	if n := r.e.Connections(); n != 0 {
		t.Fatalf("%d are left", n)
	}
	for err := error(nil); err == nil; _, err = p.read() { // what was in the socket, and then its end
	}
}

// [SW-6.2] A message that does not go on is not waited for, and whoever began it is told so: he takes what is written. One frame more
// would have been enough.
func TestMessageThatNeverEnds(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Stall = 20 * time.Second })
	p := r.login(wire.JSON, "demo/customer/alice")
	q := r.login(wire.JSON, "demo/customer/bob")
	half := masked(`{"id":7,"leave":{"session":"nowhere"}}`)
	begun := func(n int) func() bool {
		return func() bool {
			have := 0
			for i := range r.e.table {
				for _, c := range r.e.table[i].list(nil) {
					if c.partial.Load() != 0 {
						have++
					}
				}
			}
			return have == n
		}
	}
	put(t, p.ws.NetConn(), half[:9])
	put(t, q.ws.NetConn(), half[:9])
	eventually(t, "both have begun", begun(2))
	put(t, q.ws.NetConn(), half[9:])
	if f := q.next(); f.Id != 7 {
		t.Fatalf("the frame that was whole is answered %v", f)
	}
	eventually(t, "nobody is written to", func() bool { // or time passes in the middle of it
		busy := 0
		for i := range r.e.table {
			for _, c := range r.e.table[i].list(nil) {
				if c.writing.Load() != 0 {
					busy++
				}
			}
		}
		return busy == 0
	})
	r.pass(21 * time.Second)
	code, bye := p.ended()
	if code != int(wire.CloseSlow) || bye.GetCode() != uint32(wire.CloseSlow) || !bye.GetReconnect() {
		t.Errorf("closed with %d after %v; want %d", code, bye, wire.CloseSlow)
	}
	q.say(`{"id":8,"leave":{"session":"nowhere"}}`)
	if f := q.next(); f.Id != 8 {
		t.Errorf("the other is answered %v", f)
	}
}
