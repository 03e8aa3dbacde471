package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchboard/broker/level"
	"switchboard/client"
	"switchboard/node"
)

// levelsFlags are the flags of `levels`.
type levelsFlags struct {
	data, addr, token, file, tenant string
	queue, worker                   string
	presets                         []string
	from, to                        string
	asJSON                          bool
}

func newLevels() *cobra.Command {
	var f levelsFlags
	cmd := &cobra.Command{
		Use:   "levels (--data DIR | --addr HOST:PORT --token T)",
		Short: "Tell how fast customers were answered, as platforms count it",
		Long: `Count a recorded log exactly, by shop: from the data directory of a stopped node, under the reply rates of
platforms (--preset) or a tenant's own definitions (--tenant: those of the routes that were applied; with --config
also those of the configuration, and of the routes that it names while none were applied). Or ask a running node,
with a supervisor's token, what its definitions have counted since it was started: by shop, queue and team, or of one
worker (--worker) or queue (--queue).

Presets: ` + strings.Join(level.PresetNames(), ", ") + `.
--from and --to take 2026-11-02, 2026-11-02T08:00 or RFC 3339; without a zone they are the first definition's.
A case belongs to the time at which it began.`,
		Example: `  switchboard levels --data ./data --preset taobao,feige --from 2026-11-01 --to 2026-12-01
  switchboard levels --data ./data --tenant demo
  switchboard levels --addr 127.0.0.1:7470 --token "$SUPERVISOR" --json
  switchboard levels --addr 127.0.0.1:7470 --token "$SUPERVISOR" --worker ann`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case (f.data == "") == (f.addr == ""):
				return errBoth
			case f.data != "" && f.queue+f.worker != "":
				return usageError{fmt.Errorf("--queue and --worker are asked of a running node, and go with --addr: a log is counted by shop")}
			case f.queue != "" && f.worker != "":
				return usageError{fmt.Errorf("--queue or --worker, not both")}
			case f.data != "":
				return f.count(cmd.OutOrStdout())
			}
			for _, name := range []string{"preset", "config", "from", "to", "tenant"} {
				if cmd.Flags().Changed(name) {
					return usageError{fmt.Errorf("--%s counts a log, and goes with --data: a running node has counted by its own definitions", name)}
				}
			}
			return f.ask(cmd.Context(), cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.data, "data", "", "data directory of a stopped node")
	fs.StringVar(&f.addr, "addr", "", "host:port of a running node")
	fs.StringVar(&f.token, "token", "", "a supervisor's token for a running node")
	fs.StringSliceVar(&f.presets, "preset", nil, "presets to count by (default all, unless --config is given or the tenant has definitions of its own)")
	fs.StringVar(&f.file, "config", "", "a node's YAML file: count by the definitions of --tenant")
	fs.StringVar(&f.tenant, "tenant", "", "count the sessions of this tenant alone, by its own definitions unless --preset names others")
	fs.StringVar(&f.queue, "queue", "", "of a running node: of this queue alone")
	fs.StringVar(&f.worker, "worker", "", "of a running node: of this worker alone")
	fs.StringVar(&f.from, "from", "", "count cases that began then or later")
	fs.StringVar(&f.to, "to", "", "count cases that began before")
	fs.BoolVar(&f.asJSON, "json", false, "one JSON object a line")
	instead(fs, "data", "addr", "queue", "worker")
	instead(fs, "addr", "data", "preset", "config", "from", "to", "tenant")
	return cmd
}

// set returns the definitions to count by: what is named, or the tenant's own, those of the document that was applied among them.
func (f *levelsFlags) set() (*level.Set, error) {
	var defs, begins []level.Definition
	if f.file != "" {
		t, err := f.configured()
		if err != nil {
			return nil, err
		}
		all, err := t.ServiceLevels()
		if err != nil {
			return nil, usageError{fmt.Errorf("%s: %w", f.file, err)}
		}
		defs, begins = t.Levels, all[len(t.Levels):]
	}
	own := f.file != "" || f.tenant != "" && len(f.presets) == 0
	if own {
		if _, err := f.compile(slices.Concat(defs, begins)); err != nil {
			return nil, err
		}
		applied, err := node.DocumentLevels(f.data)
		if err != nil {
			return nil, err
		}
		if told, ok := applied[f.tenant]; ok {
			begins = told
		}
		defs = slices.Concat(defs, begins)
	}
	if len(defs) == 0 && f.file == "" && len(f.presets) == 0 {
		f.presets = level.PresetNames()
	}
	set, err := f.compile(defs)
	if err == nil && set.Len() == 0 {
		err = usageError{fmt.Errorf("tenant %s has no levels: name them in %s or in its routes, or set --preset", f.tenant, f.file)}
	}
	return set, err
}

// configured returns the tenant as the configuration has it.
func (f *levelsFlags) configured() (*node.Tenant, error) {
	cfg, err := readConfig(f.file)
	if err != nil {
		return nil, err
	}
	t, ok := cfg.Tenants[f.tenant]
	if !ok {
		return nil, usageError{fmt.Errorf("%s has no tenant %q: set --tenant", f.file, f.tenant)}
	}
	return &t, nil
}

// compile makes a set of definitions and of the presets that were named.
func (f *levelsFlags) compile(defs []level.Definition) (*level.Set, error) {
	defs = slices.Clip(defs)
	for _, name := range f.presets {
		defs = append(defs, level.Definition{Preset: name})
	}
	set, err := level.Compile(defs, nil, time.LoadLocation)
	if err != nil {
		return nil, usageError{err}
	}
	return set, nil
}

// moment reads a time of the command line; empty is 0.
func moment(flag, s string, zone *time.Location) (int64, error) {
	if s == "" {
		return 0, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t.UnixMilli(), nil
		}
	}
	return 0, usageError{fmt.Errorf("--%s is %q: write 2026-11-02, 2026-11-02T08:00 or RFC 3339", flag, s)}
}

// count counts a log.
func (f *levelsFlags) count(out io.Writer) error {
	set, err := f.set()
	if err != nil {
		return err
	}
	zone, err := time.LoadLocation(set.Definition(0).Hours.Zone)
	if err != nil {
		return err
	}
	from, err := moment("from", f.from, zone)
	if err != nil {
		return err
	}
	until, err := moment("to", f.to, zone)
	if err != nil {
		return err
	}
	tally, lost := node.CountLevels(f.data, f.tenant, set, from, until, time.Now().UnixMilli())
	if tally == nil {
		return lost
	}
	var lines []levelLine
	for _, l := range tally.Lines() {
		i, _ := set.Index(l.Level)
		lines = append(lines, lineOf(set.Definition(i), &l))
	}
	if err := printLevels(out, lines, f.asJSON); err != nil {
		return err
	}
	return lost
}

// ask asks a running node.
func (f *levelsFlags) ask(ctx context.Context, out io.Writer) error {
	url, err := socketURL(f.addr)
	if err != nil {
		return err
	}
	ctx, c, err := dialOnce(ctx, f.addr, client.Config{URL: url, Token: client.StaticToken(strings.TrimSpace(f.token))})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was written
	list, err := c.Levels(ctx, f.queue, f.worker)
	if err != nil {
		return unheard(ctx, f.addr, err)
	}
	var lines []levelLine
	for _, s := range list {
		for _, w := range s.Windows {
			l := levelLine{
				Level: s.Level, Of: s.Of, Name: s.Name, Window: w.Window, Count: int64(w.Count), Met: int64(w.Met), LimitMS: s.Limit.Milliseconds(), //nolint:gosec // counts
				Target: s.Target, Timed: int64(w.Timed), MeanMS: w.Mean.Milliseconds(), P50MS: w.P50.Milliseconds(), P95MS: w.P95.Milliseconds(), //nolint:gosec // counts
			}
			l.rate()
			lines = append(lines, l)
		}
	}
	return printLevels(out, lines, f.asJSON)
}

// levelLine is one line of what is printed.
type levelLine struct {
	Level   string   `json:"level"`
	Of      string   `json:"of"`
	Name    string   `json:"name"`
	Window  string   `json:"window,omitempty"`
	Met     int64    `json:"met"`
	Count   int64    `json:"count"`
	Rate    *float64 `json:"rate,omitempty"`
	Target  float64  `json:"target,omitempty"`
	LimitMS int64    `json:"limit_ms"`
	Timed   int64    `json:"timed"`
	MeanMS  int64    `json:"mean_ms,omitempty"`
	P50MS   int64    `json:"p50_ms,omitempty"`
	P95MS   int64    `json:"p95_ms,omitempty"`
}

func lineOf(d *level.Definition, l *level.Line) levelLine {
	line := levelLine{
		Level: l.Level, Of: level.OfShop, Name: l.Shop, Met: l.Counts.Met, Count: l.Counts.Count, Target: d.Target, LimitMS: d.LimitMS,
		Timed: l.Counts.Timed, MeanMS: l.Counts.Mean(), P50MS: l.Counts.Percentile(0.5), P95MS: l.Counts.Percentile(0.95),
	}
	line.rate()
	return line
}

func (l *levelLine) rate() {
	if l.Count > 0 {
		r := float64(l.Met) / float64(l.Count)
		l.Rate = &r
	}
}

func printLevels(out io.Writer, lines []levelLine, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		for i := range lines {
			if err := enc.Encode(&lines[i]); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "LEVEL\tOF\tNAME\tWINDOW\tIN TIME\tRATE\tTARGET\tMEAN\tP95") // Flush tells
	for i := range lines {
		l := &lines[i]
		rate, target, window, name := "-", "-", l.Window, l.Name
		if l.Rate != nil {
			rate = fmt.Sprintf("%.2f %%", 100**l.Rate)
		}
		if l.Target > 0 {
			target = fmt.Sprintf("%.2f %%", 100*l.Target)
		}
		if window == "" {
			window = "log"
		}
		if name == "" {
			name = "-"
		}
		seconds := func(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1e3) }
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d/%d\t%s\t%s\t%s\t%s\n", l.Level, l.Of, name, window, l.Met, l.Count, rate, target, seconds(l.MeanMS), seconds(l.P95MS))
	}
	return w.Flush()
}
