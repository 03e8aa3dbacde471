package edge

import (
	"iter"

	"switchboard/wire"
)

// lines are those of a connection, by their sessions. A customer's is one, as a rule, and needs no map, whose first room is as much as the line
// itself. The zero lines is empty. Who may do what is said in conn.
type lines struct {
	one  *line                    // the only one, until there were two at a time
	more map[wire.SessionID]*line // all of them, since then
}

// get returns the line of a session, or nil.
func (ls *lines) get(id wire.SessionID) *line {
	if l := ls.one; l != nil && l.id == id {
		return l
	}
	return ls.more[id]
}

// size returns how many there are.
func (ls *lines) size() int {
	if ls.one != nil {
		return 1
	}
	return len(ls.more)
}

// add takes a line of a session that has none.
func (ls *lines) add(l *line) {
	switch {
	case ls.more != nil:
		ls.more[l.id] = l
	case ls.one == nil:
		ls.one = l
	default:
		ls.more = map[wire.SessionID]*line{ls.one.id: ls.one, l.id: l}
		ls.one = nil
	}
}

// remove forgets the line of a session.
func (ls *lines) remove(id wire.SessionID) {
	if ls.one != nil && ls.one.id == id {
		ls.one = nil
	}
	delete(ls.more, id)
}

// all yields them, in no order. Any may be removed meanwhile, and none be added.
func (ls *lines) all() iter.Seq[*line] {
	return func(yield func(*line) bool) {
		if ls.one != nil {
			yield(ls.one)
			return
		}
		for _, l := range ls.more {
			if !yield(l) {
				return
			}
		}
	}
}
