package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"switchboard/loadtest/capacity"
	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
)

// planNodesFlags are those of `plan nodes`.
type planNodesFlags struct {
	from                                []string
	check                               string
	sockets, sessions, messages, tokens string
	cores, memory, files, disk          string
	slo, headroom                       string
	spare                               int
	asJSON                              bool
	load                                capacity.Load
	node                                capacity.Node
	goal                                capacity.Goal
	fitted                              []capacity.Point
	held                                *capacity.Point
	missing                             []string // runs of a series that broke off
	machine                             string
}

func newPlanNodes() *cobra.Command {
	var f planNodesFlags
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "Say how many nodes a load takes, and what runs out first",
		Long: `Say how many nodes a load takes, which of their resources runs out first, and how sure that is. The answer comes from a
small model that is fitted to measured runs of one node: those of --from, or shipped ones of a small machine.

Measure your own machine with switchboard plan measure, or name results of loadtest run --json (of a constant rate,
without actions). One run is left out of the fit and predicted, so that the answer says how far off the model is.`,
		Example: `  switchboard plan nodes --connections 100000 --messages 8000 --slo "p99 < 50ms" --cores 8 --memory 16GiB
  switchboard plan measure --json points.json && switchboard plan nodes --from points.json --connections 50000 --messages 4000
  switchboard plan nodes --from a.json,b.json,c.json,d.json --check e.json --connections 50000 --messages 4000 --json`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.OutOrStdout()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.sockets, "connections", "", "customers' sockets that are open at the same time")
	fs.StringVar(&f.sessions, "sessions", "", "conversations that are open at the same time (default one of each connection)")
	fs.StringVar(&f.messages, "messages", "", "messages of customers a second, in the busiest minute; each is answered")
	fs.StringVar(&f.tokens, "tokens", "0", "tokens of streamed answers a second")
	fs.StringVar(&f.slo, "slo", "", `what an answer may take, as "p99 < 50ms"; p50, p90, p95, p99 or p999 (default none)`)
	fs.StringVar(&f.cores, "cores", "", "processors of a node (default those of the measured one)")
	fs.StringVar(&f.memory, "memory", "", "memory of a node, as 8GiB (default no limit)")
	fs.StringVar(&f.files, "files", "", "files that a node's process may open (default the measured limit)")
	fs.StringVar(&f.disk, "disk", "", "what a node's disk takes a second, as 200MiB (default no limit)")
	fs.StringVar(&f.headroom, "headroom", "30%", "share of processors, memory and disk that stays free")
	fs.IntVar(&f.spare, "spare", 0, "nodes that may be lost")
	fs.StringSliceVar(&f.from, "from", nil, "files of plan measure or loadtest run --json to fit to (default shipped ones)")
	fs.StringVar(&f.check, "check", "", "result of loadtest run --json that is predicted, and not fitted to")
	fs.BoolVar(&f.asJSON, "json", false, "print the plan in JSON")
	return cmd
}

// parse reads the flags.
func (f *planNodesFlags) parse() error {
	for _, q := range []struct {
		flag, text string
		unit       scenario.Unit
		into       *float64
		need       bool
	}{
		{"connections", f.sockets, scenario.None, &f.load.Sockets, true},
		{"messages", f.messages, scenario.Rate, &f.load.Messages, true},
		{"sessions", f.sessions, scenario.None, &f.load.Sessions, false},
		{"tokens", f.tokens, scenario.Rate, &f.load.Tokens, false},
		{"cores", f.cores, scenario.None, &f.node.Cores, false},
		{"memory", f.memory, scenario.Bytes, &f.node.Memory, false},
		{"files", f.files, scenario.None, &f.node.Files, false},
		{"disk", f.disk, scenario.Bytes, &f.node.Disk, false},
		{"headroom", f.headroom, scenario.Share, &f.goal.Headroom, false},
	} {
		if q.text == "" {
			if q.need {
				return usageError{fmt.Errorf("--%s is missing: see switchboard plan nodes --help", q.flag)}
			}
			continue
		}
		v, err := scenario.ParseQuantity(q.text)
		if err == nil && (v.Unit != q.unit && v.Unit != scenario.None || v.Value < 0) {
			err = fmt.Errorf("it must be %s, and not below 0", q.unit)
		}
		if err == nil && q.unit == scenario.Bytes && v.Unit == scenario.None && v.Value > 0 { // 16 is meant to be GiB, and would be 16 bytes
			err = fmt.Errorf("it has no unit: write %sGiB", q.text)
		}
		if err != nil {
			return usageError{fmt.Errorf("--%s is %q: %w", q.flag, q.text, err)}
		}
		*q.into = v.Value
	}
	if f.sessions == "" {
		f.load.Sessions = f.load.Sockets
	}
	switch {
	case f.goal.Headroom >= 1:
		return usageError{fmt.Errorf("--headroom is %q: it must be below 100%%, as 30%%", f.headroom)}
	case f.cores != "" && f.node.Cores == 0:
		return usageError{errors.New("--cores is 0: a node has some")}
	case f.memory != "" && f.node.Memory == 0:
		return usageError{errors.New("--memory is 0: a node has some; leave it out for no limit")}
	case f.files != "" && f.node.Files == 0:
		return usageError{errors.New("--files is 0: a node opens some; leave it out for the measured limit")}
	case f.disk != "" && f.node.Disk == 0:
		return usageError{errors.New("--disk is 0: a node writes; leave it out for no limit")}
	case f.spare < 0 || f.spare > capacity.NodesMax:
		return usageError{fmt.Errorf("--spare is %d: it must be 0 to %d", f.spare, capacity.NodesMax)}
	}
	f.goal.Spare = f.spare
	if f.slo == "" {
		return nil
	}
	g, err := scenario.ParseGate(f.slo)
	if err != nil {
		return usageError{fmt.Errorf("--slo: %w", err)}
	}
	name, ok := strings.CutPrefix(g.Metric, "answer.")
	if !ok || g.Op != "<" && g.Op != "<=" || !slices.Contains([]string{"p50", "p90", "p95", "p99", "p999"}, name) {
		return usageError{fmt.Errorf(`--slo is %q: it must be a percentile of answers, as "p99 < 50ms"`, f.slo)}
	}
	f.goal.Percentile, f.goal.Seconds = name, g.Limit.Value
	return nil
}

// read reads the runs.
func (f *planNodesFlags) read() error {
	if len(f.from) == 0 {
		fitted, check := capacity.Shipped()
		f.fitted, f.held, f.machine = fitted, &check, "the shipped runs of a machine with 2 processors"
	} else {
		f.machine = strings.Join(f.from, ", ")
	}
	for _, name := range f.from {
		file, err := readPoints(name)
		if err != nil {
			return usageError{err}
		}
		f.fitted, f.missing = append(f.fitted, file.Points...), append(f.missing, file.Missing...)
		if file.Check != nil {
			f.held = file.Check
		}
	}
	if f.check != "" {
		file, err := readPoints(f.check)
		switch {
		case err != nil:
			return usageError{err}
		case file.Check != nil:
			f.held = file.Check
		case len(file.Points) == 1:
			f.held = &file.Points[0]
		default:
			return usageError{fmt.Errorf("--check %s has %d runs: it must be one", f.check, len(file.Points))}
		}
	}
	return nil
}

// readPoints reads a file of plan measure, or a result.
func readPoints(name string) (file capacity.File, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return file, fmt.Errorf("reading runs: %w", err)
	}
	if err := json.Unmarshal(b, &file); err == nil && len(file.Points) > 0 {
		return file, nil
	}
	r, err := report.Read(name)
	if err != nil {
		return file, err
	}
	p, err := capacity.Of(name, r)
	return capacity.File{Points: []capacity.Point{p}}, err
}

func (f *planNodesFlags) run(out io.Writer) error {
	if err := f.parse(); err != nil {
		return err
	}
	if err := f.read(); err != nil {
		return err
	}
	m, err := capacity.Fit(f.fitted)
	if err != nil {
		return usageError{err}
	}
	if f.node.Cores == 0 {
		f.node.Cores = f.fitted[0].Cores
	}
	if f.node.Files == 0 {
		f.node.Files = m.Files
	}
	p, err := m.Plan(f.load, f.node, f.goal)
	switch {
	case errors.Is(err, capacity.ErrNever):
		return checkError{err}
	case err != nil:
		return usageError{err}
	}
	if f.asJSON {
		return f.tellJSON(out, m, p)
	}
	return f.tell(out, m, p)
}

func (f *planNodesFlags) tellJSON(out io.Writer, m *capacity.Model, p *capacity.Plan) error {
	doc := struct {
		Load     capacity.Load    `json:"load"`
		Node     capacity.Node    `json:"node"`
		Goal     capacity.Goal    `json:"goal"`
		Plan     *capacity.Plan   `json:"plan"`
		Model    *capacity.Model  `json:"model"`
		Check    *capacity.Errors `json:"check,omitempty"`
		Warnings []string         `json:"warnings,omitempty"`
	}{f.load, f.node, f.goal, p, m, nil, f.warnings(p)}
	if f.held != nil {
		e := m.Check(f.held)
		doc.Check = &e
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// percent prints a relative error.
func percent(v float64) string {
	if math.IsNaN(v) {
		return "not known"
	}
	return fmt.Sprintf("%+d %%", int(math.Round(v*100)))
}

// within prints a bound of one.
func within(v float64) string {
	if math.IsNaN(v) {
		return "not known"
	}
	return fmt.Sprintf("within %.0f %%", v*100)
}

// unknown is the upper end of a range that no run says anything about.
const unknown = "not known: measure"

// span prints the range of a time.
func span(low, high float64) string {
	end := unknown
	if !math.IsInf(high, 1) {
		end = scenario.Format(high, scenario.Time)
	}
	if low == 0 {
		return "up to " + end
	}
	return scenario.Format(low, scenario.Time) + " to " + end
}

func (f *planNodesFlags) tell(out io.Writer, m *capacity.Model, p *capacity.Plan) error {
	var b strings.Builder
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) } // it never fails
	word := "nodes"
	if p.Nodes == 1 {
		word = "node"
	}
	high := unknown
	if p.High > 0 {
		high = strconv.Itoa(p.High)
	}
	say("%d %s (%d to %s)", p.Nodes, word, p.Low, high)
	say("%s run out first", firstName(p.First))
	say("")
	say("a node        %.0f connections, %.0f sessions, %.0f messages/s%s", p.Lost.Sockets, p.Lost.Sessions, p.Lost.Messages, lostWords(f.goal.Spare))
	for _, r := range []struct{ name, value string }{
		{capacity.Processors, fmt.Sprintf("%.2f of %g", p.Use.CPU, f.node.Cores)},
		{capacity.MemoryOf, scenario.Format(p.Use.Memory, scenario.Bytes)},
		{capacity.DiskOf, scenario.Format(p.Use.Disk, scenario.Bytes) + "/s, which is " + scenario.Format(p.Use.Disk*86400, scenario.Bytes) + " a day"},
		{capacity.FilesOf, fmt.Sprintf("%.0f", p.Use.Files)},
	} {
		line := fmt.Sprintf("  %-11s %s", r.name, r.value)
		if s, ok := p.Share[r.name]; ok {
			line += fmt.Sprintf(" (%.0f %% of what may be used)", s*100)
		}
		say("%s", line)
	}
	if p.Expected != nil {
		high := math.Inf(1)
		if p.ExpectedHigh != nil {
			high = *p.ExpectedHigh
		}
		say("  %-11s %s expected (%s), %s asked for", f.goal.Percentile, scenario.Format(*p.Expected, scenario.Time), span(*p.ExpectedLow, high), scenario.Format(f.goal.Seconds, scenario.Time))
	}
	say("")
	say("from          %s: %s", f.machine, several(len(f.fitted), "run"))
	say("left out      each run predicted from the others: processors %s, memory %s, p99 %s", within(m.Worst.CPU), within(m.Worst.Memory), within(m.Worst.Answer))
	if f.held != nil {
		e := m.Check(f.held)
		line := fmt.Sprintf("held back     run %s: processors %s, memory %s, p99 %s", f.held.Name, percent(e.CPU), percent(e.Memory), percent(e.Answer))
		if v, ok := f.held.Answer["p99"]; ok {
			line += fmt.Sprintf(" (%s measured, %s predicted)", scenario.Format(v, scenario.Time), span(m.Around(f.held)))
		}
		say("%s", line)
	}
	for _, w := range f.warnings(p) {
		say("warning       %s", w)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// warnings say why a plan may not be what it seems.
func (f *planNodesFlags) warnings(p *capacity.Plan) (all []string) {
	if w := disturbed(f.fitted); w != "" {
		all = append(all, w)
	}
	if len(f.missing) > 0 {
		all = append(all, fmt.Sprintf("the series that these runs are of broke off, and %s missing: what they would have told is not in the model", beOf(f.missing)))
	}
	all = append(all, p.Beyond...)
	if f.node.Cores != f.fitted[0].Cores {
		all = append(all, fmt.Sprintf("measured with %g processors, planned for %g of them as if they were as fast each", f.fitted[0].Cores, f.node.Cores))
	}
	return all
}

// beOf is a list of things that are, or the thing that is.
func beOf(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}

// disturbed says in how many of the runs others used the machine, so that its processors and latencies are not the node's alone; "" when in none.
func disturbed(points []capacity.Point) string {
	n, most := 0, 0.0
	for i := range points {
		if s := points[i].Strangers; s > report.StrangersMost {
			n++
			most = max(most, s)
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("in %d of %d runs others used the machine, up to %.1f processors: what was measured is not the node's alone", n, len(points), most)
}

func lostWords(spare int) string {
	if spare == 0 {
		return ""
	}
	if spare == 1 {
		return ", when one is lost"
	}
	return fmt.Sprintf(", when %d are lost", spare)
}

// firstName is a resource for people.
func firstName(name string) string {
	switch name {
	case capacity.Latency:
		return "the processors (what the latency allows of them)"
	case capacity.Processors, capacity.FilesOf:
		return "the " + name
	}
	return name
}
