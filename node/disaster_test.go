package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

var operatorClaims = token.Claims{Sub: "olga", Role: wire.RoleOperator}

// healthy waits until every shard has so many copies that vote and answer, and nothing moves.
func (w *town) healthy(at *node.Node, copies int) {
	w.t.Helper()
	var last obj
	if !happens(time.Minute, 20*time.Millisecond, func() bool {
		_, last = operate(w.t, at, operatorClaims, "GET", "", "")
		return last["stale"] != true && whole(last, copies)
	}) {
		w.t.Fatalf("the cluster does not get well: %v", last)
	}
}

func whole(r obj, copies int) bool {
	gone := map[int]bool{}
	nodes, _ := r["nodes"].([]any)
	for _, n := range nodes {
		gone[num(n.(obj)["id"])] = n.(obj)["phase"] == "gone"
	}
	list, _ := r["shards"].([]any)
	for _, s := range list {
		s := s.(obj)
		answer := 0
		all, _ := s["replicas"].([]any)
		for _, rep := range all {
			rep := rep.(obj)
			if !gone[num(rep["node"])] && rep["damaged"] == nil && rep["learner"] != true && rep["answers"] == true && num(rep["lag"]) < 100 {
				answer++
			}
		}
		if answer != copies || num(s["leader"]) == 0 || num(s["job"]) != 0 {
			return false
		}
	}
	votes := 0
	for _, n := range nodes {
		if n := n.(obj); n["up"] == true && n["votes"] == true {
			votes++
		}
	}
	return len(list) > 0 && votes >= copies
}

// words are what customers have said and been told.
type words map[string]string // customer → session

func (w *town) say(book words, at, bot *node.Node, who string) {
	w.t.Helper()
	book[who] = talk(w.t, at, bot, who)
}

// lone begins those customers to whom nobody answered.
const lone = "lone-"

// tell lets a customer say a word, and nobody answers it: owners change meanwhile, and a bot's place may be another's.
func (w *town) tell(book words, at *node.Node, who string) {
	w.t.Helper()
	c := login(w.t, at, customerOf(lone+who))
	id := c.open(obj{})
	c.ask("send", obj{"session": id, "body": text("hello from " + lone + who)})
	book[lone+who] = id
	_ = c.ws.Close()
}

// holds says that every word is there, as each of the nodes tells it.
func (b words) holds(t *testing.T, nodes ...*node.Node) {
	t.Helper()
	for who, id := range b {
		for _, n := range nodes {
			p := login(t, n, customerOf(who))
			h := p.ask("history", obj{"session": id, "limit": 100})
			said := map[string]int{}
			for _, e := range h["entries"].([]any) {
				said[bodyText(e.(obj))]++
			}
			if said["hello from "+who] != 1 || !strings.HasPrefix(who, lone) && said["hello "+who] != 1 {
				t.Errorf("of %s there is %v", who, h)
			}
			_ = p.ws.Close()
		}
	}
}

// copyDir copies a directory. Should a file go meanwhile, as its node, which runs, tidies up behind itself, it begins anew: half of the one and half of the
// other is on no disk.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	for range 100 {
		err := os.CopyFS(to, os.DirFS(from))
		switch {
		case err == nil:
			return
		case !errors.Is(err, fs.ErrNotExist):
			t.Fatal(err)
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("files of %s go all the time", from)
}

// damage turns bits in files of a stopped node that pick chooses, and says how many files those were.
func damage(t *testing.T, dir string, pick func(name string) bool) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "journal"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !pick(path) {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) < 64 {
			return err
		}
		end := len(b)
		for end > 0 && b[end-1] == 0 { // segments are longer than what is in them
			end--
		}
		for i := end / 9; i < end; i += max(end/37, 1) {
			b[i] ^= 0x10
		}
		n++
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tryStart is start for a node that may refuse to.
func (w *town) tryStart(name string, log io.Writer) (*node.Node, error) {
	var join []string
	for other := range w.nodes {
		join = append(join, w.addrs[other])
	}
	return node.Start(node.Config{
		Data: w.dirs[name], Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 4, Name: name, Edge: node.Edge{Loops: loops},
		Cluster: node.Cluster{Listen: w.addrs[name], Join: join}, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Fatal: func(error) {},
	})
}

// readyz returns what a node says of its health.
func readyz(t *testing.T, n *node.Node) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Addr()+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, string(b)
}

// once leaves out what does not depend on how sockets are served, when it was tried with loops.
func once(t *testing.T) {
	t.Helper()
	if loops != 0 {
		t.Skip("tried with loops: disks and members do not know how sockets are served")
	}
}

// trioOf is three nodes with three copies of all.
func trioOf(t *testing.T) (w *town, a, b, c *node.Node) {
	t.Helper()
	once(t)
	w = newTown(t)
	a, b, c = w.start("a"), w.start("b"), w.start("c")
	w.healthy(a, 3)
	return w, a, b, c
}

func (w *town) stopAll() {
	w.t.Helper()
	for name := range w.nodes {
		w.stop(name)
	}
}

// TestOldCopyBeginsAnew puts an old copy of a node's whole data directory back, twice the same one. The node has promised more since than it
// remembers: it begins anew, with new replicas that have all from their peers, whether it knows where to ask by its configuration or by what it
// knew. While one of the others is away, too, it may be that only the copy has some words: it waits, and is refused.
func TestOldCopyBeginsAnew(t *testing.T) {
	t.Parallel()
	w, a, b, _ := trioOf(t)
	book := words{}
	w.say(book, a, b, "ann")
	w.stop("c")
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, w.dirs["c"], old)
	c := w.start("c")
	w.healthy(a, 3)
	w.say(book, a, c, "bea")
	for _, known := range []bool{true, false} {
		w.stop("c")
		w.tell(book, a, fmt.Sprint("meanwhile-", known))
		w.dirs["c"] = filepath.Join(t.TempDir(), "copy")
		copyDir(t, old, w.dirs["c"])
		up := w.nodes
		if !known {
			w.nodes = nil // it is told no address
		}
		n, err := w.tryStart("c", io.Discard)
		w.nodes = up
		if err != nil {
			t.Fatalf("an old copy does not begin anew (addresses known: %v): %v", known, err)
		}
		w.nodes["c"] = n
		w.healthy(a, 3)
		w.tell(book, n, fmt.Sprint("after-", known))
		book.holds(t, a, b, n)
		w.untilGone(filepath.Join(w.dirs["c"], "journal.damaged"))
	}
	// What it has now is whole: another disk may go.
	w.stop("a")
	w.healthy(b, 2)
	book.holds(t, b, w.nodes["c"])
	w.start("a")
	w.healthy(b, 3)
	w.stopAll()
}

// TestDamagedStart damages what a journal says of its last start. A node that is alone says so and goes on; one that has peers begins anew, and has every word
// from them.
func TestDamagedStart(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	w.start("a")
	book := words{}
	start := func(name, say string) *node.Node {
		t.Helper()
		log := &logged{}
		n, err := w.tryStart(name, log)
		if err != nil {
			t.Fatal(err)
		}
		if !log.has("START is damaged") || !log.has(say) {
			t.Errorf("%s says nothing of it", name)
		}
		w.nodes[name] = n
		return n
	}
	w.stop("a")
	damageStart(t, w.dirs["a"])
	a := start("a", "this node may have forgotten")
	b := w.start("b")
	w.start("c")
	w.healthy(a, 3)
	w.say(book, a, b, "ann")
	w.stop("c")
	damageStart(t, w.dirs["c"])
	c := start("c", "this node begins anew")
	w.healthy(a, 3)
	book.holds(t, a, b, c)
	w.untilGone(filepath.Join(w.dirs["c"], "journal.damaged"))
	w.stopAll()
}

// TestDamagedKeysOfMember turns a bit in the file of keys of the node that founded a cluster, alone and with others, and takes the file away: what it has of
// the cluster's rows mends it, and tokens are good as before. A node that is no member yet is not let off.
func TestDamagedKeysOfMember(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	w.start("a")
	name := filepath.Join(w.dirs["a"], token.FileName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := token.Parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Clone(whole)
	damaged[bytes.Index(damaged, []byte(`"k":`))+8] ^= 1
	mended := func(with []byte) {
		t.Helper()
		w.stop("a")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if with != nil {
			if err := os.WriteFile(name, with, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		log := &logged{}
		w.nodes["a"] = start(t, w.dirs["a"], func(c *node.Config) {
			c.Name, c.Cluster, c.Log = "a", node.Cluster{Listen: w.addrs["a"]}, slog.New(slog.NewTextHandler(log, nil))
		})
		if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, whole) {
			t.Errorf("it has %s, %v; want %s", b, err, whole)
		}
		if told := log.has("keys.json takes what the cluster knows"); told != (with != nil) {
			t.Errorf("told: %v of %s", told, with)
		}
		if _, err := ring.Check(mint(t, w.nodes["a"], customerOf("ann")), time.Now()); err != nil {
			t.Errorf("the node goes by other keys: %v", err)
		}
	}
	mended(damaged)
	mended([]byte("{"))
	mended(nil)
	w.start("b")
	w.start("c")
	w.healthy(w.nodes["a"], 3)
	mended(damaged)
	w.stopAll()

	w.dirs["d"], w.addrs["d"] = t.TempDir(), free(t)
	if err := os.WriteFile(filepath.Join(w.dirs["d"], token.FileName), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := w.tryStart("d", io.Discard); err == nil {
		stop(t, n)
		t.Error("it founds a cluster with keys that it cannot read")
	}
}

// TestFullDisksAreToldOnce fills the disks of two of three nodes. The third tells once of how many shards nothing becomes durable any more, and once when that is over.
func TestFullDisksAreToldOnce(t *testing.T) {
	once(t)
	t.Parallel()
	w, log := newTown(t), &logged{}
	a := w.start("a", func(c *node.Config) {
		c.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	w.start("b")
	w.start("c")
	w.healthy(a, 3)
	for _, name := range []string{"b", "c"} {
		w.stop(name)
		w.start(name, func(c *node.Config) { c.FreeMin = 1 << 62 })
	}
	await := func(what string) {
		t.Helper()
		until(t, "it says "+what, func() bool { return log.has(what) })
	}
	await("groups=5 refusing=true") // four shards, and the rows of the cluster
	w.stop("b")
	w.start("b")
	await("groups=0 refusing=false")
	var said []string
	for line := range strings.Lines(log.String()) {
		if _, what, ok := strings.Cut(line, "what writes there is refused"); ok {
			said = append(said, what)
		}
	}
	if len(said) > len(slices.Compact(slices.Clone(said))) || len(said) > 8 { // some shards may have come to it behind others
		t.Errorf("it says again and again: %q", said)
	}
	w.stopAll()
}

// damageStart turns a bit of what the journal of a member says of its last start.
func damageStart(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, "journal", "START")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// untilGone waits until what was put aside is removed.
func (w *town) untilGone(dir string) {
	w.t.Helper()
	until(w.t, dir+" is gone", func() bool { _, err := os.Stat(dir); return errors.Is(err, fs.ErrNotExist) })
}

// TestLostDiskIsReplaced loses a node's directory. An empty one under the old name is refused; after the node was removed it is a new node,
// gets copies of all, and holds every word when another disk goes.
func TestLostDiskIsReplaced(t *testing.T) {
	t.Parallel()
	w, a, b, _ := trioOf(t)
	book := words{}
	w.say(book, a, b, "ann")
	w.stop("c")
	w.dirs["c"] = t.TempDir()
	if n, err := w.tryStart("c", io.Discard); err == nil {
		stop(t, n)
		t.Fatal("an empty disk passes for one that has voted")
	}
	w.say(book, b, a, "bea")
	w.lost(a, 3)
	w.dirs["c"] = t.TempDir()
	c := w.start("c")
	w.healthy(a, 3)
	book.holds(t, a, b, c)
	w.stop("a")
	w.healthy(b, 2)
	book.holds(t, b, c)
	w.stopAll()
}

// mishaps are what may become of a disk, file by file; each takes the node's directory and says whether there was something to it.
func mishaps(t *testing.T) map[string]func(dir string) bool {
	bits := func(pick func(string) bool) func(string) bool {
		return func(dir string) bool { return damage(t, dir, pick) > 0 }
	}
	named := func(part string) func(string) bool {
		return bits(func(p string) bool { return strings.Contains(filepath.Base(p), part) })
	}
	whole := func(name string) func(string) bool {
		return func(dir string) bool { return os.RemoveAll(filepath.Join(dir, name)) == nil }
	}
	return map[string]func(string) bool{
		"log":      bits(func(p string) bool { return strings.Contains(p, "/log/") }),
		"tables":   named(".sst"),
		"manifest": named("MANIFEST"),
		"fence": func(dir string) bool {
			return os.WriteFile(filepath.Join(dir, "journal", "FENCE"), bytes.Repeat([]byte("bits"), 1<<18), 0o600) == nil
		},
		"format gone":   whole("journal/FORMAT"),
		"stamp":         whole("journal/START"),
		"journal gone":  whole("journal"),
		"rows gone":     whole("journal/data"),
		"log gone":      whole("journal/log"),
		"node.json":     func(dir string) bool { return turn(t, filepath.Join(dir, "node.json")) },
		"keys":          func(dir string) bool { return turn(t, filepath.Join(dir, token.FileName)) },
		"node.json cut": func(dir string) bool { return os.Truncate(filepath.Join(dir, "node.json"), 40) == nil },
	}
}

// turn turns a bit in the middle of a small file.
func turn(t *testing.T, path string) bool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 4
	return os.WriteFile(path, b, 0o600) == nil
}

// TestOneDiskHealsItself lets everything that may happen to a disk happen to that of one of three nodes, one after the other and some twice in a
// row, each time as it is when the node is killed. Nobody lends a hand: it comes back by itself, tells no wrong words, does not vote with what it has
// lost, and has all from its peers in the end.
func TestOneDiskHealsItself(t *testing.T) {
	t.Parallel()
	w, a, b, c := trioOf(t)
	book := words{}
	all := mishaps(t)
	list := []string{"fence", "log", "log", "rows gone", "tables"}
	if os.Getenv("SWITCHBOARD_CRASHES") != "" { // as make crash-cluster does
		list = append(slices.Sorted(maps.Keys(all)), "tables", "log")
	}
	for i, what := range list {
		w.tell(book, a, fmt.Sprint("before-", i))
		if what == "tables" { // they are written when it stops
			w.stop("c")
			w.start("c")
			w.healthy(a, 3)
		}
		killed := filepath.Join(t.TempDir(), "killed")
		copyDir(t, w.dirs["c"], killed) // nobody says anything now
		w.stop("c")
		w.dirs["c"] = killed
		if !all[what](killed) {
			t.Fatalf("%s: there is nothing to damage", what)
		}
		w.tell(book, a, fmt.Sprint("meanwhile-", i))
		log := &logged{}
		n, err := w.tryStart("c", log)
		if err != nil {
			t.Fatalf("%s: the node does not come back: %v\n%s", what, err, log.text.String())
		}
		c = n
		w.nodes["c"] = c
		w.tell(book, b, fmt.Sprint("heals-", i))
		w.tell(book, c, fmt.Sprint("heals-too-", i))
		w.healthy(a, 3)
		w.tell(book, c, fmt.Sprint("after-", i))
		book.holds(t, a, c)
		if code, text := readyz(t, c); code != 200 {
			t.Errorf("%s: %d %s", what, code, text)
		}
		t.Log(what, "healed:", strings.Count(log.text.String(), "takes no part"), "replicas were damaged; begun anew:", strings.Contains(log.text.String(), "begins anew"))
	}
	book.holds(t, b, c) // more damage may be where nobody has read yet: no other disk goes now
	w.stopAll()
}

// lost removes a node whose disk is lost. It is refused while the node was there a moment ago.
func (w *town) lost(at *node.Node, id int) {
	w.t.Helper()
	var last obj
	if !happens(time.Minute, 50*time.Millisecond, func() bool {
		code, v := operate(w.t, at, operatorClaims, "POST", fmt.Sprint("/nodes/", id), `{"action":"remove","disk_lost":true}`)
		last = v
		return code == 200
	}) {
		w.t.Fatalf("removing is answered %v", last)
	}
}

// TestFullDiskOfOne fills the disk of one of three nodes. What it leads it cannot write; words are taken as before as soon as others lead.
func TestFullDiskOfOne(t *testing.T) {
	t.Parallel()
	w, a, b, _ := trioOf(t)
	book := words{}
	w.say(book, a, b, "ann")
	w.stop("c")
	w.start("c", func(c *node.Config) { c.FreeMin = 1 << 62 }) // every disk is full for it
	for i := range 8 {
		w.say(book, a, b, fmt.Sprint("full-", i))
	}
	book.holds(t, a, b)
	w.stop("c")
	c := w.start("c")
	w.healthy(a, 3)
	book.holds(t, a, b, c)
	w.stopAll()
}
