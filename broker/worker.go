package broker

import (
	"math"
	"slices"
	"strings"

	"switchboard/broker/selector"
	"switchboard/internal/prefetch"
	"switchboard/wire"
)

// Presence is whether a worker wants work.
type Presence uint8

// The presences [SW-5.9].
const (
	Ready    Presence = iota
	Away              // no new work
	Draining          // no new work, and it means to go
)

var presenceNames = [...]string{"ready", "away", "draining"}

// String returns the name of p on the wire.
func (p Presence) String() string { return presenceNames[p] }

// ParsePresence returns the presence of that name.
func ParsePresence(name string) (Presence, bool) {
	i := slices.Index(presenceNames[:], name)
	return Presence(max(i, 0)), i >= 0
}

// whyMost is how many bytes are kept of why a worker is not ready, or declined: a list of workers is one frame.
const whyMost = 100

// shortWhy returns why as it is kept.
func shortWhy(why string) string {
	if len(why) > whyMost {
		why = strings.ToValidUTF8(why[:whyMost], "")
	}
	return why
}

// is notes that w is of a presence since just now, and why.
func (w *worker) is(p Presence, why string) {
	if w.presence, w.why = p, shortWhy(why); p == Ready {
		w.why = ""
	}
}

// The prior that ratings of new workers are drawn to.
const (
	priorRating = 0.5
	priorCount  = 20
)

// Subscription is a worker's wish for work [SW-5].
type Subscription struct {
	ID      string // sub, or sub/instance
	Sub     string
	Name    string
	Kind    wire.Origin // bot or human
	Queues  []string
	Allowed []string // that its token names; "*" is all
	Slots   int      // default 1
	Window  uint32   // default 16
	Skills  []Skill
	// Attributes are what selectors see besides id, sub, name, kind, rating, skills, queues and teams, which are said
	// here otherwise. They are shared, and never changed.
	Attributes selector.Attrs
	// All subscribes to all queues that Allowed names, also those that [Core.Configure] brings.
	All bool
	// Rating in 0..1 is the mean of Ratings customers, and drawn to 0.5 while they are few. Without Ratings it counts as
	// it stands, and zero is unknown.
	Rating   float64
	Ratings  int
	Conn     wire.Conn
	Ref      Ref
	Lease    string // that the worker had before, or empty
	NewLease string // to be used for a new one
	// Resumed says that the worker has subscribed before, on this connection and with Lease, and does not know that the pool was
	// made anew. It takes nothing from a live connection, a lease that is not known stays as it is. Presence and Slots are
	// what the worker said last and was answered; a pool that knows the connection knows them better, and tells the presence when it is another.
	Resumed  bool
	Presence Presence
	Why      string // it is not ready
	// Turn is, of a resumed one, what its connection was told as Effect.Turn when it subscribed; 0 is not known. Of two who resume as one
	// worker the later has it.
	Turn uint64
}

// worker is somebody who does the work. A disconnected one lives on while it has tasks or grace. What finding the best and giving him a task
// looks at is four lines of memory, so that of 10,000 workers it stays near; the rest is behind.
type worker struct {
	connected bool
	gone      bool // its grace is over: nothing is kept for it
	freed     bool // it may take something at the end of the event
	counted   bool // among those who staff its classes
	loose     bool // it got rid of a task, and may stand worse in its classes than it is until somebody looks, or the event ends
	stale     bool // it took something, and may stand better in its rankings than it is until somebody looks, or it is put right
	presence  Presence
	kind      kind
	window    uint32
	whole     int32 // of its tasks those that want it for themselves
	used      int   // cost of its tasks: offered, granted, held, lost, in wrap-up [I3]
	slots     int
	load      float64
	worst     float64 // the highest load of its footings
	assigned  uint64  // when it last was, by the core's count
	*profile
	tasks []*task   // in no order
	feet  []footing // by stand: all that changes with each task
	conn  wire.Conn
	lease string
	ID    string
	sub   string
	name  string
	few   [5]*task      // where tasks are, when they are few
	own   heap[*waiter] // tasks that wait for it alone
}

// profile is what a worker has besides.
type profile struct {
	said   Subscription // what it last said: its queues may be configured again
	seated bool         // it stands in its queues
	queues []*queue     // the last is everybody's
	seats  []int        // in workers of each of queues
	places []Seat       // by its teams
	skills []Skill      // sorted by name
	facts  selector.Worker
	rating float64
	stands []*stand // in its rankings
	timer  timer    // of its grace
	turn   uint64   // of the connection that has subscribed as it last: grows with each
	why    string   // it is not ready; at most whyMost bytes
}

// newWorker returns a worker of whom nothing is known but who he is.
func newWorker(id, lease string, k kind) *worker {
	w := &worker{ID: id, lease: lease, kind: k, profile: &profile{}}
	w.tasks = w.few[:0]
	w.timer.worker = w
	return w
}

// there tells whether w is connected and wants work, busy or not.
func (w *worker) there() bool { return w.connected && w.presence == Ready }

// takes tells whether w could take a task of cost now.
func (w *worker) takes(cost int) bool {
	if !w.connected || w.presence != Ready || w.whole > 0 {
		return false
	}
	if cost == All {
		return w.used == 0
	}
	return w.used+cost <= w.slots
}

// serves tells whether w has subscribed to q.
func (w *worker) serves(q *queue) bool { return slices.Contains(w.queues, q) }

// isMember tells whether w meets c.
func (w *worker) isMember(c *class) bool { return w.memberOf(c) != nil }

// memberOf returns what w is to the ranking of c, when he meets c, or nil.
func (w *worker) memberOf(c *class) *stand {
	if s := w.standIn(c.ranking); s != nil && s.meets(c.bit) {
		return s
	}
	return nil
}

// standIn returns what w is to r, or nil.
func (w *worker) standIn(r *ranking) *stand {
	for i := range w.feet {
		if w.feet[i].in == r {
			return w.stands[i]
		}
	}
	return nil
}

// ease puts everybody where he belongs who got rid of a task in this event: before classes are looked at.
func (c *Core) ease() {
	for _, w := range c.freed {
		if w.loose {
			w.loose = false
			w.ease(&c.ladder)
		}
	}
}

// easeIn is ease for w in the ranking of one class.
func (w *worker) easeIn(cl *class) {
	if !w.loose {
		return
	}
	if s := w.standIn(cl.ranking); s != nil {
		s.update()
	}
}

// What is asked for before it is touched: how many footings at most when it is not known whether any will be looked at, how many blocks ahead of the one
// that is touched, and how much of a block, which is what changes with a task.
const (
	fewFeet     = 64
	blocksAhead = 16
	blockNear   = 64
)

// ease puts w where he belongs after he got rid of a task: in the rankings in which he stood worse, or not at all. When there can be none, his
// places are not looked at: there may be hundreds.
func (w *worker) ease(l *ladder) {
	if w.load >= w.worst {
		return
	}
	w.worst = 0
	at := w.now(l)
	for i := range w.feet {
		if i+blocksAhead < len(w.feet) {
			prefetch.Start(w.feet[i+blocksAhead].block, blockNear)
		}
		if w.feet[i].side != ordered {
			w.worst = max(w.worst, w.step(i, at))
			continue
		}
		s := w.stands[i]
		if w.load < s.load {
			s.update()
		}
		w.worst = max(w.worst, s.load)
	}
}

// fewStands is in how many rankings somebody may stand and is put right in all of them after he took something. Whoever stands in more is put
// right where he is found as the best.
const fewStands = 256

// taker is who took something last, and the lowest load that he has had since he stood right: he stands nowhere better than that. He is put right
// when the next one takes: should he have given it back by then, or have taken what he had given back, none of his rankings is touched.
type taker struct {
	w    *worker
	from float64
}

// sink notes that w, whose load was from, took something. He is not moved among his equals by that.
func (c *Core) sink(w *worker, from float64) {
	last := c.taker
	switch {
	case last.w == w:
		from = min(from, last.from)
	case w.stale: // by more than this
		from = 0
	}
	w.stale = true
	c.taker = taker{w, from}
	if last.w != nil && last.w != w {
		last.w.sink(last.from, &c.ladder)
	}
}

// sink puts w where he belongs, who stands nowhere better than with the load from, or notes that he is to be looked at.
func (w *worker) sink(from float64, l *ladder) {
	if w.stale = w.stale && w.load > from; !w.stale || len(w.feet) > fewStands {
		return
	}
	w.stale, w.worst = false, 0
	at := w.now(l)
	for i := range w.feet {
		if w.feet[i].side != ordered {
			w.worst = max(w.worst, w.step(i, at))
			continue
		}
		w.stale = true
		w.worst = max(w.worst, w.stands[i].load)
	}
}

// moment is what tells where a worker belongs: the same in all rankings that have bands.
type moment struct {
	load   float64
	number uint8 // of load
	idle   bool
	room   int // slots; below zero he could take nothing
}

// now returns w's moment.
func (w *worker) now(l *ladder) moment {
	m := moment{load: w.load, room: -1}
	if !l.coarse && len(w.feet) > 0 { // or nobody has bands
		m.number = l.number(w)
	}
	if w.there() && w.whole == 0 {
		m.idle, m.room = w.used == 0, w.slots-w.used
	}
	return m
}

// step puts w in the band where he belongs, in the i'th of his rankings, and returns the load by which he stands there; +Inf is that nobody finds him.
func (w *worker) step(i int, m moment) (load float64) {
	f := &w.feet[i]
	band, load := int16(resting), math.Inf(1)
	if int(f.cost) <= m.room && (f.cost != All || m.idle) {
		band, load = bandOf(m.number, f.side), m.load
	}
	if band == f.band {
		return load
	}
	switch {
	case band == resting:
		w.count(i, -1)
	case f.band == resting:
		w.count(i, 1)
	}
	f.move(band)
	return load
}

// seatIn returns what q is to w.
func (w *worker) seatIn(q *queue) Seat {
	for _, s := range w.places {
		if s.Queue == q.Name {
			return s
		}
	}
	return Seat{Queue: q.Name, Priority: q.Priority}
}

// level returns w's level in a skill.
func (w *worker) level(name string) (float64, bool) {
	for i := range w.skills {
		if w.skills[i].Name == name {
			return w.skills[i].Level, true
		}
	}
	return 0, false
}

// weigh finds w's load.
func (w *worker) weigh() {
	w.load = 1
	if w.slots > 0 {
		w.load = float64(w.used) / float64(w.slots)
	}
}

// changed puts w where it belongs in all its rankings.
func (w *worker) changed() {
	w.weigh()
	w.stale = false
	if there := w.there(); there != w.counted {
		w.counted = there
		d := 1
		if !there {
			d = -1
		}
		for _, s := range w.stands {
			s.each(func(cl *class) { cl.attend(d) })
		}
	}
	for _, s := range w.stands {
		s.update()
	}
}

// charge makes t a task of w.
func (c *Core) charge(t *task, w *worker) {
	t.worker, t.index = w, len(w.tasks)
	w.tasks = append(w.tasks, t)
	t.charge = t.cost
	if t.cost == All {
		t.charge = w.slots
		w.whole++
	}
	w.used += t.charge
	if s := t.plan.lane.shop; s != nil {
		s.used += t.charge
	}
	from := w.load
	w.weigh()
	c.sink(w, from)
}

// resize gives w so many slots. What wants a worker for itself takes all of them, however many there were when he got it.
func (c *Core) resize(w *worker, slots int) {
	w.slots = slots
	for _, t := range w.tasks {
		if t.cost != All {
			continue
		}
		if s := t.plan.lane.shop; s != nil {
			s.used += slots - t.charge
		}
		w.used += slots - t.charge
		t.charge = slots
	}
	c.hear(w)
}

// discharge undoes charge: the worker may take something else.
func (c *Core) discharge(t *task) {
	w := t.worker
	last := len(w.tasks) - 1
	moved := w.tasks[last]
	w.tasks[t.index], moved.index = moved, t.index
	w.tasks[last] = nil
	w.tasks = w.tasks[:last]
	if t.cost == All {
		w.whole--
	}
	w.used -= t.charge
	if s := t.plan.lane.shop; s != nil {
		s.used -= t.charge
	}
	t.worker = nil
	w.weigh()
	w.loose = true
	c.release(w)
}

// release lets w take something at the end of the event.
func (c *Core) release(w *worker) {
	if !w.freed {
		w.freed = true
		c.freed = append(c.freed, w)
	}
}

// origin returns the kind's name on the wire.
func (k kind) origin() wire.Origin {
	if k == bot {
		return wire.OriginBot
	}
	return wire.OriginHuman
}

func kindOf(o wire.Origin) kind {
	if o == wire.OriginBot {
		return bot
	}
	return human
}

// shrink draws the mean of n ratings to the prior.
func shrink(mean float64, n int) float64 {
	switch {
	case n > 0:
		mean = (float64(n)*mean + priorCount*priorRating) / (float64(n) + priorCount)
	case mean == 0:
		mean = priorRating
	}
	return min(max(mean, 0), 1)
}
