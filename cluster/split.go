package cluster

import (
	"fmt"
	"maps"
	"slices"
)

// The slots of a placement, of which a shard has some, never change their number; sessions and customers stay on theirs for good.
const slotsAll = 4096

// SplitStep is how far a split has come.
type SplitStep string

// The steps of a split.
const (
	// Preparing: the new shard is there and has nothing; all shards of the placement get to know it.
	Preparing SplitStep = "preparing"
	// Moving: slots go over, some at a time. Those of Split.Moving are nobody's until all of their rows are there.
	Moving SplitStep = "moving"
	// Split over: the new shard has its half.
	SplitDone SplitStep = "done"
)

// Split moves half of a shard's slots to a new shard. It is taken up again by whoever finds it. Between two lots of slots it can be paused,
// and aborted: what is there stays there.
type Split struct {
	From uint16    `json:"from"`
	To   uint16    `json:"to"` // a shard that was made for it, or for one that was aborted before anything had moved
	Step SplitStep `json:"step"`
	// Slots are still to go, Moving are going just now; Moved counts those that are there.
	Slots  []uint16 `json:"slots,omitempty"`
	Moving []uint16 `json:"moving,omitempty"`
	Moved  int      `json:"moved"`
	// Since is the shape of the placement in which the present step, or the present slots, began.
	Since  uint64 `json:"since"`
	Paused bool   `json:"paused,omitempty"`
	// Aborted says that an operator has ended it: the new shard has what has moved until then, which may be nothing.
	Aborted bool   `json:"aborted,omitempty"`
	By      string `json:"by"`
	Why     string `json:"why,omitempty"`
}

func (x *Split) String() string {
	state := string(x.Step)
	switch {
	case x.Aborted:
		state += ", aborted"
	case x.Paused:
		state += ", paused"
	}
	return fmt.Sprintf("shard %d gives slots to shard %d: %s, %d there, %d to go", x.From, x.To, state, x.Moved, len(x.Slots)+len(x.Moving))
}

// Open tells whether the split is under way.
func (x *Split) Open() bool { return x != nil && x.Step != SplitDone }

// Splittable says why [State.Split] would refuse, or nil, and what the split would be. It changes nothing. Nodes that are away get nothing.
func (s *State) Splittable(shard uint16, away ...uint32) (*Split, error) {
	sh := s.Shards[shard]
	if sh == nil {
		return nil, refuse("there is no shard %d: see switchboard shards ls", shard)
	}
	p := s.Placements[sh.Placement]
	if p.Split.Open() {
		return nil, refuse("in placement %s shard %d is being split: wait for it; see switchboard shards splits", p.Name, p.Split.From)
	}
	for id, l := range p.Left {
		if l.Clean != 0 {
			return nil, refuse("in placement %s the rows that were left on shard %d are being taken off: wait for it; see switchboard shards splits", p.Name, id)
		}
	}
	slots := p.Slots(shard, slotsAll)
	spare := p.spare()
	switch {
	case len(slots) < 2:
		return nil, refuse("shard %d has %d slots: there is nothing to share", shard, len(slots))
	case spare == 0 && int(s.lastShard) >= int(Meta):
		return nil, refuse("no number is left for a shard")
	case spare == 0 && s.present(p, away) == 0:
		return nil, refuse("no node may hold another shard of placement %s: %s", p.Name, wants(p))
	}
	x := &Split{From: shard, To: s.lastShard, Step: Preparing}
	if spare != 0 {
		x.To = spare
	}
	for i := 1; i < len(slots); i += 2 {
		x.Slots = append(x.Slots, uint16(slots[i])) //nolint:gosec // below slotsAll
	}
	return x, nil
}

// Split begins to move half of a shard's slots to a new shard of its placement, with as many copies as it has, or to one that has none since
// another split was aborted.
func (s *State) Split(shard uint16, by, why string, away ...uint32) (*Split, error) {
	x, err := s.Splittable(shard, away...)
	if err != nil {
		return nil, err
	}
	p := s.Placements[s.Shards[shard].Placement]
	if p.spare() == 0 {
		s.half(p, shard, away)
	}
	parents := map[uint16]uint16{}
	maps.Copy(parents, p.Parents)
	parents[x.To] = shard
	p.Parents = parents
	x.By, x.Why = by, why
	p.Split = x
	s.reshape(p)
	return x, nil
}

// half makes the new shard, with as many copies as that which is split.
func (s *State) half(p *Placement, shard uint16, away []uint32) {
	sh := &Shard{ID: s.lastShard, Placement: p.Name, Epoch: 1}
	s.lastShard++
	s.Shards[sh.ID] = sh
	copies := min(len(s.Shards[shard].Replicas), s.present(p, away))
	copies -= (copies + 1) % 2
	for range max(copies, 1) {
		sh.Replicas = append(sh.Replicas, s.replica(s.workbench(nil, away...).target(sh.ID, 0), false))
	}
	if p.Base == 0 { // of a version that knew no splits
		p.Base = len(p.Shards)
	}
	p.Shards = append(slices.Clone(p.Shards), sh.ID)
	s.touch(rowShard, uint64(sh.ID))
}

// spare returns a shard of p that has no slots and gets none, 0 when there is none: it was made for a split that was aborted.
func (p *Placement) spare() uint16 {
	for i := len(p.Shards) - 1; p.Base > 0 && i >= p.Base; i-- {
		if id := p.Shards[i]; len(p.Parts[id]) == 0 && (!p.Split.Open() || p.Split.To != id) {
			return id
		}
	}
	return 0
}

// present counts the nodes that may hold a placement and are not away.
func (s *State) present(p *Placement, away []uint32) (n int) {
	for _, node := range s.eligible(p) {
		if !slices.Contains(away, node.ID) {
			n++
		}
	}
	return n
}

// reshape counts a change of p's shape.
func (s *State) reshape(p *Placement) {
	p.Shape++
	p.Split.Since = p.Shape
	s.dirty[rowPlacement+p.Name] = struct{}{}
}

// PauseSplit stops a split before its next slots, or lets it go on.
func (s *State) PauseSplit(shard uint16, paused bool) (*Split, error) {
	for _, p := range s.Placements {
		if x := p.Split; x.Open() && x.From == shard {
			if x.Paused != paused {
				x.Paused = paused
				s.dirty[rowPlacement+p.Name] = struct{}{}
			}
			return x, nil
		}
	}
	return nil, refuse("shard %d is not being split: see switchboard shards splits", shard)
}

// AbortSplit ends a split. What is on its way goes on, and what has moved stays where it is; nothing more goes. When nothing has, the new shard
// stays without slots, and the next split of the placement takes it.
func (s *State) AbortSplit(shard uint16) (*Split, error) {
	for _, p := range s.Placements {
		x := p.Split
		switch {
		case x == nil || x.From != shard || !x.Open() && !x.Aborted:
			continue
		case x.Aborted: // it was asked for before
			return x, nil
		case x.Step == Moving && len(x.Slots) == 0:
			return nil, refuse("the last slots of shard %d are on their way to shard %d: it is too late to abort, it ends soon", shard, x.To)
		}
		x.Aborted, x.Paused, x.Slots = true, false, nil
		if x.Step == Preparing { // nothing has begun
			x.Step = SplitDone
		}
		s.dirty[rowPlacement+p.Name] = struct{}{}
		return x, nil
	}
	return nil, refuse("shard %d is not being split: see switchboard shards splits", shard)
}

// NextSplit goes on with the split of a placement by what the shards' leaders have said. opened returns the shape by which a shard is known
// to be open, 0 when that is not known; left is the shape of the slots of which all rows are known to be at the new shard; most is how
// many slots may go at once. What leaders say of themselves here stays true for good, whoever leads after them, so it may be old.
func (s *State) NextSplit(placement string, opened func(shard uint16) uint64, left uint64, most int) {
	p := s.Placements[placement]
	if p == nil || !p.Split.Open() {
		return
	}
	x := p.Split
	switch {
	case len(x.Moving) > 0:
		if left == x.Since {
			s.arrived(p)
		}
	case x.Step == Preparing: // a pool must not open without knowing whom to ask
		for _, id := range p.Shards {
			if opened(id) < x.Since {
				return
			}
		}
		x.Step = Moving
		s.dirty[rowPlacement+p.Name] = struct{}{}
	case opened(x.To) < x.Since: // it has not begun with what is there
	case len(x.Slots) == 0:
		x.Step = SplitDone
		p.leave(x)
		s.dirty[rowPlacement+p.Name] = struct{}{}
	case !x.Paused:
		n := min(max(most, 1), len(x.Slots))
		x.Moving, x.Slots = slices.Clone(x.Slots[:n]), slices.Clone(x.Slots[n:])
		s.reshape(p)
	}
}

// arrived makes the slots that move those of the new shard.
func (s *State) arrived(p *Placement) {
	x := p.Split
	parts := map[uint16][]uint16{}
	for id, list := range p.Parts {
		parts[id] = list
		if id == x.From {
			parts[id] = slices.DeleteFunc(slices.Clone(list), func(slot uint16) bool { return slices.Contains(x.Moving, slot) })
		}
	}
	parts[x.To] = slices.Sorted(slices.Values(slices.Concat(parts[x.To], x.Moving)))
	p.Parts = parts
	x.Moved += len(x.Moving)
	x.Moving = nil
	s.reshape(p)
}

// Slots returns the slots of a shard of the placement, ascending, those that are about to leave it among them.
func (p *Placement) Slots(shard uint16, slots int) (list []int) {
	at := slices.Index(p.Shards, shard)
	base := p.Base
	if base == 0 {
		base = len(p.Shards)
	}
	switch {
	case at < 0:
		return nil
	case at >= base:
		for _, slot := range p.Parts[shard] {
			list = append(list, int(slot))
		}
		return list
	}
	away := make([]bool, slots)
	for _, part := range p.Parts {
		for _, slot := range part {
			away[slot] = true
		}
	}
	for i := at; i < slots; i += base {
		if !away[i] {
			list = append(list, i)
		}
	}
	return list
}

// Serves is Slots without those that are about to leave: what the shard may be asked for.
func (p *Placement) Serves(shard uint16, slots int) []int {
	list := p.Slots(shard, slots)
	if x := p.Split; x != nil && x.From == shard && len(x.Moving) > 0 {
		list = slices.DeleteFunc(list, func(slot int) bool { return slices.Contains(x.Moving, uint16(slot)) }) //nolint:gosec // below slotsAll
	}
	return list
}
