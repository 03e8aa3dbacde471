package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"switchboard/cluster"
	"switchboard/cluster/member"
)

func newPlacements() *cobra.Command {
	s := &seat{}
	cmd := s.status("placements", "List the placements of a cluster, make one, say who lives there", printPlacements)
	cmd.Long = `List the placements of a cluster: sets of shards that live on nodes with certain labels. What tenants say is stored on the nodes of their
placement, and on no others. Everybody lives in main who is not assigned elsewhere before his first start; no tenant moves alone.

NODES may hold copies; MISPLACED hold some and may not any more: these copies are moved as soon as there is a node that may.
` + askedHow
	cmd.AddCommand(s.createPlacement(), s.assign(), s.require())
	return s.asks(cmd)
}

func printPlacements(w io.Writer, r *member.Report) {
	name := names(r)
	line(w, "PLACEMENT", "GROUP", "SHARDS", "COPIES", "REQUIRES", "NODES", "MISPLACED", "TENANTS")
	for i := range r.Places {
		p := &r.Places[i]
		tenants := strings.Join(p.Tenants[:min(len(p.Tenants), 5)], " ")
		if more := len(p.Tenants) - 5; more > 0 {
			tenants += fmt.Sprintf(" and %d more", more)
		}
		line(w, p.Name, p.Group, len(p.Shards), p.Copies, labels(p.Require), namesOf(name, p.Nodes), namesOf(name, p.Misplaced), tenants)
	}
}

func labels(m map[string]string) string {
	if len(m) == 0 {
		return "-"
	}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	return strings.Join(list, ",")
}

func namesOf(name map[uint32]string, nodes []uint32) string {
	if len(nodes) == 0 {
		return "-"
	}
	var list []string
	for _, n := range nodes {
		list = append(list, name[n])
	}
	return strings.Join(list, " ")
}

func (s *seat) createPlacement() *cobra.Command {
	p := &cluster.Placement{}
	var shards int
	var dry bool
	cmd := &cobra.Command{
		Use: "create NAME --require LABEL=VALUE", Short: "Make a placement on nodes with certain labels",
		Long: `Make a placement in the running cluster: so many new shards, on nodes that have the labels (cluster.labels in their configuration).
--tenant names who shall live there: tenants that no node has served yet. A tenant may also name the placement in the configuration
(tenants.NAME.placement). Asked again with the same shape it is the same placement. --dry-run says which nodes may hold it, or why it would
be refused, and makes nothing.`,
		Example: `  switchboard placements create eu --require region=eu --shards 16 --copies 3 --tenant haus --tenant bahn
  switchboard placements create eu --require region=eu --dry-run`,
		Args: exactly(1, "a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Name = args[0]
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				made, err := op.Place(ctx, s.as, p, shards, dry)
				if err != nil {
					return err
				}
				r, err := op.Status(ctx)
				if err != nil {
					return err
				}
				return s.print(cmd, made, func(w io.Writer) {
					verb := "has"
					if dry {
						verb = "would have"
					}
					line(w, fmt.Sprintf("placement %s %s %s of %s on %s", made.Name, verb, cluster.Many(shards, "shard"), cluster.Many(made.Copies, "copy"), namesOf(names(r), made.Nodes)))
				})
			})
		},
	}
	fs := cmd.Flags()
	fs.StringToStringVar(&p.Require, "require", nil, "label that its nodes have, LABEL=VALUE; may be given again")
	fs.IntVar(&shards, "shards", 16, "shards")
	fs.IntVar(&p.Copies, "copies", 3, "copies of each: 1, 3, 5 or 7")
	fs.StringArrayVar(&p.Tenants, "tenant", nil, "tenant that shall live there; may be given again")
	fs.BoolVar(&dry, "dry-run", false, "say what would be made, and make nothing")
	return cmd
}

func (s *seat) assign() *cobra.Command {
	return &cobra.Command{
		Use: "assign NAME TENANT…", Short: "Make a placement the home of tenants who live nowhere yet",
		Long: `Make a placement the home of tenants, for good. Each must live there already, or nowhere: a node that was started with a tenant in its
configuration, and without a placement for him, has given him main. When one is refused none is assigned.`,
		Example: `  switchboard placements assign eu haus bahn`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageError{fmt.Errorf("it takes the name of a placement, and tenants")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				if err := op.Assign(ctx, s.as, args[0], args[1:]...); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "in placement %s: %s\n", args[0], strings.Join(args[1:], " "))
				return err
			})
		},
	}
}

func (s *seat) require() *cobra.Command {
	var dry, none bool
	cmd := &cobra.Command{
		Use: "require NAME LABEL=VALUE…", Short: "Move a placement to nodes with certain labels",
		Long: `Say which labels the nodes of a placement have to have from now on, instead of those before. All of its copies move there, with everybody who lives
in it, while customers talk: the plan moves them some at a time ("shards moves" tells of each, pauses and aborts it), and "placements" names
under MISPLACED who holds some still. Say what was before to take it back. --dry-run says which nodes may hold it then, or why it would be
refused: fewer nodes than copies.`,
		Example: `  switchboard placements require eu region=eu tier=gold
  switchboard placements require main --none`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || none != (len(args) == 1) {
				return usageError{fmt.Errorf("it takes the name of a placement, and labels or --none")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			labels := map[string]string{}
			for _, l := range args[1:] {
				k, v, ok := strings.Cut(l, "=")
				if !ok || k == "" {
					return usageError{fmt.Errorf("%q is no LABEL=VALUE", l)}
				}
				labels[k] = v
			}
			return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
				p, err := op.Require(ctx, s.as, args[0], labels, dry)
				if err != nil {
					return err
				}
				r, err := op.Status(ctx)
				if err != nil {
					return err
				}
				return s.print(cmd, p, func(w io.Writer) {
					line(w, fmt.Sprintf("placement %s may be on %s; still elsewhere: %s", p.Name, namesOf(names(r), p.Nodes), namesOf(names(r), p.Misplaced)))
				})
			})
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "any node may hold it")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be so, and change nothing")
	return cmd
}
