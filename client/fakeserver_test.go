package client_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"switchboard/client"
	"switchboard/internal/memnet"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// fake is the socket side of a server: it upgrades, cuts messages into frames, and leaves what they mean to whoever
// plays the server. Connections are in-memory pipes, so that it also runs on synctest's clock, or a real loopback.
type fake struct {
	url   string
	http  *http.Server
	ln    *pipes // nil on the loopback
	peers chan *peer
	serve func(*peer) // plays the server instead of the test; nil hands the peer to peers

	mu   sync.Mutex
	urls []string // that were asked for
	code int      // HTTP status to refuse upgrades with
}

// peer is one connection, seen from the server.
type peer struct {
	ws    *websocket.Conn
	codec wire.Codec
	in    chan *wirepb.ClientFrame
	pongs chan struct{}

	mu  sync.Mutex
	out [][]byte
	wk  chan struct{}
	end chan struct{}
}

func newFake(serve func(*peer)) *fake {
	f := &fake{url: "ws://switchboard.test/v1/connect", ln: &pipes{memnet.Listen("pipes")}, peers: make(chan *peer, 64), serve: serve}
	f.start(f.ln)
	return f
}

func newLoopback(serve func(*peer)) (*fake, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &fake{url: "ws://" + ln.Addr().String() + "/v1/connect", peers: make(chan *peer, 64), serve: serve}
	f.start(ln)
	return f, nil
}

func (f *fake) start(ln net.Listener) {
	f.http = &http.Server{Handler: http.HandlerFunc(f.upgrade)} //nolint:gosec // a test's server
	go func() { _ = f.http.Serve(ln) }()
}

func (f *fake) close() { _ = f.http.Close() }

// config returns a client's configuration for f, with pauses that are always as long as they may be.
func (f *fake) config() client.Config {
	cfg := client.WithJitter(client.Config{URL: f.url, Token: client.StaticToken("alice")}, func(d time.Duration) time.Duration { return d })
	if f.ln != nil {
		cfg.Dial = f.ln.dial
	}
	return cfg
}

func (f *fake) upgrade(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.urls = append(f.urls, r.Host)
	code := f.code
	f.mu.Unlock()
	if code != 0 {
		http.Error(w, "refused", code)
		return
	}
	u := websocket.Upgrader{Subprotocols: []string{wire.Protobuf.Subprotocol(), wire.JSON.Subprotocol()}}
	ws, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	p := &peer{ws: ws, in: make(chan *wirepb.ClientFrame, 4096), pongs: make(chan struct{}, 64), wk: make(chan struct{}, 1), end: make(chan struct{})}
	if ws.Subprotocol() == wire.Protobuf.Subprotocol() {
		p.codec = wire.Protobuf
	}
	written := make(chan struct{})
	go func() { defer close(written); p.write() }()
	served := make(chan struct{})
	if f.serve != nil {
		go func() { defer close(served); f.serve(p) }()
	} else {
		close(served)
		f.peers <- p
	}
	p.read()
	close(p.end)
	_ = ws.Close()
	<-written
	<-served
}

func (p *peer) read() {
	defer close(p.in)
	for {
		_, msg, err := p.ws.ReadMessage()
		if err != nil {
			return
		}
		if len(msg) == 0 {
			select {
			case p.pongs <- struct{}{}:
			default:
			}
		}
		for len(msg) > 0 {
			var frame []byte
			if frame, msg, err = p.codec.Next(msg); err != nil {
				return
			}
			f := new(wirepb.ClientFrame)
			if err := p.codec.Parse(frame, f); err != nil {
				_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(int(wire.CloseBadFrame), err.Error()), time.Now().Add(time.Second))
				return
			}
			p.in <- f
		}
	}
}

// write writes what was said, a message each; a nil message is the close.
func (p *peer) write() {
	for {
		select {
		case <-p.wk:
		case <-p.end:
			return
		}
		p.mu.Lock()
		out := p.out
		p.out = nil
		p.mu.Unlock()
		kind := websocket.TextMessage
		if p.codec == wire.Protobuf {
			kind = websocket.BinaryMessage
		}
		for _, msg := range out {
			if p.ws.WriteMessage(kind, msg) != nil {
				_ = p.ws.Close()
				return
			}
		}
	}
}

// say sends frames in one message.
func (p *peer) say(frames ...*wirepb.ServerFrame) {
	var msg []byte
	for _, f := range frames {
		var err error
		if msg, err = p.codec.Append(msg, f); err != nil {
			panic(err)
		}
	}
	p.mu.Lock()
	p.out = append(p.out, msg)
	p.mu.Unlock()
	select {
	case p.wk <- struct{}{}:
	default:
	}
}

// ping sends an empty message.
func (p *peer) ping() { p.say() }

// cut drops the connection without a word.
func (p *peer) cut() { _ = p.ws.Close() }

// bye closes the connection with code.
func (p *peer) bye(code wire.CloseCode) {
	_ = p.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(int(code), code.String()), time.Now().Add(time.Second))
}

// pipes is a listener that is dialled with pipes.
type pipes struct{ *memnet.Listener }

func (l pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	if err := l.Hand(ctx, theirs); err != nil {
		return nil, err
	}
	return ours, nil
}

// script plays a server by hand, step by step, in a test.
type script struct {
	t *testing.T
	*fake
	p *peer
}

func newScript(t *testing.T) *script {
	s := &script{t: t, fake: newFake(nil)}
	t.Cleanup(s.close)
	return s
}

// accept takes the next connection, and answers its hello after check has seen it.
func (s *script) accept(resumed ...*wirepb.Resumed) *wirepb.Hello {
	s.t.Helper()
	return s.acceptWith(func(r *wirepb.HelloReply) { r.Resumed = resumed })
}

func (s *script) acceptWith(change func(*wirepb.HelloReply)) *wirepb.Hello {
	s.t.Helper()
	s.p = <-s.peers
	f := s.next()
	if f.GetHello() == nil {
		s.t.Fatalf("the first frame is %v; want hello [SW-2.8]", f)
	}
	r := helloReply("alice", "customer")
	change(r)
	s.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Hello{Hello: r}})
	return f.GetHello()
}

func helloReply(sub, role string) *wirepb.HelloReply {
	return &wirepb.HelloReply{
		Connection: "c_1", Tenant: "demo", Sub: sub, Role: role, Node: "n1", PingMs: 25000, PongMs: 8000, ExpiresMs: 3600000,
		Limits: &wirepb.Limits{Frame: 65536, Body: 32768, Batch: 64, Sessions: 8, Inflight: 8},
	}
}

// next returns the client's next frame.
func (s *script) next() *wirepb.ClientFrame {
	s.t.Helper()
	f, ok := <-s.p.in
	if !ok {
		s.t.Fatal("the client has closed the connection")
	}
	return f
}

// open answers the client's open of session s_1 with r, and returns what was asked.
func (s *script) open(r *wirepb.OpenReply) *wirepb.Open {
	s.t.Helper()
	f := s.next()
	o := f.GetOpen()
	if o == nil {
		s.t.Fatalf("got %v; want open", f)
	}
	r.Session = "s_1"
	if r.How == "" {
		r.How = "exact"
	}
	s.p.say(&wirepb.ServerFrame{Id: f.Id, Verb: &wirepb.ServerFrame_Open{Open: r}})
	return o
}

func message(seq, prev uint64) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Message{Message: &wirepb.Entry{
		Session: "s_1", Seq: seq, Epoch: 1, Prev: prev, Kind: "message", Type: "text", Body: []byte(`{"text":"x"}`), Origin: "bot", Visibility: "public",
	}}}
}

func sendReply(id, seq uint64, duplicate bool) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Send{Send: &wirepb.SendReply{Seq: seq, Epoch: 1, Ts: 1, Duplicate: duplicate}}}
}

func refusal(id uint64, e *wire.Error) *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Id: id, Verb: &wirepb.ServerFrame_Error{Error: e.ErrorPB()}}
}
