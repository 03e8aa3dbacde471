package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Whoever says only that frames are smaller has bodies that fit.
func TestBodyOfASmallFrame(t *testing.T) {
	for frame, want := range map[int]int{0: 32_768, frameLeast: frameLeast, 16_384: 16_384, 32_768: 32_768, frameMost: 32_768} {
		l := Limits{Frame: frame}
		l.Defaults()
		if err := l.Validate(); err != nil || l.Body != want {
			t.Errorf("of a frame of %d the body has %d, want %d: %v", frame, l.Body, want, err)
		}
	}
}

func TestPingPong(t *testing.T) {
	r := newRig(t, nil)
	f := func(token string, ping time.Duration, answers bool) {
		t.Helper()
		p := r.login(wire.JSON, token)
		r.pass(ping + time.Second)
		for p.pings == 0 {
			if m, err := p.read(); err != nil || m != nil {
				t.Fatalf("before the ping came %v, %v", m, err)
			}
		}
		if answers {
			p.raw(websocket.TextMessage, nil)
			p.ask(`"leave":{"session":"s_0000000000000000"}`) // the pong is read by now
			r.pass(9 * time.Second)
			p.ask(`"leave":{"session":"s_0000000000000000"}`)
			return
		}
		r.pass(9 * time.Second)
		if code, bye := p.ended(); code != int(wire.CloseNoPong) || bye == nil {
			t.Fatalf("silence ended with %d, %v", code, bye)
		}
	}
	f("demo/customer/a", 25*time.Second, true)
	f("demo/customer/b", 25*time.Second, false)
	f("demo/worker/c", 5*time.Second, true) // a worker's lease is shorter [SW-5.7]
	f("demo/worker/d", 5*time.Second, false)

	// Pings of RFC 6455 are answered, and a flood of them costs nobody else anything.
	p := r.login(wire.JSON, "demo/customer/e")
	pongs := 0
	p.ws.SetPongHandler(func(string) error { pongs++; return nil })
	for range 1000 {
		p.raw(websocket.PingMessage, []byte("x"))
	}
	p.ask(`"leave":{"session":"s_0000000000000000"}`)
	if pongs == 0 {
		t.Fatal("no pong")
	}
}

func TestExpiry(t *testing.T) {
	r := newRig(t, nil)
	p, q := r.login(wire.JSON, "demo/customer/a/20s"), r.login(wire.JSON, "demo/customer/b/20s")
	if m, _ := q.ask(`"refresh":{"token":"demo/customer/b/1h"}`); m.GetRefresh() == nil {
		t.Fatalf("refresh was answered %v", m)
	}
	r.pass(21 * time.Second)
	if code, bye := p.ended(); code != int(wire.CloseTokenExpired) || !bye.GetReconnect() {
		t.Fatalf("expiry ended with %d, %v", code, bye)
	}
	if m, _ := q.ask(`"leave":{"session":"s_0000000000000000"}`); m.GetError() == nil {
		t.Fatalf("leave was answered %v", m)
	}
}

// [SW-6.2] A tenant who is suspended while he is connected keeps nobody for longer than his token: no new one is taken, as little as by hello.
func TestSuspendedMeanwhile(t *testing.T) {
	var suspended atomic.Bool
	r := newRig(t, func(c *Config) {
		c.Suspended = func(tenant string) bool { return tenant == "demo" && suspended.Load() }
	})
	p := r.login(wire.JSON, "demo/customer/alice")
	suspended.Store(true)
	if m, _ := p.ask(`"identify":{"token":"demo/customer/bob"}`); m.GetError().GetSlug() != string(wire.Forbidden) {
		t.Fatalf("identify was answered %v", m)
	}
	if m, _ := p.ask(`"refresh":{"token":"demo/customer/alice/1h"}`); m.GetError().GetSlug() != string(wire.Forbidden) {
		t.Fatalf("refresh was answered %v", m)
	}
	if code, bye := p.ended(); code != int(wire.CloseTenantSuspended) || bye.GetReconnect() {
		t.Fatalf("it ended with %d, %v", code, bye)
	}
}

// Every request is answered once, whoever is late [SW-2.3].
func TestDeadline(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSend })
	p.say(fmt.Sprintf(`{"id":7,"send":{"session":%q,"body":1}}`, id))
	eventually(t, "it is sent", func() bool { return r.shard.count(wire.VerbSend) == 1 })
	r.pass(11 * time.Second)
	if m := p.next(); m.Id != 7 || m.GetError().GetSlug() != string(wire.Deadline) {
		t.Fatalf("silence was answered %v", m)
	}
	// Now the shard answers all the same: the entry is there, and comes as everybody else's.
	setFunc(&r.shard.ignore, func(*wire.Command) bool { return false })
	r.shard.mu.Lock()
	late := r.shard.seen[len(r.shard.seen)-1]
	r.shard.command(&late)
	r.shard.mu.Unlock()
	if m := p.next(); m.Id != 0 || m.GetMessage().GetSeq() != 1 {
		t.Fatalf("then came %v", m)
	}
	if m, pushed := p.ask(fmt.Sprintf(`"send":{"session":%q,"body":2}`, id)); m.GetSend().GetSeq() != 2 || len(pushed) > 0 {
		t.Fatalf("then came %v, %v", pushed, m)
	}
}

func TestInflight(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSend })
	var frames []string
	for i := range 10 {
		frames = append(frames, fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":1}}`, 100+i, id))
	}
	p.say(frames...)
	for want := uint64(108); want < 110; want++ {
		if m := p.next(); m.Id != want || m.GetError().GetSlug() != string(wire.TooManyInflight) {
			t.Fatalf("came %v; want %d too many", m, want)
		}
	}
	setFunc(&r.shard.ignore, func(*wire.Command) bool { return false })
	r.pass(11 * time.Second)
	for range 8 {
		if m := p.next(); m.GetError().GetSlug() != string(wire.Deadline) {
			t.Fatalf("came %v", m)
		}
	}
	if m, _ := p.ask(fmt.Sprintf(`"send":{"session":%q,"body":1}`, id)); m.GetSend() == nil {
		t.Fatalf("then came %v", m)
	}
}

func TestRate(t *testing.T) {
	r := newRig(t, nil)
	r.stand()
	p := r.login(wire.JSON, "demo/customer/alice")
	var frames []string
	for i := range 24 {
		frames = append(frames, fmt.Sprintf(`{"id":%d,"leave":{"session":"s_0000000000000000"}}`, 100+i))
	}
	p.say(frames...)
	slugs := map[string]int{}
	for range frames {
		m := p.next().GetError()
		slugs[m.GetSlug()]++
		if m.GetSlug() == string(wire.RateLimited) && (m.GetRetryAfterMs() < 1 || m.GetRetryAfterMs() > 100 || m.GetRetry() != "after") {
			t.Fatalf("came %v", m)
		}
	}
	if slugs["no_session"]+slugs["too_many_inflight"] < 20 || slugs["rate_limited"] == 0 {
		t.Fatalf("24 at once were answered %v", slugs)
	}
	r.pass(time.Second)
	if m, _ := p.ask(`"leave":{"session":"s_0000000000000000"}`); m.GetError().GetSlug() != string(wire.NoSession) {
		t.Fatalf("after a second came %v", m)
	}
	// Who never listens is shown the door.
	for range 300 / 60 {
		frames = frames[:0]
		for range 60 {
			frames = append(frames, `{"leave":{"session":"s_0000000000000000"}}`)
		}
		if err := p.ws.WriteMessage(websocket.TextMessage, []byte(strings.Join(frames, "\n"))); err != nil {
			break
		}
	}
	if code, _ := p.ended(); code != int(wire.CloseRate) {
		t.Fatalf("a flood ended with %d", code)
	}
}

func TestSessionLimit(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Sessions = 2 })
	p := r.login(wire.JSON, "demo/customer/alice")
	one := p.open()
	p.open()
	if m, _ := p.ask(`"open":{"channel":"web"}`); m.GetError().GetSlug() != string(wire.QuotaExceeded) {
		t.Fatalf("a third was answered %v", m)
	}
	if m, _ := p.ask(`"open":{"session":"` + string(one) + `"}`); m.GetOpen() == nil {
		t.Fatalf("one of the two was answered %v", m)
	}
	p.ask(`"leave":{"session":"` + string(one) + `"}`)
	p.open()
}

// What was sent behind a refused request is refused too, until its sender can know [SW-4.2].
func TestOverloaded(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	one, two := p.open(), p.open()
	first := true
	setFunc(&r.shard.refuse, func(c *wire.Command) bool {
		full := first && c.Verb == wire.VerbSend
		first = first && !full
		return full
	})
	send := func(id int, s wire.SessionID) string {
		return fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":%d}}`, id, s, id)
	}
	p.say(send(101, one), send(102, one), send(103, two), send(104, one))
	got := map[uint64]string{}
	for range 4 {
		m := p.next()
		got[m.Id] = m.GetError().GetSlug()
		if m.GetError() != nil && (m.GetError().GetRetryAfterMs() == 0 || m.GetError().GetCode() != 503) {
			t.Fatalf("came %v", m)
		}
	}
	if fmt.Sprint(got) != "map[101:overloaded 102:overloaded 103: 104:overloaded]" {
		t.Fatalf("answers are %v", got)
	}
	p.ask(`"leave":{"session":"s_0000000000000000"}`) // the writer is behind the refusals by now
	r.pass(overloadRetry)
	if m, _ := p.ask(fmt.Sprintf(`"send":{"session":%q,"body":5}`, one)); m.GetSend().GetSeq() != 1 {
		t.Fatalf("then came %v", m)
	}
	// Where nobody is the outcome is unknown.
	slots := make([]wire.Slot, wire.Slots)
	for i := range slots {
		slots[i] = wire.Slot(i)
	}
	r.x.UnplugSlots(slots, r.shard)
	c := r.conn(r.shard.lastConn(wire.VerbSend))
	p.say(send(105, one))
	eventually(t, "it waits for somebody", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.pending.size() == 1
	})
	r.pass(againMost + time.Second)
	m := p.next()
	for ; m.Id == 0; m = p.next() {
	}
	if m.Id != 105 || m.GetError().GetSlug() != string(wire.Unavailable) {
		t.Fatalf("then came %v", m)
	}
	r.x.PlugSlots(slots, r.shard)
}

// A socket that takes nothing is let go of, and everybody who knew it is told.
func TestStall(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Stall = 20 * time.Second })
	p := r.login(wire.JSON, "demo/worker/bot")
	p.ask(`"subscribe":{"queues":["default"]}`)
	alice := r.login(wire.JSON, "demo/customer/alice")
	id := alice.open()
	conn := r.shard.lastConn(wire.VerbSubscribe)
	r.shard.assign(id, conn)
	c := r.conn(conn)
	eventually(t, "the session and the pool are told", func() bool {
		for range 100 { // until the kernel's buffers are full too
			r.shard.say(id, `"`+strings.Repeat("x", 2000)+`"`, wire.Public)
		}
		// The writer may just have begun the write that stalls. Alice would be pinged; she is not looked at.
		r.skew.Add(int64(21 * time.Second))
		c.watch(r.e.now())
		return len(r.shard.goneFrom(conn)) == 2
	})
	_ = p
}

// Replies are never dropped: a connection that does not read them is closed.
func TestRepliesDoNotFit(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Outbox = 8 << 10 })
	r.login(wire.JSON, "demo/worker/bot").ask(`"subscribe":{"queues":["default"]}`)
	conn := r.shard.lastConn(wire.VerbSubscribe)
	for range 1000 {
		r.shard.post(conn, &wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Offer{Offer: &wirepb.Offer{
			Offer: strings.Repeat("o", 4096),
		}}}})
	}
	eventually(t, "it is closed", func() bool { return len(r.shard.goneFrom(conn)) == 1 })
}

// Whoever is followed is told that nobody does any more, also by those who were still asking.
func TestGone(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	one := p.open()
	conn := r.shard.lastConn(wire.VerbOpen)
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbOpen })
	setFunc(&r.shard.refuse, func(c *wire.Command) bool { return c.Verb == wire.VerbGone }) // and told again when there is room
	p.say(`{"id":8,"open":{"channel":"web"}}`)
	eventually(t, "it is asked", func() bool { return r.shard.count(wire.VerbOpen) == 2 })
	r.shard.mu.Lock()
	late := r.shard.seen[len(r.shard.seen)-1]
	r.shard.mu.Unlock()
	_ = p.ws.NetConn().Close()
	eventually(t, "it has ended", func() bool { return r.e.Connections() == 0 })
	setFunc(&r.shard.ignore, func(*wire.Command) bool { return false })
	setFunc(&r.shard.refuse, func(*wire.Command) bool { return false })
	r.pass(0)
	eventually(t, "the session is told", func() bool { return r.shard.attachedTo(one) == 0 })
	r.shard.mu.Lock()
	r.shard.command(&late)
	r.shard.mu.Unlock()
	eventually(t, "the late session is told", func() bool { return len(r.shard.goneFrom(conn)) == 2 })
	r.pass(time.Minute)
	if err := r.x.Post(wire.Envelope{To: conn.Address(), Mail: &wire.Frame{}}); err != exchange.ErrNowhere { //nolint:errorlint // it is the value itself
		t.Fatalf("somebody is still plugged in: %v", err)
	}
}

func TestDrain(t *testing.T) {
	r := newRig(t, nil)
	var list []*peer
	for i := range 10 {
		list = append(list, r.login(wire.JSON, fmt.Sprintf("demo/customer/c%d", i)))
	}
	id := list[0].open()
	setFunc(&r.shard.ignore, func(c *wire.Command) bool { return c.Verb == wire.VerbSend })
	list[0].say(fmt.Sprintf(`{"id":5,"send":{"session":%q,"body":1}}`, id)) // unanswered, so that the drain waits a moment
	eventually(t, "it is sent", func() bool { return r.shard.count(wire.VerbSend) == 1 })
	var wg sync.WaitGroup
	wg.Go(func() { r.e.Drain(t.Context()) })
	eventually(t, "it drains", r.e.draining.Load)
	if m, _ := list[1].ask(`"open":{"channel":"web"}`); m.GetError().GetSlug() != string(wire.Draining) {
		t.Fatalf("a drain answered %v", m)
	}
	_, resp, err := way.dialer().Dial(way.url("ws")+r.addr+"/v1/connect", nil)
	if err == nil || resp != nil && (resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "") {
		t.Fatalf("a drain answered %v, %v", resp, err)
	}
	if resp != nil {
		_ = resp.Body.Close()
	}
	for _, p := range list {
		if code, bye := p.ended(); code != int(wire.CloseDrain) || !bye.GetReconnect() || bye.GetAfterMs() > 10_000 {
			t.Fatalf("ended with %d, %v", code, bye)
		}
		_ = p.ws.Close()
	}
	wg.Wait()
	if n := r.e.Connections(); n != 0 {
		t.Fatalf("%d are left", n)
	}
}

// A drain whose time is over leaves the rest to Close.
func TestDrainGivesUp(t *testing.T) {
	r := newRig(t, nil)
	r.login(wire.JSON, "demo/customer/a") // never reads its bye
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.e.Drain(ctx)
	if err := r.e.Close(); err != nil {
		t.Fatal(err)
	}
	if n := r.e.Connections(); n != 0 {
		t.Fatalf("%d are left", n)
	}
}

func TestRoom(t *testing.T) {
	f := func(change func(*Config)) {
		t.Helper()
		r := newRig(t, change)
		p := r.login(wire.JSON, "demo/customer/a")
		_, resp, err := way.dialer().Dial(way.url("ws")+r.addr+"/v1/connect", nil)
		if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "5" {
			t.Fatalf("answered %v, %v", resp, err)
		}
		_ = resp.Body.Close()
		_ = p.ws.Close()
		eventually(t, "there is room again", func() bool { return r.e.Connections() == 0 })
		r.login(wire.JSON, "demo/customer/a")
	}
	f(func(c *Config) { c.Connections = 1 })
	f(func(c *Config) { c.PerIP = 1 })
}

func TestUpgrade(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Origins = []string{"https://shop.example"}; c.TokenInURL = true })
	f := func(header http.Header, path string, want int, protocol string) {
		t.Helper()
		ws, resp, err := way.dialer().Dial(way.url("ws")+r.addr+path, header)
		if err == nil {
			defer ws.Close() //nolint:errcheck // a test's
		}
		if resp == nil || resp.StatusCode != want || resp.Header.Get("Sec-WebSocket-Protocol") != protocol {
			t.Fatalf("%v was answered %v, %v", header, resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	f(http.Header{"Origin": {"https://shop.example"}}, "/v1/connect", 101, "")
	f(http.Header{"Origin": {"https://evil.example"}}, "/v1/connect", 403, "")
	f(http.Header{"Sec-WebSocket-Protocol": {"chat, switchboard.v1.json, switchboard.v1.pb"}}, "/v1/connect", 101, "switchboard.v1.pb")
	f(http.Header{"Sec-WebSocket-Protocol": {"chat"}}, "/v1/connect", 400, "")
	f(http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate; client_max_window_bits"}}, "/v1/connect", 101, "")
	f(nil, "/v1/connect?token=demo/customer/a", 101, "")
}

// [SW-2.9] A browser's origin is held against the list of the tenant whose token it shows: over sockets and HTTP.
func TestTenantOrigins(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.TenantOrigins = func(tenant string) []string {
			if tenant == "demo" {
				return []string{"https://shop.example"}
			}
			return nil
		}
	})
	f := func(token, origin string, refused bool) {
		t.Helper()
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		ws, resp, err := way.dialer().Dial(way.url("ws")+r.addr+"/v1/connect", header)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		defer ws.Close() //nolint:errcheck // a test's
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`{"id":1,"hello":{"token":"`+token+`"}}`)); err != nil {
			t.Fatal(err)
		}
		_, answer, err := ws.ReadMessage()
		if err != nil || strings.Contains(string(answer), `"forbidden"`) != refused {
			t.Errorf("%s from %q was answered %s, %v", token, origin, answer, err)
		}
		for refused && err == nil {
			_, _, err = ws.ReadMessage()
		}
		if refused && !websocket.IsCloseError(err, int(wire.CloseForbidden)) {
			t.Errorf("%s from %q ended with %v", token, origin, err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, way.url("http")+r.addr+"/v1/sessions/s_0000000000000000/messages", nil)
		req.Header = header
		req.Header.Set("Authorization", "Bearer "+token)
		page, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = page.Body.Close()
		if (page.StatusCode == http.StatusForbidden) != refused {
			t.Errorf("%s from %q: %s", token, origin, page.Status)
		}
	}
	f("demo/customer/a", "", false)
	f("demo/customer/a", "https://shop.example", false)
	f("demo/customer/a", "https://evil.example", true)
	f("other/customer/a", "https://evil.example", false)
}

// A socket that the HTTP server has given away must never be written to under another's name.
func TestAnothersSocket(t *testing.T) {
	r := newRig(t, nil)
	for i := range 60 {
		a := r.login(wire.JSON, fmt.Sprintf("demo/customer/a%d", i))
		secret := a.open()
		old := r.shard.lastConn(wire.VerbOpen)
		left := r.conn(old) // what a careless holder would keep
		_ = a.ws.NetConn().Close()
		b := r.login(wire.JSON, fmt.Sprintf("demo/customer/b%d", i))
		b.open()
		r.shard.say(secret, `"for a alone"`, wire.Public)
		if left != nil {
			left.Put(wire.Envelope{Mail: &wire.Frame{Kind: wire.FrameKeep, PB: byePB(wire.CloseKicked, 0, "")}})
			left.bye(wire.CloseKicked, 0)
		}
		if _, pushed := b.ask(`"leave":{"session":"s_0000000000000000"}`); len(pushed) > 0 {
			t.Fatalf("b got %v", pushed)
		}
		_ = b.ws.Close()
	}
}

// Connections end one way only, however many end at once and however rudely: thousands, as far as the process may have files, of which one has both ends.
func TestThousandsAtOnce(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	n := int(min(4000, max(1000, (files.Cur-min(files.Cur, 500))/3))) //nolint:gosec // bounded
	if n < 4000 {
		t.Logf("%d connections: the process may have %d files", n, files.Cur)
	}
	if way.server != nil {
		n = 1000 // what ends is the same, and a handshake takes a millisecond
	}
	r := newRig(t, nil)
	r.stand() // they do not answer pings
	list := make([]net.Conn, n)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				p := r.login(wire.JSON, fmt.Sprintf("demo/customer/c%d", i))
				p.open()
				list[i] = p.ws.NetConn()
			}
		})
	}
	wg.Wait()
	if got := r.e.Connections(); got != n {
		t.Fatalf("%d connections", got)
	}
	for i, c := range list {
		if i%3 == 0 {
			if s, ok := c.(*tls.Conn); ok {
				c = s.NetConn()
			}
			_ = c.(*net.TCPConn).SetLinger(0) // a reset
		}
		wg.Go(func() { _ = c.Close() })
	}
	wg.Wait()
	eventually(t, "all have ended", func() bool { return r.e.Connections() == 0 })
	r.pass(0)
	eventually(t, "all sessions are told", func() bool {
		r.shard.mu.Lock()
		defer r.shard.mu.Unlock()
		for _, e := range r.shard.sessions {
			if len(e.attached) > 0 {
				return false
			}
		}
		return true
	})
}
