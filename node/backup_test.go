package node_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/backup"
	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

// operatorOf is a source that asks n with the token of an operator.
func operatorOf(t testing.TB, n *node.Node) *node.Remote {
	return &node.Remote{URL: "http://" + n.Addr(), Token: mint(t, n, token.Claims{Sub: "op", Role: wire.RoleOperator})}
}

func take(t testing.TB, d *backup.Dir, src node.Source) *backup.Manifest {
	t.Helper()
	m, err := node.TakeBackup(t.Context(), d, src, node.Taking{Final: node.FinalAnswer})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(m, func(shard int, err error) {
		if err != nil {
			t.Errorf("shard %d: %v", shard, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

func restore(t testing.TB, d *backup.Dir, id string) (dir string, r *node.Restored) {
	t.Helper()
	m, err := d.Backup(id)
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "new")
	if r, err = node.Restore(t.Context(), d, m, dir, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// books are what customers were told.
type books struct {
	mu sync.Mutex
	// Guarded by mu.
	last map[string]int // of each session, the last seq that was acknowledged
	said map[string]map[int]string
}

func (b *books) told(session string, seq int, word string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last[session] = seq
	if b.said[session] == nil {
		b.said[session] = map[int]string{}
	}
	b.said[session][seq] = word
}

func (b *books) close() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.last)
}

// noted is a source that closes the books before it begins.
type noted struct {
	node.Source
	books *books
	last  map[string]int
}

func (s *noted) Open(ctx context.Context) (*node.Opening, error) {
	s.last = s.books.close()
	return s.Source.Open(ctx)
}

// chatter lets customers talk until stop is closed.
func chatter(t *testing.T, n *node.Node, b *books, customers int, who string, stop chan struct{}) *sync.WaitGroup {
	t.Helper()
	var wg sync.WaitGroup
	ready := make(chan struct{}, customers)
	for i := range customers {
		c := login(t, n, customerOf(fmt.Sprint(who, i)))
		id := c.open(obj{})
		wg.Go(func() {
			for k := 0; ; k++ {
				word := fmt.Sprintf("%d says %d", i, k)
				f := c.answer(c.send("send", obj{"session": id, "body": text(word), "key": fmt.Sprint(k)}))
				if s, ok := f["send"].(obj); ok {
					b.told(id, num(s["seq"]), word)
				}
				if k == 20 {
					ready <- struct{}{}
				}
				select {
				case <-stop:
					if k > 20 {
						return
					}
				default:
				}
			}
		})
	}
	for range customers {
		<-ready
	}
	return &wg
}

// noise returns letters that cannot be compressed by much.
func noise(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(rand.Text())
	}
	return b.String()
}

// TestBackupUnderLoad takes two backups while everybody talks, goes on, and puts the second one back.
func TestBackupUnderLoad(t *testing.T) {
	n := start(t, t.TempDir())
	b := &books{last: map[string]int{}, said: map[string]map[int]string{}}
	d := backup.Open(filepath.Join(t.TempDir(), "backups"), nil)
	const customers = 8
	quiet := 0
	for i := range 200 { // who has nothing more to say
		c := login(t, n, customerOf(fmt.Sprintf("quiet%d", i)))
		id := c.open(obj{})
		b.told(id, num(c.ask("send", obj{"session": id, "body": text(noise(5000))})["seq"]), "")
		_ = c.ws.Close()
		quiet++
	}
	stop1 := make(chan struct{})
	wg := chatter(t, n, b, customers, "c", stop1)
	src := &noted{Source: operatorOf(t, n), books: b}
	first := take(t, d, src)
	src.Source = operatorOf(t, n)
	second := take(t, d, src)
	close(stop1)
	wg.Wait()
	if second.Stored > first.Stored*2/3 {
		t.Errorf("the first backup took %d bytes, the second %d", first.Stored, second.Stored)
	}
	if first.Shards != 4 || len(first.Parts) != 4 || first.Total().Rows == 0 || string(first.Keys) == "" {
		t.Fatalf("the first backup: %+v", first)
	}
	after := b.close() // beyond what was saved
	stop(t, n)

	dir, r := restore(t, d, "")
	if r.Backup != second.ID || r.Shards != 4 || r.Rows != second.Total().Rows || r.Epoch < 1_700_000_000 {
		t.Fatalf("%+v", r)
	}
	n = start(t, dir)
	defer stop(t, n)
	beyond := 0
	for i := range customers {
		c := login(t, n, customerOf(fmt.Sprintf("c%d", i)))
		id := c.open(obj{})
		head := 0
		for at, more := 0, true; more; {
			h := c.ask("history", obj{"session": id, "after": at, "limit": 100})
			for _, e := range h["entries"].([]any) {
				m := e.(obj)
				seq := num(m["seq"])
				if word := b.said[id][seq]; word != "" && bodyText(m) != word {
					t.Fatalf("session %s, entry %d is %q; it was %q", id, seq, bodyText(m), word)
				}
				if b.said[id][seq] != "" {
					head = seq
				}
				at = seq
			}
			more = h["more"] == true
		}
		if head < src.last[id] {
			t.Fatalf("session %s has %d of the %d entries that were acknowledged before the backup", id, head, src.last[id])
		}
		inside := obj{"session": id, "from": obj{"epoch": 1, "seq": src.last[id]}}
		if o := c.ask("open", inside); o["how"] != "exact" {
			t.Fatalf("inside the backup: %v", o)
		}
		if after[id] > head {
			beyond++
			o := c.ask("open", obj{"session": id, "from": obj{"epoch": 1, "seq": after[id]}})
			if o["how"] != "truncated" || num(o["at"]) < head || num(o["at"]) >= after[id] {
				t.Fatalf("beyond the backup, which has %d: %v", head, o)
			}
		}
		s := c.ask("send", obj{"session": id, "body": text("0 again"), "key": "new"})
		if num(s["epoch"]) != int(r.Epoch) || num(s["seq"]) <= head {
			t.Fatalf("the first word after it: %v", s)
		}
	}
	if beyond == 0 {
		t.Error("nobody had said anything since the backup")
	}
	for i := range quiet {
		c := login(t, n, customerOf(fmt.Sprintf("quiet%d", i)))
		id := c.open(obj{})
		if b.last[id] == 0 {
			t.Fatalf("quiet%d has another session than before", i)
		}
		_ = c.ws.Close()
	}
}

// TestNothingOfBefore: what the old cluster gave out after the backup is nothing of the new one, and what it gave out before is what it was.
func TestNothingOfBefore(t *testing.T) {
	n := start(t, t.TempDir())
	c := login(t, n, customerOf("ann"))
	id := c.open(obj{})
	b := login(t, n, workerOf("bot", wire.OriginBot))
	lease := b.subscribe(obj{"slots": 5})["lease"]
	word := func(p *peer, text1, key string) obj {
		return p.ask("send", obj{"session": id, "body": text(text1), "key": key})
	}
	early := word(c, "before", "k1")
	ae := b.push("assigned")["ae"]
	b.said("delivery")
	b.ask("reply", obj{"session": id, "ae": ae, "ack": early["seq"], "body": text("yes?")})
	sue := login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	attrs := sue.ask("attributes", obj{"session": id, "if_v": 0, "patch": obj{"a": 1}})
	d := backup.Open(t.TempDir(), nil)
	take(t, d, operatorOf(t, n))

	late := word(c, "after", "k2")
	unborn := login(t, n, customerOf("new"))
	unknown := unborn.open(obj{})
	unborn.ask("send", obj{"session": unknown, "body": text("hi"), "key": "k"})
	late2 := sue.ask("attributes", obj{"session": id, "if_v": attrs["v"], "patch": obj{"a": 2}})
	sue.ask("watch", obj{"scope": obj{}})
	word(c, "for the cursor", "k3")
	cursor := sue.push("message")["cursor"]
	tok := mint(t, n, customerOf("ann")) // of the old keys
	stop(t, n)

	dir, r := restore(t, d, "")
	n = start(t, dir)
	defer stop(t, n)
	// Who comes back with what he has: a token, positions, a session that never was.
	c = dial(t, n)
	h := c.ask("hello", obj{"token": tok, "resume": []obj{{"session": id, "epoch": 1, "seq": late["seq"]}, {"session": unknown, "epoch": 1, "seq": 2}}})
	back := h["resumed"].([]any)
	if x := back[0].(obj); x["how"] != "truncated" || num(x["at"]) >= num(late["seq"]) {
		t.Errorf("beyond the backup: %v", x)
	}
	if x := back[1].(obj); x["how"] == "exact" || x["how"] == "truncated" {
		t.Errorf("a session that is not there: %v", x)
	}
	// A customer who was born later is born again, in the new epoch: his old position is no place in it.
	unborn = login(t, n, customerOf("new"))
	again := unborn.open(obj{})
	s := unborn.ask("send", obj{"session": again, "body": text("hi"), "key": "k"})
	if num(s["epoch"]) != int(r.Epoch) || s["duplicate"] == true {
		t.Errorf("a key of a lost word: %v", s)
	}
	if o := unborn.ask("open", obj{"session": again, "from": obj{"epoch": 1, "seq": 2}}); o["how"] == "exact" {
		t.Errorf("a position of a lost session: %v", o)
	}
	// Keys: of a word that is in, and of one that is not.
	if s := word(c, "before", "k1"); s["duplicate"] != true || s["seq"] != early["seq"] || num(s["epoch"]) != 1 {
		t.Errorf("a word that is in the backup: %v", s)
	}
	if s := word(c, "after", "k2"); s["duplicate"] == true || num(s["epoch"]) != int(r.Epoch) {
		t.Errorf("a word that is not in the backup: %v", s)
	}
	// The bot: its assignment of before is none any more, and its lease keeps nothing.
	b = login(t, n, workerOf("bot", wire.OriginBot))
	b.refused("stale_assignment", "reply", obj{"session": id, "ae": ae, "ack": late["seq"], "body": text("late")})
	if kept, _ := b.subscribe(obj{"slots": 5, "lease": lease})["kept"].([]any); len(kept) > 0 {
		t.Errorf("the lease has kept %v", kept)
	}
	for {
		a := b.push("assigned")
		if a["session"] != id {
			continue
		}
		if num(a["ae"]) <= int(r.Epoch)<<20 || num(a["ae"]) >= 1<<53 {
			t.Errorf("ae %v follows %v in epoch %d", a["ae"], ae, r.Epoch)
		}
		b.ask("reply", obj{"session": id, "ae": a["ae"], "body": text("I am back")})
		break
	}
	sue = login(t, n, token.Claims{Sub: "sue", Role: wire.RoleSupervisor})
	sue.refused("version_conflict", "attributes", obj{"session": id, "if_v": late2["v"], "patch": obj{"a": 3}})
	// A cursor of a place that never was in the new cluster hides nothing that follows.
	sue.ask("watch", obj{"scope": obj{}, "from": cursor})
	for {
		if m := sue.push("message"); bodyText(m) == "I am back" {
			break
		}
	}
}

// TestBackupOfACluster takes one of three nodes that hold a third of the leaders each, asked at each of them, and makes another cluster of it.
func TestBackupOfACluster(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	for _, name := range []string{"a", "b", "c"} {
		w.start(name)
	}
	ids := map[string]string{}
	for i := range 8 {
		who := fmt.Sprintf("c%d", i)
		ids[who] = talk(t, w.nodes["a"], w.nodes["b"], who)
	}
	d := backup.Open(t.TempDir(), nil)
	asked := 0
	b := &books{last: map[string]int{}, said: map[string]map[int]string{}}
	quiet := make(chan struct{})
	wg := chatter(t, w.nodes["b"], b, 4, "load", quiet)
	var src *noted
	for _, name := range []string{"a", "b", "c"} {
		at := operatorOf(t, w.nodes[name])
		at.Client = &http.Client{Timeout: time.Minute, Transport: through(func(r *http.Request) {
			if strings.Count(r.URL.Path, "/") > 6 { // a page
				asked++
			}
		})}
		src = &noted{Source: at, books: b}
		m := take(t, d, src)
		if m.Shards != 4 || m.Total().Rows == 0 || len(m.Keys) == 0 || len(m.Cluster) == 0 || !strings.HasPrefix(m.From, "cluster ") {
			t.Fatalf("asked at %s: %+v", name, m)
		}
		for key, row := range m.Cluster {
			if strings.Contains(string(row), "secret") {
				t.Errorf("row %s tells a secret", key)
			}
		}
	}
	close(quiet)
	wg.Wait()
	if asked < 12 {
		t.Errorf("%d pages of 4 shards were read three times", asked)
	}
	talk(t, w.nodes["b"], w.nodes["c"], "late")
	for _, name := range []string{"c", "b", "a"} {
		w.stop(name)
	}
	before, err := d.Backup("")
	if err != nil {
		t.Fatal(err)
	}
	// One disk that is left is enough.
	left := backup.Open(t.TempDir(), nil)
	m, err := node.BackupStopped(t.Context(), left, w.dirs["a"], "test", node.Taking{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Total().Rows <= before.Total().Rows || string(m.Keys) != string(before.Keys) || !strings.Contains(m.From, "member") {
		t.Errorf("of a stopped member: %+v", m)
	}
	lone, _ := restore(t, left, "")
	n := start(t, lone)
	for who, id := range ids {
		c := login(t, n, customerOf(who))
		if h := c.ask("history", obj{"session": id, "limit": 100}); len(h["entries"].([]any)) < 3 {
			t.Fatalf("the words of %s are not on the disk that is left: %v", who, h)
		}
		_ = c.ws.Close()
	}
	stop(t, n)
	dir, r := restore(t, d, "")

	// It begins as the cluster of one, at the address of the old one, and grows.
	next := newTown(t)
	next.dirs["x"], next.addrs["x"] = dir, w.addrs["a"]
	x := next.start("x")
	for i := range 4 { // what was acknowledged before the last backup is there
		c := login(t, x, customerOf(fmt.Sprintf("load%d", i)))
		id := c.open(obj{})
		last := src.last[id]
		h := c.ask("history", obj{"session": id, "after": max(last-1, 0), "limit": 1})
		if e := h["entries"].([]any); last == 0 || len(e) != 1 || bodyText(e[0].(obj)) != b.said[id][last] {
			t.Fatalf("session %s has not its entry %d, %q: %v", id, last, b.said[id][last], h)
		}
		_ = c.ws.Close()
	}
	for who, id := range ids {
		c := login(t, x, customerOf(who))
		if h := c.ask("history", obj{"session": id, "limit": 100}); len(h["entries"].([]any)) < 3 {
			t.Fatalf("the words of %s are gone: %v", who, h)
		}
		_ = c.ws.Close()
	}
	// Who was left behind of the old cluster is a stranger.
	old := node.Config{
		Data: w.dirs["b"], Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 4, Name: "b",
		Cluster: node.Cluster{Listen: w.addrs["b"], Join: []string{w.addrs["a"]}},
	}
	if n, err := node.Start(old); err == nil {
		stop(t, n)
		t.Error("a node of the old cluster got into the new one")
	}
	next.start("y")
	z := next.start("z")
	id := talk(t, next.nodes["y"], z, "c0")
	if id != ids["c0"] {
		t.Errorf("c0 was in session %s, and is in %s", ids["c0"], id)
	}
	c := login(t, z, customerOf("c0"))
	if s := c.ask("send", obj{"session": id, "body": text("on")}); num(s["epoch"]) != int(r.Epoch) {
		t.Errorf("it goes on as %v", s)
	}
	_ = c.ws.Close()
	for _, name := range []string{"z", "y", "x"} {
		next.stop(name)
	}
}

// TestBackupOfPlacements: who lives in a placement lives there in the cluster that comes of the backup.
func TestBackupOfPlacements(t *testing.T) {
	once(t)
	t.Parallel()
	w := newTown(t)
	region := func(name string) func(*node.Config) {
		return func(c *node.Config) { c.Cluster.Labels = map[string]string{"region": name} }
	}
	haus := func(c *node.Config) {
		c.Tenants = map[string]node.Tenant{"haus": {Queues: []node.Queue{{Name: "default"}}, Placement: "eu"}}
	}
	w.dirs["a"], w.addrs["a"] = t.TempDir(), free(t)
	keys := `{"version":1,"tenants":{"demo":{"keys":[{"kid":"demo-1","secret":"a secret of thirty-two bytes: demo"}]},"haus":{"keys":[{"kid":"haus-1","secret":"a secret of thirty-two bytes: haus"}]}}}`
	if err := os.WriteFile(filepath.Join(w.dirs["a"], "keys.json"), []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	w.start("a", region("eu"))
	op := member.At(w.addrs["a"], member.Seat{Name: "ann", Plain: true})
	if _, err := op.Place(t.Context(), "ann", &cluster.Placement{Name: "eu", Copies: 1, Require: map[string]string{"region": "eu"}}, 2, false); err != nil {
		t.Fatal(err)
	}
	w.stop("a")
	a := w.start("a", region("eu"), haus)
	ann := customerOf("ann")
	ann.Tenant = "haus"
	c := login(t, a, ann)
	id := c.open(obj{})
	c.ask("send", obj{"session": id, "body": text("of the house")})
	others := map[string]string{}
	for i := range 8 {
		who := fmt.Sprintf("bob%d", i)
		others[who] = talk(t, a, a, who)
	}
	// While a shard is split there is no backup, and afterwards one of both halves.
	d := backup.Open(t.TempDir(), nil)
	split, err := op.Split(t.Context(), "ann", 0, "", "a test", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operatorOf(t, a).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "is being split") {
		t.Fatalf("a backup of a shard that is being split: %v", err)
	}
	over(t, op, split.To)
	if m := take(t, d, operatorOf(t, a)); m.Shards != 7 {
		t.Fatalf("a backup of %d shards", m.Shards)
	}
	w.stop("a")
	dir, r := restore(t, d, "")
	if _, err := node.Start(node.Config{Data: dir, Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 7}); err == nil || !strings.Contains(err.Error(), "cluster.listen") {
		t.Fatalf("alone: %v", err)
	}
	next := newTown(t)
	next.dirs["x"], next.addrs["x"] = dir, free(t)
	x := next.start("x", region("us"), haus, func(c *node.Config) { c.Shards = 7 })
	for round := range 2 {
		c = login(t, x, ann)
		if got := c.open(obj{}); got != id {
			t.Fatalf("session %s of haus is %s", id, got)
		}
		h := c.ask("history", obj{"session": id, "limit": 100})
		if !slices.ContainsFunc(h["entries"].([]any), func(e any) bool { return bodyText(e.(obj)) == "of the house" }) {
			t.Fatalf("session %s has %v", id, h)
		}
		if s := c.ask("send", obj{"session": id, "body": text("on")}); num(s["epoch"]) != int(r.Epoch) {
			t.Fatalf("it goes on as %v", s)
		}
		for who, id := range others {
			bob := login(t, x, customerOf(who))
			if o := bob.ask("open", obj{"from": obj{"epoch": 1, "seq": 2}}); o["session"] != id || o["how"] != "exact" {
				t.Fatalf("session %s of %s is %v", id, who, o)
			}
			if o := bob.ask("open", obj{"session": id, "from": obj{"epoch": 1, "seq": 99}}); o["how"] != "truncated" {
				t.Fatalf("session %s, at what was lost: %v", id, o)
			}
			if s := bob.ask("send", obj{"session": id, "body": text("on")}); num(s["epoch"]) < int(r.Epoch) {
				t.Fatalf("it goes on as %v", s)
			}
			_ = bob.ws.Close()
		}
		if round == 0 { // and it is split once more
			splits(t, member.At(next.addrs["x"], member.Seat{Name: "ann", Plain: true}), 1)
		}
		next.stop("x")
		x = next.start("x", region("us"), haus, func(c *node.Config) { c.Shards = 7 })
	}
	next.stop("x")
}

// through lets somebody see what is asked.
type through func(*http.Request)

func (f through) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return http.DefaultTransport.RoundTrip(r)
}

func TestBackupRefuses(t *testing.T) {
	n := start(t, t.TempDir())
	defer stop(t, n)
	talk(t, n, n, "ann")
	d := backup.Open(t.TempDir(), nil)
	for _, c := range []token.Claims{
		{Sub: "sue", Role: wire.RoleSupervisor},
		{Sub: "ann", Role: wire.RoleCustomer},
		{Sub: "op", Role: wire.RoleOperator, Shop: "s1"},
	} {
		src := operatorOf(t, n)
		src.Token = mint(t, n, c)
		_, err := node.TakeBackup(t.Context(), d, src, node.Taking{Final: node.FinalAnswer})
		var no *node.Refused
		if !errors.As(err, &no) || no.Status != http.StatusForbidden {
			t.Errorf("a backup for %+v: %v", c, err)
		}
	}
	if all, _, err := d.Backups(); err != nil || len(all) > 0 {
		t.Fatalf("there are %d backups, %v", len(all), err)
	}
	src := operatorOf(t, n)
	o, err := src.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := o.Parts[0]
	f := func(want int, change func(p *node.FrozenPart) int) {
		t.Helper()
		q := p
		_, err := src.Page(t.Context(), &q, change(&q))
		var no *node.Refused
		if !errors.As(err, &no) || no.Status != want {
			t.Errorf("a page of %+v: %v; want %d", q, err, want)
		}
	}
	f(http.StatusBadRequest, func(p *node.FrozenPart) int { p.Node = 7; return 0 })
	f(http.StatusGone, func(p *node.FrozenPart) int { p.Handle = "guess"; return 0 })
	f(http.StatusNotFound, func(p *node.FrozenPart) int { p.Group = 1 << 20; return 0 })
	f(http.StatusServiceUnavailable, func(p *node.FrozenPart) int { p.Group = 4000; return 0 })
	f(http.StatusBadRequest, func(*node.FrozenPart) int { return 1 })
	f(http.StatusNotFound, func(*node.FrozenPart) int { return -1 })
	// A page that was lost on its way is read again.
	for _, p := range o.Parts {
		one, err := src.Page(t.Context(), &p, 0)
		two, err2 := src.Page(t.Context(), &p, 0)
		if err != nil || err2 != nil || string(one.Rows) != string(two.Rows) || one.More != two.More {
			t.Errorf("page 0 of shard %d: %v and %v", p.Group, err, err2)
		}
	}
	if err := src.Touch(t.Context(), &p); err != nil {
		t.Error(err)
	}
	// Who begins many takes the place of who was here first.
	for range 20 {
		if _, err := src.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f(http.StatusGone, func(*node.FrozenPart) int { return 0 })
	if err := src.Close(t.Context(), o, false); err != nil {
		t.Error(err)
	}
}

// ending is a source that fails after some pages.
type ending struct {
	node.Source
	pages int
	end   func()
}

func (s *ending) Page(ctx context.Context, p *node.FrozenPart, n int) (*node.Page, error) {
	if s.pages--; s.pages == 0 {
		s.end()
	}
	return s.Source.Page(ctx, p, n)
}

// TestBackupEnds: the node ends in the middle, or who takes the backup does. There is no backup then, and the next one is whole.
func TestBackupEnds(t *testing.T) {
	dir, at := t.TempDir(), filepath.Join(t.TempDir(), "b")
	n := start(t, dir)
	talk(t, n, n, "ann")
	d := backup.Open(at, nil)
	src := &ending{Source: operatorOf(t, n), pages: 3, end: func() { stop(t, n) }}
	if _, err := node.TakeBackup(t.Context(), d, src, node.Taking{Patience: time.Nanosecond}); err == nil {
		t.Fatal("the node ended, and the backup did not")
	}
	n = start(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	src = &ending{Source: operatorOf(t, n), pages: 3, end: cancel}
	if _, err := node.TakeBackup(ctx, d, src, node.Taking{Final: node.FinalAnswer}); !errors.Is(err, context.Canceled) {
		t.Fatalf("it was ended: %v", err)
	}
	if all, broken, err := d.Backups(); err != nil || len(all)+len(broken) > 0 {
		t.Fatalf("there are %d backups, %v", len(all)+len(broken), err)
	}
	if packs, err := os.ReadDir(filepath.Join(at, "packs")); err != nil || len(packs) > 0 {
		t.Fatalf("%d packs are left, %v", len(packs), err)
	}
	m := take(t, d, operatorOf(t, n))
	stop(t, n)
	// The stopped node has the same rows, and nothing new for the second time.
	var same *backup.Manifest
	for range 2 {
		var err error
		if same, err = node.BackupStopped(t.Context(), d, dir, "test", node.Taking{}); err != nil {
			t.Fatal(err)
		}
	}
	if same.Total().Rows != m.Total().Rows || same.Stored != 0 || string(same.Keys) != string(m.Keys) {
		t.Fatalf("running %+v, stopped %+v", m, same)
	}
}

// TestRestoreEnds: a backup that is damaged, or a restore that does not end, leaves no directory that a node would start in.
func TestRestoreEnds(t *testing.T) {
	n := start(t, t.TempDir())
	for i := range 4 {
		talk(t, n, n, fmt.Sprintf("ann%d", i))
	}
	at := t.TempDir()
	d := backup.Open(at, nil)
	m := take(t, d, operatorOf(t, n))
	stop(t, n)
	packs, err := filepath.Glob(filepath.Join(at, "packs", "*-3.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("%q, %v", packs, err)
	}
	was, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte(nil), was...)
	bad[len(bad)-5] ^= 1
	if err := os.WriteFile(packs[0], bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Verify(m, func(int, error) {}); !errors.Is(err, backup.ErrDamaged) {
		t.Fatalf("a damaged backup: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "deep", "new")
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Restore(t.Context(), d, m, dir, time.Now(), nil); !errors.Is(err, backup.ErrDamaged) {
		t.Fatalf("it was restored: %v", err)
	}
	cfg := node.Config{Data: dir, Listen: "127.0.0.1:0", Dev: true, FreeMin: -1, Shards: 4}
	for _, c := range []node.Cluster{{}, {Listen: "127.0.0.1:0"}, {Listen: "127.0.0.1:0", Join: []string{"127.0.0.1:1"}}} {
		cfg.Cluster = c
		if n, err := node.Start(cfg); err == nil || !strings.Contains(err.Error(), "restore") {
			if err == nil {
				stop(t, n)
			}
			t.Fatalf("half a restore was started: %v", err)
		}
	}
	if _, err := node.Shards(dir); err == nil {
		t.Error("half a restore was looked at")
	}
	if err := os.WriteFile(packs[0], was, 0o600); err != nil {
		t.Fatal(err)
	}
	// Not over what somebody has put there, and not while another one runs.
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Restore(t.Context(), d, m, dir, time.Now(), nil); err == nil || !strings.Contains(err.Error(), "mine") {
		t.Fatalf("over a file of somebody's: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "mine")); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Restore(t.Context(), d, m, dir, time.Now(), func(shard int) {
		if shard == 0 {
			if _, err := node.Restore(t.Context(), d, m, dir, time.Now(), nil); err == nil {
				t.Error("two restores into one directory")
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Restore(t.Context(), d, m, dir, time.Now(), nil); err == nil || !strings.Contains(err.Error(), "empty directory") {
		t.Fatalf("over a node's directory: %v", err)
	}
	n = start(t, dir)
	talk(t, n, n, "ann1")
	stop(t, n)
}

// TestRestoredTwice: two restores of one backup are two lines of history, and each knows the positions of the other as none of its own.
func TestRestoredTwice(t *testing.T) {
	n := start(t, t.TempDir())
	c := login(t, n, customerOf("ann"))
	id := c.open(obj{})
	c.ask("send", obj{"session": id, "body": text("one")})
	d := backup.Open(t.TempDir(), nil)
	m := take(t, d, operatorOf(t, n))
	stop(t, n)
	var pos obj
	for i := range 2 {
		dir := filepath.Join(t.TempDir(), "new")
		r, err := node.Restore(t.Context(), d, m, dir, time.Now().Add(time.Duration(i)*time.Minute), nil)
		if err != nil {
			t.Fatal(err)
		}
		n := start(t, dir)
		c := login(t, n, customerOf("ann"))
		if i == 1 {
			if o := c.ask("open", obj{"session": id, "from": pos}); o["how"] != "truncated" {
				t.Errorf("a position of the other restore: %v", o)
			}
		}
		var s obj
		for k := range 5 {
			s = c.ask("send", obj{"session": id, "body": text(fmt.Sprint(i, k))})
		}
		if num(s["epoch"]) != int(r.Epoch) {
			t.Errorf("%v in epoch %d", s, r.Epoch)
		}
		pos = obj{"epoch": s["epoch"], "seq": s["seq"]}
		if i == 1 {
			// And of this one.
			if o := c.ask("open", obj{"session": id, "from": pos}); o["how"] != "exact" {
				t.Errorf("a position of its own: %v", o)
			}
		}
		stop(t, n)
	}
}
