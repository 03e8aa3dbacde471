package edge

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/valyala/fasthttp"
)

// errKey is why a handshake without a proper nonce is refused (RFC 6455, 4.2.1: base64 of 16 bytes, once).
var errKey = errors.New("Sec-WebSocket-Key is to be there once, the base64 of 16 bytes")

// errName is why a header with a blank in its name is refused (RFC 9112, 5.1): whoever stands before us may have read another name.
var errName = errors.New("a header's name has a blank in it")

// listed are the headers of a handshake that are lists: RFC 9110 (5.3) lets a client, or a proxy before us, spread one over several
// lines, and the upgrader looks at the first only.
var listed = [...]string{fasthttp.HeaderConnection, fasthttp.HeaderUpgrade, fasthttp.HeaderSecWebSocketProtocol}

// settle makes the handshake in h one that reads the same whichever way its lists were written [SW-2.1], and returns why it is
// to be refused, or nil. It is the same for what loops and what the HTTP server answers.
func settle(h *fasthttp.RequestHeader) error {
	if !namesAreWhole(h.RawHeaders()) {
		return errName
	}
	for _, name := range listed {
		if lines := h.PeekAll(name); len(lines) > 1 {
			one := string(bytes.Join(lines, []byte(", ")))
			h.Del(name)
			h.Set(name, one)
		}
	}
	keys := h.PeekAll(fasthttp.HeaderSecWebSocketKey)
	var nonce [18]byte // room for what 24 characters may decode to
	if len(keys) != 1 || len(keys[0]) != base64.StdEncoding.EncodedLen(16) {
		return errKey
	}
	if n, err := base64.StdEncoding.Decode(nonce[:], keys[0]); err != nil || n != 16 {
		return errKey
	}
	return nil
}

// namesAreWhole tells whether no header has a blank in its name or before its colon, and no line goes on in the next. The parser
// closes the connection behind some of these and takes the others, none of which helps a WebSocket.
func namesAreWhole(raw []byte) bool {
	for len(raw) > 0 {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte{'\n'})
		name, _, _ := bytes.Cut(line, []byte{':'})
		if bytes.IndexByte(name, ' ') >= 0 || bytes.IndexByte(name, '\t') >= 0 {
			return false
		}
	}
	return true
}

// shownBy returns the token that the request's header holds, or nothing [SW-2.9]. The scheme's case and the blanks behind it are the
// client's (RFC 9110, 11.4).
func shownBy(h *fasthttp.RequestHeader) string {
	scheme, token, ok := strings.Cut(string(h.Peek(fasthttp.HeaderAuthorization)), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
