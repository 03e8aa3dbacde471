package edge

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// door is a listening socket whose connections the loops accept. Of the HTTP server it is a listener that brings only those who
// want something else than a WebSocket: see knock.
type door struct {
	// Fixed after openDoor.
	e      *Edge
	fd     int32
	addr   net.Addr
	closed chan struct{}

	listens bool // in e.doors; set before anybody else knows of it

	// Shared.
	once sync.Once
}

const (
	acceptMost = 64              // connections that a loop takes before it looks after the others
	handedMost = 1024            // that wait for the HTTP server
	knockMost  = 5 * time.Second // that a connection may say nothing to a loop

	// knockersMost is how many may have said nothing yet, and knockersSpare how many of them find room beside as many connections as there
	// may be: somebody wants to know how the node is.
	knockersMost  = 4096
	knockersSpare = 128
)

// handed is a connection that the HTTP server shall serve, with what was read of it.
type handed struct {
	fd   int32
	head []byte
}

// openDoor lets the loops accept what comes to ln, and takes it away from its owner. It returns ln itself when that is
// not for loops.
func (e *Edge) openDoor(ln net.Listener) net.Listener {
	t, ok := ln.(*net.TCPListener)
	if !ok || len(e.loops) == 0 {
		return ln
	}
	fd, err := duplicate(t)
	if err != nil {
		return ln
	}
	// Whoever is accepted has inherited these. Left to the kernel, what waits for a peer that does not read would grow to megabytes.
	_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	d := &door{e: e, fd: int32(fd), addr: ln.Addr(), closed: make(chan struct{})} //nolint:gosec // a descriptor
	_ = ln.Close()                                                                // the socket has another descriptor now
	return d
}

// admit lets the loops listen at the door that ln may be. It needs e.mu: until the edge has ended, the loops are there.
func (e *Edge) admit(ln net.Listener) error {
	d, ok := ln.(*door)
	if !ok {
		return nil
	}
	for _, l := range e.loops {
		if err := l.p.listen(d.fd, doorSlot(len(e.doors))); err != nil {
			for _, l := range e.loops {
				l.p.remove(d.fd)
			}
			return fmt.Errorf("listening at %s: %w", d.addr, err)
		}
	}
	e.doors, d.listens = append(e.doors, d), true
	return nil
}

// doorSlot is what events of the n'th door carry in the place of a slot.
func doorSlot(n int) int32 { return int32(-1 - n) } //nolint:gosec // as many as Serve was called for

// Accept implements net.Listener, for the HTTP server: it returns the next connection that a loop handed over.
func (d *door) Accept() (net.Conn, error) {
	for {
		select {
		case <-d.closed:
			return nil, net.ErrClosed
		case h := <-d.e.handed:
			if sock, err := h.sock(); err == nil {
				return sock, nil
			}
		}
	}
}

// Close implements net.Listener. The descriptor of a door that loops listen at stays until they have ended: its number must not
// come back before.
func (d *door) Close() error {
	d.once.Do(func() {
		if !d.listens {
			_ = syscall.Close(int(d.fd))
			return
		}
		_ = syscall.Shutdown(int(d.fd), syscall.SHUT_RD) // nobody can connect any more, and every loop hears of it
		close(d.closed)
	})
	return nil
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return d.addr }

// closeDoors gives back what doors and nobody else holds. The loops have ended.
func (e *Edge) closeDoors() {
	for _, d := range e.doors {
		_ = d.Close()
		_ = syscall.Close(int(d.fd))
	}
	e.turnAway()
}

// turnAway answers who waits for the HTTP server, which has ended.
func (e *Edge) turnAway() {
	for {
		select {
		case h := <-e.handed:
			refuse(h.fd)
		default:
			return
		}
	}
}

// refuse answers that there is no room, and hangs up.
func refuse(fd int32) {
	_, _ = write(fd, tooMany)
	_ = syscall.Close(int(fd))
}

// sock makes h a socket of the runtime's.
func (h handed) sock() (net.Conn, error) {
	f := os.NewFile(uintptr(h.fd), "socket")
	sock, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return nil, err
	}
	t, ok := sock.(*net.TCPConn)
	if !ok {
		_ = sock.Close()
		return nil, errors.ErrUnsupported
	}
	return &knocked{TCPConn: t, head: h.head}, nil
}

// knocked is a socket of which a loop has read something.
type knocked struct {
	*net.TCPConn
	head []byte
}

// Read implements net.Conn.
func (k *knocked) Read(b []byte) (int, error) {
	if len(k.head) > 0 {
		n := copy(b, k.head)
		if k.head = k.head[n:]; len(k.head) == 0 {
			k.head = nil
		}
		return n, nil
	}
	return k.TCPConn.Read(b)
}

// whole returns the socket without what was read ahead; whoever asks has taken that.
func whole(sock net.Conn) net.Conn {
	if k, ok := sock.(*knocked); ok {
		return k.TCPConn
	}
	return sock
}

// accept takes who waits at the door.
func (l *loop) accept(d *door) {
	for range acceptMost {
		fd, ip, err := acceptOne(d.fd, l.e.cfg.PerIP > 0)
		switch {
		case err == nil:
			l.invite(fd, ip)
		case errors.Is(err, syscall.EAGAIN):
			return
		case exhausted(err):
			l.shut(d, err)
			return
		case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EBADF):
			l.p.remove(d.fd) // closed
			return
		default: // of one connection, accept(2) says: the next may be well
		}
	}
}

// invite begins to listen to a connection that was accepted. Which loop is its own does not depend on who accepted it.
func (l *loop) invite(fd int32, ip string) {
	if n := l.e.knockers.Add(1); n > knockersMost || l.e.open.Load()+n > int64(l.e.cfg.Connections)+knockersSpare {
		l.e.knockers.Add(-1)
		refuse(fd)
		return
	}
	c := l.e.newConn(nil, modeJSON, ip)
	c.seat.fd, c.seat.slot, c.seat.knocking = fd, -1, true
	c.loop = l.e.loops[c.id.ID%uint64(len(l.e.loops))]
	if c.loop != l {
		c.loop.mark(c)
		return
	}
	l.admit(c)
}

// shut lets those at the door wait until there may be descriptors again. The event of a door would come at once again.
func (l *loop) shut(d *door, err error) {
	l.p.remove(d.fd)
	l.shutDoor, l.shutUntil = true, l.now()+int64(shutFor)
	l.e.shut(err)
}

// reopen listens at the doors again when their time has come.
func (l *loop) reopen() {
	if !l.shutDoor || l.now() < l.shutUntil {
		return
	}
	l.shutDoor = false
	l.e.mu.Lock()
	doors := l.e.doors
	l.e.mu.Unlock()
	for n, d := range doors {
		_ = l.p.listen(d.fd, doorSlot(n)) // an error where it listens already
	}
}

// greet begins the patience with a connection that has said nothing.
func (l *loop) greet(c *conn) {
	c.seat.until = l.now() + int64(l.e.cfg.Knock)
	l.knockers = append(l.knockers, c)
}

// impatient hands over who has said nothing for too long: the HTTP server has a deadline, and an answer for them.
func (l *loop) impatient() {
	for len(l.knockers) > 0 {
		c := l.knockers[0]
		if c.seat.knocking && c.seat.fd >= 0 {
			if c.seat.until > l.now() {
				return
			}
			l.handOver(c, nil)
		}
		l.knockers[0] = nil
		l.knockers = l.knockers[1:]
	}
	l.knockers = nil
}

// knock takes the first bytes of a connection. A request that becomes a WebSocket is answered here: through the HTTP server it
// costs three times as much. Everything else is the server's, and so is what came in pieces, or would be refused.
func (l *loop) knock(c *conn, b []byte) {
	e := l.e
	s := &l.shaker
	if e.full(c.address()) || !s.shake(e, b) {
		l.handOver(c, b)
		return
	}
	l.entered(c)
	c.mode, c.asked = mode(s.codec), s.shown
	c.begins()
	if n, err := write(c.seat.fd, s.out); err != nil || n < len(s.out) { // it is gone: a new socket has room
		l.unseat(c)
		return
	}
	rest := b[s.used:]
	if e.join(c) && len(rest) > 0 {
		l.take(c, rest)
	}
}

// handOver gives a connection to the HTTP server.
func (l *loop) handOver(c *conn, head []byte) {
	l.vacate(c)
	fd := c.seat.fd
	c.seat.fd = -1
	l.entered(c)
	if !l.e.shutting.Load() {
		select {
		case l.e.handed <- handed{fd: fd, head: append([]byte(nil), head...)}:
			return
		default:
		}
	}
	refuse(fd)
}

// entered takes note that c knocks no more.
func (l *loop) entered(c *conn) {
	if c.seat.knocking {
		c.seat.knocking = false
		l.e.knockers.Add(-1)
	}
}

// tooMany answers who finds more waiting for the HTTP server than it can serve soon, or that it has ended.
var tooMany = []byte("HTTP/1.1 503 Service Unavailable\r\nServer: switchboard\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

// full tells whether there is no room for another connection.
func (e *Edge) full(ip string) bool {
	return e.draining.Load() || e.open.Load() >= int64(e.cfg.Connections) || e.crowded(ip)
}
