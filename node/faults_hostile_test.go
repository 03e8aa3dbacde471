package node_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// hostile is a node of two tenants, and a canary: a customer who talks on through everything that others do to it.
type hostile struct {
	t      testing.TB
	n      *node.Node
	canary *peer
	own    string // the canary's session
	words  int
}

const (
	demoSecret = "0123456789abcdef0123456789abcdef"
	acmeSecret = "fedcba9876543210fedcba9876543210"
)

func startHostile(t testing.TB, change ...func(*node.Config)) *hostile {
	t.Helper()
	dir := t.TempDir()
	keys := fmt.Sprintf(`{"version":1,"tenants":{"demo":{"keys":[{"kid":"d","secret":%q}]},"acme":{"keys":[{"kid":"a","secret":%q}]}}}`, demoSecret, acmeSecret)
	if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	change = append(change, func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"acme": {Queues: []node.Queue{{Name: "default"}}}, "demo": {Queues: []node.Queue{{Name: "default"}, {Name: "other"}}}}
	})
	h := &hostile{t: t, n: start(t, dir, change...)}
	h.canary = login(t, h.n, customerOf("canary"))
	h.own = h.canary.open(obj{"queue": "other"}) // whose workers never come
	return h
}

// alive lets the canary speak, and a newcomer come and be served.
func (h *hostile) alive(after string) {
	h.t.Helper()
	h.words++
	key := fmt.Sprint("w", h.words)
	f := h.canary.answer(h.canary.send("send", obj{"session": h.own, "key": key, "body": text(after)}))
	if f["send"] == nil {
		h.t.Fatalf("after %q the canary's word was answered %v", after, f)
	}
	p := login(h.t, h.n, customerOf("canary"))
	p.ask("open", obj{"tail": 3}) // the first word has the event of its queue behind it
	for bodyText(p.said("message")) != after {
	}
	_ = p.ws.Close()
}

// bytes writes what stands below WebSocket frames, and does not mind when nobody reads it any more.
func (p *peer) bytes(parts ...[]byte) {
	p.t.Helper()
	for _, b := range parts {
		_, _ = p.ws.NetConn().Write(b)
	}
}

// frame is one WebSocket frame of a client, whose mask changes nothing.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n)) //nolint:gosec // it fits
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// The first bytes of frames.
const (
	fin      = 0x80
	rsv1     = 0x40
	opText   = 1
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

func repeat(b []byte, n int) []byte { return []byte(strings.Repeat(string(b), n)) }

// Bytes that are no frames, or too many, or too large: the connection ends with the right code, or lives.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	ask := []byte(`{"id":77,"open":{}}`)
	// f says hello, writes b, and wants the connection closed with code, or, with code 0, alive.
	f := func(name string, code int, b ...[]byte) {
		t.Helper()
		p := login(t, h.n, customerOf("mallory"))
		p.bytes(b...)
		if code != 0 {
			if got, _ := p.closed(); got != code {
				t.Errorf("%s: closed with %d; want %d", name, got, code)
			}
		} else if o := p.ask("open", obj{}); o["session"] == nil {
			t.Errorf("%s: %v", name, o)
		}
		_ = p.ws.Close()
		h.alive(name)
	}
	f("a text frame", 0, frame(fin|opText, ask))
	f("compressed", 1002, frame(fin|rsv1|opText, ask)) // it was not negotiated
	f("second reserved bit", 1002, frame(fin|0x20|opText, ask))
	f("third reserved bit", 1002, frame(fin|0x10|opText, ask))
	f("reserved opcode", 1002, frame(fin|3, ask))
	f("reserved control opcode", 1002, frame(fin|0xb, nil))
	f("not masked", 1002, []byte{fin | opText, 2, '{', '}'})
	f("long ping", 1002, frame(fin|opPing, make([]byte, 126)))
	f("fragmented ping", 1002, frame(opPing, nil))
	f("continuation of nothing", 1002, frame(fin, ask))
	f("message inside a message", 1002, frame(opText, ask[:5]), frame(fin|opText, ask))
	f("length not in its shortest form", 1002, []byte{fin | opText, 0x80 | 126, 0, 2, 0, 0, 0, 0, '{', '}'})
	f("negative length", 1002, []byte{fin | opText, 0x80 | 127, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0})
	f("an exabyte", 1009, []byte{fin | opText, 0x80 | 127, 0x0f, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0})
	f("a megabyte", 1009, frame(fin|opText, repeat([]byte(" "), 1<<20)))
	f("a megabyte in pieces", 1009, frame(opText, repeat([]byte(" "), 60_000)), repeat(frame(0, repeat([]byte(" "), 60_000)), 17))
	f("10,000 fragments", 1009, frame(opText, nil), repeat(frame(0, []byte(" ")), 10_000), frame(fin, ask))
	f("10,000 empty fragments", 1009, frame(opText, nil), repeat(frame(0, nil), 10_000), frame(fin, ask))
	f("1,000 fragments", 0, frame(opText, nil), repeat(frame(0, []byte(" ")), 1_000), frame(fin, ask))
	f("pings between fragments", 0, frame(opText, ask[:5]), repeat(frame(fin|opPing, []byte("?")), 100), frame(fin, ask[5:]))
	f("10,000 empty messages", 0, repeat(frame(fin|opText, nil), 10_000)) // pongs that nobody asked for
	f("bad UTF-8", 1007, frame(fin|opText, []byte("{\"id\":1,\"open\":{\"queue\":\"\xff\"}}")))
	f("a surrogate in UTF-8", 1007, frame(fin|opText, []byte("\xed\xa0\x80")))
	f("UTF-8 cut by its end", 1007, frame(opText, []byte("\xe4\xbd")), frame(fin, nil))
	f("UTF-8 cut by a fragment", 0, frame(opText, []byte("{\"id\":77,\"open\":{\"x\":\"\xe4\xbd")), frame(fin, []byte("\xa0\"}}")))
	f("binary on a text protocol", 3501, frame(fin|opBinary, ask))
	f("half a close code", 1002, frame(fin|opClose, []byte{3}))
	f("a close code of nobody", 1002, frame(fin|opClose, []byte{3, 0xed}))
	f("a close reason in bad UTF-8", 1007, frame(fin|opClose, []byte{3, 0xe8, 0xff}))
	f("a close", 1000, frame(fin|opClose, []byte{3, 0xe8}))
	f("a close with nothing", 1000, frame(fin|opClose, nil))
	f("random bytes", 1002, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")) // a TLS hello
}

// Messages that are not what the protocol says: [SW-2.3] [SW-2.5] [SW-2.7] [SW-6.3].
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	// f sends one message. want is a close code, the slug of the error that answers id 1, or nothing when it is done or
	// ignored.
	f := func(name, message, want string) {
		t.Helper()
		p := login(t, h.n, customerOf("mallory"))
		id := p.open(obj{})
		p.raw(strings.ReplaceAll(message, "$S", id))
		switch {
		case want == "":
			p.ask("history", obj{"session": id})
		case want[0] == '3' || want[0] == '1':
			if code, _ := p.closed(); fmt.Sprint(code) != want {
				t.Errorf("%s: closed with %d; want %s", name, code, want)
			}
		default:
			if e, _ := p.answer(50)["error"].(obj); e["slug"] != want {
				t.Errorf("%s: error %v; want %s", name, e, want)
			}
		}
		_ = p.ws.Close()
		h.alive(name)
	}
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	f("cut", `{"id":50,"send":{"session":"$S","bo`, "3501")
	f("two values", `{"id":50,"open":{}}{"id":51,"open":{}}`, "3501")
	f("an array", `[{"id":50}]`, "3501")
	f("a number", `42`, "3501")
	f("null", `null`, "3501")
	f("no verb", `{"id":50}`, "unknown_verb")
	f("an empty object", `{}`, "")
	f("two verbs", `{"id":50,"open":{},"leave":{"session":"$S"}}`, "3501")
	f("unknown verb", `{"id":50,"frobnicate":{"a":[1,2,{"b":null}]}}`, "unknown_verb")
	f("unknown verb without id", `{"frobnicate":{}}`, "")
	f("a server's verb", `{"id":50,"message":{"session":"$S"}}`, "unknown_verb")
	f("an inner verb", `{"id":50,"gone":{"session":"$S"}}`, "unknown_verb")
	f("another inner verb", `{"id":50,"page":{"session":"$S"}}`, "unknown_verb")
	f("a verb that is no object", `{"id":50,"open":7}`, "3501")
	f("a wrong type", `{"id":50,"open":{"queue":7}}`, "3501")
	f("id below nought", `{"id":-1,"open":{}}`, "3501")
	f("id of a fraction", `{"id":1.5,"open":{}}`, "3501")
	f("id of 65 bits", `{"id":18446744073709551616,"open":{}}`, "3501")
	f("id in scientific notation", `{"id":1e400,"open":{}}`, "3501")
	f("id as a string", `{"id":"1","open":{}}`, "3501")
	f("history from the end of numbers", `{"id":50,"history":{"session":"$S","after":18446744073709551615,"limit":4294967295}}`, "")
	f("history before nothing", `{"id":50,"history":{"session":"$S","before":0,"limit":0}}`, "")
	f("history before and after", `{"id":50,"history":{"session":"$S","before":18446744073709551615,"after":0}}`, "")
	f("ack of what never was", `{"ack":{"session":"$S","seq":18446744073709551615,"read":18446744073709551615}}`, "")
	f("a score beyond", `{"id":50,"rate":{"session":"$S","score":4294967295}}`, "bad_request")
	f("a tail of everything", `{"id":50,"open":{"session":"$S","tail":4294967295}}`, "")
	f("a position beyond", `{"id":50,"open":{"session":"$S","from":{"epoch":18446744073709551615,"seq":18446744073709551615}}}`, "")
	f("a position ahead", `{"id":50,"open":{"session":"$S","from":{"epoch":1,"seq":18446744073709551615}}}`, "")
	f("reply to the future", `{"id":50,"send":{"session":"$S","body":1,"reply_to":18446744073709551615}}`, "")
	f("a body 64 deep", `{"id":50,"send":{"session":"$S","body":`+deep(64)+`}}`, "")
	f("a body 16,000 deep", `{"id":50,"send":{"session":"$S","body":`+deep(16_000)+`}}`, "3501")
	f("an unknown field 30,000 deep", `{"id":50,"open":{"x":`+deep(30_000)+`}}`, "3501")
	f("an unknown verb 30,000 deep", `{"id":50,"x":`+deep(30_000)+`}`, "3501")
	f("a large number", `{"id":50,"send":{"session":"$S","body":1`+strings.Repeat("0", 300)+`}}`, "")
	f("an escaped surrogate", `{"id":50,"send":{"session":"$S","body":"\ud800"}}`, "")
	f("an escaped nought", `{"id":50,"send":{"session":"$S","body":"\u0000","key":"k"}}`, "")
	f("a nought in an id", `{"id":50,"send":{"session":"$S","body":1,"key":"\u0000"}}`, "bad_request")
	f("a type that is no id", `{"id":50,"send":{"session":"$S","body":1,"type":"a b"}}`, "bad_request")
	f("no body", `{"id":50,"send":{"session":"$S"}}`, "invalid_body")
	f("a large body", `{"id":50,"send":{"session":"$S","body":"`+strings.Repeat("x", 40_000)+`"}}`, "too_large")
	f("a large frame", `{"id":50,"open":{"x":"`+strings.Repeat("x", 70_000)+`"}}`, "too_large")
	f("large attributes", `{"id":50,"open":{"attributes":{"x":"`+strings.Repeat("x", 40_000)+`"}}}`, "too_large")
	f("a long reason", `{"id":50,"close":{"session":"$S","reason":"`+strings.Repeat("x", 60_000)+`"}}`, "too_large")
	f("a long comment", `{"id":50,"rate":{"session":"$S","score":3,"comment":"`+strings.Repeat("x", 60_000)+`"}}`, "too_large")
	f("a comment that grows as JSON", `{"id":50,"rate":{"session":"$S","score":3,"comment":"`+strings.Repeat(`\u0001`, 8_000)+`"}}`, "too_large")
	f("a session that is none", `{"id":50,"send":{"session":"`+strings.Repeat("s", 60_000)+`","body":1}}`, "no_session")
	f("64 frames at once", strings.TrimSpace(strings.Repeat(`{"typing":{"session":"$S","on":true}}`+"\n", 64)), "")
	f("65 requests at once", strings.Repeat(`{"typing":{"session":"$S","on":true}}`+"\n", 64)+`{"id":50,"open":{}}`, "too_large")
	f("a queue of nobody", `{"id":50,"open":{"shop":"new","queue":"nowhere"}}`, "no_queue")
	f("refresh with nonsense", `{"id":50,"refresh":{"token":"`+strings.Repeat("x", 50_000)+`"}}`, "unauthenticated")
	f("a worker's verb", `{"id":50,"reply":{"session":"$S","ae":1,"body":1}}`, "forbidden")
	f("hello again", `{"id":50,"hello":{"token":"x"}}`, "bad_request")
}

// [SW-2.3] Requests with one id at the same time get one answer each, as confusing as that is for who sent them. Beyond
// what may be in flight requests are refused, and those in flight are answered.
func TestDuplicateIDs(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	p := login(t, h.n, customerOf("mallory"))
	id := p.open(obj{})
	one := fmt.Sprintf(`{"id":50,"send":{"session":%q,"body":1}}`, id)
	p.raw(one + "\n" + one + "\n" + one)
	for range 3 {
		if f := p.answer(50); f["send"] == nil {
			t.Errorf("answered %v", f)
		}
	}
	if f := p.answer(p.send("open", obj{})); f["open"] == nil || len(p.in) != 0 && p.in[0]["id"] == 50.0 {
		t.Errorf("then came %v and %v", f, p.in)
	}
	h.alive("duplicate ids")
	p = login(t, h.n, customerOf("mallory"))
	var many []string
	for i := range 64 {
		many = append(many, fmt.Sprintf(`{"id":%d,"send":{"session":%q,"body":1}}`, 100+i, id))
	}
	p.raw(strings.Join(many, "\n"))
	done, full := 0, 0
	for i := range 64 {
		f := p.answer(100 + i)
		if e, bad := f["error"].(obj); !bad {
			done++
		} else if e["slug"] == "too_many_inflight" && e["retry"] != "never" {
			full++
		} else {
			t.Errorf("%d was answered %v", 100+i, f)
		}
	}
	if done < 8 || done+full != 64 {
		t.Errorf("%d done, %d refused of 64", done, full)
	}
	h.alive("64 requests")
}

// The same in Protobuf.
func TestHostileProtobuf(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	hello, err := wire.Protobuf.Append(nil, &wirepb.ClientFrame{Id: 1, Verb: &wirepb.ClientFrame_Hello{Hello: &wirepb.Hello{Token: mint(t, h.n, customerOf("mallory"))}}})
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, code int, b ...[]byte) {
		t.Helper()
		p := dialAddr(t, h.n.Addr(), wire.Protobuf.Subprotocol())
		p.pb = true
		p.bytes(frame(fin|opBinary, hello))
		p.bytes(b...)
		if code != 0 {
			if got, _ := p.closed(); got != code {
				t.Errorf("%s: closed with %d; want %d", name, got, code)
			}
		}
		_ = p.ws.Close()
		h.alive(name)
	}
	f("nothing else", 0)
	f("text on a binary protocol", 3501, frame(fin|opText, []byte("{}")))
	f("a length and nothing", 3501, frame(fin|opBinary, []byte{5}))
	f("a length that does not end", 3501, frame(fin|opBinary, repeat([]byte{0xff}, 20)))
	f("a length of 64 bits", 3501, frame(fin|opBinary, append(repeat([]byte{0xff}, 9), 1)))
	f("a field of 64 bits' length", 3501, frame(fin|opBinary, append([]byte{11, 0x12}, append(repeat([]byte{0xff}, 8), 0x7f)...)))
	f("group that does not end", 3501, frame(fin|opBinary, append([]byte{200, 1}, repeat([]byte{0x0b}, 200)...)))
	f("groups 50,000 deep", 3501, frame(fin|opBinary, append(binary.AppendUvarint(nil, 50_000), repeat([]byte{0x0b}, 50_000)...)))
	f("groups 100,000 deep, in more than a frame may have", 1009, frame(fin|opBinary, append(binary.AppendUvarint(nil, 100_000), repeat([]byte{0x0b}, 100_000)...)))
	f("frames of nothing", 0, frame(fin|opBinary, repeat([]byte{0}, 100)))
	f("bad UTF-8", 3501, frame(fin|opBinary, []byte{9, 0x08, 0x05, 0x22, 5, 0x0a, 3, 0xff, 0xff, 0xff}))
}

// Tokens that must not open anything [SW-3.1].
func TestHostileTokens(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	good := mint(t, h.n, customerOf("mallory"))
	parts := strings.Split(good, ".")
	enc := base64.RawURLEncoding.EncodeToString
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	acme := mint(t, h.n, token.Claims{Tenant: "acme", Sub: "mallory", Role: wire.RoleCustomer})
	header := func(s string) string { return enc([]byte(s)) }
	f := func(name, tok string, code int) {
		t.Helper()
		p := dial(t, h.n)
		p.raw(fmt.Sprintf(`{"id":1,"hello":{"token":%q}}`, tok))
		if got, bye := p.closed(); got != code || num(bye["code"]) != code {
			t.Errorf("%s: closed with %d after %v; want %d", name, got, bye, code)
		}
		h.alive(name)
	}
	f("nonsense", "nonsense", 3500)
	f("dots", "..", 3500)
	f("no signature", parts[0]+"."+parts[1]+".", 3500)
	f("alg none", header(`{"alg":"none"}`)+"."+parts[1]+".", 3500)
	f("alg None", header(`{"alg":"None","kid":"d"}`)+"."+parts[1]+"."+parts[2], 3500)
	f("another alg", header(`{"alg":"HS512","kid":"d"}`)+"."+parts[1]+"."+parts[2], 3500)
	f("an asymmetric alg", header(`{"alg":"RS256","kid":"d"}`)+"."+parts[1]+"."+parts[2], 3500)
	f("claims of another", parts[0]+"."+enc([]byte(strings.Replace(string(claims), "mallory", "canary1", 1)))+"."+parts[2], 3500)
	f("the tenant of another key", strings.Split(acme, ".")[0]+"."+parts[1]+"."+parts[2], 3500)
	f("a key of a tenant that is none", header(`{"alg":"HS256","kid":"x"}`)+"."+parts[1]+"."+parts[2], 3500)
	f("long", good+strings.Repeat("A", 60_000), 3500)
	f("a crit header", header(`{"alg":"HS256","kid":"d","crit":["x"],"x":1}`)+"."+parts[1]+"."+parts[2], 3500)
	expired, err := h.n.Mint(claimsOf("mallory"), -time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f("expired", expired, 3005)
	for _, tok := range []string{"nonsense", expired} {
		p := login(t, h.n, customerOf("mallory"))
		want := "unauthenticated"
		if tok == expired {
			want = "token_expired"
		}
		p.refused(want, "refresh", obj{"token": tok})
		p.open(obj{}) // the connection stays
	}
	login(t, h.n, customerOf("mallory")).refused("forbidden", "refresh", obj{"token": acme})
}

// [SW-4.5] A session of another customer or tenant answers exactly as one that does not exist, to every verb.
func TestForeignSessions(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	verbs := map[string]obj{
		"open": {}, "send": {"body": 1}, "history": {}, "close": {}, "rate": {"score": 1}, "leave": {},
		"ack": {"seq": 1}, "typing": {"on": true},
	}
	work := map[string]obj{
		"history": {}, "open": {}, "reply": {"ae": 1, "body": 1}, "nack": {"ae": 1, "seq": 1}, "transfer": {"ae": 1, "to": obj{"queue": "default"}},
		"release": {"ae": 1}, "context": {"ae": 1, "patch": obj{}}, "ack": {"ae": 1, "seq": 1}, "close": {"ae": 1}, "typing": {"on": true},
		"delta": {"ae": 1, "stream": "m", "off": 0, "text": "x"}, "leave": {},
	}
	// An id of the same slot that was never given to anybody.
	_, slot, _ := wire.SessionID(h.own).Place()
	missing := string(wire.NewSessionID(0, slot, 12345))
	for name, p := range map[string]*peer{
		"another customer":  login(t, h.n, customerOf("mallory")),
		"another tenant":    login(t, h.n, token.Claims{Tenant: "acme", Sub: "canary", Role: wire.RoleCustomer}),
		"a worker":          login(t, h.n, workerOf("spy", wire.OriginBot)),
		"a worker's tenant": login(t, h.n, token.Claims{Tenant: "acme", Sub: "spy", Role: wire.RoleWorker, Kind: wire.OriginBot, Queues: []string{"*"}}),
		"a supervisor":      login(t, h.n, token.Claims{Tenant: "acme", Sub: "sue", Role: wire.RoleSupervisor}),
	} {
		list := verbs
		switch name {
		case "a worker", "a worker's tenant":
			list = work
		case "a supervisor":
			list = map[string]obj{"open": {}, "history": {}, "leave": {}}
		}
		for verb, body := range list {
			ask := func(id string) obj {
				with := obj{"session": id}
				maps.Copy(with, body)
				f := p.answer(p.send(verb, with))
				delete(f, "id")
				return f
			}
			got, want := ask(h.own), ask(missing)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %s of a foreign session is answered %v, of a missing one %v", name, verb, got, want)
			}
			if e, _ := got["error"].(obj); e["slug"] != "no_session" {
				t.Errorf("%s: %s of a foreign session is answered %v", name, verb, got)
			}
		}
		h.alive(name)
	}
	for _, e := range h.canary.ask("history", obj{"session": h.own, "limit": 100})["entries"].([]any) {
		if from, _ := e.(obj)["from"].(obj); from["id"] != "canary" && e.(obj)["origin"] != "system" {
			t.Errorf("somebody else wrote %v", e)
		}
	}
}

// [SW-5.3] A verb with an older ae is refused on every worker verb, and nothing happens: no entry, no delta, no move of
// the cursor.
func TestStaleAssignment(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	a, bot, human := login(t, h.n, customerOf("alice")), login(t, h.n, workerOf("faq", wire.OriginBot)), login(t, h.n, workerOf("bob", wire.OriginHuman))
	bot.subscribe(obj{"slots": 4})
	human.subscribe(obj{"slots": 4})
	id := a.open(obj{})
	seq := num(a.ask("send", obj{"session": id, "body": text("hi")})["seq"])
	bot.said("delivery")
	bot.ask("transfer", obj{"session": id, "ae": 1, "to": obj{"queue": "default"}})
	human.ask("accept", obj{"offer": human.push("offer")["offer"]})
	d := human.said("delivery")
	if num(d["ae"]) != 2 {
		t.Fatalf("delivery %v", d)
	}
	head := func() int {
		list := a.ask("history", obj{"session": id, "limit": 100})["entries"].([]any)
		return num(list[len(list)-1].(obj)["seq"])
	}
	before := head()
	verbs := map[string]obj{
		"reply": {"ack": seq, "body": text("late")}, "nack": {"seq": seq, "delay_ms": 1}, "ack": {"seq": seq}, "close": {"reason": "solved"},
		"transfer": {"to": obj{"queue": "other"}}, "release": {"outcome": "solved"}, "context": {"if_v": 0, "patch": obj{"a": 1}},
		"delta": {"stream": "m1", "off": 0, "text": "late"},
	}
	for verb, body := range verbs {
		for _, stale := range []struct {
			p  *peer
			ae int
		}{{bot, 1}, {bot, 2}, {human, 1}, {human, 3}, {human, 0}} {
			with := obj{"session": id, "ae": stale.ae}
			maps.Copy(with, body)
			stale.p.refused("stale_assignment", verb, with)
		}
	}
	if got := head(); got != before {
		t.Errorf("the head moved from %d to %d", before, got)
	}
	// The live one is where it was: the delivery is still unacknowledged, and the first delta is at 0.
	human.write(obj{"delta": obj{"session": id, "ae": 2, "stream": "m1", "off": 0, "text": "now"}})
	if got := a.push("delta"); got["text"] != "now" {
		t.Errorf("delta %v", got)
	}
	human.ask("nack", obj{"session": id, "ae": 2, "seq": seq, "delay_ms": 1})
	if d := human.said("delivery"); num(d["attempt"]) != 2 || num(d["seq"]) != seq {
		t.Errorf("delivery %v", d)
	}
	human.ask("context", obj{"session": id, "ae": 2, "if_v": 0, "patch": obj{"a": 1}})
	human.ask("reply", obj{"session": id, "ae": 2, "ack": seq, "body": text("now")})
	h.alive("stale assignments")
}

// [SW-4.3] A key with its payload again gives the first result, with another payload a conflict, on every verb that
// writes; also when the session is closed or the assignment over by then.
func TestDuplicateKeys(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	a, bot := login(t, h.n, customerOf("alice")), login(t, h.n, workerOf("faq", wire.OriginBot))
	bot.subscribe(obj{"slots": 4})
	id := a.open(obj{})
	var again []func()
	f := func(p *peer, verb string, body, other obj) obj {
		t.Helper()
		body["session"], body["key"] = id, "k-"+verb
		first := p.ask(verb, body)
		if first["duplicate"] == true {
			t.Errorf("%s: the first is a duplicate: %v", verb, first)
		}
		changed := obj{}
		maps.Copy(changed, body)
		maps.Copy(changed, other)
		check := func() {
			t.Helper()
			r := p.ask(verb, body)
			if r["duplicate"] != true || r["seq"] != first["seq"] || r["epoch"] != first["epoch"] || r["v"] != first["v"] {
				t.Errorf("%s: first %v, then %v", verb, first, r)
			}
			if e := p.refused("idempotency_conflict", verb, changed); num(e["code"]) != 409 || e["retry"] != "never" {
				t.Errorf("%s: %v", verb, e)
			}
		}
		check()
		again = append(again, check)
		return first
	}
	seq := num(f(a, "send", obj{"body": text("hi")}, obj{"body": text("ho")})["seq"])
	bot.said("delivery")
	f(bot, "nack", obj{"ae": 1, "seq": seq, "delay_ms": 1}, obj{"delay_ms": 2})
	bot.said("delivery")
	f(bot, "reply", obj{"ae": 1, "body": text("hello")}, obj{"visibility": "staff"})
	f(bot, "context", obj{"ae": 1, "if_v": 0, "patch": obj{"a": 1}}, obj{"patch": obj{"a": 2}})
	a.refused("idempotency_conflict", "rate", obj{"session": id, "key": "k-send", "score": 1}) // one sender, one key, another verb
	f(bot, "release", obj{"ae": 1, "outcome": "solved"}, obj{"outcome": "spam"})
	f(a, "rate", obj{"score": 5}, obj{"score": 1})
	f(a, "close", obj{"reason": "solved"}, obj{"reason": "angry"})
	for _, check := range again {
		check()
	}
	h.alive("duplicate keys")
}

// Sockets that stop in the middle of something, or never begin: others are served meanwhile, and none is left when the
// peer goes.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	before := h.n.Connections()
	var open []net.Conn
	for i := range 40 {
		var c net.Conn
		switch half := []string{
			"", "G", "GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", "\x16\x03\x01",
		}[i%5]; {
		case i < 20:
			var err error
			if c, err = net.Dial("tcp", h.n.Addr()); err != nil { //nolint:noctx // loopback
				t.Fatal(err)
			}
			_, _ = c.Write([]byte(half))
		default:
			p := login(t, h.n, customerOf("mallory"))
			whole := frame(fin|opText, []byte(`{"id":1,"open":{}}`))
			p.bytes([][]byte{whole[:1], whole[:3], whole[:10], whole[:len(whole)-1], frame(opText, []byte(`{"id":`))}[i%5])
			c = p.ws.NetConn()
		}
		open = append(open, c)
	}
	h.alive("40 halves")
	for i, c := range open {
		if i%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0) // a reset
		}
		_ = c.Close()
	}
	until(t, "the halves are gone", func() bool { return h.n.Connections() <= before })
	h.alive("40 halves that went")
}

// A flood of pings, with and without a reader: it is answered or ended, and nobody else notices.
func TestPingFlood(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	flood := repeat(frame(fin|opPing, make([]byte, 125)), 1000)
	reading, deaf := login(t, h.n, customerOf("mallory")), login(t, h.n, customerOf("mallory"))
	pongs := 0
	reading.ws.SetPongHandler(func(string) error { pongs++; return nil })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			deaf.bytes(flood)
		}
	}()
	for range 20 {
		reading.bytes(flood)
		if f := reading.answer(reading.send("open", obj{})); f["open"] == nil {
			t.Errorf("after %d pongs: %v", pongs, f)
		}
		h.alive("pings")
	}
	if pongs == 0 {
		t.Error("no ping was answered")
	}
	_ = deaf.ws.Close()
	<-done
	h.alive("all pings")
}

// Requests that are no upgrade, or ask for what is not there.
func TestHostileHTTP(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	defer stop(t, h.n)
	const key = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n"
	// f sends a request and returns the head of the answer.
	f := func(name, request, want string) {
		t.Helper()
		c, err := net.Dial("tcp", h.n.Addr()) //nolint:noctx // loopback
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte(request))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		var head []byte
		buf := make([]byte, 4096)
		for !strings.Contains(string(head), "\r\n\r\n") {
			n, err := c.Read(buf)
			if head = append(head, buf[:n]...); err != nil {
				break
			}
		}
		if !strings.HasPrefix(string(head), want) || strings.Contains(strings.ToLower(string(head)), "sec-websocket-extensions") {
			t.Errorf("%s: answered %q; want %s", name, head, want)
		}
		h.alive(name)
	}
	const up = "GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	f("deflate is not negotiated", up+key+"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n", "HTTP/1.1 101 ")
	f("a blank in a header's name", up+key+"X Y: z\r\n\r\n", "HTTP/1.1 400 ")
	f("a blank before a colon", up+key+"Origin : http://evil\r\n\r\n", "HTTP/1.1 400 ")
	f("no upgrade", "GET /v1/connect HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 ")
	f("another version", up+"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 4")
	f("no key", up+"Sec-WebSocket-Version: 13\r\n\r\n", "HTTP/1.1 400 ")
	f("a post", "POST /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"+key+"\r\n", "HTTP/1.1 4")
	f("a large head", "GET / HTTP/1.1\r\nX: "+strings.Repeat("x", 100_000)+"\r\n\r\n", "HTTP/1.1 4")
	f("a large body", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n", "HTTP/1.1 413 ")
	f("a negative body", "POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 4")
	f("a path out", "GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 ")
	f("a session that is none", "GET /v1/sessions/%00/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+mint(h.t, h.n, customerOf("mallory"))+"\r\n\r\n", "HTTP/1.1 404 ")
	f("no token", "GET /v1/sessions/"+h.own+"/messages HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401 ")
	f("another's events", "GET /v1/sessions/"+h.own+"/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+mint(h.t, h.n, customerOf("mallory"))+"\r\n\r\n", "HTTP/1.1 404 ")
	f("a token in the URL", "GET /v1/sessions/"+h.own+"/messages?token="+mint(h.t, h.n, customerOf("canary"))+" HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 401 ")
}
