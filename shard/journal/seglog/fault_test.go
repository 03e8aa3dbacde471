package seglog

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestFailStop fails a write and a sync. The log is dead from then on, tries nothing again, and what it had is there when it
// is opened again.
func TestFailStop(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWriteAt, errorfs.OpFileSyncData} {
		mem := vfs.NewCrashableMem()
		count := &errorfs.Counter{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == kind {
				return errorfs.ErrInjected
			}
			return nil
		})}
		on := &errorfs.Toggle{Injector: count}
		l := open(t, config(errorfs.Wrap(mem, on)))
		appendTo(t, l, 0, 1, 5, 100)
		on.On()
		var b Batch
		b.Append(0, Record{Index: 6, Body: body(0, 6, 0, 100)})
		for range 3 {
			if err := l.Write(&b); !errors.Is(err, ErrFailed) || !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("%v: Write = %v", kind, err)
			}
		}
		on.Off()
		for what, err := range map[string]error{
			"Write": l.Write(&b), "Truncate": l.Truncate([]Point{{Group: 0, UpTo: 1}}), "Prepare": l.Prepare(),
		} {
			if !errors.Is(err, ErrFailed) {
				t.Errorf("%v: %s = %v", kind, what, err)
			}
		}
		if count.Load() != 1 {
			t.Errorf("%v: tried %d times", kind, count.Load())
		}
		if got := indexes(t, l, 0, 100); !slices.Equal(got, count1(5)) {
			t.Errorf("%v: reads %v", kind, got)
		}
		l = open(t, config(mem.CrashClone(vfs.CrashCloneCfg{})))
		if got := indexes(t, l, 0, 100); !slices.Equal(got, count1(5)) {
			t.Errorf("%v: after opening %v", kind, got)
		}
	}
}

func count1(to uint64) []uint64 { return count(1, to) }

// TestTruncateInFullLog: a log that has no room for another segment, and has filled the one that it writes, still takes what says that its beginning is not needed,
// and so has room.
func TestTruncateInFullLog(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFilePreallocate {
			if list, err := fs.List(fs.PathDir(op.Path)); err == nil && len(list) > 3 {
				return syscall.ENOSPC
			}
		}
		return nil
	})))
	l := open(t, cfg)
	last := uint64(0)
	for range 5 {
		for {
			var b Batch
			b.Append(0, Record{Index: last + 1, Term: 1, Kind: 1, Body: body(0, last+1, 0, 100)})
			err := l.Write(&b)
			if errors.Is(err, ErrNoSpace) {
				break
			}
			must(t, err)
			last++
		}
		must(t, l.Truncate([]Point{{Group: 0, UpTo: last - 1}}))
	}
	if s := l.Stats(); last < 50 || s.Segments > 3 {
		t.Errorf("%d records, %+v", last, s)
	}
	must(t, l.Close())
	l = open(t, cfg)
	if got := indexes(t, l, 0, 100); !slices.Equal(got, count(last, last)) {
		t.Errorf("%v; want %d alone", got, last)
	}
	must(t, l.Close())
}

// TestFullDisk finds no room for another segment. Nothing was written then, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFilePreallocate, errorfs.OpFileWriteAt} {
		fs := vfs.NewMem()
		prepare := false
		on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == kind && (strings.HasSuffix(op.Path, fileName(2)) || strings.HasSuffix(op.Path, "fresh")) && (prepare || kind == errorfs.OpFilePreallocate) {
				return syscall.ENOSPC
			}
			return nil
		})}
		l := open(t, config(errorfs.Wrap(fs, on)))
		appendTo(t, l, 0, 1, 5, 3000)
		if !l.Hungry() {
			t.Fatal("not hungry")
		}
		on.On()
		prepare = true
		if err := l.Prepare(); !errors.Is(err, ErrNoSpace) {
			t.Fatalf("Prepare = %v", err)
		}
		if kind == errorfs.OpFilePreallocate {
			var b Batch
			b.Append(0, Record{Index: 6, Body: make([]byte, 9000)})
			for range 2 {
				if err := l.Write(&b); !errors.Is(err, ErrNoSpace) {
					t.Fatalf("Write = %v", err)
				}
			}
		}
		appendTo(t, l, 0, 6, 6, 3000) // there is room in this segment
		on.Off()
		must(t, l.Prepare())
		if l.Hungry() {
			t.Error("still hungry")
		}
		appendTo(t, l, 0, 7, 20, 3000)
		must(t, l.Close())
		l = open(t, config(fs))
		if got := indexes(t, l, 0, 3000); !slices.Equal(got, count1(20)) {
			t.Errorf("%v", got)
		}
	}
}

// TestWriteAgain: what Open reads may only be in the memory of the machine. It is on the disk before anybody relies on it.
func TestWriteAgain(t *testing.T) {
	mem := vfs.NewCrashableMem()
	on := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData {
			return errorfs.ErrInjected
		}
		return nil
	})}
	l := open(t, config(errorfs.Wrap(mem, on)))
	appendTo(t, l, 0, 1, 2, 10)
	on.On()
	var b Batch
	b.Append(0, Record{Index: 3, Body: body(0, 3, 0, 10)})
	if err := l.Write(&b); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	l = open(t, config(mem)) // a new process on the same machine
	if got := indexes(t, l, 0, 10); !slices.Equal(got, count1(3)) {
		t.Fatalf("%v", got)
	}
	l = open(t, config(mem.CrashClone(vfs.CrashCloneCfg{})))
	if got := indexes(t, l, 0, 10); !slices.Equal(got, count1(3)) {
		t.Fatalf("what was read is not on the disk: %v", got)
	}
}

// TestOpenFails opens a log with every one of its operations failing once. It says so, or is whole; and it is whole the next
// time.
func TestOpenFails(t *testing.T) {
	h := makeHistory(t)
	failed := 0
	for at := range 60 {
		cfg := h.disk(t, func(map[string][]byte) {})
		fs, n := cfg.FS, 0
		cfg.FS = errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if n++; n == at {
				return errorfs.ErrInjected
			}
			return nil
		}))
		l, _, err := Open(cfg)
		if err == nil {
			_ = l.Close() // the fault may come here
		} else {
			failed++
			if !errors.Is(err, errorfs.ErrInjected) {
				t.Errorf("operation %d: %v", at, err)
			}
		}
		cfg.FS = fs
		if v := h.verdict(t, cfg, true, 1, "afterwards"); v != "whole" {
			t.Errorf("operation %d: %s", at, v)
		}
	}
	if failed < 15 {
		t.Errorf("only %d faults", failed)
	}
}

// TestTogether writes, reads, truncates and prepares at once.
func TestTogether(t *testing.T) {
	l := open(t, config(vfs.NewMem()))
	var wg sync.WaitGroup
	const turns = 300
	for g := range uint16(2) {
		wg.Go(func() {
			for i := range uint64(turns) {
				appendTo(t, l, g, i+1, i+1, 700)
			}
		})
		wg.Go(func() {
			for from := uint64(1); from <= turns; {
				_, _, last := l.Bounds(g)
				next := from
				if err := l.Read(g, from, last+1, 0, func(r Record) bool {
					if string(r.Body) != string(body(g, r.Index, 0, 700)) {
						t.Errorf("group %d: record %d is %.30q", g, r.Index, r.Body)
					}
					next = r.Index + 1
					return true
				}); err != nil {
					t.Error(err)
					return
				}
				if next > from+20 || next > turns {
					if err := l.Truncate([]Point{{Group: g, UpTo: next - 1}}); err != nil {
						t.Error(err)
						return
					}
				}
				from = next
				if err := l.Prepare(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := l.Stats(); s.Rolls < 10 || s.Live != 0 {
		t.Errorf("%+v", s)
	}
}

// TestSpareInTime fills spares beside the writes: never much at once, and each is whole before the segment before it is full.
func TestSpareInTime(t *testing.T) {
	cfg := config(vfs.NewMem())
	cfg.SegmentBytes = 16 * fillBytes
	l := open(t, cfg)
	var index uint64
	settled := false // the first segment grows; what follows had its blocks
	for range 16 * 16 * 5 {
		index++
		appendTo(t, l, 0, index, index, fillBytes/16-100)
		pieces := 0
		for l.Hungry() {
			must(t, l.Prepare())
			pieces++
		}
		if settled && pieces > 1 {
			t.Fatalf("behind entry %d so much as %d pieces are filled at once", index, pieces)
		}
		if !settled && !l.bare.Load() {
			settled = true
			t.Logf("behind entry %d all segments have their blocks", index)
		}
		if settled && l.bare.Load() {
			t.Fatalf("behind entry %d the log goes on in a segment without its blocks", index)
		}
	}
	if st := l.Stats(); st.Rolls < 4 {
		t.Errorf("%d segments followed; want 4 or more", st.Rolls)
	}
	if !settled {
		t.Error("no spare was ever used")
	}
	must(t, l.Close())
}

// TestPutSynced writes and syncs in one call where the system knows that, and reads the same as after two.
func TestPutSynced(t *testing.T) {
	cfg := config(vfs.Default)
	cfg.Dir = t.TempDir()
	l := open(t, cfg)
	appendTo(t, l, 0, 1, 10, 3000)
	l.twoSteps = true
	appendTo(t, l, 0, 11, 20, 3000)
	l.twoSteps = false
	appendTo(t, l, 0, 21, 30, 3000)
	if runtime.GOOS == "linux" && l.twoSteps {
		t.Error("the file system of the system does not write and sync in one")
	}
	must(t, l.Close())
	l = open(t, cfg)
	if got := indexes(t, l, 0, 3000); !slices.Equal(got, count1(30)) {
		t.Errorf("%v", got)
	}
	must(t, l.active.f.Close()) // the disk is gone
	var b Batch
	b.Append(0, Record{Index: 31, Body: body(0, 31, 0, 10)})
	if err := l.Write(&b); !errors.Is(err, ErrFailed) {
		t.Errorf("Write = %v; want ErrFailed", err)
	}
}
