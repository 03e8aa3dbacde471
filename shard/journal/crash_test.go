package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// cutter takes a copy of the disk, as a power cut would leave it, before every sync and every directory change.
type cutter struct {
	fs     *vfs.MemFS
	owners []*owner

	mu sync.Mutex
	// Guarded by mu.
	rng   *rand.Rand
	syncs int
	cuts  []cut
}

// cut is one power cut: the disk after it, and what had been reported durable before.
type cut struct {
	fs    *vfs.MemFS
	told  []uint64
	where string
}

func isSync(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		return true
	}
	return false
}

func (c *cutter) MaybeError(op errorfs.Op) error {
	if !isSync(op) && op.Kind != errorfs.OpRename {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.syncs++; raced && c.syncs%7 != 0 {
		return nil // all of them are for the run without the detector, which has room for so many disks
	}
	x := cut{where: fmt.Sprintf("cut %d, before %v of %s", c.syncs, op.Kind, op.Path)}
	// What was reported before the copy was taken must be in the copy.
	for _, o := range c.owners {
		x.told = append(x.told, o.durable())
	}
	percent := []int{0, 0, 30, 100}[c.rng.IntN(4)]
	x.fs = c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng})
	c.cuts = append(c.cuts, x)
	return nil
}

func (c *cutter) String() string { return "power cuts" }

// TestPowerCuts cuts the power at every sync of a busy journal. Whatever was reported durable is there, once, in order,
// with its rows, and no loss is claimed where there was none.
func TestPowerCuts(t *testing.T) {
	const seed = 20260102
	t.Logf("seed %d", seed)
	const groups, turns = 3, 120
	mem := vfs.NewCrashableMem()
	c := &cutter{fs: mem, rng: rand.New(rand.NewPCG(seed, 0))}
	cfg := config(t, errorfs.Wrap(mem, c), groups)
	cfg.FenceTurns = 25
	cfg.FlushBytes = 2000 // flush and truncate all the time
	cfg.SegmentBytes = 16 << 10
	cfg.QueueTurns = 8
	for i := range 2 {
		cfg.LateBytes = []int{1, 400}[i]
		j := open(t, cfg)
		var owners []*owner
		for id := range groups {
			owners = append(owners, own(j.Group(id)))
			owners[id].upTo = j.Group(id).Applied()
		}
		c.mu.Lock()
		c.owners = owners
		c.mu.Unlock()
		var wg sync.WaitGroup
		for id := range groups {
			wg.Go(func() {
				for range turns / (id + 1) {
					appendMany(t, owners[id], 1+id)
				}
			})
		}
		wg.Wait()
		for j.Metrics().Truncations == 0 {
			appendMany(t, owners[0], 1)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if m := j.Metrics(); m.Fences < 3 {
			t.Fatalf("too little happened: %+v", m)
		}
	}
	c.mu.Lock()
	cuts := c.cuts
	c.mu.Unlock()
	if len(cuts) < 100 {
		t.Fatalf("only %d power cuts", len(cuts))
	}
	t.Logf("%d power cuts", len(cuts))
	replayed := uint64(0)
	for _, x := range cuts {
		replayed += survive(t, x, groups)
	}
	if replayed == 0 {
		t.Fatal("no cut made anybody replay the log")
	}
}

// survive opens what a cut left, checks it, and goes on writing.
func survive(t *testing.T, x cut, groups int) (replayed uint64) {
	t.Helper()
	j, err := Open(config(t, x.fs, groups))
	if err != nil {
		t.Fatalf("%s: %v", x.where, err)
	}
	for id := range groups {
		g := j.Group(id)
		told := uint64(0)
		if id < len(x.told) {
			told = x.told[id]
		}
		if s := g.State(); s.Mode != OK {
			t.Fatalf("%s: group %d is %+v", x.where, id, s)
		}
		if g.Applied() < told || g.Last() != g.Applied() {
			t.Fatalf("%s: group %d has %d of %d, reported %d", x.where, id, g.Applied(), g.Last(), told)
		}
		wantRows(t, g, 1, g.Applied())
		appendMany(t, own(g), 1)
	}
	replayed = j.Metrics().Replayed
	if err := j.Close(); err != nil {
		t.Fatalf("%s: Close: %v", x.where, err)
	}
	return replayed
}

// TestNothingShowsBeforeItsSync looks at the rows at the very moment in which the log is about to be synced.
func TestNothingShowsBeforeItsSync(t *testing.T) {
	var j atomic.Pointer[Journal]
	looks := 0
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if x := j.Load(); x != nil && isSync(op) && strings.HasSuffix(op.Path, ".log") {
			g := x.Group(0)
			next := g.Applied() + 1
			if _, err := g.Get(key(next), nil); !errors.Is(err, ErrNotFound) {
				t.Errorf("turn %d shows before its sync: %v", next, err)
			}
			looks++
		}
		return nil
	}))
	opened := open(t, config(t, fs, 1))
	o := own(opened.Group(0))
	j.Store(opened)
	for range 20 {
		appendMany(t, o, 1)
	}
	j.Store(nil)
	must(t, opened.Close())
	if looks < 20 {
		t.Fatalf("looked only %d times", looks)
	}
}

// TestManifestNamesAreDurable cuts the power right after a manifest was created, before anything points to it.
func TestManifestNamesAreDurable(t *testing.T) {
	mem := vfs.NewCrashableMem()
	must(t, makeDir(mem, "/j"))
	f, err := orderly{mem, nil}.Create("/j/MANIFEST-000009", vfs.WriteCategoryUnspecified)
	must(t, err)
	must(t, f.Close())
	if there, err := exists(mem.CrashClone(vfs.CrashCloneCfg{}), "/j/MANIFEST-000009"); !there {
		t.Fatalf("the manifest's name is gone: %v", err)
	}
}
