package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"switchboard/bench"
	"switchboard/edge/token"
	"switchboard/wire"
)

func newBench() *cobra.Command {
	var cfg bench.Config
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Compare durable round trips with NATS and Redis on this machine",
		Long: `Compare durable round trips with NATS core and Redis Streams (appendfsync always) in alternating rounds, each a process
of its own with its data under --dir. Opponents that are not installed (nats-server, redis-server) are left out. Quote
the ratios, not the numbers.`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Binary, err = os.Executable(); err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "switchboard-bench-"); err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(cfg.Dir) }()
			cfg.Token = mintFor
			cfg.Progress = func(s string) { fmt.Fprintln(os.Stderr, s) }
			report, err := bench.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			}
			return printReport(cmd.OutOrStdout(), &report)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.Dir, "dir", "", "directory on the disk to be measured (default the system's for temporary files)")
	fs.IntVar(&cfg.Rounds, "rounds", 3, "how often everybody has a turn")
	fs.IntVar(&cfg.Customers, "customers", 1000, "customer sockets")
	fs.IntVar(&cfg.Workers, "workers", 8, "worker sockets")
	fs.IntVar(&cfg.Body, "body", 256, "bytes of a body")
	fs.DurationVar(&cfg.Time, "time", 4*time.Second, "how long a turn is measured")
	fs.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return cmd
}

// mintFor mints a token with the keys of a data directory.
func mintFor(data, role, sub string) (string, error) {
	keys, err := token.LoadOrCreate(data)
	if err != nil {
		return "", err
	}
	c := token.Claims{Tenant: "demo", Sub: sub, Role: wire.Role(role)}
	if c.Role == wire.RoleWorker {
		c.Kind, c.Queues = wire.OriginBot, []string{"*"}
	}
	return keys.Mint(c, time.Hour)
}

func printReport(out io.Writer, r *bench.Report) error {
	_, err := fmt.Fprintf(out, "%s\n\n%-16s %10s %9s %9s %7s  %s\n", r.Machine, "", "round/s", "p50 ms", "p99 ms", "ratio", "promise")
	for _, row := range r.Rows {
		if err == nil {
			_, err = fmt.Fprintf(out, "%-16s %10.0f %9.2f %9.2f %7.2f  %s\n", row.Name, row.PerSecond, row.P50, row.P99, row.Ratio, row.Promise)
		}
	}
	for _, name := range r.Missing {
		if err == nil {
			_, err = fmt.Fprintf(out, "%s is not installed\n", name)
		}
	}
	return err
}
