package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"switchboard/edge/secure"
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
	loops    []*loop
	handed   chan handed // from the loops, for the HTTP server
	mark     string      // what keys of the edge's own begin with: see stamp

	// Shared.
	lastConn  atomic.Uint64
	open      atomic.Int64
	draining  atomic.Bool
	knockers  atomic.Int64 // who has been accepted, and has not asked for anything yet
	shutting  atomic.Bool  // the HTTP server takes nobody more
	shutDoors atomic.Int64 // times that no descriptor was left for those at a door
	shutAt    atomic.Int64 // when it was last logged, Unix ms
	unsaidAt  atomic.Int64 // when it was last logged that ends are not said, Unix ms
	wg        sync.WaitGroup
	table     [stripes]stripe
	paces     paces
	desks     desks
	persons   persons
	callers   callers

	changed atomic.Pointer[chan struct{}] // closed when another has come in the place of an owner

	// Owned by tick.
	saw     uint64  // changes of the exchange
	idle    []*conn // that are to be woken as owners have changed, some at a time
	stirred []*conn

	restMu sync.Mutex
	// Guarded by restMu.
	waiting map[*conn]struct{} // that want to know when owners change

	mu sync.Mutex
	// Guarded by mu.
	done    bool
	perIP   map[string]int
	orphans []*orphan
	again   []parting // gone that found no room
	parted  []parting // gone that may be lost, in the order they were said
	serving []net.Listener
	doors   []*door
}

// stripe is a part of the table of connections.
type stripe struct {
	mu sync.Mutex
	// Guarded by mu.
	conns []*conn // each at its spot
}

func (s *stripe) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.spot = int32(len(s.conns)) //nolint:gosec // as many as there are descriptors
	s.conns = append(s.conns, c)
}

// remove takes c off, whose spot the last one gets. When many have left, so has the memory for them.
func (s *stripe) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.conns) - 1
	last := s.conns[n]
	s.conns[c.spot], last.spot = last, c.spot
	s.conns[n] = nil
	if s.conns = s.conns[:n]; cap(s.conns) > stripeLeast && n < cap(s.conns)/4 {
		s.conns = append(make([]*conn, 0, 2*n), s.conns...)
	}
}

// stripeLeast is how much room a stripe keeps for connections that have left.
const stripeLeast = 64

func (s *stripe) list(into []*conn) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(into, s.conns...)
}

// Open prepares an edge that posts over x. It serves nothing until Serve.
func Open(x *exchange.Exchange, cfg Config) (*Edge, error) {
	if err := cfg.Defaults(); err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, x: x, m: newMetrics(cfg.Register), stop: make(chan struct{}), perIP: map[string]int{}, handed: make(chan handed, handedMost)}
	e.mark = "#" + strconv.FormatUint(x.Node(), 36) + "."
	changed := make(chan struct{})
	e.changed.Store(&changed)
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
		Error: noUpgrade,
	}
	e.server = &fasthttp.Server{
		Handler: e.handle, Name: "switchboard", KeepHijackedConns: true, NoDefaultDate: true,
		ReadBufferSize:     headMost,
		MaxRequestBodySize: cfg.Limits.Frame, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute,
		HeaderReceived: e.headerReceived, ConnState: e.callers.note,
		Concurrency: callersMost, Logger: quiet{}, CloseOnShutdown: true, ErrorHandler: e.malformed,
	}
	if err := e.openLoops(); err != nil {
		return nil, err
	}
	e.saw = x.Changes() // before there is anybody who could wait
	e.wg.Add(1)
	go e.tick()
	return e, nil
}

// headMost is how long the head of a request may be: a token may be half of it.
const headMost = 16 << 10

// quiet drops fasthttp's lines about connections that broke: they are counted, and nothing can be done about them.
type quiet struct{}

// Printf implements fasthttp.Logger.
func (quiet) Printf(string, ...any) {}

// Serve accepts connections of ln until Drain or Close, and closes it. It may be called when they have begun.
func (e *Edge) Serve(ln net.Listener) error {
	if e.cfg.TLS == nil {
		ln = e.openDoor(ln)
	}
	if _, loops := ln.(*door); !loops {
		ln = &patient{ln, e}
	}
	if e.cfg.TLS != nil {
		ln = secure.Listen(ln, e.cfg.TLS, e.met)
	}
	e.mu.Lock()
	late := e.draining.Load()
	var err error
	if !late {
		e.serving = append(e.serving, ln) // the server forgets whom it is not serving yet when it is shut down
		err = e.admit(ln)
	}
	e.mu.Unlock()
	if late || err != nil {
		_ = ln.Close()
		return err
	}
	if err := e.server.Serve(ln); err != nil {
		return fmt.Errorf("serving %s: %w", ln.Addr(), err)
	}
	return nil
}

// met counts a handshake.
func (e *Edge) met(state tls.ConnectionState, err error) {
	if err != nil {
		e.m.handshakesFailed.Inc()
		return
	}
	e.m.handshakes.WithLabelValues(strings.TrimPrefix(tls.VersionName(state.Version), "TLS "), strconv.FormatBool(state.DidResume)).Inc()
}

// Connections returns how many sockets are open.
func (e *Edge) Connections() int { return int(e.open.Load()) }

// Requests returns how many HTTP requests are being answered, or have come in part; who has only just connected counts as one.
func (e *Edge) Requests() int { return e.callers.asking() }

// Drain takes no new connections and no new requests, gives what is unanswered a moment, tells the open connections to
// come back elsewhere or later [SW-6.2], spread so that they do not all come at once, and waits until they are closed or
// ctx is done. Requests that have come are answered; one that has come in part gets half a second for the rest.
func (e *Edge) Drain(ctx context.Context) {
	if e.draining.Swap(true) {
		return
	}
	e.settle(ctx)
	e.closeDesks()
	list := e.list()
	spread := min(time.Duration(len(list))*time.Millisecond, 10*time.Second)
	for _, c := range list {
		c.bye(wire.CloseDrain, rand.Int64N(spread.Milliseconds()+1))
	}
	e.closeServing()
	_ = e.server.ShutdownWithContext(ctx)
	e.turnAway()
	e.await(ctx, func() bool { return e.open.Load() == 0 })
}

// closeServing lets nobody come any more.
func (e *Edge) closeServing() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shutting.Store(true)
	e.callers.end(time.Now().Add(arriveMost))
	for _, ln := range e.serving {
		_ = ln.Close()
	}
}

// settleMost is how long a drain waits for answers.
const settleMost = time.Second

// settle waits until nothing is unanswered.
func (e *Edge) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleMost)
	defer cancel()
	e.await(ctx, func() bool {
		for _, c := range e.list() {
			c.mu.Lock()
			n := c.inflight
			c.mu.Unlock()
			if n > 0 {
				return false
			}
		}
		return true
	})
}

func (e *Edge) await(ctx context.Context, done func() bool) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// Close ends what is left and joins every goroutine, but for those that are answering HTTP requests: they are told that it ends, and of their connections nothing
// more is waited for: what has come by then is read, and answered as the last.
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
	e.closeServing() // a drain may not have come to it
	e.callers.shut()
	for _, c := range e.list() {
		c.cut()
	}
	e.wg.Wait()
	e.closeLoops()
	e.closeDoors()
	for _, o := range e.orphans {
		e.x.UnplugConn(o.id.ID)
	}
	return nil
}

func (e *Edge) list() []*conn {
	list := make([]*conn, 0, e.open.Load())
	for i := range e.table {
		list = e.table[i].list(list)
	}
	return list
}

// now is the time in Unix milliseconds.
func (e *Edge) now() int64 { return e.cfg.Now().UnixMilli() }

// handle is every HTTP request.
func (e *Edge) handle(ctx *fasthttp.RequestCtx) {
	defer func() {
		switch {
		case e.shutting.Load():
			ctx.SetConnectionClose() // the server would go on with who was answered behind its own end
		case !ctx.Hijacked() && e.callers.many():
			ctx.SetConnectionClose()
		}
	}()
	if !framed(&ctx.Request.Header) {
		problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "where the body ends is told in two ways, or by another Transfer-Encoding than chunked"})
		ctx.SetConnectionClose() // what follows may be part of it
		return
	}
	if e.cfg.Elsewhere != nil && !operators(string(ctx.Path())) {
		e.elsewhere(ctx)
		return
	}
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
	unsettled := settle(&ctx.Request.Header)
	offered := string(ctx.Request.Header.Peek("Sec-WebSocket-Protocol"))
	codec, ok := negotiate(offered)
	if !ok {
		problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "offer switchboard.v1.json or switchboard.v1.pb, or no subprotocol"})
		return
	}
	if unsettled != nil && ctx.IsGet() { // another method has an answer of its own
		e.m.refused.Inc()
		noUpgrade(ctx, fasthttp.StatusBadRequest, unsettled)
		return
	}
	up, ip := &showing{e.token(ctx), string(ctx.Request.Header.Peek("Origin"))}, e.ip(ctx)
	err := e.upgrader.Upgrade(ctx, func(w *websocket.Conn) {
		sock, early := detach(w.NetConn())
		e.accept(sock, mode(codec), up, ip, early)
	})
	if err != nil {
		e.m.refused.Inc()
	}
}

// noUpgrade answers who asks for a connection in other words than a WebSocket's handshake [SW-2.1] [SW-7].
func noUpgrade(ctx *fasthttp.RequestCtx, status int, reason error) {
	err := &wire.Error{Slug: wire.BadRequest, Message: reason.Error()}
	switch status {
	case fasthttp.StatusForbidden:
		err = &wire.Error{Slug: wire.Forbidden, Message: "this origin may not connect"}
	case fasthttp.StatusMethodNotAllowed:
		problemAs(ctx, status, err)
		ctx.Response.Header.Set("Allow", fasthttp.MethodGet)
		return
	}
	ctx.Response.Header.Set("Sec-WebSocket-Version", "13") // RFC 6455, 4.4: which one is spoken here
	problem(ctx, err)
}

// token returns a copy of what the request shows, or nothing [SW-2.9].
func (e *Edge) token(ctx *fasthttp.RequestCtx) string {
	t := shownBy(&ctx.Request.Header)
	if t == "" && e.cfg.TokenInURL {
		t = string(ctx.QueryArgs().Peek("token"))
	}
	return t
}

// errSuspended refuses the tokens of a tenant who is suspended. Nobody changes it.
var errSuspended = &wire.Error{Slug: wire.Forbidden, Message: "the tenant is suspended"}

// bearerOf tells whose a token is, and until when [SW-3.1]. Everybody's are checked here.
func (e *Edge) bearerOf(token string) (who wire.Principal, until time.Time, err error) {
	who, until, err = e.cfg.Tokens.Check(token, e.cfg.Now())
	if err == nil && e.cfg.Suspended != nil && e.cfg.Suspended(who.Tenant) {
		return wire.Principal{}, time.Time{}, errSuspended
	}
	return who, until, err
}

// identity tells who shows a token in a request from origin, and until when [SW-2.9] [SW-3.1].
func (e *Edge) identity(token, origin string) (who wire.Principal, until time.Time, err error) {
	if who, until, err = e.bearerOf(token); err != nil {
		return who, until, err
	}
	if origin != "" && e.cfg.TenantOrigins != nil {
		if may := e.cfg.TenantOrigins(who.Tenant); len(may) > 0 && !slices.Contains(may, origin) {
			return wire.Principal{}, time.Time{}, &wire.Error{Slug: wire.Forbidden, Message: "this origin is not one of the tenant's"}
		}
	}
	return who, until, nil
}

// bearer is identity for an HTTP request.
func (e *Edge) bearer(ctx *fasthttp.RequestCtx) (who wire.Principal, until time.Time, err error) {
	return e.identity(e.token(ctx), string(ctx.Request.Header.Peek("Origin")))
}

// ip returns what connections are counted by, or nothing when they are not.
func (e *Edge) ip(ctx *fasthttp.RequestCtx) string {
	if e.cfg.PerIP == 0 {
		return ""
	}
	return countedBy(ctx.RemoteIP())
}

// countedBy returns by what an address is counted. Whoever has an address of IPv6 has the 2^64 beside it too.
func countedBy(ip net.IP) string {
	if ip.To4() == nil {
		ip = ip.Mask(net.CIDRMask(64, 128))
	}
	return ip.String()
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
	case e.crowded(e.ip(ctx)):
		problem(ctx, &wire.Error{Slug: wire.Overloaded, Message: "too many connections of this address", RetryAfter: 5 * time.Second})
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

// crowded tells whether the address has as many connections as it may.
func (e *Edge) crowded(ip string) bool {
	if ip == "" {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.perIP[ip] >= e.cfg.PerIP
}

// detach takes the socket out of the HTTP server's hands: what keeps the server's wrapper writes into whoever gets it
// next. early is what the client sent behind its request.
func detach(hijacked net.Conn) (sock net.Conn, early []byte) {
	u, ok := hijacked.(interface{ UnsafeConn() net.Conn })
	if !ok {
		return hijacked, nil
	}
	sock = u.UnsafeConn()
	// A deadline that has passed lets the wrapper give what it has buffered, and never wait for more.
	_ = sock.SetReadDeadline(time.Unix(1, 0))
	b := chunks.Get().(*[chunk]byte)
	defer func() {
		mangle(b[:])
		chunks.Put(b)
	}()
	for {
		n, err := hijacked.Read(b[:])
		early = append(early, b[:n]...)
		if err != nil {
			break
		}
	}
	_ = sock.SetDeadline(time.Time{})
	return whole(sock), early
}

// accept begins the life of a connection.
func (e *Edge) accept(sock net.Conn, m mode, up *showing, ip string, early []byte) {
	c := e.newConn(sock, m, ip)
	c.asked = up
	if e.seat(c, early) {
		if e.join(c) {
			c.loop.mark(c)
		}
		return
	}
	if e.join(c) {
		go c.read(early)
	}
}

// sendBuffer bounds what the kernel keeps for a peer that does not read. Left alone it grows to megabytes, which is memory
// beyond our limits, and delay: a ping waits behind them.
const sendBuffer = 128 << 10

// below returns the socket itself, without TLS.
func below(sock net.Conn) net.Conn {
	if s, ok := sock.(*secure.Conn); ok {
		return s.Sock()
	}
	return sock
}

func (e *Edge) newConn(sock net.Conn, m mode, ip string) *conn {
	c := &conn{e: e, mode: m, id: wire.Conn{Node: e.x.Node(), ID: e.lastConn.Add(1)}}
	if ip != "" {
		counted := ip // or every connection would pay for a place of it
		c.ip = &counted
	}
	if sock != nil {
		c.src = &source{sock: sock}
		if t, ok := below(sock).(*net.TCPConn); ok {
			_ = t.SetWriteBuffer(sendBuffer)
		}
	}
	c.seen.Store(e.x.Changes())
	c.begins()
	return c
}

// begins notes that c is a connection from now on, and has to say hello [SW-2.8].
func (c *conn) begins() {
	now := c.e.now()
	c.lastRead.Store(now)
	c.lastWrite.Store(now)
	c.expires.Store(now + c.e.cfg.Hello.Milliseconds())
}

// address is what c is counted by, or nothing when it is not.
func (c *conn) address() string {
	if c.ip == nil {
		return ""
	}
	return *c.ip
}

// join adds c to the table, and counts whoever reads it. It reports false when it came too late.
func (e *Edge) join(c *conn) bool {
	e.mu.Lock()
	if e.done {
		e.mu.Unlock()
		c.letGo()
		return false
	}
	if c.ip != nil {
		e.perIP[*c.ip]++
	}
	e.wg.Add(1)
	e.open.Add(1)
	e.table[c.id.ID%stripes].add(c)
	e.mu.Unlock()
	e.m.accepted.Inc()
	if e.draining.Load() {
		c.bye(wire.CloseDrain, 0) // it upgraded while the others were told
	}
	return true
}

func (e *Edge) forget(c *conn) {
	e.table[c.id.ID%stripes].remove(c)
	if ip := c.address(); ip != "" {
		e.mu.Lock()
		if e.perIP[ip]--; e.perIP[ip] == 0 {
			delete(e.perIP, ip)
		}
		e.mu.Unlock()
	}
	e.uncounts(c)
	e.restMu.Lock()
	delete(e.waiting, c)
	e.restMu.Unlock()
	e.open.Add(-1)
}

// post sends a command on, and says what became of it.
func (e *Edge) post(to wire.Address, c *wire.Command) *wire.Error {
	switch err := e.x.Post(wire.Envelope{To: to, Mail: c}); {
	case err == nil:
		return nil
	case errors.Is(err, exchange.ErrOverloaded):
		e.m.overloaded.Inc()
		return overloaded()
	default:
		return wire.Refuse(wire.Unavailable)
	}
}

// gone tells a session that conn follows it no more.
func (e *Edge) gone(conn wire.Conn, who *wire.Principal, id wire.SessionID) {
	if _, slot, ok := id.Place(); ok {
		e.postGone(wire.Envelope{To: wire.ToSlot(slot), Mail: &wire.Command{Verb: wire.VerbGone, Conn: conn, Who: who, Session: id}})
	}
}
