package edge

import (
	"encoding/json"
	"strings"

	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// operators tells whether a path is for those who look after nodes: it is served by nodes that serve no clients, too [SW-7].
func operators(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics" || strings.HasPrefix(path, "/v1/admin/")
}

// elsewhereMost is how many URLs are named to who comes to the wrong node.
const elsewhereMost = 8

// elsewhere refuses a client at a node that serves none [SW-7]. It is the answer of a path that is not there, and no 403, after which a client would
// not come again: whatever has sent him here sends him to another node the next time.
func (e *Edge) elsewhere(ctx *fasthttp.RequestCtx) {
	e.m.refused.Inc()
	to := e.cfg.Elsewhere()
	to = to[:min(len(to), elsewhereMost)]
	err := &wire.Error{Slug: wire.UnknownVerb, Message: "this node has the role shard alone and serves no clients; other nodes of the cluster do"}
	if len(to) > 0 {
		err.Message = "this node has the role shard alone and serves no clients; these do: " + strings.Join(to, " ")
		err.Detail, _ = json.Marshal(map[string][]string{"to": to}) // of plain strings, it cannot fail
	}
	problemAs(ctx, fasthttp.StatusNotFound, err)
}
