package broker

import (
	"bytes"
	"math"
	"math/bits"
)

// ranks are the stands of a ranking, in the order in which they were when they were last looked at. Nobody who could take a task stands worse in
// them than his worker is; who could not rests, so that nobody finds him. They are a tree of blocks of at most 64 places each, and each block knows of each class, and of each
// band, at which of its places, or below which of them, somebody is of it: so the best of a class is found by a few words and one place of each
// block from the root down, however few of the others meet it.
//
// Whoever is preferred comes first, and where loads are what counts next, a band is one load of those who are preferred, or of the others. Their order
// is that of all bands then, by fit and by who was served longest ago: who takes something goes to another band, and mostly moves no further.
// Where scores are weighted, or the loads too many, there is one band, and all of it is order.
type ranks struct {
	by      *queue // whose scoring counts
	prefers bool   // somebody may be preferred: each load has two bands
	ladder  *ladder
	root    *block
	pool    *blocks
}

// rank is a place: what it is compared by stands in it.
type rank struct {
	load     float64 // signed below zero of one who is preferred, also nought
	fit      float64 // of skill and rating: changes only with the worker
	assigned uint64
	w        *worker
	s        *stand // whose footing tells that he stands here
}

// wide is how many places a block has: the bits of a word.
const wide = 64

// block is a part of ranks. A place keeps its slot as long as it is in the block; only their order changes. What changes with each task comes first: one
// line of memory when the loads are up to five, two when they are up to thirteen, and what finding looks at is in the two behind.
type block struct {
	up    *block
	slot  uint8      // in up
	bands [14]uint64 // by band: the slots at which, or below which, somebody is of it
	cols  []uint64   // by class: the slots at which, or below which, somebody meets it
	ranks []rank     // by slot; of an inner block one who comes before nobody below that slot, and behind everybody before it
	used  uint64     // slots, by bits
	n     int
	order [wide]uint8 // of slots, best first; n of them count
	kids  []*block    // by slot; nil of a leaf
	more  []uint64    // the bands that are not among the first
}

// What a block has words of.
const (
	byClass = iota
	byBand
)

// blocks are those of a pool that are in no ranks. They are used again, as ranks split and thin out all the time.
type blocks struct{ spare *block }

// take returns an empty block.
func (p *blocks) take(leaf bool) *block {
	n := p.spare
	if n == nil {
		n = &block{}
	} else {
		p.spare, n.up = n.up, nil
	}
	switch {
	case leaf:
		n.kids = nil
	case n.kids == nil:
		n.kids = make([]*block, wide)
	}
	return n
}

// give takes n, in which nobody stands.
func (p *blocks) give(n *block) {
	n.up, p.spare = p.spare, n
}

// rankOf returns the place of s as its worker is now.
func rankOf(s *stand) rank {
	load := s.w.load
	if s.preferred {
		load = math.Copysign(load, -1)
	}
	return rank{load: load, fit: s.fit, assigned: s.w.assigned, w: s.w, s: s}
}

// before tells whether a shall be asked before b, who meets the same step of the same queue.
func (a *rank) before(b *rank, by *queue) bool {
	if preferred := math.Signbit(a.load); preferred != math.Signbit(b.load) {
		return preferred
	}
	x, y := a.fit, b.fit
	if p, q := math.Abs(a.load), math.Abs(b.load); by.Scoring == Weighted {
		x, y = x-by.Weights.Load*p, y-by.Weights.Load*q
	} else if p != q {
		return p < q
	}
	switch {
	case x != y:
		return x > y
	case a.assigned != b.assigned:
		return a.assigned < b.assigned
	}
	return a.w.ID < b.w.ID
}

// banded tells whether h has bands for loads.
func (h *ranks) banded() bool { return h.by.Scoring == Banded && !h.ladder.coarse }

// bandOf returns the band of s, as his worker is now.
func (h *ranks) bandOf(s *stand) int16 {
	side := h.side(s)
	if side == ordered {
		return able
	}
	return bandOf(h.ladder.number(s.w), side)
}

// side returns which of the bands of a load are those of s.
func (h *ranks) side(s *stand) uint8 {
	switch {
	case !h.banded():
		return ordered
	case !h.prefers:
		return alone
	case s.preferred:
		return preferred
	}
	return others
}

// sides returns the first and the last side that somebody can have.
func (h *ranks) sides() (first, last uint8) {
	if h.prefers {
		return preferred, others
	}
	return alone, alone
}

// ahead is the order of places: of those of a band [rank.before].
func (h *ranks) ahead(a, b *rank) bool {
	if !h.banded() {
		return a.before(b, h.by)
	}
	switch {
	case a.fit != b.fit:
		return a.fit > b.fit
	case a.assigned != b.assigned:
		return a.assigned < b.assigned
	}
	return a.w.ID < b.w.ID
}

// push adds s, who does not stand in h, where his worker is now. As long as he rests nobody finds him.
func (h *ranks) push(s *stand) {
	f := s.foot()
	f.side, f.band = h.side(s), resting
	h.insert(rankOf(s))
	s.note(math.Inf(1))
}

func (h *ranks) insert(x rank) {
	n := h.root
	for n.kids != nil {
		n = n.kids[n.order[max(h.upTo(n, &x)-1, 0)]]
	}
	n, at := h.room(n, h.upTo(n, &x), &x)
	s, f := x.s, x.s.foot()
	f.slot = n.open(at)
	f.block = n
	n.ranks[f.slot] = x
	n.mark(byBand, int(f.band), f.slot)
	for k := range s.words() {
		for row := s.word(k); row != 0; row &= row - 1 {
			n.mark(byClass, k*wide+bits.TrailingZeros64(row), f.slot)
		}
	}
}

// remove takes s out, who stands in h. His footing keeps its band.
func (h *ranks) remove(s *stand) {
	f := s.foot()
	n, slot := f.block, f.slot
	n.clear(byBand, int(f.band), slot)
	for k := range s.words() {
		for row := s.word(k); row != 0; row &= row - 1 {
			n.clear(byClass, k*wide+bits.TrailingZeros64(row), slot)
		}
	}
	f.block = nil
	h.close(n, slot)
}

// reorder puts who stands at a slot of n, and could take a task, where he is by now in the order. It tells whether that is elsewhere: then another may
// be before him. Whoever stays where he is is touched nowhere else.
func (h *ranks) reorder(n *block, slot uint8) (moved bool) {
	x := &n.ranks[slot]
	w := x.w
	if x.assigned == w.assigned && (h.banded() || math.Abs(x.load) == w.load) {
		return false
	}
	y := rank{math.Copysign(w.load, x.load), x.fit, w.assigned, w, x.s}
	if at := n.position(slot); !h.fits(n, at, &y) {
		at = h.upTo(n, &y)
		if at == 0 && n.up != nil || at == n.n && !h.ends(n, &y) { // who comes first may belong elsewhere
			h.remove(y.s)
			h.insert(y)
			f := y.s.foot()
			n, slot = f.block, f.slot
		} else {
			n.shift(slot, at)
		}
		moved = true
	}
	n.ranks[slot] = y
	return moved
}

// level puts s, who could take a task, in the band of his load. It tells whether that is another.
func (h *ranks) level(s *stand) (moved bool) {
	f := s.foot()
	if band := h.bandOf(s); band != f.band {
		f.move(band)
		moved = true
	}
	s.note(s.w.load)
	return moved
}

// fits tells whether x, who stands at that position of n, is in order there as he is by now. Of who comes first that is not known; but of a band nobody
// comes to stand before where he was.
func (h *ranks) fits(n *block, at int, x *rank) bool {
	if at+1 < n.n && !h.ahead(x, &n.ranks[n.order[at+1]]) || at+1 == n.n && !h.ends(n, x) {
		return false
	}
	return h.banded() || at > 0 && h.ahead(&n.ranks[n.order[at-1]], x) || at == 0 && n.up == nil
}

// ends tells whether x, who comes behind all others of n, comes before everybody behind n, as far as is seen from above.
func (h *ranks) ends(n *block, x *rank) bool {
	for ; n.up != nil; n = n.up {
		if at := n.up.position(n.slot) + 1; at < n.up.n {
			return h.ahead(x, &n.up.ranks[n.up.order[at]])
		}
	}
	return true
}

// best returns where the best of a class stands whom t is not kept from; nil is nobody. No t is kept from nobody.
func (h *ranks) best(class int, t *task) (*block, uint8) {
	if !h.banded() {
		return h.root.first(class, able, t)
	}
	for side, last := h.sides(); side <= last; side++ {
		for _, number := range h.ladder.order {
			if n, slot := h.root.first(class, int(bandOf(number, side)), t); n != nil {
				return n, slot
			}
		}
	}
	return nil, 0
}

// first is best of one band, from n down.
func (n *block) first(class, band int, t *task) (*block, uint8) {
	at := n.both(class, band)
	if at == 0 {
		return nil, 0
	}
	for _, slot := range n.order[:n.n] {
		switch {
		case at>>(slot%wide)&1 == 0:
		case n.kids != nil:
			if m, s := n.kids[slot].first(class, band, t); m != nil {
				return m, s
			}
		case t == nil || !t.barred(n.ranks[slot].w.ID) && !t.asks(n.ranks[slot].w):
			return n, slot
		}
	}
	return nil, 0
}

// both returns the slots at which, or below which, somebody meets the class and somebody is of the band.
func (n *block) both(class, band int) uint64 {
	if at := n.band(band); at != 0 && class < len(n.cols) {
		return n.cols[class] & at
	}
	return 0
}

// band returns the slots at which, or below which, somebody is of the band.
func (n *block) band(i int) uint64 {
	if i < len(n.bands) {
		return n.bands[i]
	}
	if i -= len(n.bands); i < len(n.more) {
		return n.more[i]
	}
	return 0
}

// top appends the best of a class, until there are as many as most in list.
func (h *ranks) top(class, most int, list []*rank) []*rank {
	if !h.banded() {
		return h.root.top(class, able, most, list)
	}
	for side, last := h.sides(); side <= last; side++ {
		for _, number := range h.ladder.order {
			list = h.root.top(class, int(bandOf(number, side)), most, list)
		}
	}
	return list
}

// top is that of one band, from n down.
func (n *block) top(class, band, most int, list []*rank) []*rank {
	at := n.both(class, band)
	for i := 0; i < n.n && at != 0 && len(list) < most; i++ {
		slot := n.order[i]
		switch {
		case at>>(slot%wide)&1 == 0:
			continue
		case n.kids != nil:
			list = n.kids[slot].top(class, band, most, list)
		default:
			list = append(list, &n.ranks[slot])
		}
		at &^= 1 << (slot % wide)
	}
	return list
}

// upTo returns how many places of n do not come behind x.
func (h *ranks) upTo(n *block, x *rank) int {
	low, high := 0, n.n
	for low < high {
		if mid := (low + high) / 2; h.ahead(x, &n.ranks[n.order[mid]]) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// position returns where slot is in the order of n.
func (n *block) position(slot uint8) int { return bytes.IndexByte(n.order[:n.n], slot) }

// open makes a place at that position of n, which has room, and returns its slot.
func (n *block) open(at int) uint8 {
	slot := bits.TrailingZeros64(^n.used)
	if slot >= len(n.ranks) { // most rankings are small
		ranks := make([]rank, min(max(2*len(n.ranks), 8), wide))
		copy(ranks, n.ranks)
		n.ranks = ranks
	}
	copy(n.order[at+1:n.n+1], n.order[at:n.n])
	n.order[at] = uint8(slot)
	n.used |= 1 << slot
	n.n++
	return uint8(slot)
}

// shift moves slot to before the place that stood at that position.
func (n *block) shift(slot uint8, at int) {
	if from := n.position(slot); from < at {
		copy(n.order[from:at-1], n.order[from+1:at])
		n.order[at-1] = slot
	} else {
		copy(n.order[at+1:from+1], n.order[at:from])
		n.order[at] = slot
	}
}

// close gives up a place of n, where nobody is of anything any more, and n when it was the last.
func (h *ranks) close(n *block, slot uint8) {
	at := n.position(slot)
	copy(n.order[at:n.n-1], n.order[at+1:n.n])
	n.n--
	n.used &^= 1 << slot
	n.ranks[slot] = rank{}
	if n.kids != nil {
		n.kids[slot] = nil
	}
	switch {
	case n.up != nil:
		if n.n == 0 {
			h.close(n.up, n.slot)
			h.pool.give(n)
		}
	case n.kids != nil && n.n == 0:
		h.pool.give(n)
		h.root = h.pool.take(true)
	case n.kids != nil && n.n == 1:
		last := n.order[0]
		h.root, n.kids[last], n.ranks[last] = n.kids[last], nil, rank{}
		h.root.up = nil
		n.n, n.used = 0, 0
		clear(n.cols)
		clear(n.bands[:])
		clear(n.more)
		h.pool.give(n)
	}
}

// room returns a block that has room, and the position in it, for x, who belongs at that position of n. One that is full is split: in halves,
// or behind its last when x comes behind that, as whoever was served last does among equals.
func (h *ranks) room(n *block, at int, x *rank) (*block, int) {
	if n.n < wide {
		return n, at
	}
	if n.up == nil {
		h.root = h.pool.take(false)
		n.up, n.slot = h.root, h.root.open(0)
		h.root.kids[n.slot], h.root.ranks[n.slot] = n, n.ranks[n.order[0]]
		for of := range byBand + 1 {
			for i := range n.words(of) {
				if *n.word(of, i) != 0 {
					h.root.mark(of, i, n.slot)
				}
			}
		}
	}
	half := wide / 2
	if at == wide {
		half = wide
	}
	m := h.pool.take(n.kids == nil)
	moved := n.cut(half, m)
	first := x
	if m.n > 0 {
		first = &m.ranks[m.order[0]]
	}
	up, behind := h.room(n.up, n.up.position(n.slot)+1, first)
	m.up, m.slot = up, up.open(behind)
	up.ranks[m.slot], up.kids[m.slot] = *first, m
	for of := range byBand + 1 {
		for i := range n.words(of) {
			at := n.word(of, i)
			went := *at & moved
			if went == 0 {
				continue
			}
			*at &^= moved
			*m.word(of, i) = went
			up.mark(of, i, m.slot)
			if *at == 0 {
				n.up.clear(of, i, n.slot)
			}
		}
	}
	if half == wide || at > half {
		return m, at - half
	}
	return n, at
}

// cut moves the places of n from that position on into m, which is empty, without telling who is of what there, and returns their slots.
func (n *block) cut(from int, m *block) (moved uint64) {
	if len(m.ranks) < wide {
		m.ranks = make([]rank, wide)
	}
	for i, slot := range n.order[from:n.n] {
		m.order[i] = slot
		moved |= 1 << slot
		m.ranks[slot], n.ranks[slot] = n.ranks[slot], rank{}
		if n.kids == nil {
			m.ranks[slot].s.foot().block = m
			continue
		}
		m.kids[slot], n.kids[slot] = n.kids[slot], nil
		m.kids[slot].up = m
	}
	m.n, m.used = n.n-from, moved
	n.n, n.used = from, n.used&^moved
	return moved
}

// mark says that somebody is of the i'th class or band at a slot of n, and so below n.
func (n *block) mark(of, i int, slot uint8) {
	at := n.word(of, i)
	before := *at
	*at = before | 1<<slot
	if before == 0 && n.up != nil {
		n.up.mark(of, i, n.slot)
	}
}

// clear says that nobody is any more.
func (n *block) clear(of, i int, slot uint8) {
	at := n.word(of, i)
	if *at &^= 1 << slot; *at == 0 && n.up != nil {
		n.up.clear(of, i, n.slot)
	}
}

// pass is clear of one band and mark of another. It does the same whatever is in the words: a worker passes in all of his rankings at once, and as long
// as nothing depends on what is there, none of them waits for the memory of another.
func (n *block) pass(from, to int, slot uint8) {
	bit := uint64(1) << slot
	gone := bit
	for {
		at := n.word(byBand, to)
		*at |= bit
		at = n.word(byBand, from)
		*at &^= gone
		if n.up == nil {
			return
		}
		if bit, gone = 1<<n.slot, 0; *at == 0 {
			gone = bit
		}
		n = n.up
	}
}

// words returns how many classes or bands n has words of.
func (n *block) words(of int) int {
	if of == byClass {
		return len(n.cols)
	}
	return len(n.bands) + len(n.more)
}

// word returns n's word of the i'th class or band, made if it is new.
func (n *block) word(of, i int) *uint64 {
	if of == byBand && i < len(n.bands) {
		return &n.bands[i]
	}
	return n.far(of, i)
}

// far is word for the words that lie elsewhere.
func (n *block) far(of, i int) *uint64 {
	words := &n.cols
	if of == byBand {
		words, i = &n.more, i-len(n.bands)
	}
	if i >= len(*words) {
		*words = append(*words, make([]uint64, i+1-len(*words))...)
	}
	return &(*words)[i]
}
