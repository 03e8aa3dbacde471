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
	open, _, _ := c.Around(at)
	return open
}

// Next returns the first moment after at at which c opens or closes, Unix ms; ok is false when it does neither for a year.
func (c *Calendar) Next(at int64) (change int64, ok bool) {
	_, _, until := c.Around(at)
	return until, until != 0
}

// Around tells whether c is open at at, Unix ms, since when it has been so, and until when it is. Either bound is 0 when it lies
// more than a year away. It depends on nothing but c and at, and may be called by any goroutine.
func (c *Calendar) Around(at int64) (open bool, since, until int64) {
	for _, days := range [...]int{2, 10, 400} { // mostly the next change is near; a year and its longest holidays at most
		open, since, until = c.look(at, days)
		if since != 0 && until != 0 {
			break
		}
	}
	return open, since, until
}

// stretch is a time in which c is open: from is in it, to is not. Unix ms.
type stretch struct{ from, to int64 }

// look is Around, as far as some days to both sides tell.
func (c *Calendar) look(at int64, days int) (open bool, since, until int64) {
	list := make([]stretch, 0, 2*days)
	for n := -days; n <= days; n++ {
		list = c.appendDay(list, at, n)
	}
	slices.SortFunc(list, func(a, b stretch) int { return cmp.Compare(a.from, b.from) })
	n := 0
	for _, x := range list { // what touches is one
		if n > 0 && x.from <= list[n-1].to {
			list[n-1].to = max(list[n-1].to, x.to)
			continue
		}
		list[n] = x
		n++
	}
	const margin = 30 * 60 * 60_000 // a stretch that begins or ends so near to the bounds may go on beyond
	far := int64(days) * 24 * 60 * 60_000
	for _, x := range list[:n] {
		if x.to <= at {
			since = x.to
			continue
		}
		if open, until = x.from <= at, x.from; open {
			since, until = x.from, x.to
		}
		break
	}
	if at-since > far-margin {
		since = 0
	}
	if until-at > far-margin {
		until = 0
	}
	return open, since, until
}

// appendDay appends the stretches of a local day, so many after that of at, in order. A day's clock may jump: every part of it in
// which it runs evenly is looked at for itself.
func (c *Calendar) appendDay(list []stretch, at int64, days int) []stretch {
	y, m, d := time.UnixMilli(at).In(c.zone).Date()
	midnight := time.Date(y, m, d+days, 0, 0, 0, 0, time.UTC) // as a clock without zone shows it
	y, m, d = midnight.Date()
	hours, special := c.holidays[date(y, m, d)]
	if !special {
		hours = c.weekly[midnight.Weekday()]
	}
	if len(hours) == 0 {
		return list
	}
	const farthest = 27 * time.Hour // no zone is farther from UTC, on either day around
	last := midnight.Add(24*time.Hour + farthest)
	for t := midnight.Add(-farthest); t.Before(last); {
		_, east := t.In(c.zone).Zone()
		_, end := t.In(c.zone).ZoneBounds()
		if end.IsZero() || end.After(last) {
			end = last
		}
		for _, h := range hours {
			from := midnight.Add(time.Duration(h.from)*time.Minute - time.Duration(east)*time.Second)
			to := midnight.Add(time.Duration(h.to)*time.Minute - time.Duration(east)*time.Second)
			if x := (stretch{max(from.UnixMilli(), t.UnixMilli()), min(to.UnixMilli(), end.UnixMilli())}); x.from < x.to {
				list = append(list, x)
			}
		}
		t = end
	}
	return list
}

func date(y int, m time.Month, d int) int { return y*10_000 + int(m)*100 + d }

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
