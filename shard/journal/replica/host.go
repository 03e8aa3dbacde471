package replica

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// The errors of a Host that callers tell apart.
var (
	// ErrNotLeading says that the replica does not lead its group, or leads it no longer: nothing was proposed.
	ErrNotLeading = errors.New("replica: not the leader")
	// ErrFull says that too much of the leader's log waits for its quorum: nothing was proposed, try again later.
	ErrFull = errors.New("replica: too much is uncommitted")
	// ErrNoGroup says that the host has no replica of the group.
	ErrNoGroup = errors.New("replica: no such group")
	// ErrForgot says that the leader knows more of this replica's log than is here: entries that it has acknowledged are gone. It must take no
	// part any more; another replica takes its place.
	ErrForgot = errors.New("replica: acknowledged entries are gone")
	// ErrRetired says that a replica was on this disk and was taken off: its id never comes back, as it has forgotten what it has
	// promised.
	ErrRetired = errors.New("replica: it was retired")
)

// Config says how patient the groups of a host are, and how much they may hold. The zero value of a field means its default.
type Config struct {
	// ElectionTicks is after how many ticks without a leader a replica asks for votes, up to twice that, at random; default
	// 10. HeartbeatTicks is how often a leader says that it is there; default 1. A tick is 50 ms where nobody says otherwise.
	ElectionTicks, HeartbeatTicks int
	// MessageBytes bounds the entries of one message; default 1 MiB. InflightBytes and InflightMessages bound what is
	// on its way to one follower; default 8 MiB and 256.
	MessageBytes, InflightBytes uint64
	InflightMessages            int
	// UncommittedBytes bounds what a leader has proposed and its quorum has not; default 64 MiB.
	UncommittedBytes uint64
	// ApplyBytes bounds the committed entries of one batch and group; default 4 MiB.
	ApplyBytes uint64
	// CacheBytes is how much of each group's latest entries stay in memory for followers; default 1 MiB. A group of one
	// keeps none that is applied.
	CacheBytes int
	// Log reads entries that are not in memory.
	Log Log
	// Warn takes what an operator should know of a group; may be nil.
	Warn func(group uint16, what string)
	// Clock tells the time since some moment. It never goes back, and passes as fast as ticks do; default: the process's.
	Clock func() time.Duration
}

// Log reads back what batches have asked to append.
type Log interface {
	// Entries returns consecutive entries of the group from index lo up to, not including, hi: at least one, and no more
	// than maxBytes of them beyond the first. The caller does not change them.
	Entries(group uint16, lo, hi, maxBytes uint64) ([]*pb.Entry, error)
}

func (c *Config) defaults() {
	or := func(v *int, otherwise int) {
		if *v == 0 {
			*v = otherwise
		}
	}
	or64 := func(v *uint64, otherwise uint64) {
		if *v == 0 {
			*v = otherwise
		}
	}
	or(&c.ElectionTicks, 10)
	or(&c.HeartbeatTicks, 1)
	or64(&c.MessageBytes, 1<<20)
	or64(&c.InflightBytes, 8<<20)
	or(&c.InflightMessages, 256)
	or64(&c.UncommittedBytes, 64<<20)
	or64(&c.ApplyBytes, 4<<20)
	or(&c.CacheBytes, 1<<20)
	if c.Warn == nil {
		c.Warn = func(uint16, string) {}
	}
	if c.Clock == nil {
		began := time.Now()
		c.Clock = func() time.Duration { return time.Since(began) }
	}
}

// ID makes the id of a replica: the n'th that node has ever had, over all its groups and disks. It is never used
// again, also when the replica's disk was lost: a replica that forgot its votes must not vote again under its old name.
func ID(node, n uint32) uint64 { return uint64(node)<<32 | uint64(n) }

// NodeOf returns the node that the replica is on.
func NodeOf(replica uint64) uint32 { return uint32(replica >> 32) } //nolint:gosec // the upper half is meant

// Run is a run of entries of one term, from index First on.
type Run struct{ First, Term uint64 }

// Start is what the disk knows of a replica when its host takes it up.
type Start struct {
	Group uint16
	ID    uint64 // of this replica
	Hard  *pb.HardState
	Conf  *pb.ConfState // as of Applied
	// Applied is the last entry whose effect is in the rows, AppliedTerm its term.
	Applied, AppliedTerm uint64
	// The log has the entries from Prev+1 to Last; PrevTerm is the term of the entry Prev, and Runs the terms of the others.
	Prev, PrevTerm, Last uint64
	Runs                 []Run
}

// Bootstrap is the start of the first replicas of a new group, all with the same voters. Its log begins behind an entry that
// nobody has: so a replica that joins later cannot get the log from its beginning, which would not tell it of the voters,
// and needs a snapshot.
func Bootstrap(group uint16, id uint64, voters []uint64) Start {
	return Start{
		Group: group, ID: id, Hard: &pb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))},
		Conf: &pb.ConfState{Voters: voters}, Applied: 1, AppliedTerm: 1, Prev: 1, PrevTerm: 1, Last: 1,
	}
}

// Host runs a node's groups. It belongs to one goroutine.
type Host struct {
	cfg    Config
	groups [1 << 12]*group
	ids    []uint16 // of groups, in order of their adding
	dirty  []*group
	events []Event
	after  []Message // that waited for the disk
	ticks  uint64

	renewed []*group // see Renewed
}

// group is one replica.
type group struct {
	id    uint16
	self  uint64
	rn    *raft.RawNode
	st    storage
	dirty bool

	leader uint64
	term   uint64 // in which this replica leads, 0 while it does not
	ready  bool   // the first entry of that term is applied
	conf   *pb.ConfState
	reads  uint64 // number of the last ReadIndex that was asked for
	gone   bool   // removed from its group
	// While it leads, the ticks at which it last heard of the others. Raft's own note of that is wiped once in an election's time, so that a
	// look right behind it would find nobody.
	ticked map[uint64]uint64
	probes map[uint64]probe // while it leads: of the others
	shots  map[uint64]shot  // likewise: of those whose last snapshot was not taken

	// While it leads: when it began to, and when each other replica is known to have heard of it since. See sure.go.
	since   time.Duration
	heardAt map[uint64]time.Duration
	renewed bool
	mute    int           // ticks for which it grants nobody its vote
	handed  time.Duration // while it leads: when it was last told to hand over, -1 when it never was
	named   time.Duration // when the hand-over was made that it asks for votes by, -1 when that is not known
	word    word

	turn   rank // of asking for votes, since its leader has gone
	waited int  // ticks since then
}

// NewHost returns a host without groups.
func NewHost(cfg Config) *Host {
	cfg.defaults()
	return &Host{cfg: cfg}
}

// Add takes up a replica. It fails when the group is there already, or what the disk knows makes no sense.
func (h *Host) Add(s Start) error {
	if int(s.Group) >= len(h.groups) {
		return fmt.Errorf("replica: group %d is out of range", s.Group)
	}
	if h.groups[s.Group] != nil {
		return fmt.Errorf("replica: group %d is there already", s.Group)
	}
	g := &group{id: s.Group, self: s.ID, conf: s.Conf, handed: -1, named: -1}
	if s.Last > 1 || s.Hard.GetTerm() > 1 { // it may have heard of a leader
		g.mute = h.cfg.ElectionTicks
	}
	if err := g.st.begin(h, &s); err != nil {
		return fmt.Errorf("replica: group %d: %w", s.Group, err)
	}
	rn, err := raft.NewRawNode(&raft.Config{
		ID: s.ID, ElectionTick: h.cfg.ElectionTicks, HeartbeatTick: h.cfg.HeartbeatTicks, Storage: &g.st, Applied: s.Applied,
		AsyncStorageWrites: true, MaxSizePerMsg: h.cfg.MessageBytes, MaxCommittedSizePerReady: h.cfg.ApplyBytes,
		MaxUncommittedEntriesSize: h.cfg.UncommittedBytes, MaxInflightMsgs: h.cfg.InflightMessages, MaxInflightBytes: h.cfg.InflightBytes,
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, StepDownOnRemoval: true,
		Logger: logger{h.cfg.Warn, s.Group},
	})
	if err != nil {
		return fmt.Errorf("replica: group %d: %w", s.Group, err)
	}
	g.rn = rn
	h.groups[s.Group] = g
	h.ids = append(h.ids, s.Group)
	if voters := s.Conf.GetVoters(); len(voters) == 1 && voters[0] == s.ID && len(s.Conf.GetVotersOutgoing()) == 0 {
		_ = g.rn.Campaign() // nobody else could lead: why wait
	}
	h.mark(g)
	return nil
}

// Remove forgets a replica. What it had asked to be done is done or not, as the driver likes.
func (h *Host) Remove(id uint16) {
	g := h.group(id)
	if g == nil {
		return
	}
	h.lead(g, 0, 0)
	h.groups[id] = nil
	for i, v := range h.ids {
		if v == id {
			h.ids = append(h.ids[:i], h.ids[i+1:]...)
			break
		}
	}
}

func (h *Host) now() time.Duration { return h.cfg.Clock() }

func (h *Host) group(id uint16) *group {
	if int(id) >= len(h.groups) {
		return nil
	}
	return h.groups[id]
}

// leading tells whether the replica may propose: it leads still, also by what came in since the last batch, and its first
// entry is applied.
func (g *group) leading() bool { return g.ready && g.rn.BasicStatus().RaftState == raft.StateLeader }

func (h *Host) mark(g *group) {
	if !g.dirty {
		g.dirty = true
		h.dirty = append(h.dirty, g)
	}
}

// Tick moves the clocks of all groups by one tick.
func (h *Host) Tick() {
	h.ticks++
	for _, id := range h.ids {
		g := h.groups[id]
		if alone(g.conf) && g.ready {
			continue // nobody to hear of, and nobody to tell
		}
		g.mute = max(g.mute-1, 0)
		g.rn.Tick()
		h.hurry(g)
		h.missed(g)
		if g.rn.HasReady() {
			h.mark(g)
		}
	}
}

// Propose asks for an entry per piece of data, in order, all or none; the pieces are the host's from now on. Only the
// leader may: otherwise ErrNotLeading, and ErrFull when too much waits for the quorum. What is proposed may still be lost
// with the leadership; what is applied is not.
func (h *Host) Propose(id uint16, data ...[]byte) error {
	g := h.group(id)
	switch {
	case g == nil:
		return ErrNoGroup
	case !g.leading():
		return ErrNotLeading
	}
	entries := make([]*pb.Entry, len(data))
	for i, d := range data {
		entries[i] = &pb.Entry{Data: d}
	}
	err := g.rn.Step(&pb.Message{Type: pb.MsgProp.Enum(), From: new(g.self), Entries: entries})
	if errors.Is(err, raft.ErrProposalDropped) {
		if g.rn.BasicStatus().RaftState == raft.StateLeader && g.rn.BasicStatus().LeadTransferee == 0 {
			return ErrFull
		}
		return ErrNotLeading
	}
	if err != nil {
		return fmt.Errorf("replica: proposing: %w", err)
	}
	h.mark(g)
	return nil
}

// Change asks for another membership. It is refused while another change is under way; whether it was taken is seen when
// an Apply of the group has a Conf.
func (h *Host) Change(id uint16, cc *pb.ConfChangeV2) error {
	g := h.group(id)
	switch {
	case g == nil:
		return ErrNoGroup
	case !g.leading():
		return ErrNotLeading
	}
	if err := g.rn.ProposeConfChange(cc); err != nil {
		return fmt.Errorf("replica: changing the members of group %d: %w", id, err)
	}
	h.mark(g)
	return nil
}

// Transfer asks the leader to let another replica lead. It ends by itself, with an event or after an election's time.
func (h *Host) Transfer(id uint16, to uint64) error {
	g := h.group(id)
	switch {
	case g == nil:
		return ErrNoGroup
	case !g.leading():
		return ErrNotLeading
	}
	g.handed = h.now() // what was heard of it before does not count any more
	clear(g.heardAt)
	g.rn.TransferLeader(to)
	h.renew(g)
	h.mark(g)
	return nil
}

// Confirm asks whether the replica still leads. The batch that answers has Confirmed with the returned number or a higher one;
// it does not come when the leadership is lost. A group of one is answered at once.
func (h *Host) Confirm(id uint16) (n uint64, err error) {
	g := h.group(id)
	switch {
	case g == nil:
		return 0, ErrNoGroup
	case !g.leading(): // raft would forward the question
		return 0, ErrNotLeading
	}
	g.reads++
	var ctx [8]byte
	for i := range ctx {
		ctx[i] = byte(g.reads >> (8 * i))
	}
	g.rn.ReadIndex(ctx[:])
	h.mark(g)
	return g.reads, nil
}

// Message is one message between replicas of a group.
type Message struct {
	Group uint16
	Raft  *pb.Message
}

// To returns the replica that the message is for.
func (m Message) To() uint64 { return m.Raft.GetTo() }

// Step takes a message of another replica. One that makes no sense is dropped: the sender says it again, or is not of the
// group any more. ErrForgot says that this replica is to be taken off.
func (h *Host) Step(m Message) error {
	g := h.group(m.Group)
	if g == nil {
		return ErrNoGroup
	}
	if m.Raft.GetTo() != g.self {
		return fmt.Errorf("replica: a message for replica %x came to %x: %w", m.Raft.GetTo(), g.self, ErrNoGroup)
	}
	msg := m.Raft
	switch msg.GetType() {
	case pb.MsgProp, pb.MsgReadIndex, pb.MsgReadIndexResp, pb.MsgTransferLeader:
		return fmt.Errorf("replica: %s is not taken from another node", msg.GetType())
	case pb.MsgHeartbeat:
		// It says no more than what this replica has acknowledged, and that was durable.
		if commit := msg.GetCommit(); commit > g.st.last {
			return fmt.Errorf("replica: group %d: its leader knows that %d is here, and the log ends at %d: %w", m.Group, commit, g.st.last, ErrForgot)
		}
		g.listen(msg)
	case pb.MsgVote, pb.MsgPreVote, pb.MsgTimeoutNow:
		if msg = g.asked(msg); msg == nil {
			return nil
		}
	default:
	}
	if err := g.rn.Step(h.heard(g, msg)); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
		return fmt.Errorf("replica: group %d: %w", m.Group, err)
	}
	if g.term != 0 && m.Raft.GetTerm() == g.term {
		g.ticked[m.Raft.GetFrom()] = h.ticks
	}
	h.mark(g)
	return nil
}

// Unreachable tells the groups that node does not answer, so that they stop hurrying entries there.
func (h *Host) Unreachable(node uint32) {
	for _, id := range h.ids {
		g := h.groups[id]
		if g.term == 0 {
			continue
		}
		g.eachPeer(func(peer uint64) {
			if NodeOf(peer) == node {
				g.rn.ReportUnreachable(peer)
			}
		})
	}
}

func (g *group) eachPeer(fn func(id uint64)) {
	seen := make(map[uint64]bool, 4)
	for _, list := range [][]uint64{g.conf.GetVoters(), g.conf.GetLearners(), g.conf.GetVotersOutgoing(), g.conf.GetLearnersNext()} {
		for _, id := range list {
			if id != g.self && !seen[id] {
				seen[id] = true
				fn(id)
			}
		}
	}
}

// Compacted tells that the log of the group was truncated up to index upTo, which must be applied.
func (h *Host) Compacted(id uint16, upTo uint64) {
	if g := h.group(id); g != nil {
		g.st.compact(upTo)
	}
}

// Status is how a replica is.
type Status struct {
	ID, Leader, Term, Commit, Applied, First, Last uint64
	Leads                                          bool // and may propose
	Conf                                           *pb.ConfState
	// Followers is, on a leader, how far each other replica is.
	Followers map[uint64]Follower
}

// Follower is a leader's view of another replica.
type Follower struct {
	Match    uint64 // its log agrees up to here
	Active   bool   // heard of within an election's time
	Snapshot bool   // it needs a snapshot
	Learner  bool
}

// Status returns how the replica of a group is.
func (h *Host) Status(id uint16) (Status, error) {
	g := h.group(id)
	if g == nil {
		return Status{}, ErrNoGroup
	}
	b := g.rn.BasicStatus()
	s := Status{
		ID: g.self, Leader: b.Lead, Term: b.HardState.GetTerm(), Commit: b.HardState.GetCommit(), Applied: b.Applied, First: g.st.prev + 1, Last: g.st.last,
		Leads: g.ready, Conf: g.conf,
	}
	if g.term != 0 {
		s.Followers = map[uint64]Follower{}
		g.rn.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			if id != g.self {
				at, ever := g.ticked[id]
				active := ever && h.ticks-at < uint64(h.cfg.ElectionTicks) //nolint:gosec // some ten
				s.Followers[id] = Follower{p.Match, active, p.State == tracker.StateSnapshot, p.IsLearner}
			}
		})
	}
	return s, nil
}

// logger lets through what an operator must know of.
type logger struct {
	warn  func(uint16, string)
	group uint16
}

func (logger) Debug(...any)          {}
func (logger) Debugf(string, ...any) {}
func (logger) Info(...any)           {}
func (logger) Infof(string, ...any)  {}

func (l logger) Warning(v ...any)            { l.warn(l.group, fmt.Sprint(v...)) }
func (l logger) Warningf(f string, v ...any) { l.warn(l.group, fmt.Sprintf(f, v...)) }
func (l logger) Error(v ...any)              { l.warn(l.group, fmt.Sprint(v...)) }
func (l logger) Errorf(f string, v ...any)   { l.warn(l.group, fmt.Sprintf(f, v...)) }
func (l logger) Fatal(v ...any)              { panic(fmt.Sprint(v...)) }
func (l logger) Fatalf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
func (l logger) Panic(v ...any)              { panic(fmt.Sprint(v...)) }
func (l logger) Panicf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
