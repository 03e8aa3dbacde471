package wire

import (
	"bytes"
	"math"
)

// appendCommandJSON appends a hot command, its members in the schema's order.
func appendCommandJSON(dst []byte, c *Command) []byte {
	if len(dst) > 0 {
		dst = append(dst, '\n')
	}
	dst = appendNum(append(dst, '{'), `"id":`, c.ID)
	dst = append(AppendString(dst, string(c.Verb)), ':', '{')
	dst = appendWordJSON(dst, `"session":`, string(c.Session))
	if c.Verb != VerbSend {
		dst = appendNum(dst, `"ae":`, c.AE)
	}
	switch c.Verb {
	case VerbSend:
		dst = appendWordJSON(dst, `"key":`, c.Key)
		dst = appendWordJSON(dst, `"type":`, c.Type)
		dst = appendBodyJSON(dst, c.Body)
		dst = appendNum(dst, `"reply_to":`, c.ReplyTo)
	case VerbReply:
		if c.Ack.Set {
			dst = append(appendUint(append(dst, `"ack":`...), c.Ack.Value), ',')
		}
		dst = appendWordJSON(dst, `"key":`, c.Key)
		dst = appendWordJSON(dst, `"stream":`, c.Stream)
		dst = appendWordJSON(dst, `"type":`, c.Type)
		dst = appendBodyJSON(dst, c.Body)
		dst = appendWordJSON(dst, `"visibility":`, c.Visibility)
		dst = appendNum(dst, `"reply_to":`, c.ReplyTo)
		dst = appendNum(dst, `"ge":`, c.GE)
	case VerbAck:
		dst = appendNum(dst, `"seq":`, c.Seq)
		dst = appendNum(dst, `"read":`, c.Read)
	case VerbTyping:
		dst = append(appendBool(append(dst, `"on":`...), c.On), ',')
	case VerbDelta:
		dst = appendWordJSON(dst, `"stream":`, c.Stream)
		dst = append(appendUint(append(dst, `"off":`...), c.Seq), ',')
		dst = appendWordJSON(dst, `"text":`, c.Text)
	default: // nack
		dst = appendNum(dst, `"seq":`, c.Seq)
		if c.DelayMS != 0 {
			dst = append(appendInt(append(dst, `"delay_ms":`...), c.DelayMS), ',')
		}
		dst = appendWordJSON(dst, `"reason":`, c.Reason)
		dst = appendWordJSON(dst, `"key":`, c.Key)
	}
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}', '}')
}

// appendBodyJSON appends a body with a comma behind, or nothing for none.
func appendBodyJSON(dst, body []byte) []byte {
	if len(body) == 0 {
		return dst
	}
	return append(append(append(dst, `"body":`...), body...), ',')
}

// frame reads a hot frame. It reports false for everything else, also for what is wrong or unusual: the generic way then
// says what.
func (s *scan) frame(f *Frame, spare *Entry) bool {
	verbs := 0
	err := s.object(func(key []byte) (err error) {
		if string(key) == "id" {
			f.ID, err = s.uint()
			return err
		}
		verbs++
		switch string(key) {
		case "send":
			f.Kind, f.Verb = FrameWrote, VerbSend
			return s.object(func(key []byte) error { return s.wrote(key, f) })
		case "reply":
			f.Kind, f.Verb = FrameWrote, VerbReply
			return s.object(func(key []byte) error { return s.wrote(key, f) })
		case "delta":
			f.Kind = FrameDelta
			return s.object(func(key []byte) error { return s.delta(key, f) })
		case "message":
			f.Kind = FrameMessage
		case "delivery":
			f.Kind = FrameDelivery
		default:
			return errJSON
		}
		e := f.entry(spare)
		err = s.object(func(key []byte) error { return s.entry(key, f, e) })
		f.Session = e.Session
		return err
	})
	s.space()
	return err == nil && verbs == 1 && s.i == len(s.b)
}

// wrote reads one member of the reply to a send or reply. Members that it does not have are somebody else's to judge.
func (s *scan) wrote(key []byte, f *Frame) (err error) {
	switch string(key) {
	case "seq":
		f.Seq, err = s.uint()
	case "epoch":
		f.Epoch, err = s.uint()
	case "ts":
		f.TS, err = s.int()
	case "duplicate":
		f.Duplicate, err = s.bool()
	default:
		err = errJSON
	}
	return err
}

func (s *scan) delta(key []byte, f *Frame) (err error) {
	switch string(key) {
	case "session":
		f.Session, err = text[SessionID](s)
	case "stream":
		f.Stream, err = text[string](s)
	case "off":
		f.Seq, err = s.uint()
	case "text":
		f.Text, err = text[string](s)
	default:
		err = errJSON
	}
	return err
}

// entry reads one member of a message or delivery.
func (s *scan) entry(key []byte, f *Frame, e *Entry) (err error) {
	switch string(key) {
	case "session":
		e.Session, err = text[SessionID](s)
	case "seq":
		e.Seq, err = s.uint()
	case "epoch":
		e.Epoch, err = s.uint()
	case "ts":
		e.TS, err = s.int()
	case "from":
		err = s.object(func(key []byte) error { return s.author(key, &e.From) })
	case "origin":
		e.Origin, err = text[Origin](s)
	case "kind":
		e.Kind, err = text[string](s)
	case "type":
		e.Type, err = text[string](s)
	case "body":
		e.Body, err = s.document()
	case "visibility":
		e.Visibility, err = text[string](s)
	case "channel":
		e.Channel, err = text[string](s)
	case "prev":
		f.Prev, err = s.uint()
	case "reply_to":
		e.ReplyTo, err = s.uint()
	case "stream":
		e.Stream, err = text[string](s)
	default:
		if f.Kind != FrameDelivery {
			return errJSON
		}
		return s.owned(key, f)
	}
	return err
}

// owned reads what a delivery has beside its entry [SW-5.4].
func (s *scan) owned(key []byte, f *Frame) (err error) {
	switch string(key) {
	case "ae":
		f.AE, err = s.uint()
	case "attempt":
		var n uint64
		if n, err = s.uint(); n > math.MaxUint32 {
			return errJSON
		}
		f.Attempt = uint32(n) //nolint:gosec // checked above
	default:
		err = errJSON
	}
	return err
}

func (s *scan) author(key []byte, a *Author) (err error) {
	switch string(key) {
	case "role":
		a.Role, err = text[Role](s)
	case "id":
		a.ID, err = text[string](s)
	case "name":
		a.Name, err = text[string](s)
	default:
		err = errJSON
	}
	return err
}

// document reads one JSON value as it is stored [SW-2.2]; without raw CR and LF it aliases the text.
func (s *scan) document() ([]byte, error) {
	b, err := s.raw()
	if err == nil && (bytes.IndexByte(b, '\r') >= 0 || bytes.IndexByte(b, '\n') >= 0) {
		b = AppendBody(nil, b)
	}
	return b, err
}
