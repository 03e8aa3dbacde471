package wire

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// appendCommandPB appends a hot command with the length that batching wants.
func appendCommandPB(dst []byte, c *Command) []byte {
	outer := len(dst)
	dst = pbNum(dst, pbID, c.ID)
	num := protowire.Number(pbClientNack)
	switch c.Verb {
	case VerbSend:
		num = pbClientSend
	case VerbReply:
		num = pbClientReply
	case VerbAck:
		num = pbClientAck
	case VerbTyping:
		num = pbClientTyping
	case VerbDelta:
		num = pbClientDelta
	default:
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	inner := len(dst)
	dst = pbText(dst, 1, string(c.Session))
	if c.Verb != VerbSend {
		dst = pbNum(dst, 2, c.AE)
	}
	switch c.Verb {
	case VerbSend:
		dst = pbText(dst, 2, c.Key)
		dst = pbText(dst, 3, c.Type)
		dst = pbBytes(dst, 4, c.Body)
		dst = pbNum(dst, 5, c.ReplyTo)
	case VerbReply:
		if c.Ack.Set {
			dst = protowire.AppendVarint(protowire.AppendTag(dst, 3, protowire.VarintType), c.Ack.Value)
		}
		dst = pbText(dst, 4, c.Key)
		dst = pbText(dst, 5, c.Stream)
		dst = pbText(dst, 6, c.Type)
		dst = pbBytes(dst, 7, c.Body)
		dst = pbText(dst, 8, c.Visibility)
		dst = pbNum(dst, 9, c.ReplyTo)
		dst = pbNum(dst, 10, c.GE)
	case VerbAck:
		dst = pbNum(dst, 3, c.Seq)
		dst = pbNum(dst, 4, c.Read)
	case VerbTyping:
		if c.On {
			dst = pbNum(dst, 3, 1)
		}
	case VerbDelta:
		dst = pbText(dst, 3, c.Stream)
		dst = pbNum(dst, 4, c.Seq)
		dst = pbText(dst, 5, c.Text)
	default: // nack
		dst = pbNum(dst, 3, c.Seq)
		dst = pbNum(dst, 4, uint64(c.DelayMS)) //nolint:gosec // as the format has it
		dst = pbText(dst, 5, c.Reason)
		dst = pbText(dst, 6, c.Key)
	}
	return pbLength(pbLength(dst, inner), outer)
}

// parseFramePB reads a hot frame. It reports false for everything else, also for what is wrong or unusual: the generic way
// then says what.
func parseFramePB(b []byte, f *Frame, spare *Entry) bool {
	var verb pbField
	for len(b) > 0 {
		x, rest, ok := nextPB(b)
		if !ok {
			return false
		}
		b = rest
		switch {
		case x.num == pbID && !x.bytes:
			f.ID = x.v
		case x.bytes && verb.num == 0:
			verb = x
		default:
			return false
		}
	}
	switch verb.num {
	case pbServerSend:
		f.Kind, f.Verb = FrameWrote, VerbSend
	case pbServerReply:
		f.Kind, f.Verb = FrameWrote, VerbReply
	case pbServerDelta:
		f.Kind = FrameDelta
	case pbServerMessage:
		f.Kind = FrameMessage
	case pbServerDelivery:
		f.Kind = FrameDelivery
	default:
		return false
	}
	if f.Kind == FrameMessage || f.Kind == FrameDelivery {
		f.entry(spare)
	}
	for b = verb.text; len(b) > 0; {
		x, rest, ok := nextPB(b)
		if !ok || !f.takePB(x) {
			return false
		}
		b = rest
	}
	if f.Entry != nil {
		f.Session = f.Entry.Session
	}
	return true
}

// takePB takes one field of a hot frame's message.
func (f *Frame) takePB(x pbField) bool {
	switch f.Kind {
	case FrameWrote:
		return !x.bytes && f.wrotePB(x)
	case FrameDelta:
		return f.deltaPB(x)
	default:
	}
	if !x.bytes {
		return f.entryNumPB(x)
	}
	return f.Entry.textPB(x)
}

func (f *Frame) wrotePB(x pbField) bool {
	switch x.num {
	case 1:
		f.Seq = x.v
	case 2:
		f.Epoch = x.v
	case 3:
		f.TS = int64(x.v) //nolint:gosec // as the format has it
	case 4:
		f.Duplicate = x.v != 0
	default:
		return false
	}
	return true
}

func (f *Frame) deltaPB(x pbField) bool {
	if !x.bytes {
		f.Seq = x.v
		return x.num == 4
	}
	s, ok := x.string()
	switch x.num {
	case 1:
		f.Session = SessionID(s)
	case 3:
		f.Stream = s
	case 5:
		f.Text = s
	default:
		return false
	}
	return ok
}

func (f *Frame) entryNumPB(x pbField) bool {
	switch {
	case x.num == 2:
		f.Entry.Seq = x.v
	case x.num == 3:
		f.Entry.Epoch = x.v
	case x.num == 4:
		f.Entry.TS = int64(x.v) //nolint:gosec // as the format has it
	case x.num == 12:
		f.Prev = x.v
	case x.num == 13:
		f.Entry.ReplyTo = x.v
	case x.num == 16 && f.Kind == FrameDelivery:
		f.AE = x.v
	case x.num == 17 && f.Kind == FrameDelivery && x.v <= math.MaxUint32:
		f.Attempt = uint32(x.v) //nolint:gosec // checked above
	default:
		return false
	}
	return true
}

func (e *Entry) textPB(x pbField) bool {
	switch x.num {
	case 5:
		return e.From.takePB(x.text)
	case 9:
		var ok bool
		e.Body, ok = documentPB(x.text)
		return ok
	default:
	}
	s, ok := x.string()
	switch x.num {
	case 1:
		e.Session = SessionID(s)
	case 6:
		e.Origin = Origin(s)
	case 7:
		e.Kind = s
	case 8:
		e.Type = s
	case 10:
		e.Visibility = s
	case 11:
		e.Channel = s
	case 14:
		e.Stream = s
	default:
		return false
	}
	return ok
}

// takePB reads an author over what a has: a message that comes twice is merged, says Protobuf.
func (a *Author) takePB(b []byte) bool {
	for len(b) > 0 {
		x, rest, ok := nextPB(b)
		if !ok || !x.bytes {
			return false
		}
		b = rest
		s, ok := x.string()
		switch x.num {
		case 1:
			a.Role = Role(s)
		case 2:
			a.ID = s
		case 3:
			a.Name = s
		default:
			return false
		}
		if !ok {
			return false
		}
	}
	return true
}

// pbField is one field of a message: a varint, or bytes that alias it.
type pbField struct {
	num   protowire.Number
	bytes bool
	v     uint64
	text  []byte
}

// nextPB cuts the first field off a message. Other types than the two are the generic way's to judge, and so are field
// numbers of more than 14 bits, which no hot message has.
func nextPB(b []byte) (x pbField, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag >= 1<<14 {
		return x, nil, false
	}
	b = b[n:]
	x.num = protowire.Number(tag >> 3) //nolint:gosec // below 2^11
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return x, nil, false
	}
	b = b[n:]
	switch protowire.Type(tag & 7) { //nolint:gosec // three bits
	case protowire.VarintType:
		x.v = v
		return x, b, true
	case protowire.BytesType:
		if v > uint64(len(b)) {
			return x, nil, false
		}
		x.bytes, x.text = true, b[:v:v]
		return x, b[v:], true
	default:
		return x, nil, false
	}
}
