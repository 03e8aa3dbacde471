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
// Whom the leader itself has asked to lead has votes at once. He may act on that long after the hand-over has come to nothing, as one whose disk stood
// still does. So a hand-over carries when it was made, as a heartbeat does, and whoever has heard a heartbeat since then that was made behind the
// hand-over's end takes it for none. Those, and no others, are what makes a leader sure again.
//
// A replica that begins again has forgotten of whom it has heard, and of what: it grants nobody its vote for an election's time, and does not let itself be
// asked to lead.
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
	ctx, at, firm := unstamp(m.GetContext())
	if len(ctx) != len(m.GetContext()) {
		m = &pb.Message{Type: m.Type, To: m.To, From: m.From, Term: m.Term, Context: ctx}
	}
	if g.term == 0 || m.GetTerm() != g.term {
		return m
	}
	if at > h.now() { // it is not one of ours
		at = -1
	}
	if g.handed >= 0 && (!firm || at <= g.handed) { // it may have been heard before the hand-over has come to nothing
		return m
	}
	at = max(at, g.since)
	if old, ever := g.heardAt[m.GetFrom()]; !ever || at > old {
		g.heardAt[m.GetFrom()] = at
		h.renew(g)
	}
	return m
}

// A stamp stands behind the context of a message: when that was made, and a byte that tells that it is one, and whether the leader that made it was
// handing over.
const (
	stampBytes   = 9
	stampFirm    = 's'
	stampHanding = 'h'
)

func stamped(m *pb.Message, at time.Duration, firm bool) *pb.Message {
	ctx := make([]byte, 0, len(m.GetContext())+stampBytes)
	ctx = append(ctx, m.GetContext()...)
	ctx = binary.LittleEndian.AppendUint64(ctx, uint64(at)) //nolint:gosec // read back as it was
	tag := byte(stampHanding)
	if firm {
		tag = stampFirm
	}
	return withContext(m, append(ctx, tag))
}

func withContext(m *pb.Message, ctx []byte) *pb.Message {
	return &pb.Message{Type: m.Type, To: m.To, From: m.From, Term: m.Term, LogTerm: m.LogTerm, Index: m.Index, Commit: m.Commit, RejectHint: m.RejectHint, Context: ctx}
}

// A request for a vote says by which hand-over it is made in a field that such a request has no use for: its context must be what versions before know.
func byHandOver(m *pb.Message, at time.Duration) *pb.Message {
	v := withContext(m, m.GetContext())
	v.RejectHint = new(uint64(at) + 1) //nolint:gosec // not below zero
	return v
}

// handOverOf returns when the hand-over was made that a request for a vote is made by, -1 when it does not say.
func handOverOf(m *pb.Message) time.Duration {
	return time.Duration(m.GetRejectHint()) - 1 //nolint:gosec // as it was written
}

// unstamp returns the context without its stamp, and when that was made, or -1.
func unstamp(ctx []byte) (rest []byte, at time.Duration, firm bool) {
	n := len(ctx) - stampBytes
	if n < 0 || ctx[len(ctx)-1] != stampFirm && ctx[len(ctx)-1] != stampHanding {
		return ctx, -1, false
	}
	return ctx[:n:n], time.Duration(binary.LittleEndian.Uint64(ctx[n:])), ctx[len(ctx)-1] == stampFirm //nolint:gosec // as it was written
}

// handsOver is the context of a request for a vote that the leader itself has asked for.
const handsOver = "CampaignTransfer"

// word is what a replica has last heard of a leader about handing over.
type word struct {
	term uint64
	at   time.Duration // by the leader's clock
	firm bool          // it was not handing over
}

// listen notes what a heartbeat says of handing over. Of two the one that was made later counts, whichever comes first.
func (g *group) listen(m *pb.Message) {
	_, at, firm := unstamp(m.GetContext())
	if at < 0 || m.GetTerm() < g.rn.BasicStatus().HardState.GetTerm() {
		return
	}
	if m.GetTerm() != g.word.term || at >= g.word.at {
		g.word = word{m.GetTerm(), at, firm}
	}
}

// void tells whether a hand-over that the leader of a term made at a moment has come to nothing, as far as is known here.
func (g *group) void(term uint64, at time.Duration) bool {
	return g.word.firm && g.word.term == term && g.word.at > at // at the same moment it was made before
}

// asked takes a message that asks to lead, or for a vote, and returns it as Raft knows it, or nil when it is not heard.
func (g *group) asked(m *pb.Message) *pb.Message {
	if g.mute > 0 {
		return nil // it may have heard of a leader and forgotten it; it is asked again
	}
	switch {
	case m.GetType() == pb.MsgTimeoutNow:
		ctx, at, _ := unstamp(m.GetContext())
		if g.void(m.GetTerm(), at) {
			return nil
		}
		g.named = at
		return withContext(m, ctx)
	case string(m.GetContext()) == handsOver:
		if at := handOverOf(m); at >= 0 && g.void(m.GetTerm()-1, at) { // versions before do not say
			return withContext(m, nil) // it is asked as by anybody
		}
	}
	return m
}

// sign puts on a message of this replica what others want to know of when it was made. It returns nil for what is to be said no more.
func (h *Host) sign(g *group, m *pb.Message) *pb.Message {
	switch m.GetType() {
	case pb.MsgHeartbeat:
		return stamped(m, h.now(), g.rn.BasicStatus().LeadTransferee == 0) // it leaves later than now
	case pb.MsgTimeoutNow:
		if g.rn.BasicStatus().LeadTransferee == 0 {
			return nil
		}
		return stamped(m, h.now(), false)
	case pb.MsgApp:
		return h.probe(g, m)
	case pb.MsgSnap:
		g.shoot(m)
	case pb.MsgVote:
		if string(m.GetContext()) == handsOver && g.named >= 0 {
			return byHandOver(m, g.named)
		}
	default:
	}
	return m
}
