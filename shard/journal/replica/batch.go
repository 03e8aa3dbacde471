package replica

import (
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// Append is what a group wants written before Done: its hard state when that is there, a snapshot when that is there, and
// entries, which replace what the log has from the first of them on.
type Append struct {
	Group    uint16
	Hard     *pb.HardState
	Snapshot *pb.Snapshot
	Entries  []*pb.Entry
	// Sync says that it must be durable before Done. Without it only a commit index has moved.
	Sync bool

	responses []*pb.Message
}

// Apply is what is decided for good: entries of one group in order. Entries without data are raft's own.
type Apply struct {
	Group   uint16
	Entries []*pb.Entry
	// Conf is the membership from the last of Entries on, when one of them changed it. It is to be kept with the rows.
	Conf *pb.ConfState

	response *pb.Message
}

// EventKind names an event.
type EventKind uint8

// The events of a replica.
const (
	// Leads: the replica leads its group in Term, and everything before is applied: its owner may begin.
	Leads EventKind = iota + 1
	// Follows: it does not lead any more, or another replica (Leader, 0 for nobody) is known to. What was proposed and is not
	// applied may come or not.
	Follows
	// Removed: it is no member of its group any more, and may be taken off the disk.
	Removed
)

// Event is what became of a replica.
type Event struct {
	Kind   EventKind
	Group  uint16
	Term   uint64
	Leader uint64
}

// Read is the answer to Confirm.
type Read struct {
	Group     uint16
	Confirmed uint64
}

// Batch is what is to be done: Send, then Apply, then Append with one sync, then Events. It is reused from Collect to Collect.
type Batch struct {
	Send   []Message
	Apply  []Apply
	Append []Append
	Reads  []Read
	Events []Event // they hold once Apply is done
}

func (b *Batch) reset() {
	clear(b.Send)
	clear(b.Apply)
	clear(b.Append)
	b.Send, b.Apply, b.Append, b.Reads, b.Events = b.Send[:0], b.Apply[:0], b.Append[:0], b.Reads[:0], b.Events[:0]
}

// Collect fills b with what is to be done now, and reports whether there is anything. Every Collect that returns true is
// followed by Done when all of it is done.
func (h *Host) Collect(b *Batch) bool {
	b.reset()
	b.Send = append(b.Send, h.after...)
	clear(h.after)
	h.after = h.after[:0]
	for i, g := range h.dirty {
		h.dirty[i] = nil
		g.dirty = false
		if h.groups[g.id] != g {
			continue // removed
		}
		for g.rn.HasReady() {
			rd := g.rn.Ready()
			h.ready(g, &rd, b)
		}
	}
	h.dirty = h.dirty[:0]
	b.Events = append(b.Events, h.events...)
	h.events = h.events[:0]
	return len(b.Send)+len(b.Apply)+len(b.Append)+len(b.Reads)+len(b.Events) > 0
}

func (h *Host) ready(g *group, rd *raft.Ready, b *Batch) {
	if rd.SoftState != nil {
		term := uint64(0)
		if rd.RaftState == raft.StateLeader {
			term = g.rn.BasicStatus().HardState.GetTerm()
		}
		h.lead(g, term, rd.Lead)
	}
	for i := range rd.ReadStates {
		b.Reads = append(b.Reads, Read{g.id, binary.LittleEndian.Uint64(rd.ReadStates[i].RequestCtx)})
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			a := Append{Group: g.id, Entries: m.GetEntries(), responses: m.GetResponses()}
			if m.Term != nil {
				a.Hard = &pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
				g.st.hard = a.Hard
			}
			if !raft.IsEmptySnap(m.GetSnapshot()) {
				a.Snapshot = m.GetSnapshot()
			}
			a.Sync = len(a.responses) > 0
			b.Append = append(b.Append, a)
		case raft.LocalApplyThread:
			b.Apply = append(b.Apply, h.apply(g, m))
		default:
			if m = h.sign(g, m); m != nil {
				b.Send = append(b.Send, Message{g.id, m})
			}
		}
	}
}

// apply looks through committed entries for changes of the membership and for the first of the leader's own.
func (h *Host) apply(g *group, m *pb.Message) Apply {
	a := Apply{Group: g.id, Entries: m.GetEntries(), response: m.GetResponses()[0]}
	for _, e := range a.Entries {
		if cc := change(e); cc != nil {
			a.Conf = g.rn.ApplyConfChange(cc)
			g.conf, g.st.conf = a.Conf, a.Conf
			h.renew(g)
			if !member(a.Conf, g.self) && !g.gone {
				g.gone = true
				h.events = append(h.events, Event{Kind: Removed, Group: g.id})
			}
		}
		if g.term != 0 && !g.ready && e.GetTerm() == g.term {
			g.ready = true
			h.renew(g)
			h.events = append(h.events, Event{Kind: Leads, Group: g.id, Term: g.term, Leader: g.self})
		}
	}
	return a
}

// change returns the change of membership that an entry holds, or nil. An entry that cannot be read changes nothing: on no
// replica.
func change(e *pb.Entry) pb.ConfChangeI {
	switch e.GetType() {
	case pb.EntryConfChange:
		cc := &pb.ConfChange{}
		if unmarshal(e.GetData(), cc) == nil {
			return cc
		}
	case pb.EntryConfChangeV2:
		cc := &pb.ConfChangeV2{}
		if unmarshal(e.GetData(), cc) == nil {
			return cc
		}
	default:
	}
	return nil
}

func member(c *pb.ConfState, id uint64) bool {
	for _, list := range [][]uint64{c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext()} {
		if slices.Contains(list, id) {
			return true
		}
	}
	return false
}

// lead notes who leads g.
func (h *Host) lead(g *group, term, leader uint64) {
	if term == g.term && leader == g.leader {
		return
	}
	led := g.term != 0 && g.term != term
	known := g.leader != leader
	g.leader = leader
	if g.term != term {
		g.term, g.ready, g.ticked, g.probes, g.shots = term, false, map[uint64]uint64{}, map[uint64]probe{}, map[uint64]shot{}
		g.since, g.heardAt, g.handed = h.now(), map[uint64]time.Duration{}, -1 // before anything leaves that says so
		h.renew(g)
	}
	if term == 0 && (led || known) {
		h.events = append(h.events, Event{Kind: Follows, Group: g.id, Leader: leader})
	}
	if term != 0 && led { // it led before, in a lower term
		h.events = append(h.events, Event{Kind: Follows, Group: g.id, Leader: leader})
	}
}

// Done says that everything of b is done: applied, and durable where it had to be. What follows from that is in the next
// batch.
func (h *Host) Done(b *Batch) {
	for i := range b.Apply {
		a := &b.Apply[i]
		g := h.group(a.Group)
		if g == nil {
			continue
		}
		g.st.applied = a.Entries[len(a.Entries)-1].GetIndex()
		g.st.shrink()
		_ = g.rn.Step(a.response) // of its own thread: cannot be wrong
		h.mark(g)
	}
	for i := range b.Append {
		a := &b.Append[i]
		g := h.group(a.Group)
		if g == nil {
			continue
		}
		if a.Snapshot != nil {
			g.st.install(a.Snapshot)
			g.conf = g.st.conf
		}
		g.st.append(a.Entries)
		for _, m := range a.responses {
			if m.GetTo() != g.self {
				h.after = append(h.after, Message{g.id, m})
				continue
			}
			_ = g.rn.Step(m) // of its own thread: cannot be wrong
		}
		h.mark(g)
	}
}
