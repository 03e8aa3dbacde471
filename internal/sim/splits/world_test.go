package splits_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/valyala/fasthttp"

	"switchboard/client"
	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/internal/sim"
	"switchboard/node"
	"switchboard/wire"
)

// TestMain starts once, outside of any bubble, what fasthttp starts once for a process.
func TestMain(m *testing.M) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &fasthttp.Server{Handler: func(*fasthttp.RequestCtx) {}}
	done := make(chan struct{})
	go func() { _ = s.Serve(ln); close(done) }()
	_, _, _ = fasthttp.Get(nil, "http://"+ln.Addr().String())
	_ = s.Shutdown()
	<-done
	os.Exit(m.Run())
}

// world is a cluster of three, and those who talk over it.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	net  *sim.Net
	host map[string]*machine
	mint func(token.Claims) string

	mu sync.Mutex
	// Guarded by mu.
	ways *rand.Rand // which node a client tries
}

// machine is a node with its disks, of which one loses what was not synced.
type machine struct {
	name string
	dir  string
	disk *vfs.MemFS
	n    *node.Node // nil while it is off
}

func newWorld(t *testing.T, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 11))
	w := &world{
		t: t, rng: rng, net: sim.NewNet(rand.New(rand.NewPCG(seed, 12)), 2*time.Millisecond), host: map[string]*machine{},
		ways: rand.New(rand.NewPCG(seed, 13)),
	}
	for _, name := range []string{"a", "b", "c"} {
		w.host[name] = &machine{name: name, dir: t.TempDir(), disk: vfs.NewCrashableMem()}
		w.start(name)
	}
	return w
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func (w *world) start(name string) {
	w.t.Helper()
	m := w.host[name]
	cfg := node.Config{
		Data: m.dir, Name: name, Listen: name + ":7470", FreeMin: -1, Shards: 4, Edge: node.Edge{Loops: -1}, Log: quiet,
		Tenants: map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}}},
		Limits:  edge.Limits{Rate: 100_000, Burst: 100_000}, Network: w.net.Host(name), Disk: m.disk, SegmentBytes: 64 << 10, DrainMS: 1000,
		Cluster: node.Cluster{Listen: name + ":7570", Plain: true},
		Fatal:   func(err error) { w.t.Errorf("node %s: %v", name, err) },
	}
	if name != "a" {
		cfg.Cluster.Join = []string{"a:7570"}
	}
	n, err := node.Start(cfg)
	if err != nil {
		w.t.Fatalf("node %s: %v", name, err)
	}
	m.n = n
	w.mint = func(c token.Claims) string {
		c.Tenant = "demo"
		s, err := n.Mint(c, 24*time.Hour)
		if err != nil {
			w.t.Fatal(err)
		}
		return s
	}
}

// off ends a machine: in order, or as when its power is cut.
func (w *world) off(name string, cut bool) {
	m := w.host[name]
	var self []byte
	if cut {
		var err error
		if self, err = os.ReadFile(filepath.Join(m.dir, "node.json")); err != nil { // which is on no disk that loses anything
			w.t.Fatal(err)
		}
		m.disk = m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: w.rng})
		for other := range w.host { // nobody hears what it says after its end
			w.net.Cut(name, other, true)
			w.net.Cut(other, name, true)
		}
		w.net.Cut(name, "out", true)
		w.net.Cut("out", name, true)
		w.net.Reset(name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := m.n.Close(ctx); err != nil && !cut {
		w.t.Errorf("node %s: %v", name, err)
	}
	m.n = nil
	if cut {
		if err := os.WriteFile(filepath.Join(m.dir, "node.json"), self, 0o600); err != nil { // what it noted after its end
			w.t.Fatal(err)
		}
		for other := range w.host {
			w.net.Cut(name, other, false)
			w.net.Cut(other, name, false)
		}
		w.net.Cut(name, "out", false)
		w.net.Cut("out", name, false)
	}
}

// dial connects clients to whichever node answers.
func (w *world) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	names := []string{"a", "b", "c"}
	w.mu.Lock()
	w.ways.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	w.mu.Unlock()
	for _, name := range names {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		c, err := w.net.Host("out").Dial(ctx, name+":7470")
		cancel()
		if err == nil {
			return c, nil
		}
	}
	return nil, errors.New("no node answers")
}

func (w *world) config(c token.Claims) client.Config {
	t := w.mint(c)
	return client.Config{
		URL: "ws://switchboard/v1/connect", Token: client.StaticToken(t), Dial: w.dial, BackoffMin: 50 * time.Millisecond, BackoffMax: time.Second, Tries: 1000,
	}
}

// ledger is what customers were told.
type ledger struct {
	mu sync.Mutex
	// Guarded by mu.
	sent  map[string][]string // by session, what was acknowledged, in order
	heard map[string][]string // what came back to the customer
}

// talk is a customer who says words and waits for each to be acknowledged, until ctx ends.
func (w *world) talk(ctx context.Context, l *ledger, who string) error {
	c, err := client.Dial(ctx, w.config(token.Claims{Sub: who, Role: wire.RoleCustomer}))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	s, err := c.Open(ctx, client.OpenOptions{Queue: "default"})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	go func() {
		for e, err := range s.Entries(ctx) {
			if err != nil {
				return
			}
			if t := e.Text(); strings.HasPrefix(t, "re ") {
				l.mu.Lock()
				l.heard[who] = append(l.heard[who], t)
				l.mu.Unlock()
			}
		}
	}()
	for i := 0; ctx.Err() == nil; i++ {
		word := fmt.Sprintf("%s-%04d", who, i)
		if _, err := s.Send(ctx, "text", word); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("send %s: %w", word, err)
		}
		l.mu.Lock()
		l.sent[who] = append(l.sent[who], word)
		l.mu.Unlock()
		time.Sleep(time.Duration(20+len(word)) * time.Millisecond)
	}
	return nil
}

// seeds are those to run: one, or as many as SWITCHBOARD_SIM_SEEDS says, from SWITCHBOARD_SIM_FROM on.
func seeds(t *testing.T) (list []uint64) {
	number := func(name string, otherwise uint64) uint64 {
		s := os.Getenv(name)
		if s == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s is %q: it must be a number", name, s)
		}
		return n
	}
	from := number("SWITCHBOARD_SIM_FROM", 0)
	for seed := range number("SWITCHBOARD_SIM_SEEDS", 1) {
		list = append(list, from+seed)
	}
	return list
}

// fault lets something go wrong with one machine, and right again.
func (w *world) fault() {
	names := []string{"a", "b", "c"}
	name := names[w.rng.IntN(3)]
	others := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == name })
	wait := time.Duration(w.rng.IntN(5000)) * time.Millisecond
	kind := w.rng.IntN(4)
	w.t.Logf("%s: fault %d of %s for %v", time.Now().Format("05.000"), kind, name, wait)
	switch kind {
	case 0, 1:
		w.off(name, kind == 0)
		time.Sleep(wait)
		w.start(name)
	case 2: // cut off both ways
		for _, o := range others {
			w.net.Cut(name, o, true)
			w.net.Cut(o, name, true)
		}
		time.Sleep(wait)
		for _, o := range others {
			w.net.Cut(name, o, false)
			w.net.Cut(o, name, false)
		}
	case 3: // it hears, and is not heard
		for _, o := range others {
			w.net.Cut(name, o, true)
		}
		time.Sleep(wait)
		for _, o := range others {
			w.net.Cut(name, o, false)
		}
	}
}

// check reads every session at every node.
func (w *world) check(l *ledger) {
	w.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	total := 0
	for who, sent := range l.sent {
		var got []string
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		c, err := client.Dial(ctx, w.config(token.Claims{Sub: who, Role: wire.RoleCustomer}))
		if err != nil {
			w.t.Fatal(err)
		}
		s, err := c.Open(ctx, client.OpenOptions{Queue: "default"})
		if err != nil {
			w.t.Fatal(err)
		}
		for after, more := uint64(0), true; more; {
			var page []client.Entry
			var err error
			if page, more, err = s.History(ctx, client.Page{After: &after, Limit: 100}); err != nil {
				w.t.Fatalf("%s: %v", who, err)
			}
			for _, e := range page {
				if after = e.Seq; strings.HasPrefix(e.Text(), who) {
					got = append(got, e.Text())
				}
			}
			more = more && len(page) > 0
		}
		cancel()
		_ = c.Close()
		if len(got) < len(sent) || !slices.Equal(got[:len(sent)], sent) {
			w.t.Errorf("%s was told that %d words are kept; the log has %d: %v", who, len(sent), len(got), difference(sent, got))
		}
		total += len(sent)
		// What was heard live is what the bot answered, in order, each once; at the end some may be missing.
		for i, word := range l.heard[who] {
			if i > 0 && word <= l.heard[who][i-1] {
				w.t.Errorf("%s heard %q behind %q", who, word, l.heard[who][i-1])
			}
		}
	}
	w.t.Logf("%d words", total)
	if total < 50 {
		w.t.Error("nobody could talk")
	}
}

func difference(want, got []string) string {
	for i, s := range want {
		if i >= len(got) || got[i] != s {
			return fmt.Sprintf("from %s on: %v", s, got[min(i, len(got)):min(i+5, len(got))])
		}
	}
	return ""
}
