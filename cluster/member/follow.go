package member

import (
	"errors"
	"maps"
	"slices"
	"time"

	"switchboard/cluster"
	"switchboard/shard/journal/replica"
)

// follow does what the rows say: links, replicas. It is called when they have changed, and each second, as what failed is
// tried again. Rows that are being written count only when they are applied.
func (m *Member) follow(now time.Time) {
	m.replug()
	if m.state.Version == 0 || m.writing != 0 {
		return
	}
	self := m.state.Nodes[m.id.Node]
	if self == nil || self.Phase == cluster.Gone {
		if self != nil && !m.removed {
			m.removed = true
			m.cfg.Log.Error("member: this node was removed from the cluster: its data directory is of no more use", "node", m.id.Name)
		}
		return
	}
	peers := peersOf(m.state, m.id.Node)
	for _, p := range m.id.Peers { // rows may be older than what was known, and who is not in them has the newer ones
		if m.state.Nodes[p.Node] == nil {
			peers = append(peers, p)
		}
	}
	m.lines.set(peers)
	m.watch(peers, now)
	if m.id.know(peers) || m.id.Founder {
		m.id.Founder = false
		m.save()
	}
	if m.term == 0 && m.loaded == nil {
		return // what is known is not from rows: nothing is taken up or erased by it
	}
	m.dropReplicas()
	clear(m.retired)
	for _, share := range m.state.Shares(m.id.Node) {
		if _, held := m.id.Held[share.Group]; held {
			continue
		}
		switch err := m.takeUp(share); {
		case errors.Is(err, replica.ErrRetired): // it was damaged, and a renewal came to nothing
			m.retired[share.Group] = damage{share.Group, share.ID, "it was damaged, and is off the disk"}
		case err != nil:
			m.cfg.Log.Error("member: taking up a replica", "group", share.Group, "replica", share.ID, "error", err)
		}
	}
}

// watch forgets nodes that are gone, and begins to wait for those that are new.
func (m *Member) watch(peers []Peer, now time.Time) {
	known := map[uint32]bool{}
	for _, p := range peers {
		known[p.Node] = true
		if !m.alive(p.Node) && m.down[p.Node].IsZero() {
			m.down[p.Node] = now
		}
		if k := m.lines.to(p.Node); k != nil && !m.alive(p.Node) && k.Status().Up {
			m.linked(p.Node, true, now) // it came up before its number was known
		}
	}
	gone := func(n uint32, _ time.Time) bool { return !known[n] }
	maps.DeleteFunc(m.up, gone)
	maps.DeleteFunc(m.down, gone)
}

func (m *Member) save() {
	if err := m.id.save(); err != nil {
		m.cfg.Log.Error("member", "error", err)
	}
}

// takeUp puts a replica on the disk, and notes that it is there: after that a disk without it is not this node's. A crash
// between the two is a replica that is taken up once more, which does nothing.
func (m *Member) takeUp(share cluster.Share) error {
	var err error
	if len(share.First) > 0 {
		err = m.groups.Create(share.Group, share.ID, share.First)
	} else {
		err = m.groups.Join(share.Group, share.ID)
	}
	if err != nil {
		return err
	}
	m.id.Held[share.Group] = Held{ID: share.ID, Version: m.state.Version}
	m.cfg.Log.Info("member: a replica is here", "group", share.Group, "replica", share.ID, "first", len(share.First) > 0)
	return m.id.save()
}

// dropReplicas erases what the rows gave once and give no more. Rows that are older than the gift, as after a crash, take
// nothing back.
func (m *Member) dropReplicas() {
	for _, group := range slices.Sorted(maps.Keys(m.id.Held)) {
		h := m.id.Held[group]
		if group == cluster.Meta || m.state.Version <= h.Version || m.state.Belongs(group, h.ID) {
			continue
		}
		if err := m.erase(group, h.ID); err != nil {
			m.cfg.Log.Error("member: erasing a replica", "group", group, "replica", h.ID, "error", err)
		}
	}
}

// erase takes a replica off the disk. That it is about to is noted first: a crash in the middle is no lost disk.
func (m *Member) erase(group uint16, id uint64) error {
	h, held := m.id.Held[group]
	if !held || h.ID != id {
		return nil
	}
	h.Erasing = true
	m.id.Held[group] = h
	if err := m.id.save(); err != nil {
		return err
	}
	if err := m.groups.Remove(group, id); err != nil {
		return err
	}
	delete(m.id.Held, group)
	m.cfg.Log.Info("member: a replica is erased", "group", group, "replica", id)
	return m.id.save()
}
