package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"switchboard/cluster/member"
)

func (s *seat) split() *cobra.Command {
	var why string
	var dry bool
	cmd := &cobra.Command{
		Use: "split SHARD", Short: "Split a shard: half of its slots go to a new one",
		Long: `Make a new shard in the placement of one, and move half of its slots there: customers, sessions, identities, pools, with everything that was
said. It goes on by itself, whoever fails, some slots at a time; "shards splits" tells how far it is, "shards splits pause SHARD" stops it
before the next, "shards splits abort SHARD" ends it there. Customers of the slots that are on their way wait for part of a second, those
of the two shards notice a short pause each time. What has moved does not go back. Asked again while it is under way it is the same split;
--dry-run begins nothing.

One shard of a placement is split at a time. What has left stays on the disks of the old shard for cluster.split_keep_ms (a day), as feeds
that were away ask for it there; then it is taken off, or at once with "shards splits clean SHARD".`,
		Example: `  switchboard shards split 3 --dry-run
  switchboard shards split 3 --why "it leads the list of shards ls"`,
		Args: exactly(1, "the number of a shard"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.splitting(cmd, args[0], "", why, dry)
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "why, for people")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, or why not, and begin nothing")
	return cmd
}

func (s *seat) splits() *cobra.Command {
	cmd := s.status("splits", "List the splits: under way, and the last of each placement", printSplits)
	for action, short := range map[string]string{
		"pause":  "Stop a split before its next slots",
		"resume": "Let a split go on",
		"abort":  "End a split: what has moved stays with the new shard, and nothing more goes",
	} {
		cmd.AddCommand(&cobra.Command{
			Use: action + " SHARD", Short: short, Args: exactly(1, "the number of the shard that is split"),
			RunE: func(cmd *cobra.Command, args []string) error { return s.splitting(cmd, args[0], action, "", false) },
		})
	}
	cmd.AddCommand(&cobra.Command{
		Use: "clean SHARD", Short: "Take the rows off that slots have left on the disks of a shard",
		Long: `Take off what is still on the disks of a shard of slots that splits have moved away, without waiting for cluster.split_keep_ms. It goes on by
itself, whoever fails; "shards splits" tells of it until it is done. A feed (watch) that has not told everything that was said there
before is then told position_gone, and begins anew.`,
		Args: exactly(1, "the number of the shard that was split"),
		RunE: func(cmd *cobra.Command, args []string) error {
			shard, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil {
				return usageError{fmt.Errorf("%q is not the number of a shard", args[0])}
			}
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				l, err := op.Clean(ctx, s.as, uint16(shard))
				if err != nil {
					return err
				}
				return s.print(cmd, l, func(w io.Writer) {
					line(w, fmt.Sprintf("the rows of %d slots that have left shard %d are taken off", l.Slots, shard))
				})
			})
		},
	})
	return cmd
}

func (s *seat) splitting(cmd *cobra.Command, arg, action, why string, dry bool) error {
	shard, err := strconv.ParseUint(arg, 10, 16)
	if err != nil {
		return usageError{fmt.Errorf("%q is not the number of a shard", arg)}
	}
	return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
		x, err := op.Split(ctx, s.as, uint16(shard), action, why, dry)
		if err != nil {
			return err
		}
		return s.print(cmd, x, func(w io.Writer) { line(w, x) })
	})
}

func printSplits(w io.Writer, r *member.Report) {
	line(w, "PLACEMENT", "SHARD", "NEW", "STEP", "SLOTS THERE", "ON THEIR WAY", "TO GO", "BY", "WHY")
	for i := range r.Places {
		x := r.Places[i].Split
		if x == nil {
			continue
		}
		step := string(x.Step)
		switch {
		case x.Aborted:
			step += ", aborted"
		case x.Paused:
			step += ", paused"
		}
		line(w, r.Places[i].Name, x.From, x.To, step, x.Moved, len(x.Moving), len(x.Slots), x.By, x.Why)
	}
	printLeftovers(w, r)
}

// printLeftovers tells which shards have rows of slots that have gone.
func printLeftovers(w io.Writer, r *member.Report) {
	header := false
	for i := range r.Places {
		p := &r.Places[i]
		for _, shard := range slices.Sorted(maps.Keys(p.Left)) {
			l := p.Left[shard]
			if !header {
				header = true
				line(w)
				line(w, "PLACEMENT", "SHARD", "SLOTS LEFT BEHIND", "SINCE", "")
			}
			since, state := "", "kept"
			if l.At > 0 {
				since = time.UnixMilli(l.At).UTC().Format(time.RFC3339)
			}
			if l.Clean != 0 {
				state = "being taken off, by " + l.By
			}
			line(w, p.Name, shard, l.Slots, since, state)
		}
	}
}
