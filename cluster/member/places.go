package member

import (
	"cmp"
	"maps"
	"slices"

	"switchboard/cluster"
	"switchboard/exchange"
	"switchboard/wire"
)

// Map is where everything lives, as a node knows it. It never changes.
type Map struct {
	// Version is that of the rows.
	Version uint64
	// Placements, by their groups. Nobody may change them.
	Placements []*cluster.Placement
	// Holds has the placements of which this node has replicas, or may have them.
	Holds map[string]bool
}

// Map returns where everything lives, as this node last knew it; nil when it knows nothing yet. It has the home of every tenant of whom the exchange says that
// it is known. It does not block.
func (m *Member) Map() *Map { return m.places.Load() }

// Of returns the placement of a shard, nil when it is not known.
func (m *Map) Of(shard uint16) *cluster.Placement {
	for _, p := range m.Placements {
		if slices.Contains(p.Shards, shard) {
			return p
		}
	}
	return nil
}

// Home returns the placement that a tenant lives in, nil when that is not known.
func (m *Map) Home(tenant string) *cluster.Placement {
	for _, p := range m.Placements {
		if _, ok := slices.BinarySearch(p.Tenants, tenant); ok {
			return p
		}
	}
	return nil
}

// show lets others see what they ask for without waiting, and the exchange know where tenants live: that is last, so who finds a tenant by the exchange finds
// his home by the map.
func (m *Member) show() {
	if old := m.places.Load(); m.writing != 0 || m.state.Version == 0 || old != nil && old.Version == m.state.Version {
		return
	}
	shown := &Map{Version: m.state.Version, Holds: map[string]bool{}}
	places := &exchange.Places{Tenants: map[string]uint8{}, Shards: map[uint8][]wire.Slot{}, Parents: map[wire.Slot]wire.Slot{}}
	for _, p := range m.state.Placements {
		c := *p
		c.Shards, c.Tenants, c.Require = slices.Clone(p.Shards), slices.Clone(p.Tenants), maps.Clone(p.Require)
		shown.Placements = append(shown.Placements, &c)
		shown.Holds[p.Name] = m.state.Holds(p.Name, m.id.Node)
		for _, t := range c.Tenants {
			places.Tenants[t] = c.Group
		}
		if c.Split != nil {
			split := *c.Split
			c.Split = &split
		}
		for _, id := range c.Shards {
			places.Shards[c.Group] = append(places.Shards[c.Group], wire.ShardSlot(int(id)))
		}
		for id, parent := range c.Parents {
			places.Parents[wire.ShardSlot(int(id))] = wire.ShardSlot(int(parent))
		}
	}
	slices.SortFunc(shown.Placements, func(a, b *cluster.Placement) int { return cmp.Compare(a.Group, b.Group) })
	m.places.Store(shown)
	m.lines.x.Settle(places)
	m.cfg.Mapped()
}

// slots returns where mail for a shard goes: its slots, and its own address. shape is that of its placement.
func (m *Member) slots(shard uint16) (list []wire.Slot, shape uint64) {
	p, shape := m.shapeOf(shard)
	if p == nil {
		return nil, 0
	}
	return append(SlotsOf(p, shard), wire.ShardSlot(int(shard))), shape
}

// shapeOf returns the placement of a shard and its shape; nil and 0 when it is not known.
func (m *Member) shapeOf(shard uint16) (*cluster.Placement, uint64) {
	sh := m.state.Shards[shard]
	if sh == nil || m.state.Placements[sh.Placement] == nil {
		return nil, 0
	}
	p := m.state.Placements[sh.Placement]
	return p, p.Shape
}

// SlotsOf returns the slots of a shard of p that it serves, ascending: not those that are about to leave it.
func SlotsOf(p *cluster.Placement, shard uint16) (list []wire.Slot) {
	for _, i := range p.Serves(shard, wire.Slots) {
		list = append(list, wire.At(p.Group, i))
	}
	return list
}
