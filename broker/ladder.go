package broker

import "slices"

// ladder numbers the loads that workers of a pool can have, as far as they are few: those of people with 3, 4 and 5 slots are 10. A queue that
// goes by load first then has a band for each, and who takes something goes from band to band, and stays where he is in order. Numbers are given as
// slots are heard of; more than 256 loads are too many (coarse), and loads are part of the order then.
type ladder struct {
	coarse bool
	loads  []float64 // by number
	order  []uint8   // numbers, the least load first
	of     [][]uint8 // by slots: the number of the load by what is used of them
}

// maxLoads is how many loads have numbers.
const maxLoads = 256

// hear numbers what a worker of so many slots can have. It tells whether the loads have become too many by that.
func (l *ladder) hear(slots int) (coarse bool) {
	if l.coarse || slots < len(l.of) && l.of[slots] != nil {
		return false
	}
	if l.coarse = slots >= maxLoads; l.coarse {
		return true
	}
	for len(l.of) <= slots {
		l.of = append(l.of, nil)
	}
	numbers := make([]uint8, slots+1)
	for used := range numbers {
		load := float64(used) / float64(slots)
		at, known := slices.BinarySearchFunc(l.order, load, func(number uint8, load float64) int {
			switch x := l.loads[number]; {
			case x < load:
				return -1
			case x > load:
				return 1
			}
			return 0
		})
		if known {
			numbers[used] = l.order[at]
			continue
		}
		if l.coarse = len(l.loads) == maxLoads; l.coarse {
			return true
		}
		numbers[used] = uint8(len(l.loads)) //nolint:gosec // checked
		l.loads, l.order = append(l.loads, load), slices.Insert(l.order, at, numbers[used])
	}
	l.of[slots] = numbers
	return false
}

// number returns the number of w's load.
func (l *ladder) number(w *worker) uint8 { return l.of[w.slots][min(w.used, w.slots)] }

// hear numbers the loads that w can have. When there are too many by now, everybody is put in order by loads.
func (c *Core) hear(w *worker) {
	if !c.ladder.hear(w.slots) {
		return
	}
	for _, r := range c.rankings {
		for _, s := range r.stands {
			s.rest()
			r.ranks.remove(s)
		}
		for _, s := range r.stands {
			r.ranks.push(s)
			s.update()
		}
	}
}
