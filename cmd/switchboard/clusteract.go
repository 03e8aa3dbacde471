package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

func (s *seat) move() *cobra.Command {
	var from, to, why string
	cmd := &cobra.Command{
		Use: "move SHARD --from NODE --to NODE", Short: "Move a replica of a shard",
		Long: `Begin to move a replica of a shard from one node to another, and print the move. It goes on by itself, whoever fails;
"cluster moves" tells how far it is. Asked again it is the same move. Nodes are given by name or number.`,
		Example: `  switchboard cluster move 3 --from n1 --to n4 --why "n1 has a slow disk"`,
		Args:    exactly(1, "the number of a shard"),
		RunE: func(cmd *cobra.Command, args []string) error {
			shard, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil || from == "" || to == "" {
				return usageError{fmt.Errorf("it takes the number of a shard, --from and --to")}
			}
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				a, err := s.node(ctx, op, from)
				if err != nil {
					return err
				}
				b, err := s.node(ctx, op, to)
				if err != nil {
					return err
				}
				j, err := op.Move(ctx, s.as, uint16(shard), a, b, why)
				if err != nil {
					return err
				}
				return s.print(cmd, j, func(w io.Writer) { line(w, j) })
			})
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "node that has a replica")
	cmd.Flags().StringVar(&to, "to", "", "node that shall have it")
	cmd.Flags().StringVar(&why, "why", "", "why, for people")
	return cmd
}

func (s *seat) jobs() *cobra.Command {
	cmd := s.status("moves", "List the moves: under way, and the last that ended", printJobs)
	for action, short := range map[string]string{
		"pause":  "Stop a move before its next step",
		"resume": "Let a move go on",
		"abort":  "Take a move back, as long as the new replica does not vote yet",
	} {
		cmd.AddCommand(&cobra.Command{
			Use: action + " MOVE", Short: short, Args: exactly(1, "the number of a move"),
			RunE: func(cmd *cobra.Command, args []string) error {
				id, err := strconv.ParseUint(args[0], 10, 64)
				if err != nil {
					return usageError{fmt.Errorf("%q is not the number of a move", args[0])}
				}
				return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
					j, err := op.Job(ctx, s.as, id, action)
					if err != nil {
						return err
					}
					return s.print(cmd, j, func(w io.Writer) { line(w, j) })
				})
			},
		})
	}
	return cmd
}

func (s *seat) rebalance() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rebalance", Short: "Say what would make everything even, or have it done",
		Args: exactly(0, "no arguments, or run, pause, resume or abort"),
		Long: `Print what a plan wants now: copies that are missing, nodes that drain, zones, load, leaders, each with a reason. "run" has it
done, a few moves at a time, until nothing is left of it.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.balance(cmd, "dry") },
	}
	for action, short := range map[string]string{
		"run":    "Begin to make everything even",
		"pause":  "Stop before the next step",
		"resume": "Go on",
		"abort":  "Stop for good, and take back what can be taken back",
	} {
		cmd.AddCommand(&cobra.Command{
			Use: action, Short: short, Args: exactly(0, "no arguments"),
			RunE: func(cmd *cobra.Command, _ []string) error { return s.balance(cmd, action) },
		})
	}
	return cmd
}

func (s *seat) balance(cmd *cobra.Command, action string) error {
	return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
		r, err := op.Status(ctx)
		if err != nil {
			return err
		}
		b, err := op.Rebalance(ctx, s.as, action)
		if err != nil {
			return err
		}
		name := names(r)
		return s.print(cmd, b, func(w io.Writer) {
			line(w, "rebalance: "+effort(b.Effort))
			for _, p := range b.Plan {
				what := "a copy"
				if p.Lead {
					what = "leads"
				}
				line(w, fmt.Sprintf("shard %d", p.Shard), what, name[p.From]+" -> "+name[p.To], p.Why)
			}
			if len(b.Plan) == 0 {
				line(w, "nothing is to be moved")
			}
		})
	})
}

func (s *seat) drain() *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Make a node give away what it holds",
		Long: `Make a node give away its replicas, its leaderships and its vote, so that it can be removed. It goes on serving
connections. --undo takes it back: what was moved stays where it is.`,
		Args: exactly(1, "a node, by name or number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				n, err := s.node(ctx, op, args[0])
				if err != nil {
					return err
				}
				if err := op.Drain(ctx, s.as, n, undo); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "node %s drains: %v; see switchboard cluster nodes\n", args[0], !undo)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "take it back")
	return cmd
}

func (s *seat) remove() *cobra.Command {
	var lost bool
	cmd := &cobra.Command{
		Use: "remove NODE", Short: "Take a node out for good",
		Long: `Take a node out for good; its number is not given again. A node that holds replicas is drained first. --disk-lost says that its disk
is gone, and nobody will start it again: others stand in for its replicas. That is refused while the node answers.`,
		Args: exactly(1, "a node, by name or number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				n, err := s.node(ctx, op, args[0])
				if err != nil {
					return err
				}
				short, err := op.Remove(ctx, s.as, n, lost)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "node %s is removed; %d shards get a copy elsewhere\n", args[0], len(short))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&lost, "disk-lost", false, "its disk is gone for good")
	return cmd
}

func (s *seat) copies() *cobra.Command {
	var placement string
	cmd := &cobra.Command{
		Use: "copies N", Short: "Say how many copies shards shall have: 1, 3, 5 or 7",
		Args: exactly(1, "a number"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q is no number", args[0])}
			}
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				if err := op.Copies(ctx, s.as, placement, n); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "placement %s wants %d copies\n", placement, n)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&placement, "placement", cluster.Main, "placement")
	return cmd
}
