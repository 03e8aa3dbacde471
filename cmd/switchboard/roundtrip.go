package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"

	"switchboard/edge/token"
	"switchboard/loadtest"
	"switchboard/node"
	"switchboard/wire"
)

func newLoadtest() *cobra.Command {
	cmd := &cobra.Command{
		Use: "loadtest", Short: "Drive real sockets against a node, and say what came of it",
		Args: exactly(0, "a subcommand"), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLoadRun(), newLoadScenarios(), newLoadShow(), newLoadCompare(), newRoundTrip(), newReplay(), newLoadAgent())
	return cmd
}

func newRoundTrip() *cobra.Command {
	var (
		r       loadtest.RoundTrip
		data    string
		profile string
		asJSON  bool
		minimum float64
		p99     float64
	)
	cmd := &cobra.Command{
		Use:   "roundtrip --data DIR",
		Short: "Measure durable round trips: customer, bot, customer",
		Long: `Measure durable round trips against a running node: a customer's message is synced, delivered to a bot, its
answer synced and delivered back. Without --rate each customer sends its next message when the last was
answered; with it messages are sent on schedule, and latency counts from the moment they were due.
Tokens are minted with the keys of the data directory. Start the node with a rate limit that lets the load
through (limits: {rate: 100000, burst: 100000, inflight: 100000}).`,
		Example: `  switchboard loadtest roundtrip --data ./data --addr 127.0.0.1:7470
  switchboard loadtest roundtrip --data ./data --rate 1000 --max-p99-ms 3`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usageError{fmt.Errorf("no data directory: set --data to the node's, for its keys")}
			}
			keys, err := node.Keys(data)
			if err != nil {
				return err
			}
			r.Token = func(role, sub string) (string, error) {
				c := token.Claims{Tenant: "demo", Sub: sub, Role: wire.Role(role)}
				if c.Role == wire.RoleWorker {
					c.Kind, c.Queues = wire.OriginBot, []string{"*"}
				}
				return keys.Mint(c, time.Hour)
			}
			r.Progress = func(s string) { fmt.Fprintln(os.Stderr, s) }
			if profile != "" {
				f, err := os.Create(profile)
				if err != nil {
					return fmt.Errorf("writing the profile: %w", err)
				}
				defer func() { _ = f.Close() }()
				if err := pprof.StartCPUProfile(f); err != nil {
					return fmt.Errorf("writing the profile: %w", err)
				}
				defer pprof.StopCPUProfile()
			}
			res, err := r.Run(cmd.Context())
			if err != nil {
				return err
			}
			if err := printRoundTrip(cmd, &res, asJSON); err != nil {
				return err
			}
			switch {
			case res.Late > 0:
				return checkError{fmt.Errorf("%d messages were not answered", res.Late)}
			case minimum > 0 && res.PerSecond < minimum:
				return checkError{fmt.Errorf("%.0f round trips a second are below --min-rate %.0f", res.PerSecond, minimum)}
			case p99 > 0 && res.P99 > p99:
				return checkError{fmt.Errorf("p99 of %.2f ms is above --max-p99-ms %.2f", res.P99, p99)}
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&r.Addr, "addr", "127.0.0.1:7470", "host:port of the node")
	fs.StringVar(&data, "data", "", "data directory of the node, for its keys")
	fs.IntVar(&r.Customers, "customers", 1000, "customer sockets")
	fs.IntVar(&r.Workers, "workers", 8, "worker sockets")
	fs.IntVar(&r.Body, "body", 256, "bytes of a body")
	fs.Float64Var(&r.Rate, "rate", 0, "round trips a second on schedule; 0 is as fast as it goes")
	fs.DurationVar(&r.Warm, "warm", 2*time.Second, "how long it runs before it measures")
	fs.DurationVar(&r.Time, "time", 5*time.Second, "how long it measures")
	fs.BoolVar(&r.Keys, "keys", false, "give every message an idempotency key")
	fs.BoolVar(&asJSON, "json", false, "print the result as JSON")
	fs.StringVar(&profile, "cpuprofile", "", "write a CPU profile of the load generator to this file")
	fs.Float64Var(&minimum, "min-rate", 0, "exit 3 below so many round trips a second")
	fs.Float64Var(&p99, "max-p99-ms", 0, "exit 3 above this p99")
	return cmd
}

func printRoundTrip(cmd *cobra.Command, r *loadtest.RoundTripResult, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), `%d customers, %d workers, %d bytes, %s/%s, %d CPUs
round trips  %.0f/s (%d in %.1f s, %d unanswered)
latency ms   p50 %.2f  p90 %.2f  p99 %.2f  p99.9 %.2f  max %.2f
`, r.Customers, r.Workers, r.Body, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.PerSecond, r.Answered, r.Seconds, r.Late, r.P50, r.P90, r.P99, r.P999, r.Max)
	return err
}
