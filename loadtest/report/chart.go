package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// line is one curve of a chart. Points with NaN are gaps.
type line struct {
	name string
	x, y []float64
}

// The size of a chart's drawing, in the units of its view box.
const (
	wide, high = 560.0, 220.0
	left, top  = 62.0, 10.0
	inner      = wide - left - 24
	deep       = high - top - 44
)

// colours are told apart by people who see few of them; the order is that of the lines.
var colours = []string{"#1f6feb", "#d1495b", "#2a9d8f", "#b5651d", "#7b4fa3", "#555555"}

// nice returns about n round marks from 0 or low to high.
func nice(low, high float64, n int) (marks []float64) {
	span := high - low
	if span <= 0 || n < 1 {
		return []float64{low}
	}
	step := math.Pow(10, math.Floor(math.Log10(span/float64(n))))
	for _, m := range []float64{1, 2, 5, 10} {
		if span/(step*m) <= float64(n) {
			step *= m
			break
		}
	}
	for v := math.Ceil(low/step) * step; v <= high+step/1e6; v += step {
		marks = append(marks, v)
	}
	return marks
}

// axis is the vertical one: what prints a value of it, whether it is logarithmic, and whether round values are round in binary, as of bytes.
type axis struct {
	print        func(float64) string
	tall, binary bool
}

// marks returns about five round values.
func (a axis) marks(low, high float64) []float64 {
	grain := 1.0
	for a.binary && high >= grain*1024 {
		grain *= 1024
	}
	marks := nice(low/grain, high/grain, 5)
	for i := range marks {
		marks[i] *= grain
	}
	return marks
}

// scale maps values of a chart to places in it.
type scale struct {
	low, high, from, to float64
	log                 bool
}

func (s scale) at(v float64) float64 {
	if s.log {
		v = math.Log10(max(v, s.low)) - math.Log10(s.low)
		return s.from + (s.to-s.from)*v/max(math.Log10(s.high)-math.Log10(s.low), 1e-9)
	}
	return s.from + (s.to-s.from)*(v-s.low)/max(s.high-s.low, 1e-12)
}

// chart draws lines. mark prints a value of the horizontal axis. Without any value it is empty.
func chart(title string, lines []line, of axis, xs []float64, mark func(float64) string) template.HTML {
	tall := of.tall
	x := scale{low: math.Inf(1), high: math.Inf(-1), from: left, to: left + inner}
	y := scale{low: math.Inf(1), high: math.Inf(-1), from: top + deep, to: top, log: tall}
	for _, l := range lines {
		for i := range l.x {
			x.low, x.high = min(x.low, l.x[i]), max(x.high, l.x[i])
			if v := l.y[i]; !math.IsNaN(v) && (!tall || v > 0) {
				y.low, y.high = min(y.low, v), max(y.high, v)
			}
		}
	}
	if y.high < y.low || x.high < x.low {
		return ""
	}
	marks := []float64{}
	if tall {
		y.low, y.high = math.Pow(10, math.Floor(math.Log10(y.low))), math.Pow(10, math.Ceil(math.Log10(y.high*1.0001)))
		for v := y.low; v <= y.high*1.0001; v *= 10 {
			marks = append(marks, v)
		}
	} else {
		y.low, y.high = min(y.low, 0), y.high*1.05
		switch { // zeros alone: up to one, whatever one is
		case y.high > y.low:
		case of.binary:
			y.high = y.low + 1024
		default:
			y.high = y.low + 1
		}
		marks = of.marks(y.low, y.high)
	}
	if xs == nil {
		xs = nice(x.low, x.high, 8)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<figure><figcaption>%s</figcaption><svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, template.HTMLEscapeString(title), wide, high, template.HTMLEscapeString(title))
	for _, v := range marks {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/><text class="y" x="%g" y="%.1f">%s</text>`,
			left, left+inner, y.at(v), y.at(v), left-6, y.at(v)+3.5, template.HTMLEscapeString(of.print(v)))
	}
	for _, v := range xs {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/><text class="x" x="%.1f" y="%g">%s</text>`,
			x.at(v), x.at(v), top, top+deep, x.at(v), top+deep+14, template.HTMLEscapeString(mark(v)))
	}
	at := left
	for i, l := range lines {
		colour := colours[i%len(colours)]
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.6"/>`, path(l, x, y, tall), colour)
		fmt.Fprintf(&b, `<rect x="%g" y="%g" width="9" height="9" fill="%s"/><text class="legend" x="%g" y="%g">%s</text>`,
			at, high-14, colour, at+13, high-6, template.HTMLEscapeString(l.name))
		at += 24 + 6.4*float64(len([]rune(l.name)))
	}
	b.WriteString("</svg></figure>")
	return template.HTML(b.String()) //nolint:gosec // every text in it was escaped above
}

// path is the curve of l.
func path(l line, x, y scale, tall bool) string {
	var b strings.Builder
	pen := false
	for i := range l.x {
		if math.IsNaN(l.y[i]) || tall && l.y[i] <= 0 {
			pen = false
			continue
		}
		verb := "M"
		if pen {
			verb = "L"
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", verb, x.at(l.x[i]), y.at(l.y[i]))
		pen = true
	}
	return b.String()
}

// values takes a value of every point of a run.
func (r *Result) values(name, key string) line {
	l := line{name: name}
	for _, p := range r.Series {
		v, ok := p.Values[key]
		if !ok {
			v = math.NaN()
		}
		l.x, l.y = append(l.x, p.At), append(l.y, v)
	}
	return l
}

// percentile takes one of p50, p99 and max (0, 1, 2) of a latency of every point.
func (r *Result) percentile(name, key string, which int) line {
	l := line{name: name}
	for _, p := range r.Series {
		v := math.NaN()
		if q := p.Latency[key]; which < len(q) {
			v = q[which]
		}
		l.x, l.y = append(l.x, p.At), append(l.y, v)
	}
	return l
}

// has tells whether a value was seen at any point.
func (r *Result) has(key string) bool {
	for _, p := range r.Series {
		if p.Values[key] != 0 {
			return true
		}
	}
	return false
}
