// Command peers lets Switchboard take turns with others at the same durable round trips, on the machine at hand.
//
// A customer's message goes to exactly one of the workers, and its answer back to that customer: 1,000 customers and 8 workers,
// each with a connection of its own (Redis' library needs two for a customer), bodies of 256 bytes. Everybody's servers are
// processes of their own on loopback with their data on the same disk; customers and workers are one process, this one. Turns
// alternate: each round gives everybody one turn at each rate, with fresh servers and empty directories.
//
// What is told: round trips a second with one message of each customer under way, or latency from the moment at which a
// message was due when they are sent on schedule; processor time of all server processes per round trip, from /proc; and what
// was lost, came twice, or came out of order. Quote the ratios of one run, never figures of two.
//
// It knows Switchboard by its protocol; the keys for tokens come from the node's data directory. It runs on Linux.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	cfg := &Config{Progress: func(s string) { fmt.Fprintln(os.Stderr, s) }}
	only := flag.String("only", "", "regular expression: who takes part (default everybody)")
	rates := flag.String("rates", "max", "comma-separated: max, or round trips a second on schedule, such as max,1000,5000; none for --idle, --watchers and --echo alone")
	asJSON := flag.Bool("json", false, "print JSON")
	list := flag.Bool("list", false, "list everybody, and how to install them")
	flag.StringVar(&cfg.Dir, "dir", "", "directory on the disk to be measured (default the system's for temporary files)")
	flag.StringVar(&cfg.Switchboard, "switchboard", "", "the built binary (default: beside this one, or from PATH)")
	flag.IntVar(&cfg.Rounds, "rounds", 3, "how often everybody has a turn")
	flag.IntVar(&cfg.Customers, "customers", 1000, "customer connections")
	flag.IntVar(&cfg.Workers, "workers", 8, "worker connections")
	flag.IntVar(&cfg.Body, "body", 256, "bytes of a body, 32 or more")
	flag.IntVar(&cfg.Idle, "idle", 0, "also connect so many customers who say nothing, and tell what they cost")
	echoes := flag.String("echo", "", "comma-separated, as 1,16: also let sockets be answered with so many messages in a write, and nothing behind them")
	flag.IntVar(&cfg.Sockets, "sockets", 10000, "how many sockets --echo has")
	flag.IntVar(&cfg.Watchers, "watchers", 0, "also let one speaker's tokens be heard by so many, and tell what one costs")
	flag.DurationVar(&cfg.Warm, "warm", 1500*time.Millisecond, "how long a turn runs before it is measured")
	flag.DurationVar(&cfg.Time, "time", 4*time.Second, "how long a turn is measured")
	flag.Float64Var(&cfg.Others, "others", 0.25, "processors that others may use during a turn; with more it is taken again")
	flag.DurationVar(&cfg.Patience, "patience", 10*time.Second, "how long a turn waits beforehand until others use no more than that")
	flag.IntVar(&cfg.Tries, "tries", 4, "how often a turn is taken again at most; the least disturbed one counts")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q: there are only flags", flag.Arg(0))
	}
	if *list {
		return printList()
	}
	if cfg.Rates, err = parseRates(*rates); err != nil {
		return err
	}
	if cfg.Echo, err = parseEcho(*echoes); err != nil {
		return err
	}
	if cfg.Customers < 1 || cfg.Workers < 1 || cfg.Rounds < 1 || cfg.Body < header {
		return fmt.Errorf("customers, workers and rounds must be positive, body %d or more", header)
	}
	if *only != "" {
		if cfg.Only, err = regexp.Compile(*only); err != nil {
			return err
		}
	}
	if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "switchboard-peers-"); err != nil {
		return err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
	report, err := Run(ctx, cfg)
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", " ")
		return e.Encode(report)
	}
	return report.Print(os.Stdout)
}

func parseRates(s string) (rates []float64, err error) {
	if s == "none" {
		return nil, nil
	}
	for v := range strings.SplitSeq(s, ",") {
		if v == "max" {
			rates = append(rates, 0)
			continue
		}
		rate, err := strconv.ParseFloat(v, 64)
		if err != nil || rate <= 0 {
			return nil, fmt.Errorf("%q is no rate: it must be max, or a number above 0", v)
		}
		rates = append(rates, rate)
	}
	return rates, nil
}

func parseEcho(s string) (batches []int, err error) {
	for v := range strings.SplitSeq(s, ",") {
		if v == "" {
			continue
		}
		k, err := strconv.Atoi(v)
		if err != nil || k < 1 || k > 64 {
			return nil, fmt.Errorf("%q is no number of messages: it must be 1 to 64", v)
		}
		batches = append(batches, k)
	}
	return batches, nil
}

func printList() error {
	for _, p := range peers() {
		path, ok := find(p.Program)
		if !ok {
			path = "not installed: " + p.Install
		}
		if _, err := fmt.Fprintf(os.Stdout, "%-22s %s\n", p.Name, path); err != nil {
			return err
		}
	}
	return nil
}
