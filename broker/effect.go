package broker

import "switchboard/wire"

// EffectKind says what an Effect is.
type EffectKind uint8

// What comes of events. Behind each stand the fields that it has besides those that it is named for.
const (
	// Grant gives Session under Ticket to a worker: Queue, Worker, Sub, Name, Kind, Conn, Lease, Window, Reason, Offer;
	// Ref is the accept that waits for it, if any. It goes to the session, again every second until Confirm, Refuse or
	// Withdraw, and once a minute while the session is held: the answer tells whether it still is.
	Grant EffectKind = iota + 1
	// OfferPush shows Offer to Conn: Session, Queue, ExpiresAt, Summary.
	OfferPush
	// OfferEnded tells Conn that Offer ended by Reason: expired, taken or rescinded.
	OfferEnded
	// Lost tells Session that Worker is lost for the assignment under AE. Again every second until it is released.
	Lost
	// Rebind tells Session that Worker is back: AE, Conn, Lease, Window. Fresh says that the worker has not heard of the
	// assignment on Conn, also not in kept, and needs all of it; Reason as in Grant.
	Rebind
	// TransferFailed tells Session that its transfer under Ticket failed: Reason declined, expired, full or away.
	TransferFailed
	// LastResort tells Session under Ticket that its route in Queue has come to its last Step, Reason: leave_message,
	// callback or ticket. It waits on. OpensAt is when its queue and shop open again. Again every second until
	// [Core.Resorted].
	LastResort
	// Reject tells Session that nobody will be found under Ticket: Slug.
	Reject
	// Subscribed answers Ref: Worker, Lease, Kept, Turn.
	Subscribed
	// Accepted answers Ref: Session, AE. A first accept is answered by its session, from Grant.
	Accepted
	// Done answers Ref with an empty reply.
	Done
	// Fail answers Ref: Slug, and Reason for people when the slug's own message does not say it.
	Fail
	// PresencePush tells Conn its worker's new presence State and Reason.
	PresencePush
	// Revoked tells Conn that it is not Worker's any more: Reason takeover; or unknown, when it cannot be told whether it is the later of two.
	Revoked
	// Placed tells Session, which waits under Ticket in Queue, its Position from 1, and the range ETA in ms when one is known;
	// or, with Position 0, that its queue or shop is closed and OpensAt.
	Placed
	// Question asks Worker on Conn to say of Session, which waits under Ticket in Queue, what routing should know, until
	// ExpiresAt. It goes to the session, which shows itself to the worker; its next ticket is the answer.
	Question
	// Unanswered tells Session under Ticket that nobody has classified it: it goes on with Default, a JSON object of attributes
	// that it does not have otherwise; may be nil. Again every second until its next ticket.
	Unanswered
	// Untaken tells Session that an offer under Ticket has ended, and nobody took it: Reason declined, expired, away, or rescinded when its
	// attributes have changed; behind declined and a colon is what he said. Position counts them, from 1. [Core.Why] knows of it what it knows of a grant. It is said once, and only when why is noted.
	Untaken
	// WrapUpOver tells Session that Worker is done with what came after the assignment under AE. Again, ever less often, until its Release.
	WrapUpOver
	// CensusAsk asks Shard for its live tasks. Again every second until it answers.
	CensusAsk
	// Opened says that matching begins; Missing shards have not answered yet.
	Opened
)

// Ref is a request to be answered: whoever calls gives it, and gets it back. A zero ID wants no answer.
type Ref struct {
	Conn wire.Conn
	ID   uint64
	Verb wire.Verb
}

// Kept is an assignment that a worker kept over a reconnection [SW-5.7].
type Kept struct {
	Session wire.SessionID
	AE      uint64
}

// Effect is one thing to be done: mail to a session's shard or to a connection. It is a value; its slices are shared and
// never change.
type Effect struct {
	Kind      EffectKind
	Fresh     bool
	Origin    wire.Origin // of Worker: bot or human
	Window    uint32
	Shard     uint32
	Missing   int
	Position  uint32
	Session   wire.SessionID
	Ticket    uint64
	AE        uint64
	Queue     string
	Worker    string
	Sub       string
	Name      string
	Conn      wire.Conn
	Ref       Ref
	Lease     string
	Offer     string
	Reason    string
	Step      string
	State     Presence
	ExpiresAt int64 // Unix ms
	Summary   []byte
	Default   []byte
	Slug      wire.Slug
	Kept      []Kept
	Turn      uint64 // see Subscription
	ETA       [2]int64
	OpensAt   int64 // Unix ms; 0 is not known, or does not matter

	noted int32  // of a grant, or of what was not taken: see [Core.Why]
	why   []byte // the same, of one that a human has thought about
}

// Effects collects effects in the order in which they are to be done. It is the caller's, who empties it.
type Effects []Effect

// Reset empties e and keeps its memory.
func (e *Effects) Reset() {
	clear(*e)
	*e = (*e)[:0]
}

// add appends an empty effect of kind and returns it to be filled in place: effects are large.
func (e *Effects) add(kind EffectKind) *Effect {
	*e = append(*e, Effect{Kind: kind})
	return &(*e)[len(*e)-1]
}

func (e *Effects) done(ref Ref) {
	if ref.ID != 0 {
		e.add(Done).Ref = ref
	}
}

func (e *Effects) fail(ref Ref, slug wire.Slug, why string) {
	if ref.ID == 0 {
		return
	}
	f := e.add(Fail)
	f.Ref, f.Slug, f.Reason = ref, slug, why
}

func (e *Effects) accepted(ref Ref, session wire.SessionID, ae uint64) {
	if ref.ID == 0 {
		return
	}
	f := e.add(Accepted)
	f.Ref, f.Session, f.AE = ref, session, ae
}
