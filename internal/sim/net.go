package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"switchboard/internal/memnet"
)

// Net is a network between hosts, which are named by what stands before the colon of their addresses. Its methods may be called from
// any goroutine of the bubble.
type Net struct {
	mu sync.Mutex
	// Guarded by mu.
	rng       *rand.Rand
	delay     time.Duration // of one way, at most
	listeners map[string]*listener
	conns     map[*conn]struct{}
	cut       map[[2]string]bool // from one host to another
	down      map[string]bool    // hosts that nobody hears, and that hear nobody
}

// NewNet returns a network without faults. Each piece takes up to delay.
func NewNet(rng *rand.Rand, delay time.Duration) *Net {
	return &Net{rng: rng, delay: delay, listeners: map[string]*listener{}, conns: map[*conn]struct{}{}, cut: map[[2]string]bool{}, down: map[string]bool{}}
}

// Host is a network as one host has it.
type Host struct {
	n    *Net
	name string
}

// Host returns the network as host name has it.
func (n *Net) Host(name string) *Host { return &Host{n, name} }

func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return h
}

var (
	errRefused = fmt.Errorf("sim: %w", syscall.ECONNREFUSED)
	errReset   = errors.New("sim: connection reset")
)

// Listen takes an address, which must be free.
func (h *Host) Listen(addr string) (net.Listener, error) {
	n := h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, errors.New("sim: the address " + addr + " is in use")
	}
	l := &listener{memnet.Listen(addr), n}
	n.listeners[addr] = l
	return l, nil
}

// Dial connects to an address. A cut either way leaves it waiting until ctx ends.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	n := h.n
	n.mu.Lock()
	l, to := n.listeners[addr], host(addr)
	lost := n.lost(h.name, to) || n.lost(to, h.name)
	n.mu.Unlock()
	if lost {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if l == nil {
		return nil, errRefused
	}
	a, b := n.pair(h.name, to)
	err := l.Hand(ctx, b)
	if err == nil {
		return a, nil
	}
	_, _ = a.Close(), b.Close()
	if errors.Is(err, net.ErrClosed) {
		err = errRefused
	}
	return nil, err
}

// lost tells whether what a says does not reach b. It needs mu.
func (n *Net) lost(a, b string) bool { return n.cut[[2]string{a, b}] || n.down[a] || n.down[b] }

// Down cuts a host off from all others, silently, or lets it back.
func (n *Net) Down(name string, down bool) {
	n.mu.Lock()
	n.down[name] = down
	n.mu.Unlock()
	n.poke(func(c *conn) bool { return c.from == name || c.to == name })
}

// Cut holds everything that host a says to host b, silently, until it is healed.
func (n *Net) Cut(a, b string, cut bool) {
	n.mu.Lock()
	n.cut[[2]string{a, b}] = cut
	n.mu.Unlock()
	n.poke(func(c *conn) bool { return c.from == a && c.to == b })
}

// poke wakes connections: what was held goes on, as TCP does when it sends again.
func (n *Net) poke(which func(*conn) bool) {
	n.mu.Lock()
	var list []*conn
	for c := range n.conns {
		if which(c) {
			list = append(list, c)
		}
	}
	n.mu.Unlock()
	for _, c := range list {
		c.poke()
	}
}

// Reset breaks every connection of a host, as the end of its process does: what is on its way is lost.
func (n *Net) Reset(name string) {
	n.mu.Lock()
	var list []*conn
	for c := range n.conns {
		if c.from == name || c.to == name {
			list = append(list, c)
		}
	}
	n.mu.Unlock()
	for _, c := range list {
		c.breaks(errReset)
	}
}

// listener is one whose address is free again when it is closed.
type listener struct {
	*memnet.Listener
	n *Net
}

func (l *listener) Close() error {
	l.n.mu.Lock()
	if addr := l.Addr().String(); l.n.listeners[addr] == l {
		delete(l.n.listeners, addr)
	}
	l.n.mu.Unlock()
	return l.Listener.Close()
}

type address string

func (a address) Network() string { return "sim" }
func (a address) String() string  { return string(a) }
