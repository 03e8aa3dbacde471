package session

import (
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Env is what surrounds a decision. The shard fills it anew for every turn.
type Env struct {
	Now    int64 // Unix ms
	Policy *Policy
	Pool   wire.Address // of the tenant's pool
	Node   uint64       // its incarnation: connections of others have ended
	Begun  int64        // Unix ms, when the owner began: what is memory alone it has heard of since then
	// Current is the customer's other open session of the same shop, or empty: a closed session is not reopened
	// beside it [SW-4.6].
	Current wire.SessionID
	// Lossy says that the log has lost its end and nobody has accepted that: nothing is shown as whole.
	Lossy bool
	// ReadOnly says that the log takes nothing now: what may be done without is left out.
	ReadOnly bool
	// Row answers Decision.Load's question for an older key; Loaded tells that it was asked.
	Row    *Key
	Loaded bool
}

// LoadKind says what a decision lacks.
type LoadKind uint8

// What a session may ask its shard to read.
const (
	LoadNothing LoadKind = iota
	LoadKey              // the row of key FP; then decide the same command again
	LoadPage             // entries for Command's connection: a page or history
	LoadBack             // entries that the owner has not been delivered yet, for State.Back
)

// Load is a wish to read rows. Rows are immutable, so it may be read beside the owner.
type Load struct {
	Kind    LoadKind
	Session wire.SessionID // filled in by the shard
	FP      uint64         // of the key
	Seq     uint64         // of the entry that the key rides on, or 0
	Wide    bool           // only the lists know where the key is, if anywhere
	Command *wire.Command
	After   uint64 // entries behind this seq
	Before  uint64 // and before this one
	Limit   int
	Reverse bool // the last Limit of them
	Staff   bool // staff entries too
}

// Decision is what came of commands: facts for the log, mail to be sent once they are durable, and what had to be read
// first. It is filled by any number of decisions about any number of sessions, and belongs to the owner. Facts, and the
// keys that they point to, hold until Reset.
type Decision struct {
	Facts []Fact
	Mail  []wire.Envelope
	Load  []Load

	begin  int // Facts from here on are those of the command that is being decided
	frames []wire.Frame
	keys   []Key
}

// Reset empties d and keeps its memory. Frames that were mailed are not touched.
func (d *Decision) Reset() {
	clear(d.Facts)
	clear(d.Mail)
	clear(d.Load)
	clear(d.keys)
	d.begin = 0
	d.Facts, d.Mail, d.Load, d.keys = d.Facts[:0], d.Mail[:0], d.Load[:0], d.keys[:0]
}

// key returns a place for k until Reset.
func (d *Decision) key(k Key) *Key {
	d.keys = append(d.keys, k)
	return &d.keys[len(d.keys)-1]
}

// frameSlab is how many frames are allocated together: mail is read soon, so a slab lives no longer than its last frame.
const frameSlab = 32

// frame mails an empty frame to conn and returns it to be filled.
func (d *Decision) frame(conn wire.Conn) *wire.Frame {
	if len(d.frames) == 0 {
		d.frames = make([]wire.Frame, frameSlab)
	}
	f := &d.frames[0]
	d.frames = d.frames[1:]
	d.Mail = append(d.Mail, wire.Envelope{To: conn.Address(), Mail: f})
	return f
}

// push mails a frame that must not be dropped.
func (d *Decision) push(conn wire.Conn, kind wire.FrameKind, id wire.SessionID, pb *wirepb.ServerFrame) *wire.Frame {
	f := d.frame(conn)
	f.Kind, f.Session, f.PB = kind, id, pb
	return f
}

// post mails m to the session's pool.
func (d *Decision) post(env *Env, m wire.Mail) {
	d.Mail = append(d.Mail, wire.Envelope{To: env.Pool, Mail: m})
}

// refuse answers c with slug, when it asked for an answer.
func (d *Decision) refuse(c *wire.Command, slug wire.Slug) { d.fail(c, wire.Refuse(slug)) }

func (d *Decision) fail(c *wire.Command, err *wire.Error) {
	if c.ID == 0 {
		return
	}
	f := d.frame(c.Conn)
	f.Kind, f.ID, f.Session, f.Verb, f.Err = wire.FrameError, c.ID, c.Session, c.Verb, err
}

// answer replies to c with pb, when it asked for one.
func (d *Decision) answer(c *wire.Command, pb *wirepb.ServerFrame) {
	if c.ID == 0 {
		return
	}
	f := d.frame(c.Conn)
	f.Kind, f.ID, f.Session, f.Verb, f.PB = wire.FrameAnswer, c.ID, c.Session, c.Verb, pb
}

// fact makes f happen: it is noted for the log, and s is changed.
func (d *Decision) fact(s *State, f Fact) {
	d.Facts = append(d.Facts, f)
	s.Apply(&d.Facts[len(d.Facts)-1])
}

// said, acked and known are the facts of every message, made where they stand: of those that Reset has emptied two words are written.

// said makes it happen that e is appended to s.
func (d *Decision) said(s *State, e *wire.Entry) {
	f := d.blank(Said)
	f.Entry = e
	s.said(e)
}

// acked makes it happen that the owner's cursor is at seq.
func (d *Decision) acked(s *State, seq uint64) {
	f := d.blank(Acked)
	f.Seq = seq
	s.acked(seq)
}

// known makes it happen that k is remembered.
func (d *Decision) known(s *State, k *Key) {
	f := d.blank(Known)
	f.Key = k
	s.remember(k)
}

// blank returns a new fact of which only the kind is set. It is not applied.
func (d *Decision) blank(kind FactKind) *Fact {
	n := len(d.Facts)
	if n < cap(d.Facts) {
		d.Facts = d.Facts[:n+1]
	} else {
		d.Facts = append(d.Facts, Fact{})
	}
	f := &d.Facts[n]
	f.Kind = kind
	return f
}

// Refuse answers c with slug: what a shard says of sessions that it cannot decide about.
func (d *Decision) Refuse(c *wire.Command, slug wire.Slug) { d.refuse(c, slug) }

// Fail answers c with err.
func (d *Decision) Fail(c *wire.Command, err *wire.Error) { d.fail(c, err) }

// Answer replies to c with pb.
func (d *Decision) Answer(c *wire.Command, pb *wirepb.ServerFrame) { d.answer(c, pb) }

// Frame mails an empty frame to conn and returns it to be filled.
func (d *Decision) Frame(conn wire.Conn) *wire.Frame { return d.frame(conn) }
