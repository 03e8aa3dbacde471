package level

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Calendar is opening hours by which clocks run. It never changes. The nil Calendar is always open, in UTC.
type Calendar struct {
	loc    *time.Location
	always bool // only the zone counts
	week   [7][]minutes
	dates  map[date][]minutes
}

// minutes is a stretch of a local day; until is at most 24:00.
type minutes struct{ from, until int }

// date is a local day.
type date struct {
	year  int
	month time.Month
	day   int
}

var weekdays = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Compile makes a calendar of h. load finds a zone by its name: [time.LoadLocation] outside of pure parts.
func (h *Hours) Compile(load func(string) (*time.Location, error)) (*Calendar, error) {
	c, err := h.plan()
	if err != nil || c == nil {
		return nil, err
	}
	c.loc = time.UTC
	if h.Zone != "" {
		if c.loc, err = load(h.Zone); err != nil {
			return nil, fmt.Errorf("zone %q: %w", h.Zone, err)
		}
	}
	return c, nil
}

// plan reads h but for its zone. Hours that say nothing have no calendar.
func (h *Hours) plan() (*Calendar, error) {
	if h.Zone == "" && h.Weekly == nil && h.Holidays == nil {
		return nil, nil //nolint:nilnil // nil is always open
	}
	c := &Calendar{dates: map[date][]minutes{}, always: h.Weekly == nil && h.Holidays == nil}
	var all error
	for _, w := range h.Weekly {
		m, err := span(w.From, w.To)
		all = errors.Join(all, err)
		days := w.Days
		if len(days) == 0 {
			days = weekdays[:]
		}
		for _, d := range days {
			i := slices.Index(weekdays[:], d)
			if i < 0 {
				all = errors.Join(all, fmt.Errorf("day %q: days are mon tue wed thu fri sat sun", d))
				continue
			}
			c.week[i] = append(c.week[i], m)
		}
	}
	if h.Weekly == nil {
		for i := range c.week {
			c.week[i] = []minutes{{0, 24 * 60}}
		}
	}
	open := false
	for i := range c.week {
		all = errors.Join(all, order(c.week[i], weekdays[i]))
		open = open || len(c.week[i]) > 0
	}
	if !open && all == nil {
		all = errors.New("no weekday is ever open")
	}
	for _, x := range h.Holidays {
		t, err := time.Parse(time.DateOnly, x.Date)
		if err != nil {
			all = errors.Join(all, fmt.Errorf("date %q: a date is YYYY-MM-DD", x.Date))
			continue
		}
		var list []minutes
		for _, s := range x.Open {
			m, err := span(s.From, s.To)
			all = errors.Join(all, err)
			list = append(list, m)
		}
		all = errors.Join(all, order(list, x.Date))
		c.dates[dateOf(t)] = list
	}
	return c, all
}

// order sorts the stretches of a day, which must not overlap.
func order(list []minutes, day string) error {
	slices.SortFunc(list, func(a, b minutes) int { return a.from - b.from })
	for i := 1; i < len(list); i++ {
		if list[i].from < list[i-1].until {
			return fmt.Errorf("two stretches of %s overlap", day)
		}
	}
	return nil
}

func span(from, to string) (m minutes, err error) {
	f, ok1 := clockTime(from)
	t, ok2 := clockTime(to)
	if !ok1 || !ok2 || f >= t {
		return m, fmt.Errorf("%q to %q: times are HH:MM up to 24:00, the first before the second; what goes over midnight is two stretches", from, to)
	}
	return minutes{f, t}, nil
}

func clockTime(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	n := [4]int{int(s[0]) - '0', int(s[1]) - '0', int(s[3]) - '0', int(s[4]) - '0'}
	for _, d := range n {
		if d < 0 || d > 9 {
			return 0, false
		}
	}
	t := (n[0]*10+n[1])*60 + n[2]*10 + n[3]
	return t, n[2] < 6 && t <= 24*60
}

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date{y, m, d}
}

// at returns a stretch from ≤ at < until in which the calendar is all open, or all closed. Hours are what clocks show: an hour that is
// skipped is not open, one that comes twice is open twice. It ends with the local day at the latest, or where the clock jumps.
func (c *Calendar) at(at int64) (from, until int64, open bool) {
	if c == nil || c.always {
		return math.MinInt64, math.MaxInt64, true
	}
	t := time.UnixMilli(at).In(c.loc)
	list, special := c.dates[dateOf(t)]
	if !special {
		list = c.week[t.Weekday()]
	}
	// Where the day begins and ends if the clock runs on evenly, as it does from before to behind the next jump.
	shown := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
	midnight := at - shown.Milliseconds() - int64(t.Nanosecond())/int64(time.Millisecond)
	moment := func(min int) int64 { return midnight + int64(min)*time.Minute.Milliseconds() }
	from, until = midnight, moment(24*60)
	for _, m := range list {
		if at < moment(m.from) {
			until = moment(m.from)
			break
		}
		if at < moment(m.until) {
			from, until, open = moment(m.from), moment(m.until), true
			break
		}
		from = moment(m.until)
	}
	before, behind := t.ZoneBounds()
	if !before.IsZero() {
		from = max(from, before.UnixMilli())
	}
	if !behind.IsZero() {
		until = min(until, behind.UnixMilli())
	}
	return from, until, open
}

// Open tells whether the calendar is open at a moment.
func (c *Calendar) Open(at int64) bool {
	_, _, open := c.at(at)
	return open
}

// Elapsed returns how many of the milliseconds between two moments it was open.
func (c *Calendar) Elapsed(from, until int64) int64 {
	sum := int64(0)
	for from < until {
		_, end, open := c.at(from)
		end = min(end, until)
		if open {
			sum += end - from
		}
		from = end
	}
	return sum
}

// never is later than everything.
const never = math.MaxInt64

// horizon is how many stretches Add looks ahead: some three years of closed days.
const horizon = 1100

// Add returns the moment at which it has been open for ms since from, or never when it does not open in about three years.
func (c *Calendar) Add(from, ms int64) int64 {
	closed := 0
	for closed < horizon {
		_, end, open := c.at(from)
		if open {
			if ms <= end-from || end == never {
				return from + ms
			}
			ms -= end - from
		} else {
			closed++
		}
		from = end
	}
	return never
}

// Day returns the local day of a moment, counted from 1970-01-01.
func (c *Calendar) Day(at int64) int32 {
	t := time.UnixMilli(at).UTC()
	if c != nil {
		t = time.UnixMilli(at).In(c.loc)
	}
	y, m, d := t.Date()
	return int32(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 3600)) //nolint:gosec // days
}
