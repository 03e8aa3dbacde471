package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// model is what a group must look like: what every turn did, so that any prefix of them can be played again.
type model struct {
	turns []func(rows map[string]string) // turn i has index i+1
	told  uint64                         // what the owner had heard last
}

func (m *model) rows(upTo uint64) map[string]string {
	rows := map[string]string{}
	for _, turn := range m.turns[:upTo] {
		turn(rows)
	}
	return rows
}

// TestModel does random things to a journal, restarts and power cuts among them, and compares it with maps.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const groups = 2
		w := &world{t: rt, mem: vfs.NewCrashableMem()}
		w.models = make([]model, groups)
		w.flush = rapid.Int64Range(50, 2000).Draw(rt, "flush bytes")
		w.late = rapid.SampledFrom([]int{1, 200, 0}).Draw(rt, "late bytes")
		w.open()
		rt.Repeat(map[string]func(*rapid.T){
			"append": w.append,
			"settle": func(rt *rapid.T) { w.settle() },
			"get":    w.get,
			"scan":   w.scan,
			"reopen": func(rt *rapid.T) {
				w.settle()
				w.close()
				w.open()
				w.compare(true)
			},
			"cut": func(rt *rapid.T) {
				for id := range w.models {
					w.models[id].told = w.owners[id].durable()
				}
				percent := rapid.SampledFrom([]int{0, 50, 100}).Draw(rt, "percent")
				seed := rapid.Uint64().Draw(rt, "seed")
				after := w.mem.CrashClone(vfs.CrashCloneCfg{
					UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(seed, 0)),
				})
				w.close()
				w.mem = after
				w.open()
				w.compare(false)
			},
		})
		w.settle()
		w.compare(true)
		w.close()
	})
}

type world struct {
	t      *rapid.T
	mem    *vfs.MemFS
	flush  int64
	late   int
	j      *Journal
	owners []*owner
	models []model
}

func (w *world) open() {
	var err error
	w.j, err = Open(Config{
		Dir: "/j", FS: w.mem, Groups: len(w.models), FreeMin: -1, CacheBytes: 1 << 20, Log: quiet,
		FlushBytes: w.flush, LateBytes: w.late, FenceTurns: 5, QueueTurns: 20, SegmentBytes: 32 << 10,
		Fatal: func(err error) { panic(err) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.owners = nil
	for id := range w.models {
		o := own(w.j.Group(id))
		o.upTo = w.j.Group(id).Applied()
		w.owners = append(w.owners, o)
	}
}

func (w *world) close() {
	if err := w.j.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) append(rt *rapid.T) {
	id := rapid.IntRange(0, len(w.models)-1).Draw(rt, "group")
	m, g := &w.models[id], w.j.Group(id)
	names := rapid.StringMatching("[a-d]{1,2}")
	var turn Turn
	var dos []func(map[string]string)
	for range rapid.IntRange(0, 4).Draw(rt, "operations") {
		k, v := names.Draw(rt, "key"), rapid.StringN(0, 20, 40).Draw(rt, "value")
		switch rapid.IntRange(0, 4).Draw(rt, "kind") {
		case 0:
			turn.Delete([]byte(k))
			dos = append(dos, func(rows map[string]string) { delete(rows, k) })
		case 1:
			to := rapid.SampledFrom([]string{"", "b", "c", "dd"}).Draw(rt, "to")
			turn.DeleteRange([]byte(k), []byte(to))
			dos = append(dos, func(rows map[string]string) {
				maps.DeleteFunc(rows, func(have, _ string) bool { return have >= k && (to == "" || have < to) })
			})
		default:
			turn.Put([]byte(k), []byte(v))
			dos = append(dos, func(rows map[string]string) { rows[k] = v })
		}
	}
	index, err := g.Append(&turn)
	if err != nil {
		rt.Fatal(err)
	}
	if len(dos) > 0 {
		m.turns = append(m.turns, func(rows map[string]string) {
			for _, do := range dos {
				do(rows)
			}
		})
	}
	if index != uint64(len(m.turns)) {
		rt.Fatalf("Append = %d; want %d", index, len(m.turns))
	}
}

func (w *world) settle() {
	for id, o := range w.owners {
		if err := o.wait(uint64(len(w.models[id].turns))); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) get(rt *rapid.T) {
	w.settle()
	id := rapid.IntRange(0, len(w.models)-1).Draw(rt, "group")
	k := rapid.StringMatching("[a-d]{1,2}").Draw(rt, "key")
	want, there := w.models[id].rows(uint64(len(w.models[id].turns)))[k]
	got, err := w.j.Group(id).Get([]byte(k), nil)
	if string(got) != want || there != (err == nil) || !there && !errors.Is(err, ErrNotFound) {
		rt.Fatalf("Get(%q) = %q, %v; want %q, %v", k, got, err, want, there)
	}
}

func (w *world) scan(rt *rapid.T) {
	w.settle()
	id := rapid.IntRange(0, len(w.models)-1).Draw(rt, "group")
	from := rapid.StringMatching("[a-d]{0,2}").Draw(rt, "from")
	to := rapid.StringMatching("[a-d]{0,2}").Draw(rt, "to")
	reverse := rapid.Bool().Draw(rt, "reverse")
	if to != "" && to < from {
		from, to = to, from
	}
	rows := w.models[id].rows(uint64(len(w.models[id].turns)))
	var want bytes.Buffer
	keys := slices.Sorted(maps.Keys(rows))
	if reverse {
		slices.Reverse(keys)
	}
	for _, k := range keys {
		if k >= from && (to == "" || k < to) {
			fmt.Fprintf(&want, "%q=%q ", k, rows[k])
		}
	}
	var got bytes.Buffer
	if err := w.j.Group(id).Scan([]byte(from), []byte(to), reverse, func(k, v []byte) bool {
		fmt.Fprintf(&got, "%q=%q ", k, v)
		return true
	}); err != nil {
		rt.Fatal(err)
	}
	if got.String() != want.String() {
		rt.Fatalf("Scan(%q, %q, %v) = %s; want %s", from, to, reverse, &got, &want)
	}
}

// compare holds all groups against their models, all turns or, after a power cut, as many as were kept: never fewer than
// the owner had heard of.
func (w *world) compare(all bool) {
	for id := range w.models {
		m, g := &w.models[id], w.j.Group(id)
		kept := g.Applied()
		if s := g.State(); s.Mode != OK || kept != g.Last() || kept < m.told || kept > uint64(len(m.turns)) {
			w.t.Fatalf("group %d: %+v, applied %d, last %d, told %d, %d turns", id, s, kept, g.Last(), m.told, len(m.turns))
		}
		if all && kept != uint64(len(m.turns)) {
			w.t.Fatalf("group %d: %d of %d turns", id, kept, len(m.turns))
		}
		m.turns = m.turns[:kept]
		want, got := m.rows(kept), map[string]string{}
		if err := g.Scan(nil, nil, false, func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
			w.t.Fatal(err)
		}
		if !maps.Equal(want, got) {
			w.t.Fatalf("group %d at %d: %v; want %v", id, kept, got, want)
		}
	}
}
