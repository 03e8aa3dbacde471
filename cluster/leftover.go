package cluster

import "maps"

// Leftover is what a shard still has on its disks of slots that have gone to another one: their entries, which its feed leads to, and all
// their other rows, which nobody reads any more.
type Leftover struct {
	Slots int `json:"slots"` // that have gone, 0 when it is not known
	// At is when the last of them had gone, Unix ms; 0 until somebody with a clock has looked.
	At int64 `json:"at,omitempty"`
	// Clean is the shape of the placement since which the rows are being taken off; 0 before.
	Clean uint64 `json:"clean,omitempty"`
	By    string `json:"by,omitempty"` // who wants them taken off
}

// ByAge is who has rows taken off that were kept for long enough.
const ByAge = "age"

// leave notes what a split that has ended leaves behind.
func (p *Placement) leave(x *Split) {
	if x.Moved > 0 {
		l := p.Left[x.From]
		p.remain(x.From, Leftover{Slots: l.Slots + x.Moved})
	}
}

// remain changes what is left on a shard; what others have read of it stays as it is.
func (p *Placement) remain(shard uint16, l Leftover) {
	left := map[uint16]Leftover{}
	maps.Copy(left, p.Left)
	left[shard] = l
	p.Left = left
}

// Clean has the rows taken off that slots have left on the disks of a shard. Feeds that have not told all of them by then are gone. It is done
// by whoever leads the shard, and goes on after a crash; asked for again it is the same.
func (s *State) Clean(shard uint16, by string) (Leftover, error) {
	sh := s.Shards[shard]
	if sh == nil {
		return Leftover{}, refuse("there is no shard %d: see switchboard shards ls", shard)
	}
	p := s.Placements[sh.Placement]
	l, left := p.Left[shard]
	for _, parent := range p.Parents { // a version that did not note it may have split it
		left = left || parent == shard
	}
	switch {
	case l.Clean != 0:
		return l, nil
	case p.Split.Open():
		return l, refuse("in placement %s shard %d is being split: wait for it; see switchboard shards splits", p.Name, p.Split.From)
	case !left:
		return l, refuse("no slot has left shard %d: see switchboard shards splits", shard)
	}
	p.Shape++
	l.Clean, l.By = p.Shape, by
	p.remain(shard, l)
	s.dirty[rowPlacement+p.Name] = struct{}{}
	return l, nil
}

// Cleaned says that a shard's rows of slots that had gone before a shape are off its disks.
func (s *State) Cleaned(shard uint16, shape uint64) {
	sh := s.Shards[shard]
	if sh == nil {
		return
	}
	p := s.Placements[sh.Placement]
	l, left := p.Left[shard]
	if !left || l.Clean == 0 || l.Clean != shape {
		return
	}
	p.Left = maps.Clone(p.Left)
	delete(p.Left, shard)
	s.dirty[rowPlacement+p.Name] = struct{}{}
}

// Tidy notes since when rows are left, and has those taken off that were kept for long enough: now and keep are in ms. With a negative keep they
// stay until an operator wants otherwise.
func (s *State) Tidy(now, keep int64) {
	for _, p := range s.Placements {
		for shard, l := range p.Left {
			switch {
			case l.At == 0:
				l.At = now
				p.remain(shard, l)
				s.dirty[rowPlacement+p.Name] = struct{}{}
			case keep >= 0 && l.Clean == 0 && now-l.At >= keep && !p.Split.Open():
				_, _ = s.Clean(shard, ByAge) // refused when it is not needed
			}
		}
	}
}
