package client

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"switchboard/wire"
)

// Config says where to connect, as whom, and within which bounds. Only URL and Token are needed; zero means the
// default. A Config is read once, by [Dial] or [Work].
type Config struct {
	// URL of the server's socket, such as ws://127.0.0.1:7470/v1/connect.
	URL string
	// Token returns the JWT for the next hello or refresh [SW-3.1]. It is called once per connection and once before
	// every expiry, never twice at a time for one connection; ctx ends with the connection. An error counts as a
	// connection that failed, and is tried again.
	Token func(ctx context.Context) (string, error)
	// Protobuf prefers the binary codec; the server decides. Default: JSON.
	Protobuf bool
	// Client names the program in hello, such as "web/1.0". Default: "switchboard-go".
	Client string
	// Log receives what the application need not act on: lost connections, gaps, refused acknowledgements. Default:
	// nothing is logged.
	Log *slog.Logger
	// Dial opens the network connection. Default: a net.Dialer, through the proxy of the environment.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS configures wss. Default: the system's roots.
	TLS *tls.Config
	// BackoffMin and BackoffMax bound the pauses between connections: the n-th failure in a row waits a random time
	// between 0 and min(BackoffMax, BackoffMin·2ⁿ). Defaults: 500 ms and 20 s.
	BackoffMin, BackoffMax time.Duration
	// Timeout bounds the handshake with hello, and one write. Default: 10 s.
	Timeout time.Duration
	// Buffer is the number of entries of one session that wait to be read. A session whose reader is slower stops
	// following and continues from its position once the reader has caught up: nothing is lost, and no memory
	// grows. Default: 256.
	Buffer int
	// Pending is the number of requests that wait for their answer, over all sessions; further ones fail with
	// [ErrBusy], but for those by which the client's own sessions go on. The server's own limit of requests on the wire
	// (limits.inflight) is kept besides. Default: 1,024, of a worker twice as many as handlers may run when that is more.
	Pending int
	// Tries is how often one request is sent again after a refusal that invites to it (overloaded, unavailable, …).
	// Lost connections do not count. Default: 8.
	Tries int
	// MessageMax is the largest message in bytes that is accepted from the server. Default: 4 MiB.
	MessageMax int64
	// On holds the hooks for what is not an entry.
	On Hooks

	jitter func(time.Duration) time.Duration // tests; default: uniform in [0, d)
}

// Hooks are called for what happens beside the entries. They run on the goroutine that reads the socket, one at a
// time and in the order of the socket: a hook must return soon, and MUST NOT wait for an answer of the server (Open,
// Send, Reply, …), which that goroutine would have to read. Every hook may be nil. Reset is the exception: it runs
// where entries are read.
type Hooks struct {
	// Connected is called after every hello.
	Connected func(Hello)
	// Disconnected is called when a connection has ended or could not be made. wait is the pause before the next
	// attempt; it is negative when there will be none.
	Disconnected func(err error, wait time.Duration)
	// State tells where a session stands: queued, assigned, … [SW-4].
	State func(*Session, State)
	// Typing tells that somebody types, or stopped; it holds for ttl at most [SW-4.8].
	Typing func(s *Session, who wire.Author, on bool, ttl time.Duration)
	// Receipt tells how far who has received and read [SW-4].
	Receipt func(s *Session, who wire.Author, delivered, read uint64)
	// Stream tells of a message that is being written [SW-4.8]. Its last call for a stream has Ended set.
	Stream func(*Session, Draft)
	// Reset is called by [Session.Recv], between the last entry before a break in the log and the first one after it:
	// what the application holds after r.At was lost, or everything before the next entry is unknown [SW-3.2].
	Reset func(s *Session, r Reset)
	// Presence tells a worker that its presence is another than it knows, "missed" for an offer that was not answered [SW-5.9]. Also one that did
	// not reach it: then it is told when it comes back.
	Presence func(state, reason string)
}

// pendingLeast is Config.Pending where nobody says otherwise, at least.
const pendingLeast = 1024

// StaticToken returns a token source that always says token. When the token expires, so does the client.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

var (
	// ErrClosed is returned after [Client.Close].
	ErrClosed = errors.New("client: closed")
	// ErrLeft is returned by a session that the application has left.
	ErrLeft = errors.New("client: the session was left")
	// ErrRevoked is returned by a worker's session that is no longer its own [SW-5.3].
	ErrRevoked = errors.New("client: the assignment has ended")
	// ErrTakenOver is what [Work] returns when another connection has subscribed as the same worker, under the same instance [SW-5.7]. The client has
	// ended: were it to come back it would take the work from the other, and the other from it, without end.
	ErrTakenOver = errors.New("client: another connection has subscribed as this worker")
	// ErrBusy is returned when Config.Pending requests wait already. The request was not sent.
	ErrBusy = errors.New("client: too many requests wait for their answer")
)

// validate fills in the defaults.
func (c Config) validate() (Config, error) {
	if c.URL == "" || c.Token == nil {
		return c, errors.New("client: Config needs URL and Token")
	}
	c.Client = or(c.Client, "switchboard-go")
	c.BackoffMin = or(c.BackoffMin, 500*time.Millisecond)
	c.BackoffMax = max(or(c.BackoffMax, 20*time.Second), c.BackoffMin)
	c.Timeout = or(c.Timeout, 10*time.Second)
	c.Buffer = or(c.Buffer, 256)
	c.Pending = or(c.Pending, pendingLeast)
	c.Tries = or(c.Tries, 8)
	c.MessageMax = or(c.MessageMax, 4<<20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.jitter == nil {
		c.jitter = func(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(max(d, 1)))) }
	}
	return c, nil
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// backoff returns the pause after the n-th failure in a row, from 0: full jitter, so that the clients of a node that
// died do not come back together. after is the server's own advice, which is kept in full.
func (c *Config) backoff(n int, after time.Duration) time.Duration {
	most := c.BackoffMax
	if n < 16 {
		most = min(most, c.BackoffMin<<n)
	}
	return after + c.jitter(most)
}
