package link

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"switchboard/wire"
)

// inbound is a connection that the other node has dialled, for its mail or its control messages.
type inbound struct {
	conn   net.Conn
	done   chan struct{} // closed when nobody reads from it any more
	stands bool          // something came behind the welcome: the other side is ready. Guarded by Link.mu
}

// serve is the life of an accepted connection.
func (l *Links) serve(raw net.Conn) {
	defer l.wg.Done()
	defer l.hangUp(raw)
	c, h, err := l.answer(raw)
	if err == nil {
		l.known()
		err = l.welcome(c, h)
	} else {
		defer l.known()
	}
	if err == nil || l.ctx.Err() != nil {
		return
	}
	if l.To(h.node) != nil {
		l.cfg.Log.Info("link: hanging up", "node", h.node, "at", raw.RemoteAddr(), "error", err)
	} else {
		l.cfg.Log.Info("link: refusing a stranger", "at", raw.RemoteAddr(), "says", h.node, "error", err)
	}
	// The refusal may find nobody. A connection that is closed with something unread takes back what was written last: so the
	// other side shall hang up first.
	_ = c.SetDeadline(time.Now().Add(l.cfg.Silence))
	reason := err.Error()
	if _, err := c.Write(appendFrame(nil, frameRefuse, []byte(reason[:min(len(reason), 512)]))); err == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}

// welcome serves a caller whose hello is sound, until he is done.
func (l *Links) welcome(c net.Conn, h hello) error {
	if h.kind == laneAsk {
		return l.takeQuestion(c, h)
	}
	k, err := l.link(h.node)
	if err != nil {
		return err
	}
	if err := k.meet(h.incarnation, h.born); err != nil {
		return err
	}
	k.calls(h.version)
	if h.kind == laneStream {
		return l.takeStream(c, h)
	}
	me := &inbound{conn: c, done: make(chan struct{})}
	before, err := k.replace(me, h)
	if err != nil {
		return err
	}
	defer k.depart(me, h.kind)
	if before != nil {
		_ = before.conn.Close()
		<-before.done
	}
	if err := k.resume(me, h); err != nil {
		return err
	}
	if err := l.greet(c, h); err != nil {
		return err
	}
	select {
	case k.lanes[h.kind].retry <- struct{}{}: // it is there: no need to wait before it is dialled
	default:
	}
	t := &timed{Conn: c, limit: l.cfg.Silence}
	if h.kind == laneMail {
		t.heard, t.since = &k.heard, l.since
	}
	return k.read(me, t, h.kind)
}

func (l *Links) greet(c net.Conn, h hello) error {
	there := l.hello(h.kind, h.node)
	there.version = min(there.version, h.version)
	if _, err := c.Write(appendFrame(nil, frameWelcome, there.bytes())); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// replace puts me in the place of the connection that was there before, which is returned. Only a later dial may: a copy
// of an earlier one, or one that was long on its way, must not end what stands.
func (k *Link) replace(me *inbound, h hello) (before *inbound, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.over || k.incarnation != h.incarnation {
		return nil, errOld
	}
	if h.dial <= k.dialled[h.kind] {
		return nil, fmt.Errorf("link: dial %d comes after dial %d", h.dial, k.dialled[h.kind])
	}
	k.dialled[h.kind] = h.dial
	before, k.in[h.kind] = k.in[h.kind], me
	return before, nil
}

// resume goes on with the numbers of the mail that has come before.
func (k *Link) resume(me *inbound, h hello) error {
	if h.kind != laneMail {
		return nil
	}
	k.mu.Lock()
	current := k.in[h.kind] == me && !k.over
	k.mu.Unlock()
	if !current {
		return errOld
	}
	if k.expected == 0 {
		k.expected = h.next
	}
	return k.follow(h.next)
}

// depart ends what replace began.
func (k *Link) depart(me *inbound, kind byte) {
	k.mu.Lock()
	if k.in[kind] == me {
		k.in[kind] = nil
	}
	k.mu.Unlock()
	close(me.done)
}

// follow takes next as the number of what comes now. What is missing before it is lost.
func (k *Link) follow(next uint64) error {
	if next < k.expected {
		return fmt.Errorf("%w: number %d comes again", errGarbage, next)
	}
	if lost := next - k.expected; lost > 0 {
		k.expected = next
		k.mu.Lock()
		k.lost += lost
		k.emit(Event{Kind: Restarted, Incarnation: k.incarnation, Lost: lost})
		k.mu.Unlock()
		k.tell()
	}
	return nil
}

// read takes everything that comes over me until it ends.
func (k *Link) read(me *inbound, c *timed, kind byte) error {
	f := &frames{r: bufio.NewReaderSize(c, frameSize), max: frameMax}
	box := postbox{k: k}
	defer box.close()
	for first := true; ; first = false {
		typ, payload, err := f.next()
		if err != nil {
			return fmt.Errorf("reading what %s sends: %w", k.node, err)
		}
		if first {
			k.mu.Lock()
			me.stands = true
			k.mu.Unlock()
			k.judge()
		}
		if typ == frameBye {
			k.mu.Lock()
			k.end(me)
			k.mu.Unlock()
			k.tell()
			return nil
		}
		next, rest, err := number(payload)
		if err != nil {
			return err
		}
		if kind == laneMail {
			if err := k.follow(next); err != nil {
				return err
			}
		}
		switch {
		case typ == framePing:
			box.retry()
			if _, err := c.Write(appendNumber(nil, framePong, next)); err != nil {
				return err
			}
		case typ == frameBatch && kind == laneMail:
			if err := box.batch(rest); err != nil {
				return err
			}
		case typ == frameBatch:
			if err := k.messages(rest); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: a frame of type %d", errGarbage, typ)
		}
	}
}

// messages hands the control messages of a batch on.
func (k *Link) messages(batch []byte) error {
	for len(batch) > 0 {
		rec, rest, err := record(batch)
		if err != nil {
			return err
		}
		channel, n := binary.Uvarint(rec)
		if n <= 0 {
			return fmt.Errorf("%w: a message on no channel", errGarbage)
		}
		k.all.cfg.Receive(k.node, channel, bytes.Clone(rec[n:]))
		batch = rest
	}
	return nil
}

// postbox delivers the mail of one connection. It is its reader's.
type postbox struct {
	k       *Link
	roll    wire.Roll
	refused map[refusal]refused
	again   []wire.Envelope // goodbyes that wait for room, againMax at most
	dropped uint64          // goodbyes that were given up, since the last retry
}

// refusal is what is refused together, so that nothing overtakes what was refused before it.
type refusal struct {
	conn    wire.Conn
	session wire.SessionID
}

// refused is until when it is, and what was said.
type refused struct {
	until time.Time
	why   error
}

// batch delivers what stands in a batch.
func (p *postbox) batch(b []byte) error {
	n := uint64(0)
	for len(b) > 0 {
		rec, rest, err := record(b)
		if err != nil {
			return err
		}
		var e wire.Envelope
		// Mail lives as long as whoever has it wants: it gets bytes of its own, not a whole batch's.
		if err := wire.ParseEnvelope(bytes.Clone(rec), &e, &p.roll); err != nil {
			return fmt.Errorf("%w: %w", errGarbage, err)
		}
		p.deliver(e)
		p.k.expected++
		n++
		b = rest
	}
	p.k.mu.Lock()
	p.k.received += n
	p.k.mu.Unlock()
	return nil
}
