package edge

import (
	"net"
	"strconv"

	"switchboard/edge/ws"
	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

const (
	writeMost  = 64 << 10 // bytes that are gathered for one write
	keepBuffer = 8 << 10  // a larger buffer is let go of when nothing waits
)

// write is the writer: it takes all that waits, puts each frame in its place, writes, and ends when nothing is left.
func (c *conn) write() {
	defer c.e.wg.Done()
	for {
		c.mu.Lock()
		c.batch, c.queue = c.queue, c.batch[:0]
		c.queued = 0
		upTo := c.put
		lost := c.dropped
		c.dropped = nil
		again, resume := c.again, c.resume
		c.again = false
		if len(c.batch) == 0 && len(lost) == 0 && !again {
			if c.closed {
				c.mu.Unlock()
				c.leave()
				c.mu.Lock()
			}
			c.writer = false
			c.batch, c.queue = nil, nil
			if cap(c.out) > keepBuffer {
				c.out, c.payload = nil, nil
			}
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, f := range c.batch {
			c.settle(f)
			if resume != nil {
				resume = c.await(resume, f)
				continue
			}
			c.place(f)
			if len(c.out)+len(c.payload) > writeMost {
				c.flush()
			}
		}
		clear(c.batch)
		if resume != nil && again && c.greet(resume, c.e.cfg.Now().UnixMilli()) {
			c.endResume()
		}
		c.recover(lost)
		if again {
			c.ask()
		}
		c.flush()
		c.written.Store(upTo)
	}
}

// await holds f back while hello has not been answered. It returns the resume that is still under way.
func (c *conn) await(r *resume, f *wire.Frame) *resume {
	switch {
	case c.resumed(r, f):
		if c.greet(r, c.e.cfg.Now().UnixMilli()) {
			c.endResume()
			return nil
		}
	case f.Kind == wire.FrameBye || f.Kind == frameClose || f.Kind == framePing:
		c.place(f)
	default:
		r.held = append(r.held, f)
	}
	return r
}

func (c *conn) endResume() {
	c.mu.Lock()
	c.resume = nil
	c.mu.Unlock()
}

// settle takes an answered request off the list of those that wait.
func (c *conn) settle(f *wire.Frame) {
	if f.ID == 0 || f.ID >= idPage {
		return
	}
	c.mu.Lock()
	delete(c.pending, f.ID)
	c.mu.Unlock()
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
	before := len(c.payload)
	c.payload = wire.Codec(c.mode).AppendFrame(c.payload, f)
	if len(c.payload) > before {
		c.e.m.framesOut.Inc()
		if c.frames++; c.frames >= c.e.cfg.Limits.Batch || len(c.payload) > c.e.cfg.Limits.Frame {
			c.seal()
		}
	}
}

// seal makes the gathered frames one message.
func (c *conn) seal() {
	if len(c.payload) == 0 {
		return
	}
	op := ws.OpText
	if c.mode == modePB {
		op = ws.OpBinary
	}
	c.out = ws.AppendHeader(c.out, op, len(c.payload))
	c.out = append(c.out, c.payload...)
	c.payload, c.frames = c.payload[:0], 0
}

// event writes an entry as a server-sent event, whose id is its position [SW-7].
func (c *conn) event(f *wire.Frame) {
	switch {
	case f.Kind == wire.FrameMessage:
		c.out = append(c.out, "id: "...)
		c.out = strconv.AppendUint(c.out, f.Entry.Epoch, 10)
		c.out = append(c.out, ':')
		c.out = strconv.AppendUint(c.out, f.Entry.Seq, 10)
		c.out = append(c.out, "\ndata: "...)
	case f.PB != nil && f.ID == 0 || f.Kind == wire.FrameDelta:
		c.out = append(c.out, "data: "...)
	default:
		return
	}
	c.out = append(c.out, wire.JSON.AppendFrame(nil, f)...)
	c.out = append(c.out, "\n\n"...)
}

// control appends a frame that does not travel in a message of ours.
func (c *conn) control(f *wire.Frame) {
	if c.ending {
		return
	}
	c.seal()
	if c.mode == modeSSE {
		if f.Kind == framePing {
			c.out = append(c.out, ":\n\n"...)
		} else if f.Kind != framePong {
			c.ending = true
		}
		return
	}
	switch f.Kind {
	case framePing:
		op := ws.OpText
		if c.mode == modePB {
			op = ws.OpBinary
		}
		c.out = ws.AppendHeader(c.out, op, 0)
	case framePong:
		c.out = ws.AppendPong(c.out, []byte(f.Text))
	case frameClose:
		code := uint16(f.Seq) //nolint:gosec // a close code
		if !ws.ValidCode(code) {
			code = ws.CodeNormal
		}
		c.out = ws.AppendClose(c.out, code, f.Text)
		c.ending = true
	}
}

// sayBye tells why, and closes [SW-6.2].
func (c *conn) sayBye(f *wire.Frame) {
	code := wire.CloseCode(f.Seq) //nolint:gosec // a close code
	c.e.m.closed.WithLabelValues(code.String()).Inc()
	c.encode(&wire.Frame{Kind: wire.FrameKeep, PB: &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Bye{Bye: &wirepb.Bye{
		Code: uint32(code), Reason: code.String(), Reconnect: code.Reconnect(), AfterMs: f.TS,
	}}}})
	c.control(&wire.Frame{Kind: frameClose, Seq: uint64(code), Text: code.String()})
}

// flush writes what is gathered. After a close frame the socket's sending side is shut, and the peer has a second.
func (c *conn) flush() {
	c.seal()
	if len(c.out) == 0 {
		return
	}
	c.writing.Store(c.e.cfg.Now().UnixMilli())
	_, err := c.sock.Write(c.out)
	c.writing.Store(0)
	c.lastWrite.Store(c.e.cfg.Now().UnixMilli())
	c.out = c.out[:0]
	switch {
	case err != nil:
		_ = c.sock.Close() // the reader ends
	case c.ending:
		if half, ok := c.sock.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		c.hurry(c.e.cfg.Now())
	}
}

// leave tells every shard that the connection is gone, and lets go of the socket. The writer does it once, last.
func (c *conn) leave() {
	if c.gone {
		return
	}
	c.gone = true
	for id := range c.follows {
		if _, slot, ok := id.Place(); ok {
			_ = c.e.x.Post(wire.Envelope{To: wire.ToSlot(slot), Mail: &wire.Command{Verb: wire.VerbGone, Conn: c.id, Who: c.who, Session: id}})
		}
	}
	if c.subscribed.Load() {
		_ = c.e.x.Post(wire.Envelope{To: wire.ToSlot(exchange.PoolSlot(c.who.Tenant)), Mail: &wire.Command{Verb: wire.VerbGone, Conn: c.id, Who: c.who}})
	}
	linger(c.sock, c.ending)
	c.e.forget(c)
}

// linger closes the socket. A peer that was told to go has read it when it closed its own side.
func linger(sock net.Conn, told bool) {
	if t, ok := sock.(*net.TCPConn); ok && !told {
		_ = t.SetLinger(-1)
	}
	_ = sock.Close()
}
