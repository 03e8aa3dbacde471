package main

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"switchboard/edge/ws"
)

// TestEchoer: a write has as many messages as it should, all of which are awaited before the next, also when answers come together.
func TestEchoer(t *testing.T) {
	ours, theirs := net.Pipe()
	var wg sync.WaitGroup
	var over atomic.Bool
	var count, out atomic.Int64
	c := &echoer{
		&socket{conn: ours, buf: make([]byte, 4096)},
		func(out []byte, _ uint64, body string) []byte { return append(out, body...) },
		func(msg []byte) (int, error) { return strings.Count(string(msg), "!"), nil },
	}
	c.dec.FromServer = true
	wg.Go(func() { _ = c.echo(3, "hello", &over, &count, &out) })
	in := bufio.NewReader(theirs)
	one := len(ws.AppendMasked(nil, ws.OpText, []byte("hello"), [4]byte{1, 2, 3, 4}))
	for range 2 {
		if n, err := in.Discard(3 * one); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if n := in.Buffered(); n != 0 {
			t.Errorf("%d bytes too many before anything was answered", n)
		}
		frames := ws.AppendFrame(nil, ws.OpText, []byte("!!"))
		frames = ws.AppendFrame(frames, ws.OpText, []byte("!"))
		if _, err := theirs.Write(frames); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.Discard(3 * one); err != nil { // the third is written when the second is done
		t.Fatal(err)
	}
	if count.Load() != 6 || out.Load() != 6 {
		t.Errorf("%d answers in %d bytes", count.Load(), out.Load())
	}
	over.Store(true)
	_ = theirs.Close()
	wg.Wait()
}

// TestEchoPeers: what each peer's socket says is answered by a server of its kind, and counted once.
func TestEchoPeers(t *testing.T) {
	for _, p := range []*Peer{switchboardEdge(), gwsEcho(), centrifuge()} {
		path, ok := find(p.Program)
		if !ok {
			t.Logf("%s is not built: make peers", p.Program)
			continue
		}
		turn := &Turn{Program: path, Workers: 1, Dir: t.TempDir()}
		if err := p.start(t.Context(), turn); err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		func() {
			defer func() {
				if err := turn.stop(); err != nil {
					t.Errorf("%s: %v", p.Name, err)
				}
			}()
			c, err := p.echoes(context.Background(), turn, 0)
			if err != nil {
				t.Errorf("%s: %v", p.Name, err)
				return
			}
			defer c.conn.Close() //nolint:errcheck // it has done its work
			if err := c.send(c.ask(nil, 7, "hello")); err != nil {
				t.Errorf("%s: %v", p.Name, err)
				return
			}
			msg, err := c.read()
			if err != nil {
				t.Errorf("%s: %v", p.Name, err)
				return
			}
			if n, err := c.answers(msg); n != 1 || err != nil {
				t.Errorf("%s: %d answers in %s, %v", p.Name, n, msg, err)
			}
		}()
	}
}

// TestEchoTable: the middle of the rounds by processor time, each number of messages a line, and what failed is said.
func TestEchoTable(t *testing.T) {
	r := &Report{Rows: []*Row{
		{Name: "a", Echo: []Echo{{Batch: 1, ServerMicros: 10}, {Batch: 1, ServerMicros: 30}, {Batch: 1, ServerMicros: 20}, {Batch: 16, ServerMicros: 2}}},
		{Name: "b", Echo: []Echo{{Round: 2, Batch: 1, Fault: "why"}}},
		{Name: "c"},
	}}
	var b strings.Builder
	r.echo(&b)
	if s := b.String(); !strings.Contains(s, "50000") || !strings.Contains(s, "500000") || !strings.Contains(s, "no figure: b, 1 messages a write, round 2: why") || strings.Contains(s, "100000") {
		t.Errorf("%s", s)
	}
}

func TestParseEcho(t *testing.T) {
	if got, err := parseEcho("1,16"); err != nil || len(got) != 2 || got[1] != 16 {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"0", "x", "65"} {
		if _, err := parseEcho(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}
