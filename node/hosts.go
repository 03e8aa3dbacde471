package node

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/cluster"
	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// hosts are the shards of the node.
type hosts struct {
	// Fixed after openShards.
	x      *exchange.Exchange
	groups []*journal.Group
	open   []atomic.Pointer[shard.Shard] // nil while one is closed

	mu sync.Mutex
	// Guarded by mu: who opens or closes a shard holds the one place in its channel. That is no mutex, as closing may take until the
	// replica leads no more.
	busy map[int]chan struct{}

	// Guarded, for each shard, by its place in busy.
	opened []uint16 // how often each was, in whatever term: no two owners have the same number
	terms  []uint64 // of those that are opened as this node leads them
	sites  []site   // of these
}

// hold waits until nobody opens or closes shard i; who has it lets go of it by receiving.
func (h *hosts) hold(i int) (place chan struct{}) {
	h.mu.Lock()
	if h.busy == nil {
		h.busy = map[int]chan struct{}{}
	}
	if place = h.busy[i]; place == nil {
		place = make(chan struct{}, 1)
		h.busy[i] = place
	}
	h.mu.Unlock()
	place <- struct{}{}
	return place
}

func (n *Node) openShards(x *exchange.Exchange) error {
	count := n.cfg.Shards
	h := &n.hosts
	h.x, h.groups = x, make([]*journal.Group, count)
	for i := range count {
		h.groups[i] = n.j.Group(i)
	}
	h.open, h.opened = make([]atomic.Pointer[shard.Shard], count), make([]uint16, count)
	tenants, err := n.tenants(h.groups)
	if err != nil {
		return err
	}
	for i := range count {
		if err := n.openShard(i, tenants); err != nil {
			return err
		}
	}
	return nil
}

// prepareShards is openShards for a member of a cluster: shards are opened when this node leads them.
func (n *Node) prepareShards(x *exchange.Exchange) {
	h := &n.hosts
	h.x, h.groups = x, make([]*journal.Group, cluster.Meta)
	h.open, h.opened, h.terms = make([]atomic.Pointer[shard.Shard], cluster.Meta), make([]uint16, cluster.Meta), make([]uint64, cluster.Meta)
	h.sites = make([]site, cluster.Meta)
}

// here returns the groups of those of the shards that have a replica here.
func (n *Node) here(shards []uint16) (list []*journal.Group) {
	for _, i := range shards {
		if g := n.j.Group(int(i)); g != nil && g.State().Mode == journal.OK {
			list = append(list, g)
		}
	}
	return list
}

// openShard opens shard i, which is closed. The caller keeps others from doing the same.
func (n *Node) openShard(i int, tenants map[string]*shard.Tenant) error {
	var at site
	for s := i; s < wire.Slots; s += n.cfg.Shards {
		at.slots = append(at.slots, wire.At(0, s))
	}
	for s := range n.cfg.Shards {
		at.peers = append(at.peers, wire.ShardSlot(s))
	}
	return n.openWith(i, 0, &at, tenants)
}

func (n *Node) openWith(i int, term uint64, at *site, tenants map[string]*shard.Tenant) error {
	h := &n.hosts
	if h.opened[i] == math.MaxUint16 {
		return fmt.Errorf("shard %d was opened %d times: start the node again", i, h.opened[i])
	}
	s, err := shard.Open(h.x, h.groups[i], shard.Config{
		ID: i, Opening: h.opened[i], Led: term, Slots: at.slots, Peers: at.peers, Shape: at.shape, Leaving: at.leaving, Clean: at.clean, Tenants: tenants, Hook: n.callHook, HookFirst: time.Duration(n.cfg.Hooks.FirstMS) * time.Millisecond, Now: n.cfg.Clock, Log: n.cfg.Log,
		Blanked: n.scrub.nudge, Witness: n.cfg.shardWitness(),
	})
	if err != nil {
		return err
	}
	h.opened[i]++
	h.open[i].Store(s)
	return nil
}

// each calls do for every shard that is open.
func (h *hosts) each(do func(i int, s *shard.Shard)) {
	for i := range h.open {
		if s := h.open[i].Load(); s != nil {
			do(i, s)
		}
	}
}

// close ends all shards.
func (h *hosts) close() {
	for i := range h.open {
		if h.open[i].Load() != nil {
			h.unlead(i, (*shard.Shard).Close)
		}
	}
}

// lead opens shard i, which this node leads in term, if it is not open in that and still is to be, when nobody else opens or closes it. It
// hosts tenants of its own placement only.
func (h *hosts) lead(n *Node, i int, term uint64, g *journal.Group, at *site, still func() bool) (opened bool, err error) {
	place := h.hold(i)
	defer func() { <-place }()
	if !still() {
		return false, nil
	}
	if s := h.open[i].Load(); s != nil {
		switch {
		case h.terms[i] != term:
			h.open[i].Swap(nil).Drop() // of a term that is over
		case !h.sites[i].outdated(at):
			return false, nil
		default:
			h.open[i].Swap(nil).Close() // in good order: what is on its way is decided
		}
	}
	h.groups[i], h.terms[i], h.sites[i] = g, term, *at
	tenants, err := n.tenantsFor(g, n.here(at.shards))
	if err != nil {
		return false, err
	}
	return true, n.openWith(i, term, at, h.lives(at.group, tenants))
}

// hostAt lets the shards that this node leads know the tenants who live where each is.
func (h *hosts) hostAt(n *Node) error {
	places, fresh := map[uint8]map[string]*shard.Tenant{}, n.newcomers() // by group
	for i := range h.open {
		if h.open[i].Load() == nil {
			continue
		}
		if err := h.hostOne(n, i, fresh, places); err != nil {
			return err
		}
	}
	return nil
}

func (h *hosts) hostOne(n *Node, i int, fresh map[string]bool, places map[uint8]map[string]*shard.Tenant) error {
	place := h.hold(i)
	defer func() { <-place }()
	s, at := h.open[i].Load(), &h.sites[i]
	if s == nil {
		return nil
	}
	list, ok := places[at.group]
	if !ok {
		tenants, err := n.tenantry.Load().routed(rowsOf(n.here(at.shards)), fresh, n.cfg.Limits.Body)
		if err != nil {
			return err
		}
		list = h.lives(at.group, tenants)
		places[at.group] = list
	}
	s.Host(list)
	return nil
}

// unlead ends shard i: by Shard.Close while this node leads it still, by Shard.Drop when it does no more.
func (h *hosts) unlead(i int, end func(*shard.Shard)) {
	place := h.hold(i)
	defer func() { <-place }()
	if s := h.open[i].Swap(nil); s != nil {
		end(s)
	}
}
