package seglog

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

const modelGroups = 3

// world is what a log must look like.
type world [modelGroups]want

func (w world) clone() world {
	for g := range w {
		w[g].bodies = maps.Clone(w[g].bodies)
	}
	return w
}

// differs says how the log is not what it must be, or nil.
func (w world) differs(t testing.TB, l *Log) error {
	for g := range w {
		f := look(t, l, uint16(g))
		if f.loss.Any() {
			return fmt.Errorf("group %d has a loss: %+v", g, f.loss)
		}
		if f.trunc != w[g].trunc || f.last != w[g].last || f.meta != w[g].meta || !maps.Equal(f.bodies, w[g].bodies) {
			return fmt.Errorf("group %d is %d to %d, %d records, metadata %q; want %d to %d, %d records, %q",
				g, f.trunc, f.last, len(f.bodies), f.meta, w[g].trunc, w[g].last, len(w[g].bodies), w[g].meta)
		}
	}
	return nil
}

// place draws where the log may be cut: behind a record, or where it begins.
func (w *want) place(rt *rapid.T) uint64 {
	places := []uint64{w.trunc + 1}
	for i := range w.bodies {
		places = append(places, i+1)
	}
	slices.Sort(places)
	return rapid.SampledFrom(places).Draw(rt, "place")
}

// cutter takes a copy of the disk at one of the moments before a sync, as a power cut would leave it.
type cutter struct {
	mem   *vfs.MemFS
	after int // so many syncs and renames; negative for never
	rng   *rand.Rand
	copy  *vfs.MemFS
}

func (c *cutter) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpRename, errorfs.OpRemove, errorfs.OpFileWriteAt:
		if c.after == 0 {
			c.copy = c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[c.rng.IntN(3)], RNG: c.rng})
		}
		c.after--
	}
	return nil
}

func (c *cutter) String() string { return "power cut" }

// TestModel does random things to a log, restarts and power cuts in the middle of everything among them, and compares it
// with maps. After a cut the log is as before what was being done, or as after it.
func TestModel(t *testing.T) {
	rolls, copies, cuts := uint64(0), uint64(0), 0
	rapid.Check(t, func(rt *rapid.T) {
		c := &cutter{mem: vfs.NewCrashableMem(), after: -1}
		cfg := Config{
			Dir: testDir, SegmentBytes: 4 * block, PinSegments: rapid.IntRange(2, 4).Draw(rt, "pin"),
			Spares: rapid.IntRange(1, 3).Draw(rt, "spares"), Create: true,
		}
		var now world
		for g := range now {
			now[g].bodies = map[uint64]string{}
		}
		var l *Log
		reopen := func() {
			cfg.FS = errorfs.Wrap(c.mem, c)
			var report *Report
			var err error
			l, report, err = Open(cfg)
			if err != nil {
				rt.Fatal(err)
			}
			if len(report.Damages) > 0 {
				rt.Fatalf("Open found %v", report.Damages)
			}
		}
		reopen()
		n := 0
		// do does something, and perhaps cuts the power meanwhile.
		do := func(rt *rapid.T, next world, act func() error) {
			c.after, c.copy = -1, nil
			if rapid.IntRange(0, 3).Draw(rt, "cut") == 0 {
				c.after = rapid.IntRange(0, 8).Draw(rt, "at")
				c.rng = rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
			}
			if err := act(); err != nil {
				rt.Fatal(err)
			}
			if c.copy == nil {
				now = next
				return
			}
			cuts++
			s := l.Stats()
			rolls, copies = rolls+s.Rolls, copies+s.Copied
			if err := l.Close(); err != nil {
				rt.Fatal(err)
			}
			c.mem, c.after = c.copy, -1
			reopen()
			before := now.differs(t, l)
			if before == nil {
				return
			}
			if after := next.differs(t, l); after != nil {
				rt.Fatalf("after a cut neither as before (%v) nor as after (%v)", before, after)
			}
			now = next
		}
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				next := now.clone()
				var b Batch
				for range rapid.IntRange(1, 6).Draw(rt, "operations") {
					id := rapid.IntRange(0, modelGroups-1).Draw(rt, "group")
					w, g := &next[id], uint16(id)
					n++
					cut := func(from uint64) {
						maps.DeleteFunc(w.bodies, func(i uint64, _ string) bool { return i >= from })
						w.last = from - 1
					}
					switch rapid.IntRange(0, 9).Draw(rt, "operation") {
					case 0:
						w.meta = fmt.Sprintf("metadata %d", n)
						b.SetMeta(g, []byte(w.meta))
					case 1:
						from := w.place(rt)
						b.CutSuffix(g, from)
						cut(from)
					case 2:
						i := w.last + rapid.Uint64Range(1, 30).Draw(rt, "leap")
						v := body(g, i, n, 10)
						b.Append(g, Record{Index: i, Term: 1, Leap: true, Body: v})
						w.bodies[i], w.last = string(v), i
					case 3:
						i := w.place(rt)
						v := body(g, i, n, 10)
						b.Append(g, Record{Index: i, Term: 1, Body: v})
						cut(i)
						w.bodies[i], w.last = string(v), i
					default:
						i := w.last + 1
						v := body(g, i, n, rapid.SampledFrom([]int{10, 500, 3000, 9000}).Draw(rt, "size"))
						b.Append(g, Record{Index: i, Term: 1, Body: v})
						w.bodies[i], w.last = string(v), i
					}
				}
				do(rt, next, func() error { return l.Write(&b) })
			},
			"truncate": func(rt *rapid.T) {
				next := now.clone()
				var points []Point
				for g := range next {
					w := &next[g]
					if rapid.Bool().Draw(rt, "stay") {
						continue
					}
					upTo := rapid.Uint64Range(w.trunc, w.last+1).Draw(rt, "up to")
					points = append(points, Point{Group: uint16(g), UpTo: upTo})
					maps.DeleteFunc(w.bodies, func(i uint64, _ string) bool { return i <= upTo })
					w.trunc, w.last = upTo, max(w.last, upTo)
				}
				do(rt, next, func() error { return l.Truncate(points) })
			},
			"renew": func(rt *rapid.T) {
				do(rt, now.clone(), func() error {
					num, err := l.Renew()
					if err == nil && num < l.Lowest() {
						rt.Fatalf("file %d is new, and the lowest is %d", num, l.Lowest())
					}
					return err
				})
			},
			"renewed": func(*rapid.T) { l.Renewed() },
			"prepare": func(rt *rapid.T) { do(rt, now.clone(), l.Prepare) },
			"reopen": func(rt *rapid.T) {
				do(rt, now.clone(), func() error {
					if err := l.Close(); err != nil {
						return err
					}
					reopen()
					return nil
				})
			},
			"": func(rt *rapid.T) {
				if err := now.differs(t, l); err != nil {
					rt.Fatal(err)
				}
			},
		})
		s := l.Stats()
		rolls, copies = rolls+s.Rolls, copies+s.Copied
		if err := l.Close(); err != nil {
			rt.Fatal(err)
		}
	})
	t.Logf("%d power cuts, %d segments begun, %d bytes copied forward", cuts, rolls, copies)
	if cuts < 20 || rolls < 20 || copies == 0 {
		t.Error("too little happened")
	}
}
