package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/exchange"
	"switchboard/internal/memnet"
	"switchboard/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is one in memory, between nodes named by their addresses. Everything that is written goes through a goroutine
// that may do something else with it.
type network struct {
	mu        sync.Mutex
	listeners map[string]*memnet.Listener
	dials     int
	// fault says what becomes of the nth dial (from 1) from one to the other; nil leaves all alone.
	fault func(nth int, from, to string) fault
	pipes []*pipe
}

// fault is what becomes of a connection.
type fault struct {
	hold  time.Duration // nothing passes before that
	cut   int           // bytes of the caller after which both ends break; 0 never
	back  int           // the same for bytes to the caller
	flip  int           // the number of the caller's byte that is changed, from 1
	twice bool          // what the caller said is said once more, by a stranger
}

func newNetwork() *network { return &network{listeners: map[string]*memnet.Listener{}} }

func (n *network) listen(addr string) *memnet.Listener {
	l := memnet.Listen(addr)
	n.mu.Lock()
	n.listeners[addr] = l
	n.mu.Unlock()
	return l
}

// pipe is one connection, and who looks after it.
type pipe struct {
	fault
	from, to     string
	a, b         net.Conn // our ends of the caller's and of the other's
	stopped      atomic.Bool
	said         []byte // by the caller, when it is to be said twice
	fired, ended chan struct{}
}

var errNobody = fmt.Errorf("nobody listens there: %w", syscall.ECONNREFUSED)

func (n *network) dial(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		var caller, other net.Conn
		n.mu.Lock()
		l := n.listeners[addr]
		n.dials++
		p := &pipe{from: from, to: addr, ended: make(chan struct{}), fired: make(chan struct{})}
		if n.fault != nil {
			p.fault = n.fault(n.dials, from, addr)
		}
		caller, p.a = net.Pipe()
		other, p.b = net.Pipe()
		n.pipes = append(n.pipes, p)
		n.mu.Unlock()
		if l == nil {
			return nil, errNobody
		}
		if err := l.Hand(ctx, other); errors.Is(err, net.ErrClosed) {
			return nil, errNobody
		} else if err != nil {
			return nil, err
		}
		go p.run(l)
		return caller, nil
	}
}

func (p *pipe) run(l *memnet.Listener) {
	defer close(p.ended)
	if p.hold > 0 {
		time.Sleep(p.hold) // of a bubble
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.copy(p.b, p.a, p.cut, true) })
	wg.Go(func() { p.copy(p.a, p.b, p.back, false) })
	wg.Wait()
	if p.twice {
		again, end := net.Pipe()
		if l.Hand(context.Background(), again) == nil {
			go func() { _, _ = io.Copy(io.Discard, end) }()
			_, _ = end.Write(p.said)
		}
		_ = again.Close()
		_ = end.Close()
	}
}

// copy passes bytes on until a side ends, or as many have passed as shall. Then both sides end.
func (p *pipe) copy(to, from net.Conn, limit int, caller bool) {
	defer func() { _ = p.a.Close(); _ = p.b.Close() }()
	buf, passed := make([]byte, 4096), 0
	for {
		n, err := from.Read(buf)
		if p.stopped.Load() {
			n = 0 // into the void
		}
		b := buf[:n]
		if caller && p.flip > passed && p.flip <= passed+n {
			b[p.flip-passed-1] ^= 0x10
			close(p.fired)
		}
		if limit > 0 && passed+n >= limit {
			_, _ = to.Write(b[:limit-passed])
			close(p.fired)
			return
		}
		if caller && p.twice {
			p.said = append(p.said, b...)
		}
		passed += n
		if _, werr := to.Write(b); err != nil || werr != nil {
			return
		}
	}
}

// swallow makes the network lose everything between two nodes that speak now, without a word.
func (n *network) swallow() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pipes {
		p.stopped.Store(true)
	}
}

// hangUp breaks all connections that there are.
func (n *network) hangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pipes {
		_ = p.a.Close()
	}
}

// fired counts the connections whose fault has happened.
func (n *network) fired() (count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pipes {
		select {
		case <-p.fired:
			count++
		default:
		}
	}
	return count
}

// host is a node, as far as links know one.
type host struct {
	*Links
	x      *exchange.Exchange
	events chan Event
}

// open opens a host on the network; more may change its configuration.
func (n *network) open(t testing.TB, node string, incarnation, born uint64, more func(*Config)) *host {
	t.Helper()
	h := &host{x: exchange.New(incarnation), events: make(chan Event, 1<<16)}
	cfg := Config{
		Cluster: "test", Node: node, Born: born, Plain: true, Dial: n.dial(node), Log: slog.New(slog.DiscardHandler),
		Notify: func(e Event) { h.events <- e },
	}
	if more != nil {
		more(&cfg)
	}
	var err error
	if h.Links, err = Open(h.x, n.listen(node), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// pair opens a and b and waits until they are up.
func pair(t testing.TB, n *network, more func(*Config)) (a, b *host) {
	t.Helper()
	a, b = n.open(t, "a", 1, 1, more), n.open(t, "b", 2, 1, more)
	a.add(t, "b")
	b.add(t, "a")
	a.await(t, Event{Kind: Up, Node: "b", Incarnation: 2})
	b.await(t, Event{Kind: Up, Node: "a", Incarnation: 1})
	return a, b
}

func (h *host) add(t testing.TB, node string) *Link {
	t.Helper()
	k, err := h.Add(node, node)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// await passes over events until want.
func (h *host) await(t testing.TB, want Event) {
	t.Helper()
	var passed []Event
	timeout := time.NewTimer(30 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case e := <-h.events:
			if e == want {
				return
			}
			passed = append(passed, e)
		case <-timeout.C:
			t.Fatalf("%+v does not come; what came: %+v; links %+v", want, passed, h.Status())
		}
	}
}

// none fails when an event of a kind waits.
func (h *host) none(t *testing.T, kind EventKind) {
	t.Helper()
	for {
		select {
		case e := <-h.events:
			if e.Kind == kind {
				t.Fatalf("unexpected: %+v", e)
			}
		default:
			return
		}
	}
}

// sink is an inlet that hands on what it gets.
type sink chan wire.Envelope

func (s sink) Put(e wire.Envelope) bool {
	select {
	case s <- e:
		return true
	default:
		return false
	}
}

// post posts until there is room.
func (h *host) post(t testing.TB, to wire.Address, m wire.Mail) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		err := h.x.Post(wire.Envelope{To: to, Mail: m})
		if err == nil {
			return
		}
		if !errors.Is(err, exchange.ErrOverloaded) || time.Now().After(deadline) {
			t.Fatalf("posting to %+v: %v", to, err)
		}
		pause()
	}
}

// pause lets others run; in a bubble it lets time pass.
func pause() {
	timer := time.NewTimer(time.Millisecond)
	<-timer.C
}
