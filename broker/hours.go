package broker

import "slices"

// Hours says in which part of its calendars' time a step is open.
type Hours uint8

// The choices of Hours. A step without calendars is always open.
const (
	// InHours opens the step while its calendars are open.
	InHours Hours = iota
	// OutOfHours opens it while one of them is closed.
	OutOfHours
	// AnyTime opens it always.
	AnyTime
)

// overlaps tells whether there is a time for both.
func (h Hours) overlaps(o Hours) bool { return h == o || h == AnyTime || o == AnyTime }

// Calendar is business hours, known by their name. At tells of a moment, Unix ms, whether they are open, since when and until when
// they are or are not; 0 is longer than it knows. It must depend on nothing but the moment.
type Calendar struct {
	Name string
	At   func(at int64) (open bool, since, until int64)
}

// clock is a Calendar as it stands now.
type clock struct {
	Calendar
	open     bool
	since    int64   // 0 is for long
	until    int64   // 0 is for long
	watchers []*plan // whose steps open and close with it
}

// wind makes the clocks what cfg says, those of before are forgotten.
func (c *Core) wind() {
	c.clocks = nil
	for _, x := range c.cfg.Calendars {
		k := &clock{Calendar: x}
		k.open, k.since, k.until = k.At(c.now)
		c.clocks = append(c.clocks, k)
	}
	c.nextChime()
}

// chime is for the clocks whose hours have begun or ended: steps open and close for those who wait.
func (c *Core) chime() {
	for _, k := range c.clocks {
		if k.until == 0 || k.until > c.now {
			continue
		}
		k.open, k.since, k.until = k.At(c.now)
		for _, p := range k.watchers {
			c.stir(p)
		}
	}
	c.nextChime()
}

func (c *Core) nextChime() {
	c.chimes = 0
	for _, k := range c.clocks {
		if k.until > c.now && (c.chimes == 0 || k.until < c.chimes) {
			c.chimes = k.until
		}
	}
}

// stir lets those who wait by p be looked at anew at the end of the event: some of its steps opened or closed.
func (c *Core) stir(p *plan) {
	if !p.dirty {
		p.dirty = true
		c.dirty = append(c.dirty, p)
	}
}

// clocksOf returns the clocks of calendars by name; empty names have none.
func (c *Core) clocksOf(names ...string) (list []*clock) {
	for _, name := range names {
		i := slices.IndexFunc(c.clocks, func(k *clock) bool { return k.Name == name })
		if i >= 0 && !slices.Contains(list, c.clocks[i]) {
			list = append(list, c.clocks[i])
		}
	}
	return list
}

// timed is when something is open by its calendars. The zero timed is always.
type timed struct {
	hours  Hours
	clocks []*clock
}

// timedOf returns when a step of a task is open: by its own calendar, or by those of its queue and shop.
func (c *Core) timedOf(p *plan, s *Step) timed {
	clocks := p.clocks
	if s.Calendar != "" {
		clocks = c.clocksOf(s.Calendar)
	}
	if s.Hours == AnyTime {
		clocks = nil
	}
	return timed{s.Hours, clocks}
}

// shut tells whether it is not its time.
func (x *timed) shut() bool {
	for _, k := range x.clocks {
		if !k.open {
			return x.hours == InHours
		}
	}
	return len(x.clocks) > 0 && x.hours == OutOfHours
}

// begins returns from when on somebody who came at since waits for what is open now: when he came, or since it is open.
func (x *timed) begins(since int64) int64 {
	first := int64(0) // of the calendars that are closed
	for _, k := range x.clocks {
		switch {
		case x.hours == InHours:
			since = max(since, k.since)
		case !k.open && (first == 0 || k.since < first):
			first = k.since
		}
	}
	if first != 0 {
		since = max(since, first)
	}
	return since
}

// opensAt returns when all clocks are open together, if they are not now, as far as their calendars know; else 0.
func opensAt(clocks []*clock, now int64) int64 {
	at := now
	for range 100 { // each round is a moment at which one of them opens
		shut := false
		for _, k := range clocks {
			open, until := k.open, k.until
			if at != now {
				open, _, until = k.At(at)
			}
			if open {
				continue
			}
			if until <= at {
				return 0
			}
			at, shut = until, true
		}
		if !shut {
			if at == now {
				return 0
			}
			return at
		}
	}
	return 0
}

// sayOpens tells t's session, which waits, when its queue and shop open again, once for each time that they are closed.
func (c *Core) sayOpens(t *task, out *Effects) {
	at := opensAt(t.plan.clocks, c.now)
	if at == t.opens {
		return
	}
	if t.opens = at; at == 0 {
		return // its place is told next
	}
	t.told = 0
	e := out.add(Placed)
	e.Session, e.Ticket, e.Queue, e.OpensAt = t.session, t.ticket, t.plan.queue.Name, at
}
