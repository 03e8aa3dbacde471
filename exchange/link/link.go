package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"switchboard/exchange"
	"switchboard/wire"
)

// Link is the way to one other node: an exchange.Inlet for its mail. All methods may be called from any goroutine.
type Link struct {
	// Fixed after newLink.
	all   *Links
	node  string
	lanes [lanes]lane
	ctx   context.Context
	stop  context.CancelFunc

	wg    sync.WaitGroup // the lanes
	addr  atomic.Pointer[string]
	heard atomic.Int64 // when the node's mail connection was last heard, by since

	mu sync.Mutex
	// Guarded by mu.
	closed      bool
	incarnation uint64 // the newest that was met; 0 for none yet
	born        uint64
	over        bool // it has ended, or is about to;
	ended       bool // and that has been noted
	up          bool
	out         [lanes]net.Conn // that stand to this incarnation
	in          [lanes]*inbound // that this incarnation has dialled
	dialled     [lanes]uint64   // the highest dial of it
	lastErr     string
	gone        bool // Gone was told
	received    uint64
	lost        uint64
	unheard     uint64
	version     uint64 // the highest that the node has said it speaks; 0 before it has called
	strict      bool   // it refuses to be called in a higher one than its own
	events      []Event
	telling     bool

	// Owned by whoever reads its mail; between two of them, by meet.
	expected uint64 // number of its next piece of mail; 0 before any is known
}

// Status is what is known of a link at one moment.
type Status struct {
	Node        string
	Addr        string
	Incarnation uint64 // the newest that was met, 0 for none
	Born        uint64 // when that was born, as it says
	Up          bool
	Queued      int    // bytes of mail that wait
	Sent        uint64 // pieces of mail that were taken, and those that found no room
	Refused     uint64 // of these, those that found no room or no connection
	Received    uint64
	Lost        uint64 // pieces of the node's mail that never came
	Unheard     uint64 // goodbyes of the node's connections that came and found no room, and were given up
	Err         string // why there was no connection when it was last tried, "" when there is one
}

func newLink(l *Links, node, addr string) *Link {
	k := &Link{all: l, node: node}
	k.addr.Store(&addr)
	k.ctx, k.stop = context.WithCancel(l.ctx)
	for i := range k.lanes {
		k.lanes[i] = lane{k: k, kind: byte(i), next: 1, wake: make(chan struct{}, 1), retry: make(chan struct{}, 1)}
	}
	return k
}

// Node returns the other node's id.
func (k *Link) Node() string { return k.node }

var _ exchange.Way = (*Link)(nil)

// Put implements exchange.Inlet. It is false when no connection stands or too much waits; nothing of e is kept then.
func (k *Link) Put(e wire.Envelope) bool { return k.lanes[laneMail].put(&e) }

// Up implements exchange.Way: it tells whether the link takes mail now.
func (k *Link) Up() bool {
	n := &k.lanes[laneMail]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

// Send sends msg on channel as a control message, at most once, and in order among those that arrive. It does not block and
// keeps nothing of msg. It fails with exchange.ErrNowhere when no connection stands, exchange.ErrOverloaded when too much waits,
// and ErrTooLarge.
func (k *Link) Send(channel uint64, msg []byte) error {
	if len(msg)+10 > recordMax {
		return ErrTooLarge
	}
	return k.lanes[laneControl].send(channel, msg)
}

// Status returns what is known of the link now.
func (k *Link) Status() Status {
	n := &k.lanes[laneMail]
	n.mu.Lock()
	s := Status{Node: k.node, Addr: *k.addr.Load(), Queued: len(n.pending) + n.writing, Sent: n.next - 1, Refused: n.refused}
	n.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Incarnation, s.Born, s.Up, s.Received, s.Lost, s.Unheard, s.Err = k.incarnation, k.born, k.up, k.received, k.lost, k.unheard, k.lastErr
	return s
}

// close ends everything of the link and waits for it.
func (k *Link) close() {
	k.stop()
	k.wg.Wait()
	k.mu.Lock()
	k.closed = true
	k.end(nil)
	k.mu.Unlock()
	k.tell()
}

// end ends everything of the present incarnation: its connections are closed, and when nobody reads from them any more its
// end is noted, so that nothing of it is delivered behind that. self is the connection whose reader calls, if one does. The
// caller holds k.mu, which is given up meanwhile, and calls tell.
func (k *Link) end(self *inbound) {
	was := k.incarnation
	k.over, k.up = true, false
	in, out := k.in, k.out
	k.mu.Unlock()
	for i := range lanes {
		if out[i] != nil {
			_ = out[i].Close()
		}
		if in[i] != nil && in[i] != self {
			_ = in[i].conn.Close()
			<-in[i].done
		}
	}
	k.mu.Lock()
	if k.incarnation == was && was != 0 && !k.ended {
		k.ended = true
		k.emit(Event{Kind: Ended, Incarnation: was})
	}
}

// errOld refuses an incarnation that is over.
var errOld = errors.New("link: it has ended, or a later incarnation of it has been met")

// meet notes that the node is there in an incarnation. A later one than before ends everything of the one before; an
// earlier one is refused.
func (k *Link) meet(incarnation, born uint64) error {
	defer k.tell()
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		switch {
		case k.closed:
			return ErrClosed
		case incarnation == k.incarnation && !k.over:
			return nil
		case k.incarnation != 0 && born <= k.born:
			return errOld
		case k.incarnation != 0 && !k.ended:
			k.end(nil) // and look again: others come meanwhile
		default:
			k.incarnation, k.born, k.over, k.ended, k.expected, k.version, k.strict = incarnation, born, false, false, 0, 0, false
			k.dialled = [lanes]uint64{}
			return nil
		}
	}
}

// speaks returns the version in which the node is called: the highest, but for one that has refused it, as it does not know yet that the lower of two
// counts. What it says when it calls is no measure: two nodes that were replaced would each call the other in the version in which that has called,
// and neither would ever say more.
func (k *Link) speaks(highest uint64) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.strict {
		return wire.LinkOldest
	}
	return highest
}

// heed notes that the node has refused to be called in a version, when that is what err says.
func (k *Link) heed(err error, version uint64) {
	if errors.Is(err, errVersion) && version > wire.LinkOldest {
		k.mu.Lock()
		k.strict = true
		k.mu.Unlock()
	}
}

// Speaks returns the highest version of the links that the node has said it speaks since it was started, 0 while it has said none. It may be called from
// any goroutine.
func (k *Link) Speaks() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.version
}

// calls notes the highest version that the node speaks, and reports whether it was another.
func (k *Link) calls(version uint64) {
	k.mu.Lock()
	was := k.version
	k.version = version
	k.mu.Unlock()
	if was != version && (was != 0 || version != k.all.cfg.Version) {
		k.all.cfg.Log.Info("link: a node speaks another version", "node", k.node, "version", version, "this", k.all.cfg.Version)
	}
}

// attach notes that c stands to incarnation, unless a later one has been met meanwhile.
func (k *Link) attach(kind byte, c net.Conn, incarnation uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over || incarnation != k.incarnation {
		return errOld
	}
	k.out[kind], k.lastErr, k.gone = c, "", false
	return nil
}

func (k *Link) detach(kind byte, lost uint64) {
	k.mu.Lock()
	k.out[kind] = nil
	if kind == laneMail && lost > 0 && !k.over && k.ctx.Err() == nil {
		k.emit(Event{Kind: Cut, Incarnation: k.incarnation, Lost: lost})
	}
	k.mu.Unlock()
	k.tell()
}

// refused notes that the node takes no connection.
func (k *Link) refused() {
	k.mu.Lock()
	if k.up && !k.gone {
		k.gone = true
		k.emit(Event{Kind: Gone, Incarnation: k.incarnation})
	}
	k.mu.Unlock()
	k.tell()
}

// judge decides whether the node is up: it comes up when mail goes both ways, and down when one way has been silent for too
// long, however often connections came and went meanwhile. Then all that is left of them ends: both ways begin anew.
func (k *Link) judge() {
	now, heard, silence := k.all.since(), min(k.heard.Load(), k.lanes[laneMail].heard.Load()), int64(k.all.cfg.Silence)
	var left []net.Conn
	k.mu.Lock()
	in := k.in[laneMail]
	switch {
	case !k.up && !k.over && k.out[laneMail] != nil && in != nil && in.stands && !k.closed && now-heard < silence:
		k.up = true
		k.emit(Event{Kind: Up, Incarnation: k.incarnation})
	case k.up && now-heard >= silence:
		k.up = false
		k.emit(Event{Kind: Down, Incarnation: k.incarnation})
		if left = append(left, k.out[:]...); in != nil {
			in.stands = false
			left = append(left, in.conn)
		}
	}
	k.mu.Unlock()
	for _, c := range left {
		if c != nil {
			_ = c.Close()
		}
	}
	k.tell()
}

// fail notes why there is no connection. What is new is logged.
func (k *Link) fail(err error) {
	k.mu.Lock()
	said := k.lastErr == err.Error()
	k.lastErr = err.Error()
	k.mu.Unlock()
	if !said {
		k.all.cfg.Log.Warn("link", "node", k.node, "error", err)
	}
}

// link returns the link to node, or ErrUnknown.
func (l *Links) link(node string) (*Link, error) {
	if k := l.To(node); k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknown, node)
}

var _ exchange.Inlet = (*Link)(nil)
