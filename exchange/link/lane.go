package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// lane is one connection that this node dials, again and again. What is put into it is written into bytes at once, by
// whoever puts it; the lane's goroutine only takes all that waits and writes it.
type lane struct {
	// Fixed after newLink.
	k     *Link
	kind  byte
	wake  chan struct{} // something waits that did not
	retry chan struct{} // the node is there: no need to wait any longer

	heard     atomic.Int64  // when the other side last answered, by since
	confirmed atomic.Uint64 // what it expects next

	mu sync.Mutex
	// Guarded by mu.
	open    bool
	pending []byte // frames, each with room for its head
	starts  []int  // where they begin in pending
	tail    uint64 // the number behind the last record in pending
	writing int    // bytes that were taken and are being written
	next    uint64 // number of the next record
	refused uint64
	roll    wire.Roll

	// Owned by run.
	dials   uint64
	plugged uint64 // the incarnation at whose connections the link is plugged in
	spare   []byte
	cuts    []int
}

// put appends e to what waits. Mail for a connection takes a number also when there is no room: nobody sends it again, so
// its receiver must learn that it is missing.
func (n *lane) put(e *wire.Envelope) bool {
	limit := n.k.all.cfg.Queue
	if _, ok := e.Mail.(*wire.Command); ok {
		limit -= limit / 4 // clients are refused first, not what shards say to each other
	}
	n.mu.Lock()
	if !n.open || len(n.pending)+n.writing >= limit {
		n.refused++
		if !e.To.Slot {
			n.next++
		}
		n.mu.Unlock()
		return false
	}
	at := n.begin()
	b, err := wire.AppendEnvelope(n.pending, e, &n.roll)
	if n.pending = b; err == nil && len(b)-at > recordMax {
		err = ErrTooLarge
		n.roll.Clear()
	}
	first := n.commit(at, err)
	n.mu.Unlock()
	if first {
		n.nudge()
	}
	if err != nil {
		// It would be refused for ever: better that it is missed.
		n.k.all.cfg.Log.Error("link: mail cannot be sent", "node", n.k.node, "mail", fmt.Sprintf("%T", e.Mail), "error", err)
	}
	return true
}

func (n *lane) send(channel uint64, msg []byte) error {
	n.mu.Lock()
	switch {
	case !n.open:
		n.mu.Unlock()
		return exchange.ErrNowhere
	case len(n.pending)+n.writing >= n.k.all.cfg.Queue:
		n.refused++
		n.mu.Unlock()
		return exchange.ErrOverloaded
	}
	at := n.begin()
	n.pending = append(binary.AppendUvarint(n.pending, channel), msg...)
	first := n.commit(at, nil)
	n.mu.Unlock()
	if first {
		n.nudge()
	}
	return nil
}

// begin opens a record behind what waits, and returns where its bytes begin. A frame holds records without holes in their
// numbers. The caller holds mu.
func (n *lane) begin() int {
	if len(n.starts) == 0 || n.tail != n.next || len(n.pending)-n.starts[len(n.starts)-1] >= frameSize {
		n.starts = append(n.starts, len(n.pending))
		n.pending = append(n.pending, make([]byte, frameHead)...)
		n.pending = binary.LittleEndian.AppendUint64(n.pending, n.next)
	}
	n.pending = append(n.pending, 0, 0, 0, 0)
	return len(n.pending)
}

// commit closes the record that begins at, or takes it back but for its number. It tells whether nothing waited before. The
// caller holds mu.
func (n *lane) commit(at int, err error) (first bool) {
	first = at == frameHead+8+4
	n.next++
	if err != nil {
		n.pending = n.pending[:at-4]
		return first
	}
	n.tail = n.next
	binary.LittleEndian.PutUint32(n.pending[at-4:], uint32(len(n.pending)-at)) //nolint:gosec // at most recordMax
	return first
}

func (n *lane) nudge() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run keeps the connection up until ctx ends.
func (n *lane) run(ctx context.Context) {
	defer n.k.wg.Done()
	defer func() { n.plug(0) }()
	for pause := redialMin; ; pause = min(2*pause, redialMax) {
		began := time.Now()
		err := n.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		n.k.fail(err)
		if errors.Is(err, syscall.ECONNREFUSED) {
			n.k.refused()
		}
		if time.Since(began) > n.k.all.cfg.Silence {
			pause = redialMin
		}
		// Nodes that lost each other at the same moment should not all come back at the same moment.
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
		case <-n.retry:
			pause = redialMin
		case <-timer.C:
		}
		timer.Stop()
	}
}

// connect dials, and writes until the connection or ctx ends.
func (n *lane) connect(ctx context.Context) error {
	l := n.k.all
	h := l.hello(n.kind, n.k.node)
	h.version = n.k.speaks(h.version)
	n.dials++
	n.mu.Lock()
	h.dial, h.next = n.dials, n.next
	n.mu.Unlock()
	c, f, there, err := l.dial(ctx, *n.k.addr.Load(), h)
	if err != nil {
		n.k.heed(err, h.version)
		return err
	}
	defer func() { _ = c.Close() }()
	if err := n.k.meet(there.incarnation, there.born); err != nil {
		return err
	}
	if n.k.speaks(l.cfg.Version) > h.version {
		return errUpgraded
	}
	if err := n.k.attach(n.kind, c, there.incarnation); err != nil {
		return err
	}
	n.heard.Store(l.since())
	n.confirmed.Store(h.next)
	n.mu.Lock()
	n.open, n.roll.Version = true, there.version
	n.mu.Unlock()
	if n.kind == laneMail {
		n.plug(there.incarnation)
		n.k.judge()
	}
	ended := make(chan struct{})
	var heard error
	go func() {
		defer close(ended)
		heard = n.listen(f)
	}()
	if err = n.write(ctx, c, ended); !errors.Is(err, errLeft) || n.kind != laneMail {
		_ = c.Close()
	} // else the other side hangs up once it has read the bye
	if <-ended; !errors.Is(heard, net.ErrClosed) {
		err = heard // what the other side said, or that it said nothing
	}
	n.k.detach(n.kind, n.shut())
	return err
}

// plug puts the link where the connections of incarnation are, and takes it away from where it was.
func (n *lane) plug(incarnation uint64) {
	if n.plugged == incarnation {
		return
	}
	x := n.k.all.x
	if n.plugged != 0 {
		x.UnplugNode(n.plugged, n.k)
	}
	if n.plugged = incarnation; incarnation != 0 {
		x.PlugNode(incarnation, n.k)
	}
}

// shut throws away what waits, and returns how much of what was put may not have arrived.
func (n *lane) shut() (lost uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = false
	n.pending, n.starts, n.writing = nil, nil, 0
	n.roll.Clear()
	if c := n.confirmed.Load(); c < n.next {
		lost = n.next - c
	}
	return lost
}

// write writes everything that waits, then blocks until something does or a heartbeat is due. It returns when c, of which
// nothing can be read any more once ended is closed, or ctx ends.
func (n *lane) write(ctx context.Context, c net.Conn, ended <-chan struct{}) error {
	beat := n.k.all.cfg.Silence / 4
	tick := time.NewTicker(beat)
	defer tick.Stop()
	if err := n.ping(c, nil); err != nil { // the other side then knows that this one is ready
		return err
	}
	pinged := time.Now()
	for ending, idle := false, false; ; {
		buf, starts := n.take()
		idle = idle && len(buf) == 0
		for i := 0; i < len(starts); {
			if time.Since(pinged) >= beat {
				if err := n.ping(c, buf[starts[i]:]); err != nil {
					return err
				}
				pinged = time.Now()
			}
			from, to := starts[i], 0
			for ; i < len(starts) && to-from < pieceSize; i++ {
				if to = len(buf); i+1 < len(starts) {
					to = starts[i+1]
				}
				seal(buf[starts[i]:to], frameBatch)
			}
			if _, err := c.Write(buf[from:to]); err != nil {
				return err
			}
		}
		n.took(buf, starts)
		if ending {
			return n.bye(c)
		}
		select {
		case <-n.wake:
		case <-tick.C:
			if err := n.ping(c, nil); err != nil {
				return err
			}
			pinged = time.Now()
			if idle {
				n.shrink()
			}
			idle = true
		case <-ended:
			return net.ErrClosed
		case <-ctx.Done():
			ending = true
		}
	}
}

// ping writes a heartbeat with the number of the record that follows: the first of what was taken and is still to be written,
// or of what waits, or the next one.
func (n *lane) ping(c net.Conn, rest []byte) error {
	n.mu.Lock()
	next := n.next
	if rest == nil {
		rest = n.pending
	}
	if len(rest) > 0 {
		next = binary.LittleEndian.Uint64(rest[frameHead:])
	}
	n.mu.Unlock()
	_, err := c.Write(appendNumber(nil, framePing, next))
	return err
}

// errLeft says that the connection was ended from here.
var errLeft = errors.New("link: closed from here")

// bye says that this incarnation ends, when it does and not just the link.
func (n *lane) bye(c net.Conn) error {
	if n.kind == laneMail && n.k.all.ctx.Err() != nil {
		if _, err := c.Write(appendFrame(nil, frameBye, nil)); err != nil {
			return err
		}
	}
	return errLeft
}

// take takes all that waits. Until took gives it back it counts as waiting.
func (n *lane) take() ([]byte, []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	buf, starts := n.pending, n.starts
	n.pending, n.starts, n.writing = n.spare, n.cuts, len(buf)
	n.spare, n.cuts = nil, nil
	return buf, starts
}

// took says that what was taken is written.
func (n *lane) took(buf []byte, starts []int) {
	n.spare, n.cuts = buf[:0], starts[:0]
	n.mu.Lock()
	n.writing = 0
	n.mu.Unlock()
}

// shrink gives back the memory of a lane that nobody uses.
func (n *lane) shrink() {
	n.spare, n.cuts = nil, nil
	n.mu.Lock()
	if len(n.pending) == 0 {
		n.pending, n.starts = nil, nil
	}
	n.mu.Unlock()
}

// listen reads what the other side answers until the connection ends, and says why it did.
func (n *lane) listen(f *frames) error {
	for {
		typ, payload, err := f.next()
		if err != nil {
			return fmt.Errorf("listening to %s: %w", n.k.node, err)
		}
		switch typ {
		case framePong:
			expected, _, err := number(payload)
			if err != nil {
				return err
			}
			n.confirmed.Store(expected)
			n.heard.Store(n.k.all.since())
		case frameRefuse:
			return fmt.Errorf("link: %s hangs up: %q", n.k.node, payload)
		default:
			return fmt.Errorf("%w: an answer of type %d", errGarbage, typ)
		}
	}
}
