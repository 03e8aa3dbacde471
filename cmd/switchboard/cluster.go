package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"switchboard/cluster/member"
)

func newCluster() *cobra.Command {
	cmd := &cobra.Command{
		Use: "cluster", Short: "What several nodes need to be one broker",
		Long: `Make certificates for the nodes of a cluster, and see how one is that runs. "switchboard nodes" and "switchboard shards" look after it.
` + askedHow,
		Args: exactly(0, "a command: see switchboard cluster --help"),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	s := &seat{}
	cmd.AddCommand(newCerts(), s.asks(s.status("status", "Say in short how the cluster is", printStatus)))
	return cmd
}

// askedHow tells how a cluster is asked.
const askedHow = `
Any node is asked, on the port of its links (--at), and it asks whoever leads. With --cluster-tls DIR the operator needs a certificate
of the cluster's authority, as a node does: "cluster certs" makes one; its name is noted with what is done.`

func newNodes() *cobra.Command {
	s := &seat{}
	cmd := s.status("nodes", "List the nodes of a cluster, drain or remove one", printNodes)
	cmd.Long = "List the nodes of a cluster: where they are, how they are, what they hold. \"drain\" and \"remove\" take one out.\n" + askedHow
	cmd.AddCommand(s.drain(), s.remove())
	return s.asks(cmd)
}

func newCerts() *cobra.Command {
	var nodes []string
	cmd := &cobra.Command{
		Use:   "certs DIR --node NAME…",
		Short: "Make the certificates with which nodes know each other",
		Long: `Make, in DIR, an authority (ca.crt, ca.key) and a certificate and key for each node (NAME.crt, NAME.key).
Nodes let in only each other: whoever shows a certificate of this authority with the name that it says it has.
When the authority is there already, further nodes get theirs from it. Nothing is ever overwritten.`,
		Example: `  switchboard cluster certs ./certs --node n1 --node n2 --node n3`,
		Args:    exactly(1, "the directory that the files go to"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(nodes) == 0 {
				return usageError{fmt.Errorf("no nodes are named: give --node NAME, once for each")}
			}
			made, err := member.MakeCerts(args[0], nodes, time.Now())
			out := cmd.OutOrStdout()
			for _, f := range made {
				if _, err := fmt.Fprintln(out, f); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "Copy ca.crt, NAME.crt and NAME.key to node NAME (%s), into one directory there.\n"+
				"Keep ca.key on none of them: it signs further nodes, and whoever has it can be any node.\n", strings.Join(nodes, ", "))
			return err
		},
	}
	cmd.Flags().StringArrayVar(&nodes, "node", nil, "name of a node, as in its configuration; may be given several times")
	return cmd
}
