package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// Links is one node's end of all its links. Open it, Add the other nodes, Close it. All methods may be called from any
// goroutine.
type Links struct {
	// Fixed after Open.
	x              *exchange.Exchange
	cfg            Config
	client, server *tls.Config
	listener       net.Listener
	start          time.Time
	ctx            context.Context
	stop           context.CancelFunc
	rate           rate

	wg sync.WaitGroup // accept, watch, and one for every connection that was accepted

	mu sync.Mutex
	// Guarded by mu.
	closed    bool
	links     map[string]*Link
	accepted  map[net.Conn]struct{}
	strangers int
	streams   int
	questions int
}

// Open starts to accept the connections of other nodes on listener, which it closes in the end. x is where their mail goes. It
// fails when cfg cannot be, or when plain connections would be open to more than this machine.
func Open(x *exchange.Exchange, listener net.Listener, cfg Config) (*Links, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if a, ok := listener.Addr().(*net.TCPAddr); cfg.TLS == nil && !cfg.Plain && (!ok || !a.IP.IsLoopback()) {
		return nil, fmt.Errorf("link: %s is open to others; configure TLS, or Plain", listener.Addr())
	}
	l := &Links{
		x: x, cfg: cfg, listener: listener, start: time.Now(),
		links: map[string]*Link{}, accepted: map[net.Conn]struct{}{},
		rate: rate{perSecond: cfg.StreamRate},
	}
	if l.client, l.server, err = secure(cfg.TLS); err != nil {
		return nil, err
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wg.Add(2)
	go l.accept()
	go l.watch()
	return l, nil
}

// Add makes a link to node at addr, or gives the one that is there another address, which counts from the next connection on.
func (l *Links) Add(node, addr string) (*Link, error) {
	if !wire.ValidID(node) || node == l.cfg.Node {
		return nil, fmt.Errorf("link: %q is not another node's id", node)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	if k := l.links[node]; k != nil {
		k.addr.Store(&addr)
		return k, nil
	}
	k := newLink(l, node, addr)
	l.links[node] = k
	k.wg.Add(lanes)
	for i := range k.lanes {
		go k.lanes[i].run(k.ctx)
	}
	return k, nil
}

// Remove ends the link to node and waits for its end: the node is no member any more. Its incarnation counts as ended.
func (l *Links) Remove(node string) {
	l.mu.Lock()
	k := l.links[node]
	delete(l.links, node)
	l.mu.Unlock()
	if k != nil {
		k.close()
	}
}

// To returns the link to node, nil when there is none.
func (l *Links) To(node string) *Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[node]
}

// Status returns what is known of every link, in no order.
func (l *Links) Status() []Status {
	l.mu.Lock()
	links := make([]*Link, 0, len(l.links))
	for _, k := range l.links {
		links = append(links, k)
	}
	l.mu.Unlock()
	list := make([]Status, len(links))
	for i, k := range links {
		list[i] = k.Status()
	}
	return list
}

// Close tells every node that this incarnation ends, writes what waits, as long as that goes on, and ends all connections.
func (l *Links) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	links := l.links
	l.links = map[string]*Link{}
	l.mu.Unlock()
	l.stop()
	for _, k := range links {
		k.close()
	}
	err := l.listener.Close()
	l.mu.Lock()
	for c := range l.accepted {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the listener of links: %w", err)
	}
	return nil
}

// accept takes connections until the listener is closed.
func (l *Links) accept() {
	defer l.wg.Done()
	for {
		c, err := l.listener.Accept()
		if err != nil {
			if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			l.cfg.Log.Warn("accepting links", "error", err)
			select {
			case <-l.ctx.Done():
				return
			case <-time.After(redialMax): // too many open files, mostly
			}
			continue
		}
		l.mu.Lock()
		take := !l.closed && l.strangers < strangersMax
		if take {
			l.strangers++
			l.accepted[c] = struct{}{}
			l.wg.Add(1)
		}
		l.mu.Unlock()
		if !take {
			_ = c.Close()
			continue
		}
		go l.serve(c)
	}
}

// known ends the time in which nobody knows who has called.
func (l *Links) known() {
	l.mu.Lock()
	l.strangers--
	l.mu.Unlock()
}

// hangUp closes an accepted connection.
func (l *Links) hangUp(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	delete(l.accepted, c)
	l.mu.Unlock()
}

// watch notices links that have fallen silent.
func (l *Links) watch() {
	defer l.wg.Done()
	tick := time.NewTicker(l.cfg.Silence / 8)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		l.mu.Lock()
		links := make([]*Link, 0, len(l.links))
		for _, k := range l.links {
			links = append(links, k)
		}
		l.mu.Unlock()
		for _, k := range links {
			k.judge()
		}
	}
}

// since is the time as links note it: nanoseconds since Open, at least 1.
func (l *Links) since() int64 { return int64(time.Since(l.start)) + 1 }
