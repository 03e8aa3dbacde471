package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of the schema's fields that the hot frames have.
const (
	pbID = 1

	pbClientSend   = 5
	pbClientAck    = 6
	pbClientTyping = 7
	pbClientDelta  = 23
	pbClientReply  = 24
	pbClientNack   = 25

	pbServerSend     = 5
	pbServerReply    = 24
	pbServerMessage  = 41
	pbServerDelivery = 42
	pbServerDelta    = 49
)

// appendFramePB appends a hot frame with the length that batching wants.
func appendFramePB(dst []byte, f *Frame) []byte {
	outer := len(dst)
	dst = pbNum(dst, pbID, f.ID)
	num := protowire.Number(pbServerMessage)
	switch f.Kind {
	case FrameWrote:
		num = pbServerSend
		if f.Verb == VerbReply {
			num = pbServerReply
		}
	case FrameDelivery:
		num = pbServerDelivery
	case FrameDelta:
		num = pbServerDelta
	default:
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	inner := len(dst)
	switch f.Kind {
	case FrameWrote:
		dst = pbNum(dst, 1, f.Seq)
		dst = pbNum(dst, 2, f.Epoch)
		dst = pbNum(dst, 3, uint64(f.TS)) //nolint:gosec // as the format has it
		if f.Duplicate {
			dst = pbNum(dst, 4, 1)
		}
	case FrameDelta:
		dst = pbText(dst, 1, string(f.Session))
		dst = pbText(dst, 3, f.Stream)
		dst = pbNum(dst, 4, f.Seq)
		dst = pbText(dst, 5, f.Text)
	default:
		dst = appendEntryPB(dst, f.Entry, f.Prev)
		if f.Kind == FrameDelivery {
			dst = pbNum(dst, 16, f.AE)
			dst = pbNum(dst, 17, uint64(f.Attempt))
		}
	}
	return pbLength(pbLength(dst, inner), outer)
}

func appendEntryPB(dst []byte, e *Entry, prev uint64) []byte {
	dst = pbText(dst, 1, string(e.Session))
	dst = pbNum(dst, 2, e.Seq)
	dst = pbNum(dst, 3, e.Epoch)
	dst = pbNum(dst, 4, uint64(e.TS)) //nolint:gosec // as the format has it
	if e.From != (Author{}) {
		dst = protowire.AppendTag(dst, 5, protowire.BytesType)
		from := len(dst)
		dst = pbText(dst, 1, string(e.From.Role))
		dst = pbText(dst, 2, e.From.ID)
		dst = pbText(dst, 3, e.From.Name)
		dst = pbLength(dst, from)
	}
	dst = pbText(dst, 6, string(e.Origin))
	dst = pbText(dst, 7, e.Kind)
	dst = pbText(dst, 8, e.Type)
	dst = pbBytes(dst, 9, e.Body)
	dst = pbText(dst, 10, e.Visibility)
	dst = pbText(dst, 11, e.Channel)
	dst = pbNum(dst, 12, prev)
	dst = pbNum(dst, 13, e.ReplyTo)
	return pbText(dst, 14, e.Stream)
}

// pbNum appends a varint field, or nothing for 0.
func pbNum(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

// pbText appends a string field, or nothing for "".
func pbText(dst []byte, num protowire.Number, v string) []byte {
	if v == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), v)
}

// pbBytes appends a bytes field, or nothing for none.
func pbBytes(dst []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), v)
}

// pbLength puts the length of what stands behind from in front of it.
func pbLength(dst []byte, from int) []byte {
	var length [binary.MaxVarintLen64]byte
	n := len(dst) - from
	k := binary.PutUvarint(length[:], uint64(n)) //nolint:gosec // a length
	dst = append(dst, length[:k]...)
	copy(dst[from+k:], dst[from:from+n])
	copy(dst[from:], length[:k])
	return dst
}

// parseCommandPB reads a hot frame. It reports false for everything else, also for what is wrong or unusual: the generic
// way then says what.
func parseCommandPB(b []byte, cmd *Command) bool {
	var verb pbField
	for len(b) > 0 {
		x, rest, ok := nextPB(b)
		if !ok {
			return false
		}
		b = rest
		switch {
		case x.num == pbID && !x.bytes:
			cmd.ID = x.v
		case x.bytes && verb.num == 0:
			verb = x
		default:
			return false
		}
	}
	if !cmd.verbPB(verb.num) {
		return false
	}
	for b = verb.text; len(b) > 0; {
		x, rest, ok := nextPB(b)
		if !ok || x.bytes && !cmd.textPB(x) || !x.bytes && !cmd.numPB(x.num, x.v) {
			return false
		}
		b = rest
	}
	return true
}

func (c *Command) verbPB(num protowire.Number) bool {
	switch num {
	case pbClientSend:
		c.Verb = VerbSend
	case pbClientAck:
		c.Verb = VerbAck
	case pbClientTyping:
		c.Verb = VerbTyping
	case pbClientDelta:
		c.Verb = VerbDelta
	case pbClientReply:
		c.Verb = VerbReply
	case pbClientNack:
		c.Verb = VerbNack
	default:
		return false
	}
	return true
}

func (c *Command) numPB(num protowire.Number, v uint64) bool {
	switch c.Verb {
	case VerbSend:
		if num == 5 {
			c.ReplyTo = v
			return true
		}
	case VerbReply:
		switch num {
		case 2:
			c.AE = v
		case 3:
			c.Ack = Some(v)
		case 9:
			c.ReplyTo = v
		case 10:
			c.GE = v
		default:
			return false
		}
		return true
	case VerbAck:
		switch num {
		case 2:
			c.AE = v
		case 3:
			c.Seq = v
		case 4:
			c.Read = v
		default:
			return false
		}
		return true
	case VerbTyping:
		switch num {
		case 2:
			c.AE = v
		case 3:
			c.On = v != 0
		default:
			return false
		}
		return true
	case VerbDelta:
		switch num {
		case 2:
			c.AE = v
		case 4:
			c.Seq = v
		default:
			return false
		}
		return true
	case VerbNack:
		switch {
		case num == 2:
			c.AE = v
		case num == 3:
			c.Seq = v
		case num == 4 && v <= math.MaxInt64:
			c.DelayMS = int64(v)
		default:
			return false
		}
		return true
	default:
	}
	return false
}

func (c *Command) textPB(x pbField) (ok bool) {
	num := x.num
	if num == 4 && c.Verb == VerbSend || num == 7 && c.Verb == VerbReply {
		c.Body, ok = documentPB(x.text)
		return ok
	}
	s, ok := x.string()
	if !ok {
		return false
	}
	if num == 1 {
		c.Session = SessionID(s)
		return true
	}
	switch c.Verb {
	case VerbSend:
		switch num {
		case 2:
			c.Key = s
			return true
		case 3:
			c.Type = s
			return true
		}
	case VerbReply:
		switch num {
		case 4:
			c.Key = s
			return true
		case 5:
			c.Stream = s
			return true
		case 6:
			c.Type = s
			return true
		case 8:
			c.Visibility = s
			return true
		}
	case VerbDelta:
		switch num {
		case 3:
			c.Stream = s
			return true
		case 5:
			c.Text = s
			return true
		}
	case VerbNack:
		switch num {
		case 5:
			c.Reason = s
			return true
		case 6:
			c.Key = s
			return true
		}
	default:
	}
	return false
}

// string returns the field's text, which aliases the message; false when it is not valid UTF-8.
func (x pbField) string() (string, bool) {
	return unsafe.String(unsafe.SliceData(x.text), len(x.text)), utf8.Valid(x.text)
}

// documentPB returns an embedded document as it is stored [SW-2.2]: without white space around it, which in JSON belongs to
// the frame. It aliases v unless raw CR or LF stand inside. It reports false when v is not one JSON value.
func documentPB(v []byte) ([]byte, bool) {
	if ValidJSON(v) != nil {
		return nil, false
	}
	v = bytes.Trim(v, " \t\r\n")
	if bytes.IndexByte(v, '\r') >= 0 || bytes.IndexByte(v, '\n') >= 0 {
		v = AppendBody(nil, v)
	}
	return v, true
}
