package replica

import pb "go.etcd.io/raft/v3/raftpb"

// A follower that does not take entries, as its disk is full, still answers heartbeats, and with each answer Raft sends it the same entries again: a message of
// up to Config.MessageBytes a tick, for as long as the disk is full. So what has come back to where it was is sent more and more rarely, and soon with one
// entry alone: enough to see whether it is taken, and then all the rest follows at once. Raft takes what is not sent for lost.

const (
	// probeMost is how many ticks lie between two messages that begin with the same entry, at most: for so long, and not longer, a follower that has room
	// again waits for what it lacks.
	probeMost = 20
	// probeWhole is how many ticks lie at least between two of them when the second has one entry alone.
	probeWhole = 4
)

// probe is how a follower was sent entries last.
type probe struct {
	index uint64 // behind this one
	at    uint64 // the tick
	wait  uint64 // ticks until entries behind the same one are sent again; 0 before the first
}

// probe returns a message to a follower as it is to be sent: itself, a shorter one, or nil.
func (h *Host) probe(g *group, m *pb.Message) *pb.Message {
	entries := m.GetEntries()
	if len(entries) == 0 || m.GetTerm() != g.term { // what a leader has said that is deposed already
		return m
	}
	p := g.probes[m.GetTo()]
	switch {
	case p.wait == 0 || p.index != m.GetIndex():
		p = probe{index: m.GetIndex(), wait: 1}
	case h.ticks-p.at < p.wait:
		return nil
	default:
		if p.wait >= probeWhole {
			short := withContext(m, m.GetContext())
			short.Entries = entries[:1]
			m = short
		}
		p.wait = min(2*p.wait, probeMost)
	}
	p.at = h.ticks
	g.probes[m.GetTo()] = p
	return m
}
