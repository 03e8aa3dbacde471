package broker

import (
	"hash/maphash"

	"switchboard/internal/prefetch"
	"switchboard/wire"
)

// sessionBook is the tasks by their sessions: of each session the newest, the others follow. Whom an event is about is found by one slot and his
// task, which all other ways begin at. It is many small tables, of which each grows for itself, so that no event has to wait for all of them. Where
// a session stands depends on the process, what is found does not.
type sessionBook struct {
	seed  maphash.Seed
	parts [256]sessionPart // by the first bits of the hash
}

type sessionPart struct {
	slots []sessionSlot // a power of two, at most three quarters of them used
	n     int
}

type sessionSlot struct {
	hash uint64
	t    *task
}

// taskNear is how many bytes of a task its end looks at, from its beginning.
const taskNear = 192

func newSessionBook() sessionBook { return sessionBook{seed: maphash.MakeSeed()} }

// get returns the newest task of a session, or nil.
func (b *sessionBook) get(session wire.SessionID) *task {
	h := maphash.String(b.seed, string(session))
	p := &b.parts[h>>56]
	if p.n == 0 {
		return nil
	}
	for i := h; ; i++ {
		s := &p.slots[i&uint64(len(p.slots)-1)]
		if s.t == nil {
			return nil
		}
		if s.hash == h {
			prefetch.Start(s.t, taskNear) // all at once, while its name is compared
			if s.t.session == session {
				return s.t
			}
		}
	}
}

// put makes t, which is not in the book, the newest of its session.
func (b *sessionBook) put(t *task) {
	t.hash = maphash.String(b.seed, string(t.session))
	p := &b.parts[t.hash>>56]
	if 4*(p.n+1) > 3*len(p.slots) {
		p.grow()
	}
	for i := t.hash; ; i++ {
		s := &p.slots[i&uint64(len(p.slots)-1)]
		switch {
		case s.t == nil:
			p.n++
			*s = sessionSlot{t.hash, t}
			t.next = nil
			return
		case s.hash == t.hash && s.t.session == t.session:
			t.next, s.t = s.t, t
			return
		}
	}
}

// remove takes t, which is in the book, out of it.
func (b *sessionBook) remove(t *task) {
	p := &b.parts[t.hash>>56]
	mask := uint64(len(p.slots) - 1)
	i := t.hash & mask
	for p.slots[i].hash != t.hash || p.slots[i].t.session != t.session {
		if p.slots[i].t == nil {
			panic("broker: a task that is in no book is taken out of it")
		}
		i = (i + 1) & mask
	}
	if first := p.slots[i].t; first != t {
		for first.next != t {
			first = first.next
		}
		first.next = t.next
		return
	}
	if t.next != nil {
		p.slots[i].t = t.next
		return
	}
	p.n--
	for j := (i + 1) & mask; p.slots[j].t != nil; j = (j + 1) & mask { // whoever stands here because i was taken moves up
		if (j-p.slots[j].hash)&mask >= (j-i)&mask {
			p.slots[i] = p.slots[j]
			i = j
		}
	}
	p.slots[i] = sessionSlot{}
}

// grow makes room for as many again.
func (p *sessionPart) grow() {
	old := p.slots
	p.slots = make([]sessionSlot, max(2*len(old), 8))
	for _, s := range old {
		if s.t == nil {
			continue
		}
		i := s.hash
		for p.slots[i&uint64(len(p.slots)-1)].t != nil {
			i++
		}
		p.slots[i&uint64(len(p.slots)-1)] = s
	}
}

// all yields the newest task of each session, in no order. The book must not change meanwhile.
func (b *sessionBook) all(yield func(*task) bool) {
	for i := range b.parts {
		for _, s := range b.parts[i].slots {
			if s.t != nil && !yield(s.t) {
				return
			}
		}
	}
}
