package edge

import (
	"bufio"
	"bytes"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"switchboard/wire"
)

// shaker answers handshakes from memory: the request is parsed, checked and answered by what the HTTP server uses, but without
// its goroutines, buffers and deadlines. It is not safe for concurrent use.
type shaker struct {
	ctx fasthttp.RequestCtx
	in  bytes.Reader
	br  *bufio.Reader

	// What shake found.
	codec wire.Codec
	shown *showing // nil when the request showed nothing
	used  int      // bytes of the request
	out   []byte   // the answer
}

var connectLine = []byte("GET /v1/connect")

// shake answers the request at the beginning of b in s.out. It reports false when it has to be looked at by the HTTP server:
// it is not whole, asks for something else, or is to be refused.
func (s *shaker) shake(e *Edge, b []byte) bool {
	if e.cfg.Elsewhere != nil || !bytes.HasPrefix(b, connectLine) || !bytes.Contains(b, []byte("\r\n\r\n")) {
		return false
	}
	if s.br == nil {
		s.br = bufio.NewReaderSize(&s.in, headMost)
	}
	s.in.Reset(b)
	s.br.Reset(&s.in)
	ctx := &s.ctx
	ctx.Request.Reset()
	ctx.Response.Reset()
	h := &ctx.Request.Header
	if h.Read(s.br) != nil || !h.IsHTTP11() || h.ConnectionClose() || string(ctx.Path()) != "/v1/connect" {
		return false
	}
	if len(h.Peek("Content-Length")) > 0 || len(h.Peek("Transfer-Encoding")) > 0 || len(h.Peek("Expect")) > 0 {
		return false // a body is not for us
	}
	if settle(h) != nil {
		return false
	}
	s.used = len(b) - s.in.Len() - s.br.Buffered()
	var ok bool
	if s.codec, ok = negotiate(string(h.Peek("Sec-WebSocket-Protocol"))); !ok {
		return false
	}
	if e.upgrader.Upgrade(ctx, func(*websocket.Conn) {}) != nil {
		return false
	}
	s.shown = nil
	if token, origin := e.token(ctx), string(h.Peek("Origin")); token != "" || origin != "" {
		s.shown = &showing{token, origin}
	}
	s.answer(&ctx.Response.Header)
	return true
}

// answer writes what the HTTP server would.
func (s *shaker) answer(h *fasthttp.ResponseHeader) {
	s.out = append(s.out[:0], "HTTP/1.1 101 Switching Protocols\r\nServer: switchboard\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "...)
	s.out = append(s.out, h.Peek("Sec-WebSocket-Accept")...)
	if p := h.Peek("Sec-WebSocket-Protocol"); len(p) > 0 {
		s.out = append(s.out, "\r\nSec-WebSocket-Protocol: "...)
		s.out = append(s.out, p...)
	}
	s.out = append(s.out, "\r\n\r\n"...)
}
