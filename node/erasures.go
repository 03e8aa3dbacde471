package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"switchboard/cluster"
	"switchboard/session"
	"switchboard/shard"
	"switchboard/wire"
)

// WaitingErasure is an erasure that has not come to its end, and what it waits for [SW-7.13].
type WaitingErasure struct {
	Customer string `json:"customer"`
	Erasure  string `json:"erasure"`
	State    string `json:"state"` // erasing, erased
	At       int64  `json:"at"`    // Unix ms, when it was asked for
	// Shards have not done their part, while it is erasing.
	Shards []int `json:"shards,omitempty"`
	// Nodes have files that are not rewritten, as far as is known, while it is erased; empty before they were asked, or when the cluster has none.
	Nodes []uint32 `json:"nodes,omitempty"`
	// Why is what went wrong last with that.
	Why string `json:"why,omitempty"`
}

// WaitingErasures are those of a tenant. What the nodes that are Away or the shards that nobody owns (Ownerless) have to say is missing.
type WaitingErasures struct {
	Erasures  []WaitingErasure `json:"erasures"` // the oldest first
	Away      []uint32         `json:"away,omitempty"`
	Ownerless []int            `json:"ownerless,omitempty"`
}

// waitsAsked is how long a node may take to say which erasures wait there.
const waitsAsked = 3 * time.Second

// scrubLack is what the erasures of the round wait for.
type scrubLack struct {
	of    []shard.Erasure
	nodes []uint32
	why   string
}

// tell lets others know what the goroutine waits for.
func (s *scrubber) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lacking = scrubLack{why: s.failed}
	if r := s.round; r != nil {
		s.lacking.of, s.lacking.nodes = r.of, r.lack
	}
}

// waitsOf tells what the erasures of a tenant wait for whose customers' shards are here.
func (s *scrubber) waitsOf(tenant string) *scrubbed {
	s.mu.Lock()
	lack := s.lacking
	s.mu.Unlock()
	a := &scrubbed{}
	s.n.hosts.each(func(i int, sh *shard.Shard) {
		a.Owns = append(a.Owns, i)
		for _, e := range sh.Erasures() {
			if e.Tenant != tenant {
				continue
			}
			w := WaitingErasure{Customer: e.Customer, Erasure: e.Mark, State: e.Stage.String(), At: e.At, Shards: e.Shards}
			if e.Stage == session.Blanked {
				if w.Why = lack.why; slices.ContainsFunc(lack.of, func(o shard.Erasure) bool { return o.Mark == e.Mark && o.Customer == e.Customer }) {
					w.Nodes = lack.nodes
				}
			}
			a.Waits = append(a.Waits, w)
		}
	})
	return a
}

// waitingErasures asks all nodes for the erasures of a tenant that wait. It is edge.Config.Erasures.
func (n *Node) waitingErasures(ctx context.Context, tenant string) (any, error) {
	s := n.scrub
	nodes, shards := []scrubNode{{}}, n.cfg.Shards
	var ids []int
	if n.party != nil {
		m := n.party.member.Load()
		if m == nil {
			return nil, &wire.Error{Slug: wire.Unavailable, Message: errStarting.Error()}
		}
		r, err := m.Status(ctx)
		if err != nil {
			return nil, &wire.Error{Slug: wire.Unavailable, Message: err.Error()}
		}
		nodes, shards = nil, 0
		for i := range r.Nodes {
			nodes = append(nodes, scrubNode{r.Nodes[i].ID, r.Nodes[i].Addr})
		}
		for i := range r.Shards {
			if id := int(r.Shards[i].ID); id != int(cluster.Meta) {
				ids = append(ids, id)
			}
		}
	}
	for i := range shards {
		ids = append(ids, i)
	}
	all := &WaitingErasures{Erasures: []WaitingErasure{}}
	owned := map[int]bool{}
	for _, node := range nodes {
		var a scrubbed
		soon, cancel := context.WithTimeout(ctx, waitsAsked)
		err := s.askNode(soon, node, &scrubbing{Action: "waits", Tenant: tenant}, &a)
		cancel()
		if err != nil {
			all.Away = append(all.Away, node.id)
			continue
		}
		all.Erasures = append(all.Erasures, a.Waits...)
		for _, i := range a.Owns {
			owned[i] = true
		}
	}
	for _, i := range ids {
		if !owned[i] {
			all.Ownerless = append(all.Ownerless, i)
		}
	}
	slices.SortFunc(all.Erasures, func(a, b WaitingErasure) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Erasure, b.Erasure), cmp.Compare(a.Customer, b.Customer))
	})
	return all, nil
}

// String says in words what it waits for.
func (w *WaitingErasure) String() string {
	switch {
	case len(w.Shards) > 0:
		return fmt.Sprint("shards ", w.Shards)
	case len(w.Nodes) > 0 && w.Nodes[0] != 0:
		return fmt.Sprint("the files of nodes ", w.Nodes)
	case w.State == session.Blanked.String():
		return "files"
	}
	return "its shard"
}
