package node

import (
	"switchboard/edge"
	"switchboard/shard/journal"
)

// Tune lets a test change what the node's journal and edge are opened with.
func (c *Config) Tune(f func(*journal.Config, *edge.Config)) { c.tune = f }

// Reopen ends shard i and begins it again.
func (n *Node) Reopen(i int) error { return n.reopen(i) }
