package edge

import (
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"switchboard/edge/secure"
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

// showing is what the request that became a connection showed.
type showing struct{ token, origin string }

// conn is one socket. What read and write own is its loop's alone, when it has one. Most of them are idle, so its size is what the node
// pays for each: numbers that are bounded are short, and small fields stand together (TestConnIsSmall).
type conn struct {
	// Fixed after accept.
	e    *Edge
	src  *source      // the socket; nil when a loop serves it
	tls  *secure.Conn // what a loop speaks on it; nil is plain
	loop *loop        // nil when goroutines of its own do
	id   wire.Conn
	ip   *string // counted against PerIP; nil when that is off
	mode mode

	// Fixed before greeted.
	often bool // pinged as a worker is; its role is elsewhere, and would have to be fetched four times a second

	// Guarded by its stripe's mu.
	spot int32 // in stripe.conns

	// Owned by read.
	dec     ws.Decoder
	part    []byte   // a message that is not whole yet; nil while idle
	asked   *showing // nil after hello
	rate    bucket
	refused map[wire.SessionID]refusal // sessions whose requests are refused for now [SW-4.2]
	abuse   int32                      // requests refused as too fast since the last that was not

	// Owned by write, of which there is at most one at a time.
	ending bool // a close frame is written: nothing follows it
	w      *buffers
	needs  []*line // that wait for a page or a resync
	paging *line   // whose page is on its way
	resume *resume // a hello that is not answered yet
	feeds  *watching
	rare   *rare // nil as a rule

	seat seat // in the loop

	// Shared.
	who        atomic.Pointer[wire.Principal]
	lastRead   atomic.Int64 // Unix ms
	lastWrite  atomic.Int64
	partial    atomic.Int64 // since when part waits for its rest; 0 when nothing does
	writing    atomic.Int64 // since when a write has made no progress; 0 when none is under way
	pinged     atomic.Int64 // when an unanswered ping was sent
	written    atomic.Uint64
	expires    atomic.Int64 // until when it may stay: for its hello, then as long as its token
	byeAt      atomic.Int64 // when the end was decided
	askAt      atomic.Int64 // when the writer is to ask again what it asked
	feedAt     atomic.Int64 // when the writer is to ask the feeds again
	watching   atomic.Bool
	subscribed atomic.Bool
	seen       atomic.Uint64 // changes of the exchange that the writer has looked at
	restless   atomic.Bool   // something waits for an owner
	unanswered atomic.Int32  // how many are pending
	ousted     atomic.Bool   // another connection has subscribed as this worker
	greeted    atomic.Bool

	mu sync.Mutex
	// Guarded by mu.
	queue       []item
	bytes       int    // that wait or are being written, about
	put         uint64 // items ever queued
	dropped     map[wire.SessionID]*loss
	company     company
	pending     *requests        // nil as long as nothing ever was
	flights     map[lane]*flight // of lanes that have no line
	spareFlight *flight
	lastReq     uint64
	kept        int32 // bytes of pending, about
	inflight    int32 // pending requests that the client waits for
	opens       int32 // pending requests to open
	writer      bool  // a writer runs
	poked       bool  // the writer shall look around although nothing was queued
	closed      bool  // the reader has ended: nothing more is taken
	feedLost    bool  // a piece of a feed was dropped

	// Changed by write under mu, so that write reads it without and everybody else with it.
	lines    lines
	standing *standing // of a worker who has subscribed
}

// item is a frame in the outbox.
type item struct {
	f    *wire.Frame
	term uint64 // of the shard that sent it; 0 of the edge's own
	size int32
	own  bool    // the edge's own reply: its id is the client's, and no request waits for it
	hail *resume // a hello whose sessions are being asked
	// refused is the line of a resume, from 1, that nobody could be asked for.
	refused int
	// watch is what the connection watches from now on.
	watch *watching
}

// loss is what a full outbox dropped of a session.
type loss struct {
	entries bool
	deltas  bool
	ae, seq uint64 // the first delivery
}

// The edge's own kinds of frames.
const (
	framePing  wire.FrameKind = 255 - iota // an empty message, or a comment of an event stream
	framePong                              // answers a ping of RFC 6455; Text is its payload
	frameClose                             // a close frame; Seq is its code, Text its reason
)

// Put takes mail for the socket. It never blocks.
func (c *conn) Put(e wire.Envelope) bool {
	if f, ok := e.Mail.(*wire.Frame); ok {
		c.enqueue(item{f: f, term: e.Term})
	}
	return true // no other mail has business here
}

func droppable(k wire.FrameKind) bool {
	switch k {
	case wire.FrameMessage, wire.FrameDelivery, wire.FrameDelta, wire.FramePush, wire.FramePage, wire.FrameFeed:
		return true
	}
	return false
}

// enqueue puts it into the outbox, or notes that it was dropped, and wakes the writer. It returns the number of the item.
func (c *conn) enqueue(it item) uint64 {
	it.size = int32(min(frameSize(it.f), 1<<30)) //nolint:gosec // bounded
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0
	}
	full := c.bytes > 0 && c.bytes+int(it.size) > c.e.cfg.Outbox
	if droppable(it.f.Kind) && (full || len(c.dropped) > 0 && c.follows(it.f)) {
		c.drop(it.f)
		c.mu.Unlock()
		return 0
	}
	if c.bytes > 0 && c.bytes+int(it.size) > c.outboxMost() {
		c.mu.Unlock()
		c.abort(wire.CloseSlow)
		return 0
	}
	if l := c.dropped[it.f.Session]; l != nil && it.f.Kind == wire.FrameResync && l.ae == it.f.AE && l.seq >= it.f.Seq {
		l.seq = 0 // it comes again, right behind
	}
	if len(c.queue) == idleItems && cap(c.queue) == idleItems {
		c.queue = append(queues.Get().(*[queueItems]item)[:0], c.queue...)
	}
	c.queue = append(c.queue, it)
	c.bytes += int(it.size)
	c.put++
	n := c.put
	if c.alone(&it) {
		at, most := c.company.at, c.company.patience(c.e.cfg.AckDelay)
		c.mu.Unlock()
		c.loop.wait(c, at, most)
		return n
	}
	start := c.begin()
	c.mu.Unlock()
	if start {
		c.start()
	}
	return n
}

// queueItems is the room of a queue that several frames wait in: it is lent, and given back when they have left.
const queueItems = 32

var queues = sync.Pool{New: func() any { return new([queueItems]item) }}

// shorten gives back the room of an empty queue that was longer than an idle connection may keep. It needs mu.
func (c *conn) shorten() {
	if cap(c.queue) <= idleItems {
		return
	}
	if cap(c.queue) == queueItems {
		queues.Put((*[queueItems]item)(c.queue[:queueItems]))
	}
	c.queue = nil
}

// At how many times Outbox a connection is closed when something does not fit that nobody asks for again: replies, and what a
// worker is assigned. A worker may be given 10,000 sessions within a moment, of some KB each.
const (
	outboxMax       = 4
	outboxMaxWorker = 64
)

// outboxMost is how many bytes may wait for the socket.
func (c *conn) outboxMost() int {
	if who := c.who.Load(); who != nil && who.Role != wire.RoleCustomer {
		return outboxMaxWorker * c.e.cfg.Outbox
	}
	return outboxMax * c.e.cfg.Outbox
}

// wake lets the writer look around although nothing was queued.
func (c *conn) wake() {
	c.mu.Lock()
	c.poked = true
	start := c.begin()
	c.mu.Unlock()
	if start {
		c.start()
	}
}

// begin tells whether a writer is to be started. It needs mu.
func (c *conn) begin() bool {
	if c.writer {
		return false
	}
	c.writer = true
	if c.loop == nil {
		c.e.wg.Add(1)
	}
	return true
}

// start lets somebody write, as begin said: the connection's loop, or a goroutine.
func (c *conn) start() {
	if c.loop != nil {
		c.loop.mark(c)
		return
	}
	go c.write()
}

// follows tells whether f continues something that was dropped. It needs mu.
func (c *conn) follows(f *wire.Frame) bool {
	l := c.dropped[f.Session]
	if l == nil {
		return false
	}
	switch f.Kind {
	case wire.FrameMessage:
		return l.entries
	case wire.FrameDelta:
		return l.deltas
	case wire.FrameDelivery:
		return l.seq != 0
	}
	return false
}

// drop notes what f was. It needs mu.
func (c *conn) drop(f *wire.Frame) {
	c.e.m.dropped.Inc()
	if f.Kind == wire.FrameFeed {
		c.feedLost = true
		return
	}
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
	switch f.Kind {
	case wire.FrameDelta:
		l.deltas = true
	case wire.FrameDelivery:
		if l.seq == 0 || f.AE > l.ae || f.AE == l.ae && f.Entry.Seq < l.seq {
			l.ae, l.seq = f.AE, f.Entry.Seq
		}
	default: // a page that does not fit any more is asked for again as well
		l.entries = true
	}
}

// frameSize is about how many bytes f keeps alive.
func frameSize(f *wire.Frame) int {
	n := 160 + len(f.Text)
	if f.Entry != nil {
		n += len(f.Entry.Body)
	}
	if f.Kind == wire.FramePage {
		return n // the entries are shared, and one page at a time is asked for, by an empty outbox
	}
	if f.PB != nil {
		n += proto.Size(f.PB)
	}
	return n
}

// reply queues an answer of the edge's own to the client's request id, and returns its number.
func (c *conn) reply(id uint64, f *wire.Frame) uint64 {
	if id == 0 {
		return 0
	}
	f.ID = id
	return c.enqueue(item{f: f, own: true})
}

// push queues a frame of the edge's own.
func (c *conn) push(f *wire.Frame) { c.enqueue(item{f: f, own: true}) }

// bye says why the connection will be closed, and closes it when that is written [SW-6.2]. Only the first counts.
func (c *conn) bye(code wire.CloseCode, afterMS int64) { c.byeTo(code, afterMS, "") }

// byeTo is bye with the URL of another node, to which the client shall go.
func (c *conn) byeTo(code wire.CloseCode, afterMS int64, to string) {
	if !c.byeAt.CompareAndSwap(0, c.e.now()) {
		return
	}
	c.e.m.closed.WithLabelValues(code.String()).Inc()
	c.push(&wire.Frame{Kind: wire.FrameBye, Seq: uint64(code), TS: afterMS, Text: to})
}

// closeFrame closes with one of RFC 6455's own codes.
func (c *conn) closeFrame(code uint16, reason string) {
	c.byeAt.CompareAndSwap(0, c.e.now())
	c.push(&wire.Frame{Kind: frameClose, Seq: uint64(code), Text: reason})
}

// fault closes a connection whose client breaks RFC 6455, or says more than anybody may.
func (c *conn) fault(code uint16, reason string) {
	if c.byeAt.Load() == 0 {
		c.e.m.closed.WithLabelValues(faults[code]).Inc()
	}
	c.closeFrame(code, reason)
}

// faults are the reasons by which closes with RFC 6455's own codes are counted.
var faults = map[uint16]string{ws.CodeProtocol: "protocol_error", ws.CodeInvalid: "invalid_text", ws.CodeTooBig: "too_big"}

// abort ends a connection that takes nothing any more.
func (c *conn) abort(code wire.CloseCode) {
	if c.byeAt.CompareAndSwap(0, c.e.now()) {
		c.e.m.closed.WithLabelValues(code.String()).Inc()
	}
	c.cut()
}

// cut ends the socket at once, whoever reads or writes it.
func (c *conn) cut() {
	if c.loop != nil {
		c.loop.cut(c)
		return
	}
	_ = below(c.src.sock).Close() // TLS would wait to say goodbye
}

// letGo gives the descriptor back. Nobody reads or writes any more.
func (c *conn) letGo() {
	if c.loop != nil {
		c.loop.unseat(c)
		return
	}
	_ = below(c.src.sock).Close()
}

func byePB(code wire.CloseCode, afterMS int64, to string) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Bye{Bye: &wirepb.Bye{
		Code: uint32(code), Reason: code.String(), Reconnect: code.Reconnect(), AfterMs: afterMS, To: to,
	}}}
}
