package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchboard/broker/routes"
	"switchboard/broker/whatif"
	"switchboard/broker/whatif/page"
	"switchboard/examples"
)

func newPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Plan ahead: how many people a day takes, how many nodes a load",
		Long: `Play a day of a contact centre with the very core that routes, in virtual time: 200,000 sessions take seconds. The day is a
document (docs/whatif.md) or a recorded one; routes are the tenant's own document. Or ask how many nodes a load takes.`,
		Example: `  switchboard plan run double11 --html double11.html
  switchboard plan staff merchant-53-shops
  switchboard plan compare double11 --order ageing,savable_first`,
		Args: exactly(0, "a subcommand"), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPlanRun(), newPlanStaff(), newPlanCompare(), newPlanReplay(), newPlanShow(), newPlanNodes(), newPlanMeasure())
	return cmd
}

// planFlags are what the subcommands of plan have in common.
type planFlags struct {
	routes          string
	sets            []string
	order           string
	seed            uint64
	html, js, table string
	asJSON          bool
}

func (f *planFlags) flags(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVarP(&f.routes, "routes", "r", "", "the routing document (default the one that the day names)")
	fs.StringArrayVar(&f.sets, "set", nil, "replace a field of the day, as sessions=500000 or people.handle.median=3m; may be repeated")
	fs.Uint64Var(&f.seed, "seed", 0, "another seed than the day's")
	fs.StringVar(&f.html, "html", "", "write a page with charts to this file")
	fs.StringVar(&f.js, "json-file", "", "write the result as JSON to this file")
	fs.StringVar(&f.table, "csv", "", "write the hours as CSV to this file")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON instead of a table")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		return outputs([]output{{"html", f.html}, {"json-file", f.js}, {"csv", f.table}})
	}
}

// day reads the day of a name or file, with its routes.
func (f *planFlags) day(name string) (*whatif.Day, *routes.Routes, error) {
	text, shipped := examples.Day(name)
	file := name
	if !shipped {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, nil, usageError{fmt.Errorf("reading the day: %w", err)}
			}
			return nil, nil, usageError{fmt.Errorf("there is no shipped day %q (%s), and no such file", name, strings.Join(examples.Days(), ", "))}
		}
	}
	sets := f.sets
	if f.seed != 0 {
		sets = append(sets, fmt.Sprintf("seed=%d", f.seed))
	}
	d, err := whatif.Parse(file, text, sets...)
	if err != nil {
		return nil, nil, usageError{err}
	}
	var doc []byte
	switch {
	case f.routes != "":
		doc, err = os.ReadFile(f.routes)
	case d.Routes == "":
		return nil, nil, usageError{fmt.Errorf("%s names no routes: set --routes", name)}
	case shipped:
		doc, err = examples.Routes(d.Routes)
	default:
		doc, err = os.ReadFile(filepath.Join(filepath.Dir(name), d.Routes))
		if errors.Is(err, fs.ErrNotExist) { // a copy of a shipped day still names the document that is shipped with it
			if own, known := examples.Routes(d.Routes); known == nil {
				doc, err = own, nil
			}
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the routes: %w", err)
	}
	r, err := routes.Parse(doc)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("the routes: %w", err)}
	}
	return d, r, nil
}

// zone of a day.
func zoneOf(d *whatif.Day) *time.Location {
	if zone, err := time.LoadLocation(d.Zone); err == nil {
		return zone
	}
	return time.UTC
}

// play simulates cfg under another order, unless it is empty. It says on out what it plays: of a large day on a busy machine nothing else is
// heard for a minute.
func play(cfg whatif.Config, order string, out io.Writer) (*whatif.Result, error) {
	if order != "" {
		var err error
		if cfg.Routes, err = whatif.Ordered(cfg.Routes, order, cfg.Within); err != nil {
			return nil, usageError{err}
		}
		cfg.Policy = order
	}
	s, err := whatif.New(cfg)
	if err != nil {
		return nil, usageError{err}
	}
	_, _ = fmt.Fprintf(out, "playing it %s\n", cmp.Or(cfg.Policy, "as written"))
	return s.Run()
}

// into writes a file, when it is named.
func into(file string, write func(io.Writer) error) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(write(w), w.Flush(), f.Close())
}

func jsonTo(v any) func(io.Writer) error {
	return func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
}

// tell shows results as the flags want it.
func (f *planFlags) tell(cmd *cobra.Command, about string, zone *time.Location, results ...*whatif.Result) error {
	var all any = results
	if len(results) == 1 {
		all = results[0]
	}
	show := func(w io.Writer) error { return page.Table(w, zone, results...) }
	if f.asJSON {
		show = jsonTo(all)
	}
	return errors.Join(
		show(cmd.OutOrStdout()),
		into(f.js, jsonTo(all)),
		into(f.table, func(w io.Writer) error { return page.CSV(w, zone, results...) }),
		into(f.html, func(w io.Writer) error { return page.Runs(w, about, zone, results...) }),
	)
}

func newPlanRun() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "run DAY",
		Short: "Play a day, and tell how fast whom was answered",
		Long: `Play a day, the name of a shipped one or a file, and tell by hour how many wanted a person, how many were answered in time, how
long they waited and how busy everybody was. The page has charts, and figures by shop, tier, channel and queue.

Shipped: ` + strings.Join(examples.Days(), ", ") + `.`,
		Example: `  switchboard plan run double11 --html double11.html
  switchboard plan run mine.yaml --routes routes.yaml --set sessions=300000`,
		Args: exactly(1, "a day"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, r, err := f.day(args[0])
			if err != nil {
				return err
			}
			cfg, err := d.Config(r, time.LoadLocation)
			if err != nil {
				return usageError{err}
			}
			res, err := play(cfg, f.order, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return f.tell(cmd, d.About, zoneOf(d), res)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&f.order, "order", "", "let all queues wait in this order: ageing, fifo, strict, savable_first")
	return cmd
}

func newPlanStaff() *cobra.Command {
	var f planFlags
	var row string
	cmd := &cobra.Command{
		Use:   "staff DAY",
		Short: "Find how many people each hour needs for each target, and the cliff",
		Long: `Find the least number of people of one row of the day's staff by hour, for each of its targets, and play the day with more and
with fewer of them: the cliff. It plays parts of the day some hundred times and tells how far it is.`,
		Example: `  switchboard plan staff merchant-53-shops --html staff.html
  switchboard plan staff double11 --set targets[0]=0.9`,
		Args: exactly(1, "a day"),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, r, err := f.day(args[0])
			if err != nil {
				return err
			}
			edit := func(cfg *whatif.Config) (err error) {
				if f.order != "" {
					cfg.Routes, err = whatif.Ordered(cfg.Routes, f.order, cfg.Within)
				}
				return err
			}
			s, err := whatif.Staff(d, r, row, time.LoadLocation, edit, func(what string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), what) })
			if err != nil {
				return usageError{err}
			}
			s.Policy = f.order
			show := func(w io.Writer) error { return page.StaffTable(w, s) }
			if f.asJSON {
				show = jsonTo(s)
			}
			return errors.Join(
				show(cmd.OutOrStdout()),
				into(f.js, jsonTo(s)),
				into(f.table, func(w io.Writer) error { return page.StaffCSV(w, s) }),
				into(f.html, func(w io.Writer) error { return page.Staff(w, d.About, s) }),
			)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&row, "row", "", "name of the row of the staff whose number is looked for (default the first)")
	cmd.Flags().StringVar(&f.order, "order", "", "let all queues wait in this order: ageing, fifo, strict, savable_first")
	return cmd
}

func newPlanCompare() *cobra.Command {
	var f planFlags
	var orders, documents []string
	cmd := &cobra.Command{
		Use:   "compare DAY (--order A,B | --with FILE)",
		Short: "Play a day under several policies, with the same customers",
		Long: `Play a day as it is written, and again in other orders of service or with other routing documents, for the same customers: who
comes when, how long he talks and when he loses patience is the same in each.`,
		Example: `  switchboard plan compare double11 --order fifo,savable_first --html compare.html
  switchboard plan compare mine.yaml --routes now.yaml --with new.yaml`,
		Args: exactly(1, "a day"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(orders)+len(documents) == 0 {
				return usageError{errors.New("there is nothing to compare it with: set --order or --with")}
			}
			var results []*whatif.Result
			run := func(document, policy, order string) (*whatif.Day, error) {
				g := f
				if document != "" {
					g.routes = document
				}
				d, r, err := g.day(args[0])
				if err != nil {
					return nil, err
				}
				cfg, err := d.Config(r, time.LoadLocation)
				if err != nil {
					return nil, usageError{err}
				}
				cfg.Policy = policy
				res, err := play(cfg, order, cmd.ErrOrStderr())
				results = append(results, res)
				return d, err
			}
			d, err := run("", "as written", "")
			if err != nil {
				return err
			}
			for _, o := range orders {
				if _, err := run("", o, o); err != nil {
					return err
				}
			}
			for _, file := range documents {
				if _, err := run(file, strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), ""); err != nil {
					return err
				}
			}
			return f.tell(cmd, d.About, zoneOf(d), results...)
		},
	}
	f.flags(cmd)
	cmd.Flags().StringSliceVar(&orders, "order", nil, "orders of service: ageing, fifo, strict, savable_first")
	cmd.Flags().StringSliceVar(&documents, "with", nil, "other routing documents")
	return cmd
}

func newPlanShow() *cobra.Command {
	var document bool
	cmd := &cobra.Command{
		Use: "show DAY", Short: "Print a shipped day, to begin one's own with", Args: exactly(1, "a shipped day: "+strings.Join(examples.Days(), ", ")),
		Long: `Print a shipped day, to begin one's own with. The routing document that it names is shipped as well, and is found by a copy of the
day anywhere as long as there is no file of that name; with --routes it is printed in place of the day.`,
		Example: `  switchboard plan show merchant-53-shops > mine.yaml
  switchboard plan show merchant-53-shops --routes > routes.yaml
  switchboard plan run mine.yaml --routes routes.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, ok := examples.Day(args[0])
			if !ok {
				return usageError{fmt.Errorf("there is no shipped day %q: they are %s", args[0], strings.Join(examples.Days(), ", "))}
			}
			if document {
				d, err := whatif.Parse(args[0], text)
				if err != nil {
					return err
				}
				if text, err = examples.Routes(d.Routes); err != nil {
					return err
				}
			}
			_, err := cmd.OutOrStdout().Write(text)
			return err
		},
	}
	cmd.Flags().BoolVarP(&document, "routes", "r", false, "print the day's routing document")
	return cmd
}
