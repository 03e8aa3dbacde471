package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// rawLog opens the log store behind the journal's back.
func (d disk) rawLog(t *testing.T) (*pebble.DB, func()) {
	t.Helper()
	j := newJournal(d.cfg, nopCloser{})
	db, err := j.openLog(false, false)
	must(t, err)
	return db, func() {
		must(t, db.Close())
		j.cache.Unref()
	}
}

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

// TestVerifyFindsFlips holds Verify to more than Open: every flip in a live table is found, read or not.
func TestVerifyFindsFlips(t *testing.T) {
	d := makeDisk(t, true)
	j := newJournal(d.cfg, nopCloser{})
	var err error
	j.data, err = j.openData(false, true)
	must(t, err)
	j.log, err = j.openLog(false, true)
	must(t, err)
	var live []string
	for store, db := range map[string]*pebble.DB{dataDir: j.data, logDir: j.log} {
		levels, err := db.SSTables()
		must(t, err)
		before := len(live)
		for _, table := range slices.Concat(levels...) {
			live = append(live, fmt.Sprintf("%s/%s/%06d.sst", d.cfg.Dir, store, uint64(table.BackingSSTNum)))
		}
		if len(live) == before {
			t.Fatalf("the %s store has no table", store)
		}
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
}

func TestVerifyRefuses(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 1)
	if err := Verify(cfg, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("Verify of nothing = %v", err)
	}
	open(t, cfg)
	if err := Verify(cfg, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("Verify of an open journal = %v", err)
	}
}
