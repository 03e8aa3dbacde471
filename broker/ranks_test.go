package broker

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

// Ranks hold what a sorted list holds, and know of every class who meets it, whatever comes, goes and changes.
func TestRanksAreASortedList(t *testing.T) {
	for _, kind := range []struct {
		scoring Scoring
		coarse  bool
		fits    int
	}{{Banded, false, 3}, {Banded, false, 1 << 20}, {Banded, true, 3}, {Weighted, false, 3}} {
		for _, most := range []int{3, 70, 900, 9_000} {
			t.Run(fmt.Sprintf("%v/most=%d", kind, most), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(most), uint64(kind.scoring)))
				in := &ranking{pool: &Core{}, cost: 1, free: make([]int32, 130)}
				x := &sorted{t: t, r: r, h: &in.ranks, free: in.free}
				in.ranks = ranks{by: &queue{Queue: Queue{Scoring: kind.scoring, Weights: Weights{Skill: 0.5, Load: 0.3}}}, prefers: true, pool: &blocks{}}
				x.h.ladder = &ladder{coarse: kind.coarse}
				x.h.ladder.hear(4)
				x.h.ladder.hear(3)
				x.h.root = x.h.pool.take(true)
				for range most {
					w := newWorker(fmt.Sprint("w", r.IntN(1<<30), len(x.out)), "", bot)
					w.slots, w.connected = 3+r.IntN(2), true
					s := &stand{w: w, in: in, cost: 1, fit: float64(r.IntN(kind.fits)), preferred: r.IntN(9) == 0}
					w.stands, w.feet = []*stand{s}, []footing{{in: in, cost: 1}}
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
	h       *ranks
	free    []int32 // of its ranking
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
			f := s.foot()
			switch served := f.block.ranks[f.slot].assigned != s.w.assigned; {
			case served || x.r.IntN(2) == 0: // who was served is put in order when he is found
				s.update()
			case s.w.load < s.w.stood(0, x.h.ladder):
				s.w.ease(x.h.ladder)
			default:
				s.w.stale = true
				s.w.sink(0, x.h.ladder)
				if s.w.stale {
					s.update()
				}
			}
		case len(x.out) > 0 && x.r.IntN(6) < come:
			i := x.r.IntN(len(x.out))
			s := x.out[i]
			x.out = slices.Delete(x.out, i, i+1)
			x.change(s.w)
			x.h.push(s)
			s.update()
			x.in = append(x.in, s)
		case len(x.in) > 0:
			x.leave(x.r.IntN(len(x.in)))
		}
	}
}

func (x *sorted) leave(i int) {
	s := x.in[i]
	x.in = slices.Delete(x.in, i, i+1)
	s.rest()
	x.h.remove(s)
	x.out = append(x.out, s)
}

func (x *sorted) change(w *worker) {
	w.used = x.r.IntN(w.slots + 1) // at times all of them, and then he takes nothing
	w.weigh()
	if x.r.IntN(2) == 0 {
		x.served++
		w.assigned = x.served
	}
}

func (x *sorted) check() {
	x.t.Helper()
	want := slices.DeleteFunc(slices.Clone(x.in), func(s *stand) bool { return !s.w.takes(1) })
	slices.SortFunc(want, func(a, b *stand) int {
		p, q := rankOf(a), rankOf(b)
		if p.before(&q, x.h.by) {
			return -1
		}
		return 1
	})
	var got []*rank
	x.walk(x.h.root, &got)
	if len(got) != len(x.in) {
		x.t.Fatalf("%d stand in ranks of %d", len(got), len(x.in))
	}
	for i := range got[:max(len(got)-1, 0)] {
		if p, q := got[i], got[i+1]; !x.h.ahead(p, q) {
			x.t.Fatalf("%s stands before %s", p.w.ID, q.w.ID)
		}
	}
	for class := range 130 {
		var most []*stand
		free := int32(0)
		for _, s := range want {
			if !s.meets(class) {
				continue
			}
			if free++; len(most) < maxLooked {
				most = append(most, s)
			}
		}
		if n := x.free[class]; n != free {
			x.t.Fatalf("class %d: %d are counted of %d who could take something", class, n, free)
		}
		for i, p := range x.h.top(class, maxLooked, nil) {
			if i >= len(most) || p.s != most[i] {
				x.t.Fatalf("class %d: the %dth of its best is %s", class, i, p.w.ID)
			}
		}
		n, slot := x.h.best(class, nil)
		if (n == nil) != (len(most) == 0) || n != nil && n.ranks[slot].s != most[0] {
			x.t.Fatalf("class %d: another is first", class)
		}
		if len(most) > 1 {
			if n, slot = x.h.best(class, &task{bars: []bar{{worker: most[0].w.ID}}}); n == nil || n.ranks[slot].s != most[1] {
				x.t.Fatalf("class %d: another is first beside one from whom the task is kept", class)
			}
		}
	}
}

// walk appends who stands from n down in order, and holds what n knows against it.
func (x *sorted) walk(n *block, got *[]*rank) {
	x.t.Helper()
	if bits.OnesCount64(n.used) != n.n || n.n == 0 && n.up != nil {
		x.t.Fatalf("a block has %d places and the slots %b", n.n, n.used)
	}
	var cols [2][130]uint64
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
			for of := range cols {
				for i := range kid.words(of) {
					if *kid.word(of, i) != 0 {
						cols[of][i] |= 1 << slot
					}
				}
			}
			continue
		}
		s := n.ranks[slot].s
		f, p := s.foot(), rankOf(s)
		if x.h.banded() {
			p.load = math.Copysign(n.ranks[slot].load, p.load) // no part of the order
		}
		takes := s.w.takes(1)
		if f.block != n || f.slot != slot || takes != (f.band != resting) || takes && (n.ranks[slot] != p || f.band != x.h.bandOf(s) || s.w.stood(0, x.h.ladder) != s.w.load) {
			x.t.Fatalf("%s does not stand where he knows", s.w.ID)
		}
		*got = append(*got, &n.ranks[slot])
		cols[byBand][f.band] |= 1 << slot
		for class := range cols[byClass] {
			if s.meets(class) {
				cols[byClass][class] |= 1 << slot
			}
		}
	}
	for of := range cols {
		for i, col := range cols[of] {
			if *n.word(of, i) != col {
				x.t.Fatalf("%d of %d: a block knows other slots than %b", i, of, col)
			}
		}
	}
}

// Where no two are equal nobody comes to stand elsewhere by being served, also not who is the last of his block.
func TestServedAmongUnequals(t *testing.T) {
	in := &ranking{pool: &Core{}, cost: 1, free: make([]int32, 1)}
	h := &in.ranks
	*h = ranks{by: &queue{}, ladder: &ladder{}, pool: &blocks{}}
	h.ladder.hear(1)
	h.root = h.pool.take(true)
	var all []*stand
	for i := range 9_000 { // three blocks, one above the other
		w := newWorker(fmt.Sprint("w", i), "", bot)
		w.slots, w.connected = 1, true
		s := &stand{w: w, in: in, cost: 1, fit: float64(i * 7919 % 9_001)}
		w.stands, w.feet = []*stand{s}, []footing{{in: in, cost: 1}}
		h.push(s)
		s.update()
		all = append(all, s)
	}
	last := 0
	for i, s := range all {
		f := *s.foot()
		if n := f.block; n.up == nil || n.up.up == nil {
			t.Fatal("there are fewer blocks above each other")
		} else if n.position(f.slot) == n.n-1 {
			last++
		}
		s.w.assigned = uint64(i + 1)
		if h.reorder(f.block, f.slot) || f.block.ranks[f.slot].assigned != s.w.assigned {
			t.Fatalf("%s stands elsewhere", s.w.ID)
		}
	}
	if last < 100 {
		t.Fatalf("%d are the last of their blocks", last)
	}
}

// stood returns the load by which w stands in the i'th of his rankings; +Inf is that nobody finds him.
func (w *worker) stood(i int, l *ladder) float64 {
	switch f := &w.feet[i]; {
	case f.side == ordered:
		return w.stands[i].load
	case f.band == resting:
		return math.Inf(1)
	default:
		return l.loads[(f.band-1)>>(f.side>>1)]
	}
}
