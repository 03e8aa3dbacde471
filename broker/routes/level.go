package routes

import (
	"slices"

	"switchboard/broker/level"
)

// Definitions returns the document's service levels as they are counted: those that a queue or a shop names, each for the sessions
// of these, and those that count everywhere.
func (d *Document) Definitions() []level.Definition {
	var list []level.Definition
	for i := range d.ServiceLevels {
		s := &d.ServiceLevels[i]
		x := s.definition(d)
		if s.Everywhere {
			list = append(list, x)
			continue
		}
		for _, q := range d.Queues {
			if q.ServiceLevel == s.Name {
				x.Queues = append(x.Queues, q.Name)
			}
		}
		for _, p := range d.Shops {
			if p.ServiceLevel == s.Name {
				x.Shops = append(x.Shops, p.Name)
			}
		}
		if len(x.Queues)+len(x.Shops) > 0 {
			x.Either = true
			list = append(list, x)
		}
	}
	return list
}

// definition returns what s says, wherever it counts.
func (s *ServiceLevel) definition(d *Document) level.Definition {
	x := level.Definition{
		Name: s.Name, Preset: s.Preset, Clock: s.Clock, LimitMS: s.FirstReplyMS, CapMS: s.CapMS, Target: s.Target, Count: s.Count, Closed: s.Closed,
		Unit: s.Unit, FullAuto: s.FullAuto, Handover: s.Handover, Transfer: s.Transfer, Unanswered: s.Unanswered, Ignore: s.Ignore,
		BoostMS: s.BoostMS, Holding: s.Holding, HoldingBy: s.HoldingBy,
	}
	if s.Unit == "customer" {
		x.Unit = level.Day
	}
	for _, w := range s.Warn {
		x.Warn = append(x.Warn, level.Warning{At: w.At, Do: w.Do})
	}
	for _, at := range s.WarnAt {
		x.Warn = append(x.Warn, level.Warning{At: at, Do: []string{level.Notify}})
	}
	i := slices.IndexFunc(d.Calendars, func(c CalendarDoc) bool { return c.Name == s.Calendar })
	if i < 0 {
		return x
	}
	c := &d.Calendars[i]
	x.Hours.Zone, x.Hours.Weekly, x.Hours.Holidays = c.Zone, []level.Weekly{}, []level.Holiday{}
	for _, h := range c.Weekly {
		x.Hours.Weekly = append(x.Hours.Weekly, level.Weekly{Days: h.Days, From: h.From, To: h.To})
	}
	for _, h := range c.Holidays {
		y := level.Holiday{Date: h.Date}
		for _, o := range h.Open {
			y.Open = append(y.Open, level.Span{From: o.From, To: o.To})
		}
		x.Hours.Holidays = append(x.Hours.Holidays, y)
	}
	return x
}

// limit returns the time within which it is in time, which may be its preset's.
func (s *ServiceLevel) limit() int64 {
	if s.FirstReplyMS == 0 {
		p, _ := level.Preset(s.Preset)
		return p.LimitMS
	}
	return s.FirstReplyMS
}
