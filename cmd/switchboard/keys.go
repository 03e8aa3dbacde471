package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"switchboard/cluster/member"
	"switchboard/node"
)

// keyMost bounds what is read as a key: a question to a node has room for so much.
const keyMost = 3 << 10

func newKeys() *cobra.Command {
	s := &seat{}
	var tenant string
	cmd := &cobra.Command{
		Use: "keys", Short: "List the keys of tokens, add and remove some",
		Long: `List the keys that the tokens of tenants are checked with, add some and remove some, in the running cluster: every node goes by them within a
second, and keeps them in its keys.json. No secret is printed, here or in a log.

To change a key, add or create the new one, let issuers sign with it, and remove the old one when its last token has expired. A token whose key
is gone is refused from then on, at every node that the cluster reaches; a connection that was let in with it stays until the token
would have expired.

With --data it is about the keys.json of a node that is alone, before its first start or while it is stopped.
` + askedHow,
		Example: `  switchboard keys create shop --kid shop-1 --data /var/lib/switchboard     # before the first start
  switchboard keys create shop --kid shop-2                                 # in a cluster that runs
  switchboard keys remove shop shop-1`,
		Args: exactly(0, "a subcommand: see switchboard keys --help"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.keys(cmd, &node.KeysAsked{Tenant: tenant})
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "list those of one tenant")
	cmd.PersistentFlags().StringVar(&s.data, "data", "", "data directory of a node that is alone and stopped, or new, instead of --at")
	cmd.AddCommand(s.createKey(), s.addKey(), s.removeKey())
	s.flags(cmd)
	stoppedOrRunning(cmd.PersistentFlags(), "at")
	return cmd
}

// keys asks for a change, or for nothing, and prints what there is then.
func (s *seat) keys(cmd *cobra.Command, q *node.KeysAsked) error {
	if s.data != "" {
		a, err := node.StoppedKeys(s.data, q)
		if err != nil {
			return err
		}
		return s.printKeys(cmd, q, a)
	}
	return s.do(cmd, func(ctx context.Context, op *member.Operations) error {
		a := &node.KeysAnswer{}
		if err := op.Node(ctx, node.KeysOp, q, a); err != nil {
			return err
		}
		return s.printKeys(cmd, q, a)
	})
}

func (s *seat) printKeys(cmd *cobra.Command, q *node.KeysAsked, a *node.KeysAnswer) error {
	return s.print(cmd, a, func(w io.Writer) {
		if q.Action != "" && !a.Changed {
			line(w, "it was so already: nothing is changed")
		}
		line(w, "TENANT", "KID", "ALG", "SIGNS")
		for _, k := range a.Keys {
			line(w, k.Tenant, k.Kid, k.Alg, yes(k.Signs))
		}
	})
}

func (s *seat) createKey() *cobra.Command {
	q := &node.KeysAsked{Action: "create"}
	cmd := &cobra.Command{
		Use: "create TENANT --kid ID", Short: "Make a new secret of a tenant",
		Long: `Make a new random HS256 secret of a tenant, who need not have had a key, before his others: "switchboard token" mints with it at every node. It
is in keys.json of every node, and nowhere else.`,
		Example: `  switchboard keys create acme --kid acme-2
  switchboard keys create acme --kid acme-1 --data ./data`,
		Args: exactly(1, "a tenant"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Kid == "" {
				return usageError{fmt.Errorf("a key needs an id: set --kid")}
			}
			q.Tenant = args[0]
			return s.keys(cmd, q)
		},
	}
	cmd.Flags().StringVar(&q.Kid, "kid", "", "id of the key, as tokens name it")
	return cmd
}

func (s *seat) addKey() *cobra.Command {
	q := &node.KeysAsked{Action: "add"}
	var path, kid string
	cmd := &cobra.Command{
		Use: "add TENANT --file FILE", Short: "Add a key of a tenant",
		Long: `Add a key of a tenant, who need not have had any: a PEM document, or a JSON Web Key, or {"kid","pem"} or {"kid","secret"}. A public key is
enough for an issuer who signs elsewhere. --file - reads standard input.`,
		Example: `  switchboard keys add acme --file acme.pub.pem --kid acme-2
  switchboard keys add acme --file key.jwk --first`,
		Args: exactly(1, "a tenant"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Key, err = readKey(cmd, path, kid); err != nil {
				return err
			}
			q.Tenant = args[0]
			return s.keys(cmd, q)
		},
	}
	cmd.Flags().StringVar(&path, "file", "", "where the key is")
	cmd.Flags().StringVar(&kid, "kid", "", "id of a key in PEM, as tokens name it")
	cmd.Flags().BoolVar(&q.First, "first", false, "before the others: \"switchboard token\" mints with it, if it signs")
	return cmd
}

// readKey reads a key as keys.json has it.
func readKey(cmd *cobra.Command, path, kid string) (json.RawMessage, error) {
	in := cmd.InOrStdin()
	switch path {
	case "":
		return nil, usageError{fmt.Errorf("no key: set --file, or --file - for standard input")}
	case "-":
	default:
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // it is only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, keyMost+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > keyMost:
		return nil, usageError{fmt.Errorf("a key of more than %d bytes", keyMost)}
	case strings.Contains(string(b), "-----BEGIN"):
		return json.Marshal(map[string]string{"kid": kid, "pem": string(b)})
	case kid != "":
		return nil, usageError{fmt.Errorf("--kid is for a key in PEM: a JSON key has its own")}
	case !json.Valid(b):
		return nil, usageError{fmt.Errorf("%s has neither PEM nor JSON", path)}
	}
	return b, nil
}

func (s *seat) removeKey() *cobra.Command {
	q := &node.KeysAsked{Action: "remove"}
	cmd := &cobra.Command{
		Use: "remove TENANT KID", Short: "Remove a key of a tenant: its tokens are refused from then on",
		Long: `Remove a key of a tenant. Its tokens are refused within a second at every node that the cluster reaches. The last key of a tenant goes
only with --last: nobody of his gets in then.`,
		Example: `  switchboard keys remove acme acme-1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError{fmt.Errorf("it takes a tenant and the id of a key; see switchboard keys")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Tenant, q.Kid = args[0], args[1]
			return s.keys(cmd, q)
		},
	}
	cmd.Flags().BoolVar(&q.Last, "last", false, "also when it is the last one")
	return cmd
}
