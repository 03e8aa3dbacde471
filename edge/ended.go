package edge

import "switchboard/wire"

// endedMost is how many ends are remembered at least, and twice as many at most.
const endedMost = 128

// ended are the assignments of a worker that have ended of late, of each session the latest. Who owned a session before may be slower to be heard than
// who owns it now: an assignment may come behind its own end. The zero ended is empty.
type ended struct{ young, old map[wire.SessionID]fence }

// fence is an assignment that has ended, and the owner that said so: what is said later of one before it, or of it by an owner before that, comes late.
type fence struct {
	ae, term uint64
	asked    uint64 // the last request of the worker's by then; 0 at a desk
	reason   string // empty where nobody said one, as of the worker's own release
}

// note remembers an end that is not late.
func (e *ended) note(id wire.SessionID, x fence) {
	if _, again := e.young[id]; !again && len(e.young) == endedMost {
		e.young, e.old = e.old, e.young
		clear(e.young)
	}
	if e.young == nil {
		e.young = map[wire.SessionID]fence{}
	}
	delete(e.old, id)
	e.young[id] = x
}

// late tells whether the word of an owner in term about an assignment is over.
func (e *ended) late(id wire.SessionID, ae, term uint64) bool {
	x, ok := e.get(id)
	return ok && (ae < x.ae || ae == x.ae && term < x.term)
}

// since tells whether an assignment, or a later one of its session, has ended since request n was asked, and why. Why one before the latest has
// ended was not told here, nor why one that its worker released himself: it is said to be the lease's end then.
func (e *ended) since(id wire.SessionID, ae, n uint64) (reason string, yes bool) {
	x, ok := e.get(id)
	if !ok || ae > x.ae || n > x.asked {
		return "", false
	}
	if ae < x.ae || x.reason == "" {
		return "lease", true
	}
	return x.reason, true
}

func (e *ended) get(id wire.SessionID) (x fence, ok bool) {
	if x, ok = e.young[id]; !ok {
		x, ok = e.old[id]
	}
	return x, ok
}

// size is how many ends are remembered.
func (e *ended) size() int { return len(e.young) + len(e.old) }
