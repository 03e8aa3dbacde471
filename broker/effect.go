package broker

import "switchboard/wire"

// EffectKind names an effect.
type EffectKind uint8

// The effects, by whom they go to.
const (
	// To the session.
	Grant   EffectKind = iota + 1 // it is Worker's: repeated until Confirm or Declined
	Lost                          // Worker's grace is over: repeated until the session gives AE back
	Rebind                        // Worker is back on Conn with its lease
	NoGrant                       // nobody will come under Ticket: Why
	// To a worker's connection.
	Offered    // Offer of Session, until At
	OfferEnded // Why: expired, taken, rescinded
	Presence   // the worker is State now, for Why
	Revoked    // another connection took over: Why
	// The answer to Request on Conn.
	Subscribed // Lease, and Kept sessions
	Accepted   // the offer was accepted before: Session and AE
	Done       // decline, presence, slots, wrapup
	Failed     // Slug
)

// Kept is an assignment that a returning worker still has.
type Kept struct {
	Session wire.SessionID
	AE      uint64
}

// Effect is one thing to be told: the union of what the kinds carry.
type Effect struct {
	Kind    EffectKind
	Verb    wire.Verb
	Session wire.SessionID
	Ticket  uint64
	AE      uint64
	Queue   string
	Worker  *Worker
	Conn    wire.Conn
	Request uint64
	Offer   string
	Lease   string
	Reason  string // of a grant: route, sticky, requeue, transfer
	Why     string
	State   string
	At      int64
	Summary []byte
	Kept    []Kept
	Slug    wire.Slug
}

// Effects collects what came of events, in order. It belongs to whoever calls.
type Effects struct{ List []Effect }

// Reset empties e and keeps its memory.
func (e *Effects) Reset() {
	clear(e.List)
	e.List = e.List[:0]
}

func (e *Effects) add(v Effect) { e.List = append(e.List, v) }
