package node_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/node"
	"switchboard/wire"
)

// socket is a connection that costs little: a WebSocket by hand, for who needs a thousand.
type socket struct {
	net.Conn
	in *bufio.Reader
}

// connect upgrades and says hello, and waits for the answer.
func connect(addr, tok string) (*socket, error) {
	c, err := net.Dial("tcp", addr) //nolint:noctx // loopback
	if err != nil {
		return nil, err
	}
	s := &socket{c, bufio.NewReaderSize(c, 1024)}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = fmt.Fprintf(c, "GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n%s", frame(fin|opText, []byte(`{"id":1,"hello":{"token":"`+tok+`"}}`)))
	for line := ""; err == nil && line != "\r\n"; {
		line, err = s.in.ReadString('\n')
	}
	if err == nil {
		_, err = s.message()
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	_ = c.SetDeadline(time.Time{})
	return s, nil
}

// message returns the payload of the next frame.
func (s *socket) message() (string, error) {
	var h [4]byte
	if _, err := readFull(s.in, h[:2]); err != nil {
		return "", err
	}
	n := int(h[1] & 0x7f)
	if n == 126 {
		if _, err := readFull(s.in, h[2:]); err != nil {
			return "", err
		}
		n = int(h[2])<<8 | int(h[3])
	}
	b := make([]byte, n)
	_, err := readFull(s.in, b)
	return string(b), err
}

func readFull(r *bufio.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	return n, err
}

// sweeper is of the HTTP server: it sleeps for ten seconds and then finds that there is nothing more to do.
var sweeper = goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2")

// goroutines returns how many there are of the node's edge.
func goroutines() (n int) {
	var all strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&all, 2)
	for stack := range strings.SplitSeq(all.String(), "\n\n") {
		if strings.Contains(stack, "switchboard/edge.(*conn)") {
			n++
		}
	}
	return n
}

// A thousand sockets that all talk, closed at once, in every way: nothing of them is left, neither a goroutine nor a
// connection nor a worker's lease, and the node serves on. After Close nothing of the node is left at all.
func TestThousandSocketsClosedAtOnce(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	n := start(t, t.TempDir())
	a := login(t, n, customerOf("alice"))
	id := a.open(obj{})
	const sockets = 1000
	before := goroutines()
	list := make([]*socket, sockets)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < sockets; i += 16 {
				who := customerOf(fmt.Sprint("c", i%50))
				if i%10 == 0 {
					who = workerOf(fmt.Sprint("w", i), wire.OriginBot)
				}
				tok, err := n.Mint(withTenant(who), time.Hour)
				if err == nil {
					list[i], err = connect(n.Addr(), tok)
				}
				if err != nil {
					t.Error(err)
					return
				}
				verb := `{"id":2,"open":{}}`
				if i%10 == 0 {
					verb = `{"id":2,"subscribe":{"queues":["default"],"slots":1}}`
				}
				_, _ = list[i].Write(frame(fin|opText, []byte(verb)))
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if n.Connections() != sockets+1 {
		t.Fatalf("%d connections", n.Connections())
	}
	a.ask("send", obj{"session": id, "body": text("in the storm")})
	all := sync.WaitGroup{}
	for i, s := range list {
		all.Go(func() {
			switch i % 4 {
			case 0:
				_ = s.Conn.(*net.TCPConn).SetLinger(0) // a reset
			case 1:
				_, _ = s.Write(frame(fin|opClose, []byte{3, 0xe8}))
			case 2:
				_, _ = s.Write(frame(fin|opText, []byte(`{"id":3,"open":{"shop":"other"}}`)))
			case 3:
				_ = s.Conn.(*net.TCPConn).CloseWrite()
			}
			_ = s.Close()
		})
	}
	all.Wait()
	until(t, "the sockets are gone", func() bool { return n.Connections() == 1 })
	until(t, "their goroutines are gone", func() bool { return goroutines() <= before })
	a.ask("send", obj{"session": id, "body": text("after the storm")})
	_ = a.ws.Close()
	stop(t, n)
	goleak.VerifyNone(t, leaks, sweeper)
}

// Connections that come and go, with their workers' sessions, for a while: what was taken is kept, what remains is what was there.
func TestConnectStorm(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	n := start(t, t.TempDir(), func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}, GraceBotsMS: 20}}
	})
	const seed, rounds = 20261123, 60
	t.Logf("seed %d", seed)
	words := make([]int, 8)
	var wg sync.WaitGroup
	for i := range words {
		rng := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // an index
		wg.Go(func() {
			for r := range rounds {
				who := customerOf(fmt.Sprint("c", i))
				if rng.IntN(4) == 0 {
					who = workerOf(fmt.Sprint("w", i), wire.OriginBot)
				}
				tok, err := n.Mint(withTenant(who), time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				s, err := connect(n.Addr(), tok)
				if err != nil {
					t.Error(err)
					return
				}
				if who.Role == wire.RoleWorker {
					_, _ = s.Write(frame(fin|opText, []byte(`{"id":2,"subscribe":{"queues":["default"],"slots":2}}`)))
					if rng.IntN(2) == 0 {
						_, _ = s.message()
					}
				} else if session := openOn(s); session != "" {
					_, _ = s.Write(frame(fin|opText, fmt.Appendf(nil, `{"id":3,"send":{"session":%q,"key":"k%d","body":%d}}`, session, r, r)))
					for rng.IntN(3) > 0 {
						m, err := s.message()
						if err != nil {
							t.Error(err)
							break
						}
						if strings.Contains(m, `"id":3,"send"`) {
							words[i]++
							break
						}
					}
				}
				if rng.IntN(2) == 0 {
					_ = s.Conn.(*net.TCPConn).SetLinger(0)
				}
				_ = s.Close()
			}
		})
	}
	wg.Wait()
	until(t, "the sockets are gone", func() bool { return n.Connections() == 0 })
	until(t, "their goroutines are gone", func() bool { return goroutines() == 0 })
	for i, acked := range words {
		p := login(t, n, customerOf(fmt.Sprint("c", i)))
		p.ask("open", obj{"from": obj{"epoch": 1, "seq": 0}})
		seen := map[string]bool{}
		for len(seen) < acked {
			m := p.said("message")
			if b := fmt.Sprint(m["body"]); seen[b] {
				t.Errorf("%v came twice", b)
			} else {
				seen[b] = true
			}
		}
		_ = p.ws.Close()
	}
	if err := n.Close(context.Background()); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, leaks, sweeper)
}

// openOn opens the bearer's session, and returns its id.
func openOn(s *socket) string {
	_, _ = s.Write(frame(fin|opText, []byte(`{"id":2,"open":{}}`)))
	for {
		m, err := s.message()
		if err != nil {
			return ""
		}
		if _, rest, ok := strings.Cut(m, `"open":{"session":"`); ok {
			id, _, _ := strings.Cut(rest, `"`)
			return id
		}
	}
}

// A node that is started and stopped again and again leaves nothing behind, whatever is connected.
func TestStartStop(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	dir := t.TempDir()
	for range 5 {
		n := start(t, dir)
		p := login(t, n, customerOf("alice"))
		p.open(obj{})
		idle := dial(t, n)
		_ = p.ws.Close()
		_ = idle.ws.Close()
		stop(t, n)
	}
	runtime.GC()
	goleak.VerifyNone(t, leaks, sweeper)
}
