package node_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchboard/cluster"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

var operatorClaims = token.Claims{Sub: "olga", Role: wire.RoleOperator}

// healthy waits until every shard has so many copies that vote and answer, and nothing moves.
func (w *town) healthy(at *node.Node, copies int) {
	w.t.Helper()
	var last obj
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		_, last = operate(w.t, at, operatorClaims, "GET", "", "")
		if last["stale"] != true && whole(last, copies) {
			return
		}
	}
	w.t.Fatalf("the cluster does not get well: %v", last)
}

func whole(r obj, copies int) bool {
	list, _ := r["shards"].([]any)
	for _, s := range list {
		s := s.(obj)
		answer := 0
		all, _ := s["replicas"].([]any)
		for _, rep := range all {
			rep := rep.(obj)
			if rep["learner"] != true && rep["answers"] == true && num(rep["lag"]) < 100 {
				answer++
			}
		}
		if answer != copies || num(s["leader"]) == 0 || num(s["job"]) != 0 {
			return false
		}
	}
	return len(list) > 0
}

// words are what customers have said and been told.
type words map[string]string // customer → session

func (w *town) say(book words, at, bot *node.Node, who string) {
	w.t.Helper()
	book[who] = talk(w.t, at, bot, who)
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
			if said["hello from "+who] != 1 || said["hello "+who] != 1 {
				t.Errorf("of %s there is %v", who, h)
			}
			_ = p.ws.Close()
		}
	}
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
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
		for i := end / 4; i < end; i += max(end/4, 1) {
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

// trioOf is three nodes with three copies of all.
func trioOf(t *testing.T) (w *town, a, b, c *node.Node) {
	t.Helper()
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

// TestOldCopyIsRefused puts an old copy of a node's whole data directory back. The node has promised more since than it remembers: it is
// refused, whether it knows where to ask by its configuration or by what it knew. The newer directory is let in.
func TestOldCopyIsRefused(t *testing.T) {
	w, a, b, _ := trioOf(t)
	book := words{}
	w.say(book, a, b, "ann")
	w.stop("c")
	old := filepath.Join(t.TempDir(), "old")
	copyDir(t, w.dirs["c"], old)
	c := w.start("c")
	w.healthy(a, 3)
	w.say(book, a, c, "bea")
	w.stop("c")
	newer := w.dirs["c"]
	for _, known := range []bool{true, false} {
		w.dirs["c"] = filepath.Join(t.TempDir(), "copy")
		copyDir(t, old, w.dirs["c"])
		up := w.nodes
		if !known {
			w.nodes = nil // it is told no address
		}
		n, err := w.tryStart("c", io.Discard)
		w.nodes = up
		if err == nil {
			stop(t, n)
			t.Fatalf("an old copy is let in; addresses known: %v", known)
		}
		if !errors.Is(err, cluster.ErrRefused) || !strings.Contains(err.Error(), "old copy") {
			t.Fatalf("an old copy is refused with %v", err)
		}
		w.say(book, a, b, fmt.Sprint("meanwhile-", known))
	}
	w.dirs["c"] = newer
	c = w.start("c")
	w.healthy(a, 3)
	book.holds(t, a, b, c)
	w.stopAll()
}

// TestLostDiskIsReplaced loses a node's directory. An empty one under the old name is refused; after the node was removed it is a new node,
// gets copies of all, and holds every word when another disk goes.
func TestLostDiskIsReplaced(t *testing.T) {
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

// TestBitsTurnOnOneDisk turns bits in the log, or the tables, of one of three nodes, as they were when it was killed. The node tells no wrong
// words and does not vote with what it has lost: it starts whole, or is refused and says what to do. That is done then, and it has
// all words from its peers.
func TestBitsTurnOnOneDisk(t *testing.T) {
	for what, pick := range map[string]func(string) bool{
		"log":    func(p string) bool { return strings.Contains(p, "/log/") },
		"tables": func(p string) bool { return strings.HasSuffix(p, ".sst") },
	} {
		t.Run(what, func(t *testing.T) {
			w, a, b, c := trioOf(t)
			book := words{}
			for i := range 8 {
				w.say(book, a, c, fmt.Sprint("c", i))
			}
			if what == "tables" { // they are written when it stops
				w.stop("c")
				w.start("c")
			}
			w.healthy(a, 3)
			killed := filepath.Join(t.TempDir(), "killed")
			copyDir(t, w.dirs["c"], killed) // nobody says anything now
			w.stop("c")
			w.dirs["c"] = killed
			if damage(t, killed, pick) == 0 {
				t.Fatal("there is nothing to damage")
			}
			w.say(book, a, b, "meanwhile")
			log := &logged{}
			n, err := w.tryStart("c", log)
			if err == nil {
				code, ready := readyz(t, n)
				t.Log("the node starts", code, ready)
				w.nodes["c"] = n
				book.holds(t, n)
				w.stop("c")
			} else {
				t.Log("the node is refused:", err)
			}
			t.Log(log.text.String())
			w.dirs["c"] = t.TempDir()
			w.lost(a, 3)
			c = w.start("c")
			w.say(book, b, a, "after")
			w.healthy(a, 3)
			book.holds(t, a, b, c)
			w.stopAll()
		})
	}
}

// lost removes a node whose disk is lost. It is refused while the node was there a moment ago.
func (w *town) lost(at *node.Node, id int) {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		code, v := operate(w.t, at, operatorClaims, "POST", fmt.Sprint("/nodes/", id), `{"action":"remove","disk_lost":true}`)
		if code == 200 {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("removing is answered %v", v)
		}
	}
}

// TestFullDiskOfOne fills the disk of one of three nodes. What it leads it cannot write; words are taken as before as soon as others lead.
func TestFullDiskOfOne(t *testing.T) {
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
