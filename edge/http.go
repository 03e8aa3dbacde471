package edge

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// http is every request but the WebSocket's [SW-7].
func (e *Edge) http(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	switch {
	case (path == "/healthz" || path == "/readyz" || path == "/metrics") && !ctx.IsGet() && !ctx.IsHead():
		nowhere(ctx)
	case path == "/healthz":
		ctx.SetBodyString("ok\n")
	case path == "/readyz":
		e.readyz(ctx)
	case path == "/metrics" && e.cfg.Metrics != nil:
		fasthttpadaptor.NewFastHTTPHandler(e.cfg.Metrics)(ctx)
	case path == "/v1/sessions" || strings.HasPrefix(path, "/v1/sessions/"):
		e.sessions(ctx, strings.Split(strings.TrimPrefix(path, "/v1/sessions"), "/"))
	case strings.HasPrefix(path, "/v1/queues/"):
		e.queues(ctx, strings.Split(strings.TrimPrefix(path, "/v1/queues"), "/"))
	case strings.HasPrefix(path, "/v1/assignments/"):
		e.assignments(ctx, strings.Split(strings.TrimPrefix(path, "/v1/assignments"), "/"))
	case strings.HasPrefix(path, "/v1/customers/"):
		e.customers(ctx, strings.Split(strings.TrimPrefix(path, "/v1/customers"), "/"))
	case path == erasuresPath && e.cfg.Erasures != nil:
		e.erasures(ctx)
	case strings.HasPrefix(path, configPath):
		e.config(ctx, strings.Split(strings.TrimPrefix(path, strings.TrimSuffix(configPath, "/")), "/"))
	case e.cfg.Operate != nil && (path == clusterPath || strings.HasPrefix(path, clusterPath+"/")):
		e.cluster(ctx, strings.TrimPrefix(path, clusterPath))
	case e.cfg.Static != nil && e.cfg.Static(ctx):
	default:
		nowhere(ctx)
	}
}

func (e *Edge) readyz(ctx *fasthttp.RequestCtx) {
	err := e.cfg.Ready()
	if e.draining.Load() {
		err = wire.Refuse(wire.Draining)
	}
	if err != nil {
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		ctx.SetBodyString(err.Error() + "\n")
		return
	}
	ctx.SetBodyString("ready\n")
}

// nowhere answers a path, or a method of one, that is not there [SW-7]: what an unknown verb is on a socket.
func nowhere(ctx *fasthttp.RequestCtx) {
	problemAs(ctx, fasthttp.StatusNotFound, &wire.Error{Slug: wire.UnknownVerb, Message: "there is no such path, or not with this method"})
}

// problem answers with an error as RFC 9457 has it [SW-7].
func problem(ctx *fasthttp.RequestCtx, err *wire.Error) {
	problemAs(ctx, wire.FaultOf(err.Slug).Code, err)
}

// problemAs is problem under a status that HTTP has a word of its own for.
func problemAs(ctx *fasthttp.RequestCtx, status int, err *wire.Error) {
	pb := err.ErrorPB()
	pb.Code = uint32(status)                      //nolint:gosec // three digits
	var mistakes struct{ Errors json.RawMessage } // of a document: a member of its own
	if len(pb.Detail) > 0 && json.Unmarshal(pb.Detail, &mistakes) == nil && mistakes.Errors != nil {
		pb.Detail = nil
	}
	body, _ := json.Marshal(struct { // of plain fields, it cannot fail
		Type   string          `json:"type"`
		Title  string          `json:"title"`
		Status uint32          `json:"status"`
		Slug   string          `json:"slug"`
		Retry  string          `json:"retry"`
		After  int64           `json:"retry_after_ms,omitempty"`
		Detail json.RawMessage `json:"detail,omitempty"`
		Errors json.RawMessage `json:"errors,omitempty"`
	}{"about:blank", pb.Message, pb.Code, pb.Slug, pb.Retry, pb.RetryAfterMs, pb.Detail, mistakes.Errors})
	ctx.Response.ResetBody()
	ctx.SetStatusCode(int(pb.Code))
	ctx.SetContentType("application/problem+json")
	if status == fasthttp.StatusUnauthorized {
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer") // RFC 9110 wants it beside every 401
	}
	if pb.RetryAfterMs > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.FormatInt((pb.RetryAfterMs+999)/1000, 10))
	}
	ctx.SetBody(body)
}

// malformed answers a request that could not be read.
func (e *Edge) malformed(ctx *fasthttp.RequestCtx, err error) {
	var head *fasthttp.ErrSmallBuffer
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && e.draining.Load():
		problem(ctx, &wire.Error{Slug: wire.Draining, RetryAfter: time.Second})
	case errors.Is(err, fasthttp.ErrBodyTooLarge), errors.As(err, &head):
		problem(ctx, wire.Refuse(wire.TooLarge))
	case errors.Is(err, os.ErrDeadlineExceeded):
		problemAs(ctx, fasthttp.StatusRequestTimeout, &wire.Error{Slug: wire.BadRequest, Message: "the request did not come in time"})
	default:
		problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "the request cannot be read"})
	}
}

// framed tells whether everybody agrees where a request ends, which has been read. Whoever stands before us and goes by the other of two lengths takes
// for a body what we would take for the next request, of somebody else's (RFC 9112, 6.3 and 11.2). The server itself refuses a length or coding that comes
// twice, and codings that it does not know; identity is one that it passes over without a word.
func framed(h *fasthttp.RequestHeader) bool {
	var length, coding bool
	for raw := h.RawHeaders(); len(raw) > 0; { // not by the server's iterators, which change them
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte{'\n'})
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return false // it goes on with the line before, or is one of its own: not everybody agrees (RFC 9112, 5.2)
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length = true
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			if coding = true; !bytes.EqualFold(bytes.Trim(value, " \t\r"), []byte("chunked")) {
				return false
			}
		}
	}
	return !length || !coding
}

// sessions serves /v1/sessions. parts is the path behind it, beginning with an empty part.
func (e *Edge) sessions(ctx *fasthttp.RequestCtx, parts []string) {
	who, until, err := e.bearer(ctx)
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	if who.Worker == "" {
		who.Worker = who.Sub
	}
	if wait := e.pace(&who); wait > 0 {
		problem(ctx, &wire.Error{Slug: wire.RateLimited, RetryAfter: wait})
		return
	}
	switch {
	case len(parts) == 1 && ctx.IsPost():
		e.httpOpen(ctx, &who)
	case len(parts) == 3 && parts[2] == "messages" && ctx.IsPost():
		e.httpSend(ctx, &who, wire.SessionID(parts[1]))
	case len(parts) == 3 && parts[2] == "messages" && ctx.IsGet():
		e.httpHistory(ctx, &who, wire.SessionID(parts[1]))
	case len(parts) == 3 && parts[2] == "events" && ctx.IsGet():
		e.httpEvents(ctx, &who, until, wire.SessionID(parts[1]))
	case len(parts) == 3 && parts[2] == "explain" && ctx.IsGet():
		e.httpExplain(ctx, &who, wire.SessionID(parts[1]))
	default:
		nowhere(ctx)
	}
}

// paces are the rates of customers who come without a socket.
type paces struct {
	mu sync.Mutex
	// Guarded by mu.
	of map[paceKey]bucket
}

type paceKey struct{ tenant, sub string }

const maxPaces = 1 << 16

// pace takes one request from the customer's rate, or returns how long he has to wait.
func (e *Edge) pace(who *wire.Principal) time.Duration {
	if who.Role != wire.RoleCustomer {
		return 0
	}
	l, now := &e.cfg.Limits, e.now()
	p := &e.paces
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[paceKey]bucket{}
	}
	if len(p.of) >= maxPaces {
		for k, b := range p.of {
			if b.spent <= float64(now-b.at)/1000*l.Rate {
				delete(p.of, k)
			}
		}
	}
	k := paceKey{who.Tenant, who.Sub}
	b := p.of[k]
	wait := b.take(now, 1, l.Rate, l.Burst)
	p.of[k] = b
	return wait
}

func (e *Edge) httpOpen(ctx *fasthttp.RequestCtx, who *wire.Principal) {
	cmd := &wire.Command{}
	if !verbOf(ctx, wire.VerbOpen, cmd) {
		problem(ctx, unlike(ctx.PostBody()))
		return
	}
	cmd.Who = who
	if cmd.Key == "" {
		cmd.Key = idempotency(ctx)
	}
	f := e.ask(cmd)
	if f.Kind == wire.FrameError {
		problem(ctx, f.Err)
		return
	}
	reply(ctx, fasthttp.StatusOK, f)
}

// verbOf makes a command of a request whose body is that of a verb's frame; none is an empty one. It is false when the body is no such object: what stands behind an
// object would be other fields of the frame.
func verbOf(ctx *fasthttp.RequestCtx, verb wire.Verb, cmd *wire.Command) bool {
	body := bytes.Trim(ctx.PostBody(), " \t\r\n") // what JSON calls white space, and no more
	if len(body) == 0 {
		body = []byte("{}")
	}
	if body[0] != '{' || wire.ValidJSON(body) != nil {
		return false
	}
	frame := &wirepb.ClientFrame{}
	if wire.JSON.Parse(slices.Concat([]byte(`{"`+verb+`":`), body, []byte{'}'}), frame) != nil {
		return false
	}
	cmd.Cold(frame)
	return cmd.Verb == verb
}

// unlike refuses what a request brought, which is not the object that its path takes.
func unlike(body []byte) *wire.Error {
	err := wire.Refuse(wire.InvalidBody)
	if len(bytes.TrimSpace(body)) == 0 || wire.ValidJSON(body) == nil {
		err.Message = "the request has to bring a JSON object, with the fields that this path takes"
	}
	return err
}

// reply answers with what stands under the frame's verb.
func reply(ctx *fasthttp.RequestCtx, status int, f *wire.Frame) {
	g := *f
	g.ID = 0
	b := wire.JSON.AppendFrame(nil, &g)
	// {"verb":{…}} → {…}
	if i := bytes.IndexByte(b, ':'); i > 0 && b[len(b)-1] == '}' {
		b = b[i+1 : len(b)-1]
	}
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(append(b, '\n'))
}

// message is what a client posts.
type message struct {
	Type    string          `json:"type"`
	Body    json.RawMessage `json:"body"`
	ReplyTo uint64          `json:"reply_to"`
	// Customer is whom a service acts for [SW-5a.6].
	Customer *struct {
		Channel    string `json:"channel"`
		ExternalID string `json:"external_id"`
		Name       string `json:"name"`
	} `json:"customer"`
}

// idempotency returns the key of a request [SW-4.3]. Who writes the header as a structured field has put it in quotes.
func idempotency(ctx *fasthttp.RequestCtx) string {
	key := string(ctx.Request.Header.Peek("Idempotency-Key"))
	if n := len(key); n > 2 && key[0] == '"' && key[n-1] == '"' {
		return key[1 : n-1]
	}
	return key
}

func (e *Edge) httpSend(ctx *fasthttp.RequestCtx, who *wire.Principal, id wire.SessionID) {
	raw := append([]byte(nil), ctx.PostBody()...)
	var m message
	if json.Unmarshal(raw, &m) != nil {
		problem(ctx, unlike(raw))
		return
	}
	if len(m.Body) > 0 && wire.ValidJSON(m.Body) != nil {
		problem(ctx, wire.Refuse(wire.InvalidBody))
		return
	}
	key := idempotency(ctx)
	cmd := &wire.Command{
		Verb: wire.VerbSend, Who: who, Session: id, Key: key, Type: m.Type, Body: wire.AppendBody(nil, m.Body), ReplyTo: m.ReplyTo,
	}
	if m.Customer != nil {
		cmd.For = &wire.External{Channel: m.Customer.Channel, ID: m.Customer.ExternalID, Name: m.Customer.Name}
	}
	f := e.ask(cmd)
	switch {
	case f.Kind == wire.FrameError:
		problem(ctx, f.Err)
	case f.Duplicate:
		reply(ctx, fasthttp.StatusOK, f)
	default:
		reply(ctx, fasthttp.StatusCreated, f)
	}
}

func (e *Edge) httpHistory(ctx *fasthttp.RequestCtx, who *wire.Principal, id wire.SessionID) {
	h := &wirepb.History{Session: string(id)}
	q := ctx.QueryArgs()
	for name, set := range map[string]func(uint64){
		"after": func(v uint64) { h.After = &v }, "before": func(v uint64) { h.Before = &v }, "limit": func(v uint64) { h.Limit = uint32(min(v, 100)) },
	} {
		if !q.Has(name) {
			continue
		}
		v, err := strconv.ParseUint(string(q.Peek(name)), 10, 64)
		if err != nil {
			problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: name + " has to be a whole number, 0 or more"})
			return
		}
		set(v)
	}
	cmd := &wire.Command{Who: who}
	cmd.Cold(&wirepb.ClientFrame{Verb: &wirepb.ClientFrame_History{History: h}})
	cmd.Who, cmd.For = who, customer(ctx)
	f := e.ask(cmd)
	if f.Kind == wire.FrameError {
		problem(ctx, f.Err)
		return
	}
	reply(ctx, fasthttp.StatusOK, f)
}

// httpEvents streams a session as server-sent events; Last-Event-ID resumes [SW-7].
func (e *Edge) httpEvents(ctx *fasthttp.RequestCtx, who *wire.Principal, until time.Time, id wire.SessionID) {
	if !e.room(ctx) {
		return
	}
	open := &wirepb.Open{Session: string(id)}
	last := string(ctx.Request.Header.Peek("Last-Event-ID"))
	if last == "" {
		last = string(ctx.QueryArgs().Peek("from"))
	}
	if last != "" {
		epoch, seq, _ := strings.Cut(last, ":")
		ep, err1 := strconv.ParseUint(epoch, 10, 64)
		sq, err2 := strconv.ParseUint(seq, 10, 64)
		if err1 != nil || err2 != nil {
			problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "Last-Event-ID is <epoch>:<seq>"})
			return
		}
		open.From = &wirepb.Position{Epoch: ep, Seq: sq}
	}
	// Asked once as a plain request, so that a refusal is an HTTP answer.
	probe := &wire.Command{Verb: wire.VerbHistory, Who: who, Session: id, For: customer(ctx), PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_History{History: &wirepb.History{Session: string(id), Limit: 1}}}}
	if f := e.ask(probe); f.Kind == wire.FrameError {
		problem(ctx, f.Err)
		return
	}
	cmd := &wire.Command{Verb: wire.VerbOpen, Who: who, Session: id, For: customer(ctx), PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: open}}}
	ip := e.ip(ctx)
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(hijacked net.Conn) {
		sock, _ := detach(hijacked)
		const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nConnection: close\r\nX-Accel-Buffering: no\r\n\r\n"
		if _, err := sock.Write([]byte(head)); err != nil {
			_ = sock.Close()
			return
		}
		e.stream(sock, ip, who, until, cmd)
	})
}

// stream makes a hijacked socket a connection that follows one session.
func (e *Edge) stream(sock net.Conn, ip string, who *wire.Principal, until time.Time, cmd *wire.Command) {
	c := e.newConn(sock, modeSSE, ip)
	c.who.Store(who)
	c.expires.Store(until.UnixMilli())
	c.often = who.Role == wire.RoleWorker
	c.greeted.Store(true)
	if !e.join(c) {
		return
	}
	e.x.PlugConn(c.id.ID, c)
	e.counts(c)
	cmd.Conn, cmd.ID = c.id, 1
	to, _ := e.route(cmd)
	if err := c.pose(cmd, to, 0, 1); err != nil {
		c.bye(wire.CloseReconnect, 0)
	}
	go c.read(nil)
}
