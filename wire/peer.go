package wire

import (
	"math"
	"time"

	"switchboard/wire/wirepb"
)

// The other end's half of hot.go: clients and load generators append commands and read frames. The hot ones go by
// hand, in peerjson.go and peerpb.go, and are held against the generated codecs by fuzzing.

// AppendCommand appends cmd as it stands in a message, also behind others. The hot verbs are written from the flat fields,
// every other from cmd.PB, whose id gives way to cmd.ID; without PB nothing is written. A send for a customer [SW-5a.6] is no hot one. The body must be one JSON value
// without raw CR and LF, as [AppendBody] makes it. In Protobuf strings must be valid UTF-8, or the server refuses the
// frame. It does not allocate for hot verbs when dst has room, and changes nothing in cmd.
func (c Codec) AppendCommand(dst []byte, cmd *Command) []byte {
	if cmd.Hot() {
		if c == JSON {
			return appendCommandJSON(dst, cmd)
		}
		return appendCommandPB(dst, cmd)
	}
	frame := &wirepb.ClientFrame{Id: cmd.ID}
	switch {
	case cmd.Verb == VerbSend:
		frame.Verb = &wirepb.ClientFrame_Send{Send: &wirepb.Send{
			Session: string(cmd.Session), Key: cmd.Key, Type: cmd.Type, Body: cmd.Body, ReplyTo: cmd.ReplyTo, Customer: cmd.For.PB(),
		}}
	case cmd.PB == nil:
		return dst
	default:
		frame.Verb = cmd.PB.Verb
	}
	out, err := c.Append(dst, frame)
	if err != nil {
		return dst // only invalid UTF-8 in a string could
	}
	return out
}

// ParseFrame reads one frame of a server, as [Codec.Next] cut it, into f. What f held before is gone, but for f.Entry: when
// it is set, the entry of a message or a delivery is read into it, over what it held, and the frame costs no memory; it
// must then be the caller's alone. Entry and strings alias frame, which must not change any more.
//
// Replies to send and reply become [FrameWrote], pushes [FrameMessage], [FrameDelivery] and [FrameDelta], all without PB.
// Of everything else PB holds the frame: errors are a [FrameError] with Err set too, assigned a [FrameAssigned], revoked a
// [FrameRevoked], other frames with an id a [FrameAnswer] and without one a [FramePush]. The other kinds never travel.
//
// It fails like [Codec.Parse], with nothing but the frame's id set; [ErrVerb] is a newer server's frame and may be passed
// over.
func (c Codec) ParseFrame(frame []byte, f *Frame) error {
	spare := f.Entry
	*f = Frame{}
	if c == JSON {
		s := scan{b: frame}
		if s.frame(f, spare) {
			return nil
		}
	} else if parseFramePB(frame, f, spare) {
		return nil
	}
	*f = Frame{}
	m := &wirepb.ServerFrame{}
	if err := c.Parse(frame, m); err != nil {
		f.ID = m.Id
		return err
	}
	f.cold(m, spare)
	return nil
}

// hot tells whether a verb stands in the flat fields of a Command.
func (v Verb) hot() bool {
	switch v {
	case VerbSend, VerbReply, VerbAck, VerbTyping, VerbDelta, VerbNack:
		return true
	default:
		return false
	}
}

// cold fills the empty f from a parsed frame, which it keeps unless the flat fields say all of it.
func (f *Frame) cold(m *wirepb.ServerFrame, spare *Entry) {
	f.ID = m.Id
	switch v := m.Verb.(type) {
	case *wirepb.ServerFrame_Send:
		f.wrote(VerbSend, v.Send)
	case *wirepb.ServerFrame_Reply:
		f.wrote(VerbReply, v.Reply)
	case *wirepb.ServerFrame_Message:
		f.Kind, f.Prev = FrameMessage, v.Message.Prev
		*f.entry(spare) = EntryOf(v.Message)
		f.Session = f.Entry.Session
	case *wirepb.ServerFrame_Delivery:
		d := v.Delivery
		f.Kind, f.Prev, f.AE, f.Attempt = FrameDelivery, d.Prev, d.Ae, d.Attempt
		*f.entry(spare) = Entry{
			Session: SessionID(d.Session), Seq: d.Seq, Epoch: d.Epoch, TS: d.Ts, From: AuthorOf(d.From), Origin: Origin(d.Origin),
			Kind: d.Kind, Type: d.Type, Body: d.Body, Visibility: d.Visibility, Channel: d.Channel, ReplyTo: d.ReplyTo, Stream: d.Stream,
		}
		f.Session = f.Entry.Session
	case *wirepb.ServerFrame_Delta:
		f.Kind, f.Session, f.Stream, f.Seq, f.Text = FrameDelta, SessionID(v.Delta.Session), v.Delta.Stream, v.Delta.Off, v.Delta.Text
	case *wirepb.ServerFrame_Error:
		f.Kind, f.Err, f.PB = FrameError, ErrorOf(v.Error), m
	case *wirepb.ServerFrame_Assigned:
		f.Kind, f.Session, f.AE, f.PB = FrameAssigned, SessionID(v.Assigned.Session), v.Assigned.Ae, m
	case *wirepb.ServerFrame_Revoked:
		f.Kind, f.Session, f.AE, f.PB = FrameRevoked, SessionID(v.Revoked.Session), v.Revoked.Ae, m
	default:
		f.PB = m
		if f.ID == 0 { // [SW-2.4] a reply has an id, a push has none
			f.Kind = FramePush
		}
	}
}

func (f *Frame) wrote(verb Verb, r *wirepb.SendReply) {
	f.Kind, f.Verb, f.Seq, f.Epoch, f.TS, f.Duplicate = FrameWrote, verb, r.Seq, r.Epoch, r.Ts, r.Duplicate
}

// entry returns f's entry, empty: the spare one when there is one.
func (f *Frame) entry(spare *Entry) *Entry {
	if f.Entry = spare; spare == nil {
		f.Entry = &Entry{}
	}
	*f.Entry = Entry{}
	return f.Entry
}

// ErrorOf returns m, which may be nil, as a value. It shares m's detail. An advice to wait that is negative is none, and
// one beyond 292 years is that.
func ErrorOf(m *wirepb.Error) *Error {
	const most = math.MaxInt64 / int64(time.Millisecond)
	wait := time.Duration(min(max(m.GetRetryAfterMs(), 0), most)) * time.Millisecond
	return &Error{Slug: Slug(m.GetSlug()), Message: m.GetMessage(), RetryAfter: wait, Detail: m.GetDetail()}
}
