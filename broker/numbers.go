package broker

// numbers gives classes numbers, small and used again, and knows in which of them somebody waits: a bit each, and who is first,
// so that of thousands of classes those of a worker are asked about without a look at any.
type numbers struct {
	next  int32
	spare []int32
	waits []uint64
	heads []head
	some  int // of them have somebody who waits
}

// take returns a number that no class has.
func (n *numbers) take() int32 {
	if last := len(n.spare) - 1; last >= 0 {
		x := n.spare[last]
		n.spare = n.spare[:last]
		return x
	}
	x := n.next
	n.next++
	n.heads = append(n.heads, head{})
	if int(x)/64 == len(n.waits) {
		n.waits = append(n.waits, 0)
	}
	return x
}

// give takes a number back. Nobody waits in its class.
func (n *numbers) give(x int32) { n.spare = append(n.spare, x) }

// mark and clear say that somebody waits in a class, and that nobody does.
func (n *numbers) mark(x int32) {
	n.waits[x/64] |= 1 << (x % 64)
	n.some++
}

func (n *numbers) clear(x int32) {
	n.waits[x/64] &^= 1 << (x % 64)
	n.some--
}

// busy tells whether somebody waits.
func (n *numbers) busy(x int32) bool { return n.waits[x/64]&(1<<(x%64)) != 0 }
