package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/cluster"
	"switchboard/exchange"
)

// world is a cluster in one process, in virtual time.
type world struct {
	t     *testing.T
	net   *network
	nodes map[string]*node
	disks map[string]*disk
	dir   string
	inc   uint64
	lost  map[string]bool // disks that the next start finds lost
	acked map[uint16][]string
	value int
}

// node is one process.
type node struct {
	name string
	cfg  Config
	x    *exchange.Exchange
	l    *Lines
	b    *double
	m    *Member
}

func virtual(t *testing.T, fn func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: newNetwork(), nodes: map[string]*node{}, disks: map[string]*disk{}, lost: map[string]bool{}, dir: t.TempDir(), acked: map[uint16][]string{}}
		defer func() {
			for _, n := range w.names() {
				w.kill(n)
			}
		}()
		fn(t, w)
	})
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.nodes)) }

// enter starts a node: "name zone", which joins those that there are, or founds the cluster.
func (w *world) enter(line string, more ...func(*Config)) (*node, error) {
	w.t.Helper()
	f := strings.Fields(line)
	cfg := Config{
		Dir: filepath.Join(w.dir, f[0]), Name: f[0], Addr: f[0], Join: w.names(), Shards: 4, Plain: true, Dial: w.net.dial(f[0]),
		Log: slog.New(slog.DiscardHandler), Balance: -1,
	}
	if os.Getenv("MEMBER_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("me", f[0])
	}
	if len(f) > 1 {
		cfg.Zone = f[1]
	}
	for _, fn := range more {
		fn(&cfg)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	id, err := Enter(ctx, cfg)
	if err != nil {
		return nil, err
	}
	w.inc++
	n := &node{name: f[0], cfg: cfg, x: exchange.New(w.inc)}
	if n.l, err = Connect(n.x, w.net.listen(cfg.Addr), id, cfg); err != nil {
		return nil, err
	}
	if w.lost[f[0]] { // as a node whose journal does not open
		delete(w.lost, f[0])
		if err := id.Renew(ctx, cfg, "a test lost the disk"); err != nil {
			return nil, errors.Join(err, n.l.Close())
		}
	}
	if err := id.PutAside(func(string) error { delete(w.disks, f[0]); return nil }); err != nil {
		return nil, err
	}
	if w.disks[f[0]] == nil {
		w.disks[f[0]] = newDisk()
	}
	n.b = newDouble(w.disks[f[0]], w.inc, n.l.Send)
	if n.m, err = Open(n.l, n.b, n.b, cfg); err != nil {
		n.b.close()
		return nil, errors.Join(err, n.l.Close())
	}
	n.b.run(n.m)
	w.nodes[f[0]] = n
	return n, nil
}

func (w *world) start(lines ...string) {
	w.t.Helper()
	for _, line := range lines {
		if _, err := w.enter(line); err != nil {
			w.t.Fatalf("starting %s: %v", line, err)
		}
	}
}

// kill ends a process without a goodbye.
func (w *world) kill(name string) {
	n := w.nodes[name]
	w.net.isolate(name, true)
	delete(w.nodes, name)
	n.b.close()
	n.m.Close()
	_ = n.l.Close()
	w.net.mu.Lock()
	delete(w.net.listeners, n.cfg.Addr)
	w.net.mu.Unlock()
	for other := range w.nodes { // the way is free for whoever comes next
		w.net.part(name, other, false)
	}
}

// await waits until cond says "".
func (w *world) await(what string, cond func() string) {
	w.t.Helper()
	last := ""
	for range 600 {
		if last = cond(); last == "" {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	w.t.Fatalf("%s: after two minutes: %s", what, last)
}

// report asks any node.
func (w *world) report() *Report {
	for _, name := range w.names() {
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		r, err := w.nodes[name].m.Status(ctx)
		cancel()
		if err == nil && !r.Stale {
			return r
		}
	}
	return &Report{}
}

// leader returns the node that leads the cluster.
func (w *world) leader() *node {
	w.t.Helper()
	var found *node
	w.await("a leader", func() string {
		r := w.report()
		for _, n := range r.Nodes {
			if n.ID == r.Leader && w.nodes[n.Name] != nil {
				found = w.nodes[n.Name]
				return ""
			}
		}
		return fmt.Sprintf("%d leads", r.Leader)
	})
	return found
}

// number returns the number of a node that is not gone.
func (w *world) number(name string) uint32 {
	w.t.Helper()
	for _, n := range w.report().Nodes {
		if n.Name == name && n.Phase != cluster.Gone {
			return n.ID
		}
	}
	w.t.Fatalf("there is no node %s", name)
	return 0
}

// settled waits until every shard has so many copies, a leader and no move, and so many nodes vote.
func (w *world) settled(copies, votes int) *Report {
	w.t.Helper()
	var r *Report
	w.await("quiet", func() string {
		r = w.report()
		v := 0
		for _, n := range r.Nodes {
			if n.Votes {
				v++
			}
		}
		if v != votes || len(r.Shards) == 0 {
			return fmt.Sprintf("%d vote, there are %d shards", v, len(r.Shards))
		}
		for _, s := range r.Shards {
			if len(s.Replicas) != copies || s.Leader == 0 || s.Job != 0 {
				return fmt.Sprintf("%+v, jobs %v", s, r.Jobs)
			}
			for _, rep := range s.Replicas {
				if rep.Learner || !rep.Answers || rep.Damaged != "" {
					return fmt.Sprintf("%+v", s)
				}
			}
		}
		return ""
	})
	return r
}

// write writes a value into every shard, wherever it is led, and notes what was acknowledged.
func (w *world) write() {
	w.t.Helper()
	for _, s := range w.report().Shards {
		w.value++
		key := fmt.Sprint("v", w.value)
		for _, name := range w.names() {
			n := w.nodes[name]
			done := make(chan error, 1)
			n.b.propose(s.ID, 0, []Row{{key, []byte("x")}}, func(err error) { done <- err })
			select {
			case err := <-done:
				if err == nil {
					w.acked[s.ID] = append(w.acked[s.ID], key)
				}
			case <-time.After(5 * time.Second):
			}
		}
	}
}

// whole checks that every replica of every shard has all that was acknowledged, that no node holds anything else, and that
// the board of every node leads to the leaders.
func (w *world) whole(r *Report) {
	w.t.Helper()
	w.await("all copies", func() string {
		for _, s := range r.Shards {
			on := map[string]bool{}
			for _, rep := range s.Replicas {
				name := w.name(r, rep.Node)
				on[name] = true
				if w.nodes[name] == nil {
					continue
				}
				rows := w.nodes[name].b.has(s.ID)
				for _, v := range w.acked[s.ID] {
					if rows[v] == nil {
						return fmt.Sprintf("%s lacks %s of shard %d", name, v, s.ID)
					}
				}
			}
			for name, n := range w.nodes {
				if !on[name] && n.b.has(s.ID) != nil {
					return fmt.Sprintf("%s holds shard %d, which is on %v", name, s.ID, on)
				}
			}
		}
		return ""
	})
}

func (w *world) name(r *Report, id uint32) string {
	for _, n := range r.Nodes {
		if n.ID == id {
			return n.Name
		}
	}
	return ""
}
