package capacity

import (
	"cmp"
	"math"
	"slices"
)

// Curve is a percentile of the latency as it was measured: seconds by the share of the processors that the model takes a run to use. Both rise from knot to knot.
// Where the tail is steep a few percent of use are twice the latency, so that the model's own word stands on both sides, and its errors cancel.
type Curve []Knot

// Knot is what was measured at one use of the processors. Where less use took longer, runs next to each other share their geometric means.
type Knot struct {
	Used    float64 `json:"used"`
	Seconds float64 `json:"seconds"`

	runs float64 // that it is the mean of
}

// curve joins what the runs say of a percentile. Runs that could not do all that was asked of them, and those without an idle moment, are of no steady
// state, and left out.
func curve(points []Point, percentile string, used func(*Point) float64) (c Curve) {
	var runs Curve
	for i := range points {
		p := &points[i]
		if v := p.Answer[percentile]; v > 0 && p.used() < fullest && !p.Refused {
			runs = append(runs, Knot{min(used(p), almost), v, 1})
		}
	}
	slices.SortFunc(runs, func(a, b Knot) int { return cmp.Compare(a.Used, b.Used) })
	// Neighbours that fall are one, as often as it takes: the nearest line that rises.
	for _, k := range runs {
		c = append(c, k)
		for n := len(c); n > 1 && (c[n-2].Seconds >= c[n-1].Seconds || c[n-2].Used == c[n-1].Used); n = len(c) {
			c = append(c[:n-2], meet(c[n-2], c[n-1]))
		}
	}
	return c
}

// meet is the mean of two knots.
func meet(a, b Knot) Knot {
	n := a.runs + b.runs
	return Knot{
		Used:    (a.Used*a.runs + b.Used*b.runs) / n,
		Seconds: math.Exp((math.Log(a.Seconds)*a.runs + math.Log(b.Seconds)*b.runs) / n),
		runs:    n,
	}
}

// last is the highest use that was measured; 0 when nothing was.
func (c Curve) last() float64 {
	if len(c) == 0 {
		return 0
	}
	return c[len(c)-1].Used
}

// almost is the use that a knot has at most: a model may take a run for more than there is.
const almost = 0.999

// at is the percentile in seconds when so much is used. Between two knots it is c·(1/(1−used))ᵏ with the c and k that go through both, as a queue before
// the processors grows. Below the first it is the first's; above the last it is not known, which is NaN.
func (c Curve) at(used float64) float64 {
	if len(c) == 0 || used > c.last() {
		return math.NaN()
	}
	i := slices.IndexFunc(c, func(k Knot) bool { return k.Used >= used })
	if i == 0 {
		return c[0].Seconds
	}
	a, b := c[i-1], c[i]
	part := math.Log((1-a.Used)/(1-used)) / math.Log((1-a.Used)/(1-b.Used))
	return math.Exp(math.Log(a.Seconds)*(1-part) + math.Log(b.Seconds)*part)
}

// low is what the percentile is at least when so much is used, where [Curve.at] may be off by a factor: that of the knot before, or less if the factor says so.
// Below the first knot it is zero.
func (c Curve) low(used, factor float64) float64 {
	low := 0.0
	for _, k := range c {
		if k.Used <= used {
			low = k.Seconds
		}
	}
	if v := c.at(used) / factor; v < low {
		low = v
	}
	return low
}

// high is what it is at most: that of the knot behind, or more. Above the last knot it is not known, which is infinite.
func (c Curve) high(used, factor float64) float64 {
	if i := slices.IndexFunc(c, func(k Knot) bool { return k.Used >= used }); i >= 0 {
		return max(c[i].Seconds, c.at(used)*factor)
	}
	return math.Inf(1)
}
