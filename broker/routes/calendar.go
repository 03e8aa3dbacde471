package routes

import (
	"cmp"
	"fmt"
	"slices"
	"time"
	_ "time/tzdata" // zones are known wherever this runs
)

// Calendar is business hours: when somebody is open, in a zone, with holidays.
type Calendar struct {
	Name     string
	zone     *time.Location
	weekly   [7][]span // by time.Weekday, ascending and apart
	holidays map[int][]span
}

// span is minutes of a day as clocks show them: from is in it, to is not.
type span struct{ from, to int }

// Open tells whether c is open at at, Unix ms. Hours are what clocks show in its zone: an hour that is skipped is not open, one
// that comes twice is open twice.
func (c *Calendar) Open(at int64) bool {
	t := time.UnixMilli(at).In(c.zone)
	minute := t.Hour()*60 + t.Minute()
	for _, s := range c.on(t) {
		if s.from <= minute && minute < s.to {
			return true
		}
	}
	return false
}

// on returns the hours of t's date.
func (c *Calendar) on(t time.Time) []span {
	y, m, d := t.Date()
	if spans, ok := c.holidays[date(y, m, d)]; ok {
		return spans
	}
	return c.weekly[t.Weekday()]
}

func date(y int, m time.Month, d int) int { return y*10_000 + int(m)*100 + d }

// maxAhead is how many days Next looks ahead: a year and its longest holidays.
const maxAhead = 400

// Next returns the first moment after at at which c opens or closes, Unix ms; ok is false when it does neither for a year.
func (c *Calendar) Next(at int64) (change int64, ok bool) {
	now := c.Open(at)
	t := time.UnixMilli(at).In(c.zone)
	y, m, d := t.Date()
	for day := range maxAhead {
		noon := time.Date(y, m, d+day, 12, 0, 0, 0, c.zone)
		best := int64(0)
		consider := func(x int64) {
			if x > at && c.Open(x) != now && (best == 0 || x < best) {
				best = x
			}
		}
		for _, s := range append([]span{{0, 24 * 60}}, c.on(noon)...) {
			for _, minute := range [...]int{s.from, s.to} {
				x := time.Date(y, m, d+day, 0, minute, 0, 0, c.zone)
				consider(x.UnixMilli())
				// Where clocks change, the same minute comes again, or is skipped to the next that there is.
				for _, off := range [...]time.Duration{-2 * time.Hour, -time.Hour, -30 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour} {
					if y := x.Add(off); offset(x) != offset(y) {
						consider(edge(x, y).UnixMilli())
						consider(y.UnixMilli())
					}
				}
			}
		}
		if best != 0 {
			return c.first(at, best), true
		}
	}
	return 0, false
}

// first returns the first moment in (at, change] from which on c is as it is at change. Both lie within a day or the hours
// between are all alike, but where clocks change.
func (c *Calendar) first(at, change int64) int64 {
	open := c.Open(change)
	const minute = 60_000
	for x := change - minute; x > at && change-x <= 3*60*minute; x -= minute {
		if c.Open(x) == open {
			change = x
		}
	}
	return change
}

func offset(t time.Time) int {
	_, s := t.Zone()
	return s
}

// edge returns the moment between a and b at which clocks change.
func edge(a, b time.Time) time.Time {
	if b.Before(a) {
		a, b = b, a
	}
	lo, hi := a.Unix(), b.Unix()
	for lo+1 < hi {
		if mid := (lo + hi) / 2; offset(time.Unix(mid, 0).In(a.Location())) == offset(a) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return time.Unix(hi, 0).In(a.Location())
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (p *parsing) calendar(d *CalendarDoc, path string) *Calendar {
	c := &Calendar{Name: d.Name, holidays: map[int][]span{}}
	zone, err := time.LoadLocation(d.Zone)
	if err != nil || d.Zone == "" || d.Zone == "Local" {
		p.fail(path+".zone", "there is no time zone %q; write it as Asia/Shanghai", d.Zone)
		zone = time.UTC
	}
	c.zone = zone
	for i, h := range d.Weekly {
		at := fmt.Sprintf("%s.weekly[%d]", path, i)
		s, ok := p.span(h.From, h.To, at)
		if len(h.Days) == 0 {
			p.fail(at, "days wants weekdays")
		}
		for j, name := range h.Days {
			k := slices.Index(weekdays, name)
			if k < 0 {
				p.fail(fmt.Sprintf("%s.days[%d]", at, j), "%q is no weekday%s", name, meant(name, weekdays))
			} else if ok {
				c.weekly[k] = append(c.weekly[k], s)
			}
		}
	}
	for i, h := range d.Holidays {
		at := fmt.Sprintf("%s.holidays[%d]", path, i)
		t, err := time.Parse(time.DateOnly, h.Date)
		if err != nil {
			p.fail(at+".date", "%q is no date; write it as 2026-10-01", h.Date)
			continue
		}
		key := date(t.Date())
		if _, twice := c.holidays[key]; twice {
			p.fail(at+".date", "%s is there twice", h.Date)
		}
		spans := []span{}
		for j, x := range h.Open {
			if s, ok := p.span(x.From, x.To, fmt.Sprintf("%s.open[%d]", at, j)); ok {
				spans = append(spans, s)
			}
		}
		c.holidays[key] = p.apart(spans, at)
	}
	for k := range c.weekly {
		c.weekly[k] = p.apart(c.weekly[k], path+".weekly")
	}
	return c
}

// apart sorts spans, which must not overlap.
func (p *parsing) apart(spans []span, path string) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			p.fail(path, "hours overlap on one day")
			break
		}
	}
	return spans
}

func (p *parsing) span(from, to, path string) (s span, ok bool) {
	var okFrom, okTo bool
	if s.from, okFrom = clock(from); !okFrom || s.from == 24*60 {
		p.fail(path+".from", "%q is no time of day; write it as 08:00", from)
	}
	if s.to, okTo = clock(to); !okTo {
		p.fail(path+".to", "%q is no time of day; write it as 23:00, at most 24:00", to)
	}
	if okFrom && okTo && s.from >= s.to {
		p.fail(path, "it closes at %s before it opens at %s; write hours over midnight as two", to, from)
		return s, false
	}
	return s, okFrom && okTo
}

// clock reads HH:MM as minutes.
func clock(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	for _, i := range [...]int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	return h*60 + m, m < 60 && h*60+m <= 24*60
}
