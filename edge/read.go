package edge

import (
	"errors"
	"time"

	"switchboard/edge/ws"
	"switchboard/wire"
)

// read is the reader: bytes in, commands on. It ends with the socket.
func (c *conn) read() {
	defer c.e.wg.Done()
	defer c.end()
	if c.token != "" && !c.authenticate(c.token) {
		c.lastWords()
		return
	}
	limit := maxMessage * c.e.cfg.Limits.Frame
	if c.mode == modeSSE {
		c.discard()
		return
	}
	for {
		n, ok := c.take(limit)
		if !ok {
			c.lastWords()
			return
		}
		c.buf = c.buf[n:]
		if !c.fill() {
			return
		}
	}
}

// take takes every whole message off the buffer. It returns how many bytes that were, and whether to go on.
func (c *conn) take(limit int) (n int, ok bool) {
	for {
		m, used, err := c.dec.Next(c.buf[n:], limit)
		n += used
		if err != nil {
			var fault ws.Error
			errors.As(err, &fault)
			c.closeFrame(fault.Code(), fault.Error())
			return n, false
		}
		switch m.Op {
		case 0:
			return n, true
		case ws.OpText, ws.OpBinary:
			if !c.message(m.Op, m.Payload) {
				return n, false
			}
		case ws.OpPing:
			c.enqueue(&wire.Frame{Kind: framePong, Text: string(m.Payload)})
		case ws.OpClose:
			code, _ := m.Closing()
			c.closeFrame(code, "")
			return n, false
		case ws.OpPong:
		}
	}
}

// framePong answers a ping of the WebSocket protocol itself.
const framePong wire.FrameKind = 254

// frameClose is a close frame: Seq is its code, Text its reason.
const frameClose wire.FrameKind = 253

func (c *conn) closeFrame(code uint16, reason string) {
	c.enqueue(&wire.Frame{Kind: frameClose, Seq: uint64(code), Text: reason})
}

const readSize = 4096

// fill reads more. While nothing comes the connection holds no buffer but a few bytes of its own.
func (c *conn) fill() bool {
	if len(c.buf) == 0 {
		c.buf = nil
		var first [512]byte // on this goroutine's stack, which is there anyway
		n, err := c.sock.Read(first[:])
		if n > 0 {
			c.buf = append(make([]byte, 0, sizeFor(n)), first[:n]...)
		}
		return c.got(n, err)
	}
	if need := len(c.buf) + readSize; cap(c.buf) < need {
		grown := make([]byte, len(c.buf), max(need, 2*len(c.buf)))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.sock.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	return c.got(n, err)
}

// sizeFor leaves room behind a full first read: more is on its way.
func sizeFor(n int) int {
	if n == 512 {
		return readSize
	}
	return n
}

func (c *conn) got(n int, err error) bool {
	if n > 0 {
		c.lastRead.Store(c.e.cfg.Now().UnixMilli())
	}
	return err == nil || n > 0
}

// lastWords gives the peer a moment to read why it is closed: a socket that is closed with something unread is reset,
// and what was written is lost with it.
func (c *conn) lastWords() {
	c.hurry(c.e.cfg.Now())
	c.discard()
}

func (c *conn) discard() {
	var b [512]byte
	for {
		n, err := c.sock.Read(b[:])
		if !c.got(n, err) {
			return
		}
	}
}

// message takes one message: an empty one is a pong [SW-2.6], others are frames [SW-2.5].
func (c *conn) message(op ws.Opcode, msg []byte) bool {
	if len(msg) == 0 {
		return true
	}
	codec := wire.Codec(c.mode)
	if (op == ws.OpBinary) != (codec == wire.Protobuf) {
		c.bye(wire.CloseBadFrame, 0)
		return false
	}
	// One private copy for all commands of the message: what they hold aliases it.
	rest := append([]byte(nil), msg...)
	for n := 0; len(rest) > 0; n++ {
		frame, after, err := codec.Next(rest)
		rest = after
		if err != nil || n >= c.e.cfg.Limits.Batch {
			c.bye(wire.CloseBadFrame, 0)
			return false
		}
		if len(frame) == 0 {
			continue
		}
		c.e.m.framesIn.Inc()
		if !c.frame(codec, frame) {
			return false
		}
	}
	return true
}

// frame takes one frame.
func (c *conn) frame(codec wire.Codec, frame []byte) bool {
	cmd := &wire.Command{}
	err := codec.ParseCommand(frame, cmd)
	switch {
	case errors.Is(err, wire.ErrVerb):
		c.refuse(cmd, wire.UnknownVerb) // [SW-2.7]
		return true
	case errors.Is(err, wire.ErrBody):
		c.refuse(cmd, wire.InvalidBody)
		return true
	case err != nil:
		c.bye(wire.CloseBadFrame, 0)
		return false
	}
	if cmd.ID >= idPage {
		c.bye(wire.CloseBadFrame, 0)
		return false
	}
	if !c.greeted.Load() {
		if cmd.Verb != wire.VerbHello {
			c.bye(wire.CloseNoHello, 0) // [SW-2.8]
			return false
		}
		return c.hello(cmd)
	}
	if len(frame) > c.e.cfg.Limits.Frame || len(cmd.Body) > c.e.cfg.Limits.Body {
		c.refuse(cmd, wire.TooLarge) // [SW-6.3]
		return true
	}
	return c.command(cmd)
}

func (c *conn) refuse(cmd *wire.Command, slug wire.Slug) { c.fail(cmd, wire.Refuse(slug)) }

// fail answers cmd with err when it asked for an answer, and returns the answer's number.
func (c *conn) fail(cmd *wire.Command, err *wire.Error) uint64 {
	c.e.m.errors.WithLabelValues(string(err.Slug)).Inc()
	if cmd.ID == 0 {
		return 0
	}
	return c.answer(&wire.Frame{Kind: wire.FrameError, ID: cmd.ID, Session: cmd.Session, Verb: cmd.Verb, Err: err})
}

// end is the reader's last word: the writer cleans up.
func (c *conn) end() {
	c.e.x.UnplugConn(c.id.ID)
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	// What is queued (a close frame, a bye) may still be written, for a moment.
	_ = c.sock.SetWriteDeadline(c.e.cfg.Now().Add(time.Second))
	c.wake(false)
}
