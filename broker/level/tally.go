package level

import (
	"maps"
	"slices"
)

// Tally counts a recorded log exactly, by shop: no window slides, and a customer's day is one however many sessions it had. It
// takes memory by shop, and of definitions of unit day by customer and day.
type Tally struct {
	set         *Set
	from, until int64
	shops       map[rateKey]*Counts
	days        map[customerDay]bool // whether every turn was in time
}

type customerDay struct {
	def            int
	shop, customer string
	day            int32
}

// NewTally counts cases that began at from or later and before until. A zero until is no end.
func NewTally(set *Set, from, until int64) *Tally {
	if until == 0 {
		until = never
	}
	return &Tally{set: set, from: from, until: until, shops: map[rateKey]*Counts{}, days: map[customerDay]bool{}}
}

// Add counts a sample.
func (t *Tally) Add(s *Sample) {
	if s.Since < t.from || s.Since >= t.until {
		return
	}
	k := rateKey{int32(s.Def), 0, s.Shop} //nolint:gosec // few
	c := t.shops[k]
	if c == nil {
		c = &Counts{}
		t.shops[k] = c
	}
	one := *s
	if t.set.defs[s.Def].Unit == Day && (s.Count != 0 || s.Met != 0) {
		d := customerDay{s.Def, s.Shop, s.Customer, s.Day}
		good, seen := t.days[d]
		now := s.Met > 0
		one.Count, one.Met = 0, 0
		switch {
		case !seen:
			one.Count, one.Met = 1, max(s.Met, 0)
		case good && !now:
			one.Met = -1
		}
		t.days[d] = now && (good || !seen)
	}
	c.add(&one)
}

// Line is what was counted of a shop.
type Line struct {
	Level, Shop string
	Counts      Counts
}

// Lines returns what was counted: by definition as the set has them, then by shop.
func (t *Tally) Lines() []Line {
	keys := slices.SortedFunc(maps.Keys(t.shops), func(a, b rateKey) int {
		if a.def != b.def {
			return int(a.def - b.def)
		}
		if a.name < b.name {
			return -1
		}
		return 1
	})
	lines := make([]Line, 0, len(keys))
	for _, k := range keys {
		lines = append(lines, Line{t.set.defs[k.def].Name, k.name, *t.shops[k]})
	}
	return lines
}
