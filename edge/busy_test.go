package edge

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/edge/ws"
	"switchboard/exchange"
	"switchboard/wire"
)

// What is read from a busy socket ends in the middle of a message every time. As long as messages come to their end none of them
// is one that never does [SW-4.7].
func TestAlwaysInTheMiddle(t *testing.T) {
	var now atomic.Int64 // the edge looks at its connections meanwhile
	now.Store(time.Now().UnixNano())
	c, _, _ := bare(t, wire.JSON, wire.RoleWorker, func(cfg *Config) { cfg.Now = func() time.Time { return time.Unix(0, now.Load()) } })
	c.writer = true
	msg := ws.AppendMasked(nil, ws.OpText, []byte(`{"leave":{"session":"nowhere"}}`), [4]byte{1, 2, 3, 4})
	feed := func(b []byte) {
		t.Helper()
		if c.part != nil {
			b, c.part = append(c.part, b...), nil
		}
		if !c.take(b) {
			t.Fatal("the connection has ended")
		}
	}
	feed(msg[:9])
	for range 10 {
		now.Add(int64(c.e.cfg.Stall / 2))
		feed(append(append([]byte(nil), msg[9:]...), msg[:9]...))
		c.heard()
		c.watch(c.e.now())
		if c.byeAt.Load() != 0 {
			t.Fatal("it was closed as slow")
		}
	}
	// One that does not is not waited for.
	for range 3 {
		now.Add(int64(c.e.cfg.Stall / 2))
		c.heard()
		c.watch(c.e.now())
	}
	if c.byeAt.Load() == 0 {
		t.Fatal("a message that never ends is waited for")
	}
}

// An edge that is closed at once, before or after it began to serve, serves nothing any more.
func TestServeAfterClose(t *testing.T) {
	for range 50 {
		e, err := Open(exchange.New(7), Config{Tokens: plain{}, Loops: way.loops, TLS: way.server})
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- e.Serve(ln) }()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		if _, err := ln.Accept(); err == nil {
			t.Fatal("the listener is open")
		}
	}
}

// [SW-6.3] One worker does not take the desks of all others, and a desk that ends makes room.
func TestDesksOfOneWorker(t *testing.T) {
	r := newRig(t, nil)
	who := func(i int) *wire.Principal {
		return &wire.Principal{Tenant: "demo", Sub: "bot", Worker: "bot/" + uintString(uint64(i))}
	}
	for i := range desksEach {
		if _, err := r.e.deskOf(who(i), true); err != nil {
			t.Fatalf("instance %d: %v", i, err)
		}
	}
	if _, err := r.e.deskOf(who(desksEach), true); err == nil || err.Slug != wire.QuotaExceeded {
		t.Fatalf("one instance too many: %v", err)
	}
	if _, err := r.e.deskOf(&wire.Principal{Tenant: "demo", Sub: "other", Worker: "other"}, true); err != nil {
		t.Fatalf("another worker: %v", err)
	}
	d, _ := r.e.deskOf(who(0), false)
	r.e.closeDesk(d, wire.Refuse(wire.StaleAssignment))
	r.e.closeDesk(d, wire.Refuse(wire.StaleAssignment))
	if _, err := r.e.deskOf(who(desksEach), true); err != nil {
		t.Fatalf("behind one that ended: %v", err)
	}
	if _, err := r.e.deskOf(who(desksEach+1), true); err == nil {
		t.Fatal("a desk that ended twice made room for two")
	}
}
