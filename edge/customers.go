package edge

import (
	"encoding/json"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// customers serves /v1/customers/{c}/identities [SW-7]: who of other channels a customer is. parts is the path behind
// /v1/customers, beginning with an empty part.
func (e *Edge) customers(ctx *fasthttp.RequestCtx, parts []string) {
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
			problem(ctx, wire.Refuse(wire.InvalidBody))
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

// customer returns whom a service names in the query of a request without a body.
func customer(ctx *fasthttp.RequestCtx) *wire.External {
	q := ctx.QueryArgs()
	if !q.Has("external_id") {
		return nil
	}
	return &wire.External{Channel: string(q.Peek("channel")), ID: string(q.Peek("external_id"))}
}
