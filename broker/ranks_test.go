package broker

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// Ranks hold what a sorted list holds, and know of every class who meets it, whatever comes, goes and changes.
func TestRanksAreASortedList(t *testing.T) {
	for _, scoring := range []Scoring{Banded, Weighted} {
		for _, most := range []int{3, 70, 900, 9_000} {
			t.Run(fmt.Sprintf("scoring=%d/most=%d", scoring, most), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(most), uint64(scoring)))
				x := &sorted{t: t, r: r, h: ranks{by: &queue{Queue: Queue{Scoring: scoring, Weights: Weights{Skill: 0.5, Load: 0.3}}}, pool: &blocks{}}}
				x.h.root = x.h.pool.take(true)
				for range most {
					w := newWorker(fmt.Sprint("w", r.IntN(1<<30), len(x.out)), "", bot)
					s := &stand{w: w, in: &ranking{pool: &Core{}}, fit: float64(r.IntN(4)), preferred: r.IntN(9) == 0}
					for range r.IntN(4) {
						s.set(r.IntN(130), true)
					}
					x.out = append(x.out, s)
				}
				for range 3 {
					x.churn(3*most, 5) // more come than go
					x.check()
					x.churn(3*most, 1)
					x.check()
				}
				for len(x.in) > 0 {
					x.leave(len(x.in) - 1)
				}
				x.check()
				if root := x.h.root; root.n != 0 || root.kids != nil {
					t.Fatalf("%d places are left", root.n)
				}
			})
		}
	}
}

// sorted is ranks, with those who stand in it and who do not.
type sorted struct {
	t       *testing.T
	r       *rand.Rand
	h       ranks
	in, out []*stand
	served  uint64
}

// churn has n things happen, of which so many of six bring somebody rather than take him away.
func (x *sorted) churn(n, come int) {
	for range n {
		switch {
		case len(x.in) > 0 && x.r.IntN(2) == 0: // he takes something, or gives it back
			s := x.in[x.r.IntN(len(x.in))]
			x.change(s.w)
			x.h.refresh(s.block, s.slot)
		case len(x.out) > 0 && x.r.IntN(6) < come:
			i := x.r.IntN(len(x.out))
			s := x.out[i]
			x.out = slices.Delete(x.out, i, i+1)
			x.change(s.w)
			x.h.push(s)
			x.in = append(x.in, s)
		case len(x.in) > 0:
			x.leave(x.r.IntN(len(x.in)))
		}
	}
}

func (x *sorted) leave(i int) {
	s := x.in[i]
	x.in = slices.Delete(x.in, i, i+1)
	x.h.remove(s)
	x.out = append(x.out, s)
}

func (x *sorted) change(w *worker) {
	w.load = float64(x.r.IntN(4)) / 4
	if x.r.IntN(2) == 0 {
		x.served++
		w.assigned = x.served
	}
}

func (x *sorted) check() {
	x.t.Helper()
	want := slices.Clone(x.in)
	slices.SortFunc(want, func(a, b *stand) int {
		p, q := rankOf(a), rankOf(b)
		if p.before(&q, x.h.by) {
			return -1
		}
		return 1
	})
	var got []*stand
	x.walk(x.h.root, &got)
	if !slices.Equal(got, want) {
		x.t.Fatalf("%d stand in other than the sorted order of %d", len(got), len(want))
	}
	for class := range 130 {
		var most []*stand
		for _, s := range want {
			if s.meets(class) && len(most) < maxLooked {
				most = append(most, s)
			}
		}
		for i, p := range x.h.root.top(class, maxLooked, nil) {
			if i >= len(most) || p.s != most[i] {
				x.t.Fatalf("class %d: the %dth of its best is %s", class, i, p.w.ID)
			}
		}
		n, slot := x.h.root.first(class, nil)
		if (n == nil) != (len(most) == 0) || n != nil && n.ranks[slot].s != most[0] {
			x.t.Fatalf("class %d: another is first", class)
		}
		if len(most) > 1 {
			if n, slot = x.h.root.first(class, &task{bars: []bar{{worker: most[0].w.ID}}}); n == nil || n.ranks[slot].s != most[1] {
				x.t.Fatalf("class %d: another is first beside one from whom the task is kept", class)
			}
		}
	}
}

// walk appends who stands from n down in order, and holds what n knows against it.
func (x *sorted) walk(n *block, got *[]*stand) {
	x.t.Helper()
	if bits.OnesCount64(n.used) != n.n || n.n == 0 && n.up != nil {
		x.t.Fatalf("a block has %d places and the slots %b", n.n, n.used)
	}
	cols := make([]uint64, 130)
	for _, slot := range n.order[:n.n] {
		if n.used>>slot&1 == 0 {
			x.t.Fatalf("slot %d is in order, and not used", slot)
		}
		if n.kids != nil {
			kid := n.kids[slot]
			if kid.up != n || kid.slot != slot {
				x.t.Fatal("a block does not know what is above it")
			}
			x.walk(kid, got)
			for class, col := range kid.cols {
				if col != 0 {
					cols[class] |= 1 << slot
				}
			}
			continue
		}
		s := n.ranks[slot].s
		if s.block != n || s.slot != slot || n.ranks[slot] != rankOf(s) {
			x.t.Fatalf("%s does not stand where he knows", s.w.ID)
		}
		*got = append(*got, s)
		for class := range cols {
			if s.meets(class) {
				cols[class] |= 1 << slot
			}
		}
	}
	for class, col := range cols {
		if class >= len(n.cols) && col != 0 || class < len(n.cols) && n.cols[class] != col {
			x.t.Fatalf("class %d: a block knows other slots than %b", class, col)
		}
	}
}
