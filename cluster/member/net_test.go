package member

import (
	"context"
	"errors"
	"net"
	"sync"

	"switchboard/internal/memnet"
)

// network is one in memory, between nodes by name: so a whole cluster runs in virtual time.
type network struct {
	mu        sync.Mutex
	listeners map[string]*memnet.Listener
	conns     map[[2]string][]net.Conn
	cut       map[[2]string]bool // both ways
}

func newNetwork() *network {
	return &network{listeners: map[string]*memnet.Listener{}, conns: map[[2]string][]net.Conn{}, cut: map[[2]string]bool{}}
}

func (n *network) listen(addr string) *memnet.Listener {
	l := memnet.Listen(addr)
	n.mu.Lock()
	n.listeners[addr] = l
	n.mu.Unlock()
	return l
}

var errCut = errors.New("nobody answers")

func pair(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

func (n *network) dial(from string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		a, b := net.Pipe()
		p := pair(from, addr)
		n.mu.Lock()
		l, cut := n.listeners[addr], n.cut[p]
		if !cut {
			n.conns[p] = append(n.conns[p], a, b)
		}
		n.mu.Unlock()
		if l == nil || cut {
			return nil, errCut
		}
		if err := l.Hand(ctx, b); errors.Is(err, net.ErrClosed) {
			return nil, errCut
		} else if err != nil {
			return nil, err
		}
		return a, nil
	}
}

// part cuts the way between two nodes, or opens it again.
func (n *network) part(a, b string, cut bool) {
	n.mu.Lock()
	p := pair(a, b)
	n.cut[p] = cut
	conns := n.conns[p]
	if cut {
		delete(n.conns, p)
	}
	n.mu.Unlock()
	if cut {
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// isolate cuts a node off from all others, or lets it back.
func (n *network) isolate(name string, cut bool) {
	n.mu.Lock()
	var others []string
	for other := range n.listeners {
		if other != name {
			others = append(others, other)
		}
	}
	n.mu.Unlock()
	for _, other := range others {
		n.part(name, other, cut)
	}
}
