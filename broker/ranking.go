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
	ranks   ranks
	cost    int
	calling int      // classes in which somebody waits
	waits   []uint64 // them, by bits
	heads   []head   // by class
	free    []int32  // by class: who could take a task, as far as was looked at, and meets it
	classes []*class // by bit; nil is none any more
	live    int      // classes
	queue   *queue   // whose tasks
	stands  []*stand // in no order
	scored  []string // the skills that count
	prefer  selector.Residual
	pool    *Core
	key     string
}

// stand is what a worker is to a ranking: by what he is compared, and which of its classes he meets. What changes with each task is his footing.
type stand struct {
	in   *ranking
	w    *worker
	seat int32    // in w.stands and w.feet
	load float64  // where loads are a part of the order: by which he stands there; +Inf when he could not take a task
	more []uint64 // the classes, by bits, that he meets, behind the first 64

	rank      int32 // of the queue, to the worker
	cost      int32
	skill     float64
	fit       float64 // of skill and rating: changes only with the worker
	rating    float64 // of the worker, as it was when he came
	preferred bool
	index     int // in ranking.stands
}

// footing is where a stand is. Those of a worker lie in one piece, so that he who takes something, or gives it back, touches that, and in each
// of his rankings a line or two.
type footing struct {
	block *block // in which he stands
	cost  int32  // of a task of the ranking
	band  int16  // resting when he could not take a task
	slot  uint8  // in block
	side  uint8  // which of the bands of a load may be his
	in    *ranking
	row   uint64 // the first 64 classes, by bits, that he meets
}

// The bands of all rankings; behind the first are those of the loads, unless these are a part of the order.
const (
	resting = iota // of those who could not take a task: they stand where they would, and nobody finds them
	able           // of all others, where loads are a part of the order
)

// The sides of a footing.
const (
	alone     = iota // nobody is preferred: each load has one band
	ordered          // loads are a part of the order
	preferred        // each load has two
	others
)

// bandOf returns the band of a load; there is none for who is ordered.
func bandOf(number, side uint8) int16 { return int16(number)<<(side>>1) + int16(side&1) + 1 }

// foot returns the footing of s.
func (s *stand) foot() *footing { return &s.w.feet[s.seat] }

// move puts f in another band.
func (f *footing) move(band int16) {
	f.block.pass(int(f.band), int(band), f.slot)
	f.band = band
}

// note tells s's worker by which load he stands there; +Inf is that nobody finds him.
func (s *stand) note(load float64) {
	s.load = load
	s.w.worst = max(s.w.worst, load)
}

// words returns how many words word has.
func (s *stand) words() int { return 1 + len(s.more) }

// word returns 64 bits of the classes that s meets.
func (s *stand) word(i int) uint64 {
	if i == 0 {
		return s.foot().row
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
	x := &s.foot().row
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
		r.ranks = ranks{by: cl.queue, prefers: prefer.Key() != "", ladder: &c.ladder, root: c.blocks.take(true), pool: &c.blocks}
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
	w.stands, w.feet, r.stands = append(w.stands, s), append(w.feet, footing{in: r, cost: s.cost}), append(r.stands, s)
	r.ranks.push(s)
	s.update()
	r.pool.members++
	return s
}

// delist undoes enlist for s, who meets no class.
func (s *stand) delist() {
	r, w := s.in, s.w
	r.ranks.remove(s)
	at := len(w.stands) - 1
	last := w.stands[at]
	w.stands[s.seat], w.feet[s.seat], last.seat = last, w.feet[at], s.seat
	w.stands[at], w.feet[at] = nil, footing{}
	w.stands, w.feet = w.stands[:at], w.feet[:at]
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
	f := s.foot()
	f.block.mark(byClass, cl.bit, f.slot)
	if f.band != resting {
		s.in.free[cl.bit]++
	}
}

// leave undoes join.
func (s *stand) leave(cl *class) {
	f := s.foot()
	f.block.clear(byClass, cl.bit, f.slot)
	if f.band != resting {
		s.in.free[cl.bit]--
	}
	s.set(cl.bit, false)
	cl.members--
	if s.w.counted {
		cl.attend(-1)
	}
	if s.word(0) == 0 && !slices.ContainsFunc(s.more, func(x uint64) bool { return x != 0 }) {
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
	if !s.w.takes(s.in.cost) {
		s.rest()
		return
	}
	f := s.foot()
	if f.band == resting {
		s.count(1)
	}
	s.in.ranks.reorder(f.block, f.slot)
	s.in.ranks.level(s)
}

// rest lets nobody find s.
func (s *stand) rest() {
	if f := s.foot(); f.band != resting {
		f.move(resting)
		s.note(math.Inf(1))
		s.count(-1)
	}
}

// count adds to those who could take a task of the classes that s meets.
func (s *stand) count(d int32) { s.w.count(int(s.seat), d) }

// count is that of the i'th of w's stands, which is not looked at while its ranking has few classes.
func (w *worker) count(i int, d int32) {
	free := w.feet[i].in.free
	for row := w.feet[i].row; row != 0; row &= row - 1 {
		free[bits.TrailingZeros64(row)] += d
	}
	if len(free) <= 64 {
		return
	}
	for k, row := range w.stands[i].more {
		for ; row != 0; row &= row - 1 {
			free[(k+1)*64+bits.TrailingZeros64(row)] += d
		}
	}
}

// refresh puts who was found at a slot of n where he is by now, and lets nobody find him when he takes nothing of that cost. It tells whether another
// may be before him then.
func (r *ranking) refresh(n *block, slot uint8) bool {
	w, s := n.ranks[slot].w, n.ranks[slot].s
	if !w.takes(r.cost) {
		s.rest()
		return true
	}
	moved := r.ranks.reorder(n, slot)
	if w.stale {
		moved = r.ranks.level(s) || moved
	}
	return moved
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
