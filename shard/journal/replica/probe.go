package replica

import pb "go.etcd.io/raft/v3/raftpb"

// A follower that does not take entries, as its disk is full, still answers heartbeats, and with each answer Raft sends it the same entries again: a message of
// up to Config.MessageBytes a tick, for as long as the disk is full. So what has come back to where it was is soon sent with one entry alone: enough to see
// whether it is taken, and then all the rest follows at once. And then it is sent more and more rarely: not at once, as what is lost on a bad way comes back
// there, too, and everybody may wait for it. Raft takes what is not sent for lost.

const (
	// probeWhole is how often a message that begins with the same entry is sent with all of its entries.
	probeWhole = 3
	// probeOften is how often it is sent a tick behind the one before. From then on the ticks between two of them double.
	probeOften = 7
	// probeMost is how many ticks lie between two of them, at most: for so long, and not longer, a follower that has room again waits for what it lacks.
	probeMost = 20
)

// probe is how a follower was sent entries last.
type probe struct {
	index uint64 // behind this one
	at    uint64 // the tick
	sent  int    // how often they were, behind the same one; 0 before the first
	wait  uint64 // ticks until they are again
}

// probe returns a message to a follower as it is to be sent: itself, a shorter one, or nil.
func (h *Host) probe(g *group, m *pb.Message) *pb.Message {
	entries := m.GetEntries()
	if len(entries) == 0 || m.GetTerm() != g.term { // what a leader has said that is deposed already
		return m
	}
	p := g.probes[m.GetTo()]
	switch {
	case p.sent == 0 || p.index != m.GetIndex():
		p = probe{index: m.GetIndex(), wait: 1}
	case h.ticks-p.at < p.wait:
		return nil
	case p.sent >= probeOften:
		p.wait = min(2*p.wait, probeMost)
	}
	if p.sent >= probeWhole {
		short := withContext(m, m.GetContext())
		short.Entries = entries[:1]
		m = short
	}
	p.at = h.ticks
	p.sent++
	g.probes[m.GetTo()] = p
	return m
}
