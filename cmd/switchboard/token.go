package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchboard/edge/token"
	"switchboard/node"
	"switchboard/wire"
)

func newToken() *cobra.Command {
	var (
		data, queues, skills, role, kind, attrs string
		c                                       token.Claims
		ttl                                     time.Duration
	)
	cmd := &cobra.Command{
		Use:   "token --data DIR --tenant T --role R --sub S",
		Short: "Print one token",
		Long: `Print one token and a newline on standard output, nothing else. It works while the node runs and before
its first start: the keys are in keys.json in the data directory. A negative --ttl makes an expired token.

--role says what the bearer may:
  customer    talk, as himself
  worker      answer what he is given: a bot or a human, by --kind
  supervisor  see and take over his tenant's sessions, or those of --shop; apply the tenant's document
  operator    what a supervisor may; apply a tenant's first document, assign to who is full, erase customers; and, when the
              nodes' configuration names the tenant in cluster.operators, look after nodes, shards, keys, tenants and backups
              over HTTP
  service     speak for any customer of the tenant: a connector, a backend
What is of the whole tenant, or of all, wants a token without --shop.`,
		Example: `  switchboard token --data ./data --tenant demo --role customer --sub alice
  switchboard token --data ./data --tenant demo --role worker --kind human --sub bob --queues default --skills refund=0.9
  switchboard token --data ./data --tenant demo --role operator --sub olga`,
		Args: exactly(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if data == "" {
				return usageError{fmt.Errorf("no data directory: set --data")}
			}
			if c.Sub == "" {
				return usageError{fmt.Errorf("nobody to make a token for: set --sub")}
			}
			if wire.Role(role) != wire.RoleWorker { // it would be the token of a customer, say, and nobody would be told
				for _, name := range []string{"kind", "queues", "skills", "attributes", "rating"} {
					if cmd.Flags().Changed(name) {
						return usageError{fmt.Errorf("--%s is of a worker, and this is a token of role %s: set --role worker, or leave out --%s", name, role, name)}
					}
				}
			}
			_, missing := os.Stat(filepath.Join(data, token.FileName))
			c.Role, c.Kind = wire.Role(role), wire.Origin(kind)
			if c.Role == wire.RoleWorker && kind == "" {
				c.Kind = wire.OriginBot
			}
			if c.Role == wire.RoleWorker {
				c.Queues, c.Attributes = strings.Split(queues, ","), []byte(attrs)
			}
			var err error
			if c.Skills, err = parseSkills(skills); err != nil {
				return usageError{err}
			}
			keys, err := node.Keys(data)
			if err != nil {
				return err
			}
			t, err := keys.Mint(c, ttl)
			if err != nil && !keys.Has(c.Tenant) {
				err = fmt.Errorf("%w: make one with switchboard keys create %s --kid ID, and --data DIR when no cluster runs", err, c.Tenant)
			}
			if err != nil {
				return usageError{err}
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), t); err != nil || missing == nil {
				return err
			}
			// Whoever has mistyped the directory has a token that no node takes.
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "made new keys: %s\n", filepath.Join(data, token.FileName))
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&data, "data", "", "data directory of the node")
	fs.StringVar(&c.Tenant, "tenant", "demo", "tenant")
	fs.StringVar(&role, "role", "customer", "customer, worker, supervisor, operator or service")
	fs.StringVar(&c.Sub, "sub", "", "who: the id of the bearer")
	fs.StringVar(&c.Name, "name", "", "the bearer's name, for people")
	fs.StringVar(&c.Shop, "shop", "", "shop that the token is bound to")
	fs.StringVar(&c.Tier, "tier", "", "the customer's tier")
	fs.StringVar(&kind, "kind", "", "bot or human, of a worker (default bot)")
	fs.StringVar(&queues, "queues", "*", "queues of a worker, separated by commas")
	fs.StringVar(&skills, "skills", "", "levels 0..1 of a worker: refund=0.9,english=1")
	fs.StringVar(&attrs, "attributes", "", `what conditions of routes see of a worker besides, as JSON: {"shops":["s1"],"level":0.8}`)
	fs.Float64Var(&c.Rating, "rating", 0, "rating 0..1 of a worker")
	fs.DurationVar(&ttl, "ttl", time.Hour, "how long it is valid")
	return cmd
}

func parseSkills(s string) (map[string]float64, error) {
	if s == "" {
		return nil, nil
	}
	m := map[string]float64{}
	for part := range strings.SplitSeq(s, ",") {
		name, level, ok := strings.Cut(part, "=")
		v, err := strconv.ParseFloat(level, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("--skills is %q: it must be name=level,name=level", s)
		}
		m[name] = v
	}
	return m, nil
}
