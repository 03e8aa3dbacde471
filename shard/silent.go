package shard

import (
	"slices"

	"switchboard/broker"
	"switchboard/session"
	"switchboard/wire"
)

// That a connection has ended says the node that has it. A node that is gone says nothing: not of its customers, and not of its workers, who might never
// come back, and would have their sessions for ever. So a node to which there is no way for a while counts as ended with all its connections, as a
// connection does that is silent for its lease [SW-5.7]. Should it be there again, its workers have subscribed again by themselves, or are asked to.

// silentLooks is at how many looks in a row, which are sweepMS apart, there was no way to a node that counts as ended.
const silentLooks = 2

// far is another node that has connections which have to do with the shard, or had.
type far struct {
	silent int // looks in a row
	ended  bool
	ousted []ousted // as long as the node may come back
}

// ousted is a worker's connection that was taken for ended.
type ousted struct {
	tenant string
	bond   broker.Bond
}

// heed notes that a connection of a node has to do with the shard: should the node be gone at the next look, and even unknown, it has ended.
func (s *Shard) heed(node uint64) {
	if node == s.heeded || node == 0 || node == s.x.Node() {
		return
	}
	s.heeded = node
	if s.far == nil {
		s.far = map[uint64]*far{}
	}
	if s.far[node] == nil {
		s.far[node] = &far{}
	}
}

// lookFar looks which nodes are there.
func (s *Shard) lookFar() {
	for node, f := range s.far {
		switch {
		case s.x.Reaches(node):
			s.back(f)
		case f.silent < silentLooks-1:
			f.silent++
		case f.silent < silentLooks:
			if s.tries(node) {
				s.back(f)
				break
			}
			f.silent++
			s.ended(node, f)
		}
	}
	for node, f := range s.far { // an incarnation that is known nowhere any more never comes back
		if f.ended && !s.x.KnowsNode(node) {
			delete(s.far, node)
			s.heeded = 0
		}
	}
}

// tries posts a piece of mail to nobody at a node, and tells whether it was taken: then there is a way after all. One that was not is missing there when there
// is a way again, and mail that is missing lets the node say anew who follows what. Nobody else may have anything to say to it meanwhile, and a way that comes
// and goes it may not have noticed: its customers would follow for ever what does not know them any more.
func (s *Shard) tries(node uint64) bool {
	nobody := wire.Address{Node: node}
	return s.x.Post(wire.Envelope{To: nobody, Mail: &wire.Frame{Kind: wire.FrameBye, Seq: uint64(wire.CloseReconnect)}}) == nil
}

// back is that there is a way to a node. Workers that were taken for ended, and have not said since that they are there, do not know it: they are sent away
// to come back. Those who have meanwhile subscribed from elsewhere hear that: by coming back they would take over in turn.
func (s *Shard) back(f *far) {
	f.silent = 0
	if !f.ended {
		return
	}
	f.ended = false
	for _, o := range f.ousted {
		switch p := s.pools[o.tenant]; {
		case p != nil && p.core.Holds(o.bond):
		case p != nil && p.core.Outdated(o.bond):
			s.takenOver(o.bond.Conn)
		default:
			s.sendBack(o.bond.Conn)
		}
	}
	f.ousted = nil
}

// ended is that a node counts as gone with all its connections.
func (s *Shard) ended(node uint64, f *far) {
	f.ended = true
	n := 0
	for tenant, p := range s.pools {
		s.bonds = p.core.Bonds(node, s.bonds[:0])
		n += len(s.bonds)
		for _, b := range s.bonds {
			f.ousted = append(f.ousted, ousted{tenant, b})
		}
		for conn := range p.observers {
			if conn.Node == node {
				delete(p.observers, conn)
			}
		}
		p.core.NodeLost(node, s.now, &p.out)
		p.tell(s)
	}
	for conn := range s.feeds {
		if conn.Node == node {
			delete(s.feeds, conn)
		}
	}
	var there []wire.SessionID
	for id, h := range s.sessions {
		if h.state == nil {
			h.attached = without(h.attached, node)
			continue
		}
		s.conns = h.state.Present(s.conns[:0])
		if slices.ContainsFunc(s.conns, func(conn wire.Conn) bool { return conn.Node == node }) {
			there = append(there, id)
		}
	}
	for _, id := range there {
		h := s.sessions[id]
		if h == nil || h.state == nil || !s.surround(h) {
			continue // the journal has refused a turn meanwhile: who is present is looked at when it is read again
		}
		s.conns = h.state.Present(s.conns[:0])
		for _, conn := range s.conns {
			if conn.Node != node {
				continue
			}
			s.before(h)
			session.Decide(h.state, &s.env, &wire.Command{Verb: wire.VerbGone, Conn: conn, Session: h.id}, &s.d)
			s.note(h)
			n++
		}
		if s.turn.Size() > turnBytes {
			s.commit()
		}
	}
	if n > 0 {
		s.log.Warn("there is no way to a node for a while; its connections count as ended", "incarnation", node, "connections", n)
	}
}

// without returns list without the connections of a node.
func without(list []session.Attachment, node uint64) []session.Attachment {
	n := 0
	for i := range list {
		if list[i].Conn.Node != node {
			list[n] = list[i]
			n++
		}
	}
	clear(list[n:])
	return list[:n]
}
