package edge

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// documentMost bounds a tenant's document, in bytes.
const documentMost = 256 << 10

const configPath = "/v1/admin/config/"

// headerReceived lets those who may write a document send a longer body than others: an inbox of long bodies of strangers would be
// memory that nobody has bounded.
func (e *Edge) headerReceived(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	if !h.IsPut() || !bytes.HasPrefix(h.RequestURI(), []byte(configPath)) {
		return c
	}
	token := shownBy(h)
	if token == "" {
		return c
	}
	if who, _, err := e.bearerOf(token); err == nil && supervises(who.Role) {
		c.MaxRequestBodySize = max(documentMost, e.cfg.Limits.Frame)
	}
	return c
}

// config serves /v1/admin/config [SW-7.3]: the document by which a tenant routes. parts is the path behind it, beginning with an
// empty part.
func (e *Edge) config(ctx *fasthttp.RequestCtx, parts []string) {
	who, _, err := e.bearer(ctx)
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	cmd := &wire.Command{Verb: wire.VerbDocument, Who: &who}
	switch {
	case len(parts) == 2 && ctx.IsPut():
		if err := configure(ctx, cmd); err != nil {
			problem(ctx, err)
			return
		}
	case len(parts) == 2 && ctx.IsGet():
	case len(parts) == 3 && parts[2] == "versions" && ctx.IsGet():
		cmd.Type = "versions"
	case len(parts) == 4 && parts[2] == "versions" && ctx.IsGet():
		v, err := strconv.ParseUint(parts[3], 10, 64)
		if err != nil || v == 0 {
			problem(ctx, &wire.Error{Slug: wire.BadRequest, Message: "a version is a number from 1"})
			return
		}
		cmd.Seq = v
	default:
		nowhere(ctx)
		return
	}
	if parts[1] != who.Tenant {
		// Keys are a tenant's, so a token is of nobody's authority elsewhere, whatever its role is.
		problem(ctx, &wire.Error{Slug: wire.Forbidden, Message: "the token is of another tenant"})
		return
	}
	if !e.serves(who.Tenant) && !e.begin(ctx, cmd) {
		return
	}
	f := e.ask(cmd)
	if f.Kind == wire.FrameError {
		problem(ctx, f.Err)
		return
	}
	ctx.Response.Header.Set("ETag", `"`+strconv.FormatUint(f.Seq, 10)+`"`)
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetContentType("application/json")
	if cmd.Verb == wire.VerbDocument && cmd.Type == "" {
		ctx.SetContentType("application/yaml; charset=utf-8")
	}
	ctx.SetBodyString(f.Text)
}

// configure reads a PUT.
func configure(ctx *fasthttp.RequestCtx, cmd *wire.Command) *wire.Error {
	cmd.Verb, cmd.Body = wire.VerbConfigure, bytes.Clone(ctx.PostBody())
	cmd.On = string(ctx.QueryArgs().Peek("dry_run")) == "1"
	match := strings.Trim(string(ctx.Request.Header.Peek("If-Match")), ` "`)
	if match == "*" {
		return nil
	}
	v, err := strconv.ParseUint(match, 10, 64)
	if err != nil {
		return &wire.Error{Slug: wire.BadRequest, Message: `say which version the document follows: If-Match: "<version>" as ETag told it, or If-Match: * for whichever there is`}
	}
	cmd.Ack = wire.Some(v)
	return nil
}

// checkConfig refuses what can be refused of a document without reading it.
func checkConfig(cmd *wire.Command) *wire.Error {
	switch {
	case cmd.Who.Shop != "":
		return &wire.Error{Slug: wire.Forbidden, Message: "the document is of all shops, and the token names one"}
	case len(cmd.Body) > documentMost:
		return wire.Refuse(wire.TooLarge)
	}
	return nil
}

// poolOf returns the address of a tenant's pool.
func (e *Edge) poolOf(tenant string) wire.Address { return wire.ToSlot(e.x.PoolSlot(tenant)) }

// httpExplain answers why a session is where it is [SW-7.4].
func (e *Edge) httpExplain(ctx *fasthttp.RequestCtx, who *wire.Principal, id wire.SessionID) {
	if who.Role == wire.RoleWorker {
		var ok bool
		if who, ok = e.worker(ctx); !ok {
			return
		}
	}
	f := e.ask(&wire.Command{Verb: wire.VerbExplain, Who: who, Session: id})
	if f.Kind == wire.FrameError {
		problem(ctx, f.Err)
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBodyString(f.Text + "\n")
}
