package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"switchboard/client"
)

// floorFlags are the flags of `floor`.
type floorFlags struct {
	dialFlags
	queue, worker string
	sessions      int
	every         time.Duration
	asJSON        bool
}

func newFloor() *cobra.Command {
	var f floorFlags
	cmd := &cobra.Command{
		Use:   "floor",
		Short: "Show who waits, who works and who has whom, now or every so often",
		Long: `Show how the queues stand, who is at work with how many sessions, and which sessions wait or are with somebody: who waits longest
comes first. A supervisor joins, takes or directs one by its id (docs/protocol.md, 5a).`,
		Example: `  switchboard floor --token "$SUPERVISOR"
  switchboard floor --token "$SUPERVISOR" --queue service --sessions 50 --every 2s`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.every != 0 && f.every < time.Second:
				return usageError{fmt.Errorf("--every is a second or more")}
			case f.sessions < 0 || f.sessions > 128:
				return usageError{fmt.Errorf("--sessions is 0 to 128")}
			}
			return f.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&f.queue, "queue", "", "of this queue alone")
	fs.StringVar(&f.worker, "worker", "", "of this worker alone")
	fs.IntVar(&f.sessions, "sessions", 20, "how many sessions to list, at most 128")
	fs.DurationVar(&f.every, "every", 0, "again and again, until it is interrupted; a second or more")
	fs.BoolVar(&f.asJSON, "json", false, "one JSON object a line")
	return cmd
}

func (f *floorFlags) run(ctx context.Context, out io.Writer) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	var c *client.Client
	if f.every == 0 {
		ctx, c, err = dialOnce(ctx, f.addr, cfg)
	} else {
		c, err = client.Dial(ctx, cfg)
	}
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was written
	for {
		all, err := c.Floor(ctx, client.FloorOptions{Queue: f.queue, Worker: f.worker, Sessions: f.sessions})
		if err != nil {
			return unheard(ctx, f.addr, err)
		}
		if err := f.print(out, all); err != nil || f.every == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(f.every):
		}
	}
}

func (f *floorFlags) print(out io.Writer, all *client.Floor) error {
	if f.asJSON {
		return json.NewEncoder(out).Encode(floorOf(all))
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	row := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) } // Flush tells
	row("%s", all.At.Format(time.TimeOnly))
	if len(all.Queues) > 0 {
		row("QUEUE\tWAITING\tLONGEST\tOFFERED\tASSIGNED\tBOTS\tPEOPLE\tFREE SLOTS")
	}
	for _, q := range all.Queues {
		row("%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d", q.Queue, q.Waiting, q.Oldest.Round(time.Second), q.Offered, q.Assigned, q.Bots, q.Humans, q.FreeSlots)
	}
	if len(all.Workers) > 0 {
		row("\nWORKER\tKIND\tSTATE\tHAS\tSLOTS\tQUEUES")
	}
	for _, x := range all.Workers {
		row("%s\t%s\t%s\t%d\t%d\t%s", x.Worker, x.Kind, presence(&x), x.Used, x.Slots, strings.Join(x.Queues, " "))
	}
	if all.MoreWorkers {
		row("and others")
	}
	if len(all.Sessions) > 0 {
		row("\nSESSION\tQUEUE\tSTATE\tWORKER\tAGE\tSHOP\tCHANNEL\tTIER")
	}
	for _, x := range all.Sessions {
		row("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", x.Session, x.Queue, x.State, dash(x.Worker), x.Waited.Round(time.Second), dash(x.Shop), dash(x.Channel), dash(x.Tier))
	}
	if all.MoreSessions {
		row("and others")
	}
	row("")
	return w.Flush()
}

// presence is how a worker stands, and why, in one line.
func presence(w *client.WorkerStats) string {
	if w.Reason == "" {
		return w.State
	}
	return w.State + " (" + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, w.Reason) + ")"
}

// dash returns what is said of a field: nothing is a dash.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
