package journal

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestLogEndsBeforeTheRows damages the last batch of a log whose rows are all in tables. Nothing is lost by it: the log
// goes on behind the rows, and Verify has something to tell until then.
func TestLogEndsBeforeTheRows(t *testing.T) {
	d := makeDisk(t, true)
	name, from := d.lastBatch(t)
	d.change(t, name, from, make([]byte, 100))
	wantDamage(t, d.cfg)
	last := d.last
	for range 3 {
		j := open(t, d.cfg)
		for id := range 2 {
			g := j.Group(id)
			if s := g.State(); s.Mode != OK || g.Last() != last {
				t.Fatalf("group %d: %+v, last %d of %d", id, s, g.Last(), last)
			}
			wantRows(t, g, 1, last)
			appendMany(t, own(g), 10)
		}
		last += 10
		must(t, j.Close())
		must(t, Verify(d.cfg, func(Finding) {}))
	}
}

// TestNoRoomForASegment lets the disk have no room for another segment of the log, while the watch of the free space is off.
// Turns are refused before one of them needs it, and taken again when there is room.
func TestNoRoomForASegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFilePreallocate && strings.Contains(op.Path, "/log/") {
				return syscall.ENOSPC
			}
			return nil
		})}
		cfg := config(t, errorfs.Wrap(vfs.NewMem(), on), 1)
		cfg.SegmentBytes = 256 << 10
		j, err := Open(cfg)
		must(t, err)
		g := j.Group(0)
		o := own(g)
		on.On()
		refused := false
		for range 60 {
			var turn Turn
			turn.Put(key(g.Last()+1), val(g.Last()+1))
			index, err := g.Append(&turn)
			if refused = errors.Is(err, ErrNoSpace); refused {
				break
			}
			must(t, err)
			must(t, o.wait(index))
			synctest.Wait()
		}
		if !refused || !errors.Is(j.Healthy(), ErrNoSpace) || g.Ready(1) {
			t.Fatalf("refused %v, Healthy = %v, Ready = %v", refused, j.Healthy(), g.Ready(1))
		}
		wantRows(t, g, 1, g.Applied())
		on.Off()
		time.Sleep(watchEvery) // the bubble's clock, not ours
		synctest.Wait()
		must(t, j.Healthy())
		for range 100 {
			appendMany(t, o, 1)
		}
		if s := j.log.Stats(); s.Rolls == 0 {
			t.Errorf("%+v", s)
		}
		wantRows(t, g, 1, g.Applied())
		must(t, j.Close())
	})
}

// TestNoRoomAtOnce lets the disk have no room for what the log or the store is to write now, while watch, which would have foreseen it, does not get to
// it. Turns that were taken wait, others are refused, and both go on when there is room; a journal that is closed meanwhile ends as one whose log cannot be
// written, with everything that it said was durable.
func TestNoRoomAtOnce(t *testing.T) {
	f := func(store, closed bool) {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem()
			fired := 0
			on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				if !store && op.Kind == errorfs.OpFilePreallocate && strings.Contains(op.Path, "/log/") ||
					store && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".sst") {
					fired++
					return syscall.ENOSPC
				}
				return nil
			})}
			cfg := config(t, errorfs.Wrap(mem, on), 1)
			if cfg.SegmentBytes = 1 << 20; !store {
				cfg.SegmentBytes = 64 << 10
			}
			failed := 0
			cfg.Fatal = func(error) { failed++ }
			j, err := Open(cfg)
			must(t, err)
			g := j.Group(0)
			o := own(g)
			appendMany(t, o, 3)
			busy := make(chan struct{})
			go func() { _ = j.request(ask{fn: func() error { <-busy; return nil }, reply: make(chan error, 1)}) }()
			synctest.Wait()
			on.On()
			if store {
				_, err := j.data.AsyncFlush()
				must(t, err)
				must(t, j.settle())
				_, err = j.data.AsyncFlush()
				must(t, err)
				time.Sleep(time.Second) // the bubble's clock: the flush has failed
			}
			taken := uint64(0)
			for err = nil; err == nil; {
				var turn Turn
				turn.Put(key(g.Last()+1), val(g.Last()+1))
				if taken, err = g.Append(&turn); err == nil && taken > 10_000 {
					t.Fatal("everything is taken")
				}
				synctest.Wait()
			}
			taken = g.Last()
			if !errors.Is(err, ErrNoSpace) || fired == 0 || g.Ready(1) || !errors.Is(j.Healthy(), ErrNoSpace) || !j.Full() {
				t.Fatalf("Append = %v; %d faults, Ready %v, Healthy = %v", err, fired, g.Ready(1), j.Healthy())
			}
			if waits := o.durable() < taken; waits == store {
				t.Fatalf("of %d turns %d are durable", taken, o.durable())
			}
			wantRows(t, g, 1, g.Applied())
			durable := o.durable()
			if closed {
				close(busy)
				err := j.Close()
				if failed != 1 || o.wait(taken) == nil {
					t.Fatalf("Close = %v, and it failed %d times", err, failed)
				}
			} else {
				on.Off()
				must(t, o.wait(taken))
				time.Sleep(time.Second) // the bubble's clock: the flush is repeated
				must(t, j.Healthy())
				appendMany(t, o, 10)
				close(busy)
				durable = g.Applied()
				must(t, j.Close())
				if failed != 0 {
					t.Fatal("it failed")
				}
			}
			on.Off()
			j, err = Open(cfg)
			must(t, err)
			if s := j.Group(0).State(); s.Mode != OK || j.Group(0).Applied() < durable {
				t.Fatalf("%+v; %d turns, and %d were durable", s, j.Group(0).Applied(), durable)
			}
			wantRows(t, j.Group(0), 1, j.Group(0).Applied())
			must(t, j.Close())
		})
	}
	f(false, false)
	f(false, true)
	f(true, false)
}

// TestLongLogIsFlushed: turns that are alone in their batches make a long log of few bytes.
func TestLongLogIsFlushed(t *testing.T) {
	cfg := config(t, vfs.NewMem(), 1)
	cfg.FlushBytes = 100 << 10
	cfg.SegmentBytes = 64 << 10
	j := open(t, cfg)
	o := own(j.Group(0))
	for j.Metrics().Truncations < 3 {
		appendMany(t, o, 1)
	}
	if m := j.Metrics(); m.Bytes > 3*uint64(cfg.FlushBytes) {
		t.Errorf("%d bytes of turns before the third truncation", m.Bytes)
	}
}

// What was flushed and not merged yet is told in layers: each flush of the same keys is one more.
func TestLayersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, err := Open(config(t, vfs.NewMem(), 1))
		must(t, err)
		defer func() { must(t, j.Close()) }()
		o := own(j.Group(0))
		for range 3 {
			appendMany(t, o, 10)
			must(t, errors.Join(j.settle(), j.data.Flush()))
		}
		time.Sleep(2 * watchEvery) // the bubble's clock
		if n := j.Metrics().Level0; n != 3 {
			t.Errorf("%d layers; want 3", n)
		}
	})
}
