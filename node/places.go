package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
	"switchboard/cluster/member"
	"switchboard/shard"
	"switchboard/wire"
)

// site is where a shard stands among others.
type site struct {
	group   uint8       // of its placement
	shape   uint64      // of its placement
	slots   []wire.Slot // that it serves
	peers   []wire.Slot // the addresses of all shards of its placement
	shards  []uint16    // of its placement
	leaving *shard.Leaving
	split   bool   // its placement has a split under way
	prepare uint64 // the shape by which all shards of it must be open before a split goes on, 0 for none
	clean   uint64 // shard.Config.Clean
}

// outdated tells whether a shard that is open as one is to be opened again as the other. What has left is given up at the next
// opening, or when the split is over.
func (s *site) outdated(now *site) bool {
	switch {
	case s.shape == now.shape && s.split == now.split:
		return false
	case s.shape < now.prepare || s.clean < now.clean:
		return true
	case !slices.Equal(s.slots, now.slots) || !slices.Equal(s.peers, now.peers):
		return true
	case now.leaving != nil:
		return s.leaving == nil || !slices.Equal(s.leaving.Slots, now.leaving.Slots)
	}
	return s.leaving != nil && !now.split
}

// places returns where everything lives, nil while it is not known.
func (p *party) places() *member.Map {
	if m := p.member.Load(); m != nil {
		return m.Map()
	}
	return nil
}

// site says where a shard stands by m, nil while that has not said so, or not where all tenants live: a shard does not come to have a pool
// while it is open.
func (p *party) site(m *member.Map, group uint16) *site {
	if !p.n.hosts.x.Settled(slices.Collect(maps.Keys(p.n.cfg.Tenants))...) {
		return nil
	}
	place := m.Of(group)
	if place == nil {
		return nil
	}
	s := &site{group: place.Group, shape: place.Shape, slots: member.SlotsOf(place, group), shards: place.Shards, split: place.Split.Open()}
	for _, id := range place.Shards {
		s.peers = append(s.peers, wire.ShardSlot(int(id)))
	}
	if x := place.Split; x.Open() && x.Step == cluster.Preparing {
		s.prepare = x.Since
	}
	if !place.Split.Open() {
		s.clean = place.Left[group].Clean
	}
	if x := place.Split; x.Open() && x.From == group && len(x.Moving) > 0 {
		s.leaving = &shard.Leaving{To: int(x.To)}
		for _, slot := range x.Moving {
			s.leaving.Slots = append(s.leaving.Slots, wire.At(place.Group, int(slot)))
		}
	}
	return s
}

// lives returns those of tenants of whom it is known that they live in a group.
func (h *hosts) lives(group uint8, tenants map[string]*shard.Tenant) map[string]*shard.Tenant {
	list := map[string]*shard.Tenant{}
	for name, t := range tenants {
		if h.x.Knows(name) && h.x.Hosts(group, name) {
			list[name] = t
		}
	}
	return list
}

// settleAgain is how soon it is looked again whether everybody has a home.
const settleAgain = 20 * time.Millisecond

// home waits until it is known where every tenant lives, and has it decided for those who are new. It fails when the configuration
// says otherwise than the cluster.
func (p *party) home(ctx context.Context) error {
	wishes := map[string]string{}
	for name, t := range p.n.cfg.Tenants {
		wishes[name] = t.Placement
	}
	for name, wish := range p.brought {
		if _, ok := wishes[name]; !ok {
			wishes[name] = wish
		}
	}
	names := slices.Sorted(maps.Keys(wishes))
	tick := time.NewTicker(settleAgain)
	defer tick.Stop()
	for asked := false; !p.n.hosts.x.Settled(names...); {
		if !asked {
			err := p.member.Load().Settle(ctx, p.n.cfg.Name, wishes)
			if errors.Is(err, cluster.ErrRefused) {
				return fmt.Errorf("finding out where tenants live: %w", err)
			}
			asked = err == nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster has not said where all tenants live: is a majority of its nodes up? %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
	m := p.places() // it has all that are settled
	for _, name := range names {
		if home := m.Home(name); wishes[name] != "" && home != nil && home.Name != wishes[name] {
			return fmt.Errorf("%w: tenant %s lives in placement %s, and stays there; the configuration says %s", cluster.ErrRefused, name, home.Name, wishes[name])
		}
	}
	p.keep.nudge()
	return nil
}
