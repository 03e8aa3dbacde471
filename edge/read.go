package edge

import (
	"errors"
	"sync"
	"time"

	"switchboard/edge/ws"
	"switchboard/wire"
)

// chunk is what is read at once from a socket that was idle.
const chunk = 16 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// maxMessage is how many frames' worth of bytes one message may have.
const maxMessage = 4

// read is the reader: bytes in, commands on. It ends with the socket.
func (c *conn) read(early []byte) {
	defer c.e.wg.Done()
	defer c.end()
	c.src.begin()
	if c.mode == modeSSE {
		c.discard()
		return
	}
	if c.take(early) {
		c.receive()
	}
}

// receive takes messages until there are no more.
func (c *conn) receive() {
	for {
		var ok bool
		if len(c.part) > 0 {
			ok = c.fill()
		} else {
			b, err := c.src.next()
			if len(b) > 0 {
				c.heard()
			}
			ok = c.take(b)
			c.src.done()
			if err != nil {
				return
			}
		}
		if !ok {
			return
		}
	}
}

// fill reads the rest of a message that was cut.
func (c *conn) fill() bool {
	c.grow(1)
	n, err := c.src.sock.Read(c.part[len(c.part):cap(c.part)])
	if n > 0 {
		c.heard()
		b := c.part[:len(c.part)+n]
		c.part = nil
		if !c.take(b) {
			return false
		}
	}
	return err == nil
}

// grow makes room for n bytes more of a message that was cut. Its buffer grows with what comes, not with what a header
// promises.
func (c *conn) grow(n int) {
	if len(c.part)+n <= cap(c.part) {
		return
	}
	most := max(ws.Need(c.part), len(c.part)+n+1024)
	grown := make([]byte, len(c.part), max(1024, len(c.part)+n, min(2*len(c.part), most)))
	copy(grown, c.part)
	c.part = grown
}

func (c *conn) heard() { c.lastRead.Store(c.e.now()) }

// take takes every whole message off b and keeps what is left. It reports whether to go on.
func (c *conn) take(b []byte) bool {
	limit := maxMessage * c.e.cfg.Limits.Frame
	whole := false
	for {
		m, used, err := c.dec.Next(b, limit)
		b = b[used:]
		if err != nil {
			var fault ws.Error
			errors.As(err, &fault)
			c.fault(fault.Code(), fault.Error()) // [SW-6.3]
			return c.lastWords()
		}
		switch m.Op {
		case 0:
			if whole && c.partial.Load() != 0 {
				c.partial.Store(c.e.now()) // what is left is of another message than what waited
			}
			c.keep(b)
			return true
		case ws.OpText, ws.OpBinary:
			whole = true
			if !c.message(m.Op, m.Payload) {
				return c.lastWords()
			}
		case ws.OpPing:
			c.push(&wire.Frame{Kind: framePong, Text: string(m.Payload)})
		case ws.OpClose:
			code, _ := m.Closing()
			c.closeFrame(code, "")
			return c.lastWords()
		case ws.OpPong:
		}
	}
}

// keep keeps the beginning of a message in memory of the connection's own.
func (c *conn) keep(b []byte) {
	switch {
	case len(b) == 0 && c.dec.Held() == 0:
		c.part = nil
		c.partial.Store(0)
		return
	case c.partial.Load() == 0:
		c.partial.Store(c.e.now())
	}
	if len(b) > 0 {
		c.part = append(make([]byte, 0, len(b)+512), b...)
	}
}

// lastWords reads on for a moment after the last message: a socket that is closed with something unread is reset, and
// what was written to it is lost.
func (c *conn) lastWords() bool {
	c.hurry()
	if c.loop != nil {
		c.seat.deaf = true // the loop reads on
		return false
	}
	c.discard()
	return false
}

// hurryMost is how long a connection whose end has begun may take to close by itself.
const hurryMost = time.Second

// hurry closes a connection that does not close by itself.
func (c *conn) hurry() {
	if c.loop != nil {
		c.loop.hurry(c)
		return
	}
	_ = c.src.sock.SetReadDeadline(time.Now().Add(hurryMost))
}

func (c *conn) discard() {
	for {
		_, err := c.src.next()
		c.src.done()
		if err != nil {
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
	rest := make([]byte, len(msg))
	copy(rest, msg)
	for n := 0; len(rest) > 0; {
		frame, after, err := codec.Next(rest)
		rest = after
		if err != nil {
			c.bye(wire.CloseBadFrame, 0)
			return false
		}
		if len(frame) == 0 && codec == wire.JSON {
			continue
		}
		n++
		c.e.m.framesIn.Inc()
		if !c.frame(codec, frame, n) {
			return false
		}
	}
	return true
}

// frame takes one frame, the n'th of its message.
func (c *conn) frame(codec wire.Codec, frame []byte, n int) bool {
	cmd, err := c.parse(codec, frame)
	if err != nil && !errors.Is(err, wire.ErrVerb) && !errors.Is(err, wire.ErrBody) {
		if len(frame) > c.e.cfg.Limits.Frame {
			c.fault(ws.CodeTooBig, "frame too large") // [SW-6.3] too long, and nobody knows for which request
			return false
		}
		c.bye(wire.CloseBadFrame, 0) // [SW-2.7]
		return false
	}
	l := &c.e.cfg.Limits
	switch {
	case c.byeAt.Load() != 0:
		return false
	case !c.greeted.Load():
		if cmd.Verb != wire.VerbHello || len(frame) > l.Frame {
			if cmd.Verb == wire.VerbHello {
				c.refuse(cmd, wire.TooLarge) // [SW-6.3] or its sender would not know why
			}
			c.bye(wire.CloseNoHello, 0) // [SW-2.8]
			return false
		}
		return c.hello(cmd)
	case !c.pace(cmd):
		return c.byeAt.Load() == 0
	case errors.Is(err, wire.ErrVerb):
		c.refuse(cmd, wire.UnknownVerb)
	case len(frame) > l.Frame || n > l.Batch || len(cmd.Body) > l.Body || len(cmd.Text) > l.Body:
		c.refuse(cmd, wire.TooLarge) // [SW-6.3]
	case err != nil:
		c.refuse(cmd, wire.InvalidBody)
	default:
		c.command(cmd)
	}
	return c.byeAt.Load() == 0
}

// parse reads a command, of which nobody else has anything but what frame holds.
func (c *conn) parse(codec wire.Codec, frame []byte) (cmd *wire.Command, err error) {
	if c.loop == nil {
		cmd = &wire.Command{}
		return cmd, codec.ParseCommand(frame, cmd)
	}
	cmd = c.loop.command()
	err = codec.ParseCommand(frame, cmd)
	return c.loop.took(cmd), err
}

func (c *conn) refuse(cmd *wire.Command, slug wire.Slug) { c.fail(cmd, wire.Refuse(slug)) }

// fail answers cmd, whose id is the client's, with err when it asked for an answer, and returns the answer's number.
func (c *conn) fail(cmd *wire.Command, err *wire.Error) uint64 {
	c.e.m.errors.WithLabelValues(string(err.Slug)).Inc()
	return c.reply(cmd.ID, &wire.Frame{Kind: wire.FrameError, Session: cmd.Session, Verb: cmd.Verb, Err: err})
}

// end is the reader's last word: the writer cleans up.
func (c *conn) end() {
	// What is queued (a close frame, a bye) may still be written, for a moment.
	if c.loop != nil {
		c.loop.hurry(c)
	} else {
		_ = c.src.sock.SetWriteDeadline(time.Now().Add(hurryMost))
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wake()
}
