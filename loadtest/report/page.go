package report

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"switchboard/loadtest/scenario"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"seconds": seconds,
	"names":   func(r *Result) []string { return names(r) },
	"figure":  (*Result).figure,
	"slugs":   func(r *Result) []string { return slices.Sorted(maps.Keys(r.Refused)) },
	"letter":  func(i int) string { return string(rune('a' + i)) },
	"several": several,
	"print":   func(g Gate) string { return g.Print() },
}).Parse(pageText))

// view is what the page is made of: one result, or two beside each other.
type view struct {
	Title   string
	Results []*Result
	Rows    []Row
	Unlike  []string          // why a comparison may mislead
	Charts  [][]template.HTML // of each result
}

// WriteHTML writes a page about one result: it needs nothing beside itself, and runs no script.
func (r *Result) WriteHTML(w io.Writer) error {
	return page.Execute(w, view{Title: r.Scenario, Results: []*Result{r}, Charts: [][]template.HTML{r.charts()}})
}

// WriteHTML writes a page with both results side by side.
func (c *Comparison) WriteHTML(w io.Writer) error {
	title := c.A.Scenario + " compared"
	if c.A.Scenario != c.B.Scenario {
		title = c.A.Scenario + " and " + c.B.Scenario + " compared"
	}
	return page.Execute(w, view{
		Title: title, Results: []*Result{c.A, c.B}, Rows: c.Rows, Unlike: c.unlike(), Charts: [][]template.HTML{c.A.charts(), c.B.charts()},
	})
}

func plain(v float64) string { return strconv.FormatFloat(v, 'g', 5, 64) }

func bytesOf(v float64) string { return scenario.Format(v, scenario.Bytes) }

// secondsMark prints the time of the run.
func secondsMark(v float64) string { return fmt.Sprintf("%gs", v+0) } // + 0 makes −0 a 0

// charts draws everything that there is something about.
func (r *Result) charts() (out []template.HTML) {
	number, size := axis{print: plain}, axis{print: bytesOf, binary: true}
	add := func(title string, of axis, lines ...line) {
		if c := chart(title, lines, of, nil, secondsMark); c != "" {
			out = append(out, c)
		}
	}
	for _, n := range names(r) {
		if n == "connect" || n == "lag" {
			continue
		}
		add(n+" over time", axis{print: seconds, tall: true}, r.percentile("p50", n, 0), r.percentile("p99", n, 1), r.percentile("max", n, 2))
	}
	if c := r.curves(); c != "" {
		out = append(out, c)
	}
	add("messages a second", number, r.values("due", "due"), r.values("acknowledged", "acked"), r.values("answered", "answered"))
	add("sockets", number, r.values("held by the generator", "sockets"), r.values("the node's count", "connections"))
	add("resident memory", size, r.values("node", "rss"), r.values("the node's live heap", "live"), r.values("generator", "gen_rss"))
	add("processor cores", number, r.values("node", "cpu"), r.values("generator", "gen_cpu"))
	for _, c := range []struct {
		title string
		keys  []string
		of    axis
	}{
		{"refused and errors a second", []string{"refused", "errors", "overloaded"}, number},
		{"garbage collections a second", []string{"gc"}, number},
		{"seconds of garbage collection pauses a second", []string{"gc_pause"}, axis{print: seconds}},
		{"syncs and entries of the journal a second", []string{"syncs", "entries"}, number},
		{"bytes to the journal a second", []string{"journal_bytes"}, size},
		{"level 0 of the store", []string{"l0"}, number},
		{"write stalls a second", []string{"stalls"}, number},
		{"mail that waits in shards", []string{"inbox"}, number},
		{"tokens a second", []string{"tokens"}, number},
		{"lags and dropped pushes a second", []string{"node_lags", "pushes_dropped"}, number},
	} {
		var lines []line
		for _, k := range c.keys {
			if r.has(k) {
				lines = append(lines, r.values(strings.ReplaceAll(k, "_", " "), k))
			}
		}
		if len(lines) > 0 {
			add(c.title, c.of, lines...)
		}
	}
	return out
}

// curves draws the percentiles of all latencies, with room for the rare ones.
func (r *Result) curves() template.HTML {
	place := func(p float64) float64 { return -math.Log10(max(1-p/100, 1e-5)) }
	var lines []line
	for _, n := range names(r) {
		l := line{name: n}
		for _, c := range r.Latencies[n].Curve {
			if c[0] < 100 {
				l.x, l.y = append(l.x, place(c[0])), append(l.y, c[1])
			}
		}
		lines = append(lines, l)
	}
	marks := []float64{place(0), place(50), place(90), place(99), place(99.9), place(99.99)}
	return chart("latency by percentile", lines, axis{print: seconds, tall: true}, marks, func(v float64) string {
		return "p" + strconv.FormatFloat(math.Round((1-math.Pow(10, -v))*1e6)/1e4, 'g', -1, 64)
	})
}
