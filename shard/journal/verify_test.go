package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

func wantDamage(t *testing.T, cfg Config) {
	t.Helper()
	found := 0
	err := Verify(cfg, func(f Finding) {
		if f.Damaged {
			found++
		}
	})
	if !errors.Is(err, ErrDamaged) || found == 0 {
		t.Fatalf("Verify = %v with %d findings; want damage", err, found)
	}
}

func TestVerify(t *testing.T) {
	for _, clean := range []bool{true, false} {
		d := makeDisk(t, clean)
		groups := 0
		if err := Verify(d.cfg, func(f Finding) {
			if f.Group >= 0 {
				groups++
			}
			if f.Damaged {
				t.Errorf("clean %v: %+v", clean, f)
			}
		}); err != nil || groups != 2 {
			t.Fatalf("clean %v: %v, %d groups", clean, err, groups)
		}
		if v := d.verdict(t, "verified"); v != "no effect" {
			t.Fatalf("Verify changed something: %s", v)
		}
	}
}

// TestVerifyFindsFlips holds Verify to more than Open: every flip in a live table or in a record is found, read or not.
func TestVerifyFindsFlips(t *testing.T) {
	d := makeDisk(t, true)
	j := newJournal(d.cfg, nopCloser{})
	var err error
	j.data, err = j.openData(false, true)
	must(t, err)
	levels, err := j.data.SSTables()
	must(t, err)
	var live []string
	for _, table := range slices.Concat(levels...) {
		live = append(live, fmt.Sprintf("%s/%s/%06d.sst", d.cfg.Dir, dataDir, uint64(table.BackingSSTNum)))
	}
	if len(live) == 0 {
		t.Fatal("the data store has no table")
	}
	must(t, j.release())
	rng := rand.New(rand.NewPCG(3, 3))
	for _, name := range live {
		for range 20 {
			c := d.clone()
			if where := flip(t, c.fs, name, rng); Verify(c.cfg, func(Finding) {}) == nil {
				t.Errorf("a flip in %s was not found", where)
			}
		}
	}
	for range 40 {
		c := d.clone()
		group, index := uint16(rng.IntN(2)), 1+rng.Uint64N(d.last)
		name, from, size := c.record(t, group, index)
		at := from + rng.Int64N(size)
		b, err := c.fs.UnsafeGetFileDataBuffer(name)
		must(t, err)
		c.change(t, name, at, []byte{b[at] ^ 4})
		if Verify(c.cfg, func(Finding) {}) == nil {
			t.Errorf("a flip in record %d of group %d, in %s at %d, was not found", index, group, name, at)
		}
	}
}

// TestVerifyWithoutFormat: a directory with words in it that lost the file is damaged, and all else in it is told; one without any is no journal, and the next
// start makes it.
func TestVerifyWithoutFormat(t *testing.T) {
	for _, words := range []int{3, 0} {
		for _, lost := range [][]string{{formatName}, {formatName, fenceName}} {
			fs := vfs.NewMem()
			cfg := config(t, fs, 2)
			j, err := Open(cfg)
			must(t, err)
			if words > 0 {
				appendMany(t, own(j.Group(0)), words)
			}
			must(t, j.Close())
			for _, name := range lost {
				must(t, fs.Remove(fs.PathJoin(cfg.Dir, name)))
			}
			groups, texts := 0, ""
			err = Verify(cfg, func(f Finding) {
				if f.Group >= 0 {
					groups++
				}
				if f.Damaged {
					texts += f.Text
				}
			})
			if words == 0 {
				if !errors.Is(err, ErrFormat) || errors.Is(err, ErrDamaged) || texts != "" || !strings.Contains(err.Error(), "there is no journal: its first start") {
					t.Errorf("without words and %v: %v; %s", lost, err, texts)
				}
				open(t, cfg)
				continue
			}
			if !errors.Is(err, ErrDamaged) || groups != 2 || texts != formatLost {
				t.Errorf("without %v: %v, %d groups; %s", lost, err, groups, texts)
			}
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 1)
	if err := Verify(cfg, nil); !errors.Is(err, ErrFormat) || errors.Is(err, ErrDamaged) {
		t.Errorf("Verify of nothing = %v", err)
	}
	open(t, cfg)
	if err := Verify(cfg, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("Verify of an open journal = %v", err)
	}
}

// TestVerifyOfAnUnfinishedStart: wherever the first start is killed, or the power cut, Verify says that there is no journal yet, and finds no damage; the next start
// makes it.
func TestVerifyOfAnUnfinishedStart(t *testing.T) {
	disk := vfs.NewCrashableMem()
	rng := rand.New(rand.NewPCG(5, 5))
	var mu sync.Mutex
	// Guarded by mu.
	var left []cut
	watched := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range []int{0, 50, 100} { // all of what was written is there behind a kill
			where := fmt.Sprintf("before %v of %s, which is change %d, with %d %% of what was not synced", op.Kind, op.Path, len(left)/3, percent)
			left = append(left, cut{fs: disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), where: where})
		}
		return nil
	}))
	j, err := Open(config(t, watched, 2))
	must(t, err)
	mu.Lock()
	cuts := left
	mu.Unlock()
	must(t, j.Close())
	unfinished := 0
	for _, c := range cuts {
		cfg := config(t, c.fs, 2)
		fresh, err := readFormat(cfg)
		must(t, err)
		if !fresh {
			continue
		}
		unfinished++
		var damages []string
		err = Verify(cfg, func(f Finding) {
			if f.Damaged {
				damages = append(damages, f.Text)
			}
		})
		if !errors.Is(err, ErrFormat) || errors.Is(err, ErrDamaged) || len(damages) > 0 || !strings.Contains(err.Error(), "there is no journal") {
			t.Errorf("%s: %v, %q", c.where, err, damages)
		}
		j, err := Open(cfg)
		if err != nil {
			t.Errorf("%s: the next start: %v", c.where, err)
			continue
		}
		must(t, j.Close())
	}
	if unfinished < 30 {
		t.Errorf("%d starts were not finished", unfinished)
	}
}
