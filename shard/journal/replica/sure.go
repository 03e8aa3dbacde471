package replica

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// A replica that has heard of its leader lets nobody else lead for an election's time. So a leader is sure of itself for a while after a majority has
// heard of it, and needs no round of messages to know. When that was it knows from its heartbeats: each carries when it was made, by the
// leader's own clock, and comes back with its answer. Nothing depends on what time others think that it is, only on how fast time passes for them.
//
// A replica that begins again has forgotten of whom it has heard, and grants nobody its vote for an election's time. Who is asked for it by the leader
// itself, which hands over, has it.
//
// The idea is that of Gray, Cheriton: Leases, 1989; for Raft see Ongaro's thesis, 2014, §6.4.1.

// SureTicks returns for how many ticks a leader is sure of itself from At on: an election's time, less what the ticks of others may come early.
func (h *Host) SureTicks() int { return max(h.cfg.ElectionTicks-3, 0) }

// Forever is the At of a replica that has nobody beside it.
const Forever = time.Duration(math.MaxInt64)

// Sure says since when a replica that leads is sure of it.
type Sure struct {
	Group uint16
	// At is by Config.Clock; Forever when there is no other replica, and below zero when it is not sure at all.
	At time.Duration
}

// Renewed appends the groups to dst of which something has come since it was last called. It is to be heard of before Events of a batch are.
func (h *Host) Renewed(dst []Sure) []Sure {
	for i, g := range h.renewed {
		h.renewed[i] = nil
		g.renewed = false
		if h.groups[g.id] == g {
			dst = append(dst, Sure{g.id, g.sure()})
		}
	}
	h.renewed = h.renewed[:0]
	return dst
}

func (h *Host) renew(g *group) {
	if !g.renewed {
		g.renewed = true
		h.renewed = append(h.renewed, g)
	}
}

// sure returns the moment up to which a majority is known to have heard of this leader.
func (g *group) sure() time.Duration {
	if g.term == 0 || !g.ready {
		return -1
	}
	if b := g.rn.BasicStatus(); b.RaftState != raft.StateLeader || b.LeadTransferee != 0 {
		return -1 // it hands over, or something that came has just deposed it
	}
	at := g.majority(g.conf.GetVoters())
	if out := g.conf.GetVotersOutgoing(); len(out) > 0 {
		at = min(at, g.majority(out))
	}
	return at
}

func (g *group) majority(voters []uint64) time.Duration {
	var room [8]time.Duration
	list := room[:0]
	for _, id := range voters {
		at, ever := g.heardAt[id]
		switch {
		case id == g.self:
			at = Forever
		case !ever:
			at = -1
		}
		list = append(list, at)
	}
	if len(list) == 0 {
		return -1
	}
	slices.Sort(list)
	return list[(len(list)-1)/2] // so many, and one more, have this or later
}

// heard notes what an answer says of when its sender has heard of this leader, and returns the answer as Raft knows it.
func (h *Host) heard(g *group, m *pb.Message) *pb.Message {
	if m.GetType() != pb.MsgHeartbeatResp && m.GetType() != pb.MsgAppResp {
		return m
	}
	ctx, at := unstamp(m.GetContext())
	if len(ctx) != len(m.GetContext()) {
		m = &pb.Message{Type: m.Type, To: m.To, From: m.From, Term: m.Term, Context: ctx}
	}
	if g.term == 0 || m.GetTerm() != g.term {
		return m
	}
	if at = max(at, g.since); at > h.now() { // it is not one of ours
		at = g.since
	}
	if old, ever := g.heardAt[m.GetFrom()]; !ever || at > old {
		g.heardAt[m.GetFrom()] = at
		h.renew(g)
	}
	return m
}

// A stamp stands behind the context of a heartbeat: when that was made, and a byte that tells that it is one.
const (
	stampBytes = 9
	stampTag   = 's'
)

func stamped(m *pb.Message, at time.Duration) *pb.Message {
	ctx := make([]byte, 0, len(m.GetContext())+stampBytes)
	ctx = append(ctx, m.GetContext()...)
	ctx = binary.LittleEndian.AppendUint64(ctx, uint64(at)) //nolint:gosec // read back as it was
	return &pb.Message{Type: m.Type, To: m.To, From: m.From, Term: m.Term, Commit: m.Commit, Context: append(ctx, stampTag)}
}

// unstamp returns the context without its stamp, and when that was made, or -1.
func unstamp(ctx []byte) ([]byte, time.Duration) {
	n := len(ctx) - stampBytes
	if n < 0 || ctx[len(ctx)-1] != stampTag {
		return ctx, -1
	}
	return ctx[:n:n], time.Duration(binary.LittleEndian.Uint64(ctx[n:])) //nolint:gosec // as it was written
}

// handsOver is the context of a request for a vote that the leader itself has asked for.
const handsOver = "CampaignTransfer"

// silent tells whether a request for a vote is not heard, as this replica may have heard of a leader and forgotten it.
func (g *group) silent(m *pb.Message) bool {
	return g.mute > 0 && string(m.GetContext()) != handsOver
}
