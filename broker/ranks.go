package broker

import "math"

// ranks are the members of a class who could take a task: a heap, best first as they were when they were last looked at. Nobody stands
// worse in it than his worker is. What they are compared by stands in the heap itself, so that among thousands of classes the best of one
// is found by looking at his place and at himself.
type ranks struct {
	by    *queue // whose scoring counts
	n     int
	front [ranksFront]rank // the first, and the two of whom one comes after him: mostly nothing else is looked at
	rest  []rank           // the others
}

// ranksFront is how many of a heap lie in it.
const ranksFront = 3

// rank is a member's place.
type rank struct {
	load     float64 // signed below zero of one who is preferred, also nought: three ranks are two lines and a quarter of memory
	fit      float64 // of skill and rating: changes only with the worker
	assigned uint64
	w        *worker
	s        *stand // where w notes that he stands here
	m        *member
}

// signed returns load as it stands in a rank.
func (a *member) signed(load float64) float64 {
	if a.preferred {
		return math.Copysign(load, -1)
	}
	return load
}

// stand is what a worker knows of his place in a class. Those of all his classes lie in one piece of memory: whether anything is to be done in
// thousands of classes when he takes something, or gives it back, is seen without a look at any of them.
type stand struct {
	load  float64 // as the heap has it
	at    int32   // in the heap, from 1; 0 is nowhere
	cost  int32   // of the class
	class int32   // its number
	rank  int32   // of the class's queue, to the worker
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

// node returns the i'th place.
func (h *ranks) node(i int) *rank {
	if i < ranksFront {
		return &h.front[i]
	}
	return &h.rest[i-ranksFront]
}

// push adds m, who does not stand in h, as his worker is now.
func (h *ranks) push(m *member) {
	s := m.stand()
	x := rank{m.signed(m.w.load), m.fit, m.w.assigned, m.w, s, m}
	if h.n < ranksFront {
		h.front[h.n] = x
	} else {
		h.rest = append(h.rest, x)
	}
	h.n++
	s.at, s.load = int32(h.n), m.w.load //nolint:gosec // a pool has fewer workers
	m.w.worst = max(m.w.worst, m.w.load)
	h.up(h.n - 1)
}

// remove takes out who stands there, when he stands anywhere.
func (h *ranks) remove(s *stand) {
	i := int(s.at) - 1
	if i < 0 {
		return
	}
	s.at = 0
	h.n--
	last := h.n
	moved := *h.node(last)
	*h.node(last) = rank{}
	if last >= ranksFront {
		h.rest = h.rest[:last-ranksFront]
	}
	if i < last {
		h.set(i, moved)
		h.fix(i)
	}
}

// refresh puts the i'th where its worker is by now, and out when he takes nothing of that cost. It tells whether he stood elsewhere.
func (h *ranks) refresh(i, cost int) bool {
	x := h.node(i)
	w := x.w
	switch {
	case !w.takes(cost):
		h.remove(x.s)
		w.worst = math.Inf(1)
	case math.Abs(x.load) != w.load:
		x.load, x.assigned, x.s.load = math.Copysign(w.load, x.load), w.assigned, w.load
		w.worst = max(w.worst, w.load)
		h.fix(i)
	case x.assigned != w.assigned: // his stand is not touched: it is as far away as he is
		x.assigned = w.assigned
		h.fix(i)
	default:
		return false
	}
	return true
}

func (h *ranks) fix(i int) {
	if !h.up(i) {
		h.down(i)
	}
}

// up moves the i'th to the front of those who come behind it. It tells whether it has moved; one who has not is not touched.
func (h *ranks) up(i int) bool {
	first := i
	var x rank
	for i > 0 {
		parent := (i - 1) / 2
		if i == first {
			if !h.node(i).before(h.node(parent), h.by) {
				return false
			}
			x = *h.node(i)
		} else if !x.before(h.node(parent), h.by) {
			break
		}
		h.set(i, *h.node(parent))
		i = parent
	}
	if i == first {
		return false
	}
	h.set(i, x)
	return true
}

// down moves the i'th behind those who come before it.
func (h *ranks) down(i int) {
	first := i
	x := *h.node(i)
	for {
		child := 2*i + 1
		if child >= h.n {
			break
		}
		next := h.node(child)
		if right := child + 1; right < h.n {
			if other := h.node(right); other.before(next, h.by) {
				child, next = right, other
			}
		}
		if !next.before(&x, h.by) {
			break
		}
		h.set(i, *next)
		i = child
	}
	if i != first {
		h.set(i, x)
	}
}

func (h *ranks) set(i int, x rank) {
	*h.node(i) = x
	x.s.at = int32(i + 1) //nolint:gosec // a pool has fewer workers
}

// of returns the best for t from the i'th place down, looking past those whom t is kept from; nil is nobody.
func (h *ranks) of(i int, t *task) *rank {
	if i >= h.n {
		return nil
	}
	x := h.node(i)
	if !t.barred(x.w.ID) && !t.asks(x.w) {
		return x
	}
	left, right := h.of(2*i+1, t), h.of(2*i+2, t)
	if left == nil || right != nil && right.before(left, h.by) {
		return right
	}
	return left
}
