package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"switchboard/loadtest/capacity"
	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
	"switchboard/loadtest/swarm"
)

func newPlanMeasure() *cobra.Command {
	f := loadFlags{tokenFlags: tokenFlags{tenant: "demo"}}
	var m measurement
	cmd := &cobra.Command{
		Use:   "measure --json FILE",
		Short: "Measure this machine for plan nodes: nine short load tests, and more beyond them",
		Long: `Measure what a node on this machine uses: nine runs of the scenario capacity, each with a node of its own, at several
rates and numbers of sockets; some three minutes. Then it measures on, each time at a rate half as high again, as long as the gates
of the scenario hold, in --beyond runs at most: a model knows nothing of rates above those that were measured. Take for --rate what
the machine can do with ease. Nothing else should run meanwhile, or --repeat takes the quietest of several runs. What the load
generator uses is left out of processor time, but it takes its share of the machine.

The file is written after each run. When it is stopped (Ctrl-C), or a run fails, it says which runs are missing, and exits 1; plan
nodes takes what is there, and says so.`,
		Example: `  switchboard plan measure --json points.json
  switchboard plan measure --dir /var/lib/switchboard-test --rate 8000 --sockets 16000 --repeat 3 --json points.json`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if m.file == "" {
				return usageError{errors.New("--json is missing: the file to write")}
			}
			if err := writable(m.file); err != nil { // now, and not behind the first run
				return usageError{fmt.Errorf("--json %s cannot be written: %w", m.file, err)}
			}
			if m.rate < 100 || m.sockets < 1000 || f.repeat < 1 || m.beyond < 0 {
				return usageError{errors.New("--rate must be 100 at least, --sockets 1000, --repeat 1, and --beyond 0")}
			}
			m.load, m.out, m.errOut = &f, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return m.run(ctx)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&m.file, "json", "", "file to write")
	fs.StringVar(&f.dir, "dir", "", "where the nodes' directories are made: on the disk that is to be measured")
	fs.StringArrayVar(&f.sets, "set", nil, "key=value of the scenario, in every run")
	fs.IntVar(&m.rate, "rate", 4000, "messages a second of the fastest of the nine runs")
	fs.IntVar(&m.sockets, "sockets", 8000, "sockets of the largest run")
	fs.IntVar(&m.beyond, "beyond", 3, "runs at most beyond --rate, as long as the gates hold; 0 is none")
	fs.IntVar(&f.repeat, "repeat", 1, "times that each run is made; that counts in which others used least of the machine")
	fs.BoolVar(&f.quiet, "quiet", false, "say nothing while it runs")
	return cmd
}

// measurement is one series of `plan measure`.
type measurement struct {
	load                  *loadFlags
	file                  string
	rate, sockets, beyond int
	out, errOut           io.Writer
	doc                   capacity.File
	kept                  capacity.File // doc as it was written last
}

// run measures the series, and beyond it. What was measured is in the file after each run.
func (m *measurement) run(ctx context.Context) error {
	if !m.load.quiet {
		_, _ = fmt.Fprintln(m.errOut, "measuring nodes of its own, started for this, one at a time") // it measures, heard or not
	}
	fitted, check := capacity.Series(m.rate, m.sockets)
	steps := append(slices.Clone(fitted), check)
	m.doc = capacity.File{Version: version}
	for _, s := range steps {
		m.doc.Missing = append(m.doc.Missing, s.Name)
	}
	for i, step := range steps {
		if err := m.measure(ctx, step, i == len(fitted)); err != nil {
			return m.broken(ctx, len(steps), err)
		}
	}
	if err := m.further(ctx); err != nil {
		return m.broken(ctx, len(steps), err)
	}
	if w := disturbed(append(slices.Clone(m.doc.Points), *m.doc.Check)); w != "" {
		if _, err := fmt.Fprintf(m.errOut, "warning: %s; stop them, or use --repeat 3\n", w); err != nil {
			return err
		}
	}
	_, err := capacity.Fit(m.doc.Points)
	return err
}

// output is a file that a flag names, or none.
type output struct{ flag, file string }

// outputs tells which of the files cannot be written: before an hour of work, and not behind it.
func outputs(list []output) error {
	for _, to := range list {
		if to.file == "" {
			continue
		}
		if err := writable(to.file); err != nil {
			return usageError{fmt.Errorf("--%s %s cannot be written: %w", to.flag, to.file, err)}
		}
	}
	return nil
}

// writable tells why writeWhole could not write a file, which may be there: it is replaced, so its directory must take another.
func writable(file string) error {
	switch st, err := os.Stat(file); {
	case err == nil && st.IsDir():
		return errors.New("it is a directory")
	case err == nil && !st.Mode().IsRegular(): // a pipe, or a terminal
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	return errors.Join(temp.Close(), os.Remove(temp.Name()))
}

// measure makes the run of a step, and keeps what it tells. When that is stopped, what one of its repetitions told counts.
func (m *measurement) measure(ctx context.Context, step capacity.Step, held bool) error {
	res, err := m.load.quietest(ctx, m.errOut, step)
	if res == nil {
		return fmt.Errorf("run %s: %w", step.Name, err)
	}
	p, bad := capacity.Of(step.Name, res)
	if bad != nil {
		return errors.Join(bad, err)
	}
	m.doc.Machine = res.Machine
	if held {
		m.doc.Check = &p
	} else {
		m.doc.Points = append(m.doc.Points, p)
	}
	m.doc.Missing = slices.DeleteFunc(slices.Clone(m.doc.Missing), func(name string) bool { return name == step.Name })
	return errors.Join(m.tell(&p, res), m.keep(), err)
}

// keep writes what was measured so far.
func (m *measurement) keep() error {
	if err := writeWhole(m.file, &m.doc); err != nil {
		return fmt.Errorf("writing %s: %w", m.file, err)
	}
	m.kept = m.doc
	return nil
}

// further measures beyond the rate, until the gates do not hold any more.
func (m *measurement) further(ctx context.Context) error {
	rate := m.rate
	for range m.beyond {
		rate += rate / 2
		step := capacity.At(rate, m.sockets)
		res, err := m.load.quietest(ctx, m.errOut, step)
		switch {
		case errors.Is(err, swarm.ErrTooMuch):
			_, err = fmt.Fprintf(m.out, "%-10s more than this machine can do: %s\n", step.Name, oneLine(err))
			return err
		case res == nil:
			return fmt.Errorf("run %s: %w", step.Name, err)
		case !res.Holds():
			_, said := fmt.Fprintf(m.out, "%-10s more than this machine can do: %s\n", step.Name, strings.Join(failed(res), ", "))
			return errors.Join(said, err)
		}
		p, bad := capacity.Of(step.Name, res)
		if bad != nil {
			return errors.Join(bad, err)
		}
		m.doc.Points = append(m.doc.Points, p)
		if err := errors.Join(m.tell(&p, res), m.keep(), err); err != nil {
			return err
		}
	}
	return nil
}

// tell prints a point, and what did not hold.
func (m *measurement) tell(p *capacity.Point, res *report.Result) error {
	line := fmt.Sprintf("%-10s %6.0f sockets %6.0f messages/s  %.2f cores (and %.2f of others)  %s", p.Name, p.Sockets, p.Messages, p.CPU, p.Others, scenario.Format(p.Memory, scenario.Bytes))
	if v, ok := p.Answer["p99"]; ok {
		line += "  p99 " + scenario.Format(v, scenario.Time)
	}
	if not := failed(res); p.Messages > 0 && len(not) > 0 {
		line += "; does not hold: " + strings.Join(not, ", ")
	}
	_, err := fmt.Fprintln(m.out, line)
	return err
}

// broken says of a series of so many runs that broke off where what was measured is, and what is missing.
func (m *measurement) broken(ctx context.Context, all int, err error) error {
	if ctx.Err() != nil {
		err = errors.New("it was stopped")
	}
	switch {
	case len(m.kept.Points) == 0:
		return fmt.Errorf("%w: nothing was measured", err)
	case len(m.kept.Missing) == 0:
		return fmt.Errorf("%w: all %d runs are in %s, and of those beyond --rate what was measured", err, all, m.file)
	}
	use := "plan nodes --from can use them"
	if _, few := capacity.Fit(m.kept.Points); few != nil {
		use = few.Error()
	}
	return fmt.Errorf("%w: %d of %d runs are in %s, and %s missing; %s", err, all-len(m.kept.Missing), all, m.file, beOf(m.kept.Missing), use)
}

// quietest makes the run of a step as often as it is asked to, and returns that in which others used least, also beside the error that ended it.
func (f *loadFlags) quietest(ctx context.Context, errOut io.Writer, step capacity.Step) (best *report.Result, err error) {
	for range max(f.repeat, 1) {
		r, err := f.one(ctx, errOut, step)
		if err != nil {
			return best, err
		}
		if best == nil || r.Strangers() < best.Strangers() {
			best = r
		}
	}
	return best, nil
}

// one makes one run of the series.
func (f *loadFlags) one(ctx context.Context, errOut io.Writer, step capacity.Step) (*report.Result, error) {
	sets := slices.Concat(step.Sets, f.sets)
	doc, sc, err := readScenario("capacity", sets)
	if err != nil {
		return nil, err
	}
	s := swarm.Swarm{Scenario: sc, Doc: string(doc), Sets: sets}
	if err := f.place(ctx, &s); err != nil {
		return nil, err
	}
	show := newTeller(errOut, f.quiet)
	s.Progress, s.Log = show.progress, show.say
	res, err := s.Run(ctx)
	show.end()
	switch {
	case err != nil:
		return nil, err
	case math.IsNaN(res.Value("rss")):
		return nil, errors.New("the node's /metrics could not be read")
	}
	return res, nil
}
