package level

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// MaxDefinitions is how many definitions a set may have.
const MaxDefinitions = 16

// The clocks.
const (
	FirstResponse = "first_response" // the customer's first word → the first answer, once until the session is reopened
	EveryResponse = "every_response" // each case that the unit makes of the customer's words → the answer
	Waiting       = "waiting"        // in the queue → assigned to one who counts
	Handling      = "handling"       // assigned to one who counts → given back
)

// The units: what is one case.
const (
	Turn    = "turn"    // from the customer's first word to the answer, whatever he says in between
	Message = "message" // each of the customer's messages
	Session = "session" // the whole session: in time when every turn was
	Day     = "day"     // a customer's day: in time when every turn was
)

// The actions of warnings.
const (
	Boost        = "boost"         // it comes earlier in its queue, by boost_ms
	NextStep     = "next_step"     // its route goes on
	HoldingReply = "holding_reply" // the customer is told that somebody will come
	Notify       = "notify"        // the entry level.warned or level.missed, seen by staff
)

// What may be said of a clock in one word.
const (
	Skip = "skip"
	Run  = "run"
	Keep = "keep"
	Miss = "miss"

	Pause   = "pause"
	Restart = "restart"
	Drop    = "drop"
)

// Definition says what is counted. It is data: a YAML or JSON document, or a preset with changes. Zero means default.
type Definition struct {
	// Name is what events, metrics and stats call it; default the preset's.
	Name string `yaml:"name" json:"name"`
	// Preset is a definition of [Presets] that this one begins with. What is set here replaces it.
	Preset string `yaml:"preset,omitempty" json:"preset,omitempty"`
	// Clock is first_response, every_response (default), waiting or handling.
	Clock string `yaml:"clock,omitempty" json:"clock,omitempty"`
	// LimitMS is the longest time that is in time. It has no default.
	LimitMS int64 `yaml:"limit_ms,omitempty" json:"limit_ms,omitempty"`
	// CapMS is what a longer time, and no answer at all, counts as in means and percentiles; default: no answer adds nothing.
	CapMS int64 `yaml:"cap_ms,omitempty" json:"cap_ms,omitempty"`
	// Target is the share that shall be in time, 0..1; default none. It is told, and changes nothing.
	Target float64 `yaml:"target,omitempty" json:"target,omitempty"`
	// Unit is turn (default), message, session or day.
	Unit string `yaml:"unit,omitempty" json:"unit,omitempty"`
	// Count is whose answers count: human, assist, bot; default human and assist. Of waiting and handling it is whose
	// assignment does; assist is nobody's there.
	Count []string `yaml:"count,omitempty" json:"count,omitempty"`
	// FullAuto is what an answer of a bot is where bots do not count: skip (default) ends the case uncounted, and holds the
	// clock as long as the bot has the session; run ignores it, and the clock runs on.
	FullAuto string `yaml:"full_auto,omitempty" json:"full_auto,omitempty"`
	// Handover is what a bot leaves to a human: keep (default), the wait since the customer's word; restart, a clock that
	// begins when the bot gave the session away.
	Handover string `yaml:"handover,omitempty" json:"handover,omitempty"`
	// Transfer is what a human's transfer without answer is: keep (default), the clock runs on; miss, a missed case of who
	// transferred, and a new one of the next.
	Transfer string `yaml:"transfer,omitempty" json:"transfer,omitempty"`
	// Unanswered is what becomes of a case whose session is closed before its time is over: miss (default) or drop.
	Unanswered string `yaml:"unanswered,omitempty" json:"unanswered,omitempty"`
	// Hours are when it counts; default always.
	Hours Hours `yaml:"hours,omitempty" json:"hours,omitzero"`
	// Closed is what happens outside the hours: skip (default), what begins there is not counted and time is time; pause,
	// clocks stand still there.
	Closed string `yaml:"closed,omitempty" json:"closed,omitempty"`
	// Ignore are types of messages, of customers and workers, that are none: advertisements, red packets.
	Ignore []string `yaml:"ignore,omitempty" json:"ignore,omitempty"`
	// Shops and Queues narrow it down; default all. The queue is that in which the session was last.
	Shops  []string `yaml:"shops,omitempty" json:"shops,omitempty"`
	Queues []string `yaml:"queues,omitempty" json:"queues,omitempty"`
	// Either counts what is of Shops or of Queues; default, what is of both.
	Either bool `yaml:"-" json:"either,omitempty"`
	// Warn says what is done as the limit comes nearer; default nothing, and nothing is written.
	Warn []Warning `yaml:"warn,omitempty" json:"warn,omitempty"`
	// BoostMS is by how much boost counts the session as having come earlier; default the limit.
	BoostMS int64 `yaml:"boost_ms,omitempty" json:"boost_ms,omitempty"`
	// Holding is the text of holding_reply.
	Holding string `yaml:"holding,omitempty" json:"holding,omitempty"`
	// HoldingBy is the name of the bot that says it, 1 to 64 bytes of text; default the broker says it itself. It answers nobody,
	// also where bots count.
	HoldingBy string `yaml:"holding_by,omitempty" json:"holding_by,omitempty"`
}

// Warning is what is done at a part of the limit. At 1 the case is missed.
type Warning struct {
	At float64  `yaml:"at" json:"at"` // 0 < At ≤ 1
	Do []string `yaml:"do" json:"do"` // boost, next_step, holding_reply, notify
}

// Hours are opening hours. The zero Hours are always open.
type Hours struct {
	Zone     string    `yaml:"zone,omitempty" json:"zone,omitempty"`         // IANA, as Asia/Shanghai; default UTC
	Weekly   []Weekly  `yaml:"weekly,omitempty" json:"weekly,omitempty"`     // default always
	Holidays []Holiday `yaml:"holidays,omitempty" json:"holidays,omitempty"` // dates that are otherwise
}

// Weekly is a stretch of hours on some weekdays. A break is what lies between two.
type Weekly struct {
	Days []string `yaml:"days,omitempty" json:"days,omitempty"` // mon to sun; default all
	From string   `yaml:"from" json:"from"`                     // HH:MM
	To   string   `yaml:"to" json:"to"`                         // HH:MM, up to 24:00
}

// Holiday is a date that is closed, or open at other hours.
type Holiday struct {
	Date string `yaml:"date" json:"date"` // YYYY-MM-DD
	Open []Span `yaml:"open,omitempty" json:"open,omitempty"`
}

// Span is a stretch of hours.
type Span struct {
	From string `yaml:"from" json:"from"`
	To   string `yaml:"to" json:"to"`
}

// Filled returns d with its preset and the defaults filled in, or what is wrong with it.
func (d Definition) Filled() (Definition, error) {
	if d.Preset != "" {
		p, ok := Preset(d.Preset)
		if !ok {
			return d, fmt.Errorf("level %s: there is no preset %q; there are %v", d.Name, d.Preset, PresetNames())
		}
		d = over(p, d)
	}
	def(&d.Clock, EveryResponse)
	def(&d.Unit, Turn)
	def(&d.FullAuto, Skip)
	def(&d.Handover, Keep)
	def(&d.Transfer, Keep)
	def(&d.Unanswered, Miss)
	def(&d.Closed, Skip)
	if len(d.Count) == 0 {
		d.Count = []string{"human", "assist"}
	}
	if d.BoostMS == 0 {
		d.BoostMS = d.LimitMS
	}
	return d, d.check()
}

// Validate tells what is wrong with d, or nil. Zones are checked by [Compile].
func (d *Definition) Validate() error {
	_, err := d.Filled()
	return err
}

// over returns p with what is set in d.
func over(p, d Definition) Definition {
	for _, f := range [...]struct{ to, from *string }{
		{&p.Name, &d.Name},
		{&p.Clock, &d.Clock},
		{&p.Unit, &d.Unit},
		{&p.FullAuto, &d.FullAuto},
		{&p.Handover, &d.Handover},
		{&p.Transfer, &d.Transfer},
		{&p.Unanswered, &d.Unanswered},
		{&p.Closed, &d.Closed},
		{&p.Holding, &d.Holding},
		{&p.HoldingBy, &d.HoldingBy},
	} {
		def(f.from, *f.to)
		*f.to = *f.from
	}
	for _, f := range [...]struct{ to, from *int64 }{{&p.LimitMS, &d.LimitMS}, {&p.CapMS, &d.CapMS}, {&p.BoostMS, &d.BoostMS}} {
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	for _, f := range [...]struct{ to, from *[]string }{{&p.Count, &d.Count}, {&p.Ignore, &d.Ignore}, {&p.Shops, &d.Shops}, {&p.Queues, &d.Queues}} {
		if *f.from != nil {
			*f.to = *f.from
		}
	}
	if d.Target != 0 {
		p.Target = d.Target
	}
	if d.Warn != nil {
		p.Warn = d.Warn
	}
	if d.Hours.Zone != "" {
		p.Hours.Zone = d.Hours.Zone
	}
	if d.Hours.Weekly != nil {
		p.Hours.Weekly = d.Hours.Weekly
	}
	if d.Hours.Holidays != nil {
		p.Hours.Holidays = d.Hours.Holidays
	}
	p.Preset = d.Preset
	return p
}

func def(s *string, otherwise string) {
	if *s == "" {
		*s = otherwise
	}
}

// maxLimit bounds limits and caps: thirty days.
const maxLimit = 30 * 24 * int64(time.Hour/time.Millisecond)

func (d *Definition) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("level %s: %w", d.Name, fmt.Errorf(format, args...))
	}
	oneOf := func(field, v string, list ...string) error {
		if !slices.Contains(list, v) {
			return fail("%s is %q: it must be one of %v", field, v, list)
		}
		return nil
	}
	if !validName(d.Name) {
		return fail("a name is 1 to 64 of A-Z a-z 0-9 _ . : -")
	}
	if d.LimitMS <= 0 || d.LimitMS > maxLimit {
		return fail("limit_ms is %d: it must be 1 to %d", d.LimitMS, maxLimit)
	}
	if d.CapMS < 0 || d.CapMS > maxLimit || d.CapMS > 0 && d.CapMS < d.LimitMS {
		return fail("cap_ms is %d: it must be 0, for none, or %d (limit_ms, below which it says nothing) to %d", d.CapMS, d.LimitMS, maxLimit)
	}
	if d.BoostMS < 0 || d.BoostMS > maxLimit {
		return fail("boost_ms is %d: it must be 0 to %d", d.BoostMS, maxLimit)
	}
	if !(d.Target >= 0 && d.Target <= 1) {
		return fail("target is %v: it must be 0 to 1", d.Target)
	}
	err := errors.Join(
		oneOf("clock", d.Clock, FirstResponse, EveryResponse, Waiting, Handling),
		oneOf("unit", d.Unit, Turn, Message, Session, Day),
		oneOf("full_auto", d.FullAuto, Skip, Run),
		oneOf("handover", d.Handover, Keep, Restart),
		oneOf("transfer", d.Transfer, Keep, Miss),
		oneOf("unanswered", d.Unanswered, Miss, Drop),
		oneOf("closed", d.Closed, Skip, Pause),
	)
	for _, c := range d.Count {
		err = errors.Join(err, oneOf("count", c, "human", "assist", "bot"))
	}
	if d.Unit == Message && d.Clock != EveryResponse {
		err = errors.Join(err, fail("unit message goes with every_response alone"))
	}
	at := 0.0
	for _, w := range d.Warn {
		if !(w.At > at && w.At <= 1) {
			err = errors.Join(err, fail("warn at %v: parts of the limit ascend, above 0 and up to 1", w.At))
		}
		at = w.At
		if len(w.Do) == 0 {
			err = errors.Join(err, fail("warn at %v does nothing: say notify, boost, holding_reply or next_step", w.At))
		}
		for _, a := range w.Do {
			err = errors.Join(err, oneOf("do", a, Boost, NextStep, HoldingReply, Notify))
			if a == HoldingReply && d.Holding == "" {
				err = errors.Join(err, fail("holding_reply needs holding, its text"))
			}
		}
	}
	if len(d.Warn) > maxWarnings {
		err = errors.Join(err, fail("%d warnings: at most %d", len(d.Warn), maxWarnings))
	}
	if len(d.HoldingBy) > 64 || !utf8.ValidString(d.HoldingBy) {
		err = errors.Join(err, fail("holding_by is a name: 1 to 64 bytes of text"))
	}
	if d.HoldingBy != "" && d.Holding == "" {
		err = errors.Join(err, fail("holding_by needs holding, the text"))
	}
	if _, e := d.Hours.plan(); e != nil {
		err = errors.Join(err, fail("hours: %w", e))
	}
	return err
}

// maxWarnings is how many warnings a definition may have.
const maxWarnings = 8

func validName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return true
}
