package main

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchboard/cluster/member"
	"switchboard/node"
)

func newTenants() *cobra.Command {
	s := &seat{}
	cmd := &cobra.Command{
		Use: "tenants", Short: "List the tenants that a node of the cluster serves, and make one while it runs",
		Long: `List the tenants that the node serves that is asked: those of its configuration, and those that were made while the cluster ran.

A tenant who has keys needs no more than his first document: an operator of his applies it with "switchboard queues apply", and all nodes serve him.
"tenants create" is for one who is to have settings besides, or a placement of his own.
` + askedHow,
		Args: exactly(0, "a subcommand: see switchboard tenants --help"),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.tenants(cmd, &node.TenantsAsked{}) },
	}
	cmd.AddCommand(s.createTenant())
	return s.asks(cmd)
}

// tenants asks for a tenant, or for nothing, and prints who there is then.
func (s *seat) tenants(cmd *cobra.Command, q *node.TenantsAsked) error {
	return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
		a := &node.TenantsAnswer{}
		if err := op.Node(ctx, node.TenantsOp, q, a); err != nil {
			return err
		}
		return s.print(cmd, a, func(w io.Writer) {
			if q.Action != "" && !a.Changed {
				line(w, "he was there already: nothing is changed")
			}
			line(w, "TENANT", "PLACEMENT", "IN THE FILE", "MADE", "BY")
			for _, t := range a.Tenants {
				made, by := "-", "-"
				if t.Made != nil {
					made, by = time.UnixMilli(t.Made.At).Format(time.RFC3339), t.Made.By
				}
				line(w, t.Tenant, t.Home, t.File, made, by)
			}
			if len(a.Missing) > 0 {
				line(w, "not reached, and serving him when they are back: "+strings.Join(a.Missing, ", "))
			}
		})
	})
}

func (s *seat) createTenant() *cobra.Command {
	q := &node.TenantsAsked{Action: "create"}
	cmd := &cobra.Command{
		Use: "create TENANT", Short: "Make a tenant whom all nodes serve from then on, without a restart",
		Long: `Make a tenant whom all nodes serve from then on, without a restart and for good. When it returns, all nodes that are there do; those that are not
are named, and do when they are back. He has no queues before his first document is applied, and nobody gets in without a key.

What is said here of him are settings that a configuration has beside the document. They are changed by putting him into the configuration of all nodes, whose
word counts from then on. Where he lives is decided for good.`,
		Example: `  switchboard tenants create acme
  switchboard tenants create haus --placement eu --origin https://haus.example
  switchboard keys create acme --kid acme-1
  switchboard token --data DIR --tenant acme --role operator --sub olga
  switchboard queues apply -f acme.yaml --token …`,
		Args: exactly(1, "a tenant"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Tenant = args[0]
			return s.tenants(cmd, q)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&q.Placement, "placement", "", "where his conversations are kept, for good (default main)")
	fs.StringVar(&q.DefaultQueue, "default-queue", "", "where an open without a queue goes (default the document's first)")
	fs.StringArrayVar(&q.Origins, "origin", nil, "a browsers' origin that may use his tokens (default any); may be given again")
	fs.Int64Var(&q.ReopenWindowMS, "reopen-window-ms", 0, "how long a closed session can be reopened (default 24 h)")
	fs.Uint32Var(&q.MaxAttempts, "max-attempts", 0, "how often an entry is delivered before the session moves on (default 5)")
	fs.Int64Var(&q.WrapUpMS, "wrapup-ms", 0, "a human's time after a release, an hour at most")
	fs.Int64Var(&q.GraceBotsMS, "grace-bots-ms", 0, "how long sessions wait for a bot that is lost, where the document says nothing (default 5000)")
	fs.Int64Var(&q.GraceHumansMS, "grace-humans-ms", 0, "the same for a human (default 30000)")
	return cmd
}
