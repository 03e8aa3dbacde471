package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchboard/broker/level"
	"switchboard/broker/routes"
	"switchboard/broker/whatif"
	"switchboard/node"
)

// recordedFlags say where a recorded day is, and what is to be different in it.
type recordedFlags struct {
	planFlags
	data, log, tenant string
	from, to, zone    string
	staff             string
	presets           []string
	within            time.Duration
}

func newPlanReplay() *cobra.Command {
	var f recordedFlags
	cmd := &cobra.Command{
		Use:   "replay (--data DIR | --log FILE) --routes FILE",
		Short: "Play a recorded day again, as it was or with other routes or staff",
		Long: `Play a recorded day again: from the data directory of a stopped node, or from a file that switchboard log --all has
written. The first line is how it was, the second what the simulation makes of it with whoever was there: how far the two are apart
is how far to trust what follows. With --order or --staff it is then played that way too. --json has how it was in the first result, as as_it_was.

Who was at work is not in a log: each is taken to be there from his first session to the end of his last, with as many slots as he
ever used. --staff DAY takes the staff of a day instead, by the hours of the clock.`,
		Example: `  switchboard log --all --data ./data > day.jsonl
  switchboard plan replay --log day.jsonl --routes routes.yaml
  switchboard plan replay --data ./data --routes routes.yaml --staff more.yaml --html more.html`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.flags(cmd)
	fs := cmd.Flags()
	fs.Lookup("routes").Usage = "the routing document" // a recorded day names none
	fs.Lookup("set").Usage = "replace a field of the day of --staff; may be repeated"
	fs.StringVar(&f.data, "data", "", "data directory of a stopped node")
	fs.StringVar(&f.log, "log", "", "a file of switchboard log --all; - is standard input")
	fs.StringVar(&f.tenant, "tenant", "", "the sessions of this tenant alone")
	fs.StringVar(&f.from, "from", "", "sessions with an entry then or later (2026-11-02, 2026-11-02T08:00, RFC 3339)")
	fs.StringVar(&f.to, "to", "", "and before")
	fs.StringVar(&f.zone, "zone", "UTC", "time zone of --from, --to and of what is shown")
	fs.StringVar(&f.staff, "staff", "", "a day whose staff works instead of whoever was there")
	fs.StringVar(&f.order, "order", "", "let all queues wait in this order: ageing, fifo, strict, savable_first")
	fs.StringSliceVar(&f.presets, "preset", nil, "service levels to count by (default those of the routes)")
	fs.DurationVar(&f.within, "within", 3*time.Minute, "how fast an answer is in time")
	instead(fs, "data", "log")
	instead(fs, "log", "data")
	return cmd
}

func (f *recordedFlags) run(cmd *cobra.Command) error {
	if (f.data == "") == (f.log == "") || f.routes == "" {
		return usageError{fmt.Errorf("set --data or --log, and --routes")}
	}
	if len(f.sets) > 0 && f.staff == "" {
		return usageError{fmt.Errorf("--set replaces a field of the day of --staff: set that too")}
	}
	zone, err := time.LoadLocation(f.zone)
	if err != nil {
		return usageError{err}
	}
	doc, err := os.ReadFile(f.routes)
	if err != nil {
		return fmt.Errorf("reading the routes: %w", err)
	}
	r, err := routes.Parse(doc)
	if err != nil {
		return usageError{fmt.Errorf("the routes: %w", err)}
	}
	defs := whatif.LevelsOf(&r.Document)
	if len(f.presets) > 0 {
		defs = nil
	}
	for _, name := range f.presets {
		defs = append(defs, level.Definition{Preset: name})
	}
	set, err := level.Compile(defs, nil, time.LoadLocation)
	if err != nil {
		return usageError{err}
	}
	rec := whatif.NewRecorder(set, f.within.Milliseconds())
	if err := f.read(cmd, zone, rec); err != nil {
		return err
	}
	day, err := rec.Day(max(f.seed, 1))
	if err != nil {
		return err
	}
	base := whatif.Config{Name: "recorded", Seed: f.seed, Routes: r.Broker, Levels: set, Within: f.within.Milliseconds()}
	base.Routes.TraceEvery = 0
	again := day.Config(base)
	again.Policy = "played again"
	res, err := play(again, "", cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	res.Was = &whatif.Was{People: day.People, Levels: day.Levels}
	results := []*whatif.Result{res}
	if f.staff != "" || f.order != "" {
		cfg := day.Config(base)
		cfg.Policy = f.order
		if f.staff != "" {
			g := f.planFlags
			d, _, err := g.day(f.staff)
			if err != nil {
				return err
			}
			if cfg.Agents, err = d.AgentsFrom(day.Start, day.End, zone); err != nil {
				return usageError{err}
			}
			cfg.Policy = "with " + d.Name
		}
		if res, err = play(cfg, f.order, cmd.ErrOrStderr()); err != nil {
			return err
		}
		results = append(results, res)
	}
	if !f.asJSON {
		if err := tellRecorded(cmd.OutOrStdout(), day, results[0]); err != nil {
			return err
		}
	}
	return f.tell(cmd, "a recorded day, played again", zone, results...)
}

// read gives rec every session of the recording.
func (f *recordedFlags) read(cmd *cobra.Command, zone *time.Location, rec *whatif.Recorder) error {
	from, err := moment("from", f.from, zone)
	if err != nil {
		return err
	}
	until, err := moment("to", f.to, zone)
	if err != nil {
		return err
	}
	add := func(line []byte) error {
		x, err := whatif.ParseRecord(line)
		if err != nil {
			return err
		}
		n := len(x.Entries)
		if f.tenant != "" && x.Tenant != f.tenant || n == 0 || x.Entries[n-1].TS < from || until > 0 && x.Entries[0].TS >= until {
			return nil
		}
		rec.Add(x)
		return nil
	}
	if f.data != "" {
		return node.ReadRecords(f.data, f.tenant, from, until, func(r *node.Record) error {
			line, err := json.Marshal(r)
			if err != nil {
				return err
			}
			return add(line)
		})
	}
	in := cmd.InOrStdin()
	if f.log != "-" {
		file, err := os.Open(f.log)
		if err != nil {
			return usageError{err}
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	lines := bufio.NewReaderSize(in, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			if err := add(line); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tellRecorded lays how it was beside what the simulation makes of it.
func tellRecorded(out io.Writer, day *whatif.Recorded, r *whatif.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(what string, p *whatif.Figures) {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%.2f %%\t%.2f s\t%.2f s\t%.2f s\t%.2f s\t%d\t\n", what, p.Wanted, p.Answered, 100*p.Rate, float64(p.MeanWait)/1e3, float64(p.P50)/1e3, float64(p.P95)/1e3, float64(p.MeanAnswer)/1e3, p.Left) // Flush tells
	}
	_, _ = fmt.Fprintln(w, "\twanted a person\tanswered\tin time\tanswered: mean wait\tp50\tp95\tmean answer\tleft\t")
	row("as it was", &day.People)
	row("played again", &r.People)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "people take %.1f s to accept; patience %s; %d people and bots were seen\n\n", float64(day.Accept)/1e3, patienceOf(day.Patience), len(day.Agents))
	return err
}

func patienceOf(ms int64) string {
	if ms == 0 {
		return "without end, as nobody left"
	}
	return fmt.Sprintf("%.0f s in the mean", float64(ms)/1e3)
}
