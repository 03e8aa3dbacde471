package exchange

import "switchboard/wire"

// Owners returns a slot of every inlet that slots are plugged into: the lowest of each, ascending. It is the
// caller's. A link stands for all shards of the node behind it, so with links it does not name every shard.
func (x *Exchange) Owners() (list []wire.Slot) {
	seen := map[Inlet]bool{}
	for i := range x.slots {
		p := x.slots[i].Load()
		if p != nil && !seen[p.inlet] {
			seen[p.inlet] = true
			list = append(list, wire.Slot(i)) //nolint:gosec // below wire.Slots
		}
	}
	return list
}
