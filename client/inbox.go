package client

import "switchboard/wire"

// inbox puts the deliveries of an assigned session in order for its one handler. It is pure; Client.mu guards it. The
// owner sees every entry, so that prev is seq−1, but its own words are not delivered: they are known from the answers.
// What is missing is read from the history; who needs an answer is told by the entry itself.
type inbox struct {
	limit int
	sub   string // who we are

	queue line[Entry]
	last  uint64 // the last seq that was queued, or passed over for a reason
	done  uint64 // the handler has dealt with everything up to here
	doing uint64 // the delivery that the handler has, or 0
	own   map[uint64]struct{}
	// past is the head at the assignment. Of what is not above it only that is delivered which needs an answer, so that
	// prev tells nothing there.
	past uint64
	// loose says that the assignment's beginning is unknown: the first delivery is taken whatever its prev.
	loose bool
	// behind says that deliveries were dropped, the highest of them target: the history has them.
	behind bool
	target uint64
	// nacking says that a nack is on its way: deliveries of before it must not be mistaken for those after it. given is last as it was before.
	nacking bool
	given   uint64
}

// deliver takes a delivery. It returns true when the entry was dealt with before and wants only its ack again.
func (b *inbox) deliver(e Entry, prev uint64) (acked bool) {
	switch {
	case e.Seq <= b.done:
		return true
	case b.nacking || b.behind:
		b.target = max(b.target, e.Seq)
	case e.Seq <= b.last && !b.loose:
		// It waits here, or the handler has it: a re-subscription delivers again what is unacknowledged [SW-5.7].
	case !b.loose && !b.covered(prev) || b.queue.len() >= b.limit:
		b.behind, b.target = true, e.Seq
	default:
		b.put(e)
	}
	return false
}

// covered tells whether nothing between last and prev is missing: only words of our own lie there.
func (b *inbox) covered(prev uint64) bool {
	for ; prev > max(b.last, b.past); prev-- {
		if _, ok := b.own[prev]; !ok {
			return false
		}
	}
	return true
}

func (b *inbox) put(e Entry) {
	b.queue.put(e)
	b.loose = false
	b.pass(e.Seq)
}

// pass moves last to seq and over our own words behind it.
func (b *inbox) pass(seq uint64) {
	b.last = max(b.last, seq)
	for {
		if _, ok := b.own[b.last+1]; !ok {
			return
		}
		b.last++
	}
}

// wrote notes a word of our own. It is kept until what came before it is done, because a rewind passes it again.
func (b *inbox) wrote(seq uint64) {
	if b.own == nil {
		b.own = map[uint64]struct{}{}
	}
	b.own[seq] = struct{}{}
	if !b.loose {
		b.pass(b.last)
	}
	if len(b.own) > b.limit {
		b.prune(b.last)
	}
}

// finish notes that everything up to seq was dealt with.
func (b *inbox) finish(seq uint64) {
	b.done = max(b.done, seq)
	b.prune(b.done)
}

func (b *inbox) prune(seq uint64) {
	for s := range b.own {
		if s <= seq {
			delete(b.own, s)
		}
	}
}

// fill takes a page of the history after last, which was asked for when the target was asked. more says that the log held more after it; what was delivered
// since need not be in it.
func (b *inbox) fill(page []Entry, ae uint64, more bool, asked uint64) {
	for _, e := range page {
		if e.Seq <= b.last {
			continue
		}
		if e.Seq > b.target || b.queue.len() >= b.limit {
			break
		}
		e.AE = ae
		switch {
		case e.Origin == wire.OriginCustomer && e.Seq > b.done:
			e.Attempt = 1
			b.put(e)
		case e.Origin == wire.OriginCustomer || e.Seq <= b.past || e.Kind != wire.KindEvent && e.From.Role == wire.RoleWorker && e.From.ID == b.sub:
			b.pass(e.Seq)
		default:
			b.put(e)
		}
	}
	if b.last >= b.target || !more && b.target == asked && b.queue.len() < b.limit {
		b.behind, b.target = false, 0
	}
}

// rewind forgets everything from seq on: it was given back and comes again [SW-5.6].
func (b *inbox) rewind(seq uint64) {
	b.queue.clear()
	b.given = max(b.last, b.target)
	b.last = seq - 1
	b.behind, b.target, b.nacking = false, 0, true
}

// stood ends what rewind began when nothing was given back, as far as is known: what was forgotten does not come again, and is read from the history.
func (b *inbox) stood() {
	b.target = max(b.target, b.given)
	b.rewound(false)
}

// rewound ends what rewind began. fresh says that the server rewound just now, so that what was delivered meanwhile
// comes again; otherwise it does not, and is read from the history.
func (b *inbox) rewound(fresh bool) {
	b.nacking = false
	if fresh {
		b.target = 0
	}
	b.behind = b.target > b.last
}
