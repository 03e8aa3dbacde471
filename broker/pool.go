package broker

import (
	"slices"
	"strconv"
	"strings"

	"switchboard/broker/selector"
	"switchboard/wire"
)

// bound returns the worker that ref's connection speaks for; nobody else may speak for it. Otherwise it answers no_worker.
func (c *Core) bound(worker string, ref Ref, out *Effects) *worker {
	w := c.workers[worker]
	if w == nil || !w.connected || w.conn != ref.Conn {
		slug := wire.NoWorker
		if !c.open {
			slug = wire.Unavailable
		}
		out.fail(ref, slug, "subscribe first on this connection")
		return nil
	}
	return w
}

// Subscribe makes a worker known, or known on another connection [SW-5.7]:
//   - a live one moves there with everything, and its old connection is revoked;
//   - one in grace that shows its lease keeps its assignments;
//   - one in grace without it is a new incarnation: what the old one held is lost at once, as it will not be back;
//   - one whose edge resumes what it had said to another pool, or to this one, is who he was, unless he has subscribed elsewhere since.
//
// While the census is taken it waits: what a worker keeps is not known before.
func (c *Core) Subscribe(s *Subscription, now int64, out *Effects) {
	c.Tick(now, out)
	if slug, why := c.refuses(s); slug != "" {
		out.fail(s.Ref, slug, why)
		return
	}
	if !c.open {
		c.census.parked = append(c.census.parked, *s)
		return
	}
	c.subscribe(s, out)
	c.settle(out)
}

// refuses tells what is wrong with a subscription, or "".
func (c *Core) refuses(s *Subscription) (slug wire.Slug, why string) {
	for _, name := range s.Queues {
		q := c.named(name)
		switch {
		case q == nil && !c.returns(s):
			return wire.NoQueue, "there is no queue " + name
		case q != nil && s.may(q.Name):
		case !s.may(name):
			return wire.Forbidden, "the token does not name the queue " + name
		case q != nil && !c.returns(s):
			return wire.Forbidden, "the queue " + name + " has become " + q.Name + ", which the token does not name"
		}
	}
	switch other := c.conns[s.Conn]; {
	case len(s.Queues) == 0 && !s.All || s.ID == "" || s.Slots < 0 || s.Slots > c.cfg.MaxSlots:
		return wire.BadRequest, "subscribe wants queues, and at most " + strconv.Itoa(c.cfg.MaxSlots) + " slots"
	case other != nil && other.ID != s.ID:
		return wire.BadRequest, "this connection has subscribed as another worker"
	}
	if w := c.workers[s.ID]; s.Resumed && w != nil && w.conn != s.Conn && w.outdates(s) {
		if s.Turn == 0 && w.said.Resumed {
			return wire.VersionConflict, "another connection of this worker has resumed, and which is the later is not known: come back, and subscribe anew"
		}
		return wire.StaleAssignment, "another connection has subscribed as this worker"
	}
	return "", ""
}

// named returns the queue that is meant by name: the one that has it, or the one to which it has moved. It is nil when there is neither.
func (c *Core) named(name string) *queue {
	if q := c.queues[name]; q != nil && !q.closed {
		return q
	}
	for _, m := range c.cfg.Moves {
		if m.From == name {
			return c.queues[m.To]
		}
	}
	return nil
}

// may tells whether the token of s lets him serve the queue.
func (s *Subscription) may(queue string) bool {
	return slices.Contains(s.Allowed, allQueues) || slices.Contains(s.Allowed, queue)
}

// returns tells whether s is of a worker who is here, and has something or serves another queue, or who may have something still. A queue that he named then, and that
// was taken away since, is not to cost him that: he comes back without it, as he would have stayed. Who is not known and has nothing names what is not there, as
// anybody else. While the census is taken nobody knows who had what; when it is over he is judged anew, unless shards are missing still.
func (c *Core) returns(s *Subscription) bool {
	if s.Resumed || s.Lease == "" {
		return s.Resumed
	}
	if !c.census.over || len(c.census.missing) > 0 {
		return true
	}
	w := c.workers[s.ID]
	known := w != nil && (w.lease == s.Lease && w.connected || w.knows(s.Lease))
	if !known {
		return false
	}
	return len(w.tasks) > 0 || slices.ContainsFunc(s.Queues, func(name string) bool { return c.named(name) != nil })
}

// outdates tells whether another connection than that of s, which resumes, is w's. Two may resume when the pool is made anew, and one of them has not
// heard yet that it was taken over [SW-5.7]: whoever subscribed later is the worker, in whatever order they come. Of one whose turn is not known, as its
// edge is of an earlier version, nobody can tell; then who came first is, and the other is not told that it was taken over, which would end its client for
// good, but to come back.
func (w *worker) outdates(s *Subscription) bool {
	if s.Turn != 0 && s.Turn < w.turn {
		return true
	}
	return w.connected && (!w.said.Resumed || s.Turn <= w.turn)
}

func (c *Core) subscribe(s *Subscription, out *Effects) {
	w := c.workers[s.ID]
	known := w != nil && w.connected && w.conn == s.Conn // whatever was said on it before, in that order
	differs := false
	fresh := s.NewLease
	if s.Lease != "" && (s.Resumed || len(c.census.missing) > 0) {
		// His client knows it; and shards that have not told yet what they have may name it: with another one he would lose that.
		fresh = s.Lease
	}
	switch {
	case w == nil:
		w = newWorker(s.ID, fresh, kindOf(s.Kind))
		c.workers[s.ID] = w
	case w.connected:
		if s.Lease != w.lease && s.Conn != w.conn && !s.Resumed { // another client, which knows nothing of what that one has said
			w.is(Ready, "")
		}
		delete(c.conns, w.conn)
		if w.conn != s.Conn {
			e := out.add(Revoked)
			if e.Conn, e.Worker, e.Reason = w.conn, w.ID, "takeover"; s.Resumed && w.said.Turn == 0 {
				e.Reason = "unknown" // only of two who resume
			}
		}
	case w.knows(s.Lease):
		w.lease = s.Lease
	default:
		w.lease = fresh
		w.is(Ready, "")
	}
	if s.Resumed {
		switch differs = w.presence != s.Presence; {
		case known: // its edge asks what it has, perhaps before it had the answer to what the worker said last
		case differs:
			differs = false
			w.is(s.Presence, s.Why)
		}
		w.turn = max(w.turn, s.Turn)
	} else {
		w.turn = max(w.turn+1, uint64(max(c.now, 0))) // also above what another pool has given out, whose clock was not far ahead
	}
	c.unset(&w.timer)
	w.gone = false
	c.conns[s.Conn] = w
	w.conn, w.connected = s.Conn, true
	if !known || !s.Resumed {
		c.introduce(w, s)
	}
	c.welcome(w, s.Resumed, s.Ref, out)
	if differs || !s.Resumed && w.presence != Ready { // he is back, and may not have been told: offers are missed where connections hang
		c.tellPresence(w, out)
	}
	c.heard(w, out)
	c.unhold(w)
	c.release(w)
}

// knows tells whether lease is one under which w, who is not connected, still has something.
func (w *worker) knows(lease string) bool {
	if lease == "" || w.gone {
		return false
	}
	return w.lease == lease || slices.ContainsFunc(w.tasks, func(t *task) bool { return t.state == held && t.lease == lease })
}

// introduce makes w what s says of it, in all classes.
func (c *Core) introduce(w *worker, s *Subscription) {
	c.unseat(w)
	w.said = *s
	w.said.Queues, w.said.Allowed, w.said.Skills = slices.Clone(s.Queues), slices.Clone(s.Allowed), slices.Clone(s.Skills)
	w.sub, w.name, w.kind = s.Sub, s.Name, kindOf(s.Kind)
	w.skills = w.said.Skills
	slices.SortStableFunc(w.skills, func(a, b Skill) int { return strings.Compare(a.Name, b.Name) })
	w.skills = slices.CompactFunc(w.skills, func(a, b Skill) bool { return a.Name == b.Name })
	w.rating = shrink(s.Rating, s.Ratings)
	if w.window = s.Window; w.window == 0 {
		w.window = 16
	}
	c.resize(w, or(s.Slots, 1))
	c.seat(w)
	w.changed()
}

// allQueues is how a token names every queue.
const allQueues = "*"

// seat puts w into its queues, teams and classes, as they are configured. A queue that has moved is the one that took its place, if the token
// names that; as long as it has tasks still, it is itself as well.
func (c *Core) seat(w *worker) {
	w.seated = true
	names := w.said.Queues
	if w.said.All {
		names = slices.Clone(names)
		for _, q := range c.order {
			if !q.closed && w.said.may(q.Name) {
				names = append(names, q.Name)
			}
		}
	}
	c.joinTeams(w)
	for _, name := range names {
		own, q := c.queues[name], c.named(name)
		if own != nil && !slices.Contains(w.queues, own) {
			w.join(own)
		}
		if q != nil && q != own && w.said.may(q.Name) && !slices.Contains(w.queues, q) {
			w.join(q)
		}
	}
	w.join(c.everybody)
	w.facts = c.factsOf(w)
	for _, q := range w.queues {
		for _, cl := range q.classes {
			cl.admit(w)
		}
	}
}

func (w *worker) join(q *queue) {
	w.queues, w.seats = append(w.queues, q), append(w.seats, len(q.workers))
	q.workers = append(q.workers, w)
	for _, s := range w.skills {
		if q.skilled == nil {
			q.skilled = make(map[string][]*worker)
		}
		q.skilled[s.Name] = append(q.skilled[s.Name], w)
	}
}

// joinTeams notes what w's teams make of its queues.
func (c *Core) joinTeams(w *worker) {
	w.places = w.places[:0]
	for i := range c.cfg.Teams {
		t := &c.cfg.Teams[i]
		if !t.has(w) {
			continue
		}
		for _, s := range t.Seats {
			if j := slices.IndexFunc(w.places, func(o Seat) bool { return o.Queue == s.Queue }); j >= 0 {
				w.places[j].Priority, w.places[j].DelayMS = min(w.places[j].Priority, s.Priority), min(w.places[j].DelayMS, s.DelayMS)
			} else {
				w.places = append(w.places, s)
			}
		}
	}
}

func (t *Team) has(w *worker) bool {
	return slices.Contains(t.Workers, w.ID) || slices.Contains(t.Workers, w.sub)
}

// factsOf returns what selectors see of w.
func (c *Core) factsOf(w *worker) selector.Worker {
	a := w.said.Attributes
	var teams []string
	for i := range c.cfg.Teams {
		t := &c.cfg.Teams[i]
		if !t.has(w) {
			continue
		}
		teams = append(teams, t.Name)
		for _, x := range t.Attributes {
			switch own := a.Get(x.Name); {
			case own.Kind() == selector.List && x.Value.Kind() == selector.List:
				a = a.With(x.Name, selector.ListOf(slices.AppendSeq(slices.Collect(own.Strings), x.Value.Strings)...))
			case own.Kind() == selector.None:
				a = a.With(x.Name, x.Value)
			}
		}
	}
	var queues, skills []string
	for _, q := range w.queues {
		if q != c.everybody {
			queues = append(queues, q.Name)
		}
	}
	for _, s := range w.skills {
		skills = append(skills, s.Name)
	}
	for _, x := range [...]selector.Attr{
		{Name: "id", Value: selector.StringOf(w.ID)},
		{Name: "sub", Value: selector.StringOf(w.sub)},
		{Name: "name", Value: selector.StringOf(w.name)},
		{Name: "kind", Value: selector.StringOf(string(w.kind.origin()))},
		{Name: "rating", Value: selector.NumberOf(w.rating)},
		{Name: "skills", Value: selector.ListOf(skills...)},
		{Name: "queues", Value: selector.ListOf(queues...)},
		{Name: "teams", Value: selector.ListOf(teams...)},
	} {
		a = a.With(x.Name, x.Value)
	}
	return selector.Worker{Attrs: a, Skills: w.skills}
}

// unseat takes w out of all queues and classes.
func (c *Core) unseat(w *worker) {
	w.seated = false
	for len(w.stands) > 0 {
		w.stands[len(w.stands)-1].quit()
	}
	for i, q := range w.queues {
		last := len(q.workers) - 1
		moved := q.workers[last]
		moved.seats[slices.Index(moved.queues, q)] = w.seats[i]
		q.workers[w.seats[i]] = moved
		q.workers[last] = nil
		q.workers = q.workers[:last]
		for _, s := range w.skills {
			list := q.skilled[s.Name]
			if j := slices.Index(list, w); j >= 0 {
				last := len(list) - 1
				list[j], list[last] = list[last], nil
				q.skilled[s.Name] = list[:last]
			}
			if len(q.skilled[s.Name]) == 0 {
				delete(q.skilled, s.Name)
			}
		}
	}
	clear(w.queues)
	w.queues, w.seats = w.queues[:0], w.seats[:0]
}

// welcome answers a subscription, resumed or not, and tells sessions whether their worker is back.
func (c *Core) welcome(w *worker, resumed bool, ref Ref, out *Effects) {
	if resumed { // before the answer: an offer that is not said again has ended, and he may not have heard of it
		c.sayOffers(w, out)
	}
	i := len(*out)
	e := out.add(Subscribed)
	e.Ref, e.Conn, e.Worker, e.Lease, e.Turn = ref, w.conn, w.ID, w.lease, w.turn
	var kept []Kept
	for _, t := range c.byAge(w) {
		switch t.state {
		case held:
			if t.lease != w.lease {
				c.lose(t, out)
				continue
			}
			kept = append(kept, Kept{t.session, t.ae})
			// What an edge asks for by itself its client does not hear of, so `kept` tells him nothing. He may have missed what the edge
			// did: it was on its way when the edge was cut off.
			c.rebind(t, resumed, out)
		case granted:
			// He may have been told, or that may have been lost; as `kept` does not name it, he is taken not to have it. So he is told when his session has
			// answered.
			t.unsure = true
			if t.ref.Conn != w.conn {
				t.ref = Ref{}
			}
		case asking:
			c.sayQuestion(t, out)
		}
	}
	(*out)[i].Kept = kept
	if !resumed {
		c.sayOffers(w, out)
	}
}

// tellPresence tells w his presence, and why it is so, as far as that is known.
func (c *Core) tellPresence(w *worker, out *Effects) {
	e := out.add(PresencePush)
	e.Conn, e.Worker, e.State, e.Reason = w.conn, w.ID, w.presence, w.why
}

// sayOffers says every offer of w that is open.
func (c *Core) sayOffers(w *worker, out *Effects) {
	for _, t := range c.byAge(w) {
		if t.state == offered {
			c.sayOffer(t, out)
		}
	}
}

// byAge returns w's tasks in an order that does not depend on how they came about. The list is good until the next call.
func (c *Core) byAge(w *worker) []*task {
	c.aged = append(c.aged[:0], w.tasks...)
	inOrder(c.aged)
	return c.aged
}

// Presence says whether a worker wants work. Who goes away is not asked any more: its open offers go to others.
func (c *Core) Presence(worker string, state Presence, reason string, ref Ref, now int64, out *Effects) {
	c.Tick(now, out)
	w := c.bound(worker, ref, out)
	if w == nil {
		return
	}
	w.is(state, reason)
	out.done(ref)
	w.changed()
	if state != Ready {
		c.displace(w, "away", out)
	}
	c.release(w)
	c.settle(out)
}

// Slots changes how many sessions a worker holds. What it holds beyond them it keeps.
func (c *Core) Slots(worker string, n int, ref Ref, now int64, out *Effects) {
	c.Tick(now, out)
	w := c.bound(worker, ref, out)
	if w == nil {
		return
	}
	if n < 1 || n > c.cfg.MaxSlots {
		out.fail(ref, wire.BadRequest, "slots must lie between 1 and the limit")
		return
	}
	c.resize(w, n)
	out.done(ref)
	w.changed()
	c.release(w)
	c.settle(out)
}

// ConnLost says that a connection has ended or is silent: the open offers of its worker go to others at once, and its grace
// begins [SW-5.7].
func (c *Core) ConnLost(conn wire.Conn, now int64, out *Effects) {
	c.Tick(now, out)
	c.connLost(conn, out)
	c.settle(out)
}

func (c *Core) connLost(conn wire.Conn, out *Effects) {
	c.census.parked = slices.DeleteFunc(c.census.parked, func(s Subscription) bool { return s.Conn == conn })
	w := c.conns[conn]
	if w == nil {
		return
	}
	delete(c.conns, conn)
	w.connected = false
	w.changed()
	c.beginGrace(w)
	c.displace(w, "away", out)
}

// Bond is that a connection has subscribed as a worker, and when among others of his.
type Bond struct {
	Conn   wire.Conn
	Worker string
	turn   uint64
}

// Bonds appends to list those of a node's connections, in no order, and returns it.
func (c *Core) Bonds(node uint64, list []Bond) []Bond {
	for conn, w := range c.conns {
		if conn.Node == node {
			list = append(list, Bond{conn, w.ID, w.turn})
		}
	}
	return list
}

// Holds tells whether b's connection is its worker's.
func (c *Core) Holds(b Bond) bool { return c.conns[b.Conn] != nil }

// Outdated tells whether another connection has subscribed as b's worker since, as far as is known.
func (c *Core) Outdated(b Bond) bool {
	w := c.workers[b.Worker]
	return w != nil && w.conn != b.Conn && w.turn > b.turn
}

// NodeLost says that all connections of a node's incarnation have ended.
func (c *Core) NodeLost(node uint64, now int64, out *Effects) {
	c.Tick(now, out)
	c.census.parked = slices.DeleteFunc(c.census.parked, func(s Subscription) bool { return s.Conn.Node == node })
	var ids []uint64
	for conn := range c.conns {
		if conn.Node == node {
			ids = append(ids, conn.ID)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		w := c.conns[wire.Conn{Node: node, ID: id}]
		w.connected = false // before anything is given to one who is gone as well
		w.changed()
	}
	for _, id := range ids {
		c.connLost(wire.Conn{Node: node, ID: id}, out)
	}
	c.settle(out)
}

func (c *Core) beginGrace(w *worker) {
	grace := c.cfg.BotGraceMS
	if w.kind == human {
		grace = c.cfg.HumanGraceMS
	}
	c.set(&w.timer, c.now+grace)
}

// graceOver gives up w: what it held is lost. What was granted to it and not confirmed will be.
func (c *Core) graceOver(w *worker, out *Effects) {
	w.gone = true
	c.unhold(w)
	c.unseat(w)
	for _, t := range c.byAge(w) {
		switch t.state {
		case held:
			c.lose(t, out)
		case wrapup:
			c.endWrapUp(t, out)
		}
	}
	if len(w.tasks) == 0 {
		c.forget(w)
	}
}

// forget ends w, who has no tasks.
func (c *Core) forget(w *worker) {
	c.unset(&w.timer)
	c.unseat(w)
	delete(c.workers, w.ID)
}
