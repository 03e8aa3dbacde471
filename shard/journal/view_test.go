package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestView compares what a view reads, each time wherever the last read has left it, with what the group reads, among rows that were deleted one by one and
// by the range, and beside those of other groups.
func TestView(t *testing.T) {
	j := open(t, config(t, vfs.NewMem(), 3))
	rnd := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's
	key := func() []byte { return fmt.Appendf(nil, "%03d", rnd.IntN(400)) }
	var turn Turn
	for i := range 60 {
		for id := range 3 {
			turn.Reset()
			for range 20 {
				turn.Put(key(), fmt.Appendf(nil, "%d of group %d", i, id))
				turn.Delete(key())
			}
			if from, to := key(), key(); rnd.IntN(4) == 0 && string(from) < string(to) {
				turn.DeleteRange(from, to)
			}
			g := j.Group(id)
			o := own(g)
			index, err := g.Append(&turn)
			if err = errors.Join(err, o.wait(index)); err != nil {
				t.Fatal(err)
			}
		}
	}
	g := j.Group(1)
	type rows interface {
		Get(key, buf []byte) ([]byte, error)
		Scan(from, to []byte, reverse bool, fn func(key, val []byte) bool) error
	}
	scan := func(r rows, from, to []byte, reverse bool, most int) (list []string) {
		t.Helper()
		if err := r.Scan(from, to, reverse, func(k, v []byte) bool {
			list = append(list, fmt.Sprintf("%s: %s", k, v))
			return len(list) < most
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	found, missed := 0, 0
	if err := g.View(func(v *View) error {
		for range 3000 {
			if k := key(); rnd.IntN(2) == 0 {
				want, wantErr := g.Get(k, []byte("buf"))
				got, err := v.Get(k, []byte("buf"))
				if string(got) != string(want) || !errors.Is(err, wantErr) {
					t.Fatalf("Get(%s) = %q, %v; want %q, %v", k, got, err, want, wantErr)
				}
				if err == nil {
					found++
				} else {
					missed++
				}
				continue
			}
			from, to, reverse, most := key(), key(), rnd.IntN(2) == 0, 1+rnd.IntN(50)
			if rnd.IntN(10) == 0 {
				from = nil
			}
			if rnd.IntN(10) == 0 {
				to = nil
			}
			if got, want := scan(v, from, to, reverse, most), scan(g, from, to, reverse, most); !slices.Equal(got, want) {
				t.Fatalf("from %q to %q, backwards %v: %q; want %q", from, to, reverse, got, want)
			}
		}
		turn.Reset()
		turn.Put([]byte("500"), []byte("new"))
		o := own(g)
		index, err := g.Append(&turn)
		if err := errors.Join(err, o.wait(index)); err != nil {
			t.Fatal(err)
		}
		if got, err := g.Get([]byte("500"), nil); string(got) != "new" || err != nil {
			t.Fatalf("the group has %q, %v", got, err)
		}
		if got, err := v.Get([]byte("500"), nil); !errors.Is(err, ErrNotFound) {
			t.Fatalf("what came since the view began is seen: %q, %v", got, err)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if found == 0 || missed == 0 {
		t.Fatalf("%d were found and %d were not", found, missed)
	}

	bad := errors.New("bad")
	if err := g.View(func(*View) error { return bad }); !errors.Is(err, bad) {
		t.Fatalf("View returns %v", err)
	}
	if err := g.View(func(v *View) error {
		g.barred.Store(true)
		_, err := v.Get([]byte("001"), nil)
		return errors.Join(err, v.Scan(nil, nil, false, func(_, _ []byte) bool { return true }))
	}); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("the rows of a replica that nobody reads any more: %v", err)
	}
	if err := g.View(func(*View) error { return nil }); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("the rows of a replica that nobody reads: %v", err)
	}
	g.barred.Store(false)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := g.View(func(*View) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Fatalf("behind Close: %v", err)
	}
}
