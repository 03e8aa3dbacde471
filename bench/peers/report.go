package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is the whole comparison.
type Report struct {
	Machine   string    `json:"machine"`
	Date      time.Time `json:"date"`
	Customers int       `json:"customers"`
	Workers   int       `json:"workers"`
	Body      int       `json:"body_bytes"`
	Seconds   float64   `json:"seconds_per_turn"`
	Rates     []float64 `json:"rates"`
	Missing   []Missing `json:"not_installed"`
	Rows      []*Row    `json:"rows"`
}

// Missing is a peer that could not take part.
type Missing struct {
	Name    string `json:"name"`
	Program string `json:"program"`
	Install string `json:"install"`
}

// Row is one peer with all its turns.
type Row struct {
	Name     string  `json:"name"`
	Version  string  `json:"version"`
	Client   string  `json:"client"`
	Settings string  `json:"settings"`
	Does     string  `json:"does"`
	DoesNot  string  `json:"does_not"`
	Rounds   []Round `json:"rounds"`
	Idle     []Idle  `json:"idle,omitempty"`
	Fan      []Fan   `json:"fan,omitempty"`
	Echo     []Echo  `json:"echo,omitempty"`

	peer *Peer
	path string
}

func newReport(cfg *Config) *Report {
	return &Report{
		Machine: machine(), Date: time.Now().UTC().Truncate(time.Second), Customers: cfg.Customers, Workers: cfg.Workers, Body: cfg.Body,
		Seconds: cfg.Time.Seconds(), Rates: cfg.Rates, Missing: []Missing{},
	}
}

func newRow(ctx context.Context, p *Peer, path string) *Row {
	return &Row{Name: p.Name, Version: p.version(ctx, path), Client: p.Client, Settings: p.Settings, Does: p.Does, DoesNot: p.DoesNot, peer: p, path: path}
}

func (r *Report) missing(p *Peer) {
	r.Missing = append(r.Missing, Missing{p.Name, p.Program, p.Install})
}

// span is the least, the middle and the most of something over the rounds.
type span struct{ least, middle, most float64 }

// of collects a figure over the rounds of one rate that did not fail.
func (r *Row) of(rate float64, what func(*Round) float64) (span, bool) {
	var v []float64
	for i := range r.Rounds {
		if round := &r.Rounds[i]; round.Rate == rate && round.Fault == "" {
			v = append(v, what(round))
		}
	}
	if len(v) == 0 {
		return span{}, false
	}
	slices.Sort(v)
	middle := v[len(v)/2]
	if len(v)%2 == 0 {
		middle = (v[len(v)/2-1] + middle) / 2
	}
	return span{v[0], middle, v[len(v)-1]}, true
}

// ratio is the median over the rounds of ours divided by theirs, in the same round: neighbours in time.
func ratio(ours, theirs *Row, rate float64, what func(*Round) float64) (span, bool) {
	var pairs Row
	for i := range ours.Rounds {
		for j := range theirs.Rounds {
			a, b := &ours.Rounds[i], &theirs.Rounds[j]
			if a.Round == b.Round && a.Rate == rate && b.Rate == rate && a.Fault == "" && b.Fault == "" && what(b) > 0 {
				pairs.Rounds = append(pairs.Rounds, Round{Rate: rate, PerSecond: what(a) / what(b)})
			}
		}
	}
	return pairs.of(rate, perSecond)
}

func perSecond(r *Round) float64 { return r.PerSecond }
func p50(r *Round) float64       { return r.P50 }
func p99(r *Round) float64       { return r.P99 }
func serverCPU(r *Round) float64 { return r.ServerMicros }

// Print writes the tables.
func (r *Report) Print(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s; %d customers, %d workers, %d bytes each way, %.0f s a turn; min / median / max over the rounds\n",
		r.Machine, r.Date.Format("2006-01-02 15:04 MST"), r.Customers, r.Workers, r.Body, r.Seconds)
	for _, rate := range r.Rates {
		r.table(&b, rate)
	}
	r.ratios(&b)
	r.idle(&b)
	r.fan(&b)
	r.echo(&b)
	fmt.Fprintln(&b, "\nWho, and what they promise")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "%s: %s; client: %s; %s\n    does: %s\n    does not: %s\n", row.Name, row.Version, row.Client, row.Settings, row.Does, row.DoesNot)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "%s: not installed (%s): %s\n", m.Name, m.Program, m.Install)
	}
	for _, row := range r.Rows {
		for i := range row.Rounds {
			if f := &row.Rounds[i]; f.Fault != "" {
				fmt.Fprintf(&b, "no figure: %s, round %d, rate %.0f: %s\n", row.Name, f.Round, f.Rate, f.Fault)
			}
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (r *Report) table(b *strings.Builder, rate float64) {
	title := "\nAs fast as it goes (one message under way per customer)"
	if rate > 0 {
		title = fmt.Sprintf("\nOn schedule, %.0f round trips a second; latency from when a message was due", rate)
	}
	fmt.Fprintln(b, title)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\tround trips/s\tp50 ms\tp99 ms\tserver CPU us/rt\tgenerator us/rt\tRSS MB\tothers' cores\tsync us\tunanswered\ttwice\tout of order\t")
	for _, row := range r.Rows {
		rt, ok := row.of(rate, perSecond)
		if !ok {
			_, _ = fmt.Fprintf(w, "%s\tno figure\t\t\t\t\t\t\t\t\t\t\t\n", row.Name)
			continue
		}
		at := func(what func(*Round) float64) span { s, _ := row.of(rate, what); return s }
		a, c, cpu := at(p50), at(p99), at(serverCPU)
		gen, rss, foreign := at(func(r *Round) float64 { return r.GeneratorMicros }), at(func(r *Round) float64 { return float64(r.Resident) / 1e6 }), at(func(r *Round) float64 { return r.Foreign })
		lost, twice, order := at(func(r *Round) float64 { return float64(r.Unanswered) }), at(func(r *Round) float64 { return float64(r.Twice) }), at(func(r *Round) float64 { return float64(r.Disorder) })
		_, _ = fmt.Fprintf(w, "%s\t%.0f / %.0f / %.0f\t%.2f / %.2f / %.2f\t%.2f / %.2f / %.2f\t%.1f / %.1f / %.1f\t%.1f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", row.Name, rt.least, rt.middle, rt.most,
			a.least, a.middle, a.most, c.least, c.middle, c.most, cpu.least, cpu.middle, cpu.most, gen.middle, rss.middle, foreign.most, at(func(r *Round) float64 { return r.SyncMicros }).middle, lost.most, twice.most, order.most)
	}
	_ = w.Flush() // a strings.Builder takes all
}

// idle tells what silent customers cost: the median over the rounds.
func (r *Report) idle(b *strings.Builder) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range r.Rows {
		var kept []Idle
		for _, i := range row.Idle {
			if i.Fault != "" {
				fmt.Fprintf(b, "no figure: %s, idle, round %d: %s\n", row.Name, i.Round, i.Fault)
				continue
			}
			kept = append(kept, i)
		}
		if len(kept) == 0 {
			continue
		}
		middle := func(what func(Idle) float64) float64 {
			var v []float64
			for _, i := range kept {
				v = append(v, what(i))
			}
			slices.Sort(v)
			return v[len(v)/2]
		}
		_, _ = fmt.Fprintf(w, "%s\t%.1f KB\t%.0f us\t%.0f/s\t\n", row.Name, middle(func(i Idle) float64 { return i.Bytes / 1000 }),
			middle(func(i Idle) float64 { return i.ConnectMicros }), middle(func(i Idle) float64 { return i.PerSecond }))
	}
	if slices.ContainsFunc(r.Rows, func(row *Row) bool { return len(row.Idle) > 0 }) {
		fmt.Fprintln(b, "\nIdle customers: server memory of one, server CPU to connect, log in and subscribe (or open a session), connects a second one after the other")
	}
	_ = w.Flush()
}

// ratios compares the first row, round by round, with the others.
func (r *Report) ratios(b *strings.Builder) {
	if len(r.Rows) < 2 {
		return
	}
	ours := r.Rows[0]
	fmt.Fprintf(b, "\n%s divided by the other in the same round: median (min to max)\n", ours.Name)
	for _, rate := range r.Rates {
		for _, row := range r.Rows[1:] {
			line := func(name string, what func(*Round) float64) string {
				s, ok := ratio(ours, row, rate, what)
				if !ok {
					return name + " –"
				}
				return fmt.Sprintf("%s %.2f (%.2f to %.2f)", name, s.middle, s.least, s.most)
			}
			if rate == 0 {
				fmt.Fprintf(b, "max       %-20s %s  %s\n", row.Name, line("round trips/s", perSecond), line("server CPU/rt", serverCPU))
			} else {
				fmt.Fprintf(b, "%-9s %-20s %s  %s  %s\n", fmt.Sprintf("%.0f/s", rate), row.Name, line("p50", p50), line("p99", p99), line("server CPU/rt", serverCPU))
			}
		}
	}
}

// machine returns the facts that a figure needs: processors, memory, kernel.
func machine() string {
	line := func(path, prefix string) string {
		b, _ := os.ReadFile(path) // missing: unknown
		for l := range strings.SplitSeq(string(b), "\n") {
			if strings.HasPrefix(l, prefix) {
				_, v, ok := strings.Cut(l, ":")
				if !ok {
					v = l
				}
				return strings.TrimSpace(v)
			}
		}
		return "unknown"
	}
	return fmt.Sprintf("%d × %s, %s memory, Linux %s, %s", runtime.NumCPU(), line("/proc/cpuinfo", "model name"), line("/proc/meminfo", "MemTotal"),
		line("/proc/sys/kernel/osrelease", ""), runtime.Version())
}
