package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// Tokens checks what a client shows.
type Tokens interface {
	// Check returns who the bearer is and until when. Its error is a *wire.Error: unauthenticated or token_expired.
	Check(token string, now time.Time) (wire.Principal, time.Time, error)
}

// Limits of one connection [SW-3]. Zero fields mean their defaults.
type Limits struct {
	Frame    int     `yaml:"frame"`    // bytes of one frame; default 65,536
	Body     int     `yaml:"body"`     // bytes of one body; default 32,768, or Frame when that is less
	Batch    int     `yaml:"batch"`    // frames in one message; default 64
	Sessions int     `yaml:"sessions"` // sessions that a customer's connection follows; default 8
	Inflight int     `yaml:"inflight"` // unanswered requests of a customer; default 8
	Rate     float64 `yaml:"rate"`     // requests a second of a customer; default 10
	Burst    int     `yaml:"burst"`    // requests at once; default 20
}

// Defaults puts the default into every field that is zero.
func (l *Limits) Defaults() {
	or(&l.Frame, 65_536)
	or(&l.Body, min(32_768, l.Frame))
	or(&l.Batch, 64)
	or(&l.Sessions, 8)
	or(&l.Inflight, 8)
	or(&l.Rate, 10)
	or(&l.Burst, 20)
}

// The bounds of Limits.
const (
	// frameLeast has room for a hello with its token: with less nobody gets in.
	frameLeast = 1 << 10
	// frameMost is half of what closes a customer's socket 3008 when it waits there, see Config.Outbox: what one may say, others can be told.
	frameMost = 512 << 10
	countMost = 1_000_000_000 // hello tells the others in 32 bits
)

// Validate reports which of l makes no sense, with names as in a file, and what it may be. Defaults come first: zero is refused.
func (l *Limits) Validate() error {
	for _, f := range [...]struct {
		name           string
		v, least, most int
	}{
		{"frame", l.Frame, frameLeast, frameMost},
		{"body", l.Body, 1, frameMost},
		{"batch", l.Batch, 1, countMost},
		{"sessions", l.Sessions, 1, countMost},
		{"inflight", l.Inflight, 1, countMost},
		{"burst", l.Burst, 1, countMost},
	} {
		if f.v < f.least || f.v > f.most {
			return fmt.Errorf("limits.%s is %d: it must be %d to %d", f.name, f.v, f.least, f.most)
		}
	}
	if !(l.Rate > 0 && l.Rate <= countMost) { // nor may it be no number
		return fmt.Errorf("limits.rate is %v: it must be more than 0 and at most %d", l.Rate, countMost)
	}
	if l.Body > l.Frame {
		return fmt.Errorf("limits.body is %d: it must be at most limits.frame, which is %d", l.Body, l.Frame)
	}
	return nil
}

// DefaultConnections is how many sockets are held when nobody says otherwise.
const DefaultConnections = 100_000

// Config says how the edge serves. The zero value of a field means its default.
type Config struct {
	// Tokens checks tokens. It has no default.
	Tokens Tokens
	// Node is the node's name in hello; Version the server's.
	Node, Version string
	Limits        Limits
	// TLS is what is spoken on the sockets, as secure.Config makes it; nil is plain TCP.
	TLS *tls.Config
	// Loops is how many loops serve the WebSockets of a Linux node; 0 means one per two of GOMAXPROCS, at least 2 and
	// at most 4. Below zero, and on other systems, each socket has goroutines of its own.
	Loops int
	// AckDelay is for how long the acknowledgement of a customer's message may wait at most, and no longer than half of Answer, so that it travels with the answer, when the
	// last one was answered as soon; default 100 ms. Below zero none waits, as on connections without a loop.
	AckDelay time.Duration
	// Connections is how many sockets are held; beyond it new ones get 503. Default 100,000.
	Connections int
	// PerIP is how many of them one peer address may have, of IPv6 one network of 64 bits; 0 is no limit. Behind a proxy all have its address.
	PerIP int
	// PerCustomer is how many of them one customer may have, event streams among them; 0 is no limit. When there is one more his oldest is closed
	// 3504 [SW-6.2].
	PerCustomer int
	// Ping and Pong are the pauses of [SW-2.6]; default 25 s and 8 s.
	Ping, Pong time.Duration
	// WorkerPing is Ping for workers, whose lease ends when they are silent [SW-5.7]; default 5 s, and never above Ping.
	WorkerPing time.Duration
	// Hello is how long a connection may take to say hello; default 5 s [SW-2.8].
	Hello time.Duration
	// Stall is how long a write may make no progress; default 20 s [SW-4.7].
	Stall time.Duration
	// Knock is how long a socket may stay silent before it is handed to the HTTP server, whose deadline for a request then begins;
	// default 5 s. Only where loops accept.
	Knock time.Duration
	// Answer is how long a request may stay unanswered before it is told deadline; default 10 s.
	Answer time.Duration
	// Outbox is how many bytes of pushes may wait for one socket; default 256 KiB. Four times as much, of workers and supervisors 64 times
	// as much, closes it 3008: what may not be dropped does not fit.
	Outbox int
	// Origins are the browsers' origins that may connect; empty means that Origin is not checked [SW-2.9].
	Origins []string
	// TenantOrigins returns the origins from which browsers may use a tenant's tokens; empty means any. May be nil.
	TenantOrigins func(tenant string) []string
	// Suspended tells whether a tenant's tokens are refused, whatever they are good for; nil means that nobody's are.
	Suspended func(tenant string) bool
	// TokenInURL allows ?token= on the upgrade and on SSE, for EventSource [SW-2.9]. Default off.
	TokenInURL bool
	// Ready returns nil when the node serves; its error goes into /readyz.
	Ready func() error
	// Serves tells whether the node serves a tenant, of those that have keys; nil means that it serves all.
	Serves func(tenant string) bool
	// Begin makes a tenant who has keys, and whom no node serves yet, one that all nodes serve, as an operator of his applies his first document
	// [SW-7.3]. With dry nothing is made, and the answer is what the request is answered. The error is a *wire.Error. Nil: nobody can.
	Begin func(ctx context.Context, who *wire.Principal, document []byte, dry bool) (answer []byte, err error)
	// Elsewhere makes the edge one of a node that serves no clients: it opens no sockets, and of the HTTP API it serves what looks after the node and
	// its cluster. It returns at which URLs clients are served, those that are known; nil means that this edge serves them.
	Elsewhere func() []string
	// Operate looks after the cluster [SW-7.5], for operators of the tenants Operators; nil means 404.
	Operate   Operate
	Operators []string
	// Erasures returns the erasures of a tenant that wait for something [SW-7.13], to be told as JSON; nil means 404. The error is a *wire.Error.
	Erasures func(ctx context.Context, tenant string) (any, error)
	// Metrics serves /metrics; nil means 404.
	Metrics http.Handler
	// Static serves what no other path does, and reports whether it did; may be nil.
	Static func(*fasthttp.RequestCtx) bool
	// Register takes the edge's metrics; may be nil.
	Register prometheus.Registerer
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Log takes what an operator should know; default slog.Default.
	Log *slog.Logger
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// Defaults puts the default into every field that is zero, and reports what is missing. Open calls it.
func (c *Config) Defaults() error {
	if c.Tokens == nil {
		return errors.New("edge: Config.Tokens is missing")
	}
	c.Limits.Defaults()
	or(&c.AckDelay, DefaultAckDelay)
	or(&c.Connections, DefaultConnections)
	or(&c.Ping, 25*time.Second)
	or(&c.WorkerPing, min(5*time.Second, c.Ping))
	or(&c.Pong, 8*time.Second)
	or(&c.Hello, 5*time.Second)
	or(&c.Stall, 20*time.Second)
	or(&c.Knock, 5*time.Second)
	or(&c.Answer, 10*time.Second)
	c.AckDelay = min(c.AckDelay, c.Answer/2) // or a request would be told deadline whose answer waits
	or(&c.Outbox, 256<<10)
	or(&c.Node, "n1")
	or(&c.Version, "dev")
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return nil
}

// The bounds of workers, who speak for many customers at once.
const (
	workerInflight = 4096
	workerSessions = 10_000
	maxPending     = 1 << 20 // of a resume, which limits.sessions bounds already
)

// sessions is how many sessions a connection of role may follow.
func (c *Config) sessions(role wire.Role) int {
	if role == wire.RoleCustomer {
		return c.Limits.Sessions
	}
	return workerSessions
}

// inflight is how many unanswered requests a connection of role may have.
func (c *Config) inflight(role wire.Role) int {
	if role == wire.RoleCustomer {
		return c.Limits.Inflight
	}
	return workerInflight
}

// ping is after how much silence a connection is pinged; workers are pinged often.
func (c *Config) ping(often bool) time.Duration {
	if often {
		return c.WorkerPing
	}
	return c.Ping
}
