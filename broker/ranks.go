package broker

import (
	"bytes"
	"math"
	"math/bits"
)

// ranks are the stands of a ranking whose workers could take a task, in the order in which they were when they were last looked at. Nobody
// stands worse in them than his worker is. They are a tree of blocks of at most 64 places each, and each block knows of each class at which of
// its places, or below which of them, somebody meets it: so the best of a class is found by one word and one place of each block from the root
// down, however few of the others meet it, and whoever moves does so once for all the classes that he meets here.
type ranks struct {
	by   *queue // whose scoring counts
	root *block
	pool *blocks
}

// rank is a place: what it is compared by stands in it.
type rank struct {
	load     float64 // signed below zero of one who is preferred, also nought
	fit      float64 // of skill and rating: changes only with the worker
	assigned uint64
	w        *worker
	s        *stand // where he is told that he stands here
}

// wide is how many places a block has: the bits of a word.
const wide = 64

// block is a part of ranks. A place keeps its slot as long as it is in the block; only their order changes.
type block struct {
	order [wide]uint8 // of slots, best first; n of them count
	used  uint64      // slots, by bits
	n     int
	up    *block
	slot  uint8    // in up
	cols  []uint64 // by class: the slots at which, or below which, somebody meets it
	ranks []rank   // by slot; of an inner block one who comes before nobody below that slot, and behind everybody before it
	kids  []*block // by slot; nil of a leaf
}

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
	return rank{load, s.fit, s.w.assigned, s.w, s}
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

// push adds s, who does not stand in h, as his worker is now.
func (h *ranks) push(s *stand) {
	h.insert(rankOf(s))
	s.load = s.w.load
	s.w.worst = max(s.w.worst, s.load)
}

func (h *ranks) insert(x rank) {
	n := h.root
	for n.kids != nil {
		n = n.kids[n.order[max(n.upTo(&x, h.by)-1, 0)]]
	}
	n, at := h.room(n, n.upTo(&x, h.by), &x)
	s := x.s
	s.slot = n.open(at)
	s.block = n
	n.ranks[s.slot] = x
	for k := range s.words() {
		for row := s.word(k); row != 0; row &= row - 1 {
			n.mark(k*wide+bits.TrailingZeros64(row), s.slot)
		}
	}
}

// remove takes s out, who stands in h.
func (h *ranks) remove(s *stand) {
	n, slot := s.block, s.slot
	for k := range s.words() {
		for row := s.word(k); row != 0; row &= row - 1 {
			n.clear(k*wide+bits.TrailingZeros64(row), slot)
		}
	}
	s.block = nil
	h.close(n, slot)
}

// refresh puts who stands at a slot of n where he is by now. It tells whether he was another when he was last looked at.
func (h *ranks) refresh(n *block, slot uint8) bool {
	x := &n.ranks[slot]
	w := x.w
	if math.Abs(x.load) == w.load && x.assigned == w.assigned {
		return false
	}
	y := rank{math.Copysign(w.load, x.load), x.fit, w.assigned, w, x.s}
	if math.Abs(x.load) != w.load { // else his stand is not touched: it is as far away as he is
		y.s.load = w.load
		w.worst = max(w.worst, w.load)
	}
	if at := n.upTo(&y, h.by); n.up == nil || 0 < at && at < n.n { // who comes first or last may belong elsewhere
		n.shift(slot, at)
		*x = y
		return true
	}
	h.remove(y.s)
	h.insert(y)
	return true
}

// first returns where the best of a class stands, from n down, whom t is not kept from; nil is nobody. No t is kept from nobody.
func (n *block) first(class int, t *task) (*block, uint8) {
	if class >= len(n.cols) {
		return nil, 0
	}
	at := n.cols[class]
	if at == 0 {
		return nil, 0
	}
	for _, slot := range n.order[:n.n] {
		switch {
		case at>>(slot%wide)&1 == 0:
		case n.kids != nil:
			if m, s := n.kids[slot].first(class, t); m != nil {
				return m, s
			}
		case t == nil || !t.barred(n.ranks[slot].w.ID) && !t.asks(n.ranks[slot].w):
			return n, slot
		}
	}
	return nil, 0
}

// top appends the best of a class from n down, until there are as many as most in list.
func (n *block) top(class, most int, list []*rank) []*rank {
	if class >= len(n.cols) {
		return list
	}
	at := n.cols[class]
	for i := 0; i < n.n && at != 0 && len(list) < most; i++ {
		slot := n.order[i]
		switch {
		case at>>(slot%wide)&1 == 0:
			continue
		case n.kids != nil:
			list = n.kids[slot].top(class, most, list)
		default:
			list = append(list, &n.ranks[slot])
		}
		at &^= 1 << (slot % wide)
	}
	return list
}

// upTo returns how many places of n do not come behind x.
func (n *block) upTo(x *rank, by *queue) int {
	low, high := 0, n.n
	for low < high {
		if mid := (low + high) / 2; x.before(&n.ranks[n.order[mid]], by) {
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

// close gives up a place of n, where nobody meets anything any more, and n when it was the last.
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
		for class, col := range n.cols {
			if col != 0 {
				h.root.mark(class, n.slot)
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
	for class, col := range n.cols {
		if col&moved == 0 {
			continue
		}
		n.cols[class] = col &^ moved
		m.grow(class)
		m.cols[class] = col & moved
		up.mark(class, m.slot)
		if col&^moved == 0 {
			n.up.clear(class, n.slot)
		}
	}
	if half == wide || at > half {
		return m, at - half
	}
	return n, at
}

// cut moves the places of n from that position on into m, which is empty, without telling who meets what there, and returns their slots.
func (n *block) cut(from int, m *block) (moved uint64) {
	if len(m.ranks) < wide {
		m.ranks = make([]rank, wide)
	}
	for i, slot := range n.order[from:n.n] {
		m.order[i] = slot
		moved |= 1 << slot
		m.ranks[slot], n.ranks[slot] = n.ranks[slot], rank{}
		if n.kids == nil {
			m.ranks[slot].s.block = m
			continue
		}
		m.kids[slot], n.kids[slot] = n.kids[slot], nil
		m.kids[slot].up = m
	}
	m.n, m.used = n.n-from, moved
	n.n, n.used = from, n.used&^moved
	return moved
}

// mark says that somebody meets a class at a slot of n, and so below n.
func (n *block) mark(class int, slot uint8) {
	n.grow(class)
	before := n.cols[class]
	n.cols[class] = before | 1<<slot
	if before == 0 && n.up != nil {
		n.up.mark(class, n.slot)
	}
}

// clear says that nobody does any more.
func (n *block) clear(class int, slot uint8) {
	n.cols[class] &^= 1 << slot
	if n.cols[class] == 0 && n.up != nil {
		n.up.clear(class, n.slot)
	}
}

// grow gives n a word for a class.
func (n *block) grow(class int) {
	if class >= len(n.cols) {
		n.cols = append(n.cols, make([]uint64, class+1-len(n.cols))...)
	}
}
