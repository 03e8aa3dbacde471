package edge

import (
	"iter"
	"slices"
)

// requests is what a connection has asked for and nobody has answered, in the order of its numbers. They grow by one, and answers come mostly in
// their order: so a request is found by counting from the first, and the first is as a rule the one that leaves. What is answered
// before its turn leaves a gap until those before it are answered, or until there are as many gaps as requests and no room. A nil one is empty.
type requests struct {
	list  []request // those before head have left
	head  int
	live  int
	first [1]request // the room of list, until there are two: most have one at a time, and whoever looks for it looks in one place
}

// size returns how many there are.
func (q *requests) size() int {
	if q == nil {
		return 0
	}
	return q.live
}

// get returns request n, or nil. It may be changed there, until the next one is added.
func (q *requests) get(n uint64) *request {
	if q.size() == 0 || n < q.list[q.head].n {
		return nil
	}
	list := q.list[q.head:]
	if i := n - list[0].n; i < uint64(len(list)) {
		if r := &list[i]; r.n == n {
			return r.there()
		}
		list = list[:i] // gaps were closed
	}
	i, ok := slices.BinarySearchFunc(list, n, func(r request, n uint64) int {
		if r.n < n {
			return -1
		}
		return int(min(r.n-n, 1)) //nolint:gosec // 0 or 1
	})
	if !ok {
		return nil
	}
	return list[i].there()
}

// there returns r, or nil when it has left.
func (r *request) there() *request {
	if r.left {
		return nil
	}
	return r
}

// add takes r, whose number is higher than any before.
func (q *requests) add(r *request) {
	if q.list == nil {
		q.list = q.first[:0]
	}
	if len(q.list) == cap(q.list) && q.live <= len(q.list)/2 {
		n := 0
		for i := q.head; i < len(q.list); i++ {
			if !q.list[i].left {
				q.list[n] = q.list[i]
				n++
			}
		}
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	if len(q.list) == cap(q.list) {
		q.list = append(q.list, *r)
		q.first[0] = request{} // it has moved
	} else {
		q.list = append(q.list, *r)
	}
	q.live++
}

// remove takes r out, which get or all has returned: nothing of it is there afterwards but its number.
func (q *requests) remove(r *request) {
	*r = request{n: r.n, left: true}
	q.live--
	if q.live == 0 {
		q.list, q.head = q.list[:0], 0
		return
	}
	for q.list[q.head].left {
		q.head++
	}
}

// all yields what is there, in order. The one that was yielded last may be removed meanwhile, and nothing be added.
func (q *requests) all() iter.Seq[*request] {
	return func(yield func(*request) bool) {
		if q == nil {
			return
		}
		for i := q.head; i < len(q.list); i++ {
			if r := &q.list[i]; !r.left && !yield(r) {
				return
			}
		}
	}
}
