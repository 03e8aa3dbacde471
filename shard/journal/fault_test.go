package journal

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faults is a disk on which operations that match fail while it is on.
func faults(fs vfs.FS, match func(op errorfs.Op) bool) (vfs.FS, *errorfs.Toggle, *errorfs.Counter) {
	count := &errorfs.Counter{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if match(op) {
			return errorfs.ErrInjected
		}
		return nil
	})}
	on := &errorfs.Toggle{Injector: count}
	return errorfs.Wrap(fs, on), on, count
}

// faultOnce is a disk that fails one operation that matches, once it is armed, and does all others. tries counts those
// that match from then on, the failed one included. match is not asked before.
func faultOnce(fs vfs.FS, match func(op errorfs.Op) bool) (disk vfs.FS, armed *atomic.Bool, tries *atomic.Int32) {
	armed, tries = &atomic.Bool{}, &atomic.Int32{}
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && match(op) && tries.Add(1) == 1 {
			return errorfs.ErrInjected
		}
		return nil
	})), armed, tries
}

// TestFailStop fails one write or sync, which leaves the disk unknown, on a disk that would do the next one: a second sync
// that succeeds says nothing of what the first one lost. The journal stops at once: nothing more is reported
// durable, Fatal is called once, nothing is tried again, and what was reported is there when the disk is read again.
func TestFailStop(t *testing.T) {
	f := func(name string, match func(op errorfs.Op) bool, act func(j *Journal)) {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs, armed, tries := faultOnce(mem, match)
			cfg := config(t, fs, 2)
			cfg.FenceTurns = 1
			var fatal atomic.Int32
			cfg.Fatal = func(error) { fatal.Add(1) }
			j, err := Open(cfg)
			must(t, err)
			o, other := own(j.Group(0)), own(j.Group(1))
			appendMany(t, o, 20)
			appendMany(t, other, 20)
			armed.Store(true)
			act(j)
			var turn Turn
			turn.Put([]byte("lost"), nil)
			for err == nil && tries.Load() < 2 { // until the failure has come round, or was passed over
				var index uint64
				if index, err = j.Group(0).Append(&turn); err == nil {
					err = o.wait(index)
				}
			}
			if !errors.Is(err, ErrFailed) {
				t.Fatalf("after a fault and %d tries: %v", tries.Load(), err)
			}
			told := o.durable()
			// When it was the fence that failed the turn itself may be safe, and just not reported.
			if _, err := j.Group(0).Get([]byte("lost"), nil); strings.HasPrefix(name, "log") && !errors.Is(err, ErrNotFound) {
				t.Errorf("a turn that failed can be read: %v", err)
			}
			if err := other.wait(21); !errors.Is(err, ErrFailed) {
				t.Errorf("the other group heard %v", err)
			}
			if _, err := j.Group(1).Append(&turn); !errors.Is(err, ErrFailed) {
				t.Errorf("Append = %v", err)
			}
			if s := j.Group(1).State(); s.Mode != Failed || j.Healthy() == nil {
				t.Errorf("State = %+v", s)
			}
			after := mem.CrashClone(vfs.CrashCloneCfg{})
			_ = j.Close() // it has an error to tell or not; it must end
			if tries.Load() != 1 {
				t.Errorf("it was tried %d times; want the one that failed, and none again", tries.Load())
			}
			if fatal.Load() != 1 {
				t.Errorf("Fatal was called %d times", fatal.Load())
			}
			if o.durable() != told {
				t.Errorf("reported up to %d after the failure, %d before", o.durable(), told)
			}
			again := open(t, config(t, after, 2))
			if s := again.Group(0).State(); s.Mode != OK || again.Group(0).Last() < told {
				t.Errorf("after a restart: %+v, %d of %d", s, again.Group(0).Last(), told)
			}
			wantRows(t, again.Group(1), 1, 20)
		})
	}
	wal := func(op errorfs.Op) bool {
		return strings.Contains(op.Path, "/log/") && strings.HasSuffix(op.Path, ".log")
	}
	fence := func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, fenceName) }
	nothing := func(*Journal) {}
	f("log sync", func(op errorfs.Op) bool { return wal(op) && isSync(op) }, nothing)
	f("log write", func(op errorfs.Op) bool { return wal(op) && op.Kind == errorfs.OpFileWriteAt }, nothing)
	f("fence sync", func(op errorfs.Op) bool { return fence(op) && isSync(op) }, nothing)
	f("fence write", func(op errorfs.Op) bool { return fence(op) && op.Kind == errorfs.OpFileWriteAt }, nothing)
	// Pebble answers with a new manifest that says everything anew, in a file of its own: that is sound, and not counted.
	var manifest atomic.Pointer[string]
	f("manifest sync", func(op errorfs.Op) bool {
		if !strings.Contains(op.Path, "data/MANIFEST") || !isSync(op) {
			return false
		}
		manifest.CompareAndSwap(nil, &op.Path)
		return op.Path == *manifest.Load()
	}, func(j *Journal) {
		must(t, j.settle())
		_, err := j.data.AsyncFlush()
		must(t, err)
	})
}

// TestFlushFails lets tables fail to be written for a while. The log holds what they wanted to hold, so the journal
// goes on, says that it is not well, and recovers.
func TestFlushFails(t *testing.T) {
	fs, on, count := faults(vfs.NewMem(), func(op errorfs.Op) bool {
		return strings.Contains(op.Path, "/data/") && strings.HasSuffix(op.Path, ".sst") && op.Kind == errorfs.OpCreate
	})
	j := open(t, config(t, fs, 1))
	o := own(j.Group(0))
	appendMany(t, o, 10)
	must(t, j.settle())
	on.On()
	flushed, err := j.data.AsyncFlush()
	must(t, err)
	for count.Load() < 3 || j.Healthy() == nil {
		appendMany(t, o, 1)
	}
	on.Off()
	<-flushed
	appendMany(t, o, 10)
	wantRows(t, j.Group(0), 1, j.Group(0).Applied())
	if j.Metrics().Troubles == 0 {
		t.Error("nothing was counted")
	}
	if err := j.Healthy(); err != nil {
		t.Errorf("after a flush that worked: %v", err)
	}
}

// TestCloseOnFullDisk closes while no table can be written: it ends, says why, tried no more often than it must, and nothing is lost.
func TestCloseOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		fs, on, count := faults(disk, func(op errorfs.Op) bool {
			return strings.Contains(op.Path, "/data/") && strings.HasSuffix(op.Path, ".sst") && op.Kind == errorfs.OpCreate
		})
		j, err := Open(config(t, fs, 1))
		must(t, err)
		appendMany(t, own(j.Group(0)), 10)
		must(t, j.settle())
		on.On()
		_, err = j.data.AsyncFlush()
		must(t, err)
		time.Sleep(10 * time.Second) // the bubble's clock
		if n := count.Load(); n < 2 || n > 101 {
			t.Errorf("in ten seconds it tried %d times; want one each %v", n, breathePause)
		}
		if err := j.Close(); !errors.Is(err, errorfs.ErrInjected) {
			t.Errorf("Close = %v; want what the disk said", err)
		}
		on.Off()
		j, err = Open(config(t, disk, 1))
		must(t, err)
		wantRows(t, j.Group(0), 1, 10)
		must(t, j.Close())
	})
}

// TestOpenFails opens a journal with every one of its first operations failing once. Open says so and lets go of
// everything, or the journal is whole. Left out are the manifests and the syncs of folders and files of the data store,
// where Pebble ends the process.
func TestOpenFails(t *testing.T) {
	mem := vfs.NewCrashableMem()
	j := open(t, config(t, mem, 1))
	appendMany(t, own(j.Group(0)), 50)
	disk := mem.CrashClone(vfs.CrashCloneCfg{})
	must(t, j.Close())
	failed := 0
	for at := range int32(150) {
		fs := disk.CrashClone(vfs.CrashCloneCfg{})
		var seen atomic.Int32
		cfg := config(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			name := mem.PathBase(op.Path)
			log := name == logDir || strings.HasSuffix(name, ".log")
			fatal := strings.Contains(strings.ToLower(name), "manifest") || isSync(op) && strings.ToLower(name) == name && !log
			if !fatal && seen.Add(1) == at {
				return errorfs.ErrInjected
			}
			return nil
		})), 1)
		cfg.Fatal = func(error) {}
		j, err := Open(cfg)
		if err == nil {
			s := j.Group(0).State()
			if s.Mode == OK && j.Group(0).Applied() != 50 {
				t.Errorf("fault %d: %d of 50 and %+v", at, j.Group(0).Applied(), s)
			}
			_ = j.Close() // the fault may have come late
			continue
		}
		failed++
		again := open(t, config(t, fs, 1))
		wantRows(t, again.Group(0), 1, 50)
		must(t, again.Close())
	}
	if failed < 30 {
		t.Errorf("only %d of the faults reached Open", failed)
	}
}

// TestDiskSpace lets the disk fill up and become free again.
func TestDiskSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t, vfs.NewMem(), 1)
		var free atomic.Uint64
		free.Store(5000)
		cfg.FreeMin = 1000
		cfg.Free = func() (uint64, uint64, error) { return free.Load(), 10000, nil }
		j, err := Open(cfg)
		must(t, err)
		g := j.Group(0)
		o := own(g)
		appendMany(t, o, 3)
		var turn Turn
		turn.Put([]byte("z"), nil)
		f := func(bytes uint64, want error) {
			t.Helper()
			free.Store(bytes)
			time.Sleep(watchEvery) // the bubble's clock, not ours
			synctest.Wait()
			_, err := g.Append(&turn)
			if !errors.Is(err, want) {
				t.Errorf("with %d free: Append = %v; want %v", bytes, err, want)
			}
			if _, err := g.Append(&Turn{}); err != nil {
				t.Errorf("with %d free a turn that writes nothing is refused: %v", bytes, err)
			}
			if _, err := g.Get(key(2), nil); err != nil {
				t.Errorf("with %d free: Get = %v", bytes, err)
			}
			if healthy := j.Healthy(); !errors.Is(healthy, want) {
				t.Errorf("with %d free: Healthy = %v", bytes, healthy)
			}
			if got := g.Ready(10); got != (want == nil) {
				t.Errorf("with %d free: Ready = %v", bytes, got)
			}
		}
		f(1001, nil)
		f(999, ErrNoSpace)
		f(1100, ErrNoSpace) // not before a quarter more is free
		f(1300, nil)
		f(1100, nil)
		f(0, ErrNoSpace)
		f(5000, nil)
		must(t, j.Close())
	})
}

// TestFenceKeepsUp writes the fence every second and every FenceTurns turns, and not when there is nothing new.
func TestFenceKeepsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t, vfs.NewMem(), 1)
		cfg.FenceTurns = 100
		j, err := Open(cfg)
		must(t, err)
		o := own(j.Group(0))
		f := func(turns int, wait time.Duration, want uint64) {
			t.Helper()
			appendMany(t, o, turns)
			time.Sleep(wait)
			synctest.Wait()
			if got := j.Metrics().Fences; got != want {
				t.Errorf("after %d turns and %v: %d fences; want %d", turns, wait, got, want)
			}
		}
		f(0, 0, 1) // the new term
		f(50, 0, 1)
		f(0, watchEvery, 2)
		f(0, time.Hour, 2)
		must(t, j.Close())
	})
}

// TestBackPressure fills the queue while the committer is held up: Ready says no, Append waits, and goes on afterwards.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t, vfs.NewMem(), 2)
		cfg.QueueTurns = 4
		cfg.QueueBytes = 1000
		j, err := Open(cfg)
		must(t, err)
		g, other := j.Group(0), j.Group(1)
		gate := make(chan struct{})
		g.Start(func(uint64, error) { <-gate })
		append1(t, g)
		synctest.Wait() // the committer stands at the gate, the first turn is out of the queue
		for i := range 4 {
			if !g.Ready(10) {
				t.Fatalf("not ready for turn %d", i)
			}
			append1(t, g)
		}
		if g.Ready(10) || !other.Ready(10) || other.Ready(900) {
			t.Error("Ready is wrong about a full queue")
		}
		done := make(chan uint64)
		go func() { done <- append1(t, g) }()
		var large Turn
		large.Put([]byte("large"), make([]byte, 5000))
		go func() {
			index, err := other.Append(&large)
			if err != nil {
				t.Error(err)
			}
			done <- index
		}()
		synctest.Wait()
		if m := j.Metrics(); m.Waits != 2 || m.QueueTurns != 4 {
			t.Errorf("%+v", m)
		}
		close(gate)
		if a, b := <-done, <-done; a+b != 7 {
			t.Errorf("indexes %d and %d", a, b)
		}
		must(t, j.Close())
	})
}
