package client

// line is a first-in-first-out queue that keeps a small buffer while it is short, so that an entry that is read as
// soon as it came costs no memory of its own. Its owner bounds it.
type line[T any] struct {
	items []T
	first int
}

// keepCap is the capacity that an empty line keeps.
const keepCap = 16

func (l *line[T]) len() int { return len(l.items) - l.first }

func (l *line[T]) put(v T) { l.items = append(l.items, v) }

// take returns the oldest one.
func (l *line[T]) take() (v T, ok bool) {
	if l.len() == 0 {
		return v, false
	}
	var none T
	v, l.items[l.first] = l.items[l.first], none
	if l.first++; l.first == len(l.items) {
		l.clear()
	}
	return v, true
}

// clear forgets all.
func (l *line[T]) clear() {
	clear(l.items)
	l.items, l.first = l.items[:0], 0
	if cap(l.items) > keepCap {
		l.items = nil
	}
}

// trim drops the youngest ones while drop says so.
func (l *line[T]) trim(drop func(*T) bool) {
	for n := len(l.items); n > l.first && drop(&l.items[n-1]); n-- {
		l.items = l.items[:n-1]
	}
}
