package replica

import (
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// A snapshot that was not taken is asked for again by Raft with the next answer to a heartbeat: a tick later. Who did not take it may not be able to for as long as
// his disk is full, or this node sends to others, and each try is a connection, and a look at all rows. So Raft hears later and later of what did not arrive.

// shotMost is how many ticks it takes at most until Raft hears of it.
const shotMost = 40

// shot is how the snapshots for a follower went since one was taken.
type shot struct {
	failed int
	due    uint64 // the tick at which Raft hears of the last one, 0 when it has
}

// Snapshot tells what came of the snapshot that a Send of type MsgSnap asked for. It returns how many have not arrived at this follower in a row.
func (h *Host) Snapshot(id uint16, to uint64, arrived bool) (failed int) {
	g := h.group(id)
	if g == nil || g.term == 0 {
		return 0
	}
	if arrived {
		delete(g.shots, to)
		g.rn.ReportSnapshot(to, raft.SnapshotFinish)
		h.mark(g)
		return 0
	}
	s := g.shots[to]
	s.failed++
	s.due = h.ticks + min(uint64(1)<<min(s.failed, 16), shotMost)
	g.shots[to] = s
	return s.failed
}

// shoot notes that a snapshot is on its way to a follower: what came of the one before is of no interest any more.
func (g *group) shoot(m *pb.Message) {
	if s, failed := g.shots[m.GetTo()]; failed && g.term != 0 {
		s.due = 0
		g.shots[m.GetTo()] = s
	}
}

// missed tells Raft of snapshots that have not arrived, when it is time.
func (h *Host) missed(g *group) {
	for to, s := range g.shots {
		if s.due != 0 && h.ticks >= s.due {
			s.due = 0
			g.shots[to] = s
			g.rn.ReportSnapshot(to, raft.SnapshotFailure)
		}
	}
}
