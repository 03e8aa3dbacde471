package edge

import (
	"strconv"
	"sync"

	"switchboard/edge/ws"
	"switchboard/wire"
)

const (
	writeMost  = 64 << 10 // bytes that are gathered before they are written
	writeChunk = 32 << 10 // bytes of one write: what a slow socket must take within Stall
	keepItems  = 256      // a longer batch is not kept for the next writer
	idleItems  = 4        // a longer queue is not kept by an idle connection
)

// buffers is what a writer works with. Connections borrow it while they write.
type buffers struct {
	items   []item
	payload []byte // frames of the message that is being gathered
	frames  int    // in payload
	out     []byte // messages to be written
	sealed  int    // of out, that are TLS records already
	done    int    // bytes of items that have left
}

var spare = sync.Pool{New: func() any { return &buffers{} }}

// write is the writer: it takes all that waits, puts each frame in its place, writes, and ends when nothing is left.
func (c *conn) write() {
	defer c.e.wg.Done()
	b := spare.Get().(*buffers)
	c.w = b
	for c.turn(b) {
	}
	b.giveBack()
}

// giveBack lends b to the next writer, without what an unusual one made it grow to.
func (b *buffers) giveBack() {
	b.trim()
	spare.Put(b)
}

// trim makes b ready for another connection.
func (b *buffers) trim() {
	if cap(b.items) > keepItems {
		b.items = nil
	}
	if cap(b.out) > 2*writeMost || cap(b.payload) > 2*writeMost {
		b.out, b.payload = nil, nil
	}
	mangle(b.out)
	mangle(b.payload)
	b.payload, b.frames, b.done = b.payload[:0], 0, 0
	b.empty()
}

// empty takes note that out has left.
func (b *buffers) empty() { b.out, b.sealed = b.out[:0], 0 }

// turn is one round of the writer. It reports false when nothing waited, and the writer has ended; and in a loop when the
// socket did not take everything.
func (c *conn) turn(b *buffers) bool {
	c.mu.Lock()
	c.bytes -= b.done
	b.done = 0
	b.items, c.queue = c.queue, b.items[:0]
	upTo, lost, poked, closed, feedLost := c.put, c.dropped, c.poked, c.closed, c.feedLost
	c.dropped, c.poked, c.feedLost, c.company.waits = nil, false, false, false
	if len(b.items) == 0 && len(lost) == 0 && !poked && !feedLost {
		c.shorten()
		c.w, c.writer = nil, closed // after its leave, nobody writes any more
		c.mu.Unlock()
		if closed {
			c.leave()
		}
		return false
	}
	c.mu.Unlock()
	for i := range b.items {
		b.done += int(b.items[i].size)
		c.route(b.items[i])
		c.spill()
	}
	clear(b.items)
	c.untold()
	c.missed(lost)
	if feedLost && c.feeds != nil {
		c.feeds.missedFeed()
	}
	if r := c.resume; r != nil && c.e.now() > r.by {
		c.greet(r)
	}
	if !c.ending && !closed {
		c.restore()
		c.lateWatch()
	}
	c.flush()
	if c.seat.full {
		c.park(upTo, closed)
		return false
	}
	c.left(upTo, closed)
	return true
}

// left takes note that everything up to item upTo has left. closed tells that nobody read any more when it was taken.
func (c *conn) left(upTo uint64, closed bool) {
	c.written.Store(upTo)
	if c.resume == nil && !c.ending && !closed {
		c.ask()
		c.askFeeds()
	}
}

// route hands a frame to its place, or to the hello that waits for it.
func (c *conn) route(it item) {
	switch {
	case it.hail != nil:
		c.resume = it.hail
	case it.watch != nil:
		c.feeds = it.watch
	case it.f != nil && !it.own && it.f.ID != 0 && !c.latest(it.f):
	case c.resume != nil:
		c.await(c.resume, it)
	default:
		c.place(it)
	}
}

// encode appends f to the message that is being gathered.
func (c *conn) encode(f *wire.Frame) {
	if c.ending {
		return
	}
	if c.mode == modeSSE {
		c.event(f)
		return
	}
	b := c.w
	before := len(b.payload)
	b.payload = wire.Codec(c.mode).AppendFrame(b.payload, f)
	if len(b.payload) == before {
		return
	}
	c.e.m.framesOut.Inc()
	if b.frames++; b.frames >= c.e.cfg.Limits.Batch || len(b.payload) >= writeChunk {
		c.seal()
	}
}

// seal makes the gathered frames one message [SW-2.5].
func (c *conn) seal() {
	b := c.w
	if len(b.payload) == 0 {
		return
	}
	b.out = ws.AppendHeader(b.out, c.op(), len(b.payload))
	b.out = append(b.out, b.payload...)
	b.payload, b.frames = b.payload[:0], 0
}

func (c *conn) op() ws.Opcode {
	if c.mode == modePB {
		return ws.OpBinary
	}
	return ws.OpText
}

// event writes a push as a server-sent event; the id of an entry is its position, and that of an open the one behind which it goes on [SW-7].
func (c *conn) event(f *wire.Frame) {
	b := c.w
	switch {
	case f.Kind == wire.FrameMessage:
		b.out = appendEventID(b.out, f.Entry.Epoch, f.Entry.Seq)
	case f.ID != 0 || f.PB == nil && f.Kind != wire.FrameDelta:
		return // a stream has no requests
	case f.PB.GetOpen() != nil: // or it would come again with the position that was none
		l := c.lines.get(f.Session)
		b.out = appendEventID(b.out, l.epoch, l.last)
	}
	c.e.m.framesOut.Inc()
	b.out = append(b.out, "data: "...)
	b.payload = wire.JSON.AppendFrame(b.payload[:0], f)
	b.out = append(append(b.out, b.payload...), "\n\n"...)
	b.payload = b.payload[:0]
}

func appendEventID(b []byte, epoch, seq uint64) []byte {
	b = strconv.AppendUint(append(b, "id: "...), epoch, 10)
	b = strconv.AppendUint(append(b, ':'), seq, 10)
	return append(b, '\n')
}

// control appends what does not travel in a message of ours.
func (c *conn) control(f *wire.Frame) {
	if c.ending {
		return
	}
	c.seal()
	b := c.w
	if c.mode == modeSSE {
		switch f.Kind {
		case framePing:
			b.out = append(b.out, ":\n\n"...)
		case frameClose:
			c.ending = true
		default:
		}
		return
	}
	switch f.Kind {
	case framePing:
		c.pinged.Store(c.e.now())
		b.out = ws.AppendHeader(b.out, c.op(), 0)
	case framePong:
		b.out = ws.AppendPong(b.out, []byte(f.Text))
	default:
		code := uint16(f.Seq) //nolint:gosec // a close code
		if !ws.ValidCode(code) {
			code = ws.CodeNormal
		}
		b.out = ws.AppendClose(b.out, code, f.Text)
		c.ending = true
	}
}

// sayBye tells why, and closes [SW-6.2].
func (c *conn) sayBye(f *wire.Frame) {
	code := wire.CloseCode(f.Seq) //nolint:gosec // a close code
	c.byeAt.CompareAndSwap(0, c.e.now())
	c.encode(&wire.Frame{Kind: wire.FrameKeep, PB: byePB(code, f.TS, f.Text)})
	c.control(&wire.Frame{Kind: frameClose, Seq: uint64(code), Text: code.String()})
}

// spill writes when much is gathered, so that a long batch does not have to be held twice.
func (c *conn) spill() {
	if len(c.w.out)+len(c.w.payload) > writeMost {
		c.flush()
	}
}

// flush writes what is gathered. After a close frame the sending side is shut, and the peer has a moment to do the same.
func (c *conn) flush() {
	c.seal()
	rest := c.w.out
	if len(rest) == 0 && (c.tls == nil || c.tls.Unsealed() == 0) {
		return
	}
	if c.loop != nil {
		c.offer()
		return
	}
	c.w.out = rest[:0]
	for len(rest) > 0 {
		n := min(len(rest), writeChunk)
		c.writing.Store(c.e.now())
		if _, err := c.src.sock.Write(rest[:n]); err != nil {
			c.ending = true
			c.cut() // the reader ends
			break
		}
		rest = rest[n:]
	}
	c.writing.Store(0)
	c.lastWrite.Store(c.e.now())
	if c.ending {
		if half, ok := c.src.sock.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		c.hurry()
	}
}

// leave tells every shard that the connection is gone, and lets go of the socket. The last writer does it, once.
func (c *conn) leave() {
	who := c.who.Load()
	for l := range c.lines.all() {
		c.e.gone(c.id, who, l.id)
	}
	c.mu.Lock()
	pending := c.pending
	c.pending = nil // whoever looks after deadlines may still come by, and strike what is late
	c.mu.Unlock()
	unknown := false
	for r := range pending.all() {
		switch {
		case r.verb == wire.VerbOpen && r.session == "":
			unknown = true
		case (follows(r.verb) || r.verb == wire.VerbTake) && c.lines.get(r.session) == nil:
			c.e.gone(c.id, who, r.session)
		}
	}
	if c.watching.Load() {
		for _, slot := range c.e.x.Shards(who.Tenant) {
			c.e.postGone(wire.Envelope{To: wire.ToSlot(slot), Mail: &wire.Command{Verb: wire.VerbGone, Conn: c.id, Who: who}})
		}
	}
	if c.subscribed.Load() {
		c.e.postGone(wire.Envelope{
			To:   wire.ToSlot(c.e.x.PoolSlot(who.Tenant)),
			Mail: &wire.Command{Verb: wire.VerbGone, Conn: c.id, Who: who},
		})
	}
	if unknown {
		c.e.adopt(c.id, who)
	} else {
		c.e.x.UnplugConn(c.id.ID)
	}
	c.letGo()
	c.e.forget(c)
	if c.loop != nil {
		c.e.wg.Done() // as read does
	}
}
