package wire

import (
	"unicode"
	"unicode/utf8"

	"switchboard/wire/wirepb"
)

// External is how a service names a customer [SW-5a.6]: by an id of a channel's own.
type External struct {
	Channel string // an id
	ID      string // see [ValidExternal]
	Name    string // for people; may be empty
}

// MaxExternal is the longest external id, and the longest name beside it, in bytes.
const MaxExternal = 256

// ValidExternal tells whether s is an external id: 1 to [MaxExternal] bytes of UTF-8 without control characters. It is
// somebody else's, so it is taken as it comes: an address, a telephone number, an open id.
func ValidExternal(s string) bool {
	if s == "" || len(s) > MaxExternal || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// PB returns x as the schema has it; none is nil.
func (x *External) PB() *wirepb.Customer {
	if x == nil {
		return nil
	}
	return &wirepb.Customer{Channel: x.Channel, ExternalId: x.ID, Name: x.Name}
}

// ExternalOf returns m as a value, or nil when there is none.
func ExternalOf(m *wirepb.Customer) *External {
	if m == nil {
		return nil
	}
	return &External{Channel: m.Channel, ID: m.ExternalId, Name: m.Name}
}

// Stage says what a command on its way between customers and sessions has come for. A command goes forward from owner to
// owner, and each adds what it knows.
type Stage uint32

// The stages. At a customer who has become another, a command goes on to that one, but for StageMerge.
const (
	StageSession  Stage = iota // at Session: what was found out stands in the Way
	StageBearer                // at customer At, who speaks: Root is who he is by now
	StageOwner                 // at customer At, whose session it is: he must be Root
	StageOpen                  // at customer At: get or create his session [SW-4.1]
	StageFind                  // at session Visit, his latest: attach, if it is open
	StageReopen                // at customer At: may Session be opened again [SW-4.6]
	StageLook                  // at session Visit, his latest: is it open
	StageIdentify              // at customer At, the connection's: Root is who he is by now [SW-3.4]
	StagePeer                  // at customer At, whose token was given: is he Root
	StageMerge                 // at customer At, the connection's: he is to become the other
	StageTour                  // at session Visit: which of Todo are open
	StageLink                  // at customer At, who is given an identity: Root is who he is by now
	StageTaken                 // at customer At, whose identity it is: he must be Root
	StageList                  // at customer At: what are his identities
	StageStill                 // at customer At, who was Root: is he still, so that he is another than was found at Then
	StageExplain               // at the pool: why is the session where it is; Text is what the session says of itself, as JSON
	StageErase                 // at customer At, who is to be erased
	StageClaim                 // at customer At, who is given an identity: is he being erased; or, without At, at the identity, which may be claimed
)

// Way is how far a command has come. It never travels on a socket, so what it says can be trusted.
type Way struct {
	Stage   Stage
	Then    Stage
	Proved  bool // the bearer is the session's customer, whatever he was called before
	Granted bool // Session may be opened again [SW-4.6]
	Hops    uint32
	At      string // the customer where it is
	Root    string // who the bearer is by now
	Owner   string // whose session it is, or whose identity; of identify, who expects the connection's customer
	Found   string // who that is by now, when he is not Root
	Shop    string
	Visit   SessionID
	Tried   SessionID // was found closed, when the customer was at Turn
	Turn    uint64
	Current SessionID // his open session, other than Session
	Todo    []SessionID
	Open    []string // of those that were in Todo
	Guard   string   // the erasure because of which an identity was not claimed for At
	Settled []string // sessions of who has just become another, which he has once these are settled
	Waits   bool     // they were not: it waits where he was
	Mark    string   // his latest erasure that was over before the identity was claimed, if he knows of one
}

// Mail by which one customer becomes another [SW-3.4]. All of it may come twice, late, or not at all: who waits repeats it.
type (
	// Link says that Loser wants to become Winner. It is repeated until Linked answers it.
	Link struct {
		Tenant     string
		Loser      string
		Winner     string
		Try        uint64 // of the loser: an answer to an earlier one is nobody's
		At         int64  // Unix ms, when he wanted it first: of two who want each other the later gives way
		Depth      uint64 // the longest chain of customers who became the loser
		Identities []External
		Hops       uint32
	}
	// Linked says that Winner expects the Loser, or, when they are the same, that the one who was to win had become the loser
	// before.
	Linked struct {
		Tenant string
		Loser  string
		Winner string
		Try    uint64
	}
	// Unite settles which session of a shop goes on: Session of the loser, or the winner's. It goes to the loser's session, to
	// the winner, to his session while he has one, and comes back to the loser's with the verdict.
	Unite struct {
		Tenant   string
		Loser    string
		Winner   string
		Shop     string
		Session  SessionID
		OpenedAt int64 // of Session; Unix ms
		Step     UniteStep
		Other    SessionID // the winner's session
		Tried    SessionID // was found closed, when the winner was at Turn
		Turn     uint64
		Hops     uint32
	}
	// United says that the loser's session of a shop is settled.
	United struct {
		Tenant  string
		Loser   string
		Shop    string
		Session SessionID
		Goes    SessionID // the one that goes on, when that is known
	}
)

// UniteStep says where a Unite is.
type UniteStep uint32

// The steps of a Unite.
const (
	UniteAsk    UniteStep = iota // at Session: is it open, and since when
	UniteWinner                  // at the winner: has he a session of the shop
	UniteOther                   // at Other: is it open, and who is older
	UniteKeep                    // at Session: it goes on
	UniteEnd                     // at Session: it ends, and Other goes on
)
