package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// inStore reads a row past what is late.
func inStore(t *testing.T, g *Group, key string) (string, bool) {
	t.Helper()
	v, done, err := g.j.data.Get(dataKey(nil, g.id, tagRow, []byte(key)))
	if errors.Is(err, pebble.ErrNotFound) {
		return "", false
	}
	must(t, err)
	s := string(v)
	must(t, done.Close())
	return s, true
}

// TestLateSlowly pauses between two groups, and whoever reads meanwhile does not wait for that.
func TestLateSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t, vfs.NewMem(), 4)
		cfg.LateBytes = 1 << 30
		j, err := Open(cfg)
		must(t, err)
		var owners []*owner
		for g := range 4 {
			o := own(j.Group(g))
			var turn Turn
			turn.Put([]byte("a"), []byte{byte(g)})
			n, err := o.g.Append(&turn)
			must(t, err)
			must(t, o.wait(n))
			owners = append(owners, o)
		}
		there := func() (n int) {
			for _, o := range owners {
				if _, ok := inStore(t, o.g, "a"); ok {
					n++
				}
			}
			return n
		}
		done := make(chan error, 1)
		go func() { done <- j.settleSlowly() }()
		for want := 1; want <= 2; want++ {
			if want > 1 {
				time.Sleep(latePause)
			}
			synctest.Wait()
			if n := there(); n != want {
				t.Fatalf("before pause %d the store has %d of 4 groups; want %d", want, n, want)
			}
		}
		began := time.Now() // the bubble's clock
		if v, err := owners[3].g.Get([]byte("a"), nil); err != nil || string(v) != "\x03" {
			t.Fatalf("Get = %q, %v", v, err)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("who reads waits %v", d)
		}
		if n, late := there(), owners[3].g.late.Load(); n != 3 || late != 0 {
			t.Errorf("behind a read the store has %d of 4 groups, %d bytes of its own are late", n, late)
		}
		must(t, <-done)
		if n, late := there(), j.late.size.Load(); n != 4 || late != 0 {
			t.Errorf("in the end the store has %d of 4 groups, %d bytes are late", n, late)
		}
		must(t, j.Close())
	})
}

// TestLateSlowlyMakesSpares goes on with the log's next segment while rows are put into the store slowly: that may take longer than the log has until it
// needs it.
func TestLateSlowlyMakesSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups = 32
		cfg := config(t, vfs.NewMem(), groups)
		cfg.LateBytes, cfg.SegmentBytes = 1<<30, 8*128<<10 // eight pieces of a spare
		j, err := Open(cfg)
		must(t, err)
		put := func(o *owner, size int) {
			t.Helper()
			var turn Turn
			turn.Put([]byte("a"), make([]byte, size))
			n, err := o.g.Append(&turn)
			must(t, err)
			must(t, o.wait(n))
		}
		var owners []*owner
		for g := range groups {
			owners = append(owners, own(j.Group(g)))
			put(owners[g], 1)
		}
		left := func() int {
			j.late.settling.Lock()
			defer j.late.settling.Unlock()
			return len(j.late.left)
		}
		for left() == 0 { // until watch looks
			time.Sleep(latePause)
		}
		put(owners[0], int(cfg.SegmentBytes/4*3))
		before := j.log.Stats().Spares
		time.Sleep(3 * latePause) // the bubble's clock
		synctest.Wait()
		if n := j.log.Stats().Spares; before != 0 || n != 1 || left() == 0 {
			t.Errorf("%d spares, and then %d, with %d groups left; want one before all is in the store", before, n, left())
		}
		must(t, j.Close())
	})
}

// TestLate is what waits to be put into the store: it is not there, and whoever reads sees it; of operations on one key the last counts, and
// ranges are removed from what came before them only.
func TestLate(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 2)
	cfg.LateBytes = 1 << 30
	j := open(t, cfg)
	a, b := own(j.Group(0)), own(j.Group(1))
	put := func(o *owner, ops ...string) {
		t.Helper()
		var turn Turn
		for _, op := range ops {
			switch k, v, _ := strings.Cut(op, "="); {
			case strings.HasPrefix(k, "-"):
				turn.Delete([]byte(k[1:]))
			case strings.HasPrefix(k, "~"):
				turn.DeleteRange([]byte(k[1:]), []byte(v))
			default:
				turn.Put([]byte(k), []byte(v))
			}
		}
		n, err := o.g.Append(&turn)
		must(t, err)
		must(t, o.wait(n))
	}
	want := func(g *Group, rows string) {
		t.Helper()
		var got []string
		must(t, g.Scan(nil, nil, false, func(k, v []byte) bool { got = append(got, fmt.Sprintf("%s=%s", k, v)); return true }))
		if s := strings.Join(got, " "); s != rows {
			t.Fatalf("group %d has %q; want %q", g.id, s, rows)
		}
		if n := g.late.Load(); n != 0 {
			t.Fatalf("%d bytes are late behind a read", n)
		}
	}
	put(a, "c=1", "a=1")
	put(b, "a=other")
	put(a, "a=2", "b=1", "-c")
	put(a, "c=3", "-b", "b=2", "d=1")
	put(a, "-d")
	if v, ok := inStore(t, a.g, "a"); ok {
		t.Fatalf("the store has %q already", v)
	}
	if v, err := a.g.Get([]byte("a"), nil); err != nil || string(v) != "2" {
		t.Fatalf("a is %q, %v", v, err)
	}
	want(a.g, "a=2 b=2 c=3")
	want(b.g, "a=other")
	put(a, "x=1", "y=1")
	put(a, "~x=z", "y=2")
	put(a, "z=1")
	want(a.g, "a=2 b=2 c=3 y=2 z=1")
	put(a, "b=9")
	must(t, j.Close())
	again := open(t, cfg)
	want(again.Group(0), "a=2 b=9 c=3 y=2 z=1")
	want(again.Group(1), "a=other")
}

// TestLateOfOthers is that who reads a group leaves what is late of others where it is, at whatever stage that is, and that nothing is counted as late
// in the end.
func TestLateOfOthers(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 3)
	cfg.LateBytes = 1 << 30
	j := open(t, cfg)
	var owners []*owner
	for g := range 3 {
		owners = append(owners, own(j.Group(g)))
	}
	put := func(g int, v string) {
		t.Helper()
		var turn Turn
		turn.Put([]byte("a"), []byte(v))
		n, err := owners[g].g.Append(&turn)
		must(t, err)
		must(t, owners[g].wait(n))
	}
	read := func(g int, want string) {
		t.Helper()
		if v, err := owners[g].g.Get([]byte("a"), nil); err != nil || string(v) != want {
			t.Fatalf("group %d has %q, %v; want %q", g, v, err, want)
		}
	}
	stored := func(g int, want string) {
		t.Helper()
		if v, _ := inStore(t, owners[g].g, "a"); v != want {
			t.Fatalf("the store has %q of group %d; want %q", v, g, want)
		}
	}
	for g := range 3 {
		put(g, "1")
	}
	read(1, "1")
	stored(0, "")
	stored(2, "")
	j.late.settling.Lock() // somebody begins with what there is, and comes to the first group
	j.late.take()
	must(t, j.putLate(1))
	j.late.settling.Unlock()
	for g := range 3 {
		put(g, "2") // comes behind what was begun
	}
	read(2, "2")
	stored(0, "1")
	stored(1, "1")
	read(0, "2")
	stored(1, "1")
	read(1, "2")
	read(1, "2")
	if n := j.late.size.Load(); n != 0 {
		t.Fatalf("%d bytes are late, and all was read", n)
	}
	put(2, "3")
	must(t, j.settle())
	stored(2, "3")
	if all, of := j.late.size.Load(), owners[2].g.late.Load(); all != 0 || of != 0 {
		t.Fatalf("%d bytes are late, %d of the last, and all is in the store", all, of)
	}
}

// TestLateBound is that no more than a few times LateBytes wait, whether or not anybody reads.
func TestLateBound(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 1)
	cfg.LateBytes = 2000
	j := open(t, cfg)
	o := own(j.Group(0))
	most := int64(0)
	for range 50 {
		appendMany(t, o, 20)
		most = max(most, j.late.size.Load())
	}
	if room := int64(lateMost*cfg.LateBytes + 20*1000); most == 0 || most > room {
		t.Fatalf("up to %d bytes were late; want some, and at most %d", most, room)
	}
	wantRows(t, j.Group(0), 1, 1000)
}

// TestLateReaders lets many read what one writes: whoever was told that a turn is durable finds its rows.
func TestLateReaders(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 4)
	cfg.LateBytes = 3000
	j := open(t, cfg)
	var wg sync.WaitGroup
	for id := range 4 {
		o := own(j.Group(id))
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(id))) //nolint:gosec // it shall be repeatable
			for n := uint64(1); n <= 300; n++ {
				var turn Turn
				k := []byte(fmt.Sprint("k", n%7))
				turn.Put(k, fmt.Append(nil, n))
				at, err := o.g.Append(&turn)
				if err == nil {
					err = o.wait(at)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if rng.IntN(3) == 0 {
					continue
				}
				if v, err := o.g.Get(k, nil); err != nil || string(v) != fmt.Sprint(n) {
					t.Errorf("group %d: %s is %q, %v behind turn %d", id, k, v, err, n)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestLateAfterFailure is that what was decided before the log failed can be read, and stays.
func TestLateAfterFailure(t *testing.T) {
	fs, on, _ := faults(vfs.NewMem(), func(op errorfs.Op) bool { return strings.Contains(op.Path, "/log/") && isSync(op) })
	cfg := config(t, fs, 1)
	cfg.LateBytes = 1 << 30
	cfg.Fatal = func(error) {}
	j := open(t, cfg)
	o := own(j.Group(0))
	appendMany(t, o, 10)
	on.On()
	var turn Turn
	turn.Put([]byte("never"), nil)
	n, err := o.g.Append(&turn)
	must(t, err)
	if o.wait(n) == nil {
		t.Fatal("a turn was durable whose sync failed")
	}
	wantRows(t, j.Group(0), 1, 10)
	if _, err := o.g.Get([]byte("never"), nil); !errors.Is(err, ErrNotFound) {
		t.Fatalf("what was never decided: %v", err)
	}
}
