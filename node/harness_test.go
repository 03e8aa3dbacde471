package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// obj is a JSON object as a black box sees it.
type obj = map[string]any

func start(t testing.TB, dir string, change ...func(*node.Config)) *node.Node {
	t.Helper()
	cfg := node.Config{
		Data: dir, Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 4,
		Edge: node.Edge{Loops: loops}, Limits: edge.Limits{Rate: 100_000, Burst: 100_000}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	n, err := node.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stop hangs up everybody, who would not read that the node drains, and closes the node.
func stop(t testing.TB, n *node.Node) {
	t.Helper()
	if list, ok := peers.LoadAndDelete(n.Addr()); ok {
		for _, p := range list.(*peerList).all() {
			_ = p.ws.Close()
		}
	}
	drain(t, n)
}

// peers are the connections of the tests, by the address of their node.
var peers sync.Map

type peerList struct {
	mu   sync.Mutex
	list []*peer
}

func (l *peerList) add(p *peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, p)
}

func (l *peerList) all() []*peer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

// drain closes the node with everybody on the line.
func drain(t testing.TB, n *node.Node) {
	t.Helper()
	if err := n.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func mint(t testing.TB, n *node.Node, c token.Claims) string {
	t.Helper()
	if c.Tenant == "" {
		c.Tenant = "demo"
	}
	s, err := n.Mint(c, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func customerOf(sub string) token.Claims { return token.Claims{Sub: sub, Role: wire.RoleCustomer} }

// withTenant is c with its tenant, for who mints by hand.
func withTenant(c token.Claims) token.Claims {
	c.Tenant = "demo"
	return c
}

func claimsOf(sub string) token.Claims { return withTenant(customerOf(sub)) }

func workerOf(sub string, kind wire.Origin) token.Claims {
	return token.Claims{Sub: sub, Role: wire.RoleWorker, Kind: kind, Queues: []string{"*"}, Name: strings.ToUpper(sub)}
}

// peer is a raw WebSocket client: it says what it is told to, and keeps what it hears.
type peer struct {
	t    testing.TB
	ws   *websocket.Conn
	as   wire.Codec // what it speaks; its test sees JSON
	pb   bool       // it hears Protobuf, of which it keeps nothing
	next int
	in   []obj
	gone error
}

func dial(t testing.TB, n *node.Node) *peer {
	t.Helper()
	if spoken == wire.JSON {
		return dialAddr(t, n.Addr())
	}
	p := dialAddr(t, n.Addr(), spoken.Subprotocol())
	p.as = spoken
	return p
}

// spoken is what peers speak whose test does not care.
var spoken wire.Codec

func dialAddr(t testing.TB, addr string, protocols ...string) *peer {
	t.Helper()
	return dialWith(t, addr, nil, protocols...)
}

// dialWith dials with a head of one's own.
func dialWith(t testing.TB, addr string, head http.Header, protocols ...string) *peer {
	t.Helper()
	d := websocket.Dialer{Subprotocols: protocols}
	w, _, err := d.Dial("ws://"+addr+"/v1/connect", head)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, ws: w}
	list, _ := peers.LoadOrStore(addr, &peerList{})
	list.(*peerList).add(p)
	t.Cleanup(func() { _ = w.Close() })
	return p
}

// login dials and says hello.
func login(t testing.TB, n *node.Node, c token.Claims) *peer {
	t.Helper()
	p := dial(t, n)
	p.ask("hello", obj{"token": mint(t, n, c)})
	return p
}

func (p *peer) raw(text string) {
	p.t.Helper()
	if err := p.speak([]byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

// speak writes one message of JSON frames, in what the peer speaks.
func (p *peer) speak(text []byte) error {
	p.t.Helper()
	if p.as == wire.JSON {
		return p.ws.WriteMessage(websocket.TextMessage, text)
	}
	var msg []byte
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var f wirepb.ClientFrame
		err := wire.JSON.Parse(line, &f)
		if err == nil || errors.Is(err, wire.ErrVerb) { // of which there is no other way to say than none
			msg, err = p.as.Append(msg, &f)
		}
		if err != nil {
			p.t.Fatalf("%s cannot be said in Protobuf: %v", line, err)
		}
	}
	return p.ws.WriteMessage(websocket.BinaryMessage, msg)
}

// frames returns the frames of a message as JSON.
func (p *peer) frames(msg []byte) (list [][]byte) {
	p.t.Helper()
	if p.as == wire.JSON {
		return bytes.Split(msg, []byte("\n"))
	}
	for len(msg) > 0 {
		frame, rest, err := p.as.Next(msg)
		var f wirepb.ServerFrame
		if err == nil {
			err = p.as.Parse(frame, &f)
		}
		var line []byte
		if err == nil {
			line, err = wire.JSON.Append(nil, &f)
		}
		if err != nil {
			p.t.Fatalf("the server sent %x: %v", msg, err)
		}
		list, msg = append(list, line), rest
	}
	return list
}

func (p *peer) write(f obj) {
	p.t.Helper()
	if err := p.tryWrite(f); err != nil {
		p.t.Fatal(err)
	}
}

// tryWrite is write on a connection that may have ended.
func (p *peer) tryWrite(f obj) error {
	p.t.Helper()
	b, err := json.Marshal(f)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.speak(b)
}

// patience is how long a test waits for a frame: longer than a disk that others use takes to sync, which was seen to be ten seconds, and longer than a
// machine may stand still, which counts.
const patience = 3 * time.Minute

// read returns the next frame, or nil when the connection has ended.
func (p *peer) read() obj {
	p.t.Helper()
	until := time.Now().Add(patience) // pings are no frames
	for len(p.in) == 0 {
		if p.gone != nil {
			return nil
		}
		if err := p.ws.SetReadDeadline(until); err != nil {
			p.gone = err
			return nil
		}
		_, msg, err := p.ws.ReadMessage()
		if err != nil {
			p.gone = err
			return nil
		}
		if len(msg) == 0 { // [SW-2.6] a ping
			p.raw("")
			continue
		}
		if p.pb {
			continue
		}
		for _, line := range p.frames(msg) {
			var f obj
			if err := json.Unmarshal(line, &f); err != nil {
				p.t.Fatalf("the server sent %q: %v", line, err)
			}
			p.in = append(p.in, f)
		}
	}
	f := p.in[0]
	p.in = p.in[1:]
	return f
}

// send posts a request and returns its id.
func (p *peer) send(verb string, body obj) int {
	p.t.Helper()
	p.next++
	p.write(obj{"id": p.next, verb: body})
	return p.next
}

// answer returns the reply to id; pushes that come before it are kept for push.
func (p *peer) answer(id int) obj {
	p.t.Helper()
	var pushes []obj
	defer func() { p.in = append(pushes, p.in...) }()
	for {
		f := p.read()
		if f == nil {
			p.t.Fatalf("the connection ended while %d was unanswered: %v", id, p.gone)
		}
		if f["id"] == float64(id) {
			return f
		}
		pushes = append(pushes, f)
	}
}

// ask posts a request and returns what stands in its reply, which must not be an error.
func (p *peer) ask(verb string, body obj) obj {
	p.t.Helper()
	f := p.answer(p.send(verb, body))
	if e, bad := f["error"]; bad {
		p.t.Fatalf("%s %v was refused: %v", verb, body, e)
	}
	r, ok := f[verb].(obj)
	if !ok {
		p.t.Fatalf("%s was answered %v", verb, f)
	}
	return r
}

// refused posts a request that must be refused with slug, and returns the error.
func (p *peer) refused(slug, verb string, body obj) obj {
	p.t.Helper()
	f := p.answer(p.send(verb, body))
	e, bad := f["error"].(obj)
	if !bad || e["slug"] != slug {
		p.t.Fatalf("%s %v was answered %v; want error %s", verb, body, f, slug)
	}
	return e
}

// push returns the next push of a verb; those of other verbs before it are dropped.
func (p *peer) push(verb string) obj {
	p.t.Helper()
	for {
		f := p.read()
		if f == nil {
			p.t.Fatalf("the connection ended while waiting for %s: %v", verb, p.gone)
		}
		if v, ok := f[verb].(obj); ok && f["id"] == nil {
			return v
		}
	}
}

// said returns the next message or delivery (verb) that somebody said.
func (p *peer) said(verb string) obj {
	p.t.Helper()
	for {
		if m := p.push(verb); m["kind"] == "message" {
			return m
		}
	}
}

// closed returns the close code that the server ends the connection with, and the last bye before it.
func (p *peer) closed() (code int, bye obj) {
	p.t.Helper()
	for {
		f := p.read()
		if f == nil {
			break
		}
		if b, ok := f["bye"].(obj); ok {
			bye = b
		}
	}
	ce, ok := p.gone.(*websocket.CloseError) //nolint:errorlint // it is what ReadMessage returns
	if !ok {
		p.t.Fatalf("the connection ended without a close frame: %v", p.gone)
	}
	return ce.Code, bye
}

func (p *peer) open(body obj) string {
	p.t.Helper()
	return p.ask("open", body)["session"].(string)
}

func (p *peer) subscribe(body obj) obj {
	p.t.Helper()
	if body["queues"] == nil {
		body["queues"] = []string{"default"}
	}
	return p.ask("subscribe", body)
}

func text(s string) obj { return obj{"text": s} }

func bodyText(m obj) string {
	b, _ := m["body"].(obj)
	return fmt.Sprint(b["text"])
}

func num(v any) int {
	f, _ := v.(float64)
	return int(f)
}
