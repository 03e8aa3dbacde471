package swarm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"time"
)

// fleet makes nodes of the same kind as n, n among them, and starts them: count nodes, each by itself or all one cluster.
// What was started is returned also when one did not start.
func (n *OwnNode) fleet(ctx context.Context, count int, cluster bool) (nodes []*OwnNode, err error) {
	for i := range max(count, 1) {
		next := n
		if i > 0 {
			next = n.Fresh()
		}
		if cluster {
			if err := next.join(ctx, i, n); err != nil {
				return nodes, err
			}
		}
		nodes = append(nodes, next)
		if err := next.start(ctx); err != nil {
			return nodes, err
		}
	}
	if cluster {
		return nodes, n.settle(ctx, min(count, clusterCopies))
	}
	return nodes, nil
}

// clusterCopies is how many copies of a shard a cluster of enough nodes keeps by itself.
const clusterCopies = 3

// join makes n the i'th member of the cluster that founder founds.
func (n *OwnNode) join(ctx context.Context, i int, founder *OwnNode) error {
	free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	n.links = free.Addr().String()
	_ = free.Close()
	n.member = []string{"--name", "n" + strconv.Itoa(i+1), "--cluster-listen", n.links}
	if n != founder {
		n.member = append(n.member, "--join", founder.links)
	}
	return nil
}

// overview is what of `shards ls --json` tells whether a cluster is complete.
type overview struct {
	Shards []struct {
		Leader   uint64 `json:"leader"`
		Job      uint64 `json:"job"`
		Replicas []struct {
			Learner bool `json:"learner"`
		} `json:"replicas"`
	} `json:"shards"`
}

// whole tells whether every shard has its copies and a leader, and nothing moves.
func (o *overview) whole(copies int) bool {
	for i := range o.Shards {
		s := &o.Shards[i]
		voters := 0
		for _, r := range s.Replicas {
			if !r.Learner {
				voters++
			}
		}
		if s.Leader == 0 || s.Job != 0 || voters < copies {
			return false
		}
	}
	return len(o.Shards) > 0
}

// settleMax bounds how long a cluster takes until its shards have their copies.
const settleMax = 2 * time.Minute

// settle waits until the cluster is whole, as the program itself tells an operator.
func (n *OwnNode) settle(ctx context.Context, copies int) error {
	ctx, cancel := context.WithTimeout(ctx, settleMax)
	defer cancel()
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	var last string
	for {
		var o overview
		cmd := exec.CommandContext(ctx, n.Self, "shards", "ls", "--at", n.links, "--json") //nolint:gosec // our own program
		cmd.Env = n.Env
		out, err := cmd.Output()
		switch {
		case err != nil:
			last = err.Error()
		case json.Unmarshal(out, &o) != nil:
			last = "it does not tell its shards"
		case o.whole(copies):
			return nil
		default:
			last = fmt.Sprintf("not all of %d shards have %d copies", len(o.Shards), copies)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the cluster to be whole: %w: %s", context.Cause(ctx), last)
		case <-t.C:
		}
	}
}
