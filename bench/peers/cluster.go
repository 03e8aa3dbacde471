package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// switchboardCluster is three nodes of Switchboard, each with a replica of every shard. Customers and workers are spread over them, so that
// two of three words cross to another node.
func switchboardCluster() *Peer {
	p := switchboardRaw()
	p.Name = "switchboard r3"
	p.Settings = "three nodes with a replica of all 16 shards each; limits that let the load through"
	p.Does = "sync both ways on a majority of three before anybody hears of it; order a session; come again when a worker or a node dies"
	p.DoesNot = "-"
	p.start = startCluster
	p.gather = nil
	return p
}

func startCluster(ctx context.Context, t *Turn) error {
	const nodes = 3
	ports, err := freePorts(2 * nodes)
	if err != nil {
		return err
	}
	file, err := t.write("load.yaml", "limits: {rate: 100000, burst: 100000, inflight: 1000}\n")
	if err != nil {
		return err
	}
	first := loopback(ports[nodes])
	for i := range nodes {
		dir := "data" // the first one's, where the token keys are made
		if i > 0 {
			dir += strconv.Itoa(i + 1)
		}
		addr := loopback(ports[i])
		args := []string{
			"serve", "--dev", "--name", "n" + strconv.Itoa(i+1), "--data", filepath.Join(t.Dir, dir), "--listen", addr, "--config", file, "--log-level", "warn",
			"--cluster-listen", loopback(ports[nodes+i]),
		}
		if i > 0 {
			args = append(args, "--join", first)
		}
		if err := t.launch(ctx, addr, args...); err != nil {
			return err
		}
	}
	return t.settle(ctx, first, nodes)
}

// settle waits until every node has a replica of every shard, and leads some.
func (t *Turn) settle(ctx context.Context, at string, nodes int) error {
	var status struct {
		Nodes []struct{ Leads, Holds int }
	}
	for range 240 {
		out, err := exec.CommandContext(ctx, t.Program, "cluster", "status", "--at", at, "--json").Output() //nolint:gosec // the peer's own program
		if err == nil {
			err = json.Unmarshal(out, &status)
		}
		if err != nil {
			return fmt.Errorf("asking how the cluster is: %w", err)
		}
		whole := len(status.Nodes) == nodes
		shards := 0
		for _, n := range status.Nodes {
			shards += n.Leads
		}
		for _, n := range status.Nodes {
			whole = whole && n.Holds == shards && n.Leads >= shards/(nodes+1)
		}
		if whole {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
	return errors.New("the cluster is not whole after two minutes")
}
