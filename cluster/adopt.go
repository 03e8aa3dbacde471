package cluster

import (
	"maps"
	"slices"
	"strings"
)

// Adoptable says why the placements of another cluster, with so many shards in all, cannot be those of a new one, or nil.
func Adoptable(list []*Placement, shards int) error {
	groups, names, tenants, seen := map[uint8]bool{}, map[string]bool{}, map[string]bool{}, map[uint16]bool{}
	for _, p := range list {
		switch {
		case p.Name == "" || strings.Contains(p.Name, "/") || names[p.Name] || groups[p.Group] || (p.Name == Main) != (p.Group == 0):
			return refuse("there are two placements %q, or two of group %d, or it is not what it calls itself", p.Name, p.Group)
		case !CopiesAllowed(p.Copies) || p.Base < 0 || p.Base > len(p.Shards):
			return refuse("placement %s wants %s of %s", p.Name, Many(p.Copies, "copy"), Many(len(p.Shards), "shard"))
		case p.Split.Open():
			return refuse("in placement %s shard %d was just being split: take a backup when that is over", p.Name, p.Split.From)
		}
		names[p.Name], groups[p.Group] = true, true
		for _, t := range p.Tenants {
			if tenants[t] {
				return refuse("tenant %s lives in two placements", t)
			}
			tenants[t] = true
		}
		for _, id := range p.Shards {
			if seen[id] || int(id) >= shards || id >= Meta {
				return refuse("placement %s has shard %d, and there are %d, each in one placement", p.Name, id, shards)
			}
			seen[id] = true
		}
		for id, slots := range p.Parts {
			if !slices.Contains(p.Shards, id) || slices.ContainsFunc(slots, func(slot uint16) bool { return int(slot) >= slotsAll }) {
				return refuse("placement %s has slots at shard %d that cannot be", p.Name, id)
			}
		}
	}
	if !names[Main] || len(seen) != shards {
		return refuse("%d of %d shards are in a placement", len(seen), shards)
	}
	return nil
}

// Adopt makes the placements of another cluster those of this one, which has none: each shard has one replica, on node, whatever the placement asks for. [State.Plan] gives
// away what does not belong there as soon as others may hold it.
func (s *State) Adopt(list []*Placement, node uint32) error {
	n, err := s.node(node)
	if err != nil {
		return err
	}
	shards := 0
	for _, p := range list {
		shards += len(p.Shards)
	}
	if err := Adoptable(list, shards); err != nil {
		return err
	}
	if len(s.Placements)+len(s.Shards) > 0 {
		return refuse("there are placements already")
	}
	for _, was := range list {
		p := *was
		p.Shards, p.Require, p.Split = slices.Clone(was.Shards), maps.Clone(was.Require), nil
		p.Tenants = slices.Compact(slices.Sorted(slices.Values(was.Tenants)))
		p.Parts = maps.Clone(was.Parts)
		s.Placements[p.Name] = &p
		s.dirty[rowPlacement+p.Name] = struct{}{}
		for _, id := range p.Shards {
			s.Shards[id] = &Shard{ID: id, Placement: p.Name, Epoch: 1, Replicas: []Replica{s.replica(n.ID, false)}}
			s.touch(rowShard, uint64(id))
		}
	}
	s.lastShard = uint16(shards) //nolint:gosec // bounded by Adoptable
	return nil
}
