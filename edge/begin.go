package edge

import (
	"context"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// unserved is what is wrong with a token that is good, of a tenant whom nobody serves.
const unserved = "the tenant has keys, and this node does not serve him: he is neither in its configuration nor has he a document; " +
	"an operator of his applies the first one, with switchboard queues apply"

// serves tells whether the node serves a tenant.
func (e *Edge) serves(tenant string) bool {
	return e.x.Knows(tenant) && (e.cfg.Serves == nil || e.cfg.Serves(tenant))
}

// begin takes what is asked about the document of a tenant whom nobody serves yet [SW-7.3]: his first one makes him a tenant who is served. It reports
// whether the request goes on to his pool; otherwise it has answered it.
func (e *Edge) begin(ctx *fasthttp.RequestCtx, cmd *wire.Command) bool {
	refuse := func(slug wire.Slug, text string) bool {
		problem(ctx, &wire.Error{Slug: slug, Message: text})
		return false
	}
	err := checkConfig(cmd)
	switch {
	case !supervises(cmd.Who.Role):
		return refuse(wire.Forbidden, "")
	case err != nil:
		problem(ctx, err)
		return false
	case e.draining.Load():
		return refuse(wire.Draining, "")
	case cmd.Verb != wire.VerbConfigure:
		return refuse(wire.NoQueue, unserved)
	case cmd.Who.Role != wire.RoleOperator:
		return refuse(wire.Forbidden, "the tenant has no document yet, and the first one is an operator's to apply")
	case e.cfg.Begin == nil:
		return refuse(wire.Forbidden, unserved)
	case cmd.Ack.Set && cmd.Ack.Value != 0:
		problem(ctx, &wire.Error{Slug: wire.VersionConflict, Message: "the tenant has no document yet: the first one follows version 0", Detail: []byte(`{"v":0}`)})
		return false
	}
	until, cancel := context.WithTimeout(context.Background(), operateFor)
	defer cancel()
	answer, failed := e.cfg.Begin(until, cmd.Who, cmd.Body, cmd.On)
	switch {
	case failed != nil:
		problem(ctx, asError(failed))
		return false
	case !cmd.On:
		return true
	}
	ctx.Response.Header.Set("ETag", `"0"`)
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetContentType("application/json")
	ctx.SetBody(answer)
	return false
}
