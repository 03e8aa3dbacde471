package swarm

import (
	"math/rand/v2"
	"time"

	"switchboard/loadtest/scenario"
)

// flow lets conversations begin when they are due. It is a job of the clock, which plans itself.
type flow struct {
	// Fixed.
	a    *agent
	zero int64
	next *scenario.Arrivals
	rng  *rand.Rand

	// Owned by the clock.
	order []*person         // all, in an order of the seed
	shops map[int][]*person // of each shop
	turn  map[int]int       // whose turn it is, of all (0) and of each shop
	begin time.Duration
	shop  int
}

// choose brings the customers into the order in which they take part.
func (f *flow) choose() {
	f.order = make([]*person, len(f.a.people))
	for i, j := range f.rng.Perm(len(f.order)) {
		f.order[i] = f.a.people[j]
	}
	f.shops, f.turn = map[int][]*person{}, map[int]int{}
	for _, p := range f.order {
		f.shops[p.shop] = append(f.shops[p.shop], p)
	}
}

// plan plans the next beginning.
func (f *flow) plan() {
	var ok bool
	if f.begin, f.shop, ok = f.next.Next(); ok {
		f.a.clock.at(f.zero+int64(f.begin), f)
	}
}

// run lets a conversation begin.
func (f *flow) run(due int64) {
	if due >= f.a.end.Load() {
		return
	}
	defer f.plan()
	p := f.customer()
	if p == nil {
		return // a shop without customers in this process
	}
	t := &talk{p: p, due: due, rng: rand.New(rand.NewPCG(f.rng.Uint64(), 1))} //nolint:gosec // it is to be the same every time
	t.left = max(int(f.a.sc.Talk.Turns.Quantile(f.rng.Float64()*.9998+.0001)+.5), 1)
	for t.due < f.zero && t.left > 0 { // what was said before the beginning
		t.due += t.think()
		t.left--
	}
	if t.left == 0 || t.due >= f.a.end.Load() {
		return
	}
	p.mu.Lock()
	p.talks++
	p.mu.Unlock()
	if t.due <= f.a.now() {
		t.run(t.due)
		return
	}
	f.a.clock.at(t.due, t)
}

// customer returns the next who is not in a conversation, or the next when all that were asked are.
func (f *flow) customer() *person {
	list := f.order
	if f.shop > 0 {
		list = f.shops[f.shop]
	}
	if len(list) == 0 {
		return nil
	}
	for range 16 {
		f.turn[f.shop]++
		p := list[f.turn[f.shop]%len(list)]
		p.mu.Lock()
		free := p.talks == 0
		p.mu.Unlock()
		if free {
			return p
		}
	}
	f.a.m.crowded.Add(1)
	return list[f.turn[f.shop]%len(list)]
}

// talk is a conversation: its messages follow each other after think times, answered or not.
type talk struct {
	p    *person
	left int
	due  int64
	rng  *rand.Rand
}

func (t *talk) think() int64 {
	sc := t.p.a.sc
	return int64(sc.Talk.Think.Quantile(t.rng.Float64()*.9998+.0001) / sc.Talk.Pace * float64(time.Second))
}

// run says the message that is due.
func (t *talk) run(due int64) {
	a := t.p.a
	if due >= a.end.Load() { // the run was stopped
		t.p.ended()
		return
	}
	a.m.record(mLag, a.now()-due)
	t.p.say(due, int(a.sc.Talk.Length.Quantile(t.rng.Float64()*.9998+.0001)))
	t.left--
	t.due = due + t.think()
	if t.left > 0 && t.due < a.end.Load() {
		a.clock.at(t.due, t)
		return
	}
	t.p.ended()
}
