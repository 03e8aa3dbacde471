package member

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchboard/cluster"
	"switchboard/exchange"
	"switchboard/exchange/link"
	"switchboard/wire"
)

// A leader whose disk hangs answers nobody; another takes its place, and it believes that, also for those who ask it.
func TestHungDisk(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c")
		w.settled(3, 3)
		old := w.leader()
		old.b.mu.Lock()
		old.b.freeze = true
		old.b.mu.Unlock()
		if err := old.m.Copies(t.Context(), "ann", cluster.Main, 5); err != nil {
			t.Fatalf("it is not asked for where another leads: %v", err)
		}
		now := w.leader()
		if now == old {
			t.Fatal("nobody else leads")
		}
		old.b.mu.Lock()
		old.b.freeze = false
		old.b.mu.Unlock()
		if r := w.settled(3, 3); r.Places[0].Copies != 5 {
			t.Fatalf("%+v", r.Places[0])
		}
	})
}

// The power of all nodes fails in the middle of a move: they come back in any order, and the move ends.
func TestPowerCut(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		names := []string{"a", "b", "c", "d"}
		w.start(names...)
		r := w.settled(3, 3)
		w.write()
		to := uint32(1 + 2 + 3 + 4)
		for _, rep := range r.Shards[0].Replicas {
			to -= rep.Node
		}
		job, err := w.nodes["a"].m.Move(t.Context(), "ann", 0, r.Shards[0].Replicas[0].Node, to, "")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		for _, n := range names {
			w.kill(n)
		}
		w.start("d", "c", "b", "a")
		r = w.settled(3, 3)
		w.write()
		w.whole(r)
		if last := r.Jobs[len(r.Jobs)-1]; last.ID != job.ID || last.Result != cluster.Moved {
			t.Fatalf("%v", r.Jobs)
		}
	})
}

// A node comes back at another address, with another weight.
func TestAnotherAddress(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c")
		w.settled(3, 3)
		w.kill("b")
		w.leader()
		cfg := func(c *Config) { c.Addr, c.Weight = "b2", 50 }
		n, err := w.enter("b", cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.await("it is known", func() string {
			for _, r := range w.report().Nodes {
				if r.ID == n.m.id.Node && (r.Addr != "b2" || r.Weight != 50 || !r.Up) {
					return fmt.Sprintf("%+v", r)
				}
			}
			return ""
		})
		w.settled(3, 3)
	})
}

// What an earlier leader says, says late, or says twice does not count; nor does garbage.
func TestBelieve(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c")
		w.settled(3, 3)
		a := w.nodes["a"]
		a.m.hear("b", []byte("{"))
		a.m.hear("stranger", []byte(`{"kind":"leads","leads":[{"group":1,"term":99}]}`))
		a.m.hear("b", []byte(`{"kind":"nothing"}`))
		a.m.hear("b", []byte(`{"kind":"act"}`))
		a.m.hear("b", []byte(`{"kind":"act","act":{"group":4095,"act":{"Kind":5,"Remove":4294967297}},"term":99999}`))
		a.m.hear("b", []byte(`{"kind":"seen","views":[{"group":1},{"group":9}]}`))
		a.m.hear("b", []byte(`{"kind":"answer","n":7}`))
		a.m.hear("b", []byte(`{"kind":"see","groups":[1,2,77]}`))
		w.settled(3, 3)
		a.m.Close() // its state is the test's now
		m := a.m
		f := func(group uint16, node uint32, term uint64, want leader) {
			t.Helper()
			m.believe(group, node, term)
			if got := m.leaders[group]; got != want {
				t.Fatalf("%+v; want %+v", got, want)
			}
		}
		f(77, 2, 5, leader{2, 5})
		f(77, 3, 4, leader{2, 5})
		f(77, 3, 5, leader{2, 5})
		f(77, 3, 6, leader{3, 6})
		m.claimed(3, &message{})
		f(77, 2, 5, leader{0, 6})
		f(77, 2, 7, leader{2, 7})
		if m.metaTop >= 99999 {
			t.Fatal("an act makes a term")
		}
	})
}

func TestEnter(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a")
		w.settled(1, 1)
		f := func(words string, more ...func(*Config)) {
			t.Helper()
			if _, err := w.enter("b", more...); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%v; want %q", err, words)
			}
		}
		f("a node's name", func(c *Config) { c.Name = "b b" })
		f("no data directory", func(c *Config) { c.Dir = "" })
		f("keeps its name", func(c *Config) { c.Dir = filepath.Join(w.dir, "a") })
		f("the weight 20000", func(c *Config) { c.Weight = 20_000 })
		f("deadline exceeded", func(c *Config) { c.Join = []string{"nobody"} })
		// It was let in, and died before it heard: the same directory is the same node.
		id, err := readIdentity(filepath.Join(w.dir, "b"))
		if err != nil || id.Birth == "" || id.Cluster != "" {
			t.Fatalf("%+v, %v", id, err)
		}
		if err := w.nodes["a"].m.ask(t.Context(), opJoin, "b", cluster.Node{Name: "b", Addr: "b", Roles: cluster.Roles{Shard: true}, Birth: id.Birth}, nil); err != nil {
			t.Fatal(err)
		}
		b, err := w.enter("b")
		if err != nil || b.m.id.Node != 2 {
			t.Fatalf("%v, %+v", err, b)
		}
		if c, n := b.m.Identity(); n != 2 || c != w.nodes["a"].m.id.Cluster {
			t.Fatalf("%s, %d", c, n)
		}
	})
}

// A node of another cluster is let in nowhere.
func TestForeigner(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a")
		w.settled(1, 1)
		if _, err := w.enter("b", func(c *Config) { c.Join = nil }); err != nil {
			t.Fatal(err)
		}
		a, b := w.nodes["a"], w.nodes["b"]
		if a.m.id.Cluster == b.m.id.Cluster {
			t.Fatal("two clusters are one")
		}
		a.l.set([]Peer{{2, "b", "b"}})
		b.l.set([]Peer{{2, "a", "a"}})
		w.await("it is refused", func() string {
			if s := b.l.links.To("a"); s != nil && strings.Contains(s.Status().Err, "it is of cluster") {
				return ""
			}
			b.l.set([]Peer{{2, "a", "a"}}) // follow takes it away again
			a.l.set([]Peer{{2, "b", "b"}})
			return "not yet"
		})
	})
}

// While a node was away all others were replaced: it comes back by the addresses that it is configured with. Once it was
// removed it is told so.
func TestComeBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a z1", "b z2", "c z3")
		w.settled(3, 3)
		w.write()
		// c has no replica and no vote when it goes.
		w.start("d z3", "e z1", "f z2")
		w.settled(3, 5)
		for _, n := range []string{"a", "b"} {
			if err := w.nodes["d"].m.Drain(t.Context(), "ann", w.number(n), false); err != nil {
				t.Fatal(err)
			}
		}
		w.kill("c")
		empty := func(names ...string) {
			t.Helper()
			w.await("they are empty", func() string {
				for _, n := range w.report().Nodes {
					if n.Holds > 0 && (n.Name == names[0] || n.Name == names[len(names)-1]) {
						return fmt.Sprintf("%+v", n)
					}
				}
				return ""
			})
		}
		empty("a", "b")
		for _, n := range []string{"a", "b"} {
			id := w.number(n)
			w.await("it is removed", func() string {
				if _, err := w.nodes["d"].m.Remove(t.Context(), "ann", id, false); err != nil {
					return err.Error()
				}
				return ""
			})
			w.kill(n)
			w.leader()
		}
		w.start("c z3")
		w.write()
		w.whole(w.settled(3, 3))

		id := w.number("c")
		w.kill("c")
		w.await("its end is noticed", func() string {
			if _, err := w.nodes["d"].m.Remove(t.Context(), "ann", id, true); err != nil {
				return err.Error()
			}
			return ""
		})
		if _, err := w.enter("c z3"); !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "was removed") {
			t.Fatal(err)
		}
		other := filepath.Join(t.TempDir(), "x")
		if _, err := Enter(t.Context(), Config{Dir: other, Name: "x", Addr: "x", Roles: cluster.Roles{Edge: true}}); !errors.Is(err, cluster.ErrRefused) {
			t.Fatal(err)
		}
	})
}

// A crash between any two writes of a directory is no lost disk.
func TestHold(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c")
		w.settled(3, 3)
		w.write()
		w.kill("b")
		path := filepath.Join(w.dir, "b")
		id, err := readIdentity(path)
		if err != nil {
			t.Fatal(err)
		}
		// It was about to note that it has taken up shard 1, and that it has erased group 9.
		delete(id.Held, 1)
		id.Held[9] = Held{ID: 2<<32 | 99, Version: 1, Erasing: true}
		if err := id.save(); err != nil {
			t.Fatal(err)
		}
		w.start("b")
		w.whole(w.settled(3, 3))
		if got := w.nodes["b"].m.id.Born; got != 2 {
			t.Fatalf("it counts %d starts", got)
		}
		w.await("it is noted", func() string {
			if id, err := readIdentity(path); err != nil || id.Held[1].ID == 0 || id.Held[9].ID != 0 {
				return fmt.Sprintf("%+v, %v", id.Held, err)
			}
			return ""
		})
		w.kill("b")
		w.disks["b"].groups[1].id++ // a disk that is another's
		if _, err := w.enter("b"); !errors.Is(err, cluster.ErrRefused) {
			t.Fatal(err)
		}
	})
}

// What others have written into node.json stays, and garbage is refused.
func TestIdentityFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.json")
	if err := os.WriteFile(path, []byte(`{"shards":16}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir, Name: "a", Addr: "x:1"}
	one, err := Enter(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Enter(t.Context(), cfg)
	if err != nil || two.Cluster != one.Cluster || two.Birth != one.Birth || two.Born != 2 {
		t.Fatalf("%+v, %v", two, err)
	}
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), `"shards": 16`) {
		t.Fatalf("%s, %v", b, err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	born, most := two.Born, len(whole) // each start makes it longer
	for i := 7; i < most; i += 13 {    // a bit turns: the copy takes its place
		b := bytes.Clone(whole)
		b[i] ^= 2
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		born++
		if three, err := Enter(t.Context(), cfg); err != nil || three.Cluster != one.Cluster || three.Birth != one.Birth || three.Born != born {
			t.Fatalf("byte %d: %+v, %v", i, three, err)
		}
		if whole, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if born < 10 {
		t.Fatal("hardly a bit has turned")
	}
	if err := errors.Join(os.WriteFile(path, []byte(`{"member":7}`), 0o600), os.Remove(path+copySuffix)); err != nil {
		t.Fatal(err)
	}
	if _, err := Enter(t.Context(), cfg); err == nil {
		t.Fatal("it is somebody")
	}
}

// TestStartFlips turns every bit and cuts every end of what a journal says of its last start: that it may be an old copy is told in the words of damage. What
// is left of it is neither this start nor one of a version without checksums; one of such a version is read, and what is whole and another's is an old copy.
func TestStartFlips(t *testing.T) {
	const damaged, old = "START is damaged", "an old copy of itself"
	for _, whole := range []string{drawStart(), draw()} {
		id := &Identity{Starts: []string{drawStart()}, Opened: whole}
		f := func(journal, want string) {
			t.Helper()
			now, why := id.Stamp(journal)
			if now != id.Starts[0] || want == "" && why != "" || !strings.Contains(why, want) {
				t.Errorf("%q in place of %q: %q; want %q", journal, whole, why, want)
			}
		}
		f(whole, "")
		f(drawStart(), old)
		f(draw(), old)
		f("", "is gone")
		for n := 1; n < len(whole); n++ {
			f(whole[:n], damaged)
		}
		f(whole+"0", damaged)
		for i := range len(whole) * 8 {
			b := []byte(whole)
			b[i/8] ^= 1 << (i % 8)
			want := damaged
			if _, err := hex.DecodeString(string(b)); err == nil && len(whole) == 2*drawn && string(b) == strings.ToLower(string(b)) {
				want = old // as it has no checksum
			}
			f(string(b), want)
		}
	}
	if _, why := (&Identity{Starts: []string{"s"}}).Stamp("anything"); why != "" {
		t.Errorf("before a journal was opened: %s", why)
	}
}

// TestStartEndsBeforeItIsNoted: a start may end when the journal has its name and node.json has not, or before: the next knows the journal for its own, whatever the
// cluster has heard of. One that was opened in none of them is an old copy.
func TestStartEndsBeforeItIsNoted(t *testing.T) {
	id := &Identity{path: filepath.Join(t.TempDir(), "node.json"), rest: map[string]json.RawMessage{}}
	journal, older := "", ""
	for i, ends := range []string{"", "", "stamped", "", "stamped", "stamped", "before", "stamped", "before", ""} {
		id.begin()
		if i%3 > 0 {
			id.heard()
		}
		if _, why := id.Stamp(older); older != "" && why == "" {
			t.Errorf("start %d: an old copy of the journal is taken for the latest", i)
		}
		now, why := id.Stamp(journal)
		if why != "" {
			t.Errorf("start %d: %s", i, why)
		}
		if ends == "before" {
			continue
		}
		journal = now
		if ends == "stamped" {
			continue
		}
		older = id.Opened
		if err := id.Stamped(now); err != nil {
			t.Fatal(err)
		}
	}
	for range startsMost + 1 {
		id.begin()
	}
	if len(id.Tried) != startsMost || len(id.Starts) > startsMost {
		t.Errorf("%d and %d starts are remembered; at most %d are", len(id.Tried), len(id.Starts), startsMost)
	}
}

// Each bit of node.json that turns, and each end of it: the copy takes its place, and without a copy it is refused or says what it said.
func TestIdentityFlips(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.json")
	id := &Identity{
		Cluster: "c1", Name: "a", Birth: "b", Node: 3, Meta: 9, Born: 4, Held: map[uint16]Held{7: {ID: 8}},
		rest: map[string]json.RawMessage{"shards": json.RawMessage("16")}, path: path,
	}
	if err := id.save(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	says := func(id *Identity) string {
		b, err := json.Marshal(id)
		return fmt.Sprintf("%s %s %v", id.rest["shards"], b, err)
	}
	want := says(id)
	told := 0
	f := func(b []byte, what string, at int) {
		t.Helper()
		id := &Identity{rest: map[string]json.RawMessage{}}
		if err := id.parse(b); err != nil {
			told++
		} else if got := says(id); got != want {
			t.Fatalf("%s %d: %s; want %s", what, at, got, want)
		}
		if at%16 != 0 { // a copy put back is synced: some are enough
			return
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := readIdentity(dir); err != nil || says(id) != want {
			t.Fatalf("%s %d with a copy: %s, %v; want %s", what, at, says(id), err, want)
		}
	}
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		f(b, "bit", i)
	}
	if told < len(whole)*8*95/100 { // others are spaces that became others
		t.Errorf("of %d bits %d are told of", len(whole)*8, told)
	}
	told = 0
	for n := range whole {
		f(whole[:n], "end", n)
	}
	if told != len(whole) {
		t.Errorf("of %d ends %d are told of", len(whole), told)
	}
}

// Three nodes over real sockets, with certificates: they become a cluster; who has none is not heard.
func TestLoopbackTLS(t *testing.T) {
	certs := t.TempDir()
	if _, err := MakeCerts(certs, []string{"a", "b", "c", "d"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	var join []string
	var members []*Member
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i, name := range []string{"a", "b", "c"} {
		tls, err := LoadTLS(certs, name)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Dir: t.TempDir(), Name: name, Addr: ln.Addr().String(), Join: join, Shards: 2, TLS: tls, Silence: 10 * time.Second, Tick: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		id, err := Enter(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		l, err := Connect(exchange.New(uint64(i+1)), ln, id, cfg)
		if err != nil {
			t.Fatal(err)
		}
		b := newDouble(newDisk(), uint64(i+1), l.Send)
		m, err := Open(l, b, b, cfg)
		if err != nil {
			t.Fatal(err)
		}
		b.run(m)
		t.Cleanup(func() {
			b.close()
			m.Close()
			_ = l.Close()
		})
		join, members = []string{cfg.Addr}, append(members, m)
	}
	for done := false; !done; {
		r, err := members[2].Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		done = len(r.Shards) == 2
		for _, s := range r.Shards {
			done = done && len(s.Replicas) == 3 && s.Job == 0
		}
	}
	stranger := Config{Dir: t.TempDir(), Name: "d", Addr: "x:1", Join: join, Log: slog.New(slog.DiscardHandler)}
	short, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	if _, err := Enter(short, stranger); err == nil {
		t.Fatal("who has no certificate is let in")
	}
}

// Who waits for an answer of a shard elsewhere learns when another owner is there, and when mail was lost on the way.
func TestGenerations(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.start("a", "b", "c")
		r := w.settled(3, 3)
		s := r.Shards[0]
		lead := w.nodes[w.name(r, s.Leader)]
		var far *node
		for _, n := range w.names() {
			if n != lead.name {
				far = w.nodes[n]
			}
		}
		slot := wire.Slot(s.ID)
		was := uint64(0)
		w.await("it is plugged in", func() string {
			if was = far.x.Generation(slot); was == 0 {
				return "not yet"
			}
			return ""
		})
		time.Sleep(5 * time.Second)
		if now := far.x.Generation(slot); now != was {
			t.Fatalf("nothing has happened, and generation %d is %d", was, now)
		}
		far.l.notify(link.Event{Kind: link.Cut, Node: lead.name, Lost: 1})
		w.await("the cut is noticed", func() string {
			if far.x.Generation(slot) == was {
				return "not yet"
			}
			return ""
		})
		was = far.x.Generation(slot)
		// The leadership goes away and comes back, between two looks.
		for _, to := range []*node{far, lead} {
			var from *node
			w.await("somebody leads", func() string {
				for _, n := range w.nodes {
					n.b.mu.Lock()
					if n.b.leads[s.ID] != 0 {
						from = n
					}
					n.b.mu.Unlock()
				}
				if from == nil {
					return "nobody"
				}
				return ""
			})
			for _, rep := range s.Replicas {
				if w.name(r, rep.Node) == to.name && from != to {
					_ = from.b.Transfer(s.ID, rep.ID)
				}
			}
			w.await("it has gone over", func() string {
				to.b.mu.Lock()
				defer to.b.mu.Unlock()
				if to.b.leads[s.ID] == 0 {
					return "not yet"
				}
				return ""
			})
		}
		w.await("the new owner is noticed", func() string {
			if g := far.x.Generation(slot); g == was || g == 0 {
				return fmt.Sprint("generation ", g)
			}
			return ""
		})
	})
}
