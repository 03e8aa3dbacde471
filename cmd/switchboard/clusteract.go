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
		Use: "move SHARD --to NODE", Short: "Move a replica of a shard",
		Long: `Begin to move a replica of a shard to a node that has none of it, and print the move. It goes on by itself, whoever fails;
"shards moves" tells how far it is. Asked again it is the same move. Nodes are given by name or number. Without --from it is the leader's
replica that moves, and the leadership with it.`,
		Example: `  switchboard shards move 3 --to n4
  switchboard shards move 3 --from n1 --to n4 --why "n1 has a slow disk"`,
		Args: exactly(1, "the number of a shard"),
		RunE: func(cmd *cobra.Command, args []string) error {
			shard, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil || to == "" {
				return usageError{fmt.Errorf("it takes the number of a shard, and --to")}
			}
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				a, err := s.source(ctx, op, uint16(shard), from)
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
	cmd.Flags().StringVar(&from, "from", "", "node that gives its replica away (default the leader)")
	cmd.Flags().StringVar(&to, "to", "", "node that shall have it")
	cmd.Flags().StringVar(&why, "why", "", "why, for people")
	return cmd
}

// source returns the node that a move takes a replica from.
func (s *seat) source(ctx context.Context, op *member.Operations, shard uint16, from string) (uint32, error) {
	if from != "" {
		return s.node(ctx, op, from)
	}
	r, err := op.Status(ctx)
	if err != nil {
		return 0, err
	}
	for i := range r.Shards {
		if r.Shards[i].ID != shard {
			continue
		}
		for _, j := range r.Jobs {
			if j.ID == r.Shards[i].Job && j.From != 0 {
				return j.From, nil // it was asked for before, and the leader may be another by now
			}
		}
		if l := r.Shards[i].Leader; l != 0 {
			return l, nil
		}
		return 0, fmt.Errorf("%w: nobody is known to lead shard %d just now: say --from", cluster.ErrRefused, shard)
	}
	return 0, fmt.Errorf("%w: there is no shard %d: see switchboard shards ls", cluster.ErrRefused, shard)
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
	var dry bool
	cmd := &cobra.Command{
		Use: "rebalance", Short: "Make everything even: copies, drained nodes, zones, load, leaders",
		Args: exactly(0, "no arguments, or pause, resume or abort"),
		Long: `Make everything even: copies that are missing, nodes that drain, zones, load, leaders. It goes on by itself, a few moves at a time, until
nothing is left of the plan. Printed are the moves under way and those to come, each with a reason; --dry-run prints them and begins
nothing, and is how to see how far it is.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dry {
				return s.balance(cmd, "dry")
			}
			return s.balance(cmd, "run")
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print how far it is and what is to come, and begin nothing")
	for action, short := range map[string]string{
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
		b, err := op.Rebalance(ctx, s.as, action)
		if err != nil {
			return err
		}
		r, err := op.Status(ctx)
		if err != nil {
			return err
		}
		name := names(r)
		return s.print(cmd, b, func(w io.Writer) {
			line(w, "rebalance: "+effort(b.Effort))
			idle := true
			for _, j := range r.Jobs {
				if j.Step != cluster.Ended {
					idle = false
					line(w, fmt.Sprintf("shard %d", j.Shard), "moves: "+string(j.Step), name[j.From]+" -> "+name[j.To], j.Why)
				}
			}
			for _, p := range b.Plan {
				what := "a copy"
				if p.Lead {
					what = "leads"
				}
				line(w, fmt.Sprintf("shard %d", p.Shard), what, name[p.From]+" -> "+name[p.To], p.Why)
			}
			if len(b.Plan) == 0 && idle {
				line(w, "nothing is to be moved")
			}
		})
	})
}

func (s *seat) drain() *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Make a node give away what it holds",
		Long: `Make a node give away its replicas, its leaderships and its vote, so that it can be removed, and send its connections to other nodes,
a few at a time. It serves those that come all the same. --undo takes it back: what was moved stays where it is.`,
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
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "node %s drains: %v; see switchboard nodes\n", args[0], !undo)
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
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "node %s is removed: stop its process, which serves nobody any more; %d shards get a copy elsewhere\n", args[0], len(short))
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
