package wire

import "switchboard/wire/wirepb"

// Author is who wrote an entry. It is a value; the zero Author is the broker itself.
type Author struct {
	Role Role
	ID   string // the token's sub
	Name string // for people; may be empty
}

// Role is what a token lets its bearer be [SW-3.1].
type Role string

// The roles of [SW-3.1].
const (
	RoleCustomer   Role = "customer"
	RoleWorker     Role = "worker"
	RoleSupervisor Role = "supervisor"
	RoleOperator   Role = "operator"
	RoleService    Role = "service"
	RoleSystem     Role = "system" // the broker; no token has it
)

// Origin tells what kind of party speaks in an entry [SW-4].
type Origin string

// The origins of [SW-4].
const (
	OriginCustomer Origin = "customer"
	OriginHuman    Origin = "human"
	OriginBot      Origin = "bot"
	OriginAssist   Origin = "assist"
	OriginSystem   Origin = "system"
)

// Kind of an entry.
const (
	KindMessage = "message" // somebody said something
	KindEvent   = "event"   // something happened to the session [SW-4.9]
)

// Visibility of an entry [SW-4.5].
const (
	Public = "public" // everybody attached
	Staff  = "staff"  // everybody but customers
)

// Entry is one record of a session's log [SW-1]. Once it has a seq, nothing in it changes, so it is shared
// freely; prev, ae and attempt belong to a recipient and are not part of it.
type Entry struct {
	Session    SessionID
	Seq        uint64
	Epoch      uint64
	TS         int64 // Unix ms, of the owner
	From       Author
	Origin     Origin
	Kind       string
	Type       string
	Body       []byte // one JSON value without raw CR and LF, or nil for null
	Visibility string
	Channel    string
	ReplyTo    uint64 // the seq it answers, or 0
	Stream     string // the stream it ends, or empty
}

// At returns the position of e.
func (e *Entry) At() Position { return Position{Epoch: e.Epoch, Seq: e.Seq} }

// VisibleTo tells whether role may see e [SW-4.5]: customers and services see public entries only.
func (e *Entry) VisibleTo(role Role) bool {
	return e.Visibility != Staff || (role != RoleCustomer && role != RoleService)
}

// PB returns e as the schema has it, for a recipient whose previous visible entry is prev [SW-4.4].
func (e *Entry) PB(prev uint64) *wirepb.Entry {
	return &wirepb.Entry{
		Session: string(e.Session), Seq: e.Seq, Epoch: e.Epoch, Ts: e.TS, From: e.From.PB(), Origin: string(e.Origin),
		Kind: e.Kind, Type: e.Type, Body: e.Body, Visibility: e.Visibility, Channel: e.Channel, Prev: prev,
		ReplyTo: e.ReplyTo, Stream: e.Stream,
	}
}

// EntryOf returns m as a value. It shares m's body.
func EntryOf(m *wirepb.Entry) Entry {
	return Entry{
		Session: SessionID(m.Session), Seq: m.Seq, Epoch: m.Epoch, TS: m.Ts, From: AuthorOf(m.From), Origin: Origin(m.Origin),
		Kind: m.Kind, Type: m.Type, Body: m.Body, Visibility: m.Visibility, Channel: m.Channel, ReplyTo: m.ReplyTo, Stream: m.Stream,
	}
}

// DeliveryPB returns e as a delivery to the owner under ae, for the attempt'th time [SW-5.4].
func (e *Entry) DeliveryPB(prev, ae uint64, attempt uint32) *wirepb.Delivery {
	return &wirepb.Delivery{
		Session: string(e.Session), Seq: e.Seq, Epoch: e.Epoch, Ts: e.TS, From: e.From.PB(), Origin: string(e.Origin),
		Kind: e.Kind, Type: e.Type, Body: e.Body, Visibility: e.Visibility, Channel: e.Channel, Prev: prev,
		ReplyTo: e.ReplyTo, Stream: e.Stream, Ae: ae, Attempt: attempt,
	}
}

// PB returns a as the schema has it; the broker itself has no author.
func (a Author) PB() *wirepb.Author {
	if a == (Author{}) {
		return nil
	}
	return &wirepb.Author{Role: string(a.Role), Id: a.ID, Name: a.Name}
}

// AuthorOf returns m, which may be nil, as a value.
func AuthorOf(m *wirepb.Author) Author {
	return Author{Role: Role(m.GetRole()), ID: m.GetId(), Name: m.GetName()}
}

// afterMS is when to come again if whoever refused does not know better: retry "after" always says when [SW-6.1].
const afterMS = 1000

// ErrorPB returns e as the schema has it [SW-6.1].
func (e *Error) ErrorPB() *wirepb.Error {
	f := FaultOf(e.Slug)
	m := &wirepb.Error{Code: uint32(f.Code), Slug: string(e.Slug), Message: e.Message, Retry: string(f.Retry), RetryAfterMs: e.RetryAfter.Milliseconds(), Detail: e.Detail}
	if m.Message == "" {
		m.Message = f.Message
	}
	if f.Retry == RetryAfter && m.RetryAfterMs <= 0 {
		m.RetryAfterMs = afterMS
	}
	return m
}
