package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
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
		Short: "Measure what this machine can do: one page of figures beside their physical limits",
		Long: `Measure what this machine can do, in about a minute and with all its processors: how fast it copies memory, hands over
between goroutines, answers over loopback, accepts sockets, shakes hands and syncs to the disk, and beside each of these limits
what the codec, the journal and a whole node (started as a process of its own, with its data under --dir) make of it. What
connecting costs, in the clear and with TLS, and what an idle connection holds, are measured on Linux alone.
How Switchboard stands beside other brokers on this machine: make peers.`,
		Example: `  switchboard bench --dir /var/lib
  switchboard bench --json > before.json`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := enough(&cfg)
			if err != nil {
				return err
			}
			if cfg.Binary, err = os.Executable(); err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			if cfg.Dir, err = os.MkdirTemp(cfg.Dir, "switchboard-bench-"); err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(cfg.Dir) }()
			cfg.Token = mintFor
			cfg.Progress = func(s string) { fmt.Fprintln(os.Stderr, s) }
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			page, err := bench.Run(ctx, cfg)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil:
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(page)
			}
			return page.Print(cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.Dir, "dir", "", "directory on the disk to be measured (default the system's for temporary files)")
	fs.IntVar(&cfg.Customers, "customers", 1000, "customer sockets")
	fs.IntVar(&cfg.Workers, "workers", 8, "worker sockets")
	fs.IntVar(&cfg.Connects, "connects", 4000, "sockets that connect and are held; a quarter of them with TLS")
	fs.IntVar(&cfg.Body, "body", 256, "bytes of a body")
	fs.Float64Var(&cfg.Rate, "rate", 1000, "round trips a second on schedule")
	fs.DurationVar(&cfg.Time, "time", 4*time.Second, "how long the whole node is measured; an idle connection is watched three times as long, and the other figures take an eighth")
	fs.BoolVar(&asJSON, "json", false, "print the page as JSON")
	return cmd
}

// enough refuses a bench that could not measure anything.
func enough(cfg *bench.Config) error {
	for _, f := range []struct {
		flag string
		v    int
	}{{"customers", cfg.Customers}, {"workers", cfg.Workers}, {"connects", cfg.Connects}, {"body", cfg.Body}} {
		if f.v < 1 {
			return usageError{fmt.Errorf("--%s is %d: it must be 1 at least", f.flag, f.v)}
		}
	}
	if !(cfg.Rate > 0) {
		return usageError{fmt.Errorf("--rate is %v: it must be above 0", cfg.Rate)}
	}
	if cfg.Time < 100*time.Millisecond {
		return usageError{fmt.Errorf("--time is %v: it must be 100ms at least", cfg.Time)}
	}
	return nil
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
