package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/replica"
)

// says keeps what is logged.
type says struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (s *says) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *says) has(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.b.String(), what)
}

// All that is on the disk is read now and then, no faster than it may, and when that was is remembered. A damaged table that nobody has read is told of; the
// group goes on, as nobody could help. Damaged entries of the log make the rows be flushed.
func TestPatrolAlone(t *testing.T) {
	for _, what := range []string{"", "data .sst", "log .log"} {
		synctest.Test(t, func(t *testing.T) {
			fs, log := vfs.NewMem(), &says{}
			cfg := config(t, fs, 2)
			cfg.PatrolEvery, cfg.PatrolRate = 10*time.Second, 64<<10
			cfg.Log = slog.New(slog.NewTextHandler(log, nil))
			j, err := Open(cfg)
			must(t, err)
			for i := range 2 {
				appendMany(t, own(j.Group(i)), 3000)
			}
			must(t, errors.Join(j.settle(), j.data.Flush()))
			flushes := j.Metrics().Flushes
			damaged := uint64(0)
			if what != "" {
				dir, suffix, _ := strings.Cut(what, " ")
				rng := rand.New(rand.NewPCG(1, 2))
				for range 10 { // some hit what is read: how long batches are differs from run to run, and not all of a file is needed
					if turnBits(t, fs, cfg.Dir+"/"+dir, suffix, rng) == 0 {
						t.Fatal("there is nothing to damage")
					}
				}
			}
			began := time.Now()
			for j.Metrics().Patrols == 0 {
				time.Sleep(time.Second) // the bubble's clock
				if time.Since(began) > time.Hour {
					t.Fatal("nobody reads")
				}
			}
			m := j.Metrics()
			least := time.Duration(float64(m.PatrolBytes) / float64(cfg.PatrolRate) * float64(time.Second))
			if took := time.Since(began) - cfg.PatrolEvery; took < least-time.Second || m.PatrolBytes < 100_000 {
				t.Errorf("%s: %d bytes were read in %v; want at least %v", what, m.PatrolBytes, took, least)
			}
			if at := m.Patrolled; at < began.Unix() || at > time.Now().Unix() {
				t.Errorf("%s: it came to its end at %d", what, at)
			}
			if damaged = m.PatrolDamages; (damaged > 0) != (what != "") {
				t.Errorf("%q: %d are damaged", what, damaged)
			}
			for i := range 2 {
				if s := j.Group(i).State(); s.Mode != OK {
					t.Errorf("%s: group %d is %s: %s", what, i, s.Mode, s.Reason)
				}
			}
			if strings.HasPrefix(what, "data") && !log.has("a file is damaged") || strings.HasPrefix(what, "log") && m.Flushes == flushes {
				t.Errorf("%s: nobody is told, and nothing is done; %d flushes", what, m.Flushes-flushes)
			}
			if what != "" {
				_ = j.Close() // it may have met the damage
				return
			}
			must(t, j.Close())
			j, err = Open(cfg)
			must(t, err)
			synctest.Wait()
			if at := j.Metrics().Patrolled; at < began.Unix() || at > m.Patrolled {
				t.Errorf("after a restart it was at %d; it was at %d", at, m.Patrolled)
			}
			must(t, j.Close())
		})
	}
}

// When the last pass was is remembered with a checksum: every bit that turns and every end is told of, and all is read as if that had never been; no other
// time is made of it. What a version before checksums has written is read.
func TestPatrolNote(t *testing.T) {
	fs, log := vfs.NewMem(), &says{}
	cfg := config(t, fs, 1)
	cfg.PatrolEvery, cfg.PatrolRate = 7*24*time.Hour, 1
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	must(t, fs.MkdirAll(cfg.Dir, 0o755))
	name := fs.PathJoin(cfg.Dir, patrolName)
	if at, err := lastPatrol(cfg); err != nil || !at.IsZero() {
		t.Fatalf("in a new directory it was at %v, %v", at, err)
	}
	now := time.Unix(1_800_000_000, 0)
	last := now.Add(-24 * time.Hour)
	must(t, notePatrol(cfg, last))
	whole, err := fs.Open(name)
	must(t, err)
	b, err := io.ReadAll(whole)
	must(t, errors.Join(err, whole.Close()))
	put := func(b []byte) {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		must(t, err)
		_, err = f.Write(bytes.Clone(b)) // under the race detector the file system spoils what it was handed
		must(t, errors.Join(err, f.Close()))
	}
	j := &Journal{cfg: cfg}
	for _, good := range [][]byte{b, b[:8]} {
		put(good)
		if at, err := lastPatrol(cfg); err != nil || !at.Equal(last) {
			t.Fatalf("%x is %v, %v; want %v", good, at, err, last)
		}
		if wait := j.untilPatrol(now); wait != 6*24*time.Hour || log.has("is not known") {
			t.Fatalf("%x: the next one is in %v", good, wait)
		}
	}
	j.m.patrolled.Store(0)
	damaged := func(b []byte, what string, at int) {
		t.Helper()
		put(b)
		if when, err := lastPatrol(cfg); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s %d: %x is %v, %v", what, at, b, when, err)
		}
		if wait := j.untilPatrol(now); wait < patrolFirst || wait > cfg.PatrolEvery || j.m.patrolled.Load() != 0 {
			t.Fatalf("%s %d: the next one is in %v", what, at, wait)
		}
	}
	for i := range len(b) * 8 {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		damaged(c, "bit", i)
	}
	for n := range b {
		if n != 8 { // all of the time
			damaged(b[:n], "end", n)
		}
	}
	damaged(append(bytes.Clone(b), 0), "more than", len(b))
	if !log.has("when all was read last is not known") {
		t.Error("nobody is told")
	}
}

// A replica with a damaged table that nobody has read takes no part any more once all was read, and is replaced as one that was read.
func TestPatrolHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t)
		for _, id := range []uint32{1, 2, 3} {
			p := &peer{n: n, id: id, disk: vfs.NewCrashableMem(), alone: -1, patrol: -1}
			if n.nodes[id] = p; id == 3 {
				p.patrol = 20 * time.Second
			}
			n.start(id)
		}
		const g = 1
		for id := uint32(1); id <= 3; id++ {
			must(t, n.nodes[id].j.Create(g, replica.ID(id, g), []uint64{replica.ID(1, g), replica.ID(2, g), replica.ID(3, g)}))
		}
		last := write(t, n.leader(g, 1, 2, 3), g, 200)
		n.same(g, last, 1, 2, 3)
		p := n.nodes[3]
		must(t, errors.Join(p.j.settle(), p.j.data.Flush()))
		if turnBits(t, p.disk, "/j/data", ".sst", rand.New(rand.NewPCG(3, 4))) == 0 {
			t.Fatal("there is nothing to damage")
		}
		n.until("the damage is found", func() bool { time.Sleep(time.Second); return len(p.j.Damaged()) == 1 })
		if m := p.j.Metrics(); m.PatrolDamages == 0 {
			t.Fatalf("it was found by somebody else: %+v", m)
		}
		must(t, p.j.Remove(g, replica.ID(3, g)))
		n.renew(g, 3, replica.ID(3, g), replica.ID(3, 100))
		last = write(t, n.leader(g, 1, 2, 3), g, 20)
		n.same(g, last, 1, 2, 3)
		if list := p.j.Damaged(); len(list) != 0 {
			t.Fatalf("still damaged: %+v", list)
		}
		n.close()
	})
}

// What the file says that nobody wrote so, or a clock that was set back, does no harm: all is read once more.
func TestPatrolTimes(t *testing.T) {
	fs := vfs.NewMem()
	cfg := config(t, fs, 1)
	must(t, cfg.Validate())
	must(t, fs.MkdirAll(cfg.Dir, 0o755))
	j := &Journal{cfg: cfg}
	now := time.Unix(1_800_000_000, 0)
	f := func(what string, content []byte, least, most time.Duration) {
		t.Helper()
		_ = fs.Remove(cfg.Dir + "/" + patrolName)
		if content != nil {
			w, err := fs.Create(cfg.Dir+"/"+patrolName, vfs.WriteCategoryUnspecified)
			must(t, err)
			_, err = w.Write(content)
			must(t, err)
			must(t, w.Close())
		}
		if d := j.untilPatrol(now); d < least || d > most {
			t.Errorf("%s: the next is in %v; want %v to %v", what, d, least, most)
		}
	}
	at := func(ago time.Duration) []byte {
		return binary.BigEndian.AppendUint64(nil, uint64(now.Add(-ago).Unix())) //nolint:gosec // after 1970
	}
	week := 7 * 24 * time.Hour
	f("nobody knows", nil, patrolFirst, week)
	f("garbage", []byte("yesterday"), patrolFirst, week)
	f("in the future", at(-time.Hour), patrolFirst, week)
	f("two days ago", at(48*time.Hour), 5*24*time.Hour, 5*24*time.Hour)
	f("long ago", at(3*week), patrolFirst, patrolFirst)
}
