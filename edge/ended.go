package edge

import "switchboard/wire"

// endedMost is how many ends are remembered at least, and twice as many at most.
const endedMost = 128

// ended are the assignments of a worker that have ended of late, of each session the latest. Who owned a session before may be slower to be heard than
// who owns it now: an assignment may come behind its own end. The zero ended is empty.
type ended struct{ young, old map[wire.SessionID]fence }

// fence is an assignment that has ended, and the owner that said so: what is said later of one before it, or of it by an owner before that, comes late.
type fence struct{ ae, term uint64 }

// note remembers an end that is not late.
func (e *ended) note(id wire.SessionID, ae, term uint64) {
	if _, again := e.young[id]; !again && len(e.young) == endedMost {
		e.young, e.old = e.old, e.young
		clear(e.young)
	}
	if e.young == nil {
		e.young = map[wire.SessionID]fence{}
	}
	delete(e.old, id)
	e.young[id] = fence{ae, term}
}

// late tells whether the word of an owner in term about an assignment is over.
func (e *ended) late(id wire.SessionID, ae, term uint64) bool {
	x, ok := e.young[id]
	if !ok {
		x, ok = e.old[id]
	}
	return ok && (ae < x.ae || ae == x.ae && term < x.term)
}

// size is how many ends are remembered.
func (e *ended) size() int { return len(e.young) + len(e.old) }
