// Package page shows what a simulation has found: a page with charts that needs nothing beside itself, tables for terminals, and
// CSV for spreadsheets. It measures nothing, and does no I/O but into the writer that it is given.
package page

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"time"

	"switchboard/broker/whatif"
	"switchboard/loadtest/report"
)

//go:embed page.html
var text string

var tmpl = template.Must(template.New("page").Funcs(template.FuncMap{
	"pct": percent, "ms": seconds, "clock": func(h int) string { return fmt.Sprintf("%02d:00", h) },
	"whole": func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) },
	"one":   func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) },
	"at":    func(list []int, i int) int { return list[i] },
	"rate":  func(list []float64, i int) float64 { return list[i] },
	"ok":    func(list []bool, i int) bool { return list[i] },
}).Parse(text))

// view is what the page is made of.
type view struct {
	Title   string
	About   string
	Zone    *time.Location
	Results []*whatif.Result
	Staff   *whatif.Staffing
	Charts  []template.HTML
}

// Hour prints when an hour of a result begins.
func (v *view) Hour(at int64) string { return time.UnixMilli(at).In(v.Zone).Format("Mon 15:04") }

// Runs writes a page about one result, or about several of the same day beside each other.
func Runs(w io.Writer, about string, zone *time.Location, results ...*whatif.Result) error {
	v := view{Title: results[0].Name, About: about, Zone: zone, Results: results}
	v.charts()
	return tmpl.Execute(w, &v)
}

// Staff writes a page about how many people each hour needs.
func Staff(w io.Writer, about string, s *whatif.Staffing) error {
	v := view{Title: s.Name + ": staff", About: about, Zone: time.UTC, Staff: s}
	v.staff()
	return tmpl.Execute(w, &v)
}

func percent(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + " %" }

// seconds prints ms for people.
func seconds(ms int64) string {
	s := float64(ms) / 1000
	if s >= 600 {
		return strconv.FormatFloat(s/60, 'f', 0, 64) + " min"
	}
	return strconv.FormatFloat(s, 'f', 0, 64) + " s"
}

func plain(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }

func (v *view) add(c template.HTML) {
	if c != "" {
		v.Charts = append(v.Charts, c)
	}
}

// label names a result among others.
func label(r *whatif.Result, many bool, what string) string {
	if many {
		return r.Policy
	}
	return what
}

// charts draws the hours of results.
func (v *view) charts() {
	many := len(v.Results) > 1
	curve := func(name string, r *whatif.Result, of func(*whatif.Hour) float64) report.Curve {
		c := report.Curve{Name: name}
		for i := range r.Hours {
			c.X, c.Y = append(c.X, float64(i)), append(c.Y, of(&r.Hours[i]))
		}
		return c
	}
	each := func(what string, of func(*whatif.Hour) float64) (list []report.Curve) {
		for _, r := range v.Results {
			list = append(list, curve(label(r, many, what), r, of))
		}
		return list
	}
	mark := func(x float64) string {
		i := int(x)
		if hours := v.Results[0].Hours; i >= 0 && i < len(hours) {
			return time.UnixMilli(hours[i].At).In(v.Zone).Format("15:04")
		}
		return ""
	}
	rate := func(h *whatif.Hour) float64 {
		if h.Wanted == 0 {
			return math.NaN()
		}
		return h.Rate
	}
	first := v.Results[0]
	v.add(report.Chart("answered in time, of those who wanted a person", each("in time", rate), percent, nil, mark))
	v.add(report.Chart("sessions that came, and those who wanted a person", []report.Curve{
		curve("sessions", first, func(h *whatif.Hour) float64 { return float64(h.Arrived) }), curve("wanted a person", first, func(h *whatif.Hour) float64 { return float64(h.Wanted) }),
	}, plain, nil, mark))
	v.add(report.Chart("the 95th percentile of the wait, seconds", each("p95", func(h *whatif.Hour) float64 { return float64(h.P95) / 1000 }), plain, nil, mark))
	v.add(report.Chart("the longest line", each("line", func(h *whatif.Hour) float64 { return float64(h.Line) }), plain, nil, mark))
	v.add(report.Chart("left without an answer", each("left", func(h *whatif.Hour) float64 { return float64(h.Left) }), plain, nil, mark))
	v.add(report.Chart("people who were ready", each("people", func(h *whatif.Hour) float64 { return h.Agents }), plain, nil, mark))
	v.add(report.Chart("how full they were", each("of their slots", func(h *whatif.Hour) float64 { return h.Occupied }), percent, nil, mark))
	v.add(shops(v.Results))
}

// shops draws the rate of each shop, the busiest first as the routes have them.
func shops(results []*whatif.Result) template.HTML {
	var list []report.Curve
	for _, r := range results {
		c := report.Curve{Name: label(r, len(results) > 1, "in time")}
		for i := range r.Shops {
			c.X, c.Y = append(c.X, float64(i+1)), append(c.Y, r.Shops[i].Rate)
		}
		if len(c.X) < 2 {
			return ""
		}
		list = append(list, c)
	}
	return report.Chart("answered in time, by shop", list, percent, nil, plain)
}

// staff draws what was found.
func (v *view) staff() {
	s := v.Staff
	mark := func(x float64) string { return fmt.Sprintf("%02.0f:00", x) }
	hours := func(name string, of func(h int) float64) report.Curve {
		c := report.Curve{Name: name}
		for h := range s.Hours {
			c.X, c.Y = append(c.X, float64(h)), append(c.Y, of(h))
		}
		return c
	}
	var people []report.Curve
	for _, p := range s.Plans {
		people = append(people, hours(percent(p.Target), func(h int) float64 { return float64(p.People[h]) }))
	}
	people = append(people, hours("the formula", func(h int) float64 { return float64(s.Hours[h].Erlang) }))
	v.add(report.Chart("people by hour", people, plain, nil, mark))
	v.add(report.Chart("wanted a person", []report.Curve{hours("by hour", func(h int) float64 { return float64(s.Hours[h].Wanted) })}, plain, nil, mark))
	cliff := func(name string, of func(*whatif.CliffPoint) float64) report.Curve {
		c := report.Curve{Name: name}
		for i := range s.Cliff {
			c.X, c.Y = append(c.X, s.Cliff[i].Factor), append(c.Y, of(&s.Cliff[i]))
		}
		return c
	}
	v.add(report.Chart("the cliff: in time with more and with fewer people", []report.Curve{
		cliff("the day", func(p *whatif.CliffPoint) float64 { return p.Rate }), cliff("its worst hour", func(p *whatif.CliffPoint) float64 { return p.Worst }),
	}, percent, nil, percent))
	v.add(report.Chart("the cliff: mean time in line, seconds", []report.Curve{cliff("mean", func(p *whatif.CliffPoint) float64 { return float64(p.MeanWait) / 1000 })}, plain, nil, percent))
}
