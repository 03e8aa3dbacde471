package session

import "switchboard/wire"

// Phase is where a session stands in its life [SW-4].
type Phase uint8

// The phases. Their numbers are part of stored rows.
const (
	New      Phase = iota // nobody is looked for: just opened, released or reopened
	Queued                // waits for a worker under Ticket
	Assigned              // Owner has it under AE
	Closed
)

var phaseNames = [...]string{"new", "queued", "assigned", "closed"}

// String returns the phase's name on the wire.
func (p Phase) String() string { return phaseNames[p] }

// Limits of one session's memory.
const (
	// KeysInMemory is how many idempotency keys a state holds; older ones are read from their rows [SW-4.3].
	KeysInMemory = 64
	// maxOld bounds the fingerprints of older keys in memory; beyond it every unknown key is looked up.
	maxOld = 4096
	// maxAttached bounds the connections that follow one session.
	maxAttached = 64
	// maxFrontend bounds those of them that are its customer's, or of services: who supervises finds a place, however many of them follow.
	maxFrontend = 48
	// maxStreams bounds the running streams of an owner in one session.
	maxStreams = 4
	// maxGuests bounds the guests of one session.
	maxGuests = 8
	// maxPast bounds the former owners that are remembered for what they may still read [SW-5.10].
	maxPast = 16
)

// Policy is what a tenant's configuration says about its sessions. It is shared and never changes.
type Policy struct {
	ReopenWindowMS int64           // how long after its end a session can be reopened; default 24 h [SW-4.6]
	MaxAttempts    uint32          // deliveries of one entry before the session moves on; default 5 [SW-5.6]
	WrapUpMS       int64           // a human's time after a release; default 0 [SW-5.9]
	MaxBody        int             // bytes of a stream's text and of a context document
	Queues         map[string]bool // the queues that exist
	DefaultQueue   string          // where an open without queue goes
	// Rules are what sessions of a queue go by while somebody has them; may be nil.
	Rules map[string]*Rule
	// Moves says where the sessions of queues go that are there no more.
	Moves map[string]string
}

// Queue returns where sessions that name a queue go: into it, or, when it is there no more, to the one that took its place.
// ok is false when there is neither.
func (p *Policy) Queue(name string) (queue string, ok bool) {
	if p.Queues[name] {
		return name, true
	}
	to := p.Moves[name]
	return to, p.Queues[to]
}

// Named returns the queue that is meant by name: as [Policy.Queue] does, and name itself where that knows none.
func (p *Policy) Named(name string) string {
	if to, ok := p.Queue(name); ok {
		return to
	}
	return name
}

// Owner is the worker that a session is assigned to. The zero Owner is none.
type Owner struct {
	Worker string // worker id: sub and instance
	Sub    string
	Name   string
	Kind   wire.Origin // bot or human
	Lease  string
	Offer  string // the offer that it accepted, of humans
	// Role is empty of workers. A supervisor who took the session has neither lease nor slot: his assignment ends with his
	// connection [SW-5a.4].
	Role   wire.Role
	Ticket uint64 // under which it was granted
	Since  uint64 // the head when it was assigned: what lies before was said to somebody else
}

// Past is a former owner: it still sees what was said up to Until [SW-5.10].
type Past struct {
	Worker string
	Until  uint64
}

// Transfer is a transfer to a worker who has not accepted yet [SW-5.8].
type Transfer struct {
	Ticket uint64 // 0 means that none is pending
	Worker string
	Note   string
	Force  bool // an operator's: it comes whatever the worker's slots are
}

// Guest is somebody beside the owner [SW-5a.1]. He is there as long as his connection follows the session.
type Guest struct {
	GE   uint64 // the seq of his participant.joined
	Sub  string
	Role wire.Role
	As   string
	Conn wire.Conn
	// Worker is the id of a worker who was invited; empty of supervisors.
	Worker string
	here   bool // known to be connected by this memory's own knowledge
}

// EpochStart says that Epoch began with the entry First.
type EpochStart struct{ Epoch, First uint64 }

// State is one session. It has one owner goroutine; nothing here is safe for concurrent use.
type State struct {
	// Durable: changed by Apply alone.
	ID         wire.SessionID
	Tenant     string
	Shop       string
	Queue      string
	Customer   wire.Author // that it was opened by; he stays that when he has become another
	Holder     string      // whom he has become, as far as the session was told
	OpenedAt   int64       // Unix ms; 0 of those that were opened before this was noted
	Tier       string
	Channels   []string // that it was opened on, first to last
	Attributes []byte   // JSON
	Phase      Phase
	HumanOnly  bool         // the bots had their turn: only a human takes it over
	Epochs     []EpochStart // at least one; the last is the current
	Head       uint64       // the last seq
	Public     uint64       // the last public seq: prev of customers [SW-4.4]
	Said       uint64       // the last entry of the customer
	Ticket     uint64       // grows at every queueing
	EnqueuedAt int64        // since when the customer waits; survives decline, loss and transfer [I10]; 0 before and after a session's work
	Requeued   bool         // the ticket follows an assignment
	Handed     bool         // which its owner ended with a transfer to the queue
	Classified bool         // since it last began to wait it was said what it is about, or nobody could [SW-5a.3]
	Exclude    string       // worker id that shall not get it back at once
	LastWorker string
	AE         uint64 // only grows [SW-5.3]
	Owner      Owner
	Past       []Past
	Transfer   Transfer
	Guests     []Guest
	Invites    []Invite
	WrapUps    []WrapUp // of its former owners, those that run; in the row that says that it is live
	// AttributesV counts the changes of Attributes since the session was opened [SW-5a.2].
	AttributesV uint64
	Stumbles    uint32 // failed turns in a row of the bot that has it
	Followed    bool   // a connection of its customer followed it when it was put in line
	ContextV    uint64
	Context     []byte // JSON
	ClosedAt    int64
	ErasedAt    int64  // Unix ms, when its customer was erased; 0 while he is not
	Pool        uint64 // the highest pool number seen: lower ones are refused
	Resort      uint64 // the ticket under which the last resort was told, or 0
	KeyCount    uint64 // keys ever remembered
	Keys        keyRing

	// Soft: in the rows, but not worth a turn of their own when a plain ack changes them.
	Cursor    uint64 // customer entries up to here are acknowledged by the owner
	FailSeq   uint64 // the entry behind Cursor whose delivery failed Attempt times, or 0
	Attempt   uint32
	HoldUntil int64  // no delivery of FailSeq and what follows before; set by nack
	Delivered uint64 // the customer's acknowledged position
	Read      uint64 // what the customer has read

	// Volatile: gone with the owner's memory.
	Attached []Attachment
	tail     tail
	old      oldKeys
	lists    listing
	owner    delivery
	streams  []stream
	question question
	place    *wire.Place // where it stands, while it waits
	boost    int64       // ms by which service levels count it as having come earlier
	ahead    uint32      // steps of its route that they open before their time
	boosts   uint64      // grows with each change of these, also from one owner of the shard to the next
	// until when somebody is looked for who is noted as present and not known to be, Unix ms; 0 while there is nobody, and before that is noticed
	lonelyUntil int64
	absent      int64 // since when no connection of its customer follows it, Unix ms; 0 while one does, and when none ever did
}

// Attachment is a connection that follows the session from its position on.
type Attachment struct {
	Conn    wire.Conn
	Who     *wire.Principal
	Channel string // that it opened the session on; may be empty
}

// delivery is the owner's window.
type delivery struct {
	conn    wire.Conn // zero while the worker is gone
	window  int
	sent    uint64   // entries up to here were delivered or needed no delivery
	said    uint64   // the last that was delivered since the deliveries began, or began again; 0 for none
	unacked []uint64 // customer entries among them that are not acknowledged, ascending
	back    []*wire.Entry
	loading bool
	// Until it is delivered again, what an earlier owner of the session's shard, or another connection, may have been shown:
	// entries up to here may be acknowledged, whatever sent is. 0 when sent says it all.
	before  uint64
	mayOwe  uint64 // and up to here given back: the last of the customer's among them, as far as it is known
	retryAt int64  // when a failed load is to be asked for again
	began   uint64 // the cursor when the assignment began; 0 also when that was at an earlier owner of the session's shard
	// The accept that was answered.
	accept     uint64
	acceptConn wire.Conn
}

// stream is a running stream of the owner [SW-4.8].
type stream struct {
	id   string
	text []byte
}

// Epoch returns the epoch that entries are written under now.
func (s *State) Epoch() uint64 {
	if len(s.Epochs) == 0 {
		return 1
	}
	return s.Epochs[len(s.Epochs)-1].Epoch
}

// Live tells whether s has business with its pool, its owner, its former ones or its guests, and so must stay in memory.
func (s *State) Live() bool {
	return s.Phase == Queued || s.Phase == Assigned || len(s.Guests)+len(s.Invites)+len(s.WrapUps) > 0
}

// Remember puts rows that were read into a fresh state: the latest entries, the latest keys in the order they were
// made, and where all older ones are. Keys beyond number listed stand in no list; all of them ride.
func (s *State) Remember(last []*wire.Entry, keys []Key, older []KeyAt, listed uint64) {
	s.tail = tail{}
	if n := len(last); n > 0 && last[n-1].Seq == s.Head { // what does not reach the head would be a hole
		for _, e := range last {
			s.tail.add(e)
		}
	}
	s.lists, s.old = listing{upTo: listed, from: s.Head}, oldKeys{}
	for _, k := range older {
		s.old.put(k)
	}
	s.Keys.hold(keys)
	for i := range keys {
		s.putKey(&keys[i])
		if keys[i].N > listed {
			s.lists.from = min(s.lists.from, keys[i].Seq)
		}
	}
	if s.owner = (delivery{}); s.Phase == Assigned {
		s.owner.before, s.owner.mayOwe = s.Head, s.Head
	}
}
