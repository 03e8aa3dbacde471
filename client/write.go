package client

import (
	"errors"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// outgoing is a frame on its way; r is the request that it carries, or nil.
type outgoing struct {
	frame *wirepb.ClientFrame
	r     *request
}

// write writes what waits, in as few messages as it fits into, then waits for more. It ends with the connection, which
// it closes when it cannot write any more.
func (c *Client) write(k *conn) {
	var beat <-chan time.Time
	if c.work != nil {
		// A worker that says nothing for lease_ms counts as gone [SW-5.7]; the server's pings may be further apart.
		t := time.NewTicker(c.work.beat())
		defer t.Stop()
		beat = t.C
	}
	var buf []byte
	for {
		select {
		case <-k.wake:
		case <-beat:
			c.mu.Lock()
			k.pong = true
			for _, s := range c.assigned {
				s.confirmAck()
			}
			c.flush()
			c.mu.Unlock()
		case <-k.ctx.Done():
			return
		}
		for {
			frames, pong, batch, most := c.takeOut(k)
			if len(frames) == 0 && !pong {
				break
			}
			var err error
			if buf, err = c.writeFrames(k, buf[:0], frames, batch, most); err == nil && len(frames) == 0 {
				err = k.write(nil, c.cfg.Timeout)
			}
			if err != nil {
				c.cfg.Log.Debug("writing", "error", err)
				_ = k.ws.Close()
				return
			}
		}
		c.mu.Lock()
		closing := c.closing
		c.mu.Unlock()
		if closing {
			_ = k.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
			_ = k.ws.SetReadDeadline(time.Now().Add(time.Second))
			return
		}
	}
}

// takeOut takes what is to be written: first the levels, whose last state is all that counts, then requests.
func (c *Client) takeOut(k *conn) (frames []outgoing, pong bool, batch, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dirty := k.dirty
	k.dirty = nil
	for _, s := range dirty {
		s.dirty = false
		frames = s.levels(frames)
	}
	for _, r := range k.out {
		if r.phase == sent {
			frames = append(frames, outgoing{r.frame, r})
		}
	}
	k.out = nil
	pong, k.pong = k.pong, false
	return frames, pong, max(c.hello.Batch, 1), max(c.hello.Frame, 1024)
}

// writeFrames writes frames in messages of at most batch frames and most bytes [SW-2.5].
func (c *Client) writeFrames(k *conn, buf []byte, frames []outgoing, batch, most int) ([]byte, error) {
	n := 0
	for _, o := range frames {
		mark := len(buf)
		grown, err := k.codec.Append(buf, o.frame)
		if err == nil && len(grown)-mark > most {
			err = wire.Refuse(wire.TooLarge)
		}
		if err != nil {
			// Sent, it would end the connection; so it ends here.
			c.refuse(o.r, err)
			continue
		}
		buf = grown
		if n++; n > 1 && (n > batch || len(buf) > most) {
			if err := k.write(buf[:mark], c.cfg.Timeout); err != nil {
				return buf, err
			}
			rest := buf[mark:]
			if k.codec == wire.JSON {
				rest = rest[1:] // the line feed between two frames
			}
			buf, n = append(buf[:0], rest...), 1
		}
	}
	if n == 0 {
		return buf, nil
	}
	return buf, k.write(buf, c.cfg.Timeout)
}

// refuse ends a request that cannot be put into a frame.
func (c *Client) refuse(r *request, err error) {
	if r == nil {
		c.cfg.Log.Warn("not sent", "error", err)
		return
	}
	if _, ok := errors.AsType[*wire.Error](err); !ok {
		err = &wire.Error{Slug: wire.BadRequest, Message: err.Error()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete(r, nil, err)
}

// write writes one message.
func (k *conn) write(msg []byte, timeout time.Duration) error {
	if err := k.ws.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	return k.ws.WriteMessage(k.kind, msg)
}
