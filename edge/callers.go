package edge

import (
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// callers are the connections of the HTTP server. It waits for everybody who has begun to ask when it ends, also for a request whose rest never
// comes, until its own deadline of many seconds; so from then on they have one of ours. Its methods may be called from any goroutine.
type callers struct {
	mu sync.Mutex
	// Guarded by mu.
	socks map[net.Conn]*caller
	until time.Time // what has not come by then does not count any more; zero while the server serves
	over  bool      // nobody is read any more
}

// callersMost is how many there may be; more are answered 503, or over TLS closed. When there are more than keepMost nobody keeps his connection behind an
// answer: whoever asks nothing just now, for up to a minute, would keep out who does.
const (
	callersMost = 4096
	keepMost    = callersMost / 2
)

// caller is one of them.
type caller struct {
	sock net.Conn // below TLS: the handshake and the hijacker may be changing what is above it
	asks bool     // it has begun to ask, or has only just come
}

// arriveMost is for how long a drain waits for the rest of a request.
const arriveMost = 500 * time.Millisecond

// note takes note of who comes and goes. It is the HTTP server's hook, and called before and after a connection is served.
func (k *callers) note(sock net.Conn, state fasthttp.ConnState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch state {
	case fasthttp.StateNew:
		if k.socks == nil {
			k.socks = map[net.Conn]*caller{}
		}
		k.socks[sock] = &caller{below(sock), true}
		if k.over {
			deafen(below(sock))
		}
	case fasthttp.StateActive, fasthttp.StateIdle:
		if c := k.socks[sock]; c != nil {
			c.asks = state == fasthttp.StateActive
		}
	case fasthttp.StateHijacked, fasthttp.StateClosed:
		delete(k.socks, sock)
	}
}

// end lets nothing arrive after until. Only the first word counts.
func (k *callers) end(until time.Time) {
	k.mu.Lock()
	if k.until.IsZero() {
		k.until = until
	}
	k.mu.Unlock()
	k.hurry()
}

// hurry sets the deadline of everybody, when there is one. It is called again and again, because the server sets its own whenever it begins to
// read. Whoever is being answered is not read, and does not notice.
func (k *callers) hurry() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.until.IsZero() {
		return
	}
	for _, c := range k.socks {
		_ = c.sock.SetReadDeadline(k.until) // an error is of one that is closed
	}
}

// shut lets nothing arrive any more, whatever deadlines the server sets, which would wait for many seconds for who says nothing. Whoever is being answered gets
// the answer.
func (k *callers) shut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	for _, c := range k.socks {
		deafen(c.sock)
	}
}

// many tells whether there are so many that nobody keeps his connection.
func (k *callers) many() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.socks) > keepMost
}

// asking returns how many ask something.
func (k *callers) asking() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.socks {
		if c.asks {
			n++
		}
	}
	return n
}

// deafen lets everybody who reads sock find its end: who waits there wakes up. What has come before somebody looks is read all the same (Linux gives it
// out behind a shutdown too), and answered as the last [Edge.handle].
func deafen(sock net.Conn) {
	if half, ok := sock.(interface{ CloseRead() error }); ok {
		_ = half.CloseRead() // an error is of one that is closed
		return
	}
	_ = sock.Close()
}
