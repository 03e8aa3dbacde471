package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

const clusterPath = "/v1/admin/cluster"

// operateFor is how long an operator waits for a cluster that has no leader.
const operateFor = 15 * time.Second

// ErrNoOperation says that a cluster does nothing of that name.
var ErrNoOperation = errors.New("edge: no such operation")

// Operate does for an operator what a path behind /v1/admin/cluster and a body say [SW-7.5]: body is nil for GET. The answer is told as
// JSON. The error is ErrNoOperation, or a *wire.Error.
type Operate func(ctx context.Context, by, path string, body []byte) (any, error)

// cluster serves /v1/admin/cluster [SW-7.5]. Keys are a tenant's, so it takes more than a role: an operator of which tenants may move what
// belongs to all of them is the configuration's to say.
func (e *Edge) cluster(ctx *fasthttp.RequestCtx, path string) {
	who, _, err := e.bearer(ctx)
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	if who.Role != wire.RoleOperator || who.Shop != "" || !slices.Contains(e.cfg.Operators, who.Tenant) {
		problem(ctx, &wire.Error{Slug: wire.Forbidden, Message: "only operators of the tenants in cluster.operators may look after the cluster"})
		return
	}
	var body []byte
	switch {
	case ctx.IsPost():
		body = bytes.Clone(ctx.PostBody())
	case !ctx.IsGet():
		nowhere(ctx)
		return
	}
	until, cancel := context.WithTimeout(context.Background(), operateFor)
	defer cancel()
	by := who.Tenant + "/" + who.Sub
	v, err := e.cfg.Operate(until, by, strings.TrimPrefix(path, "/"), body)
	if errors.Is(err, ErrNoOperation) {
		nowhere(ctx)
		return
	}
	if body != nil && !strings.HasPrefix(path, "/keys") { // those are secrets; who does it notes what may be
		e.cfg.Log.Info("an operator asks", "by", by, "what", path, "body", string(body), "err", err)
	}
	if err != nil {
		problem(ctx, asError(err))
		return
	}
	answer, _ := json.Marshal(v) // of plain fields, it cannot fail
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetContentType("application/json")
	ctx.SetBody(append(answer, '\n'))
}
