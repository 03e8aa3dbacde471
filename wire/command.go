package wire

import "switchboard/wire/wirepb"

// Verb names what a command asks for. The values are the field names of the schema's frames; the last group never
// travels on a socket.
type Verb string

// The verbs of customers and of everybody who is entitled to a session [SW-3] [SW-4].
const (
	VerbHello    Verb = "hello"
	VerbRefresh  Verb = "refresh"
	VerbIdentify Verb = "identify"
	VerbOpen     Verb = "open"
	VerbSend     Verb = "send"
	VerbAck      Verb = "ack"
	VerbTyping   Verb = "typing"
	VerbHistory  Verb = "history"
	VerbClose    Verb = "close"
	VerbRate     Verb = "rate"
	VerbLeave    Verb = "leave"
)

// The verbs of workers [SW-5]: those about a session go to the session's shard, the others to the pool's.
const (
	VerbSubscribe Verb = "subscribe"
	VerbAccept    Verb = "accept"
	VerbDecline   Verb = "decline"
	VerbPresence  Verb = "presence"
	VerbSlots     Verb = "slots"
	VerbWrapup    Verb = "wrapup"
	VerbDelta     Verb = "delta"
	VerbReply     Verb = "reply"
	VerbNack      Verb = "nack"
	VerbTransfer  Verb = "transfer"
	VerbRelease   Verb = "release"
	VerbContext   Verb = "context"
)

// The verbs of [SW-5a].
const (
	VerbAttributes Verb = "attributes"
	VerbJoin       Verb = "join"
	VerbTake       Verb = "take"
	VerbAssign     Verb = "assign"
	VerbStats      Verb = "stats"
	VerbInvite     Verb = "invite"
	VerbWatch      Verb = "watch" // [SW-4.10]; between edge and shard: Ack is the position, Read the slot
)

// What an edge asks for on behalf of a connection, without a frame of the client.
const (
	// VerbPage asks for the entries after Seq, for a connection that follows a session and has fallen behind or
	// begins behind its head [SW-4.7].
	VerbPage Verb = "page"
	// VerbResync asks for the deliveries from Seq on once more, after the edge dropped some of them; without Seq for the assignment as well, of which the
	// edge knows nothing.
	VerbResync Verb = "resync"
	// VerbGone says that the connection has ended. Sent to the shard of each session it follows, and to the
	// pool's when it is a worker's.
	VerbGone Verb = "gone"
	// VerbIdentities asks for the identities of the customer Text [SW-7].
	VerbIdentities Verb = "identities"
	// VerbLink makes For an identity of the customer Text, unless it is another's [SW-7].
	VerbLink Verb = "link"
	// VerbConfigure makes Body the document by which the tenant routes, when its version is Ack or Ack is absent [SW-7]. On
	// says that it shall only be tried. The answer's Text is JSON.
	VerbConfigure Verb = "configure"
	// VerbDocument asks for that document: the latest, or the version Seq; of Type versions for the list of them.
	VerbDocument Verb = "document"
	// VerbExplain asks why the session is where it is [SW-7]. The answer's Text is JSON.
	VerbExplain Verb = "explain"
	// VerbErase erases the customer Text [SW-7.11] under the mark Reason; with On it only asks how far that is. The answer's Text is JSON.
	VerbErase Verb = "erase"
)

// Conn names one connection: the incarnation of the node that holds it, and its number there. It is a value and a
// map key; the zero Conn is none.
type Conn struct {
	Node uint64
	ID   uint64
}

// Optional is a number that may be absent.
type Optional struct {
	Value uint64
	Set   bool
}

// Some returns v, present.
func Some(v uint64) Optional { return Optional{Value: v, Set: true} }

// Principal is who speaks on a connection, from its token [SW-3.1]. It is immutable and shared by all commands of
// the connection; a refresh makes a new one.
type Principal struct {
	Tenant string
	Role   Role
	Sub    string
	Name   string
	Shop   string
	Tier   string
	Kind   Origin // bot or human, of workers
	// Worker is the worker's id once it has subscribed: the sub, and "/instance" behind it when it named one
	// [SW-5.7].
	Worker string
	// Ability is what its token says of a worker; nil of those of whom it says nothing, who are most.
	Ability *Ability
}

// Ability is what a worker may do and does well, from its token [SW-3.1].
type Ability struct {
	Queues []string           // names that it may subscribe; "*" is all
	Skills map[string]float64 // level 0..1
	Rating float64            // 0..1
	// Attributes is what selectors see of a worker besides: a JSON object, or nothing.
	Attributes []byte
}

// Able returns the ability of p, nothing when it has none.
func (p *Principal) Able() Ability {
	if p.Ability == nil {
		return Ability{}
	}
	return *p.Ability
}

// Author returns p as the author of an entry.
func (p *Principal) Author() Author { return Author{Role: p.Role, ID: p.Sub, Name: p.Name} }

// Command is one request as the edge read it. The hot verbs (send, reply, ack, typing, delta, nack) stand in the flat
// fields; of every other verb PB holds the frame, and Session, AE, Key, Upto and Reason are copied out of it where it has them.
// Strings and bytes alias one private copy of the frame, and nothing in that changes. Whoever receives a Command owns it, but for hot ones
// ([Command.Hot]): who posted one may keep it to post it again, so that nobody changes them.
type Command struct {
	Verb Verb
	ID   uint64 // of the request; 0 asks for no reply [SW-2.3]
	Conn Conn   // where the reply goes
	Who  *Principal

	Session    SessionID
	Key        string
	Type       string
	Body       []byte // one JSON value without raw CR and LF
	ReplyTo    uint64
	Visibility string
	Stream     string
	Text       string // delta
	Reason     string // close, nack; subscribe, resumed: why its worker is not ready
	AE         uint64
	GE         uint64   // reply of a guest
	Seq        uint64   // ack, nack: the entry; delta: its off; page: after; resync: from; subscribe, resumed: its turn
	Read       uint64   // ack
	Ack        Optional // reply
	Upto       Optional // close, release, transfer
	DelayMS    int64    // nack
	On         bool     // typing
	// Resume marks what stands for something that was said before: an open for one line of hello's resume [SW-3.2], or for an
	// attachment whose owner has ended; a resync for where the deliveries of a session go that a supervisor has taken; a
	// subscribe, whose Type is then its worker's presence, for one whose pool has ended.
	Resume bool
	For    *External // the customer that a service acts for [SW-5a.6]
	Way    *Way      // how far it has come between customers and sessions; nil at first, and for most for ever
	PB     *wirepb.ClientFrame
}

// Hot tells whether the flat fields say all of c: its verb is one of those that make the traffic, and it speaks for nobody else.
func (c *Command) Hot() bool { return c.Verb.hot() && c.For == nil }

// Cold fills the flat fields of c from a parsed frame and keeps the frame. It is how every verb without a codec of its
// own becomes a command. It sets no Conn and no Who.
func (c *Command) Cold(f *wirepb.ClientFrame) {
	c.ID, c.PB = f.Id, f
	switch v := f.Verb.(type) {
	case *wirepb.ClientFrame_Hello:
		c.Verb = VerbHello
	case *wirepb.ClientFrame_Refresh:
		c.Verb = VerbRefresh
	case *wirepb.ClientFrame_Identify:
		c.Verb = VerbIdentify
	case *wirepb.ClientFrame_Open:
		c.Verb, c.Session, c.Key, c.For = VerbOpen, SessionID(v.Open.Session), v.Open.Key, ExternalOf(v.Open.Customer)
	case *wirepb.ClientFrame_Send:
		c.Verb, c.Session, c.Key = VerbSend, SessionID(v.Send.Session), v.Send.Key
		c.Type, c.Body, c.ReplyTo, c.For = v.Send.Type, v.Send.Body, v.Send.ReplyTo, ExternalOf(v.Send.Customer)
	case *wirepb.ClientFrame_Ack:
		c.Verb, c.Session, c.AE, c.Seq, c.Read = VerbAck, SessionID(v.Ack.Session), v.Ack.Ae, v.Ack.Seq, v.Ack.Read
	case *wirepb.ClientFrame_Typing:
		c.Verb, c.Session, c.AE, c.On = VerbTyping, SessionID(v.Typing.Session), v.Typing.Ae, v.Typing.On
	case *wirepb.ClientFrame_History:
		c.Verb, c.Session, c.For = VerbHistory, SessionID(v.History.Session), ExternalOf(v.History.Customer)
	case *wirepb.ClientFrame_Close:
		c.Verb, c.Session, c.Key, c.AE = VerbClose, SessionID(v.Close.Session), v.Close.Key, v.Close.Ae
		c.Reason, c.Upto, c.For = v.Close.Reason, optional(v.Close.Upto), ExternalOf(v.Close.Customer)
	case *wirepb.ClientFrame_Rate:
		c.Verb, c.Session, c.Key = VerbRate, SessionID(v.Rate.Session), v.Rate.Key
	case *wirepb.ClientFrame_Leave:
		c.Verb, c.Session, c.For = VerbLeave, SessionID(v.Leave.Session), ExternalOf(v.Leave.Customer)
	default:
		c.coldWorker(f)
	}
}

// coldWorker is Cold for the verbs of workers.
func (c *Command) coldWorker(f *wirepb.ClientFrame) {
	switch v := f.Verb.(type) {
	case *wirepb.ClientFrame_Subscribe:
		c.Verb = VerbSubscribe
	case *wirepb.ClientFrame_Accept:
		c.Verb = VerbAccept
	case *wirepb.ClientFrame_Decline:
		c.Verb = VerbDecline
	case *wirepb.ClientFrame_Presence:
		c.Verb = VerbPresence
	case *wirepb.ClientFrame_Slots:
		c.Verb = VerbSlots
	case *wirepb.ClientFrame_Wrapup:
		c.Verb, c.Session, c.AE = VerbWrapup, SessionID(v.Wrapup.Session), v.Wrapup.Ae
	case *wirepb.ClientFrame_Delta:
		c.Verb, c.Session, c.AE = VerbDelta, SessionID(v.Delta.Session), v.Delta.Ae
		c.Stream, c.Seq, c.Text = v.Delta.Stream, v.Delta.Off, v.Delta.Text
	case *wirepb.ClientFrame_Reply:
		r := v.Reply
		c.Verb, c.Session, c.AE, c.Key, c.Ack = VerbReply, SessionID(r.Session), r.Ae, r.Key, optional(r.Ack)
		c.Type, c.Body, c.ReplyTo, c.Visibility, c.Stream, c.GE = r.Type, r.Body, r.ReplyTo, r.Visibility, r.Stream, r.Ge
	case *wirepb.ClientFrame_Nack:
		c.Verb, c.Session, c.AE, c.Key = VerbNack, SessionID(v.Nack.Session), v.Nack.Ae, v.Nack.Key
		c.Seq, c.DelayMS, c.Reason = v.Nack.Seq, v.Nack.DelayMs, v.Nack.Reason
	case *wirepb.ClientFrame_Transfer:
		c.Verb, c.Session, c.AE, c.Key = VerbTransfer, SessionID(v.Transfer.Session), v.Transfer.Ae, v.Transfer.Key
		c.Upto = optional(v.Transfer.Upto)
	case *wirepb.ClientFrame_Release:
		c.Verb, c.Session, c.AE, c.Key = VerbRelease, SessionID(v.Release.Session), v.Release.Ae, v.Release.Key
		c.Upto = optional(v.Release.Upto)
	case *wirepb.ClientFrame_Context:
		c.Verb, c.Session, c.AE, c.Key = VerbContext, SessionID(v.Context.Session), v.Context.Ae, v.Context.Key
	default:
		c.coldSupervision(f)
	}
}

// coldSupervision is Cold for the verbs of [SW-5a].
func (c *Command) coldSupervision(f *wirepb.ClientFrame) {
	switch v := f.Verb.(type) {
	case *wirepb.ClientFrame_Attributes:
		c.Verb, c.Session, c.AE, c.Key = VerbAttributes, SessionID(v.Attributes.Session), v.Attributes.Ae, v.Attributes.Key
	case *wirepb.ClientFrame_Invite:
		c.Verb, c.Session, c.AE, c.Key = VerbInvite, SessionID(v.Invite.Session), v.Invite.Ae, v.Invite.Key
	case *wirepb.ClientFrame_Join:
		c.Verb, c.Session, c.Key = VerbJoin, SessionID(v.Join.Session), v.Join.Key
	case *wirepb.ClientFrame_Take:
		c.Verb, c.Session, c.Key = VerbTake, SessionID(v.Take.Session), v.Take.Key
	case *wirepb.ClientFrame_Watch:
		c.Verb = VerbWatch
	case *wirepb.ClientFrame_Stats:
		c.Verb = VerbStats
	case *wirepb.ClientFrame_Assign:
		c.Verb, c.Session, c.Key = VerbAssign, SessionID(v.Assign.Session), v.Assign.Key
	}
}

func optional(v *uint64) Optional {
	if v == nil {
		return Optional{}
	}
	return Some(*v)
}
