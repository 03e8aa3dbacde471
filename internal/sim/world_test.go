package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/client"
	"switchboard/cluster/member"
	"switchboard/edge"
	"switchboard/edge/token"
	"switchboard/internal/sim"
	"switchboard/node"
	"switchboard/wire"
)

// world is a cluster, and those who talk over it. What happens in it is in the order of its goroutine; who talks has goroutines of
// his own.
type world struct {
	t    *testing.T
	rng  *rand.Rand
	net  *sim.Net
	keys atomic.Pointer[node.Node] // the one that was started last, which mints for all

	hosts []*machine // in the order in which they came
	first int        // how many shards there are at first
	parts int        // how many there shall be
	fired map[string]int
	// Of machines that are started from now on; 0 for the default.
	snapshotRate int
	tenant       node.Tenant
	clocks       bool // of machines may be wrong

	book *book
	saw  *sight

	mu sync.Mutex
	// Guarded by mu.
	ways *rand.Rand  // which node a client tries
	on   []string    // the names of machines that may be tried
	soft []time.Time // when pools began without having heard of every shard
}

// machine is a node with its disk, which loses what was not synced, and its clock.
type machine struct {
	name string
	dir  string
	disk *vfs.MemFS
	n    *node.Node // nil while it is off

	skew  atomic.Int64 // of its clock, ns
	sync  atomic.Int64 // how long a sync of its log takes at most, ns
	mu    sync.Mutex
	delay *rand.Rand // guarded by mu
}

const copies, shards = 3, 4

// newWorld starts nodes, over a network on which each piece takes up to delay.
func newWorld(t *testing.T, seed uint64, nodes int, delay time.Duration) *world {
	return newWorldOf(t, seed, nodes, shards, delay, oneQueue)
}

// oneQueue is the tenant of who is not about routes.
var oneQueue = node.Tenant{Queues: []node.Queue{{Name: "default", OfferTTLMS: 3000}}, GraceBotsMS: 1500, GraceHumansMS: 3000}

// newWorldOf is newWorld, of so many shards, and of a tenant.
func newWorldOf(t *testing.T, seed uint64, nodes, parts int, delay time.Duration, tenant node.Tenant) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 11)), net: sim.NewNet(rand.New(rand.NewPCG(seed, 12)), delay),
		ways: rand.New(rand.NewPCG(seed, 13)), fired: map[string]int{}, first: parts, parts: parts, tenant: tenant, clocks: seed%2 == 1,
	}
	w.book, w.saw = newBook(w), newSight(w)
	for range nodes {
		w.add()
	}
	return w
}

// add starts a machine that was never there before.
func (w *world) add() *machine {
	m := &machine{
		name: string(rune('a' + len(w.hosts))), dir: w.t.TempDir(), disk: vfs.NewCrashableMem(),
		delay: rand.New(rand.NewPCG(w.rng.Uint64(), 14)),
	}
	w.hosts = append(w.hosts, m)
	w.start(m)
	return m
}

// slowly is the disk of a machine, whose log syncs take their time.
func (m *machine) slowly() vfs.FS {
	return errorfs.Wrap(m.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		most := m.sync.Load()
		if most > 0 && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) && strings.Contains(op.Path, "/log/") {
			m.mu.Lock()
			d := m.delay.Int64N(most)
			m.mu.Unlock()
			time.Sleep(time.Duration(d))
		}
		return nil
	}))
}

func (w *world) start(m *machine) {
	w.t.Helper()
	cfg := node.Config{
		Data: m.dir, Name: m.name, Listen: m.name + ":7470", FreeMin: -1, Shards: w.first, Edge: node.Edge{Loops: -1}, Log: slog.New(&ear{slog.DiscardHandler, w}),
		Tenants: map[string]node.Tenant{"demo": w.tenant},
		Limits:  edge.Limits{Rate: 100_000, Burst: 100_000}, Network: w.net.Host(m.name), Disk: m.slowly(), SegmentBytes: 64 << 10, DrainMS: 1000,
		Clock:   func() time.Time { return time.Now().Add(time.Duration(m.skew.Load())) },
		Cluster: node.Cluster{Listen: m.name + ":7570", Plain: true, Copies: copies, Operators: []string{"demo"}, SnapshotRate: w.snapshotRate},
		Fatal:   func(err error) { w.t.Errorf("node %s: %v", m.name, err) },
		Witness: w.saw.of(m.name),
	}
	for _, o := range w.hosts {
		if o != m && o.n != nil {
			cfg.Cluster.Join = append(cfg.Cluster.Join, o.name+":7570")
		}
	}
	n, err := node.Start(cfg)
	if err != nil {
		w.t.Fatalf("node %s: %v", m.name, err)
	}
	m.n = n
	w.keys.Store(n)
	w.mu.Lock()
	w.on = append(w.on, m.name)
	w.mu.Unlock()
}

// mint makes a token. Whoever talks may call it while machines are started.
func (w *world) mint(c token.Claims) string {
	c.Tenant = "demo"
	s, err := w.keys.Load().Mint(c, 24*time.Hour)
	if err != nil {
		w.t.Error(err)
	}
	return s
}

// off ends a machine: in order, or as when its power is cut.
func (w *world) off(m *machine, cut bool) {
	if cut {
		w.power(m)
		return
	}
	w.forget(m)
	m.sync.Store(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := m.n.Close(ctx); err != nil {
		w.t.Errorf("node %s: %v", m.name, err)
	}
	m.n = nil
}

// power cuts the power of machines, all in one moment: first nobody hears them any more; then what was not synced is half gone.
func (w *world) power(off ...*machine) {
	for _, m := range off {
		w.forget(m)
		w.net.Down(m.name, true)
	}
	files := map[*machine]map[string][]byte{}
	for _, m := range off {
		w.net.Reset(m.name)
		var err error
		if files[m], err = m.keep(); err != nil {
			w.t.Error(err)
		}
		m.disk = m.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: w.rng})
		m.sync.Store(0)
	}
	var closing sync.WaitGroup
	for _, m := range off {
		closing.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = m.n.Close(ctx) // it cannot do so in order
		})
	}
	closing.Wait()
	for _, m := range off {
		m.n = nil
		if err := m.putBack(files[m]); err != nil {
			w.t.Error(err)
		}
		w.net.Reset(m.name)
		w.net.Down(m.name, false)
	}
}

// forget lets nobody try a machine any more.
func (w *world) forget(m *machine) {
	w.mu.Lock()
	w.on = slices.DeleteFunc(w.on, func(s string) bool { return s == m.name })
	w.mu.Unlock()
}

// up returns the machines that run.
func (w *world) up() (list []*machine) {
	for _, m := range w.hosts {
		if m.n != nil {
			list = append(list, m)
		}
	}
	return list
}

// from returns a way to connect from a host to whichever node answers.
func (w *world) from(host string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		w.mu.Lock()
		names := slices.Clone(w.on)
		w.ways.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		w.mu.Unlock()
		for _, name := range names {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			c, err := w.net.Host(host).Dial(ctx, name+":7470")
			cancel()
			if err == nil {
				return c, nil
			}
		}
		return nil, errors.New("no node answers")
	}
}

func (w *world) config(host string, c token.Claims) client.Config {
	return client.Config{
		URL: "ws://switchboard/v1/connect", Token: client.StaticToken(w.mint(c)), Dial: w.tapped(&c, w.from(host)), BackoffMin: 50 * time.Millisecond,
		BackoffMax: time.Second, Tries: 1000,
	}
}

// operate asks any node something about the cluster [SW-7.5]; body is nil to read.
func (w *world) operate(path string, body, answer any) error {
	method, in := http.MethodGet, io.Reader(nil)
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		method, in = http.MethodPost, bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://switchboard/v1/admin/cluster"+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+w.mint(token.Claims{Sub: "olga", Role: wire.RoleOperator}))
	req.Header.Set("Content-Type", "application/json")
	way := &http.Transport{DialContext: w.from("office"), DisableKeepAlives: true}
	defer way.CloseIdleConnections()
	resp, err := way.RoundTrip(req)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(b))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(b, answer)
}

// insist asks until it is granted, or a minute is over.
func (w *world) insist(path string, body any) bool {
	for range 60 {
		if w.operate(path, body, nil) == nil {
			return true
		}
		time.Sleep(time.Second)
	}
	return false
}

// report is how the cluster is.
func (w *world) report() (r member.Report, err error) {
	err = w.operate("", nil, &r)
	return r, err
}

// number is what the cluster calls a machine, 0 when that is not to be found out.
func (w *world) number(m *machine) uint32 {
	r, err := w.report()
	if err != nil {
		return 0
	}
	for i := range r.Nodes {
		if r.Nodes[i].Name == m.name {
			return r.Nodes[i].ID
		}
	}
	return 0
}

// whole says what is still missing until every shard has its copies, a leader, and nothing moves.
func (w *world) whole() string {
	r, err := w.report()
	if err != nil {
		return err.Error()
	}
	for i := range r.Shards {
		s := &r.Shards[i]
		if len(s.Replicas) != copies || s.Leader == 0 || s.Job != 0 {
			return fmt.Sprintf("shard %d: %+v", s.ID, s)
		}
		for _, rep := range s.Replicas {
			if rep.Learner { // Answers and Lag are of a moment, and in virtual time it may be the same one again and again
				return fmt.Sprintf("shard %d: it has a replica that does not vote: %+v", s.ID, rep)
			}
		}
	}
	if len(r.Shards) != w.parts {
		return fmt.Sprintf("%d shards", len(r.Shards))
	}
	return ""
}

// settle waits until the cluster is whole.
func (w *world) settle(patience time.Duration) {
	w.t.Helper()
	missing := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Second) {
		if missing = w.whole(); missing == "" {
			return
		}
	}
	w.t.Errorf("the cluster is not whole after %v: %s", patience, missing)
}
