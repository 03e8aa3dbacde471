package edge

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/valyala/fasthttp"

	"switchboard/edge/ws"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Whatever bytes come from a socket, in whatever pieces: no panic, nothing kept beyond the limits, and the connection
// ends and is forgotten like any other [SW-6.3].
func FuzzInput(f *testing.F) {
	frames := []string{
		`{"id":1,"hello":{"token":"demo/customer/alice","resume":[{"session":"s_00g4000000000001","epoch":1,"seq":1}]}}`,
		`{"id":2,"open":{"channel":"web","tail":5}}`,
		`{"id":3,"send":{"session":"s_00g4000000000001","key":"k","body":{"text":"hi"}}}`,
		`{"id":4,"history":{"session":"s_00g4000000000001","limit":5}}`,
		`{"ack":{"session":"s_00g4000000000001","seq":1}}`,
		`{"id":5,"subscribe":{"queues":["default"],"slots":3}}`,
		`{"id":6,"refresh":{"token":"demo/customer/alice"}}`,
		`{"id":7,"leave":{"session":"s_00g4000000000001"}}`,
	}
	key := [4]byte{7, 11, 13, 17}
	var text, binary []byte
	for _, s := range frames {
		text = ws.AppendMasked(text, ws.OpText, []byte(s), key)
		m := &wirepb.ClientFrame{}
		if err := wire.JSON.Parse([]byte(s), m); err != nil {
			f.Fatal(err)
		}
		b, _ := wire.Protobuf.Append(nil, m)
		binary = ws.AppendMasked(binary, ws.OpBinary, b, key)
	}
	text = ws.AppendMasked(text, ws.OpPing, []byte("p"), key)
	text = ws.AppendMasked(text, ws.OpClose, ws.AppendCloseBody(nil, 1000, ""), key)
	f.Add(text, false, 7)
	f.Add(text, false, 4096)
	f.Add(binary, true, 100)
	f.Add([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 4, 0, 0, 1, 2, 3, 4, 'x'}, false, 1)
	r := newRig(f, func(c *Config) { c.Limits.Frame, c.Limits.Body = 2048, 1024 })
	f.Fuzz(func(t *testing.T, in []byte, protobuf bool, cut int) {
		codec := wire.JSON
		if protobuf {
			codec = wire.Protobuf
		}
		s := &pieces{sink: &sink{}, in: in, cut: max(1, cut&0xfff)}
		c := r.e.newConn(s, mode(codec), "")
		if !r.e.join(c) {
			t.Fatal("the edge is closed")
		}
		c.read(nil)
		if most := maxMessage*2048 + ws.MaxHeader + 1024; cap(c.part) > most || c.dec.Held() > most {
			t.Fatalf("%d and %d bytes are kept", cap(c.part), c.dec.Held())
		}
		eventually(t, "it is forgotten", func() bool { return r.conn(c.id) == nil })
	})
}

// pieces is a socket whose peer sends some bytes at a time, and then hangs up.
type pieces struct {
	*sink
	in  []byte
	cut int
}

func (s *pieces) Read(b []byte) (int, error) {
	if len(s.in) == 0 {
		return s.sink.Read(b)
	}
	n := copy(b, s.in[:min(len(s.in), s.cut)])
	s.in = s.in[n:]
	return n, nil
}

// Whatever bytes come as the body of a request: no panic, and taken is one JSON object, or nothing where that is enough. A server that is well never answers that it is not.
func FuzzHTTP(f *testing.F) {
	for i, body := range []string{
		``, `{"channel":"web","tail":5}`, `{"attributes":{"a":1}} `, `{},"id":7`, `{"channel":"web"`,
		`{"body":{"text":"hi"}}`, `{"type":"text","body":{"text":"hi"},"reply_to":1}`, `{"body":"hi","customer":{"channel":"sms","external_id":"1","name":"A"}}`, `null`, `{"body":1}{"body":2}`,
	} {
		f.Add(uint8(i/5), "k", []byte(body)) //nolint:gosec // a few
	}
	f.Add(uint8(0), "k", []byte("{}\f"))
	f.Add(uint8(2), "k", []byte(`{"seq":3}`))
	f.Add(uint8(2), "k", []byte(`{"seq":3},"id":7`))
	r := newRig(f, func(c *Config) { c.Limits.Body, c.Limits.Rate, c.Limits.Burst = 1024, 1e9, 1e9 })
	f.Fuzz(func(t *testing.T, what uint8, key string, body []byte) {
		req := &fasthttp.Request{}
		req.Header.SetMethod(fasthttp.MethodPost)
		req.Header.Set("Authorization", "Bearer demo/customer/alice")
		req.Header.Set("Idempotency-Key", key)
		req.SetRequestURI("http://x/v1/sessions")
		send := what == 1
		if send {
			req.SetRequestURI("http://x/v1/sessions/s_00g4000000000001/messages")
		}
		req.SetBody(body)
		ctx := &fasthttp.RequestCtx{}
		ctx.Init(req, nil, nil)
		var object map[string]any
		if what == 2 {
			cmd, err := assignmentCommand(ctx, nil, []string{"", "s_00g4000000000001", "5", "ack"})
			if err == nil && (cmd.Verb != wire.VerbAck || cmd.AE != 5 || cmd.ID != 0 || len(bytes.Trim(body, " \t\r\n")) > 0 && json.Unmarshal(body, &object) != nil) {
				t.Fatalf("%q is taken: %+v", body, cmd)
			}
			return
		}
		r.e.http(ctx)
		status, answer := ctx.Response.StatusCode(), ctx.Response.Body()
		if status >= 500 || !json.Valid(answer) {
			t.Fatalf("%q is answered %d %s", body, status, answer)
		}
		if status < 300 && (send || len(bytes.Trim(body, " \t\r\n")) > 0) && json.Unmarshal(body, &object) != nil {
			t.Fatalf("%q is taken: %d %s", body, status, answer)
		}
	})
}
