package loadtest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// cut is a way to lose a connection.
type cut uint8

const (
	noCut   cut = iota
	between     // nothing is on its way
	torn        // in the middle of a request: half of it was written
	unheard     // the server's answer is lost: it was written, and nobody read it
	cuts
)

// errCut is what a client gets from a connection that was cut.
var errCut = errors.New("loadtest: the connection was cut on purpose")

// pick returns a kind of cut with probability p, noCut otherwise.
func pick(rng *rand.Rand, p float64) cut {
	if rng.Float64() >= p {
		return noCut
	}
	return between + cut(rng.IntN(int(cuts-between)))
}

// disturber cuts the connections of one client.
type disturber struct {
	// Fixed.
	rest time.Duration // how long a connection lives at least: a shared one that is cut all the time does no work

	mu sync.Mutex
	// Guarded by mu.
	conn     net.Conn // the current one, nil before the first
	since    time.Time
	armed    cut
	happened [cuts]int
}

// dial is for client.Config.Dial.
func (d *disturber) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var n net.Dialer
	c, err := n.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn, d.since = c, time.Now()
	return &fragile{Conn: c, d: d}, nil
}

// cut cuts the current connection now, or at its next write or read, as k says.
func (d *disturber) cut(k cut) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k == noCut || d.conn == nil || time.Since(d.since) < d.rest {
		return
	}
	if k != between {
		d.armed = k
		return
	}
	_ = d.conn.Close()
	d.conn = nil
	d.happened[between]++
}

// fires tells whether c is to be cut now, in the way k.
func (d *disturber) fires(c net.Conn, k cut) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.armed != k || d.conn != c {
		return false
	}
	d.armed, d.conn = noCut, nil
	d.happened[k]++
	return true
}

// count returns how often what happened.
func (d *disturber) count() [cuts]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.happened
}

// fragile is a connection that a disturber can cut.
type fragile struct {
	net.Conn
	d *disturber
}

// Write implements net.Conn.
func (f *fragile) Write(p []byte) (int, error) {
	if !f.d.fires(f.Conn, torn) {
		return f.Conn.Write(p)
	}
	n, _ := f.Conn.Write(p[:len(p)/2]) // what becomes of it is not our concern any more
	_ = f.Close()
	return n, errCut
}

// Read implements net.Conn.
func (f *fragile) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if n > 0 && f.d.fires(f.Conn, unheard) {
		_ = f.Close()
		return 0, errCut
	}
	return n, err
}
