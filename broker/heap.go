package broker

// node is something that stands in one heap, in a total order: equal nodes do not exist, so which one comes first never
// depends on how the heap came about.
type node[T any] interface {
	before(T) bool
	// place is where it stands in its heap, from 1; 0 is nowhere. The heap alone writes it.
	place() *int32
}

// heap is a binary heap that knows where each of its nodes stands, so that any can leave or move in O(log n).
type heap[T node[T]] struct{ nodes []T }

// top returns the first node; ok is false when there is none.
func (h *heap[T]) top() (first T, ok bool) {
	if len(h.nodes) == 0 {
		return first, false
	}
	return h.nodes[0], true
}

// push adds x, which stands nowhere.
func (h *heap[T]) push(x T) {
	h.nodes = append(h.nodes, x)
	h.up(len(h.nodes) - 1)
}

// remove takes x out, when it is in.
func (h *heap[T]) remove(x T) {
	p := x.place()
	i := int(*p) - 1
	if i < 0 {
		return
	}
	*p = 0
	last := len(h.nodes) - 1
	moved := h.nodes[last]
	var none T
	h.nodes[last] = none
	h.nodes = h.nodes[:last]
	if i < last {
		h.nodes[i] = moved
		*moved.place() = int32(i + 1)
		h.fix(moved)
	}
}

// fix puts x, which is in, where it belongs after its order changed.
func (h *heap[T]) fix(x T) {
	i := int(*x.place()) - 1
	h.up(i)
	h.down(int(*x.place()) - 1)
}

func (h *heap[T]) up(i int) {
	x := h.nodes[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(h.nodes[parent]) {
			break
		}
		h.set(i, h.nodes[parent])
		i = parent
	}
	h.set(i, x)
}

func (h *heap[T]) down(i int) {
	x := h.nodes[i]
	for {
		child := 2*i + 1
		if child >= len(h.nodes) {
			break
		}
		if right := child + 1; right < len(h.nodes) && h.nodes[right].before(h.nodes[child]) {
			child = right
		}
		if !h.nodes[child].before(x) {
			break
		}
		h.set(i, h.nodes[child])
		i = child
	}
	h.set(i, x)
}

func (h *heap[T]) set(i int, x T) {
	h.nodes[i] = x
	*x.place() = int32(i + 1)
}
