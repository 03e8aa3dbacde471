package broker

import (
	"cmp"
	"slices"

	"switchboard/wire"
)

// A new configuration concerns everybody who waits and everybody who works. With ten thousand in line that is more than an owner may do
// in one piece, so it is done in pieces that are bounded by counts: first tasks are put in order and workers are seated, then tasks get their routes and stand
// in line, then they are matched, in their order. Between the pieces other events come as ever. Until everybody is in line nobody is matched: who
// comes, comes back or becomes free meanwhile is noted, so nobody is passed over for one whom the new routes would have put behind him. How
// the pieces are cut changes nothing: as long as nothing else happens in between, what is decided is what one piece would have decided.

// rerouting is a configuration that is being taken up.
type rerouting struct {
	stage    stage
	relined  bool      // no configuration: whose steps open or close, or who waits when a census ends
	sessions []onRoll  // whose tasks are to be put in order, each by its name: the task may be another's by then
	workers  []*worker // to be seated
	routes   backlog   // tasks to be given a route
	lined    backlog   // tasks that stand in line by it, and are to be matched
}

// stage is how far a rerouting is. Everything of one is done before the next begins.
type stage uint8

const (
	ordering stage = iota // of tasks
	seating               // of workers
	routing               // of tasks
	matching              // of those who wait
)

// pieceLooks is how many workers are held against new classes until a piece ends.
const pieceLooks = 8_192

// Reconfigure makes the pool what cfg says, as [Core.Configure] does, and leaves the work on workers and tasks to [Core.Continue], which is to be
// called until it is done; other events may come in between. cfg must be valid. What it costs at once is a copy of the sessions' names, and a look at the workers.
// One that comes while another is under way takes its place: what that one had moved to other queues is moved on from there.
func (c *Core) Reconfigure(cfg Config, now int64, out *Effects) {
	c.Tick(now, out)
	r := &rerouting{workers: slices.Clone(c.everybody.workers), sessions: slices.Clone(c.roll)}
	if c.anew != nil {
		r.workers = append(r.workers, c.anew.workers...)
		c.overtake()
	}
	c.era++
	c.unroute(r)
	c.anew = r
	c.adoptConfig(cfg)
}

// overtake notes where the configuration that is being taken up would have sent those whom it has not come to.
func (c *Core) overtake() {
	for t := range c.sessions.all {
		for ; t != nil; t = t.next {
			if t.era != c.era {
				t.into = c.successor(t.queue())
			}
		}
	}
}

// unroute takes all workers out of all queues and classes, and forgets plans and classes. Tasks still stand in the lines of these, which are nobody's any
// more.
func (c *Core) unroute(r *rerouting) {
	for _, w := range r.workers {
		clear(w.stands)
		clear(w.queues)
		clear(w.feet)
		w.stands, w.feet, w.queues, w.seats = w.stands[:0], w.feet[:0], w.queues[:0], w.seats[:0]
		w.seated, w.worst = false, 0
	}
	for _, q := range c.queues {
		q.workers, q.skilled, q.classes, q.demands = nil, nil, nil, nil
	}
	*c.everybody = queue{}
	clear(c.classes)
	clear(c.rankings)
	c.ladder, c.calling, c.members = ladder{}, 0, 0
	c.plans = newPlanBook()
	for _, p := range c.dirty {
		p.dirty = false
	}
	clear(c.dirty)
	c.dirty, c.turned = c.dirty[:0], nil
}

// Unfinished tells whether a configuration is being taken up: then [Core.Continue] has something to do.
func (c *Core) Unfinished() bool { return c.anew != nil }

// Continue does the next piece of what Reconfigure has begun: of at most so many workers or tasks.
func (c *Core) Continue(most int, now int64, out *Effects) {
	c.Tick(now, out)
	c.piece(most, out)
	c.settle(out)
}

func (c *Core) piece(most int, out *Effects) {
	r := c.anew
	if r == nil {
		return
	}
	switch r.stage {
	case ordering:
		c.orderSome(r, most)
	case seating:
		c.seatSome(r, most)
	case routing:
		c.routeSome(r, most, out)
	case matching:
		c.matchSome(r, most, out)
	}
}

func (c *Core) orderSome(r *rerouting, most int) {
	n := min(most, len(r.sessions))
	for i := range r.sessions[:n] {
		for t := c.sessions.get(r.sessions[i].session); t != nil; t = t.next {
			r.routes.push(t)
		}
	}
	if r.sessions = r.sessions[n:]; len(r.sessions) > 0 {
		return
	}
	if r.sessions, r.stage = nil, seating; r.relined {
		r.stage = routing // by the plans that they have
	}
}

func (c *Core) seatSome(r *rerouting, most int) {
	n := min(most, len(r.workers))
	for _, w := range r.workers[:n] {
		if !w.seated && !w.gone && c.workers[w.ID] == w { // who has subscribed again meanwhile is there
			c.hear(w)
			c.seat(w)
			w.changed()
		}
	}
	if r.workers = r.workers[n:]; len(r.workers) > 0 {
		return
	}
	for _, p := range c.dirty { // nobody stands in line by it yet
		p.dirty = false
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	r.workers, r.stage = nil, routing
}

func (c *Core) routeSome(r *rerouting, most int, out *Effects) {
	held := c.heldAgainst
	for ; most > 0 && c.heldAgainst-held < pieceLooks; most-- {
		t := r.routes.next()
		if t == nil {
			break
		}
		switch {
		case t.era != c.era:
			c.unwait(t)
			c.replan(t, out)
		case t.lined && r.relined:
			c.unwait(t)
		}
		if t.state == waiting && t.to == "" && !t.lined {
			c.lineAnew(r, t)
		}
	}
	if len(r.routes) > 0 {
		return
	}
	r.routes, r.stage = nil, matching
}

// reline begins to put tasks anew in line, in pieces, when they are more than one event may: by the steps that are open to them now. Until it has
// come to all of them nobody is matched, as with a configuration. Where others are being matched in pieces, these are looked at with them. It tells
// whether it has begun.
func (c *Core) reline(all []*task) bool {
	if c.most == 0 || len(all) <= c.most || !c.open || c.anew != nil && c.anew.stage != matching {
		return false
	}
	if c.anew != nil {
		for i := range c.anew.lined {
			if t := c.anew.lined[i].task(); t != nil && t.lined && !t.plan.dirty {
				all = append(all, t)
			}
		}
	}
	r := &rerouting{relined: true, sessions: make([]onRoll, len(all), len(all)+len(c.moved))}
	for i, t := range all {
		r.sessions[i] = onRoll{t.session, t}
	}
	for i, t := range c.moved { // with them, in their order
		r.sessions, c.moved[i] = append(r.sessions, onRoll{t.session, t}), nil
	}
	c.moved = c.moved[:0]
	for _, p := range c.dirty { // whoever stands in line by it is among them
		p.dirty = false
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	c.anew = r
	return true
}

// lineAnew puts t, which has a route by the new configuration, in line, until it is matched.
func (c *Core) lineAnew(r *rerouting, t *task) {
	if !c.open {
		return // the end of the census comes to it
	}
	t.lift(c.now)
	c.wait(t)
	r.lined.push(t)
}

// matchSome lets those who come next be looked at as if they had come now.
func (c *Core) matchSome(r *rerouting, most int, out *Effects) {
	n := len(c.moved)
	for ; most > 0; most-- {
		t := r.lined.next()
		if t == nil {
			break
		}
		if t.lined {
			c.moved = append(c.moved, t)
		}
	}
	some := slices.Clone(c.moved[n:])
	c.settle(out)
	for _, t := range some {
		if t.lined {
			c.tellFar(t, out)
		}
	}
	if len(r.lined) > 0 || c.anew != r {
		return
	}
	c.anew = nil
	for _, cl := range c.turned {
		if cl.turned = false; cl.manned != (cl.staffed > 0) {
			cl.turn()
		}
	}
	c.turned = nil
	for _, q := range slices.Clone(c.order) { // also those whose last task has ended meanwhile
		if q.closed && q.tasks == 0 {
			c.closeQueue(q)
		}
	}
}

// unlooked tells whether some of those who stand in line by a new configuration have not been looked at: who became free has what they leave.
func (c *Core) unlooked() bool { return c.anew != nil && len(c.anew.lined) > 0 }

// unmatched tells whether nobody is matched for now, and notes t, which waits and stands in no line, for when somebody is. What is still to be routed does
// not become more by that while tasks are: however many come, it ends.
func (c *Core) unmatched(t *task) bool {
	r := c.anew
	if r == nil || r.stage == matching {
		return false
	}
	t.state = waiting
	switch {
	case t.era != c.era: // it is among those, or its session is
	case r.stage == routing:
		c.lineAnew(r, t)
	default:
		r.routes.push(t)
	}
	return true
}

// backlog is tasks in the order in which they are served, over all queues of a pool, as they were when they came to it: a heap. Tasks in it may end, and
// be there twice.
type backlog []queued

// queued is a task's place in a backlog: what it is compared by stands here, as most are far away.
type queued struct {
	of, priority int32
	key, since   int64
	session      wire.SessionID
	ticket       uint64
	t            *task
}

// push puts t in.
func (b *backlog) push(t *task) {
	list := append(*b, queued{t.plan.queue.Priority, t.priority, t.key, t.enqueuedAt, t.session, t.ticket, t})
	*b = list
	for i := len(list) - 1; i > 0; {
		parent := (i - 1) / 2
		if list[i].compare(&list[parent]) >= 0 {
			return
		}
		list[i], list[parent] = list[parent], list[i]
		i = parent
	}
}

// next takes the first out that is still there; nil when there is none.
func (b *backlog) next() *task {
	for len(*b) > 0 {
		list := *b
		first, last := list[0], len(list)-1
		list[0], list[last] = list[last], queued{}
		*b = list[:last]
		b.down(0)
		if t := first.task(); t != nil {
			return t
		}
	}
	return nil
}

// task returns the one whose place a is, or nil when it is not there any more.
func (a *queued) task() *task {
	if t := a.t; t.session == a.session && t.ticket == a.ticket && t.lead == nil {
		return t
	}
	return nil
}

func (b backlog) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(b) {
			return
		}
		if right := child + 1; right < len(b) && b[right].compare(&b[child]) < 0 {
			child = right
		}
		if b[child].compare(&b[i]) >= 0 {
			return
		}
		b[i], b[child] = b[child], b[i]
		i = child
	}
}

func (a *queued) compare(b *queued) int {
	if c := cmp.Compare(a.of, b.of); c != 0 {
		return c
	}
	if c := cmp.Compare(a.priority, b.priority); c != 0 {
		return c
	}
	if c := cmp.Compare(a.key, b.key); c != 0 {
		return c
	}
	if c := cmp.Compare(a.since, b.since); c != 0 {
		return c
	}
	if c := cmp.Compare(a.session, b.session); c != 0 {
		return c
	}
	return cmp.Compare(a.ticket, b.ticket)
}
