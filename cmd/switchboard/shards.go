package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"switchboard/node"
	"switchboard/shard/journal"
)

func newShards() *cobra.Command {
	s := &seat{}
	cmd := &cobra.Command{
		Use: "shards", Short: "Look after the shards of a cluster, or of a stopped node",
		Long: "List the shards of a cluster, move their replicas, and make everything even. With --data, \"ls\" and \"accept-loss\" are about the\n" +
			"shards of a stopped node.\n" + askedHow,
		Args: exactly(0, "a subcommand: see switchboard shards --help"), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newShardsList(s), s.asks(s.jobs()), s.asks(s.move()), s.asks(s.rebalance()), s.asks(s.copies()), s.asks(s.split()), s.asks(s.splits()), newAcceptLoss())
	return cmd
}

// withJournal opens the journal of a stopped node for fn.
func withJournal(data string, fn func(j *journal.Journal, shards []int) error) (err error) {
	if data == "" {
		return usageError{fmt.Errorf("no data directory: set --data")}
	}
	return node.WithStopped(data, fn)
}

// shardLine is one shard in `shards ls`.
type shardLine struct {
	Shard    int    `json:"shard"`
	Mode     string `json:"mode"`
	Epoch    uint64 `json:"epoch"`
	Last     uint64 `json:"last_turn"`
	LossFrom uint64 `json:"loss_from,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

func newShardsList(s *seat) *cobra.Command {
	var data string
	cmd := s.status("ls", "List the shards: leader, replicas, size, sessions, rate, lag", printShards)
	cmd.Use = "ls [--data DIR]"
	cmd.Long = `List the shards of a cluster: leader, bytes of a copy, sessions in memory, entries a second, where the copies are and how many entries they
are behind.

With --data, list those of a stopped node, and how they are. A shard that lost data is read-only, and says from which turn on. It exits 3
when one is not ok; --json prints an object a line.`
	ofCluster := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if data == "" {
			return ofCluster(cmd, args)
		}
		return listStopped(cmd, data, s.json)
	}
	cmd.PersistentFlags().StringVar(&data, "data", "", "data directory of a stopped node")
	s.flags(cmd)
	stoppedOrRunning(cmd.PersistentFlags(), "at")
	return cmd
}

func listStopped(cmd *cobra.Command, data string, asJSON bool) error {
	bad := 0
	err := withJournal(data, func(j *journal.Journal, shards []int) error {
		for _, i := range shards {
			g := j.Group(i)
			st := g.State()
			if st.Mode != journal.OK {
				bad++
			}
			l := shardLine{Shard: i, Mode: st.Mode.String(), Epoch: g.Epoch() + 1, Last: g.Last(), LossFrom: st.LossFrom, Reason: st.Reason}
			if err := l.print(cmd, asJSON); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && bad > 0 {
		return checkError{fmt.Errorf("%d shards are not ok", bad)}
	}
	return err
}

func (l *shardLine) print(cmd *cobra.Command, asJSON bool) error {
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(l)
	}
	_, err := fmt.Fprintf(out, "%4d  %-11s  epoch %d  turns %d", l.Shard, l.Mode, l.Epoch, l.Last)
	if err == nil && l.Mode != journal.OK.String() {
		_, err = fmt.Fprintf(out, "  lost from %d: %s", l.LossFrom, l.Reason)
	}
	if err == nil {
		_, err = fmt.Fprintln(out)
	}
	return err
}

func newAcceptLoss() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use: "accept-loss SHARD --data DIR", Short: "Let a shard that lost data write again, in a new epoch",
		Long: `Let a shard of a stopped node that lost data write again. What is lost stays lost: try a backup first. The shard
starts a new epoch; clients that hold more than the shard has are told so (truncated), and no position, epoch and seq,
is given out twice.`,
		Example: `  switchboard shards ls --data ./data
  switchboard shards accept-loss --data ./data 3`,
		Args: exactly(1, "one shard number; see switchboard shards ls"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.Atoi(args[0])
			if err != nil {
				return usageError{fmt.Errorf("%q is no shard number", args[0])}
			}
			return withJournal(data, func(j *journal.Journal, shards []int) error {
				if !slices.Contains(shards, id) {
					return usageError{fmt.Errorf("there is no shard %d: they are %s", id, ranges(shards))}
				}
				if err := j.AcceptLoss(id); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "shard %d writes again, in epoch %d\n", id, j.Group(id).Epoch()+1)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory of a stopped node")
	return cmd
}

// ranges tells numbers that ascend in short: 0 to 3, 5.
func ranges(list []int) (text string) {
	for i := 0; i < len(list); {
		k := i
		for k+1 < len(list) && list[k+1] == list[k]+1 {
			k++
		}
		if text != "" {
			text += ", "
		}
		text += strconv.Itoa(list[i])
		if k > i {
			text += " to " + strconv.Itoa(list[k])
		}
		i = k + 1
	}
	return text
}
