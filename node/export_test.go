package node

import (
	"context"

	"switchboard/edge"
	"switchboard/shard"
	"switchboard/shard/journal"
)

// Tune lets a test change what the node's journal and edge are opened with.
func (c *Config) Tune(f func(*journal.Config, *edge.Config)) { c.tune = f }

// SpeakVersion makes the node speak an earlier version to others.
func (c *Config) SpeakVersion(v uint64) { c.linkVersion = v }

// reopen ends shard i, and begins it again from its log under a later term. end is how: Shard.Close in good order, Shard.Drop as if it had
// lost its place. Clients notice a pause. When it cannot be opened again the error says why, and its slots are nobody's: the node goes
// on without it, and reopen may be called again.
func (n *Node) reopen(i int, end func(*shard.Shard)) error {
	h := &n.hosts
	place := h.hold(i)
	defer func() { <-place }()
	if s := h.open[i].Swap(nil); s != nil {
		end(s)
	}
	tenants, err := n.tenants(h.groups) // as their documents are by now
	if err != nil {
		return err
	}
	return n.openShard(i, tenants)
}

// Reopen ends shard i in good order, and begins it again.
func (n *Node) Reopen(i int) error { return n.reopen(i, (*shard.Shard).Close) }

// Crash lets shard i lose its place, and begins it again.
func (n *Node) Crash(i int) error { return n.reopen(i, (*shard.Shard).Drop) }

// HandOver lets another replica lead shard i in good order. It reports false when the node does not lead it, or nobody could.
func (n *Node) HandOver(i int) bool {
	group := uint16(i) //nolint:gosec // of a test
	all, err := n.j.Replicas(group)
	if err != nil {
		return false
	}
	for id, f := range all[group].Followers {
		if f.Active && !f.Learner {
			return n.party.keep.transfer(group, id) == nil
		}
	}
	return false
}

// Followers returns how many replicas follow this node's of shard i, and could lead.
func (n *Node) Followers(i int) (count int) {
	group := uint16(i) //nolint:gosec // of a test
	all, err := n.j.Replicas(group)
	if err != nil {
		return 0
	}
	for _, f := range all[group].Followers {
		if f.Active && !f.Learner {
			count++
		}
	}
	return count
}

// ChangeKeys asks for a change of the keys of tokens, and waits as long as ctx does.
func (n *Node) ChangeKeys(ctx context.Context, q *KeysAsked) (*KeysAnswer, error) {
	return n.changeKeys(ctx, q)
}
