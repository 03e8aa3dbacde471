package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
)

// TestMain looks for goroutines that were left behind. Pebble leaves one of its own when it refuses to open a damaged
// store, which many tests here make it do; that a journal that did open leaves none is TestAfterClose's to say.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(
		"github.com/cockroachdb/pebble/v2.(*ConcurrencyLimitScheduler).periodicGranter"))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// config is a small journal on fs that never refuses for space and fails the test on a fail-stop.
func config(t testing.TB, fs vfs.FS, groups int) Config {
	return Config{
		Dir: "/a/b/journal", FS: fs, Groups: groups, FreeMin: -1, CacheBytes: 1 << 20, Log: quiet,
		Fatal: func(err error) { t.Errorf("fail-stop: %v", err) },
	}
}

func open(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return j
}

// owner waits for a group's durable index, the way a shard's owner does.
type owner struct {
	g    *Group
	mu   sync.Mutex
	cond *sync.Cond
	upTo uint64
	err  error
	told int
}

func own(g *Group) *owner {
	o := &owner{g: g}
	o.cond = sync.NewCond(&o.mu)
	g.Start(func(index uint64, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.upTo, o.err = index, err
		o.told++
		o.cond.Broadcast()
	})
	return o
}

func (o *owner) wait(index uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.upTo < index && o.err == nil {
		o.cond.Wait()
	}
	return o.err
}

func (o *owner) durable() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.upTo
}

func key(i uint64) []byte { return fmt.Appendf(nil, "k%08d", i) }
func val(i uint64) []byte { return fmt.Appendf(nil, "v%08d-%d", i, i*7919) }

// append1 appends a turn whose row tells its own index.
func append1(t testing.TB, g *Group) uint64 {
	t.Helper()
	var turn Turn
	next := g.Last() + 1
	turn.Put(key(next), val(next))
	index, err := g.Append(&turn)
	if err != nil {
		t.Fatal(err)
	}
	if index != next {
		t.Fatalf("Append = %d; want %d", index, next)
	}
	return index
}

func appendMany(t testing.TB, o *owner, n int) {
	t.Helper()
	var last uint64
	for range n {
		last = append1(t, o.g)
	}
	if err := o.wait(last); err != nil {
		t.Fatal(err)
	}
}

// wantRows checks that exactly the rows of the indexes from..to are there.
func wantRows(t testing.TB, g *Group, from, to uint64) {
	t.Helper()
	next := from
	err := g.Scan(nil, nil, false, func(k, v []byte) bool {
		if string(k) != string(key(next)) || string(v) != string(val(next)) {
			t.Fatalf("group %d: row %s=%s; want index %d", g.id, k, v, next)
		}
		next++
		return true
	})
	if err != nil || next != to+1 {
		t.Fatalf("group %d: rows up to %d, %v; want %d", g.id, next-1, err, to)
	}
}

func TestAppendAndReopen(t *testing.T) {
	fs := vfs.NewMem()
	const groups = 3
	for round := range uint64(3) {
		j := open(t, config(t, fs, groups))
		for id := range groups {
			g := j.Group(id)
			if g.Last() != round*100 || g.Applied() != round*100 || g.Term() != round+2 || g.Epoch() != 0 {
				t.Fatalf("round %d: last %d, applied %d, term %d, epoch %d", round, g.Last(), g.Applied(), g.Term(), g.Epoch())
			}
			appendMany(t, own(g), 100)
			wantRows(t, g, 1, round*100+100)
		}
		if err := j.Healthy(); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRows(t *testing.T) {
	j := open(t, config(t, vfs.NewMem(), 2))
	g, other := j.Group(0), j.Group(1)
	o := own(g)
	appendMany(t, own(other), 1)
	var turn Turn
	do := func(fill func()) {
		t.Helper()
		turn.Reset()
		fill()
		index, err := g.Append(&turn)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.wait(index); err != nil {
			t.Fatal(err)
		}
	}
	want := func(from, to string, reverse bool, rows string) {
		t.Helper()
		var got string
		if err := g.Scan([]byte(from), []byte(to), reverse, func(k, v []byte) bool {
			got += string(k) + string(v) + " "
			return len(got) < 12
		}); err != nil {
			t.Fatal(err)
		}
		if got != rows {
			t.Fatalf("Scan(%q, %q, %v) = %q; want %q", from, to, reverse, got, rows)
		}
	}
	do(func() {
		for _, k := range []string{"a", "b", "c", "d"} {
			turn.Put([]byte(k), []byte("1"))
		}
	})
	want("", "", false, "a1 b1 c1 d1 ")
	want("", "", true, "d1 c1 b1 a1 ")
	want("b", "d", false, "b1 c1 ")
	do(func() { turn.Delete([]byte("b")); turn.Put([]byte("a"), nil) })
	want("", "", false, "a c1 d1 ")
	do(func() { turn.DeleteRange([]byte("d"), []byte("a")) }) // the wrong way round removes nothing
	want("", "", false, "a c1 d1 ")
	do(func() { turn.DeleteRange([]byte("c"), nil); turn.Put([]byte("e"), []byte("2")) })
	want("", "", false, "a e2 ")
	do(func() { turn.DeleteRange(nil, nil) })
	want("", "", false, "")
	wantRows(t, other, 1, 1)

	if _, err := g.Get([]byte("a"), nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Get of a deleted row = %v", err)
	}
	if v, err := other.Get(key(1), []byte("x")); err != nil || string(v) != "x"+string(val(1)) {
		t.Fatalf("Get = %q, %v", v, err)
	}
	turn.Reset()
	turn.Put(nil, nil)
	if _, err := g.Append(&turn); err == nil {
		t.Fatal("an empty key was taken")
	}
	turn.Reset()
	turn.Put([]byte("k"), make([]byte, turnSizeMax))
	if _, err := g.Append(&turn); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("Append of too much = %v", err)
	}
}

func TestEmptyTurnKeepsItsPlace(t *testing.T) {
	j := open(t, config(t, vfs.NewMem(), 1))
	g := j.Group(0)
	o := own(g)
	append1(t, g)
	index, err := g.Append(&Turn{})
	if err != nil || index != 1 {
		t.Fatalf("Append of an empty turn = %d, %v; want 1", index, err)
	}
	if err := o.wait(index); err != nil {
		t.Fatal(err)
	}
	if g.Last() != 1 {
		t.Fatalf("Last = %d", g.Last())
	}
	// Alone in the queue it is reported too, and costs no sync.
	before, told := j.Metrics(), func() int { o.mu.Lock(); defer o.mu.Unlock(); return o.told }()
	if _, err := g.Append(&Turn{}); err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	for o.told == told {
		o.cond.Wait()
	}
	o.mu.Unlock()
	if after := j.Metrics(); after.Commits == before.Commits && told == 1 || after.Syncs != before.Syncs {
		t.Fatalf("before %+v, after %+v", before, after)
	}
}

func TestAfterClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	j := open(t, config(t, vfs.NewMem(), 1))
	g := j.Group(0)
	appendMany(t, own(g), 1)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Append(&Turn{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Append = %v", err)
	}
	if _, err := g.Get(key(1), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Get = %v", err)
	}
	if err := g.Scan(nil, nil, false, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Scan = %v", err)
	}
	if err := j.AcceptLoss(0); !errors.Is(err, ErrClosed) {
		t.Errorf("AcceptLoss = %v", err)
	}
	if err := j.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

func TestInUse(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, fs, 1)
			cfg.Dir = t.TempDir()
			open(t, cfg)
			if j, err := Open(cfg); !errors.Is(err, ErrInUse) {
				t.Fatalf("second Open = %v, %v", j, err)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(t, fs, 1)
	j := open(t, cfg)
	appendMany(t, own(j.Group(0)), 1)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	name := fs.PathJoin(cfg.Dir, formatName)
	write := func(s string) {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, s); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []string{formatLine(formatVersion + 1), formatLine(1), "switchboard journal 2 00000000\n", "", "hello"} {
		write(s)
		if _, err := Open(cfg); !errors.Is(err, ErrFormat) {
			t.Errorf("Open with %q = %v", s, err)
		}
	}
	if err := fs.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "there is data; put it back from a copy, or restore") {
		t.Errorf("Open without FORMAT = %v", err)
	}
	write(formatLine(formatVersion))
	fewer := cfg
	if open(t, cfg).Group(0).Last() != 1 {
		t.Error("the journal was changed by a refused Open")
	}
	fewer.Groups = groupsMax + 1
	if _, err := Open(fewer); err == nil {
		t.Error("too many groups were taken")
	}
}
