package edge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/edge/ws"
	"switchboard/exchange"
	"switchboard/wire"
)

// hand is a loop that a test turns itself, so that it knows what happened before what.
type hand struct {
	t testing.TB
	e *Edge
	l *loop
	d *drop
}

func newHand(t testing.TB, change func(*Config)) *hand {
	t.Helper()
	x := exchange.New(1)
	d := &drop{}
	slots := make([]wire.Slot, wire.Slots)
	for i := range slots {
		slots[i] = wire.Slot(i)
	}
	x.PlugSlots(slots, d)
	cfg := Config{Tokens: plain{}, Loops: -1, Stall: time.Hour}
	if change != nil {
		change(&cfg)
	}
	e, err := Open(x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLoop(e)
	if err != nil {
		t.Fatal(err)
	}
	e.loops = []*loop{l}
	t.Cleanup(func() {
		go l.run()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return &hand{t, e, l, d}
}

// pair returns both ends of a TCP connection; the server's takes little before it is full.
func pair(t testing.TB) (server, client *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close() //nolint:errcheck // a test's
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = s.Close()
	})
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// admit makes a greeted connection of the loop, and returns it with its client.
func (h *hand) admit(codec wire.Codec, role wire.Role) (*conn, *net.TCPConn) {
	h.t.Helper()
	server, client := pair(h.t)
	c := h.e.newConn(server, mode(codec), "")
	c.who.Store(&wire.Principal{Tenant: "demo", Role: role, Sub: "alice", Worker: "alice"})
	c.greeted.Store(true)
	if !h.e.seat(c, nil) || !h.e.join(c) {
		h.t.Fatal("it was not taken")
	}
	h.l.mark(c)
	h.until(func() bool { return c.seat.slot >= 0 })
	return c, client
}

// until turns the loop, which waits for what is to come.
func (h *hand) until(ok func() bool) {
	h.t.Helper()
	for !ok() {
		h.l.round()
	}
}

// asks is a request that the edge answers itself.
func asks(id int) []byte {
	return ws.AppendMasked(nil, ws.OpText, fmt.Appendf(nil, `{"id":%d,"leave":{"session":"nowhere"}}`, id), [4]byte{1, 2, 3, 4})
}

// The number of a closed descriptor is the next client's: nothing that still knows the old connection may touch it.
func TestDescriptorReuse(t *testing.T) {
	h := newHand(t, nil)
	for i := range 50 {
		server, client := pair(t)
		a, old := h.admit(wire.JSON, wire.RoleWorker)
		was := a.seat.fd
		late := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP, Fd: a.seat.slot, Pad: h.l.slots[a.seat.slot].gen}
		put(t, old, asks(77)) // unread, and marked, when it is cut
		a.Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameKeep, PB: byePB(wire.CloseKicked, 7, "")}})
		a.cut()
		h.until(func() bool { return a.seat.fd < 0 })
		if got, _ := io.ReadAll(old); len(got) > 0 {
			t.Fatalf("%q was written behind the cut", got)
		}

		b := h.e.newConn(server, modeJSON, "")
		b.who.Store(&wire.Principal{Tenant: "demo", Role: wire.RoleWorker, Sub: "bob"})
		b.greeted.Store(true)
		b.src, b.loop, b.seat.fd, b.seat.slot = nil, h.l, h.dupTo(server, was), -1
		if !h.e.join(b) {
			t.Fatal("it was not taken")
		}
		h.l.mark(b)
		h.until(func() bool { return b.seat.slot >= 0 })
		if b.seat.slot != late.Fd || h.l.slots[late.Fd].gen == late.Pad {
			t.Fatalf("slot %d of generation %d follows slot %d of generation %d", b.seat.slot, h.l.slots[b.seat.slot].gen, late.Fd, late.Pad)
		}
		_ = client.CloseWrite() // an event of the old connection would find the end of the new one's bytes
		h.l.dispatch(late)
		if b.seat.ended {
			t.Fatal("an event of the old connection was taken for the new one's")
		}
		a.Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameKeep, PB: byePB(wire.CloseKicked, 7, "")}})
		a.bye(wire.CloseKicked, 0)
		a.wake()
		a.cut()
		b.push(&wire.Frame{Kind: framePing})
		h.until(func() bool { return b.seat.fd < 0 })
		if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, []byte{0x81, 0}) {
			t.Fatalf("round %d: the new client got %q, %v", i, got, err)
		}
	}
}

// dupTo returns a duplicate of the socket whose number is fd.
func (h *hand) dupTo(sock *net.TCPConn, fd int32) int32 {
	h.t.Helper()
	raw, err := sock.SyscallConn()
	if err != nil {
		h.t.Fatal(err)
	}
	var got uintptr
	if err := raw.Control(func(old uintptr) {
		got, _, _ = syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, uintptr(fd))
	}); err != nil {
		h.t.Fatal(err)
	}
	if int32(got) != fd {
		h.t.Fatalf("descriptor %d was taken; got %d", fd, got)
	}
	_ = sock.Close()
	return fd
}

// A message may come in any pieces, and what is kept of it grows with what came.
func TestFrameInPieces(t *testing.T) {
	h := newHand(t, nil)
	c, client := h.admit(wire.JSON, wire.RoleWorker)
	f := func(body, piece int) {
		t.Helper()
		h.d.last.Store(nil)
		want := `"` + strings.Repeat("x", body) + `"`
		msg := ws.AppendMasked(nil, ws.OpText, []byte(`{"id":3,"reply":{"session":"`+string(hotSession)+`","ae":1,"body":`+want+`}}`), [4]byte{9, 8, 7, 6})
		for sent := 0; sent < len(msg); {
			n := min(piece, len(msg)-sent)
			put(t, client, msg[sent:sent+n])
			sent += n
			if sent == len(msg) {
				break
			}
			h.until(func() bool { return len(c.part) == sent })
			if cap(c.part) > 2*sent+1024+ws.MaxHeader {
				t.Fatalf("%d bytes are kept for %d", cap(c.part), sent)
			}
			if c.partial.Load() == 0 {
				t.Fatal("nobody knows that a message waits for its rest")
			}
		}
		h.until(func() bool { return h.d.last.Load() != nil })
		if got := h.d.last.Load(); string(got.Body) != want {
			t.Fatalf("%d bytes of %d came", len(got.Body), len(want))
		}
		if c.part != nil || c.partial.Load() != 0 {
			t.Fatalf("%d bytes are left", len(c.part))
		}
		c.answered(h.d.last.Load().ID)
	}
	f(10, 1)
	f(200, 1)
	f(5000, 333)
	f(30_000, 1400)
	// Two messages, of which the second is cut, and a ping in between.
	msg := append(asks(1), ws.AppendMasked(nil, ws.OpPing, []byte("p"), [4]byte{1, 1, 1, 1})...)
	put(t, client, append(msg, asks(2)[:9]...))
	h.until(func() bool { return len(c.part) == 9 })
	put(t, client, asks(2)[9:])
	h.until(func() bool { return c.part == nil && c.written.Load() == c.put })
}

// A header that promises too much is refused before anything is kept for it, also in pieces.
func TestHeaderInPieces(t *testing.T) {
	h := newHand(t, nil)
	c, client := h.admit(wire.JSON, wire.RoleWorker)
	header := []byte{0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0}
	for i, b := range header {
		put(t, client, []byte{b})
		h.until(func() bool { return c.seat.deaf || len(c.part) == i+1 })
	}
	if !c.seat.deaf {
		t.Fatalf("%d bytes are kept", len(c.part))
	}
	h.until(func() bool { return c.written.Load() == c.put })
	_ = client.CloseWrite()
	h.until(func() bool { return c.seat.fd < 0 })
	if got, err := io.ReadAll(client); err != nil || len(got) < 4 || got[0] != 0x88 || uint16(got[2])<<8|uint16(got[3]) != 1009 {
		t.Fatalf("it ended with %x, %v", got, err)
	}
}

// fill gives c more than its socket takes.
func (h *hand) fill(c *conn) (pushes uint64) {
	h.t.Helper()
	c.Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameAttach, Session: hotSession}})
	for c.seat.rest == nil {
		for range 50 {
			pushes++
			f := pushOf(pushes)
			f.Entry.Body = []byte(`"` + strings.Repeat("x", 4000) + `"`)
			c.Put(wire.Envelope{Mail: f})
		}
		h.l.round()
		if pushes > 100_000 {
			h.t.Fatal("no socket takes so much")
		}
	}
	return pushes
}

// What a full socket does not take is kept, counted, and written when there is room, in order, and before what came later.
func TestFullSocket(t *testing.T) {
	h := newHand(t, func(c *Config) { c.Outbox = 64 << 20 })
	c, client := h.admit(wire.JSON, wire.RoleWorker)
	other, quick := h.admit(wire.JSON, wire.RoleWorker)
	n := h.fill(c)
	if c.writing.Load() == 0 || c.written.Load() == c.put || c.bytes < len(c.seat.rest.bytes) {
		t.Fatalf("%d bytes wait and %d are counted; writing since %d, %d of %d items are written", len(c.seat.rest.bytes), c.bytes, c.writing.Load(), c.written.Load(), c.put)
	}
	for range 10 { // and what comes meanwhile is not written before it
		n++
		c.Put(wire.Envelope{Mail: pushOf(n)})
	}
	c.wake()
	put(t, quick, asks(1))
	h.until(func() bool { return other.written.Load() == 1 })
	if c.seat.rest == nil {
		t.Fatal("nobody has read, and there is room")
	}
	var got []byte // its goroutine's, until that is joined
	var wg sync.WaitGroup
	wg.Go(func() { // a bit at a time: the socket is full again and again
		buf := make([]byte, 3000)
		for {
			k, err := client.Read(buf)
			got = append(got, buf[:k]...)
			if err != nil {
				return
			}
		}
	})
	h.until(func() bool { return c.seat.rest == nil && c.written.Load() == c.put })
	c.cut()
	h.until(func() bool { return c.seat.fd < 0 })
	wg.Wait()
	if c.bytes != 0 || c.writing.Load() != 0 {
		t.Fatalf("%d bytes wait, writing since %d", c.bytes, c.writing.Load())
	}
	dec, seq := ws.Decoder{FromServer: true}, uint64(0)
	for len(got) > 0 {
		m, used, err := dec.Next(got, 1<<20)
		if err != nil || used == 0 {
			t.Fatalf("after %d entries: %d bytes are left, %v", seq, len(got), err)
		}
		got = got[used:]
		for line := range bytes.Lines(m.Payload) {
			seq++
			if !bytes.Contains(line, fmt.Appendf(nil, `"seq":%d,`, seq)) {
				t.Fatalf("instead of entry %d came %.200s", seq, line)
			}
		}
	}
	if seq != n {
		t.Fatalf("%d of %d entries came", seq, n)
	}
}

// A connection may end at any moment: marked, in the middle of a rest, twice at once, with its client gone or here.
func TestCloseWhileDirty(t *testing.T) {
	f := func(what string, end func(h *hand, c *conn, client *net.TCPConn)) {
		t.Helper()
		h := newHand(t, func(c *Config) { c.Outbox = 64 << 20 })
		c, client := h.admit(wire.JSON, wire.RoleWorker)
		bystander, quick := h.admit(wire.JSON, wire.RoleWorker)
		end(h, c, client)
		h.until(func() bool { return c.seat.fd < 0 })
		if h.e.Connections() != 1 || c.seat.rest != nil || !c.seat.ended {
			t.Fatalf("%s: %d connections, rest %v", what, h.e.Connections(), c.seat.rest)
		}
		c.Put(wire.Envelope{Mail: pushOf(1)})
		c.wake()
		c.cut()
		h.l.visit(c) // as if it was marked still
		put(t, quick, asks(1))
		h.until(func() bool { return bystander.written.Load() == 1 })
	}
	reset := func(client *net.TCPConn) {
		_ = client.SetLinger(0)
		_ = client.Close()
	}
	f("marked, and the client has hung up", func(_ *hand, c *conn, client *net.TCPConn) {
		c.push(&wire.Frame{Kind: framePing})
		_ = client.Close()
	})
	f("marked, and the client has reset", func(_ *hand, c *conn, client *net.TCPConn) {
		reset(client)
		c.push(&wire.Frame{Kind: framePing})
	})
	f("cut by several", func(_ *hand, c *conn, _ *net.TCPConn) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				c.push(&wire.Frame{Kind: framePing})
				c.cut()
			})
		}
		wg.Wait()
	})
	f("full, and reset", func(h *hand, c *conn, client *net.TCPConn) {
		h.fill(c)
		reset(client)
	})
	f("full, and cut", func(h *hand, c *conn, _ *net.TCPConn) {
		h.fill(c)
		c.cut()
	})
	f("full, and the client sends no more", func(h *hand, c *conn, client *net.TCPConn) {
		h.fill(c)
		_ = client.CloseWrite() // it has hurryMost to take the rest, and does not
	})
	f("told why, and the client never answers", func(_ *hand, c *conn, _ *net.TCPConn) { c.bye(wire.CloseKicked, 0) })
}

// However many come and go, no descriptor and no slot stays behind.
func TestDescriptorsComeBack(t *testing.T) {
	h := newHand(t, nil)
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("there is no /proc to count descriptors in:", err)
		}
		return len(list)
	}
	h.admit(wire.JSON, wire.RoleWorker) // what is opened once is open
	before := open()
	for range 3 {
		var list []*net.TCPConn
		for range 200 {
			_, client := h.admit(wire.JSON, wire.RoleWorker)
			list = append(list, client)
		}
		for i, client := range list {
			if i%2 == 0 {
				_ = client.SetLinger(0)
			}
			_ = client.Close()
		}
		h.until(func() bool { return h.e.Connections() == 1 })
	}
	if after := open(); after != before {
		t.Fatalf("%d descriptors were open, now %d", before, after)
	}
	if len(h.l.slots) > 201 || len(h.l.free) != len(h.l.slots)-1 {
		t.Fatalf("%d of %d slots are free", len(h.l.free), len(h.l.slots))
	}
}

// Whoever marks a connection while its loop falls asleep wakes it.
func TestWake(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Loops = 1 })
	p := r.login(wire.JSON, "demo/worker/bot")
	p.ask(`"subscribe":{"queues":["default"]}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	for i := range 3000 {
		r.shard.post(conn, &wire.Frame{Kind: wire.FrameKeep, PB: byePB(wire.CloseKicked, int64(i), "")})
		if m := p.next(); m.GetBye().GetAfterMs() != int64(i) {
			t.Fatalf("push %d: %v", i, m)
		}
	}
}

// A request and a push through a loop cost no more allocations than through goroutines: the codec's, and two for the request.
func TestLoopAllocates(t *testing.T) {
	h := newHand(t, nil)
	c, client := h.admit(wire.JSON, wire.RoleWorker)
	c.Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameAttach, Session: hotSession}})
	h.l.round()
	in, buf := make([]byte, 4096), []byte(nil)
	frames := make([]*wire.Frame, 0, 300)
	for seq := range uint64(300) {
		frames = append(frames, pushOf(seq+1))
	}
	alone := testing.AllocsPerRun(200, func() { buf = wire.JSON.AppendFrame(buf[:0], frames[0]) })
	i := 0
	if n := testing.AllocsPerRun(200, func() {
		c.Put(wire.Envelope{Mail: frames[i]})
		i++
		h.until(func() bool { return c.written.Load() == c.put })
		if _, err := client.Read(in); err != nil {
			t.Fatal(err)
		}
	}); n > alone {
		t.Errorf("%v allocations for one push; the codec makes %v", n, alone)
	}
	text := []byte(`{"id":3,"reply":{"session":"` + string(hotSession) + `","ae":1,"key":"01JD","type":"text","body":{"text":"hi"}}}`)
	msg := ws.AppendMasked(nil, ws.OpText, text, [4]byte{1, 2, 3, 4})
	var cmd wire.Command
	alone = testing.AllocsPerRun(200, func() {
		cmd = wire.Command{}
		if err := wire.JSON.ParseCommand(text, &cmd); err != nil {
			t.Fatal(err)
		}
	})
	if n := testing.AllocsPerRun(200, func() {
		h.d.last.Store(nil)
		put(t, client, msg)
		h.until(func() bool { return h.d.last.Load() != nil })
		c.answered(h.d.last.Load().ID)
	}); n > alone+2 {
		t.Errorf("%v allocations to take one message; the codec makes %v", n, alone)
	}
}

// BenchmarkLoop is one push to each of some connections of a loop, over loopback sockets that nobody reads until they are
// full; ns/push is what one takes, the kernel's part with it.
func BenchmarkLoop(b *testing.B) {
	for _, batch := range []int{1, 16} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			h := newHand(b, nil)
			const conns = 64
			list, clients := make([]*conn, conns), make([]*net.TCPConn, conns)
			for i := range list {
				list[i], clients[i] = h.admit(wire.JSON, wire.RoleWorker)
				list[i].Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameAttach, Session: hotSession}})
			}
			h.l.round()
			frames := make([]*wire.Frame, batch)
			for i := range frames {
				frames[i] = pushOf(uint64(i + 1))
			}
			in := make([]byte, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				for _, c := range list {
					for _, f := range frames {
						c.Put(wire.Envelope{Mail: f})
					}
				}
				h.until(func() bool { return list[conns-1].written.Load() == list[conns-1].put })
				for i, c := range list {
					c.lines.get(hotSession).last = 0
					if _, err := clients[i].Read(in); err != nil && !errors.Is(err, io.EOF) {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch*conns), "ns/push")
		})
	}
}

// Commands of a loop are made several at a time: one of a request's two allocations is a sixth.
func TestTakeOfLoopAllocates(t *testing.T) {
	c, d, _ := bare(t, wire.JSON, wire.RoleWorker)
	c.writer, c.loop = true, &loop{e: c.e}
	msg := []byte(`{"id":3,"reply":{"session":"` + string(hotSession) + `","ae":1,"key":"01JD","type":"text","body":{"text":"hi"}}}`)
	var cmd wire.Command
	alone := testing.AllocsPerRun(200, func() {
		cmd = wire.Command{}
		if err := wire.JSON.ParseCommand(msg, &cmd); err != nil {
			t.Fatal(err)
		}
	})
	if n := testing.AllocsPerRun(600, func() {
		if !c.message(ws.OpText, msg) {
			t.Fatal("it was refused")
		}
		c.answered(d.last.Load().ID)
	}); n > alone+1 {
		t.Errorf("%v allocations to take one message; the codec makes %v", n, alone)
	}
}

// Every command has room of its own, whatever was parsed before and behind it, and what may be kept for long does not stand with others.
func TestCommandsStandApart(t *testing.T) {
	l := &loop{}
	c := &conn{loop: l}
	seen := map[*wire.Command]string{}
	for i := range 5 * commandsMade {
		id := strconv.Itoa(i + 1)
		text := `{"id":` + id + `,"send":{"session":"` + string(hotSession) + `","body":"` + id + `"}}`
		switch i % 3 {
		case 1:
			text = `{"id":` + id + `,"open":{"session":"` + string(hotSession) + `"}}`
		case 2:
			text = `{"id":` + id + `,"send":{"session":"` + string(hotSession) + `","key":7}}`
		}
		chunk := l.commands
		cmd, err := c.parse(wire.JSON, []byte(text))
		if (err != nil) != (i%3 == 2) {
			t.Fatalf("%s: %v", text, err)
		}
		if seen[cmd] != "" {
			t.Fatalf("%s has the room of %s", text, seen[cmd])
		}
		seen[cmd] = id
		if cold := !cmd.Hot(); cold && len(chunk) > 0 && cmd == &chunk[0] {
			t.Errorf("%s, which may be kept, stands with others", text)
		}
	}
	for cmd, id := range seen {
		if cmd.ID != 0 && strconv.FormatUint(cmd.ID, 10) != id {
			t.Errorf("command %s has become %d", id, cmd.ID)
		}
	}
	for _, free := range l.commands {
		if free.Verb != "" || free.ID != 0 || free.PB != nil {
			t.Errorf("room for a command holds %+v", free)
		}
	}
}
