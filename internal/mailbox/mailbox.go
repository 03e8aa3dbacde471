// Package mailbox is the one queue between goroutines: many put, one takes everything that waits. It is bounded, and
// full is an answer. A taker that finds nothing sleeps on Wake; nobody else ever blocks.
package mailbox

import "sync"

// Box holds what waits for one owner. Create it with New.
type Box[T any] struct {
	// Fixed after New.
	limit, reserve int
	wake           chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	items  []T
	head   int // items before it have been taken
	closed bool
}

// New returns a box for at most limit items, of which the last reserve are kept for PutReserved.
func New[T any](limit, reserve int) *Box[T] {
	return &Box[T]{limit: limit, reserve: reserve, wake: make(chan struct{}, 1)}
}

// Put adds v and reports whether there was room. It never blocks.
func (b *Box[T]) Put(v T) bool { return b.put(v, b.limit-b.reserve) }

// PutReserved is Put with the reserve open to it.
func (b *Box[T]) PutReserved(v T) bool { return b.put(v, b.limit) }

func (b *Box[T]) put(v T, limit int) bool {
	b.mu.Lock()
	waiting := len(b.items) - b.head
	if b.closed || waiting >= limit {
		b.mu.Unlock()
		return false
	}
	if len(b.items) == cap(b.items) && b.head >= waiting { // what is moved has been paid for by what was taken
		n := copy(b.items, b.items[b.head:])
		clear(b.items[n:])
		b.items, b.head = b.items[:n], 0
	}
	b.items = append(b.items, v)
	b.mu.Unlock()
	if waiting == 0 {
		b.Nudge()
	}
	return true
}

// Take returns everything that waits, in the order it was put, and gives the box into's memory to fill next. The
// caller owns what it gets until it hands it back, cleared, in the next call. At most max items are taken, and those behind are not
// moved for it; when some stay the box wakes its taker again.
func (b *Box[T]) Take(into []T, max int) []T {
	into = into[:0]
	b.mu.Lock()
	if b.head == 0 && len(b.items) <= max {
		b.items, into = into, b.items
		b.mu.Unlock()
		return into
	}
	taken := b.items[b.head:min(b.head+max, len(b.items))]
	into = append(into, taken...)
	clear(taken)
	left := true
	if b.head += len(taken); b.head == len(b.items) {
		b.items, b.head, left = b.items[:0], 0, false
	}
	b.mu.Unlock()
	if left {
		b.Nudge()
	}
	return into
}

// Len tells how many items wait.
func (b *Box[T]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items) - b.head
}

// Done tells whether the box is closed and empty: nothing will ever come of it again.
func (b *Box[T]) Done() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed && len(b.items) == b.head
}

// Wake returns the channel that gets a value when the box was empty and is not any more, or after Nudge.
func (b *Box[T]) Wake() <-chan struct{} { return b.wake }

// Nudge wakes the taker although nothing was put.
func (b *Box[T]) Nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Close refuses everything from now on and wakes the taker. What waits stays to be taken.
func (b *Box[T]) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.Nudge()
}
