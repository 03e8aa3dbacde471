package node_test

import (
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// What the first byte of an input chooses.
const (
	fuzzProtobuf = 1 << iota // the codec
	fuzzWorker               // who it is
	fuzzSilent               // no hello before it
	fuzzBytes                // no frame around it: the bytes stand for frames themselves
	fuzzSplit                // in two fragments
)

// FuzzConnection lets a connection of a real node say anything, and wants it to end when it is closed, and another
// connection to be served as if nothing had been. Its corpus is the golden frames, whole, cut and repeated.
func FuzzConnection(f *testing.F) {
	h := startHostile(f)
	f.Cleanup(func() { stop(f, h.n) })
	mallory := login(f, h.n, customerOf("mallory"))
	id := mallory.open(obj{})
	_ = mallory.ws.Close()
	for _, line := range golden(f) {
		line = strings.ReplaceAll(line, `"s_1"`, `"`+id+`"`)
		m := &wirepb.ClientFrame{}
		if err := wire.JSON.Parse([]byte(line), m); err != nil {
			f.Fatal(err)
		}
		pb, err := wire.Protobuf.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(0), []byte(line))
		f.Add(byte(fuzzWorker|fuzzSplit), []byte(line+"\n"+line))
		f.Add(byte(fuzzSilent), []byte(line[:len(line)/2]))
		f.Add(byte(fuzzBytes), frame(fin|opText, []byte(line)))
		f.Add(byte(fuzzProtobuf|fuzzWorker), pb)
		f.Add(byte(fuzzProtobuf|fuzzBytes), frame(fin|opBinary, append(pb, pb...)))
	}
	f.Add(byte(fuzzBytes), frame(fin|opClose, []byte{3, 0xe8}))
	f.Add(byte(fuzzBytes), frame(fin|opPing, []byte("?")))
	f.Fuzz(func(t *testing.T, how byte, data []byte) {
		// What fails now fails for this input.
		h.t, h.canary.t = t, t
		protocol, op, codec := wire.JSON.Subprotocol(), byte(opText), wire.JSON
		if how&fuzzProtobuf != 0 {
			protocol, op, codec = wire.Protobuf.Subprotocol(), opBinary, wire.Protobuf
		}
		p := dialAddr(t, h.n.Addr(), protocol)
		if how&fuzzSilent == 0 {
			p.bytes(frame(fin|op, helloOf(t, h, codec, how&fuzzWorker != 0)))
		}
		switch {
		case how&fuzzBytes != 0:
			p.bytes(data)
		case how&fuzzSplit != 0:
			p.bytes(frame(op, data[:len(data)/2]), frame(fin, data[len(data)/2:]))
		default:
			p.bytes(frame(fin|op, data))
		}
		sock := p.ws.NetConn().(*net.TCPConn)
		_ = sock.CloseWrite()
		_ = sock.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, sock); err != nil && os.IsTimeout(err) {
			t.Fatalf("the connection did not end: %v", err)
		}
		_ = p.ws.Close()
		if r := h.canary.ask("history", obj{"session": h.own, "limit": 1}); r["entries"] == nil {
			t.Fatalf("the canary was answered %v", r)
		}
		h.canary.in = nil
	})
}

// helloOf is the hello of somebody hostile.
func helloOf(t testing.TB, h *hostile, codec wire.Codec, work bool) []byte {
	t.Helper()
	var who token.Claims
	if who = customerOf("mallory"); work {
		who = workerOf("mallory", wire.OriginHuman)
	}
	b, err := codec.Append(nil, &wirepb.ClientFrame{Id: 1, Verb: &wirepb.ClientFrame_Hello{Hello: &wirepb.Hello{Token: mint(t, h.n, who)}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden returns the client's golden frames.
func golden(t testing.TB) (list []string) {
	t.Helper()
	b, err := os.ReadFile("../wire/testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "client "); ok {
			list = append(list, rest)
		}
	}
	if len(list) < 20 {
		t.Fatalf("only %d golden frames", len(list))
	}
	return list
}
