package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"switchboard/loadtest/scenario"
)

// Row is one figure of two results.
type Row struct {
	Name, A, B, Change string
	// Better is 1 when b is better than a by more than a tenth, -1 when it is worse, 0 otherwise or when neither is better.
	Better int
}

// Class is the row's in the page.
func (r Row) Class() string { return [...]string{"fails", "", "holds"}[r.Better+1] }

// Comparison is two results beside each other.
type Comparison struct {
	A, B *Result
	Rows []Row
}

// compared are the figures that are compared, and whether more is better (1), worse (-1), or neither.
var compared = []struct {
	name string
	sign int
}{
	{"rate", 1},
	{"goodput", 1},
	{"due", 0},
	{"lost", -1},
	{"duplicated", -1},
	{"reordered", -1},
	{"mismatched", -1},
	{"unanswered", -1},
	{"unacked", -1},
	{"refused", -1},
	{"disconnects", -1},
	{"errors", -1},
	{"tokens_lost", -1},
	{"unaudited", -1},
	{"rss", -1},
	{"rss_per_conn", -1},
	{"settled_per_conn", -1},
	{"rss_growth", -1},
	{"live", -1},
	{"live_per_talk", -1},
	{"connect_cpu", -1},
	{"cpu", -1},
	{"gen_rss", 0},
	{"gen_cpu", 0},
}

// Compare lays two results beside each other. Two runs on a shared machine differ by a tenth for no reason: less is not
// marked.
func Compare(a, b *Result) *Comparison {
	c := &Comparison{A: a, B: b}
	for _, n := range names(a, b) {
		sign := -1
		if n == "lag" {
			sign = 0
		}
		for _, stat := range []string{"p50", "p99", "p999", "max"} {
			c.row(n+"."+stat, sign)
		}
	}
	for _, f := range compared {
		c.row(f.name, f.sign)
	}
	return c
}

func (c *Comparison) row(name string, sign int) {
	a, b := c.A.Value(name), c.B.Value(name)
	if math.IsNaN(a) && math.IsNaN(b) {
		return
	}
	unit, _ := scenario.UnitOf(name)
	show := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		if unit == scenario.None && v != math.Trunc(v) {
			return fmt.Sprintf("%.2f", v)
		}
		return scenario.Format(v, unit)
	}
	r := Row{Name: name, A: show(a), B: show(b)}
	switch {
	case math.IsNaN(a) || math.IsNaN(b) || a == b:
	case a <= 0:
		r.Change = "from " + r.A
		if r.Better = sign; b < a {
			r.Better = -sign
		}
	default:
		share := (b - a) / a
		r.Change = fmt.Sprintf("%+.0f%%", share*100)
		if math.Abs(share) > .1 {
			r.Better = sign
			if share < 0 {
				r.Better = -sign
			}
		}
	}
	c.Rows = append(c.Rows, r)
}

// unlike says why a difference may be nobody's merit.
func (c *Comparison) unlike() (list []string) {
	switch {
	case c.A.Document != c.B.Document:
		list = append(list, "they did not run the same scenario")
	case !slices.Equal(c.A.Sets, c.B.Sets):
		list = append(list, fmt.Sprintf("they ran one scenario with different settings: %s; %s", setsBut(c.A.Sets, c.B.Sets), setsBut(c.B.Sets, c.A.Sets)))
	}
	if c.A.Machine != c.B.Machine {
		list = append(list, fmt.Sprintf("they ran on different machines: %s; %s", c.A.Machine, c.B.Machine))
	}
	for _, x := range [][3]string{
		{"processors", c.A.Hardware.Model, c.B.Hardware.Model},
		{"memory", c.A.Hardware.Memory, c.B.Hardware.Memory},
		{"kernels", c.A.Hardware.Kernel, c.B.Hardware.Kernel},
		{"programs", c.A.Version, c.B.Version},
	} {
		if x[1] != "" && x[2] != "" && x[1] != x[2] {
			list = append(list, fmt.Sprintf("they ran with different %s: %s; %s", x[0], x[1], x[2]))
		}
	}
	for i, r := range []*Result{c.A, c.B} {
		switch letter := 'a' + rune(i); {
		case r.Partial:
			list = append(list, fmt.Sprintf("%c did not come to its end: it is what was measured in the first %.0f s, without an audit", letter, r.Steady))
		case r.Stopped:
			list = append(list, fmt.Sprintf("%c was stopped after %.0f s", letter, r.Steady))
		}
	}
	return list
}

// setsBut is what one run set and another did not; the same settings in another order are told in theirs.
func setsBut(sets, others []string) string {
	own := slices.DeleteFunc(slices.Clone(sets), func(set string) bool { return slices.Contains(others, set) })
	switch {
	case len(own) > 0:
		return strings.Join(own, ", ")
	case len(sets) > 0 && len(sets) == len(others):
		return strings.Join(sets, ", ")
	}
	return "none of its own"
}

// sameMachine tells whether both ran on machines that call themselves the same, as far as is known.
func (c *Comparison) sameMachine() bool {
	same := func(a, b string) bool { return a == b || a == "" || b == "" }
	x, y := c.A.Hardware, c.B.Hardware
	return c.A.Machine == c.B.Machine && same(x.Model, y.Model) && same(x.Memory, y.Memory) && same(x.Kernel, y.Kernel)
}

// WriteTo writes the table for terminals.
func (c *Comparison) WriteTo(w io.Writer) (int64, error) {
	var b, rows strings.Builder
	for i, r := range []*Result{c.A, c.B} {
		fmt.Fprintf(&b, "%c  %s, %s, %d customers, %.1f/s offered, %.0f s, seed %d %s\n", 'a'+rune(i), r.Scenario, r.Started.Format("2006-01-02 15:04"), r.Customers, r.Offered, r.Steady, r.Seed, strings.Join(r.Sets, " "))
	}
	for _, s := range c.unlike() {
		fmt.Fprintf(&b, "   %s\n", s)
	}
	b.WriteString("\n")
	rows.WriteString("\ta\tb\tchange\t\t\n")
	for _, r := range c.Rows {
		fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\t%s\t\n", r.Name, r.A, r.B, r.Change, [...]string{"worse", "", "better"}[r.Better+1])
	}
	if err := table(&b, rows.String()); err != nil {
		return 0, err
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}
