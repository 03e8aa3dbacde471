package level

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"switchboard/wire"
)

// Set is the definitions of a tenant, ready to be used. It never changes and may be shared. The nil Set has none.
type Set struct {
	defs  []rule
	teams map[string][]string // of a worker
}

// rule is a definition as the evaluator reads it.
type rule struct {
	Definition
	cal     *Calendar
	replies bool // the clock is one of replies
	pause   bool
	skip    bool // a bot's answer ends a case uncounted
	kinds   kinds
	steps   []step // ascending; the last is the miss
}

// step is a moment of a case at which something is due.
type step struct {
	after int64 // of open time since it began
	part  float64
	do    Acts
}

// kinds is a set of origins.
type kinds uint8

const (
	human kinds = 1 << iota
	bot
	assist
)

func kindOf(o wire.Origin) kinds {
	switch o {
	case wire.OriginHuman:
		return human
	case wire.OriginBot:
		return bot
	case wire.OriginAssist:
		return assist
	case wire.OriginCustomer, wire.OriginSystem:
	}
	return 0
}

// Acts are what is to be done.
type Acts uint8

// The actions of [Warning.Do].
const (
	DoBoost Acts = 1 << iota
	DoNextStep
	DoHoldingReply
	DoNotify
)

func actsOf(do []string) (a Acts) {
	for i, name := range [...]string{Boost, NextStep, HoldingReply, Notify} {
		if slices.Contains(do, name) {
			a |= 1 << i
		}
	}
	return a
}

// Compile makes a set of definitions. teams says who works in which team, by the subs of workers' tokens; it may be nil. load
// finds a time zone by its name, as [time.LoadLocation] does.
func Compile(defs []Definition, teams map[string][]string, load func(string) (*time.Location, error)) (*Set, error) {
	if len(defs) > MaxDefinitions {
		return nil, fmt.Errorf("%d levels: at most %d", len(defs), MaxDefinitions)
	}
	s := &Set{teams: map[string][]string{}}
	var all error
	for _, d := range defs {
		d, err := d.Filled()
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		if _, twice := s.Index(d.Name); twice {
			all = errors.Join(all, fmt.Errorf("level %s is there twice", d.Name))
			continue
		}
		cal, err := d.Hours.Compile(load)
		if err != nil {
			all = errors.Join(all, fmt.Errorf("level %s: hours: %w", d.Name, err))
			continue
		}
		s.defs = append(s.defs, ruleOf(d, cal))
	}
	for team, workers := range teams {
		for _, w := range workers {
			s.teams[w] = append(s.teams[w], team)
		}
	}
	for _, list := range s.teams {
		slices.Sort(list)
	}
	return s, all
}

func ruleOf(d Definition, cal *Calendar) rule {
	r := rule{
		Definition: d, cal: cal, replies: d.Clock == FirstResponse || d.Clock == EveryResponse,
		pause: d.Closed == Pause && cal != nil && !cal.always, skip: d.FullAuto == Skip,
	}
	for _, c := range d.Count {
		r.kinds |= kindOf(wire.Origin(c))
	}
	r.skip = r.skip && r.kinds&bot == 0
	miss := step{after: d.LimitMS + 1, part: 1}
	for _, w := range d.Warn {
		if w.At == 1 {
			miss.do = actsOf(w.Do)
			break
		}
		r.steps = append(r.steps, step{after: int64(w.At * float64(d.LimitMS)), part: w.At, do: actsOf(w.Do)})
	}
	r.steps = append(r.steps, miss)
	return r
}

// Len returns how many definitions there are.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.defs)
}

// Definition returns the i'th, filled in.
func (s *Set) Definition(i int) *Definition { return &s.defs[i].Definition }

// Index returns the number of a definition.
func (s *Set) Index(name string) (int, bool) {
	for i := range s.Len() {
		if s.defs[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// scope tells whether r speaks of a session.
func (r *rule) scope(shop, queue string) bool {
	if r.Either {
		return slices.Contains(r.Shops, shop) || slices.Contains(r.Queues, queue)
	}
	return (r.Shops == nil || slices.Contains(r.Shops, shop)) && (r.Queues == nil || slices.Contains(r.Queues, queue))
}

// elapsed returns how much of the time between two moments counts.
func (r *rule) elapsed(from, until int64) int64 {
	if r.pause {
		return r.cal.Elapsed(from, until)
	}
	return max(until-from, 0)
}

// due returns the moment at which ms of counted time have passed.
func (r *rule) due(from, ms int64) int64 {
	if r.pause {
		return r.cal.Add(from, ms)
	}
	return from + ms
}

// Sample is what became of a case, or of a part of it. Its strings hold as long as the entry that it came of.
type Sample struct {
	Def      int   // the definition's number in its set
	At       int64 // when it was known, Unix ms
	Since    int64 // when the case began
	Count    int32 // cases that it adds; 0 when they are counted already
	Met      int32 // those in time; −1 takes back one that was counted as in time, of units session and day
	Timed    int32 // response times that it adds
	RT       int64 // each of them, ms, not above the cap
	Day      int32 // the local day of Since, from 1970-01-01
	Shop     string
	Queue    string
	Worker   string // who answered, or had the session; may be empty
	Customer string
}

// Action is something that is due.
type Action struct {
	Def    int
	At     int64   // when it was due
	Part   float64 // of the limit; 1 is missed
	Case   uint64  // the entry with which the case began
	Since  int64
	Do     Acts
	Worker string // who has the session, if it is known
}

// Out takes what comes of feeding. It belongs to one owner and is used for one set.
type Out struct {
	Samples []Sample
	Actions []Action

	stretches []stretch
}

// stretch is what a calendar said last.
type stretch struct {
	from, until int64
	open        bool
}

// Reset empties o and keeps its memory.
func (o *Out) Reset() {
	clear(o.Samples)
	o.Samples, o.Actions = o.Samples[:0], o.Actions[:0]
}

// open asks a definition's calendar, and remembers what it said: moments are mostly close to one another.
func (o *Out) open(set *Set, i int, at int64) bool {
	cal := set.defs[i].cal
	if cal == nil || cal.always {
		return true
	}
	if len(o.stretches) < len(set.defs) {
		o.stretches = make([]stretch, len(set.defs))
	}
	s := &o.stretches[i]
	if at < s.from || at >= s.until {
		s.from, s.until, s.open = cal.at(at)
	}
	return s.open
}
