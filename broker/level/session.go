package level

import (
	"slices"
	"strings"

	"switchboard/wire"
)

// maxMarks is how many open messages of one conversation are timed by themselves; further ones are counted with the last.
const maxMarks = 16

// Conversation is the evaluator of one session. It is fed the session's entries in order and holds what is open: some hundred
// bytes, and a bounded number of open messages. It has one owner.
type Conversation struct {
	shop, queue, customer, owner string
	last                         string // the owner before: mostly he comes again

	kind  kinds  // of who has the session: human, bot or 0
	seq   uint64 // of the last entry that was fed
	now   int64  // its time, or the last Tick's
	next  int64
	boost int64
	steps uint32
	// The customer's word of this moment, while the session has no queue: it is queued in the next entry.
	early     uint64
	earlyType string
	clocks    []clock // as the set's definitions
}

// clock is one definition's.
type clock struct {
	marks []mark // open cases, oldest first
	done  bool   // a first response was given
	// Of units session and day: the case that is counted.
	counted, bad bool
	day          int32
}

// mark is one open case.
type mark struct {
	since  int64
	seq    uint64
	due    int64 // when its next step is, never when nothing is
	n      int32 // messages that it stands for
	fired  uint8 // steps that are done
	missed bool
}

// New returns the evaluator of a session before its first entry.
func New(set *Set) *Conversation {
	c := &Conversation{next: never, clocks: make([]clock, set.Len())}
	slab := make([]mark, set.Len())
	for i := range c.clocks {
		c.clocks[i].marks = slab[i : i : i+1]
	}
	return c
}

// Seq returns the seq of the last entry that was fed.
func (c *Conversation) Seq() uint64 { return c.seq }

// Next returns when Tick has something to do, and whether it ever has.
func (c *Conversation) Next() (at int64, ok bool) { return c.next, c.next != never }

// BoostMS returns by how much warnings let the session count as having come earlier; 0 is not at all.
func (c *Conversation) BoostMS() int64 { return c.boost }

// Steps returns how many steps of its route warnings have opened before their time.
func (c *Conversation) Steps() uint32 { return c.steps }

// Open tells whether any case is open.
func (c *Conversation) Open() bool {
	for i := range c.clocks {
		if len(c.clocks[i].marks) > 0 {
			return true
		}
	}
	return false
}

// Feed takes the session's next entry. What was due before it comes first. An entry that was fed already changes nothing.
func (c *Conversation) Feed(set *Set, e *wire.Entry, out *Out) {
	if e.Seq <= c.seq || len(c.clocks) == 0 {
		return
	}
	c.seq = e.Seq
	c.advance(set, e.TS, out)
	if e.Kind == wire.KindMessage {
		c.message(set, e, out)
	} else {
		c.event(set, e, out)
	}
	c.settled(set)
}

// Tick tells that time has passed. Feed does the same with an entry's time.
func (c *Conversation) Tick(set *Set, now int64, out *Out) {
	if c.next > now {
		return
	}
	c.advance(set, now, out)
	c.settled(set)
}

// message is what somebody said.
func (c *Conversation) message(set *Set, e *wire.Entry, out *Out) {
	if e.Visibility == wire.Staff || e.Type == "interrupted" { // what breaks off is no answer
		return
	}
	if e.Origin == wire.OriginCustomer {
		keep(&c.customer, e.From.ID)
		if c.queue == "" {
			c.early = e.Seq
			keep(&c.earlyType, e.Type)
		}
		for i := range c.clocks {
			if r := &set.defs[i]; r.replies && !slices.Contains(r.Ignore, e.Type) {
				c.asked(set, i, e, out)
			}
		}
		return
	}
	k := kindOf(e.Origin)
	if k == 0 || e.From.Role == wire.RoleSystem {
		return // the broker's own words answer nobody, whosever name it gives
	}
	if k == c.kind && c.owner == "" {
		c.owned(e.From.ID)
	}
	for i := range c.clocks {
		if r := &set.defs[i]; r.replies && !slices.Contains(r.Ignore, e.Type) {
			c.answered(r, i, k, e.From.ID, out)
		}
	}
}

// asked opens a case of definition i, or adds to the one that is open.
func (c *Conversation) asked(set *Set, i int, e *wire.Entry, out *Out) {
	r, k := &set.defs[i], &c.clocks[i]
	if n := len(k.marks); n > 0 && (r.Unit != Message || r.Clock == FirstResponse) || k.done && r.Clock == FirstResponse {
		return
	}
	c.begin(set, i, e.Seq, out)
}

// begin opens a case at c.now, unless it is none of the definition's.
func (c *Conversation) begin(set *Set, i int, seq uint64, out *Out) {
	r, k := &set.defs[i], &c.clocks[i]
	if !r.scope(c.shop, c.queue) || !r.pause && !out.open(set, i, c.now) {
		return
	}
	if n := len(k.marks); n == maxMarks {
		k.marks[n-1].n++
		return
	}
	k.marks = append(k.marks, mark{since: c.now, seq: seq, n: 1, due: r.due(c.now, r.steps[0].after)})
}

// answered ends the cases of definition i.
func (c *Conversation) answered(r *rule, i int, by kinds, worker string, out *Out) {
	k := &c.clocks[i]
	if len(k.marks) == 0 {
		return
	}
	switch {
	case r.kinds&by != 0:
		for j := range k.marks {
			c.stop(r, i, &k.marks[j], worker, out)
		}
		k.done = true
	case by == bot && !r.skip:
		return // the clock runs on
	}
	k.marks = k.marks[:0]
}

// stop counts a case that is answered now.
func (c *Conversation) stop(r *rule, i int, m *mark, worker string, out *Out) {
	rt := r.elapsed(m.since, c.now)
	met := !m.missed && rt <= r.LimitMS
	if r.CapMS > 0 {
		rt = min(rt, r.CapMS)
	}
	s := c.sample(i, m, worker)
	s.Timed, s.RT = m.n, rt
	if !m.missed {
		c.verdict(r, i, m, met, &s)
	}
	out.Samples = append(out.Samples, s)
}

// miss counts a case that is not answered in time, at a moment.
func (c *Conversation) miss(r *rule, i int, m *mark, at int64, out *Out) {
	if m.missed {
		return
	}
	m.missed = true
	s := c.sample(i, m, c.owner)
	s.At = at
	c.verdict(r, i, m, false, &s)
	if s.Count != 0 || s.Met != 0 {
		out.Samples = append(out.Samples, s)
	}
}

// end counts a case that nobody will answer any more.
func (c *Conversation) end(r *rule, i int, m *mark, out *Out) {
	c.miss(r, i, m, c.now, out)
	if r.CapMS > 0 {
		s := c.sample(i, m, c.owner)
		s.Timed, s.RT = m.n, r.CapMS
		out.Samples = append(out.Samples, s)
	}
}

func (c *Conversation) sample(i int, m *mark, worker string) Sample {
	return Sample{Def: i, At: c.now, Since: m.since, Shop: c.shop, Queue: c.queue, Worker: worker, Customer: c.customer}
}

// verdict writes into s what the case adds to the rate.
func (c *Conversation) verdict(r *rule, i int, m *mark, met bool, s *Sample) {
	s.Day = r.cal.Day(m.since)
	if r.Unit == Turn || r.Unit == Message {
		s.Count = m.n
		if met {
			s.Met = m.n
		}
		return
	}
	k := &c.clocks[i]
	if r.Unit == Day && k.day != s.Day {
		k.day, k.counted, k.bad = s.Day, false, false
	}
	switch {
	case !k.counted && met:
		s.Count, s.Met = 1, 1
	case !k.counted:
		s.Count = 1
	case !met && !k.bad:
		s.Met = -1
	}
	k.counted, k.bad = true, k.bad || !met
}

// held tells whether a bot has the session and the definition leaves bots out: its clock is then not due.
func (c *Conversation) held(r *rule) bool { return r.replies && r.skip && c.kind == bot }

// advance does what is due up to now, in the order of each case.
func (c *Conversation) advance(set *Set, now int64, out *Out) {
	c.now = max(c.now, now)
	if c.next > c.now {
		return
	}
	for i := range c.clocks {
		r, k := &set.defs[i], &c.clocks[i]
		if c.held(r) {
			continue
		}
		for j := range k.marks {
			for m := &k.marks[j]; m.due <= c.now; {
				c.fire(r, i, j, m, out)
			}
		}
	}
}

// fire does the next step of a case. Warnings are given for the oldest alone: one for all that the customer said.
func (c *Conversation) fire(r *rule, i, j int, m *mark, out *Out) {
	s, at := &r.steps[m.fired], m.due
	if s.do != 0 && j == 0 {
		out.Actions = append(out.Actions, Action{Def: i, At: at, Part: s.part, Case: m.seq, Since: m.since, Do: s.do, Worker: c.owner})
	}
	m.fired++
	if int(m.fired) == len(r.steps) {
		m.due = never
		c.miss(r, i, m, at, out)
		return
	}
	m.due = r.due(m.since, r.steps[m.fired].after)
}

// settled looks when something is due again, and what the warnings that were given boost.
func (c *Conversation) settled(set *Set) {
	c.next, c.boost, c.steps = never, 0, 0
	for i := range c.clocks {
		k := &c.clocks[i]
		if len(k.marks) == 0 {
			continue
		}
		r := &set.defs[i]
		steps := uint32(0)
		for _, s := range r.steps[:k.marks[0].fired] {
			if s.do&DoNextStep != 0 {
				steps++
			}
			if s.do&DoBoost != 0 {
				c.boost = max(c.boost, r.BoostMS)
			}
		}
		c.steps = max(c.steps, steps)
		if c.held(r) {
			continue
		}
		for j := range k.marks {
			c.next = min(c.next, k.marks[j].due)
		}
	}
}

// owned notes who has the session.
func (c *Conversation) owned(by string) {
	keep(&c.last, by)
	c.owner = c.last
}

// keep sets *s to v. An entry's strings alias its frame: what outlives it is copied.
func keep(s *string, v string) {
	if *s != v {
		*s = strings.Clone(v)
	}
}
