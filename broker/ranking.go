package broker

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"switchboard/broker/selector"
)

// ranking is what those classes of a queue share for which one order of workers holds: they cost the same, and look at the same skills and the
// same preference, whatever else they ask. Each of them is a bit in it. A worker stands in it once, with the bits of the classes that he meets:
// so he who takes something, or gives it back, is moved in as many places as there are rankings, and not in as many as there are classes.
type ranking struct {
	ranks   ranks // of those who could take a task
	cost    int
	calling int      // classes in which somebody waits
	waits   []uint64 // them, by bits
	heads   []head   // by class
	free    []int32  // by class: who stands in ranks and meets it
	classes []*class // by bit; nil is none any more
	live    int      // classes
	queue   *queue   // whose tasks
	stands  []*stand // in no order
	scored  []string // the skills that count
	prefer  selector.Residual
	pool    *Core
	key     string
}

// stand is what a worker is to a ranking: by what he is compared, where he stands, and which of its classes he meets. What is asked when he gives
// something back comes first.
type stand struct {
	block *block // in which he stands; nil when he could not take a task
	in    *ranking
	w     *worker
	seat  int32  // in w.stands and w.loads
	slot  uint8  // in block
	row   uint64 // the classes, by bits, of the first 64
	more  []uint64

	rank      int32 // of the queue, to the worker
	cost      int32
	skill     float64
	fit       float64 // of skill and rating: changes only with the worker
	rating    float64 // of the worker, as it was when he came
	preferred bool
	index     int // in ranking.stands
}

// note tells s's worker by which load he stands there; +Inf is not at all.
func (s *stand) note(load float64) {
	s.w.loads[s.seat] = load
	s.w.worst = max(s.w.worst, load)
}

// words returns how many words word has.
func (s *stand) words() int { return 1 + len(s.more) }

// word returns 64 bits of the classes that s meets.
func (s *stand) word(i int) uint64 {
	if i == 0 {
		return s.row
	}
	return s.more[i-1]
}

// meets tells whether s is a member of the ranking's class of that number.
func (s *stand) meets(class int) bool {
	return class < s.words()*64 && s.word(class/64)>>(class%64)&1 != 0
}

// set writes the bit of a class.
func (s *stand) set(class int, meets bool) {
	for s.words() <= class/64 {
		s.more = append(s.more, 0)
		s.in.pool.members++
	}
	x := &s.row
	if class >= 64 {
		x = &s.more[class/64-1]
	}
	if *x &^= 1 << (class % 64); meets {
		*x |= 1 << (class % 64)
	}
}

// each calls f for the classes that s meets.
func (s *stand) each(f func(*class)) {
	for k := range s.words() {
		for row := s.word(k); row != 0; row &= row - 1 {
			f(s.in.classes[k*64+bits.TrailingZeros64(row)])
		}
	}
}

// rankingOf returns the ranking of cl, and has cl in it.
func (c *Core) rankingOf(cl *class, scored []string, prefer selector.Residual) {
	key := binary.AppendVarint(nil, int64(cl.cost))
	text := func(s string) { key = append(binary.AppendUvarint(key, uint64(len(s))), s...) }
	text(cl.queue.Name)
	for _, name := range scored {
		text(name)
	}
	text("")
	text(prefer.Key())
	r := c.rankings[string(key)]
	if r == nil {
		r = &ranking{queue: cl.queue, cost: cl.cost, scored: scored, prefer: prefer, pool: c, key: string(key)}
		r.ranks = ranks{by: cl.queue, ladder: &c.ladder, root: c.blocks.take(true), pool: &c.blocks}
		if prefer.Key() == "" {
			r.ranks.others = 1
		}
		c.rankings[r.key] = r
	}
	cl.ranking, cl.bit = r, slices.Index(r.classes, nil)
	if cl.bit < 0 {
		cl.bit = len(r.classes)
		r.classes, r.heads, r.free = append(r.classes, nil), append(r.heads, head{}), append(r.free, 0)
		if cl.bit/64 == len(r.waits) {
			r.waits = append(r.waits, 0)
		}
	}
	r.classes[cl.bit] = cl
	r.live++
}

// forget gives up the classes that no plan has, and r when these are all.
func (r *ranking) forget() {
	gone := make([]uint64, len(r.waits))
	live := r.live
	for i, cl := range r.classes {
		if cl != nil && cl.plans == 0 {
			gone[i/64] |= 1 << (i % 64)
			live--
		}
	}
	if live == r.live {
		return
	}
	r.live = live
	for _, s := range slices.Backward(r.stands) { // whoever leaves is replaced by one who was looked at
		for k := range min(len(gone), s.words()) {
			for row := s.word(k) & gone[k]; row != 0; row &= row - 1 {
				s.leave(r.classes[k*64+bits.TrailingZeros64(row)])
			}
		}
	}
	for i, cl := range r.classes {
		if cl != nil && cl.plans == 0 {
			delete(r.pool.classes, cl.key)
			r.classes[i] = nil
		}
	}
	if live == 0 {
		delete(r.pool.rankings, r.key)
		r.pool.blocks.give(r.ranks.root)
	}
}

// enlist returns what w is to r, where he is nothing yet.
func (r *ranking) enlist(w *worker) *stand {
	skill := 1.0
	if len(r.scored) > 0 {
		sum := 0.0
		for _, name := range r.scored {
			level, _ := w.level(name)
			sum += level
		}
		skill = sum / float64(len(r.scored))
	}
	by := r.queue.Weights
	s := &stand{
		in: r, w: w, skill: skill, fit: by.Skill*skill + by.Rating*w.rating, rating: w.rating, cost: int32(r.cost), //nolint:gosec // checked
		preferred: r.prefer.Key() != "" && r.prefer.Eval(&w.facts), rank: w.seatIn(r.queue).Priority,
		seat: int32(len(w.stands)), index: len(r.stands), //nolint:gosec // a worker has fewer
	}
	w.stands, w.loads, r.stands = append(w.stands, s), append(w.loads, 0), append(r.stands, s)
	s.note(math.Inf(1)) // until he has a place there
	r.pool.members++
	return s
}

// delist undoes enlist for s, who meets no class.
func (s *stand) delist() {
	r, w := s.in, s.w
	if s.block != nil {
		r.ranks.remove(s)
	}
	at := len(w.stands) - 1
	last := w.stands[at]
	w.stands[s.seat], w.loads[s.seat], last.seat = last, w.loads[at], s.seat
	w.stands[at] = nil
	w.stands, w.loads = w.stands[:at], w.loads[:at]
	last = r.stands[len(r.stands)-1]
	r.stands[s.index], last.index = last, s.index
	r.stands[len(r.stands)-1] = nil
	r.stands = r.stands[:len(r.stands)-1]
	r.pool.members -= s.words()
}

// join makes s a member of cl.
func (s *stand) join(cl *class) {
	s.set(cl.bit, true)
	cl.members++
	if s.w.counted {
		cl.attend(1)
	}
	if s.block != nil {
		s.block.mark(byClass, cl.bit, s.slot)
		s.in.free[cl.bit]++
	} else {
		s.update()
	}
}

// leave undoes join.
func (s *stand) leave(cl *class) {
	if s.block != nil {
		s.block.clear(byClass, cl.bit, s.slot)
		s.in.free[cl.bit]--
	}
	s.set(cl.bit, false)
	cl.members--
	if s.w.counted {
		cl.attend(-1)
	}
	if s.row == 0 && !slices.ContainsFunc(s.more, func(x uint64) bool { return x != 0 }) {
		s.delist()
	}
}

// quit ends s, with everything that it meets.
func (s *stand) quit() {
	s.rest()
	s.each(func(cl *class) {
		cl.members--
		if s.w.counted {
			cl.attend(-1)
		}
	})
	s.delist()
}

// update puts s where it belongs after its worker changed.
func (s *stand) update() {
	switch {
	case s.block != nil:
		s.in.refresh(s.block, s.slot)
	case s.w.takes(s.in.cost):
		s.in.ranks.push(s)
		s.count(1)
	}
}

// rest takes s out of the ranks, when he stands there.
func (s *stand) rest() {
	if s.block != nil {
		s.in.ranks.remove(s)
		s.count(-1)
		s.note(math.Inf(1))
	}
}

// count adds to those who could take a task of its classes.
func (s *stand) count(d int32) {
	for k := range s.words() {
		for row := s.word(k); row != 0; row &= row - 1 {
			s.in.free[k*64+bits.TrailingZeros64(row)] += d
		}
	}
}

// refresh puts who stands at a slot of n where he is by now, and out when he takes nothing of that cost. It tells whether he is elsewhere then.
func (r *ranking) refresh(n *block, slot uint8) bool {
	if x := &n.ranks[slot]; !x.w.takes(r.cost) {
		x.s.rest()
		return true
	}
	return r.ranks.refresh(n, slot)
}

// call notes that somebody waits in a class, or that nobody does any more.
func (r *ranking) call(class int, somebody bool) {
	if r.waits[class/64] &^= 1 << (class % 64); somebody {
		r.waits[class/64] |= 1 << (class % 64)
		r.calling++
		r.pool.calling++
		return
	}
	r.calling--
	r.pool.calling--
}

// before tells whether s, as its worker is now, shall be asked before o, who meets the same step of the same queue.
func (s *stand) before(o *stand) bool {
	x, y := rankOf(s), rankOf(o)
	return x.before(&y, s.in.queue)
}
