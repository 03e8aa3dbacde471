package exchange

import (
	"maps"
	"slices"

	"switchboard/wire"
)

// Places says where tenants live: each in one placement group, for good. It never changes once it was given to [Exchange.Settle].
type Places struct {
	// Tenants has the group of every tenant of whom that is decided. The keys of others are in [wire.Nowhere], where nobody is: a
	// tenant who is looked for in the wrong group would be made a second time there.
	Tenants map[string]uint8
	// Shards has one slot of every shard of a group, ascending.
	Shards map[uint8][]wire.Slot
	// Parents has, for each of these slots whose shard was split off another, that of the other.
	Parents map[wire.Slot]wire.Slot
}

// Settle makes p what the keys of tenants go by. Before the first call every tenant lives in group 0, as on a node that is no
// member of a cluster. A tenant that was in one group is not in another one later.
func (x *Exchange) Settle(p *Places) {
	x.places.Store(p)
	x.change()
}

// Settled tells whether it is known where all of these tenants live.
func (x *Exchange) Settled(tenants ...string) bool {
	return !slices.ContainsFunc(tenants, func(t string) bool { return x.group(t) == wire.Nowhere })
}

// Knows tells whether it is known where a tenant lives: nobody serves him before it is.
func (x *Exchange) Knows(tenant string) bool { return x.group(tenant) != wire.Nowhere }

func (x *Exchange) group(tenant string) uint8 {
	p := x.places.Load()
	if p == nil {
		return 0
	}
	if g, ok := p.Tenants[tenant]; ok {
		return g
	}
	return wire.Nowhere
}

// Hosts tells whether sessions of a tenant may be in a group; also when it is not known yet where he lives.
func (x *Exchange) Hosts(group uint8, tenant string) bool {
	g := x.group(tenant)
	return g == group || g == wire.Nowhere
}

func (x *Exchange) in(tenant string, slot wire.Slot) wire.Slot {
	return wire.At(x.group(tenant), slot.Number())
}

// CustomerSlot returns the slot of a customer, and so of all his sessions.
func (x *Exchange) CustomerSlot(tenant, customer string) wire.Slot {
	return x.in(tenant, CustomerSlot(tenant, customer))
}

// PoolSlot returns the slot of a tenant's pool.
func (x *Exchange) PoolSlot(tenant string) wire.Slot { return x.in(tenant, PoolSlot(tenant)) }

// IdentitySlot returns the slot of an identity: an external id on a channel.
func (x *Exchange) IdentitySlot(tenant, channel, external string) wire.Slot {
	return x.in(tenant, IdentitySlot(tenant, channel, external))
}

// Shards returns a slot of every shard that may host something of a tenant, ascending, whoever leads them. It must not be changed. Where it
// is not known where tenants live, these are the lowest slots of what is plugged in.
func (x *Exchange) Shards(tenant string) []wire.Slot {
	if p := x.places.Load(); p != nil {
		return p.Shards[x.group(tenant)]
	}
	return x.owners()
}

// Parent returns the slot, as of Shards, of the shard that another one was split off. What was said in the one before the split is
// before what is said in the other.
func (x *Exchange) Parent(shard wire.Slot) (parent wire.Slot, ok bool) {
	if p := x.places.Load(); p != nil {
		parent, ok = p.Parents[shard]
	}
	return parent, ok
}

// owners returns a slot of every inlet that slots are plugged into: the lowest of each, ascending.
func (x *Exchange) owners() []wire.Slot {
	seen := map[Inlet]wire.Slot{}
	for g := range wire.ShardGroup { // shards that are not split have slots
		t := x.groups[g].Load()
		if t == nil {
			continue
		}
		for i := range t {
			p := t[i].Load()
			if p == nil {
				continue
			}
			if _, ok := seen[p.inlet]; !ok {
				seen[p.inlet] = wire.At(uint8(g), i) //nolint:gosec // below wire.Groups
			}
		}
	}
	return slices.Sorted(maps.Values(seen))
}
