package edge

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/edge/ws"
	"switchboard/exchange"
	"switchboard/wire"
)

// sink is a socket that takes everything at once.
type sink struct {
	net.Conn
	n atomic.Int64
}

func (s *sink) Write(b []byte) (int, error)        { s.n.Add(int64(len(b))); return len(b), nil }
func (s *sink) Read([]byte) (int, error)           { return 0, net.ErrClosed }
func (s *sink) Close() error                       { return nil }
func (s *sink) SetReadDeadline(_ time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(_ time.Time) error { return nil }

// drop is a shard that forgets.
type drop struct{ last atomic.Pointer[wire.Command] }

func (d *drop) Put(e wire.Envelope) bool {
	if c, ok := e.Mail.(*wire.Command); ok {
		d.last.Store(c)
	}
	return true
}

// bare returns a greeted connection that nobody reads or writes for.
func bare(t testing.TB, codec wire.Codec, role wire.Role, change ...func(*Config)) (*conn, *drop, *sink) {
	t.Helper()
	x := exchange.New(1766000000000000000) // as a node's is
	d, s := &drop{}, &sink{}
	slots := make([]wire.Slot, wire.Slots)
	for i := range slots {
		slots[i] = wire.Slot(i)
	}
	x.PlugSlots(slots, d)
	cfg := Config{Tokens: plain{}}
	for _, f := range change {
		f(&cfg)
	}
	e, err := Open(x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := e.newConn(s, mode(codec), "")
	c.who.Store(&wire.Principal{Tenant: "demo", Role: role, Sub: "alice", Worker: "alice"})
	c.expires.Store(0)
	c.greeted.Store(true)
	t.Cleanup(func() {
		c.mu.Lock()
		c.closed = true // leave is for those in the table
		c.mu.Unlock()
		_ = e.Close()
	})
	return c, d, s
}

// round is what a writer does between two waits, with buffers that are kept: the pool forgets some under the race detector.
func (c *conn) round(b *buffers) {
	c.w = b
	for c.turn(b) {
	}
}

const hotSession = wire.SessionID("s_00g4000000000001")

func pushOf(seq uint64) *wire.Frame {
	return &wire.Frame{Kind: wire.FrameMessage, Session: hotSession, Prev: seq - 1, Entry: &wire.Entry{
		Session: hotSession, Seq: seq, Epoch: 1, TS: 1766000000000, From: wire.Author{Role: wire.RoleWorker, ID: "faq"}, Origin: wire.OriginBot,
		Kind: wire.KindMessage, Type: "text", Body: []byte(`{"text":"` + strings.Repeat("x", 128) + `"}`), Visibility: wire.Public, Channel: "web",
	}}
}

// attached makes the connection follow the hot session, with the writer's flag set so that no goroutine starts.
func (c *conn) attached(b *buffers) {
	c.writer = true
	c.Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameAttach, Session: hotSession}})
	c.round(b)
	c.writer = true
}

// What the edge itself adds to a push is nothing: the codec's own tests say what encoding costs.
func TestPushDoesNotAllocate(t *testing.T) {
	f := func(codec wire.Codec) {
		t.Helper()
		c, _, s := bare(t, codec, wire.RoleCustomer)
		w := &buffers{}
		c.attached(w)
		frames := make([]*wire.Frame, 0, 300)
		for seq := range uint64(300) {
			frames = append(frames, pushOf(seq+1))
		}
		var buf []byte
		alone := testing.AllocsPerRun(200, func() { buf = codec.AppendFrame(buf[:0], frames[0]) })
		i := 0
		if n := testing.AllocsPerRun(200, func() {
			c.Put(wire.Envelope{Mail: frames[i]})
			i++
			c.round(w)
			c.writer = true
		}); n > alone {
			t.Errorf("%s: %v allocations for one push; the codec makes %v", codec.Subprotocol(), n, alone)
		}
		if s.n.Load() == 0 {
			t.Error("nothing was written")
		}
	}
	f(wire.JSON)
	f(wire.Protobuf)
}

// Taking a request adds two allocations to the codec's: the private copy of the message, and the command itself.
func TestTakeAllocates(t *testing.T) {
	c, d, _ := bare(t, wire.JSON, wire.RoleWorker)
	c.writer = true
	msg := []byte(`{"id":3,"reply":{"session":"` + string(hotSession) + `","ae":1,"key":"01JD","type":"text","body":{"text":"hi"}}}`)
	var cmd wire.Command
	alone := testing.AllocsPerRun(200, func() {
		cmd = wire.Command{}
		if err := wire.JSON.ParseCommand(msg, &cmd); err != nil {
			t.Fatal(err)
		}
	})
	if n := testing.AllocsPerRun(200, func() {
		if !c.message(ws.OpText, msg) {
			t.Fatal("it was refused")
		}
		c.answered(d.last.Load().ID)
	}); n > alone+2 {
		t.Errorf("%v allocations to take one message; the codec makes %v", n, alone)
	}
	if got := d.last.Load(); got == nil || got.Verb != wire.VerbReply || string(got.Body) != `{"text":"hi"}` {
		t.Fatalf("posted %+v", got)
	}
}

// What several frames wait in is lent: a burst makes the queue that an idle connection keeps, and nothing longer.
func TestBurstAllocates(t *testing.T) {
	c, _, s := bare(t, wire.JSON, wire.RoleCustomer)
	w := &buffers{}
	c.attached(w)
	var frames []*wire.Frame
	for seq := range uint64(16) {
		frames = append(frames, pushOf(seq+1))
	}
	var buf []byte
	alone := testing.AllocsPerRun(200, func() {
		for _, f := range frames {
			buf = wire.JSON.AppendFrame(buf[:0], f)
		}
	})
	before := s.n.Load()
	if n := testing.AllocsPerRun(200, func() {
		for _, f := range frames {
			c.Put(wire.Envelope{Mail: f})
		}
		c.round(w)
		c.lines.get(hotSession).last, c.writer = 0, true
	}); n > alone+4 { // of 1, 2 and 4; under the race detector a pool forgets some
		t.Errorf("%v allocations for a burst of %d; the codec makes %v", n, len(frames), alone)
	}
	if cap(c.queue) > idleItems {
		t.Errorf("an idle connection keeps a queue for %d", cap(c.queue))
	}
	if wrote := (s.n.Load() - before) / 201; wrote < int64(len(frames))*128 {
		t.Errorf("a burst is %d bytes", wrote)
	}
}

func BenchmarkPush(b *testing.B) {
	for _, codec := range wire.Subprotocols() {
		for _, batch := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/batch=%d", codec.Subprotocol(), batch), func(b *testing.B) {
				c, _, _ := bare(b, codec, wire.RoleCustomer)
				w := &buffers{}
				c.attached(w)
				var frames []*wire.Frame
				for i := range batch {
					frames = append(frames, pushOf(uint64(i+1)))
				}
				b.ReportAllocs()
				for b.Loop() {
					for _, f := range frames {
						c.Put(wire.Envelope{Mail: f})
					}
					c.round(w)
					c.lines.get(hotSession).last, c.writer = 0, true
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/push")
			})
		}
	}
}

// BenchmarkTake takes one message, of a worker whose answer has a key and of a customer whose words have none, and forgets it as answered.
func BenchmarkTake(b *testing.B) {
	f := func(name string, role wire.Role, msg string) {
		b.Run(name, func(b *testing.B) {
			c, d, _ := bare(b, wire.JSON, role, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 1e9, 1e9 })
			c.writer = true
			if len(c.e.loops) > 0 {
				c.loop = c.e.loops[0] // which has nothing to do
			}
			msg := []byte(msg)
			b.ReportAllocs()
			for b.Loop() {
				if !c.message(ws.OpText, msg) {
					b.Fatal("it was refused")
				}
				c.answered(d.last.Load().ID)
			}
		})
	}
	body := strings.Repeat("x", 128)
	f("reply", wire.RoleWorker, `{"id":3,"reply":{"session":"`+string(hotSession)+`","ae":1,"key":"01JD","type":"text","body":{"text":"`+body+`"}}}`)
	f("send", wire.RoleCustomer, `{"id":3,"send":{"session":"`+string(hotSession)+`","body":{"text":"`+body+`"}}}`)
}

// BenchmarkEcho is a send and its reply over a loopback socket, one at a time on each of 64 connections.
func BenchmarkEcho(b *testing.B) {
	r := newRig(b, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 1e9, 1e9 })
	const conns = 64
	peers := make([]*peer, conns)
	sends := make([]string, conns)
	for i := range peers {
		peers[i] = r.login(wire.JSON, fmt.Sprintf("demo/customer/c%d", i))
		sends[i] = fmt.Sprintf(`{"id":1,"send":{"session":%q,"body":{"text":"hi"}}}`, peers[i].open())
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	for i := range peers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				peers[i].say(sends[i])
				if _, _, err := peers[i].ws.ReadMessage(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// quietly dials, says hello, opens a session, sends one message and reads the replies, with nothing but a socket.
func (r *rig) quietly(i int) net.Conn {
	r.t.Helper()
	sock, err := way.dial(r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	say := func(b []byte, until string) string {
		if _, err := sock.Write(b); err != nil {
			r.t.Fatal(err)
		}
		got := 0
		for !strings.Contains(string(buf[:got]), until) {
			n, err := sock.Read(buf[got:])
			if err != nil {
				r.t.Fatal(err)
			}
			got += n
		}
		return string(buf[:got])
	}
	frame := func(s string) []byte { return ws.AppendMasked(nil, ws.OpText, []byte(s), [4]byte{1, 2, 3, 4}) }
	say([]byte("GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"), "\r\n\r\n")
	say(frame(fmt.Sprintf(`{"id":1,"hello":{"token":"demo/customer/c%d"}}`, i)), `"id":1`)
	opened := say(frame(`{"id":2,"open":{"channel":"web"}}`), `"id":2`)
	_, id, _ := strings.Cut(opened, `"session":"`)
	say(frame(`{"id":3,"send":{"session":"`+id[:18]+`","body":{"text":"hi"}}}`), `"id":3`)
	return sock
}

// BenchmarkIdle reports what a connection costs that has said hello, opened a session, sent one message and is silent:
// live heap and stacks, less what its client costs in the same process.
func BenchmarkIdle(b *testing.B) {
	n := 2000
	if v := os.Getenv("SWITCHBOARD_IDLE_CONNS"); v != "" {
		if _, err := fmt.Sscan(v, &n); err != nil {
			b.Fatal(err)
		}
	}
	r := newRig(b, nil)
	used := func() int64 {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse) //nolint:gosec // bytes
	}
	// What the clients cost: as many plain sockets to a listener that does nothing with them.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // a benchmark's
	socks := make([]net.Conn, n)
	before := used()
	for i := range socks {
		if socks[i], err = net.Dial("tcp", ln.Addr().String()); err != nil {
			b.Fatal(err)
		}
	}
	client := used() - before
	for _, c := range socks {
		_ = c.Close()
	}
	for b.Loop() {
		clear(socks)
		before := used()
		for i := range socks {
			socks[i] = r.quietly(i)
		}
		r.shard.mu.Lock()
		r.shard.sessions, r.shard.seen = map[wire.SessionID]*echoSession{}, nil
		r.shard.mu.Unlock()
		b.ReportMetric(float64(used()-before-client)/float64(n), "B/conn")
		for _, c := range socks {
			_ = c.Close()
		}
		eventually(b, "they have ended", func() bool { return r.e.Connections() == 0 })
	}
}
