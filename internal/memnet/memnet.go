// Package memnet is where connections in memory are accepted: the listener of a network that a test makes. What a connection is (a pipe, or one that
// delays and loses) and who may dial whom is the network's own business: it makes both ends, and hands one to the listener.
package memnet

import (
	"context"
	"net"
	"sync"
)

// Listener is a net.Listener at an address that is only a name. All methods may be called from any goroutine, and in a bubble of testing/synctest
// whoever waits here is durably blocked.
type Listener struct {
	addr   addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listen returns a listener. Nobody checks that the name is free.
func Listen(name string) *Listener {
	return &Listener{addr: addr(name), conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Hand gives c to whoever accepts, and waits until somebody does. When the listener is closed before, it returns net.ErrClosed; when ctx ends, its
// cause. c then still belongs to the caller.
func (l *Listener) Hand(ctx context.Context, c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Accept waits for a connection. It returns net.ErrClosed when the listener is closed.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends all who accept and hand over, now and later. It returns nil, also when it is called again.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the name.
func (l *Listener) Addr() net.Addr { return l.addr }

type addr string

func (a addr) Network() string { return "memory" }
func (a addr) String() string  { return string(a) }
