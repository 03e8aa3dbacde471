package shard_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// A split of shard 0, as the map has it step by step: shard 1 takes two lots of slots. In odd steps a lot is on its way; in the last what they
// have left is taken off.
const lastStep = 5

// lots are the slots that go, by lot.
func lot(n int) (list []wire.Slot) {
	for s := 2*n + 1; s < wire.Slots; s += 4 {
		list = append(list, wire.Slot(s))
	}
	return list
}

// siteOf says what a shard has in a step.
func siteOf(id, step int) shard.Config {
	cfg := shard.Config{ID: id, Shape: uint64(step + 1), Peers: []wire.Slot{wire.ShardSlot(0), wire.ShardSlot(1)}, Tenants: tenants(0)}
	cfg.Tenants["demo"].Session.WrapUpMS = 600_000 // humans have them
	gone := map[wire.Slot]bool{}
	for n := range 2 {
		for _, s := range lot(n) {
			gone[s] = step > 2*n
			if id == 1 && step >= 2*n+2 {
				cfg.Slots = append(cfg.Slots, s)
			}
		}
		if id == 0 && step == 2*n+1 {
			cfg.Leaving = &shard.Leaving{To: 1, Slots: lot(n)}
		}
	}
	if id == 0 && step == lastStep {
		cfg.Clean = cfg.Shape
	}
	for s := range wire.Slot(wire.Slots) {
		if id == 0 && !gone[s] {
			cfg.Slots = append(cfg.Slots, s)
		}
	}
	return cfg
}

// move is a node on which shard 0 is split.
type move struct {
	*node
	step int
}

func moveOn(t *testing.T, fs vfs.FS, step int) *move {
	t.Helper()
	j, err := journal.Open(journal.Config{Dir: "j", FS: fs, Groups: 2, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	m := &move{&node{t: t, x: exchange.New(1), j: j, shards: make([]*shard.Shard, 2)}, step}
	m.again(0, 1)
	return m
}

// again opens shards as the step has them; those that are open are closed before.
func (m *move) again(ids ...int) {
	m.t.Helper()
	for _, id := range ids {
		cfg := siteOf(id, m.step)
		if s := m.shards[id]; s != nil {
			s.Close()
			cfg.Opening = m.opened()
		}
		s, err := shard.Open(m.x, m.j.Group(id), cfg)
		if err != nil {
			m.t.Fatal(err)
		}
		m.shards[id] = s
	}
}

var openings uint16

func (m *move) opened() uint16 { openings++; return openings }

// until waits until shard id stands in the present step, and in an odd one until the slots have left, or nothing of them is left.
func (m *move) until(id int) {
	m.t.Helper()
	if !happens(20*time.Second, func() bool {
		st := m.shards[id].Standing()
		return st.Shape == uint64(m.step+1) &&
			(id != 0 || m.step%2 == 0 || m.step < lastStep && st.Left == st.Shape || m.step == lastStep && st.Cleaned == st.Shape)
	}) {
		m.t.Fatalf("shard %d does not come to stand in step %d", id, m.step)
	}
}

// finish takes the split to its end, calling between before every step.
func (m *move) finish(between func(step int)) {
	m.t.Helper()
	for {
		if m.step%2 == 1 {
			m.until(0)
		}
		between(m.step)
		if m.step == lastStep {
			return
		}
		m.step++
		m.again(1 - m.step%2) // shard 0 when slots leave it, shard 1 when they are its
	}
}

// cuts takes copies of a disk at random syncs, as they are left when the power fails, with the step of that moment and how much had been
// acknowledged.
type cuts struct {
	fs  *vfs.MemFS
	mu  sync.Mutex
	rng *rand.Rand
	// Guarded by mu.
	step, words int
	list        []cutAt
}

type cutAt struct {
	fs          *vfs.MemFS
	step, words int
}

func (c *cuts) String() string { return "power cuts" }

func (c *cuts) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.rng.IntN(3) == 0 && len(c.list) < 60 {
			at := cutAt{step: c.step, words: c.words}
			at.fs = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 100}[c.rng.IntN(3)], RNG: c.rng})
			c.list = append(c.list, at)
		}
	}
	return nil
}

// Power fails at any sync while slots move. Whoever goes on from what is left, in the step that the map has by then, ends the split with every
// word that was acknowledged, once and in order, and with every key.
func TestGiveSurvivesPowerCuts(t *testing.T) {
	const people = 12
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number
	defer func() {
		if t.Failed() {
			t.Log("seed", seed)
		}
	}()
	c := &cuts{fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, 1))}
	m := moveOn(t, errorfs.Wrap(c.fs, c), 0)
	var ids [people]wire.SessionID
	var said []word
	talk := func(m *move, step int, ids *[people]wire.SessionID, note bool) {
		for i := range people {
			who := m.conn(customer(fmt.Sprint("c", i)))
			id := who.open(&wirepb.Open{})
			if ids[i] != "" && ids[i] != id {
				t.Fatalf("c%d has the session %s, and had %s", i, id, ids[i])
			}
			ids[i] = id
			key := fmt.Sprintf("step %d", step)
			who.send(id, key, key)
			w := who.next(wire.FrameWrote)
			if note {
				c.mu.Lock()
				said = append(said, word{session: id, seq: w.Seq, key: key})
				c.words = len(said)
				c.mu.Unlock()
			}
		}
	}
	m.finish(func(step int) {
		if step%2 == 0 { // else some wait
			talk(m, step, &ids, true)
		}
		c.mu.Lock()
		c.step = min(step+1, lastStep) // decided before anybody acts on it
		c.mu.Unlock()
	})
	m.stop()
	if len(c.list) < 20 {
		t.Fatalf("only %d power cuts", len(c.list))
	}
	for n, at := range c.list {
		m := moveOn(t, at.fs, at.step)
		m.finish(func(int) {})
		var had [people]wire.SessionID // a session of which nothing was acknowledged may be gone, and another one begin
		for _, w := range said[:at.words] {
			i := slices.Index(ids[:], w.session)
			had[i] = w.session
			who := m.conn(customer("looker"))
			who.who = customer(fmt.Sprint("c", i))
			who.open(&wirepb.Open{Session: string(w.session)})
			who.send(w.session, w.key, w.key)
			if again := who.next(wire.FrameWrote); again.Seq != w.seq || !again.Duplicate {
				t.Fatalf("cut %d in step %d: %s of %s is at %d, duplicate %v; it was at %d", n, at.step, w.key, w.session, again.Seq, again.Duplicate, w.seq)
			}
		}
		talk(m, 9, &had, false)
		m.stop()
		checkLogs(t, n, at.fs, had[:])
	}
}

// checkLogs reads every session from where it is by now, and from nowhere else.
func checkLogs(t *testing.T, n int, fs vfs.FS, ids []wire.SessionID) {
	t.Helper()
	j, err := journal.Open(journal.Config{Dir: "j", FS: fs, Groups: 2, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, id := range ids {
		at := 0
		if slotOf(id)%2 == 1 {
			at = 1
		}
		seen := map[string]bool{}
		if err := shard.ReadLog(j.Group(at), id, func(e *wire.Entry) error {
			if s := string(e.Body); e.Kind == wire.KindMessage && seen[s] {
				t.Errorf("cut %d: %s twice in %s", n, s, id)
			} else {
				seen[s] = true
			}
			return nil
		}); err != nil {
			t.Fatalf("cut %d: %v", n, err)
		}
		if err := shard.ReadLog(j.Group(1-at), id, func(*wire.Entry) error { return nil }); err == nil {
			t.Fatalf("cut %d: session %s is in two shards", n, id)
		}
	}
	if rows := shard.RowsOf(j.Group(0), func(slot int) bool { return slot%2 == 1 }); rows != 0 {
		t.Fatalf("cut %d: %d rows of slots that have left are on the disk of shard 0", n, rows)
	}
	if rows := shard.RowsOf(j.Group(0), func(slot int) bool { return slot%2 == 0 }); rows == 0 {
		t.Fatalf("cut %d: shard 0 has no rows", n)
	}
	count := 0
	for g := range 2 {
		if err := shard.ReadSessions(j.Group(g), func(string, wire.SessionID) error { count++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if count != len(ids) {
		t.Fatalf("cut %d: %d sessions; want %d", n, count, len(ids))
	}
}

// Nobody opens a shard by an older map than it was opened by: what it has by that it may have given away.
func TestOldMap(t *testing.T) {
	fs := vfs.NewMem()
	m := moveOn(t, fs, 1)
	m.until(0)
	m.step = 2
	m.again(1)
	m.until(1)
	m.stop()
	j, err := journal.Open(journal.Config{Dir: "j", FS: fs, Groups: 2, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	for _, f := range []struct{ id, step int }{{0, 0}, {1, 1}} {
		if s, err := shard.Open(exchange.New(1), j.Group(f.id), siteOf(f.id, f.step)); !errors.Is(err, shard.ErrOldMap) {
			if err == nil {
				s.Close()
			}
			t.Fatalf("shard %d is opened by the map of step %d: %v", f.id, f.step, err)
		}
	}
}

// The second copy of a parcel, one that is late, one of garbage and an answer of an earlier opening change nothing.
func TestParcels(t *testing.T) {
	m := moveOn(t, vfs.NewMem(), 1)
	defer m.stop()
	m.until(0)
	who := &taps{}
	m.x.PlugSlots([]wire.Slot{wire.ShardSlot(7)}, who)
	send := func(p *wire.Parcel) {
		t.Helper()
		p.Reply = wire.ToSlot(wire.ShardSlot(7))
		if err := m.x.Post(wire.Envelope{To: wire.ToSlot(wire.ShardSlot(1)), Mail: p}); err != nil {
			t.Fatal(err)
		}
	}
	row := []byte{2, 'k', 'x', 1, 'v'}
	send(&wire.Parcel{Shape: 2, N: 1, Term: 9, Epoch: 1, Rows: row})
	send(&wire.Parcel{Shape: 2, N: 1, Term: 9, Epoch: 1, Rows: row})
	send(&wire.Parcel{Shape: 1, N: 2, Term: 9, Epoch: 1, Rows: []byte{2, 'k', 'z', 1, 'v'}})                 // of slots that are there by now
	send(&wire.Parcel{Shape: 2, N: 3, Term: 9, Epoch: 1, Rows: []byte{200, 1, 2}})                           // garbage
	send(&wire.Parcel{Shape: 2, N: 4, Term: 9, Epoch: 1, Rows: []byte{1, 'p', 1, 0}})                        // a row that no slot has
	send(&wire.Parcel{Shape: 2, N: 5, Term: 9, Epoch: 1, Rows: append([]byte{2, 'k', 'y', 1, 'v'}, 3, 'k')}) // cut short
	send(&wire.Parcel{Shape: 2, N: 6, Term: 9 << 16, Epoch: 5, Rows: nil})                                   // the last may be empty
	for n, want := range []uint64{1, 1, 2, 6} {
		if k := who.next(t); k.N != want {
			t.Fatalf("answer %d is %+v; want parcel %d", n, k, want)
		}
	}
	before := m.shards[1].Term()
	m.step = 2
	m.again(1)
	if now := m.shards[1].Term(); now>>16 < 9+before>>16 {
		t.Fatalf("the term is %d after %d: it must be above that of the parcels", now>>16, before>>16)
	}
	g := m.j.Group(1)
	if v, err := g.Get([]byte("kx"), nil); err != nil || string(v) != "v" {
		t.Fatalf("row kx is %q, %v", v, err)
	}
	for _, k := range []string{"ky", "kz"} {
		if _, err := g.Get([]byte(k), nil); !errors.Is(err, journal.ErrNotFound) {
			t.Fatalf("row %s of a parcel that is cut short, or late, is there: %v", k, err)
		}
	}
}

// taps is an inlet that keeps what comes.
type taps struct {
	mu   sync.Mutex
	list []*wire.ParcelKept
}

func (p *taps) Put(e wire.Envelope) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, e.Mail.(*wire.ParcelKept))
	return true
}

func (p *taps) next(t *testing.T) (k *wire.ParcelKept) {
	t.Helper()
	if !happens(10*time.Second, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.list) > 0 {
			k, p.list = p.list[0], p.list[1:]
		}
		return k != nil
	}) {
		t.Fatal("nobody answers")
	}
	return k
}

// A kind of rows that nobody has thought of would stay behind when its slot goes.
func TestEveryRowMovesOrStays(t *testing.T) {
	src, err := os.ReadFile("rows.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`(?m)^\trow\w+ += '(.)'`).FindAllSubmatch(src, -1)
	if len(kinds) != len(shard.RowsThatMove)+len(shard.RowsThatStay) {
		t.Errorf("%d kinds of rows; %d move and %d stay", len(kinds), len(shard.RowsThatMove), len(shard.RowsThatStay))
	}
	for _, k := range kinds {
		if moves, stays := strings.Contains(shard.RowsThatMove, string(k[1])), strings.Contains(shard.RowsThatStay, string(k[1])); moves == stays {
			t.Errorf("rows of kind %s: they move %v, and stay %v", k[1], moves, stays)
		}
	}
}
