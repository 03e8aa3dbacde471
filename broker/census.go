package broker

import (
	"slices"
	"strings"

	"switchboard/wire"
)

// censusMS is how long matching waits for shards that do not answer.
const censusMS = 2_000

// censusFirstMS is after how long a shard is asked for the second time; the pauses double up to againMS.
const censusFirstMS = 10

// Live is a task that a session's shard knows of.
type Live struct {
	Task
	Assigned bool // to Worker under AE
	Worker   string
	Origin   wire.Origin // of the worker: bot or human
	Lease    string
	Offer    string // that it accepted
	AE       uint64
	// WrapUpMS, when above 0, says that the assignment is over, and Worker busy with it for so long from now on [SW-5.9].
	WrapUpMS int64
}

// census is the taking stock when a pool opens.
type census struct {
	missing []uint32 // shards that have not answered, ascending
	until   int64
	wait    int64 // before it is asked again, ms
	over    bool  // it is taken, or time was up
	timer   timer
	partly  bool           // the first part of an answer was told, and not the last
	parked  []Subscription // that wait for its end, in the order they came
}

// Open begins the census of a fresh pool, whose number is p: it matches nothing until all shards have answered, or 2 s
// have passed. A number is used once: it must be larger than any before it. It may be called once.
func (c *Core) Open(p uint64, shards []uint32, now int64, out *Effects) {
	c.now = now
	c.number = p
	c.wind()
	c.census.missing = slices.Clone(shards)
	slices.Sort(c.census.missing)
	c.census.until = now + censusMS
	c.ringCensus(out)
}

// ringCensus asks again who has not answered, and opens when time is up.
func (c *Core) ringCensus(out *Effects) {
	if !c.open && (c.now >= c.census.until || len(c.census.missing) == 0) {
		c.begin(out)
	}
	if !c.census.partly { // otherwise one of them has answered, and others may have: they are asked the next time
		for _, shard := range c.census.missing {
			out.add(CensusAsk).Shard = shard
		}
	}
	if len(c.census.missing) > 0 {
		// A shard that opens beside the pool's is there in a moment; one that is away may be so for long.
		c.census.wait = min(max(2*c.census.wait, censusFirstMS), againMS)
		c.set(&c.census.timer, c.now+c.census.wait)
	}
}

// CensusAnswer is what shard knows. Those of an older number, and second ones, are ignored. One that comes late is
// merged into what has begun without it.
func (c *Core) CensusAnswer(p uint64, shard uint32, live []Live, now int64, out *Effects) {
	c.CensusPart(p, shard, live, now, out)
	c.census.partly = false
	i, ok := c.awaits(p, shard)
	if !ok {
		return
	}
	c.census.missing = slices.Delete(c.census.missing, i, i+1)
	if len(c.census.missing) == 0 && !c.open {
		c.unset(&c.census.timer)
		c.begin(out)
	}
	c.settle(out)
}

// awaits tells whether the census waits for what shard says to pool p, and which of those that are missing it is.
func (c *Core) awaits(p uint64, shard uint32) (int, bool) {
	i, ok := slices.BinarySearch(c.census.missing, shard)
	return i, ok && p == c.number
}

// CensusPart is a part of an answer that is too long for one event: the last is told to [Core.CensusAnswer], and until then none of another. Other
// events may come in between, but what sessions of that shard say is to come behind it all. As long as nothing does, what is decided is
// what the whole answer would have decided.
func (c *Core) CensusPart(p uint64, shard uint32, live []Live, now int64, out *Effects) {
	if !c.census.partly {
		c.Tick(now, out)
	}
	c.census.partly = true
	if _, ok := c.awaits(p, shard); !ok {
		return
	}
	for i := range live {
		switch {
		case live[i].WrapUpMS > 0:
			c.adoptWrapUp(&live[i], out)
		case live[i].Assigned:
			c.adopt(&live[i], out)
		default:
			c.offerTask(&live[i].Task, out)
		}
	}
}

// adopt takes over an assignment that a session tells of. Sessions are the authority: their worker's slots may be exceeded
// by what he has already.
func (c *Core) adopt(l *Live, out *Effects) {
	q := c.queues[l.Queue]
	if q == nil {
		if len(c.order) == 0 {
			return
		}
		q = c.order[0] // its own is not configured any more, but somebody works on it
	}
	for t := c.sessions.get(l.Session); t != nil; t = t.next {
		if t.ticket == l.Ticket && t.bare && l.Queue != "" && t.ae == l.AE && (t.state == held || t.state == lost) {
			c.complete(t, q, l)
		}
		if t.ticket > l.Ticket && t.to == "" && t.state < wrapup || t.ticket == l.Ticket && t.state >= held {
			return // older than what is known, or known
		}
	}
	if t := c.find(l.Session, l.Ticket); t != nil {
		c.conclude(t, out)
		c.drop(t)
	}
	w := c.workerOf(l)
	t := c.newTask(q, &l.Task)
	t.state, t.lease, t.ae, t.reason, t.offer = held, l.Lease, l.AE, reasonRoute, l.Offer
	if t.offer != "" {
		c.offers[t.offer] = t
	}
	c.charge(t, w)
	switch {
	case w.gone || w.connected && w.lease != t.lease:
		c.lose(t, out)
	case w.connected:
		c.rebind(t, true, out)
	default:
		c.set(&t.timer, c.now+auditMS)
	}
}

// workerOf returns the worker of whom l tells.
func (c *Core) workerOf(l *Live) *worker {
	w := c.workers[l.Worker]
	unknown := w != nil && w.said.ID == "" && len(w.tasks) == 0 // he has not come, and is here because somebody waits for him
	if w == nil {
		w = newWorker(l.Worker, "", human)
		c.workers[w.ID] = w
		unknown = true
	}
	if unknown {
		w.lease, w.kind = l.Lease, kindOf(l.Origin)
		if c.open {
			c.beginGrace(w)
		}
	}
	return w
}

// adoptWrapUp takes over a wrap-up that a session tells of: it keeps it, so it is told when it ends before its time.
func (c *Core) adoptWrapUp(l *Live, out *Effects) {
	if t := c.find(l.Session, l.Ticket); t != nil {
		if t.ae == l.AE && t.state != wrapup {
			c.giveBack(t, l.WrapUpMS, true, out) // by the word of an earlier shard somebody had it still
		}
		return
	}
	q := c.queues[l.Queue]
	if q == nil {
		if len(c.order) == 0 {
			return
		}
		q = c.order[0]
	}
	w := c.workerOf(l)
	t := c.newTask(q, &l.Task)
	t.state, t.lease, t.ae, t.reason = held, l.Lease, l.AE, reasonRoute
	c.outlast(t)
	c.charge(t, w)
	c.giveBack(t, l.WrapUpMS, true, out)
}

// outlast puts t, the newest of its session's tasks as far as is known, behind all others: it is over.
func (c *Core) outlast(t *task) {
	if t.next == nil {
		return
	}
	c.sessions.remove(t)
	last := c.sessions.get(t.session)
	for last.next != nil {
		last = last.next
	}
	last.next, t.next = t, nil
}

// complete makes t, of which nothing was known but who has it, what l says: also what it costs him.
func (c *Core) complete(t *task, q *queue, l *Live) {
	w := t.worker
	c.discharge(t)
	c.describe(t, q, &l.Task)
	t.bare = false
	c.charge(t, w)
}

// begin starts matching: leases without connection get a fresh grace, then the parked subscribe, then everybody who waits
// is placed in his order.
func (c *Core) begin(out *Effects) {
	out.add(Opened).Missing = len(c.census.missing)
	ids := make([]string, 0, len(c.workers))
	for id := range c.workers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, strings.Compare)
	for _, id := range ids {
		c.beginGrace(c.workers[id])
	}
	c.census.over = true
	parked := c.census.parked
	c.census.parked = nil
	for i := range parked {
		s := &parked[i]
		if slug, why := c.refuses(s); slug != "" {
			out.fail(s.Ref, slug, why)
			continue
		}
		c.subscribe(s, out)
	}
	c.open = true
	if len(c.roll)+len(c.census.missing) > 0 { // there was a pool before, or may have been: whoever worked for it may not have found his way yet
		c.calm = c.now + c.cfg.HumanGraceMS
	}
	var all, named []*task
	for i := range c.roll {
		switch t := c.roll[i].t; {
		case t.state != waiting:
		case t.to != "":
			named = append(named, t)
		default:
			all = append(all, t)
		}
	}
	inOrder(named)
	for _, t := range named { // those are known now whom a transfer is for. It had a slot of his when the pool before ended
		c.place(t, out)
	}
	if !c.reline(all) {
		inOrder(all)
		for _, t := range all {
			c.move(t)
		}
	}
	for _, id := range ids {
		if w := c.workers[id]; w != nil && w.connected {
			c.release(w)
		}
	}
	c.settle(out)
}
