package scenario

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Curve is how the rate changes over the steady time.
type Curve struct {
	// Day is the weights of 24 hours; the steady time is one day from 0 to 24 o'clock. The rate is its mean.
	Day []float64 `yaml:"day,omitempty"`
	// Steps multiply the rate from a moment on. Not with Day.
	Steps []Step `yaml:"steps,omitempty"`
	// Pulses are on top.
	Pulses []Pulse `yaml:"pulses,omitempty"`
}

// Step multiplies the rate from At on.
type Step struct {
	At    Quantity `yaml:"at" unit:"time"`
	Times float64  `yaml:"times"`
}

// Pulse makes the rate so many Times the mean, from At on, For a while. With a day, both are times of that day. With a
// Shop, from 1 on, that shop's customers alone say so many times what they say on average, in addition.
type Pulse struct {
	At    Quantity `yaml:"at" unit:"time"`
	For   Quantity `yaml:"for" unit:"time"`
	Times float64  `yaml:"times"`
	Shop  int      `yaml:"shop,omitempty"`
}

// Segment is a time of one rate, in conversations a second. Shop is 0 for all customers.
type Segment struct {
	From, To time.Duration
	Rate     float64
	Shop     int
}

// Segments returns the rates of conversations of process number of processes: one list for all customers, in order,
// then one segment for each pulse of a shop. They begin before 0, so that at 0 as many conversations are under way as
// later: a schedule that began with nobody in the middle of one would be too gentle at first.
func (s *Scenario) Segments(processes int) (lists [][]Segment) {
	if s.Talk.Rate.Value == 0 || s.Steady.Value == 0 {
		return nil
	}
	rate := s.Talk.Rate.Value / max(s.Talk.Turns.Mean(), 1) / float64(max(processes, 1))
	steady := s.Steady.Duration()
	scale := 1.0
	base := []Segment{{From: 0, To: steady, Rate: rate}}
	c := &s.Talk.Curve
	switch {
	case len(c.Day) > 0:
		scale = steady.Hours() / 24
		sum := 0.0
		for _, w := range c.Day {
			sum += w
		}
		base = base[:0]
		for i, w := range c.Day {
			base = append(base, Segment{From: part(steady, i, len(c.Day)), To: part(steady, i+1, len(c.Day)), Rate: rate * w * float64(len(c.Day)) / sum})
		}
	case len(c.Steps) > 0:
		for _, st := range c.Steps {
			last := &base[len(base)-1]
			at := min(st.At.Duration(), steady)
			last.To = at
			base = append(base, Segment{From: at, To: steady, Rate: rate * st.Times})
		}
	}
	calm := 0.0 // what it was before, without the pulses
	if len(base) > 0 {
		calm = base[0].Rate
	}
	for _, p := range c.Pulses {
		from := min(time.Duration(p.At.Value*scale*float64(time.Second)), steady)
		to := min(from+time.Duration(p.For.Value*scale*float64(time.Second)), steady)
		if p.Shop > 0 {
			lists = append(lists, []Segment{{From: from, To: to, Rate: rate * p.Times / float64(max(s.Customers.Shops, 1)), Shop: p.Shop}})
			continue
		}
		base = override(base, Segment{From: from, To: to, Rate: rate * p.Times})
	}
	base = slices.DeleteFunc(base, func(g Segment) bool { return g.To <= g.From })
	if lead := s.Lead(); lead > 0 && len(base) > 0 {
		base = slices.Insert(base, 0, Segment{From: -lead, To: 0, Rate: calm})
	}
	return slices.Insert(lists, 0, base)
}

func part(d time.Duration, i, n int) time.Duration {
	return time.Duration(float64(d) * float64(i) / float64(n))
}

// override cuts the time of g out of base and puts g there.
func override(base []Segment, g Segment) (out []Segment) {
	for _, b := range base {
		before, after := b, b
		before.To, after.From = min(b.To, g.From), max(b.From, g.To)
		if before.To > before.From {
			out = append(out, before)
		}
		if after.To > after.From {
			out = append(out, after)
		}
	}
	out = append(out, g)
	slices.SortFunc(out, func(a, b Segment) int { return int(a.From - b.From) })
	return out
}

// Lead is how long before the steady time conversations begin: as long as nearly all of them last.
func (s *Scenario) Lead() time.Duration {
	turns := s.Talk.Turns.Quantile(.99)
	if turns < 2 {
		return 0
	}
	return time.Duration((turns - 1) * s.Talk.Think.Mean() / s.Talk.Pace * 1.2 * float64(time.Second))
}

// Arrivals are the moments at which conversations of one list of segments begin, in order. They depend on nothing but the
// segments, the kind and the random source: whoever is late with one is late, and the next is due when it is due.
type Arrivals struct {
	segments []Segment
	kind     string
	rng      *rand.Rand
	// ahead is how far the next one is from the beginning of the first segment, in a time that passes faster when the rate
	// is higher, so that arrivals have the rate one in it.
	ahead float64
}

// NewArrivals begins at the first segment. kind is [Poisson] or [Even].
func NewArrivals(segments []Segment, kind string, rng *rand.Rand) *Arrivals {
	a := &Arrivals{segments: segments, kind: kind, rng: rng}
	a.ahead = a.gap()
	if kind == Even {
		a.ahead = rng.Float64() // processes of one run do not all begin at the same moment
	}
	return a
}

func (a *Arrivals) gap() float64 {
	if a.kind == Even {
		return 1
	}
	return a.rng.ExpFloat64()
}

// Next returns the next moment, and whose shop it is about (0 for all). ok is false when there is none.
func (a *Arrivals) Next() (at time.Duration, shop int, ok bool) {
	for len(a.segments) > 0 {
		g := &a.segments[0]
		if a.ahead < (g.To-g.From).Seconds()*g.Rate {
			at = g.From + time.Duration(a.ahead/g.Rate*float64(time.Second))
			a.ahead += a.gap()
			return at, g.Shop, true
		}
		a.ahead -= (g.To - g.From).Seconds() * g.Rate
		a.segments = a.segments[1:]
	}
	return 0, 0, false
}

// Check reports what makes no sense in c over a steady time, in seconds, with so many shops. Paths begin with path.
func (c *Curve) Check(path string, steady float64, shops int, at func(path string, err error)) {
	inner := at
	at = func(field string, err error) { inner(path+field, err) }
	if n := len(c.Day); n != 0 && n != 24 {
		at(".day", fmt.Errorf("a day has 24 hours, not %d", n))
	}
	sum := 0.0
	for i, w := range c.Day {
		if w < 0 || w != w {
			at(fmt.Sprintf(".day[%d]", i), fmt.Errorf("a weight is not %v", w))
		}
		sum += w
	}
	switch {
	case len(c.Day) > 0 && sum <= 0:
		at(".day", fmt.Errorf("all weights are zero"))
	case math.IsInf(sum, 0):
		at(".day", fmt.Errorf("the weights make more than a number holds"))
	}
	if len(c.Day) > 0 && len(c.Steps) > 0 {
		at(".steps", fmt.Errorf("day excludes steps"))
	}
	last := -1.0
	for i, st := range c.Steps {
		step := fmt.Sprintf(".steps[%d]", i)
		if st.At.Value <= last {
			at(step+".at", fmt.Errorf("steps must be in order"))
		}
		if st.Times < 0 || st.Times > 1e6 || st.Times != st.Times {
			at(step+".times", fmt.Errorf("times is %v: it must be 0 to 1000000", st.Times))
		}
		if st.At.Value > steady {
			at(step+".at", fmt.Errorf("it is %s, which is behind the steady time of %s", Format(st.At.Value, Time), Format(steady, Time)))
		}
		last = st.At.Value
	}
	limit := steady
	if len(c.Day) > 0 {
		limit = 24 * 3600
	}
	for i, p := range c.Pulses {
		pulse := fmt.Sprintf(".pulses[%d]", i)
		switch {
		case p.Times <= 0 || p.Times > 1e6 || p.Times != p.Times:
			at(pulse+".times", fmt.Errorf("times is %v: it must be above 0, and up to 1000000", p.Times))
		case p.At.Value+p.For.Value > limit:
			at(pulse+".for", fmt.Errorf("it ends behind %s", Seconds(time.Duration(limit*float64(time.Second))).text))
		case p.For.Value <= 0:
			at(pulse+".for", fmt.Errorf("it is needed"))
		case p.Shop < 0 || p.Shop > shops:
			at(pulse+".shop", fmt.Errorf("shop is %d: they are 1 to customers.shops, which is %d", p.Shop, shops))
		}
	}
}
