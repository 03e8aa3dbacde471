package ledger

import (
	"strings"
	"testing"
)

// TestStreams: tokens of two bytes each; what is found is the kinds of the faults in order, and how many were not shown.
func TestStreams(t *testing.T) {
	type told struct {
		n, off int
		anew   bool
	}
	at := func(list ...int) (out []told) {
		for _, n := range list {
			out = append(out, told{n: n, off: 2 * n})
		}
		return out
	}
	f := func(want string, lost, tokens int, list []told) {
		t.Helper()
		var b Streams
		var kinds []string
		for _, k := range list {
			if k.anew {
				b.Anew([]byte("m1"))
				continue
			}
			if _, fault := b.Heard("s_1", []byte("m1"), Token{k.n, k.off, 2}); fault != nil {
				kinds = append(kinds, fault.Kind)
				if fault.Session != "s_1" || !strings.Contains(fault.Detail, "stream m1") {
					t.Errorf("%s does not say where", fault)
				}
			}
		}
		if got := strings.Join(kinds, " "); got != want {
			t.Errorf("%v: %q; want %q", list, got, want)
		}
		if got := b.End([]byte("m1"), tokens); got != lost || b.list != nil {
			t.Errorf("%v: %d lost; want %d; %v is left", list, got, lost, b.list)
		}
	}
	anew := []told{{anew: true}}
	f("", 0, 4, at(0, 1, 2, 3))
	f("", 2, 4, at(0, 3)) // lost is no fault: a token may be
	f("", 4, 4, nil)
	f("", 0, 0, at(0, 1)) // interrupted: nobody knows how many there were to be
	f(Duplicated, 1, 4, at(0, 1, 1, 2))
	f(Duplicated, 0, 4, at(0, 1, 2, 3, 0))
	f(Reordered, 0, 4, at(0, 2, 1, 3))
	f(Mismatched, 2, 3, at(0, -1))
	f(Mismatched, 3, 3, at(tokenMax))
	f(Mismatched, 0, 2, []told{{n: 0, off: 0}, {n: 1, off: 1}})
	f("", 0, 4, append(append(at(0, 1, 2), anew...), at(0, 1, 2, 3)...))
	f("", 1, 4, append(append(at(0, 1, 2), anew...), at(0, 1)...)) // shorter than before, and then nothing
	f("", 0, 4, append(append(at(0), anew...), at(0, 1, 2, 3)...))
	f(Reordered+" "+Duplicated, 0, 3, append(append(at(0), anew...), at(2, 1, 0)...))

	var b Streams
	for i := range byte(100) {
		b.Heard("s", []byte{i}, Token{0, 0, 2})
	}
	if len(b.list) > streamsMax {
		t.Errorf("%d streams are remembered that nobody ended", len(b.list))
	}
}
