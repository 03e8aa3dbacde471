package member

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
	"switchboard/wire"
)

// splitBytes is what the slots of a split that are on their way at once come to, about: their customers wait meanwhile. splitMost is how many
// slots that are at most.
const (
	splitBytes = 4 << 20
	splitMost  = 64
)

// splits goes on with the shards that are being split.
func (m *Member) splits() {
	m.state.Tidy(time.Now().UnixMilli(), m.cfg.SplitKeep.Milliseconds())
	for name, p := range m.state.Placements {
		for shard := range p.Left {
			if v := m.views[shard]; v != nil {
				m.state.Cleaned(shard, v.Cleaned)
			}
		}
		if !p.Split.Open() {
			continue
		}
		var left uint64
		most := splitMost
		if v := m.views[p.Split.From]; v != nil {
			left = v.Left
			if slots := len(p.Slots(p.Split.From, slotsAll)); slots > 0 && v.Bytes > 0 {
				most = min(most, int(splitBytes*uint64(slots)/v.Bytes)) //nolint:gosec // small, or bounded
			}
		}
		m.state.NextSplit(name, func(shard uint16) uint64 {
			if v := m.views[shard]; v != nil {
				return v.Shape
			}
			return 0
		}, left, most)
	}
}

const slotsAll = 4096

// splitting are the shards that have something to say about a split.
func (m *Member) splitting() (list []uint16) {
	for _, p := range m.state.Placements {
		for shard, l := range p.Left {
			if l.Clean != 0 {
				list = append(list, shard)
			}
		}
		switch {
		case !p.Split.Open():
		case p.Split.Step == cluster.Preparing:
			list = append(list, p.Shards...)
		default:
			list = append(list, p.Split.From, p.Split.To)
		}
	}
	return list
}

// split begins to split a shard. One that was asked for before, and is under way, is the same.
func (m *Member) split(by string, a *asking) (*cluster.Split, error) {
	if sh := m.state.Shards[a.Shard]; sh != nil && a.Action == "" {
		if x := m.state.Placements[sh.Placement].Split; x.Open() && x.From == a.Shard {
			return x, nil
		}
	}
	switch {
	case a.Action == "pause", a.Action == "resume":
		return m.state.PauseSplit(a.Shard, a.Action == "pause")
	case a.Action == "abort":
		return m.state.AbortSplit(a.Shard)
	case a.Action != "":
		return nil, fmt.Errorf("%w: %q is nothing that a split does: pause, resume or abort", cluster.ErrRefused, a.Action)
	}
	if err := m.mixed("a shard is split"); err != nil {
		return nil, err
	}
	switch {
	case a.Dry:
		return m.state.Splittable(a.Shard, m.unfit()...)
	}
	return m.state.Split(a.Shard, by, a.Why, m.unfit()...)
}

// mixed refuses what takes mail that one of two versions does not have, while a node that is there speaks another version than this one. It
// would not be lost: what the other does not know is not sent to it, and it would wait, with whose slots are on their way, until that node is replaced.
func (m *Member) mixed(what string) error {
	own := m.cfg.LinkVersion
	if own == 0 {
		own = wire.LinkVersion
	}
	for _, id := range slices.Sorted(maps.Keys(m.state.Nodes)) {
		n := m.state.Nodes[id]
		if n.Phase == cluster.Gone || id == m.id.Node || !m.alive(id) {
			continue
		}
		if v := m.lines.speaks(id); v != 0 && v != own {
			return fmt.Errorf("%w: node %s speaks version %d of the nodes' protocol, and node %s, which leads, %d: %s when all nodes are of one version",
				cluster.ErrRefused, n.Name, v, m.cfg.Name, own, what)
		}
	}
	return nil
}
