package broker

import "hash/maphash"

// planBook is the plans by their keys: a table in which a known plan is found by one slot and the plan's own first bytes. Which of
// several slots a plan has depends on the process, what is found does not.
type planBook struct {
	seed  maphash.Seed
	slots []planSlot // a power of two, at most half of them used
	n     int
}

type planSlot struct {
	hash uint64
	p    *plan
}

// planHead is how many bytes of a key a plan holds itself.
const planHead = 48

// planUsed is how many bytes of a plan the end of a task looks at, from its beginning.
const planUsed = 128

// named is what a plan is found by.
type named struct {
	key  string
	head [planHead]byte // its first bytes
}

func (n *named) name(key []byte) {
	n.key = string(key)
	n.head = [planHead]byte{}
	copy(n.head[:], key)
}

// is tells whether key is its name.
func (n *named) is(key []byte) bool {
	if len(key) != len(n.key) {
		return false
	}
	if len(key) <= planHead {
		return string(key) == string(n.head[:len(key)])
	}
	return string(key) == n.key
}

func newPlanBook() planBook { return planBook{seed: maphash.MakeSeed(), slots: make([]planSlot, 64)} }

// get returns the plan of that key, or nil.
func (b *planBook) get(key []byte) *plan {
	h := maphash.Bytes(b.seed, key)
	for i := h; ; i++ {
		s := &b.slots[i&uint64(len(b.slots)-1)]
		if s.p == nil {
			return nil
		}
		if s.hash == h && s.p.is(key) {
			return s.p
		}
	}
}

// put adds p under its name, which is not in the book.
func (b *planBook) put(p *plan) {
	if 2*(b.n+1) > len(b.slots) {
		b.keep(func(*plan) bool { return true })
	}
	b.n++
	b.insert(planSlot{maphash.String(b.seed, p.key), p})
}

func (b *planBook) insert(s planSlot) {
	for i := s.hash; ; i++ {
		if at := &b.slots[i&uint64(len(b.slots)-1)]; at.p == nil {
			*at = s
			return
		}
	}
}

// keep forgets the plans that are not to stay. It asks once about each.
func (b *planBook) keep(stays func(*plan) bool) {
	var rest []planSlot
	for _, s := range b.slots {
		if s.p != nil && stays(s.p) {
			rest = append(rest, s)
		}
	}
	b.n = len(rest)
	size := 64
	for size < 4*(b.n+1) { // room for as many again
		size *= 2
	}
	b.slots = make([]planSlot, size)
	for _, s := range rest {
		b.insert(s)
	}
}
