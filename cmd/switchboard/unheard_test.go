package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"

	"switchboard/wire"
)

// [SW-8.4] Who asks once of a node that ends before it answers is told so, and what to do.
func TestNodeLostBeforeItAnswers(t *testing.T) {
	up := websocket.Upgrader{Subprotocols: []string{wire.JSON.Subprotocol()}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close() //nolint:errcheck // a test's
		if _, _, err := ws.ReadMessage(); err != nil {
			return
		}
		const hello = `{"id":1,"hello":{"connection":"c_1","tenant":"demo","sub":"a","role":"supervisor","ping_ms":25000,"pong_ms":8000,"limits":{"frame":65536,"body":32768,"batch":64,"sessions":8,"inflight":8}}}`
		if err := ws.WriteMessage(websocket.TextMessage, []byte(hello)); err != nil {
			return
		}
		_, _, _ = ws.ReadMessage() // the question
	}))
	defer srv.Close()
	addr := strings.TrimPrefix(srv.URL, "http://")
	for _, verb := range []string{"levels", "floor"} {
		complains(t, 1, "lost before it answered .*ask again", nil, verb, "--addr", addr, "--token", "any")
	}
}
