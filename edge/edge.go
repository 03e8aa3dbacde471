package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"switchboard/exchange"
	"switchboard/wire"
)

// Edge holds the connections of one node. Its methods may be called from any goroutine.
type Edge struct {
	// Fixed after Open.
	cfg      Config
	x        *exchange.Exchange
	upgrader websocket.FastHTTPUpgrader
	server   *fasthttp.Server
	m        *metrics
	stop     chan struct{}

	// Shared.
	lastConn atomic.Uint64
	open     atomic.Int64
	draining atomic.Bool
	wg       sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	conns map[uint64]*conn
	done  bool
}

// Open prepares an edge that posts over x. It serves nothing until Serve.
func Open(x *exchange.Exchange, cfg Config) (*Edge, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, x: x, m: newMetrics(cfg.Register), stop: make(chan struct{}), conns: map[uint64]*conn{}}
	var protocols []string
	for _, c := range wire.Subprotocols() {
		protocols = append(protocols, c.Subprotocol())
	}
	e.upgrader = websocket.FastHTTPUpgrader{
		Subprotocols: protocols, ReadBufferSize: 16, WriteBufferSize: 16,
		CheckOrigin: func(ctx *fasthttp.RequestCtx) bool {
			origin := string(ctx.Request.Header.Peek("Origin"))
			return origin == "" || len(cfg.Origins) == 0 || slices.Contains(cfg.Origins, origin)
		},
	}
	e.server = &fasthttp.Server{
		Handler: e.handle, Name: "switchboard", KeepHijackedConns: true, NoDefaultDate: true,
		MaxRequestBodySize: cfg.Limits.Frame, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute,
		Concurrency: 4096, Logger: quiet{}, CloseOnShutdown: true,
	}
	e.wg.Add(1)
	go e.tick()
	return e, nil
}

// quiet drops fasthttp's lines about connections that broke: they are counted, and nothing can be done about them.
type quiet struct{}

// Printf implements fasthttp.Logger.
func (quiet) Printf(string, ...any) {}

// Serve accepts connections of ln until Drain or Close.
func (e *Edge) Serve(ln net.Listener) error {
	if err := e.server.Serve(ln); err != nil {
		return fmt.Errorf("serving %s: %w", ln.Addr(), err)
	}
	return nil
}

// Connections returns how many sockets are open.
func (e *Edge) Connections() int { return int(e.open.Load()) }

// Drain takes no new connections, tells the open ones to come back elsewhere or later [SW-6.2], spread so that they do not
// all come at once, and waits until they are closed or ctx is done.
func (e *Edge) Drain(ctx context.Context) {
	if e.draining.Swap(true) {
		return
	}
	list := e.list()
	spread := min(time.Duration(len(list))*time.Millisecond, 10*time.Second)
	for _, c := range list {
		after := int64(0)
		if spread > 0 {
			after = rand.Int64N(spread.Milliseconds() + 1)
		}
		c.bye(wire.CloseDrain, after)
	}
	_ = e.server.ShutdownWithContext(ctx)
	for e.open.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Close ends what is left and joins every goroutine.
func (e *Edge) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e.Drain(ctx)
	e.mu.Lock()
	if e.done {
		e.mu.Unlock()
		return nil
	}
	e.done = true
	e.mu.Unlock()
	close(e.stop)
	for _, c := range e.list() {
		_ = c.sock.Close()
	}
	e.wg.Wait()
	return nil
}

func (e *Edge) list() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]*conn, 0, len(e.conns))
	for _, c := range e.conns {
		list = append(list, c)
	}
	return list
}

// tick looks after every connection's deadlines: one goroutine for all.
func (e *Edge) tick() {
	defer e.wg.Done()
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-t.C:
		}
		now := e.cfg.Now()
		for _, c := range e.list() {
			c.tick(now)
		}
	}
}

// handle is every HTTP request.
func (e *Edge) handle(ctx *fasthttp.RequestCtx) {
	if string(ctx.Path()) == "/v1/connect" {
		e.connect(ctx)
		return
	}
	e.http(ctx)
}

// connect upgrades to WebSocket [SW-2.1].
func (e *Edge) connect(ctx *fasthttp.RequestCtx) {
	if !e.room(ctx) {
		return
	}
	offered := string(ctx.Request.Header.Peek("Sec-WebSocket-Protocol"))
	codec, ok := negotiate(offered)
	if !ok {
		problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "offer switchboard.v1.json or switchboard.v1.pb, or no subprotocol"})
		return
	}
	token := bearer(ctx)
	if token == "" && e.cfg.TokenInURL {
		token = string(ctx.QueryArgs().Peek("token"))
	}
	err := e.upgrader.Upgrade(ctx, func(w *websocket.Conn) {
		sock, early := detach(w.NetConn(), e.cfg.Limits.Frame)
		e.accept(sock, mode(codec), token, early, nil)
	})
	if err != nil {
		e.m.refused.Inc()
	}
}

// room answers 503 when there is none for another socket.
func (e *Edge) room(ctx *fasthttp.RequestCtx) bool {
	switch {
	case e.draining.Load():
		ctx.Response.Header.Set("Retry-After", "1")
		problem(ctx, wire.Refuse(wire.Draining))
	case e.open.Load() >= int64(e.cfg.Connections):
		ctx.Response.Header.Set("Retry-After", "5")
		problem(ctx, &wire.Error{Slug: wire.Overloaded, Message: "too many connections", RetryAfter: 5 * time.Second})
	default:
		return true
	}
	e.m.refused.Inc()
	return false
}

// negotiate returns the codec of an offer; none offered means JSON, only unknown ones is an error [SW-2.1].
func negotiate(offered string) (wire.Codec, bool) {
	if strings.TrimSpace(offered) == "" {
		return wire.JSON, true
	}
	names := strings.Split(offered, ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	for _, c := range wire.Subprotocols() {
		if slices.Contains(names, c.Subprotocol()) {
			return c, true
		}
	}
	return 0, false
}

func bearer(ctx *fasthttp.RequestCtx) string {
	const prefix = "Bearer "
	h := string(ctx.Request.Header.Peek("Authorization"))
	if len(h) > len(prefix) && strings.EqualFold(h[:len(prefix)], prefix) {
		return h[len(prefix):]
	}
	return ""
}

// detach takes the socket out of the HTTP server's hands: what keeps the server's wrapper writes into whoever gets it
// next. early is what the client sent behind its request.
func detach(hijacked net.Conn, limit int) (sock net.Conn, early []byte) {
	u, ok := hijacked.(interface{ UnsafeConn() net.Conn })
	if !ok {
		return hijacked, nil
	}
	sock = u.UnsafeConn()
	// A deadline that has passed lets the wrapper give what it has buffered, and never wait for more.
	_ = sock.SetReadDeadline(time.Unix(1, 0))
	buf := make([]byte, 4096)
	for len(early) < limit {
		n, err := hijacked.Read(buf)
		early = append(early, buf[:n]...)
		if err != nil || n == 0 {
			break
		}
	}
	_ = sock.SetDeadline(time.Time{})
	return sock, early
}

// accept begins the life of a connection.
func (e *Edge) accept(sock net.Conn, m mode, token string, early []byte, who *wire.Principal) *conn {
	c := &conn{
		e: e, sock: sock, mode: m, id: wire.Conn{Node: e.x.Node(), ID: e.lastConn.Add(1)},
		accepted: e.cfg.Now(), token: token, buf: early, who: who,
	}
	c.lastRead.Store(c.accepted.UnixMilli())
	c.lastWrite.Store(c.accepted.UnixMilli())
	e.mu.Lock()
	if e.done {
		e.mu.Unlock()
		_ = sock.Close()
		return nil
	}
	e.conns[c.id.ID] = c
	e.wg.Add(1)
	e.mu.Unlock()
	e.open.Add(1)
	e.m.accepted.Inc()
	go c.read()
	return c
}

func (e *Edge) forget(c *conn) {
	e.mu.Lock()
	delete(e.conns, c.id.ID)
	e.mu.Unlock()
	e.open.Add(-1)
}

// post sends a command on, and says what became of it.
func (e *Edge) post(to wire.Address, c *wire.Command) *wire.Error {
	switch err := e.x.Post(wire.Envelope{To: to, Mail: c}); {
	case err == nil:
		return nil
	case errors.Is(err, exchange.ErrOverloaded):
		e.m.overloaded.Inc()
		return &wire.Error{Slug: wire.Overloaded, RetryAfter: 500 * time.Millisecond}
	default:
		return wire.Refuse(wire.Unavailable)
	}
}
