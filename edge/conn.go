package edge

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/edge/ws"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// mode is what a connection speaks.
type mode uint8

const (
	modeJSON mode = mode(wire.JSON)
	modePB   mode = mode(wire.Protobuf)
	modeSSE  mode = 2
)

// conn is one socket.
type conn struct {
	// Fixed after accept.
	e        *Edge
	sock     net.Conn
	mode     mode
	id       wire.Conn
	accepted time.Time

	// Owned by read.
	dec     ws.Decoder
	buf     []byte // what was read and not taken; nil while idle
	token   string // of the upgrade
	who     *wire.Principal
	rate    bucket
	refused map[wire.SessionID]uint64 // sessions whose requests are refused until that answer is written [SW-4.2]

	// Owned by write, of which there is at most one at a time.
	follows map[wire.SessionID]*follow
	owns    map[wire.SessionID]*own
	batch   []*wire.Frame
	payload []byte
	frames  int // in payload
	out     []byte
	page    uint64 // numbers the requests for pages
	gone    bool
	ending  bool // a close frame is in out

	// Shared.
	lastRead, lastWrite atomic.Int64 // Unix ms
	writing             atomic.Int64 // since when a write has been under way; 0 when none is
	pinged              atomic.Int64 // when an unanswered ping was sent
	written             atomic.Uint64
	followed            atomic.Int64
	subscribed          atomic.Bool
	greeted             atomic.Bool
	expires             atomic.Int64

	mu sync.Mutex
	// Guarded by mu.
	queue    []*wire.Frame
	queued   int    // bytes in queue, about
	put      uint64 // frames ever queued
	writer   bool   // a writer runs
	closed   bool   // no more frames: the reader has ended
	again    bool   // the writer shall ask again now,
	askLater bool   // or at the next tick
	dropped  map[wire.SessionID]*loss
	pending  map[uint64]request
	resume   *resume
}

// loss is what a full outbox dropped of a session.
type loss struct {
	pushes  bool   // messages, deltas
	ae, seq uint64 // the first delivery
}

// request is an unanswered request.
type request struct {
	at   int64
	verb wire.Verb
}

// resume is a hello whose sessions have not all answered [SW-3.2].
type resume struct {
	reply    *wirepb.ServerFrame
	left     int
	by       int64
	sessions []wire.SessionID
	held     []*wire.Frame // what came for them meanwhile
}

// Requests that the edge makes itself have ids that no client can use.
const (
	idResume = 1 << 63
	idPage   = 1 << 62
)

// bucket is a token bucket.
type bucket struct {
	tokens float64
	at     time.Time
}

func (b *bucket) take(now time.Time, rate float64, burst int) bool {
	if b.at.IsZero() {
		b.tokens, b.at = float64(burst), now
	}
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*rate, float64(burst))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Put takes mail for the socket. It never blocks.
func (c *conn) Put(e wire.Envelope) bool {
	f, ok := e.Mail.(*wire.Frame)
	if !ok {
		return true // no other mail has business here
	}
	c.enqueue(f)
	return true
}

func droppable(k wire.FrameKind) bool {
	switch k {
	case wire.FrameMessage, wire.FrameDelivery, wire.FrameDelta, wire.FramePush:
		return true
	}
	return false
}

// enqueue puts f into the outbox, or notes that it was dropped, and wakes the writer. It returns the number of f.
func (c *conn) enqueue(f *wire.Frame) uint64 {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0
	}
	size := frameSize(f)
	if droppable(f.Kind) && (c.queued+size > c.e.cfg.Outbox || c.lossOf(f) != nil) {
		c.drop(f)
		c.mu.Unlock()
		return 0
	}
	if c.queued+size > 4*c.e.cfg.Outbox {
		c.mu.Unlock()
		c.abort(wire.CloseSlow)
		return 0
	}
	c.queue = append(c.queue, f)
	c.queued += size
	c.put++
	n := c.put
	start := !c.writer
	c.writer = true
	if start {
		c.e.wg.Add(1)
	}
	c.mu.Unlock()
	if start {
		go c.write()
	}
	return n
}

// wake starts the writer although nothing was queued. again says that it has something to ask once more.
func (c *conn) wake(again bool) {
	c.mu.Lock()
	c.again = c.again || again
	start := !c.writer
	c.writer = true
	if start {
		c.e.wg.Add(1)
	}
	c.mu.Unlock()
	if start {
		go c.write()
	}
}

// lossOf returns what was dropped before f of what f continues. It needs mu.
func (c *conn) lossOf(f *wire.Frame) *loss {
	l := c.dropped[f.Session]
	if l == nil || f.Kind == wire.FrameDelivery && l.seq == 0 || f.Kind != wire.FrameDelivery && !l.pushes {
		return nil
	}
	return l
}

// drop notes what f was. It needs mu.
func (c *conn) drop(f *wire.Frame) {
	c.e.m.dropped.Inc()
	if f.Kind == wire.FramePush {
		return // ephemeral: nobody asks for it again
	}
	l := c.dropped[f.Session]
	if l == nil {
		l = &loss{}
		if c.dropped == nil {
			c.dropped = map[wire.SessionID]*loss{}
		}
		c.dropped[f.Session] = l
	}
	if f.Kind != wire.FrameDelivery {
		l.pushes = true
		return
	}
	if l.seq == 0 || f.AE > l.ae || f.AE == l.ae && f.Entry.Seq < l.seq {
		l.ae, l.seq = f.AE, f.Entry.Seq
	}
}

func frameSize(f *wire.Frame) int {
	n := 160 + len(f.Text)
	if f.Entry != nil {
		n += len(f.Entry.Body)
	}
	for _, e := range f.Entries {
		n += len(e.Body) + 160
	}
	if f.PB != nil {
		n += 512
	}
	return n
}

// bye says why the connection will be closed, and closes it when that is written [SW-6.2].
func (c *conn) bye(code wire.CloseCode, afterMS int64) {
	c.enqueue(&wire.Frame{Kind: wire.FrameBye, Seq: uint64(code), TS: afterMS})
}

// abort ends a connection that takes nothing any more.
func (c *conn) abort(code wire.CloseCode) {
	c.e.m.closed.WithLabelValues(code.String()).Inc()
	_ = c.sock.Close()
}

// tick looks at the connection's deadlines.
func (c *conn) tick(now time.Time) {
	ms := now.UnixMilli()
	cfg := &c.e.cfg
	if since := c.writing.Load(); since != 0 && ms-since > cfg.Stall.Milliseconds() {
		c.abort(wire.CloseSlow) // [SW-4.7]
		return
	}
	if !c.greeted.Load() {
		if now.Sub(c.accepted) > cfg.Hello {
			c.bye(wire.CloseNoHello, 0) // [SW-2.8]
			c.hurry(now)
		}
		return
	}
	if at := c.expires.Load(); at != 0 && ms >= at {
		c.bye(wire.CloseTokenExpired, 0)
		c.hurry(now)
		return
	}
	c.checkPing(ms)
	c.checkRequests(ms)
}

// hurry closes a connection that does not answer a close frame by itself.
func (c *conn) hurry(now time.Time) { _ = c.sock.SetReadDeadline(now.Add(time.Second)) }

// checkPing sends what keeps a quiet connection alive, and ends one that is dead [SW-2.6].
func (c *conn) checkPing(ms int64) {
	if c.mode == modeSSE { // nobody answers on an event stream: a dead peer is found by the write that stalls
		if ms-c.lastWrite.Load() >= c.e.cfg.Ping.Milliseconds() {
			c.enqueue(&wire.Frame{Kind: framePing})
		}
		return
	}
	read := c.lastRead.Load()
	if at := c.pinged.Load(); at != 0 {
		switch {
		case read >= at:
			c.pinged.Store(0)
		case ms-at > c.e.cfg.Pong.Milliseconds():
			c.pinged.Store(ms + 1<<40) // once
			c.bye(wire.CloseNoPong, 0)
			c.hurry(c.e.cfg.Now())
		}
		return
	}
	ping := c.e.cfg.Ping.Milliseconds()
	if ms-c.lastWrite.Load() >= ping || ms-read >= ping {
		c.pinged.Store(ms)
		c.enqueue(&wire.Frame{Kind: framePing})
	}
}

// framePing is a frame of the edge's own: an empty message.
const framePing wire.FrameKind = 255

// checkRequests answers what nobody has answered in time.
func (c *conn) checkRequests(ms int64) {
	c.mu.Lock()
	var late []uint64
	for id, r := range c.pending {
		if ms-r.at > c.e.cfg.Answer.Milliseconds() {
			late = append(late, id)
		}
	}
	again := c.askLater
	c.askLater = false
	if r := c.resume; r != nil && ms > r.by {
		again = true
	}
	c.mu.Unlock()
	for _, id := range late {
		c.answer(&wire.Frame{Kind: wire.FrameError, ID: id, Err: wire.Refuse(wire.Deadline)})
	}
	if again {
		c.wake(true)
	}
}

// answer queues a reply of the edge's own, and returns its number.
func (c *conn) answer(f *wire.Frame) uint64 { return c.enqueue(f) }
