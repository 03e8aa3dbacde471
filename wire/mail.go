package wire

import "switchboard/wire/wirepb"

// Address says where mail goes: to the owner of a slot, or to a connection. It is a value and a map key.
type Address struct {
	Node uint64 // incarnation of the node; 0 for slots, whose node the exchange knows
	ID   uint64 // of the connection, or the slot
	Slot bool
}

// ToSlot returns the address of the shard that owns slot.
func ToSlot(slot Slot) Address { return Address{ID: uint64(slot), Slot: true} }

// Address returns where mail for c goes.
func (c Conn) Address() Address { return Address{Node: c.Node, ID: c.ID} }

// Mail is what owners tell each other: a *Command, a *Frame, or one of the kinds between sessions and pools. Whoever
// is handed mail owns it, except for entries and principals, which are shared and never change.
type Mail interface{ mail() }

// Envelope is mail on its way. Mail is delivered at most once, in order per pair of sender and receiver.
type Envelope struct {
	To Address
	// Term is that of the shard that sent it; an attachment drops mail of a lower term than it has seen. On a command it is
	// the term of the owner that it is meant for, and no other takes it; 0 is any.
	Term uint64
	Mail Mail
}

// FrameKind tells what a Frame is, and so what the edge does with it.
type FrameKind uint8

// The kinds of frames for a connection.
const (
	// FrameAnswer is the reply in PB to request ID. To a subscribe Seq is its turn: the later of two that resume as one worker has the larger.
	FrameAnswer FrameKind = iota
	// FrameWrote is the reply to a send or reply (Verb): Seq, Epoch, TS, Duplicate; Prev as in FrameMessage. For a
	// connection that follows the session it stands for the entry, in its place in the order [SW-4.4].
	FrameWrote
	// FrameError is the reply Err to request ID.
	FrameError
	// FrameMessage pushes Entry, whose predecessor visible to this recipient is Prev [SW-4.4]. It may be dropped:
	// the edge then asks for a page.
	FrameMessage
	// FrameDelivery pushes Entry to the owner under AE, for the Attempt'th time [SW-5.4]; Head is the entry of the one before it, 0 for the first. It may
	// be dropped, or lost on its way: the edge then drops all later ones of the session, asks for a resync from the first that is missing, and goes on
	// at FrameResync.
	FrameDelivery
	// FrameDelta pushes Text at offset Seq of Stream [SW-4.8]. It may be dropped: the edge then asks for a page.
	FrameDelta
	// FramePush pushes PB, which may be dropped: typing, receipts, states, streams.
	FramePush
	// FrameKeep pushes PB, which must not be dropped: offers, revocations, presence, rewinds.
	FrameKeep
	// FrameAttach is the reply PB (an open) to request ID; from now on the connection follows Session after Seq. Head
	// is the last entry that it may see: when Seq is behind it, the edge asks for a page.
	FrameAttach
	// FrameDetach ends what FrameAttach began; PB, when there is one, is the reply to request ID.
	FrameDetach
	// FramePage answers VerbPage: Entries in order after Seq, Head the last that the recipient may see by now, and
	// Streams that are running.
	FramePage
	// FrameAssigned pushes PB (assigned) and begins the deliveries of Session under AE. Without PB nothing is written:
	// `kept` has told it.
	FrameAssigned
	// FrameResync says that the deliveries asked for by VerbResync follow. Nothing is written.
	FrameResync
	// FrameRevoked pushes PB (revoked) and ends the deliveries of Session under AE. Without PB nothing is written: the
	// reply to a release has told it.
	FrameRevoked
	// FrameBye closes the connection with the close code Seq after what was queued before [SW-6.2]: kicked, takeover.
	FrameBye
	// FrameFeed is a piece of what VerbWatch asked of the shard that owns slot Head: an Entry, whose number there is Seq and
	// that of the one before in this feed Prev; or, without one, that everything up to Seq has been told, behind Prev. Then Live
	// says that what comes will be told by itself; otherwise it is to be asked for. Err refuses. It may be dropped: the next
	// one shows it.
	FrameFeed
	// FrameMoved says that request ID about Session was not taken, and certainly will not be: its owner is not here, or it was
	// meant for another one, whose term was Seq. The edge asks the one that is there; with Live that is he, who wants to know that it is still
	// to be done. Without an ID it tells the same of what asked for no reply. It never reaches a client.
	FrameMoved
)

// Frame is mail for a connection: one frame of its socket, and what the edge must know to put it in its place.
// Fields that a kind does not name are zero.
type Frame struct {
	Kind      FrameKind
	Verb      Verb
	Duplicate bool
	Live      bool
	Attempt   uint32
	ID        uint64
	Session   SessionID
	Entry     *Entry
	Entries   []*Entry
	Streams   []*wirepb.Stream
	Stream    string
	Text      string
	Seq       uint64
	Epoch     uint64
	Head      uint64
	Prev      uint64
	AE        uint64
	TS        int64
	Err       *Error
	PB        *wirepb.ServerFrame
}

// Mail from sessions to their pool. All of it is a level: it may come twice, late and out of order between
// repetitions; the ticket tells.
type (
	// Task says that a session waits under Ticket. It is repeated every second until it is granted or withdrawn.
	Task struct {
		Tenant     string
		Session    SessionID
		Ticket     uint64
		Queue      string
		EnqueuedAt int64 // Unix ms; never changes while somebody waits [I10]
		Priority   int32
		BoostMS    int64  // counts as if it had come so much earlier
		Ahead      uint32 // steps of its route that open before their time
		Version    uint64 // grows under one ticket with what changes of it
		Shop       string
		Tier       string
		Channel    string   // that it was opened on first
		Attributes []byte   // JSON, for routing [SW-5a.2]; shared, never changed
		Exclude    []string // worker ids
		Sticky     string   // worker id
		To         string   // worker id: a transfer to a worker [SW-5.8]
		From       string   // worker id of the source of such a transfer
		Force      bool     // To gets it whatever his slots and presence are, and is not asked [SW-5a.4]
		HumansOnly bool     // the bots had their turn
		Requeue    bool     // it was assigned before
		Handed     bool     // and its owner handed it to the queue
		Summary    []byte   // JSON for the offer
		Present    bool     // To is a guest of the session: he need not be asked
		Classified bool     // it was said what it is about, or nobody could [SW-5a.3]
	}
	// Withdraw says that nobody needs to be found under Ticket any more. It is said once, and again to a pool that still speaks of the ticket.
	Withdraw struct {
		Tenant  string
		Session SessionID
		Ticket  uint64
	}
	// Confirm says that the grant under Ticket is durable.
	Confirm struct {
		Tenant  string
		Session SessionID
		Ticket  uint64
		Worker  string
		Lease   string
		AE      uint64
	}
	// Declined says that the grant under Ticket was not taken.
	Declined struct {
		Tenant  string
		Session SessionID
		Ticket  uint64
		Worker  string
	}
	// Release gives the capacity of the assignment under Ticket and AE back, after WrapUpMS. Kept says that the session keeps the wrap-up, for the pools that
	// follow: it wants to be told when that ends before its time, and says then that nothing is left of it.
	Release struct {
		Tenant   string
		Session  SessionID
		Ticket   uint64
		Worker   string
		AE       uint64
		WrapUpMS int64
		Kept     bool
	}
	// Resorted says that the log tells of the last resort under Ticket.
	Resorted struct {
		Tenant  string
		Session SessionID
		Ticket  uint64
	}
	// Seek asks where a worker is whom the session has invited [SW-5a.1]. Repeated, ever less often, until Found says where. Who is not there is
	// found later, when he comes.
	Seek struct {
		Tenant  string
		Session SessionID
		N       uint64 // of the invitation
		Worker  string
	}
	// Live is one line of a census answer: a task that a session's shard knows of.
	Live struct {
		Task
		Assigned bool
		Worker   string
		Kind     Origin
		Lease    string
		Offer    string
		AE       uint64
	}
	// Unbound says that the session is assigned, and that its shard does not know where its worker is connected: it was read
	// from the log. The pool answers with a Rebind when he is there. It is repeated until then.
	Unbound struct{ Live }
	// Census asks a shard for every live task of the tenant's pool, whose number is now Pool.
	Census struct {
		Tenant string
		Pool   uint64
		Shard  uint32 // that is asked, as the pool counts them
		Reply  Address
	}
	// CensusAnswer is what shard Shard knows. Grants with a lower pool number are refused from now on.
	CensusAnswer struct {
		Tenant string
		Pool   uint64
		Shard  uint32
		Live   []Live
		// Shape is that of the placement's map by which the shard is open; 0 where that does not change.
		Shape uint64
		// Left are assignments and wrap-ups of sessions whose slots have left the shard of late: whoever gets them may not have them yet.
		Left []Left
		// WrapUps are those that run.
		WrapUps []WrapUp
	}
	// WrapUp is what is left of the time that a worker is busy with an assignment that is over.
	WrapUp struct {
		Live
		LeftMS int64
	}
	// Left is a task of a slot that has left for another shard. It stands as long as that shard is not open by a later shape.
	Left struct {
		Live
		To    uint64 // the slot that is the other shard's address
		Shape uint64 // by which it has left
		// LeftMS is above 0 when the assignment is over, and its worker busy with it for so long.
		LeftMS int64
	}
	// Levels is what a shard has counted for the tenant's service levels, and stands for what it said before. It is repeated
	// every few seconds.
	Levels struct {
		Tenant string
		Shard  uint32 // as the pool counts them
		TS     int64  // Unix ms
		Report []byte // of package broker/level
	}
)

// Mail from a pool to sessions. Pool is the pool's number: lower ones than seen are ignored.
type (
	// Grant gives the session to a worker. It is repeated every second until it is confirmed or refused.
	Grant struct {
		Session SessionID
		Ticket  uint64
		Pool    uint64
		Queue   string
		Worker  string
		Sub     string
		Name    string
		Kind    Origin
		Conn    Conn
		Lease   string
		Window  uint32
		Reason  string // route, sticky, overflow, transfer, requeue
		Offer   string // the offer that was accepted
		// Request is the accept to be answered once the assignment is durable; its connection is Conn.
		Request uint64
		// Why is how it was decided, which stays with the session: what the shards of this version make of it. May be nil.
		Why []byte
	}
	// Lost says that the grace of the worker is over: the assignment under AE is nobody's.
	Lost struct {
		Session SessionID
		Pool    uint64
		Worker  string
		AE      uint64
	}
	// WrapUpOver says that the worker is done with what came after the assignment under AE, or given up. It is repeated until a Release.
	WrapUpOver struct {
		Session SessionID
		Pool    uint64
		Worker  string
		AE      uint64
	}
	// Rebind says that the worker is back on Conn with its lease: what is unacknowledged follows there. Fresh says that it
	// has not heard of the assignment there, also not in kept, and needs all of it.
	Rebind struct {
		Session SessionID
		Pool    uint64
		Worker  string
		AE      uint64
		Conn    Conn
		Lease   string // empty when the session has asked: who is bound there by now knows all
		Window  uint32
		Fresh   bool
		Reason  string // of the grant
	}
	// NoGrant says why nobody will be found under Ticket: a transfer's outcome [SW-5.8], or a slug of [SW-6.1].
	NoGrant struct {
		Session SessionID
		Ticket  uint64
		Pool    uint64
		Why     string
	}
	// Untaken tells a session why it was offered to somebody under Ticket, and that nobody took it: as Grant.Why. N counts such offers of
	// the ticket, as far as the pool knows, from 1. It is said once: what is lost on its way is known to the pool alone.
	Untaken struct {
		Session SessionID
		Ticket  uint64
		Pool    uint64
		N       uint64
		Why     []byte
	}
	// Resort tells a waiting session that its route has come to its last step, and what is to be offered to the customer:
	// leave_message, callback or ticket, and when its queue and shop open again. It waits on. Repeated every second until
	// Resorted.
	Resort struct {
		Session SessionID
		Ticket  uint64
		Pool    uint64
		Action  string
		Step    string // its name in the route; may be empty
		OpensAt int64  // Unix ms; 0 is that they are open, or nobody knows
	}
	// Classify says who is to be asked what a waiting session is about, until when [SW-5a.3]; without Worker that nobody
	// answers, and the session goes on with Default. Either way the next Task is the answer; without it the latter is repeated
	// every second.
	Classify struct {
		Session SessionID
		Ticket  uint64
		Pool    uint64
		Queue   string
		Worker  string
		Conn    Conn
		Until   int64  // Unix ms
		Default []byte // JSON object of attributes; may be empty
	}
	// Found says on which connection an invited worker is; on none when he is not there.
	Found struct {
		Session SessionID
		N       uint64
		Worker  string
		Conn    Conn
	}
	// Place tells a waiting session its position in the queue, from 1; 0 is that it has none, because its queue or shop is
	// closed until OpensAt.
	Place struct {
		Session  SessionID
		Ticket   uint64
		Queue    string
		Position uint32
		ETAMS    [2]int64
		OpensAt  int64 // Unix ms; 0 is that they are open, or nobody knows
	}
)

func (*Command) mail()      {}
func (*Frame) mail()        {}
func (*Task) mail()         {}
func (*Withdraw) mail()     {}
func (*Confirm) mail()      {}
func (*Declined) mail()     {}
func (*Release) mail()      {}
func (*Census) mail()       {}
func (*WrapUpOver) mail()   {}
func (*CensusAnswer) mail() {}
func (*Unbound) mail()      {}
func (*Levels) mail()       {}
func (*Grant) mail()        {}
func (*Lost) mail()         {}
func (*Rebind) mail()       {}
func (*NoGrant) mail()      {}
func (*Place) mail()        {}
func (*Untaken) mail()      {}
func (*Resort) mail()       {}
func (*Seek) mail()         {}
func (*Found) mail()        {}
func (*Classify) mail()     {}
func (*Resorted) mail()     {}
func (*Link) mail()         {}
func (*Linked) mail()       {}
func (*Unite) mail()        {}
func (*United) mail()       {}
func (*Settings) mail()     {}
func (*SettingsKept) mail() {}
func (*Parcel) mail()       {}
func (*ParcelKept) mail()   {}
func (*Purge) mail()        {}
func (*Purged) mail()       {}
func (*Scrub) mail()        {}
