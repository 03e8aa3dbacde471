package edge

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"strings"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// customers serves /v1/customers/{c}/identities [SW-7], who of other channels a customer is, and his erasure [SW-7.11]. parts is the path
// behind /v1/customers, beginning with an empty part.
func (e *Edge) customers(ctx *fasthttp.RequestCtx, parts []string) {
	if len(parts) == 2 && ctx.IsDelete() || len(parts) == 3 && parts[2] == "erasure" && ctx.IsGet() {
		e.erase(ctx, parts[1])
		return
	}
	if len(parts) != 3 || parts[2] != "identities" || !ctx.IsGet() && !ctx.IsPost() {
		nowhere(ctx)
		return
	}
	who, _, err := e.bearer(ctx)
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	cmd := &wire.Command{Verb: wire.VerbIdentities, Who: &who, Text: parts[1]}
	if ctx.IsPost() {
		cmd.Verb = wire.VerbLink
		var body struct {
			Channel string `json:"channel"`
			ID      string `json:"external_id"`
		}
		if json.Unmarshal(ctx.PostBody(), &body) != nil {
			problem(ctx, unlike(ctx.PostBody()))
			return
		}
		cmd.For = &wire.External{Channel: body.Channel, ID: body.ID}
	}
	f := e.ask(cmd)
	switch {
	case f.Kind == wire.FrameError:
		problem(ctx, f.Err)
	case ctx.IsPost() && !f.PB.GetIdentities().GetDuplicate():
		reply(ctx, fasthttp.StatusCreated, f)
	default:
		reply(ctx, fasthttp.StatusOK, f)
	}
}

// erase begins to erase a customer, or tells how far that is [SW-7.11].
func (e *Edge) erase(ctx *fasthttp.RequestCtx, customer string) {
	who, _, err := e.bearer(ctx)
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	cmd := &wire.Command{Verb: wire.VerbErase, Who: &who, Text: customer, On: ctx.IsGet()}
	if !cmd.On { // chance alone says nothing of the customer
		var mark [16]byte
		_, _ = rand.Read(mark[:]) // never fails
		cmd.Reason = "e_" + strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(mark[:]))
	}
	f := e.ask(cmd)
	if f.Kind == wire.FrameError {
		problem(ctx, f.Err)
		return
	}
	if !cmd.On {
		ctx.SetStatusCode(fasthttp.StatusAccepted)
	}
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetContentType("application/json")
	ctx.SetBodyString(f.Text + "\n")
}

const erasuresPath = "/v1/erasures"

// erasures tells which erasures of the tenant wait, and for what [SW-7.13].
func (e *Edge) erasures(ctx *fasthttp.RequestCtx) {
	who, _, err := e.bearer(ctx)
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	switch {
	case !ctx.IsGet():
		nowhere(ctx)
		return
	case !entitled(who.Role, wire.VerbErase) || who.Shop != "":
		problem(ctx, wire.Refuse(wire.Forbidden))
		return
	}
	until, cancel := context.WithTimeout(context.Background(), operateFor)
	defer cancel()
	v, err := e.cfg.Erasures(until, who.Tenant)
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	answer, _ := json.Marshal(v) // of plain fields, it cannot fail
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetContentType("application/json")
	ctx.SetBody(append(answer, '\n'))
}

// customer returns whom a service names in the query of a request without a body.
func customer(ctx *fasthttp.RequestCtx) *wire.External {
	q := ctx.QueryArgs()
	if !q.Has("external_id") {
		return nil
	}
	return &wire.External{Channel: string(q.Peek("channel")), ID: string(q.Peek("external_id"))}
}
