package edge

import "switchboard/wire"

// The bounds of unheard.
const (
	unheardMost  = 128  // assignments that are remembered as asked for; beyond it all are forgotten, which costs a question more
	unheardAgain = 1000 // ms before the same is asked for again
)

// unheard are assignments of which a worker gets deliveries and was never told, as that was lost between two nodes, or was told by somebody who knew less
// than their session that they are over. A session whose worker does not know of it takes him for told, and its customer would wait for ever; so its owner is
// asked to tell it again, if it is still so, and it is counted. The zero unheard is empty.
type unheard map[wire.SessionID]unheardOf

type unheardOf struct {
	ae uint64
	at int64 // when its owner was asked, Unix ms
}

// due tells whether to ask for an assignment now, and notes it.
func (u *unheard) due(id wire.SessionID, ae uint64, now int64) bool {
	x := (*u)[id]
	if x.ae > ae || x.ae == ae && now-x.at < unheardAgain {
		return false
	}
	if *u == nil || len(*u) >= unheardMost {
		*u = unheard{}
	}
	(*u)[id] = unheardOf{ae, now}
	return true
}

// tellAgain asks the owner of a session for an assignment of which conn gets deliveries and knows nothing. Should it be lost, the next delivery asks
// again.
func (e *Edge) tellAgain(id wire.SessionID, ae uint64, conn wire.Conn, who *wire.Principal) {
	_, slot, ok := id.Place()
	if !ok {
		return
	}
	e.m.unheard.Inc()
	_ = e.post(wire.ToSlot(slot), &wire.Command{Verb: wire.VerbResync, Conn: conn, Who: who, Session: id, AE: ae})
}

// unheard is a delivery of an assignment that is not known here.
func (c *conn) unheard(it item) {
	f := it.f
	if c.standing == nil || c.outdated(it) { // nothing is known yet, or an owner that has ended has said it
		return
	}
	if c.unusual().unheard.due(f.Session, f.AE, c.e.now()) {
		c.e.tellAgain(f.Session, f.AE, c.id, c.who.Load())
	}
}
