package wire

import (
	"testing"

	"switchboard/wire/wirepb"
)

func helloFrame() *wirepb.ServerFrame {
	return &wirepb.ServerFrame{Id: 1, Verb: &wirepb.ServerFrame_Hello{Hello: &wirepb.HelloReply{
		Connection: "c_1_2", Tenant: "demo", Sub: "alice", Role: "customer", Node: "n1", Server: "0.1.0", PingMs: 25000, PongMs: 8000, ExpiresMs: 3600000,
		Limits: &wirepb.Limits{Frame: 65536, Body: 32768, Batch: 64, Sessions: 8, Inflight: 8, Rate: []uint32{10, 20}}, Features: []string{"stream"},
	}}}
}

// Frames that are not hot are many when everybody connects at once: writing one
// allocates what its list and its union take of the reflection, and asks nothing of the schema's options.
func TestColdFramesAllocateLittle(t *testing.T) {
	buf := make([]byte, 0, 4096)
	f := helloFrame()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := JSON.Append(buf, f); err != nil {
			t.Fatal(err)
		}
	}); n > 3 {
		t.Errorf("%v allocations to write a hello", n)
	}
}

func BenchmarkAppendHello(b *testing.B) {
	buf, f := make([]byte, 0, 4096), helloFrame()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := JSON.Append(buf, f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseHello(b *testing.B) {
	frame := []byte(`{"id":1,"hello":{"token":"eyJhbGciOiJIUzI1NiJ9.eyJ0ZW5hbnQiOiJkZW1vIn0.c2lnbmF0dXJl","client":"web/1.0","features":["stream"]}}`)
	var m wirepb.ClientFrame
	b.ReportAllocs()
	for b.Loop() {
		if err := JSON.Parse(frame, &m); err != nil {
			b.Fatal(err)
		}
	}
}
