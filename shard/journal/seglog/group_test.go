package seglog

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestGroupModel does random things to a group's index and compares it with a map.
func TestGroupModel(t *testing.T) {
	type place struct {
		at   loc
		term uint64
	}
	rapid.Check(t, func(rt *rapid.T) {
		var g group
		have := map[uint64]place{}
		last, trunc, next := uint64(0), uint64(0), uint32(1)
		freed, used := uint32(0), uint32(0)
		gone := func(at loc) { freed += at.size }
		fresh := func() loc {
			next++
			used += next
			return loc{seg: next, off: next, size: next}
		}
		drop := func(keep func(uint64) bool) {
			maps.DeleteFunc(have, func(i uint64, _ place) bool { return !keep(i) })
		}
		term := func() uint64 { return rapid.Uint64Range(1, 3).Draw(rt, "term") }
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				i := rapid.Uint64Range(max(trunc, last-min(last, 5))+1, last+1).Draw(rt, "index")
				p := place{fresh(), term()}
				g.append(i, p.term, p.at, false, gone)
				drop(func(k uint64) bool { return k < i })
				have[i], last = p, i
			},
			"leap": func(rt *rapid.T) {
				i := rapid.Uint64Range(last+1, last+10).Draw(rt, "index")
				p := place{fresh(), term()}
				g.leap(i, p.term, p.at, gone)
				have[i], last = p, i
			},
			"cut": func(rt *rapid.T) {
				i := rapid.Uint64Range(trunc+1, last+2).Draw(rt, "index")
				g.cut(i, gone)
				drop(func(k uint64) bool { return k < i })
				last = i - 1
			},
			"truncate": func(rt *rapid.T) {
				i := rapid.Uint64Range(0, last+2).Draw(rt, "index")
				g.truncate(i, 9, gone)
				drop(func(k uint64) bool { return k > i })
				trunc = max(trunc, i)
				last = max(last, trunc)
			},
			"put": func(rt *rapid.T) {
				i := rapid.Uint64Range(1, last+3).Draw(rt, "index")
				p := place{fresh(), term()}
				if old, ok := have[i]; ok {
					p.term = old.term // the same record
				}
				g.put(i, p.term, p.at, false, gone)
				if i > trunc {
					have[i], last = p, max(last, i)
				}
			},
			"": func(rt *rapid.T) {
				if g.last != last || g.trunc != trunc {
					rt.Fatalf("%d to %d; want %d to %d", g.trunc, g.last, trunc, last)
				}
				got, live := map[uint64]place{}, uint32(0)
				for _, s := range g.spans {
					for k, at := range s.locs {
						i := s.first + uint64(k)
						term, ok := g.term(i)
						if _, twice := got[i]; twice || !ok {
							rt.Fatalf("index %d: %v, %v", i, twice, ok)
						}
						got[i] = place{at, term}
						live += at.size
					}
				}
				if !maps.Equal(got, have) {
					rt.Fatalf("%v; want %v", got, have)
				}
				if live+freed != used {
					rt.Fatalf("%d live and %d freed of %d", live, freed, used)
				}
				if !slices.IsSortedFunc(g.spans, func(a, b span) int { return int(a.first) - int(b.first) }) {
					rt.Fatalf("spans are out of order: %v", g.spans)
				}
				for _, r := range g.missing() {
					for i := r.From; i <= r.To; i++ {
						if _, there := have[i]; there || i <= trunc || i > last {
							rt.Fatalf("%d is said to be missing", i)
						}
					}
				}
			},
		})
	})
}
