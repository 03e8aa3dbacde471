package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"switchboard/loadtest/scenario"
)

// order is that of the latencies in tables.
var order = []string{"answer", "answer_human", "ack", "first_token", "token", "handoff", "connect", "reconnect", "lag"}

// names returns the latencies of rs, in order.
func names(rs ...*Result) (out []string) {
	for _, n := range order {
		if slices.ContainsFunc(rs, func(r *Result) bool { return r.Latencies[n].Count > 0 }) {
			out = append(out, n)
		}
	}
	return out
}

func seconds(v float64) string { return scenario.Format(v, scenario.Time) }

// figure prints a figure for people; "–" when it was not measured.
func (r *Result) figure(name string) string {
	v, ok := r.Figures[name]
	if !ok {
		return "–"
	}
	unit, _ := scenario.UnitOf(name)
	switch {
	case unit != scenario.None || v == float64(int64(v)):
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
	return scenario.Format(v, unit)
}

// several counts things: 1 process, 2 processes.
func several(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + more
}

// WriteTo writes the summary for terminals.
func (r *Result) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n%d customers, %.1f messages a second offered, %.0f s measured, %s, seed %d\n%s\n\n",
		r.Scenario, r.About, r.Customers, r.Offered, r.Steady, several(r.Processes, "process", "processes"), r.Seed, r.Machine)
	var rows strings.Builder
	rows.WriteString("latency\tcount\tp50\tp90\tp99\tp99.9\tmax\t\n")
	for _, n := range names(r) {
		l := r.Latencies[n]
		fmt.Fprintf(&rows, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t\n", n, l.Count, seconds(l.P50), seconds(l.P90), seconds(l.P99), seconds(l.P999), seconds(l.Max))
	}
	if err := table(&b, rows.String()); err != nil {
		return 0, err
	}
	fmt.Fprintf(&b, "\nmessages   %s due, %s acknowledged, %s answered; %s/s\n", r.figure("due"), r.figure("acked"), r.figure("answered"), strings.TrimSuffix(r.figure("rate"), "/s"))
	fmt.Fprintf(&b, "ledger     %s lost, %s duplicated, %s reordered, %s mismatched; %s unacknowledged, %s unanswered; %s sessions compared with their history\n",
		r.figure("lost"), r.figure("duplicated"), r.figure("reordered"), r.figure("mismatched"), r.figure("unacked"), r.figure("unanswered"), r.figure("audited"))
	if r.Figures["tokens"]+r.Figures["tokens_lost"] > 0 {
		fmt.Fprintf(&b, "streams    %s tokens told, %s shown, %s not\n", r.figure("tokens_told"), r.figure("tokens"), r.figure("tokens_lost"))
	}
	fmt.Fprintf(&b, "sockets    %s held, %s lost, %s failed attempts, %s ended on purpose\n", r.figure("sockets"), r.figure("disconnects"), r.figure("errors"), r.figure("dropped"))
	fmt.Fprintf(&b, "node       %s resident, %s a connection, %s in the end, %s live, %s cores\n", r.figure("rss"), r.figure("rss_per_conn"), r.figure("settled_per_conn"), r.figure("live"), r.figure("cpu"))
	fmt.Fprintf(&b, "connects   %s of the node's processors each: %s for each second of one\n", r.figure("connect_cpu"), r.figure("connects_per_cpu"))
	fmt.Fprintf(&b, "generator  %s resident, %s a connection, %s cores\n", r.figure("gen_rss"), r.figure("gen_per_conn"), r.figure("gen_cpu"))
	if len(r.Refused) > 0 {
		b.WriteString("refused   ")
		for _, slug := range slices.Sorted(maps.Keys(r.Refused)) {
			fmt.Fprintf(&b, " %s %d", slug, r.Refused[slug])
		}
		b.WriteString("\n")
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "FAULT      %s\n", f)
	}
	for i, o := range r.Open {
		if i == 10 {
			fmt.Fprintf(&b, "open       and %d more\n", len(r.Open)-i)
			break
		}
		fmt.Fprintf(&b, "open       %s\n", o)
	}
	for _, o := range r.Warnings {
		fmt.Fprintf(&b, "warning    %s\n", o)
	}
	b.WriteString("\n")
	for _, g := range r.Gates {
		word := "holds "
		if !g.Holds {
			word = "FAILS "
		}
		fmt.Fprintf(&b, "%s %-26s %s\n", word, g.Text, g.Print())
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// table writes rows, whose cells end with tabs, in columns.
func table(w io.Writer, rows string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	if _, err := io.WriteString(t, rows); err != nil {
		return err
	}
	return t.Flush()
}
