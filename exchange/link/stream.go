package link

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Stream is a long message of bytes to another node. It belongs to one goroutine. Close it, or end its context.
type Stream struct {
	ctx  context.Context
	conn *timed
	in   *frames
	rate *rate
	stop func() bool
	buf  []byte
	err  error
}

// Stream opens a stream to node. header tells Config.Stream there what it is about, in at most 4 KiB. When ctx ends, so does
// the stream, unfinished. It is written at no more than Config.StreamRate, together with all others of this node.
func (l *Links) Stream(ctx context.Context, node string, header []byte) (*Stream, error) {
	if len(header) > headerMax {
		return nil, ErrTooLarge
	}
	k, err := l.link(node)
	if err != nil {
		return nil, err
	}
	h := l.hello(laneStream, node)
	h.header, h.version = header, k.speaks(h.version)
	c, f, there, err := l.dial(ctx, *k.addr.Load(), h)
	if err != nil {
		k.heed(err, h.version)
		return nil, err
	}
	if err := k.meet(there.incarnation, there.born); err != nil {
		_ = c.Close()
		return nil, err
	}
	c.limit = streamStall
	// The link's end is the stream's.
	ctx, cancel := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(k.ctx, func() { cancel(ErrClosed) })
	hangUp := context.AfterFunc(ctx, func() { _ = c.Close() })
	return &Stream{ctx: ctx, conn: c, in: f, rate: &l.rate, stop: func() bool {
		unlink()
		open := hangUp()
		cancel(nil)
		return open
	}}, nil
}

// Write sends p. It blocks for the rate and for the other side, which must take something every 30 s.
func (s *Stream) Write(p []byte) (n int, err error) {
	for len(p) > 0 && s.err == nil {
		part := p[:min(len(p), frameSize)]
		if s.err = s.rate.wait(s.ctx, len(part)); s.err != nil {
			break
		}
		s.send(appendFrame(s.buf[:0], frameData, part))
		if s.err == nil {
			n, p = n+len(part), p[len(part):]
		}
	}
	return n, s.err
}

func (s *Stream) send(b []byte) {
	s.buf = b
	if _, err := s.conn.Write(b); err != nil {
		// The other side may have said why it does not want more.
		if typ, payload, ierr := s.in.next(); ierr == nil && typ == frameRefuse {
			err = fmt.Errorf("link: the stream is refused: %s", payload)
		}
		s.err = s.because(err)
	}
}

// because prefers the reason why the context ended to what it looks like on the connection.
func (s *Stream) because(err error) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return err
}

// Break makes the stream end unfinished: the other side gets an error in place of its end. Close is still to be called.
func (s *Stream) Break() {
	if s.err == nil {
		s.err = errBroken
	}
}

var errBroken = errors.New("link: the stream was broken off")

// Close ends the stream and waits until the other side has taken all of it, or ctx ends. Nil says that Config.Stream there
// returned nil. After a failed Write it only cleans up, and returns that failure.
func (s *Stream) Close() error {
	if s.err == nil {
		s.send(appendFrame(s.buf[:0], frameEnd, nil))
	}
	if s.err == nil {
		s.conn.limit = 24 * time.Hour // to take it may be work; ctx bounds it
		typ, payload, err := s.in.next()
		switch {
		case err != nil:
			s.err = s.because(fmt.Errorf("waiting for the end of a stream: %w", noEOF(err)))
		case typ == frameRefuse:
			s.err = fmt.Errorf("link: the stream is refused: %s", payload)
		case typ != frameEnd:
			s.err = fmt.Errorf("%w: a stream ends with a frame of type %d", errGarbage, typ)
		}
	}
	s.stop()
	_ = s.conn.Close()
	err := s.err
	if err == nil {
		s.err = ErrClosed
	}
	return err
}

// errBusy refuses a stream.
var errBusy = errors.New("link: too many streams at once")

// takeStream hands a stream that another node has opened to whoever takes streams.
func (l *Links) takeStream(c net.Conn, h hello) error {
	if l.cfg.Stream == nil {
		return errors.New("link: streams are not taken here")
	}
	l.mu.Lock()
	busy := l.streams >= l.cfg.Streams
	if !busy {
		l.streams++
	}
	l.mu.Unlock()
	if busy {
		return errBusy
	}
	defer func() {
		l.mu.Lock()
		l.streams--
		l.mu.Unlock()
	}()
	if err := l.greet(c, h); err != nil {
		return err
	}
	t := &timed{Conn: c, limit: streamStall}
	r := &streamReader{in: frames{r: bufio.NewReaderSize(t, frameSize), max: frameSize}}
	if err := l.cfg.Stream(h.node, h.header, r); err != nil {
		return err
	}
	if !r.ended {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return err
		}
	}
	_, err := t.Write(appendFrame(nil, frameEnd, nil))
	return err
}

// streamReader reads the bytes of a stream's frames.
type streamReader struct {
	in    frames
	rest  []byte
	ended bool
}

// Read implements io.Reader. io.EOF comes only behind the frame that ends the stream.
func (r *streamReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		typ, payload, err := r.in.next()
		switch {
		case err != nil:
			return 0, noEOF(err)
		case typ == frameEnd:
			r.ended = true
		case typ == frameData:
			r.rest = payload
		default:
			return 0, fmt.Errorf("%w: a frame of type %d in a stream", errGarbage, typ)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// rate lets so many bytes per second pass. All streams of a node share one.
type rate struct {
	perSecond int

	mu sync.Mutex
	// Guarded by mu.
	free time.Time // when what was promised has passed
}

// wait returns when n bytes more may pass, or ctx has ended.
func (r *rate) wait(ctx context.Context, n int) error {
	r.mu.Lock()
	now := time.Now()
	if r.free.Before(now) {
		r.free = now
	}
	until := r.free
	r.free = r.free.Add(time.Duration(n) * time.Second / time.Duration(r.perSecond))
	r.mu.Unlock()
	if !until.After(now) && ctx.Err() == nil {
		return nil
	}
	timer := time.NewTimer(until.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
