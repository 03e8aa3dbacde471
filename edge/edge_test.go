package edge

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"go.uber.org/goleak"

	"switchboard/edge/secure"
	"switchboard/wire"
)

// way is how every rig serves its sockets.
var way serving

type serving struct {
	loops          int
	server, client *tls.Config // nil is plain
}

// url returns the beginning of a URL: scheme is that without TLS.
func (w *serving) url(scheme string) string {
	if w.server != nil {
		scheme += "s"
	}
	return scheme + "://"
}

func (w *serving) dial(addr string) (net.Conn, error) {
	if w.server != nil {
		return tls.Dial("tcp", addr, w.client)
	}
	return net.Dial("tcp", addr)
}

func (w *serving) dialer() *websocket.Dialer {
	return &websocket.Dialer{HandshakeTimeout: 30 * time.Second, TLSClientConfig: w.client}
}

// everyWay runs the tests once for each way to serve sockets: by loops where there are some, and by goroutines, each plain and
// with TLS.
type everyWay struct{ m *testing.M }

// Run implements goleak.TestingM.
func (w everyWay) Run() (code int) {
	ways := []int{2, -1}
	if f := flag.Lookup("test.fuzz"); runtime.GOOS != "linux" || f != nil && f.Value.String() != "" {
		ways = ways[1:] // fuzzed connections are no sockets
	}
	server, client, err := certificate()
	if err != nil {
		fmt.Println("making a certificate:", err)
		return 1
	}
	for i := range 2 * len(ways) {
		way.loops = ways[i/2]
		if way.server, way.client = nil, nil; i%2 == 1 {
			way.server, way.client = server, client
		}
		http.DefaultTransport.(*http.Transport).TLSClientConfig = way.client.Clone()
		fmt.Println("Config.Loops =", way.loops, "TLS =", way.server != nil)
		code = max(code, w.m.Run())
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	}
	return code
}

func certificate() (server, client *tls.Config, err error) {
	cert, key, err := secure.SelfSigned(time.Hour, "127.0.0.1")
	if err != nil {
		return nil, nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}, &tls.Config{RootCAs: roots}, nil //nolint:gosec // a test's
}

func TestMain(m *testing.M) {
	flag.Parse()
	// fasthttp's cleaner of idle workers sleeps 10 s before it sees that its server is closed; its clock is one for the process.
	goleak.VerifyTestMain(everyWay{m},
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// The whole way of a message, in both codecs.
func TestTalk(t *testing.T) {
	f := func(codec wire.Codec) {
		r := newRig(t, nil)
		alice := r.login(codec, "demo/customer/alice")
		id := alice.open()
		phone := r.login(codec, "demo/customer/alice")
		if m, _ := phone.ask(`"open":{"session":"` + string(id) + `"}`); m.GetOpen().GetHow() != "exact" {
			t.Fatalf("open was answered %v", m)
		}
		for i := range uint64(3) {
			m, pushed := alice.ask(`"send":{"session":"` + string(id) + `","type":"text","body":{"text":"hi\nthere 你好"}}`)
			if s := m.GetSend(); s.GetSeq() != i+1 || s.GetEpoch() != 1 || len(pushed) > 0 {
				t.Fatalf("send was answered %v after %v", m, pushed)
			}
			e := phone.next().GetMessage()
			if e.GetSeq() != i+1 || e.GetPrev() != i || !bytes.Equal(e.GetBody(), []byte(`{"text":"hi\nthere 你好"}`)) {
				t.Fatalf("pushed %v", e)
			}
		}
		if m, _ := alice.ask(`"leave":{"session":"` + string(id) + `"}`); m.GetLeave() == nil {
			t.Fatalf("leave was answered %v", m)
		}
		if n := r.shard.attachedTo(id); n != 1 {
			t.Fatalf("%d are attached", n)
		}
	}
	f(wire.JSON)
	f(wire.Protobuf)
}

func TestHello(t *testing.T) {
	r := newRig(t, nil)
	f := func(first string, slug wire.Slug, code wire.CloseCode) {
		t.Helper()
		p := r.dial(wire.JSON)
		p.say(first)
		if slug != "" {
			if m := p.next(); m.GetError().GetSlug() != string(slug) {
				t.Fatalf("%s was answered %v", first, m)
			}
		}
		got, bye := p.ended()
		if got != int(code) || bye.GetCode() != uint32(code) || bye.GetReconnect() != code.Reconnect() || bye.GetReason() != code.String() {
			t.Fatalf("%s ended with %d, %v; want %d", first, got, bye, code)
		}
	}
	f(`{"id":1,"hello":{}}`, wire.Unauthenticated, wire.CloseBadToken)
	f(`{"id":1,"hello":{"token":"x"}}`, wire.Unauthenticated, wire.CloseBadToken)
	f(`{"hello":{"token":"x"}}`, "", wire.CloseBadToken)
	f(`{"id":1,"hello":{"token":"demo/customer/a/expired"}}`, wire.TokenExpired, wire.CloseTokenExpired)
	f(`{"id":1,"send":{"session":"s","body":1}}`, "", wire.CloseNoHello)
	f(`{"id":1,"frobnicate":{}}`, "", wire.CloseNoHello)
	f(`{"id":1,"hello":{"token":"demo/customer/a","client":"`+strings.Repeat("x", 65_536)+`"}}`, wire.TooLarge, wire.CloseNoHello) // [SW-6.3]
	f(`{"id":1`, "", wire.CloseBadFrame)
	f(`nonsense`, "", wire.CloseBadFrame)

	p := r.dial(wire.JSON)
	r.pass(6 * time.Second)
	if code, _ := p.ended(); code != int(wire.CloseNoHello) { // [SW-2.8]
		t.Fatalf("silence ended with %d", code)
	}

	p = r.login(wire.JSON, "demo/worker/bot")
	if m, _ := p.ask(`"hello":{"token":"demo/worker/bot"}`); m.GetError().GetSlug() != string(wire.BadRequest) {
		t.Fatalf("a second hello was answered %v", m)
	}
	for _, c := range []struct {
		token  string
		ping   int64
		rate   int
		limits string
	}{{"demo/customer/a", 25000, 2, "8 8"}, {"demo/worker/b", 5000, 0, "10000 4096"}} {
		p := r.dial(wire.JSON)
		p.say(`{"id":1,"hello":{"token":"` + c.token + `"}}`)
		h := p.next().GetHello()
		l := h.GetLimits()
		if h.GetPingMs() != c.ping || len(l.GetRate()) != c.rate || fmt.Sprint(l.GetSessions(), l.GetInflight()) != c.limits || h.GetExpiresMs() != 3600000 {
			t.Fatalf("%s was told %v", c.token, h)
		}
	}
}

// The token of the upgrade is good for hello too [SW-2.9].
func TestBearer(t *testing.T) {
	r := newRig(t, nil)
	d := websocket.Dialer{TLSClientConfig: way.client}
	ws, resp, err := d.Dial(way.url("ws")+r.addr+"/v1/connect", map[string][]string{"Authorization": {"Bearer demo/customer/alice"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	defer ws.Close() //nolint:errcheck // a test's
	p := &peer{t: t, ws: ws}
	p.say(`{"id":1,"hello":{}}`)
	if h := p.next().GetHello(); h.GetSub() != "alice" {
		t.Fatalf("hello was answered %v", h)
	}
}

func TestRefuse(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Rate, c.Limits.Burst = 1e6, 1e6 })
	alice, bot, boss := r.login(wire.JSON, "demo/customer/alice"), r.login(wire.JSON, "demo/worker/bot"), r.login(wire.JSON, "demo/supervisor/boss")
	id := string(alice.open())
	f := func(p *peer, verb string, want wire.Slug) {
		t.Helper()
		if m, _ := p.ask(verb); m.GetError().GetSlug() != string(want) {
			t.Fatalf("%.80s was answered %.200v; want %s", verb, m, want)
		}
	}
	s := `"session":"` + id + `"`
	f(alice, `"frobnicate":{}`, wire.UnknownVerb)
	f(alice, `"subscribe":{"queues":["default"]}`, wire.Forbidden)
	f(alice, `"reply":{`+s+`,"ae":1,"body":1}`, wire.Forbidden)
	f(alice, `"delta":{`+s+`,"ae":1,"stream":"m","text":"x"}`, wire.Forbidden)
	f(bot, `"send":{`+s+`,"body":1}`, wire.Forbidden)
	f(bot, `"rate":{`+s+`,"score":1}`, wire.Forbidden)
	f(boss, `"send":{`+s+`,"body":1}`, wire.Forbidden)
	f(boss, `"accept":{"offer":"o"}`, wire.Forbidden)
	f(alice, `"send":{"session":"nowhere","body":1}`, wire.NoSession)
	f(alice, `"send":{"session":"","body":1}`, wire.NoSession)
	f(alice, `"send":{"session":"s_0000000000000000","body":1}`, wire.NoSession)
	f(alice, `"send":{"session":"`+strings.Repeat("s", 1000)+`","body":1}`, wire.NoSession)
	f(alice, `"send":{`+s+`}`, wire.InvalidBody)
	f(alice, `"send":{`+s+`,"body":1,"key":"a b"}`, wire.BadRequest)
	f(alice, `"send":{`+s+`,"body":1,"type":"`+strings.Repeat("x", 65)+`"}`, wire.BadRequest)
	f(alice, `"open":{"channel":"a b"}`, wire.BadRequest)
	f(bot, `"reply":{`+s+`,"ae":1,"body":1,"visibility":"secret"}`, wire.BadRequest)
	f(bot, `"delta":{`+s+`,"ae":1,"text":"x"}`, wire.BadRequest)
	f(bot, `"subscribe":{"instance":"a/b"}`, wire.BadRequest)
	f(bot, `"accept":{}`, wire.BadRequest)
	f(alice, `"send":{`+s+`,"body":"`+strings.Repeat("x", 32<<10)+`"}`, wire.TooLarge)
	f(alice, `"open":{"channel":"`+strings.Repeat("x", 64<<10)+`"}`, wire.TooLarge)
	f(alice, `"refresh":{"token":"x"}`, wire.Unauthenticated)
	f(alice, `"refresh":{"token":"demo/customer/mallory"}`, wire.Forbidden)
	f(alice, `"refresh":{"token":"other/customer/alice"}`, wire.Forbidden)
	f(alice, `"refresh":{"token":"demo/customer/alice/expired"}`, wire.TokenExpired)
	f(alice, `"identify":{"token":"demo/worker/alice"}`, wire.Forbidden)

	// Without an id nothing is answered, and the connection stays.
	alice.say(`{"send":{"session":"nowhere","body":1}}`, `{"frobnicate":{}}`)
	if m, pushed := alice.ask(`"refresh":{"token":"demo/customer/alice/2h"}`); m.GetRefresh().GetExpiresMs() != 7200000 || len(pushed) > 0 {
		t.Fatalf("refresh was answered %v after %v", m, pushed)
	}
	// A batch beyond the limit is answered, the rest of it refused.
	var frames []string
	for i := range 70 {
		frames = append(frames, fmt.Sprintf(`{"id":%d,"typing":{%s,"on":true}}`, 1000+i, s))
	}
	bot.say(frames...)
	var slugs []string
	for range 70 {
		slugs = append(slugs, bot.next().GetError().GetSlug())
	}
	if n := len(slices.DeleteFunc(slugs, func(s string) bool { return s != string(wire.TooLarge) })); n != 6 {
		t.Fatalf("%d of 70 were too large", n)
	}
}

// What cannot be followed ends the connection, and nothing else [SW-2.7] [SW-6.3].
func TestHostile(t *testing.T) {
	r := newRig(t, nil)
	bystander := r.login(wire.JSON, "demo/customer/bystander")
	id := bystander.open()
	f := func(name string, codec wire.Codec, kind int, msg []byte, want int) {
		t.Helper()
		p := r.login(codec, "demo/worker/w")
		p.raw(kind, msg)
		if code, _ := p.ended(); code != want {
			t.Errorf("%s ended with %d; want %d", name, code, want)
		}
	}
	bad := int(wire.CloseBadFrame)
	text, bin := websocket.TextMessage, websocket.BinaryMessage
	f("no JSON", wire.JSON, text, []byte(`{`), bad)
	f("two verbs", wire.JSON, text, []byte(`{"id":1,"leave":{},"typing":{}}`), bad)
	f("an array", wire.JSON, text, []byte(`[]`), bad)
	f("deep", wire.JSON, text, []byte(`{"send":{"body":`+strings.Repeat("[", 60000)), bad)
	f("negative id", wire.JSON, text, []byte(`{"id":-1,"leave":{}}`), bad)
	f("huge id", wire.JSON, text, []byte(`{"id":99999999999999999999,"leave":{}}`), bad)
	f("binary in JSON", wire.JSON, bin, []byte(`{"id":1,"leave":{}}`), bad)
	f("text in Protobuf", wire.Protobuf, text, []byte(`{"id":1,"leave":{}}`), bad)
	f("bad UTF-8", wire.JSON, text, []byte("{\"id\":1,\"x\":\"\xff\"}"), 1007)
	f("no Protobuf", wire.Protobuf, bin, []byte{5, 1, 2, 3, 4, 255}, bad)
	f("length beyond", wire.Protobuf, bin, []byte{200, 1}, bad)
	f("endless length", wire.Protobuf, bin, bytes.Repeat([]byte{255}, 20), bad)
	f("too large", wire.JSON, text, bytes.Repeat([]byte(" "), 4*65536+1), 1009)
	f("too long a frame that is none", wire.JSON, text, bytes.Repeat([]byte("x"), 65536+1), 1009) // [SW-6.3]
	f("close", wire.JSON, websocket.CloseMessage, websocket.FormatCloseMessage(1001, "bye"), 1001)
	f("bad close", wire.JSON, websocket.CloseMessage, []byte{3, 237, 1}, 1002)
	for reason, want := range map[string]float64{wire.CloseBadFrame.String(): 11, "invalid_text": 1, "too_big": 2, "protocol_error": 1} { // who hangs up himself is none
		if got := counted(t, r.e.m.closed.WithLabelValues(reason)); got != want {
			t.Errorf("%v were closed for %s; want %v", got, reason, want)
		}
	}

	// A message body that is no JSON is an error in Protobuf, where the frame can be followed.
	p := r.login(wire.Protobuf, "demo/customer/bystander")
	if m, _ := p.ask(`"leave":{"session":"` + string(id) + `"}`); m.GetLeave() == nil {
		t.Fatalf("leave was answered %v", m)
	}
	if m, _ := bystander.ask(`"send":{"session":"` + string(id) + `","body":1}`); m.GetSend().GetSeq() != 1 {
		t.Fatalf("the bystander was answered %v", m)
	}
}

// Bytes that are no frames of RFC 6455 at all.
func TestHostileBytes(t *testing.T) {
	r := newRig(t, nil)
	f := func(name string, b []byte, want int) {
		t.Helper()
		p := r.login(wire.JSON, "demo/worker/w")
		if _, err := p.ws.NetConn().Write(b); err != nil {
			t.Fatal(err)
		}
		if code, _ := p.ended(); code != want {
			t.Errorf("%s ended with %d; want %d", name, code, want)
		}
	}
	f("unmasked", []byte{0x81, 0}, 1002)
	f("reserved bit", []byte{0xc1, 0x80, 0, 0, 0, 0}, 1002)
	f("reserved opcode", []byte{0x83, 0x80, 0, 0, 0, 0}, 1002)
	f("long ping", []byte{0x89, 0xfe, 0, 200, 0, 0, 0, 0}, 1002)
	f("continuation", []byte{0x80, 0x80, 0, 0, 0, 0}, 1002)
	f("eight exabytes", []byte{0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 1009)
}
