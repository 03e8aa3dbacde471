package capacity_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/valyala/fasthttp"

	"switchboard/client"
	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/exchange"
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

const (
	shards = 4
	slots  = 2 // of each worker
)

var names = []string{"a", "b", "c"}

// world is a cluster of three, and those who talk over it.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	net  *sim.Net
	dirs map[string]string
	disk map[string]*vfs.MemFS // which loses what was not synced
	node map[string]*node.Node
	mint func(token.Claims) string

	mu sync.Mutex
	// Guarded by mu.
	sessions []string
	answers  int
}

func (w *world) start(name string) {
	w.t.Helper()
	cfg := node.Config{
		Data: w.dirs[name], Name: name, Listen: name + ":7470", FreeMin: -1, Shards: shards, Edge: node.Edge{Loops: -1}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Tenants: map[string]node.Tenant{"demo": {Queues: []node.Queue{{Name: "default"}}}},
		Limits:  edge.Limits{Rate: 100_000, Burst: 100_000}, Network: w.net.Host(name), Disk: w.disk[name], SegmentBytes: 64 << 10, DrainMS: 1000,
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
	w.node[name] = n
	w.mint = func(c token.Claims) string {
		c.Tenant = "demo"
		s, err := n.Mint(c, 24*time.Hour)
		if err != nil {
			w.t.Fatal(err)
		}
		return s
	}
}

// power cuts the power of machines, all in one moment: what was not synced is half gone, and nobody hears what they say after it.
func (w *world) power(off ...string) {
	others := append(slices.Clone(names), "out")
	wire := func(cut bool) {
		for _, a := range off {
			for _, b := range others {
				w.net.Cut(a, b, cut)
				w.net.Cut(b, a, cut)
			}
		}
	}
	wire(true)
	for _, name := range off {
		w.disk[name] = w.disk[name].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: w.rng})
		w.net.Reset(name)
	}
	var closing sync.WaitGroup
	for _, name := range off {
		closing.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = w.node[name].Close(ctx) // it cannot do so in order
		})
	}
	closing.Wait()
	wire(false)
}

// near connects to a node, and to another one when that does not answer.
func (w *world) near(name string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		at := slices.Index(names, name)
		for i := range names {
			one, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			c, err := w.net.Host("out").Dial(one, names[(at+i)%len(names)]+":7470")
			cancel()
			if err == nil {
				return c, nil
			}
		}
		return nil, errors.New("no node answers")
	}
}

func (w *world) config(at string, c token.Claims) client.Config {
	return client.Config{
		URL: "ws://switchboard/v1/connect", Token: client.StaticToken(w.mint(c)), Dial: w.near(at), BackoffMin: 50 * time.Millisecond, BackoffMax: time.Second, Tries: 10_000,
	}
}

// work is a bot that thinks for a while.
func (w *world) work(ctx context.Context, sub, at string) {
	cfg := w.config(at, token.Claims{Sub: sub, Role: wire.RoleWorker, Kind: wire.OriginBot, Queues: []string{"*"}})
	err := client.Work(ctx, client.WorkerConfig{Config: cfg, Queues: []string{"default"}, Slots: slots}, func(ctx context.Context, s *client.Session, e client.Entry) error {
		time.Sleep(200 * time.Millisecond)
		_, err := s.Reply(ctx, "text", "re "+e.Text(), client.WithAck(e.Seq))
		return err
	})
	if ctx.Err() == nil {
		w.t.Errorf("%s gave up: %v", sub, err)
	}
}

// visit is a customer who has one conversation after the other, of a few words each.
func (w *world) visit(ctx context.Context, who, at string) error {
	c, err := client.Dial(ctx, w.config(at, token.Claims{Sub: who, Role: wire.RoleCustomer}))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for ctx.Err() == nil {
		s, err := c.Open(ctx, client.OpenOptions{Queue: "default"})
		if err != nil {
			return fmt.Errorf("opening: %w", err)
		}
		w.mu.Lock()
		w.sessions = append(w.sessions, s.ID())
		w.mu.Unlock()
		for i := range 3 {
			if _, err := s.Send(ctx, "text", fmt.Sprint(i)); err != nil {
				return fmt.Errorf("sending: %w", err)
			}
			for {
				e, err := s.Recv(ctx)
				if err != nil {
					return fmt.Errorf("waiting for an answer: %w", err)
				}
				if e.Text() == fmt.Sprint("re ", i) {
					break
				}
			}
			w.mu.Lock()
			w.answers++
			w.mu.Unlock()
		}
		if err := s.Close(ctx, "done"); err != nil {
			return fmt.Errorf("closing: %w", err)
		}
		if err := s.Leave(ctx); err != nil {
			return fmt.Errorf("leaving: %w", err)
		}
	}
	return nil
}

// leaders returns which node leads each shard.
func (w *world) leaders() (list []string) {
	w.t.Helper()
	for range 600 {
		r, err := member.At("c:7570", member.Seat{Name: "operator", Plain: true, Dial: w.net.Host("out").Dial}).Status(w.t.Context())
		list = nil
		if err == nil {
			by := map[uint32]string{}
			for i := range r.Nodes {
				by[r.Nodes[i].ID] = r.Nodes[i].Name
			}
			for i := range r.Shards {
				if s := &r.Shards[i]; s.Leader != 0 && len(s.Replicas) == len(names) {
					list = append(list, by[s.Leader])
				}
			}
		}
		if len(list) == shards {
			return list
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatal("not every shard has a leader and three copies")
	return nil
}

// TestCapacity: three workers with two slots each, and more customers than that. In one second the power goes of the node that leads their
// pool's shard and of one that leads sessions, with the workers' connections there, and one worker's program ends for good. By the logs of
// all sessions, nobody ever has more than two of them, and when the nodes are back everybody is served.
func TestCapacity(t *testing.T) {
	for seed := range uint64(1) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, seed) })
		})
	}
}

func run(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	w := &world{
		t: t, rng: rng, net: sim.NewNet(rand.New(rand.NewPCG(seed, 12)), 2*time.Millisecond),
		dirs: map[string]string{}, disk: map[string]*vfs.MemFS{}, node: map[string]*node.Node{},
	}
	for _, name := range names {
		w.dirs[name], w.disk[name] = t.TempDir(), vfs.NewCrashableMem()
		w.start(name)
	}
	w.leaders()
	ctx, cancel := context.WithCancel(context.Background())
	ending, end := context.WithCancel(ctx) // one worker's
	var wg sync.WaitGroup
	for i, name := range names {
		if i > 0 {
			wg.Go(func() { w.work(ctx, "bot-"+name, name) })
		} else {
			wg.Go(func() { w.work(ending, "bot-"+name, name) })
		}
	}
	for i := range 10 {
		wg.Go(func() {
			if err := w.visit(ctx, fmt.Sprint("c", i), names[i%len(names)]); ctx.Err() == nil {
				t.Errorf("customer %d: %v", i, err)
			}
		})
	}
	for range 2 {
		time.Sleep(3 * time.Second)
		lead := w.leaders()
		pool := lead[int(exchange.PoolSlot("demo"))%shards]
		other := names[(slices.Index(names, pool)+1+rng.IntN(2))%len(names)]
		end()
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		w.power(pool, other)
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		for _, name := range []string{pool, other} {
			w.start(name)
		}
	}
	time.Sleep(10 * time.Second)
	w.mu.Lock()
	before := w.answers
	w.mu.Unlock()
	time.Sleep(10 * time.Second)
	w.mu.Lock()
	if w.answers-before < 20 {
		t.Errorf("%d answers in ten seconds: they are not served again", w.answers-before)
	}
	w.mu.Unlock()
	cancel()
	wg.Wait()
	w.check()
	for _, name := range names {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if err := w.node[name].Close(ctx); err != nil {
			t.Errorf("node %s: %v", name, err)
		}
		cancel()
	}
	time.Sleep(11 * time.Second) // a goroutine of fasthttp's looks around every ten
	end()
}

// change is a moment at which a worker has one session more, or less.
type change struct {
	at      int64
	by      int
	worker  string
	session string
}

// check holds what each worker has had, by the logs, against his slots.
func (w *world) check() {
	w.t.Helper()
	var list []change
	for _, id := range w.sessions {
		owner, last := "", int64(0)
		leaves := func(at int64) {
			if owner != "" {
				list = append(list, change{at, -1, owner, id})
			}
			owner = ""
		}
		for _, e := range w.log(id) {
			last = e.TS
			switch e.Type {
			case "session.assigned":
				leaves(e.TS)
				owner = e.Body.ID
				list = append(list, change{e.TS, 1, owner, id})
			case "session.released", "session.closed", "session.transferred", "session.queued", "session.parked", "session.abandoned", "worker.lost":
				leaves(e.TS)
			}
		}
		leaves(last + 1)
	}
	slices.SortStableFunc(list, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	has, full := map[string][]string{}, 0
	for _, c := range list {
		if c.by < 0 {
			i := slices.Index(has[c.worker], c.session)
			has[c.worker] = slices.Delete(has[c.worker], i, i+1)
			continue
		}
		has[c.worker] = append(has[c.worker], c.session)
		switch n := len(has[c.worker]); {
		case n > slots:
			w.t.Errorf("at %v %s has %v", time.UnixMilli(c.at).UTC().Format("05.000"), c.worker, has[c.worker])
		case n == slots:
			full++
		}
	}
	w.t.Logf("%d sessions, %d answers; a worker had all that he can take %d times", len(w.sessions), w.answers, full)
	if full < 10 {
		w.t.Error("nobody was busy")
	}
}

type entry struct {
	Seq  uint64
	TS   int64
	Type string
	Body struct{ ID string }
}

// log reads a session's log as a supervisor.
func (w *world) log(id string) (all []entry) {
	w.t.Helper()
	supervisor := w.mint(token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	c := &http.Client{Transport: &http.Transport{DialContext: w.near("c"), DisableKeepAlives: true}}
	for more := true; more; {
		var page struct {
			Entries []entry
			More    bool
		}
		last := uint64(0)
		if len(all) > 0 {
			last = all[len(all)-1].Seq
		}
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, fmt.Sprintf("http://c:7470/v1/sessions/%s/messages?after=%d&limit=200", id, last), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+supervisor)
		resp, err := c.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
			w.t.Fatalf("%s: %s: %s %v", id, resp.Status, b, err)
		}
		if err := json.Unmarshal(b, &page); err != nil {
			w.t.Fatal(err)
		}
		all, more = append(all, page.Entries...), page.More && len(page.Entries) > 0
	}
	return all
}
