package edge

import (
	"errors"
	"net"
	"syscall"
	"time"
)

const (
	shutFor    = 100 * time.Millisecond // that nobody is accepted for, when there are no descriptors
	complainMS = 60_000                 // between two words about that
)

// patient is a listener of the HTTP server's where that accepts itself: when no descriptor is left, the server would end for good.
type patient struct {
	net.Listener
	e *Edge
}

// Accept implements net.Listener.
func (p *patient) Accept() (net.Conn, error) {
	for {
		sock, err := p.Listener.Accept()
		if err == nil || !exhausted(err) {
			return sock, err
		}
		p.e.shut(err)
		time.Sleep(shutFor)
	}
}

// exhausted tells whether there is no room for another socket, for the moment.
func exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// shut counts that those at a door wait, and tells operators.
func (e *Edge) shut(err error) {
	e.shutDoors.Add(1)
	if now, last := e.now(), e.shutAt.Load(); (last == 0 || now-last >= complainMS) && e.shutAt.CompareAndSwap(last, now) {
		e.cfg.Log.Error("connections wait at the door: raise the limit of open files", "err", err)
	}
}
