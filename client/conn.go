package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// CloseError tells that the server has closed the connection for good [SW-6.2].
type CloseError struct {
	Code   wire.CloseCode
	Reason string
}

// Error implements error.
func (e *CloseError) Error() string {
	return fmt.Sprintf("client: closed by the server: %d %s", e.Code, or(e.Reason, e.Code.String()))
}

// conn is one socket.
type conn struct {
	// Fixed after the handshake.
	ws    *websocket.Conn
	codec wire.Codec
	kind  int // of messages
	token string
	ctx   context.Context
	wake  chan struct{}

	// Owned by connect.
	began time.Time

	// Guarded by Client.mu.
	helloID, subscribeID uint64
	ready                bool // requests may go
	silence              time.Duration
	out                  []*request
	dirty                []*Session // with levels to be written
	pong                 bool
	bye                  *wirepb.Bye
	refused              error // of hello or subscribe
	expires              *time.Timer
}

// ending tells how a connection ended and what follows from it.
type ending struct {
	err   error
	final bool
	after time.Duration // the server's advice
	to    string        // where to go next
	token string        // that has been found to be expired
	lived time.Duration
}

// poke wakes the writer. Client.mu need not be held.
func (k *conn) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// connect makes one connection and reads from it until it ends. expired is a token that the server would not take
// any more.
func (c *Client) connect(url, expired string) ending {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	hand, stop := context.WithTimeout(ctx, c.cfg.Timeout)
	defer stop()
	token, err := c.cfg.Token(hand)
	if err != nil {
		return ending{err: fmt.Errorf("fetching a token: %w", err)}
	}
	if expired != "" && token == expired {
		return ending{err: &wire.Error{Slug: wire.TokenExpired}, final: true}
	}
	k, end := c.handshake(hand, url)
	if k == nil {
		return end
	}
	k.token, k.ctx = token, ctx
	drop := context.AfterFunc(ctx, func() { _ = k.ws.Close() })
	defer drop()
	hello, err := c.sayHello(k)
	if err == nil {
		err = k.write(hello, c.cfg.Timeout)
	}
	if err == nil {
		k.began = time.Now()
		written := make(chan struct{})
		go func() {
			defer close(written)
			c.write(k)
		}()
		err = c.read(k)
		c.hangUp(k)
		cancel()
		<-written
	}
	_ = k.ws.Close()
	return c.judge(k, err)
}

// handshake upgrades a fresh network connection.
func (c *Client) handshake(ctx context.Context, url string) (*conn, ending) {
	d := websocket.Dialer{
		NetDialContext: c.cfg.Dial, TLSClientConfig: c.cfg.TLS, HandshakeTimeout: c.cfg.Timeout, ReadBufferSize: 4096, WriteBufferSize: 4096,
	}
	if c.cfg.Dial == nil {
		d.Proxy = http.ProxyFromEnvironment
	}
	if c.cfg.Protobuf {
		d.Subprotocols = append(d.Subprotocols, wire.Protobuf.Subprotocol())
	}
	d.Subprotocols = append(d.Subprotocols, wire.JSON.Subprotocol())
	ws, resp, err := d.DialContext(ctx, url, nil)
	if resp != nil && resp.Body != nil {
		defer resp.Body.Close() //nolint:errcheck // nothing is read from it
	}
	if err != nil {
		end := ending{err: fmt.Errorf("connecting: %w", err)}
		if resp != nil {
			end.err = fmt.Errorf("connecting: %s: %w", resp.Status, err)
			switch resp.StatusCode {
			case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
				end.final = true
			}
			if s, bad := strconv.Atoi(resp.Header.Get("Retry-After")); bad == nil && s > 0 {
				end.after = time.Duration(min(s, 3600)) * time.Second
			}
		}
		return nil, end
	}
	ws.SetReadLimit(c.cfg.MessageMax)
	k := &conn{ws: ws, kind: websocket.TextMessage, wake: make(chan struct{}, 1), silence: c.cfg.Timeout}
	if ws.Subprotocol() == wire.Protobuf.Subprotocol() {
		k.codec, k.kind = wire.Protobuf, websocket.BinaryMessage
	}
	return k, ending{}
}

// read hands on what comes until the connection ends, and returns why.
func (c *Client) read(k *conn) error {
	for {
		c.mu.Lock()
		silence := k.silence
		c.mu.Unlock()
		// A server that says nothing for a ping and a pong is not there any more [SW-2.6].
		if err := k.ws.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return err
		}
		_, msg, err := k.ws.ReadMessage()
		if err != nil {
			return err
		}
		if len(msg) == 0 {
			c.mu.Lock()
			k.pong = true
			c.mu.Unlock()
			k.poke()
			continue
		}
		if err := c.message(k, msg); err != nil {
			return err
		}
	}
}

// message hands on the frames of one message [SW-2.5].
func (c *Client) message(k *conn, msg []byte) error {
	for len(msg) > 0 {
		var frame []byte
		var err error
		if frame, msg, err = k.codec.Next(msg); err != nil {
			return err
		}
		if len(frame) == 0 && k.codec == wire.JSON {
			continue
		}
		f := new(wirepb.ServerFrame)
		switch err := k.codec.Parse(frame, f); {
		case errors.Is(err, wire.ErrVerb):
			continue // a newer server's push
		case err != nil:
			return fmt.Errorf("reading a frame: %w", err)
		}
		hooks, refused := c.handle(k, f)
		for _, hook := range hooks {
			hook()
		}
		if refused != nil {
			return refused
		}
	}
	return nil
}

// hangUp takes the connection out of use.
func (c *Client) hangUp(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == k {
		c.conn = nil
	}
	if k.expires != nil && k.expires.Stop() {
		c.tasks.Done()
	}
	k.expires = nil
	c.requeue()
}

// judge decides what the end of a connection means.
func (c *Client) judge(k *conn, err error) ending {
	end := ending{err: err}
	if !k.began.IsZero() {
		end.lived = time.Since(k.began)
	}
	code := wire.CloseCode(0)
	reason := ""
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		code, reason = wire.CloseCode(closed.Code), closed.Text
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := k.bye; b != nil {
		code, reason = wire.CloseCode(b.Code), b.Reason
		end.after = time.Duration(b.AfterMs) * time.Millisecond
		// A connection that was encrypted is not sent to one that is not.
		if strings.HasPrefix(b.To, "wss://") || strings.HasPrefix(b.To, "ws://") && strings.HasPrefix(c.cfg.URL, "ws://") {
			end.to = b.To
		}
		end.final = !b.Reconnect
	}
	if code != 0 {
		end.err = &CloseError{Code: code, Reason: reason}
		// 1009: a frame of ours is too large; it would be again.
		end.final = end.final || !code.Reconnect() || code == websocket.CloseMessageTooBig
	}
	if errors.Is(k.refused, ErrTakenOver) {
		end.err, end.final = ErrTakenOver, true
	}
	refusal, refused := errors.AsType[*wire.Error](k.refused)
	if refused {
		end.err = k.refused
		end.after = refusal.RetryAfter
		end.final = refusal.Slug != wire.TokenExpired && wire.FaultOf(refusal.Slug).Retry == wire.RetryNever
	}
	if code == wire.CloseTokenExpired || refused && refusal.Slug == wire.TokenExpired {
		end.token = k.token // the same once more is no use
	}
	return end
}
