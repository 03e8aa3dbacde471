package wire

import (
	"slices"
	"unsafe"

	"switchboard/wire/wirepb"
)

// The frames that make up nearly all traffic have codecs of their own, in this file and hotpb.go: they allocate
// nothing, and they are held against the generated ones by fuzzing. Whatever is unusual goes the generic way.

// ParseCommand reads one frame as [Codec.Next] cut it into cmd. It fails like [Codec.Parse]; the command's id is set
// when the frame's was. What cmd held before is gone. The command aliases frame, which must not change any more: it belongs to the command, and where
// the frame has strings with escapes their text is written over them, so it cannot be read again either.
func (c Codec) ParseCommand(frame []byte, cmd *Command) error {
	*cmd = Command{}
	if c == JSON {
		s := scan{b: frame}
		if s.command(cmd) {
			return nil
		}
	} else if parseCommandPB(frame, cmd) {
		return nil
	}
	*cmd = Command{}
	m := &wirepb.ClientFrame{}
	err := c.Parse(frame, m)
	cmd.Cold(m)
	if cmd.Verb.hot() {
		cmd.PB = nil
	}
	return err
}

// AppendFrame appends f as it stands in a message, also behind others. Kinds that write nothing leave dst as it is.
func (c Codec) AppendFrame(dst []byte, f *Frame) []byte {
	switch f.Kind {
	case FrameWrote, FrameMessage, FrameDelivery, FrameDelta:
		if c == JSON {
			return appendFrameJSON(dst, f)
		}
		return appendFramePB(dst, f)
	default:
	}
	m := f.server()
	if m == nil {
		return dst
	}
	out, err := c.Append(dst, m)
	if err != nil {
		return dst // only invalid UTF-8 in a string could; what came in was checked
	}
	return out
}

// server returns f as the schema has it, or nil when it writes nothing.
func (f *Frame) server() *wirepb.ServerFrame {
	m := &wirepb.ServerFrame{Id: f.ID}
	switch f.Kind {
	case FrameWrote:
		r := &wirepb.SendReply{Seq: f.Seq, Epoch: f.Epoch, Ts: f.TS, Duplicate: f.Duplicate}
		if f.Verb == VerbReply {
			m.Verb = &wirepb.ServerFrame_Reply{Reply: r}
		} else {
			m.Verb = &wirepb.ServerFrame_Send{Send: r}
		}
	case FrameError:
		m.Verb = &wirepb.ServerFrame_Error{Error: f.Err.ErrorPB()}
	case FrameMessage:
		m.Verb = &wirepb.ServerFrame_Message{Message: f.Entry.PB(f.Prev)}
	case FrameDelivery:
		m.Verb = &wirepb.ServerFrame_Delivery{Delivery: f.Entry.DeliveryPB(f.Prev, f.AE, f.Attempt)}
	case FrameDelta:
		m.Verb = &wirepb.ServerFrame_Delta{Delta: &wirepb.Delta{Session: string(f.Session), Stream: f.Stream, Off: f.Seq, Text: f.Text}}
	default:
		if f.PB == nil {
			return nil
		}
		m.Verb = f.PB.Verb
	}
	return m
}

// appendFrameJSON appends a hot frame.
func appendFrameJSON(dst []byte, f *Frame) []byte {
	if len(dst) > 0 {
		dst = append(dst, '\n')
	}
	dst = append(dst, '{')
	if f.ID != 0 {
		dst = append(dst, `"id":`...)
		dst = appendUint(dst, f.ID)
		dst = append(dst, ',')
	}
	switch f.Kind {
	case FrameWrote:
		if f.Verb == VerbReply {
			dst = append(dst, `"reply":{`...)
		} else {
			dst = append(dst, `"send":{`...)
		}
		dst = appendNum(dst, `"seq":`, f.Seq)
		dst = appendNum(dst, `"epoch":`, f.Epoch)
		if f.TS != 0 {
			dst = appendInt(append(dst, `"ts":`...), f.TS)
			dst = append(dst, ',')
		}
		dst = appendBool(append(dst, `"duplicate":`...), f.Duplicate)
	case FrameDelta:
		dst = append(dst, `"delta":{`...)
		dst = appendWordJSON(dst, `"session":`, string(f.Session))
		dst = appendWordJSON(dst, `"stream":`, f.Stream)
		dst = appendUint(append(dst, `"off":`...), f.Seq)
		if f.Text != "" {
			dst = AppendString(append(dst, `,"text":`...), f.Text)
		}
	case FrameDelivery:
		dst = appendEntryJSON(append(dst, `"delivery":{`...), f.Entry, f.Prev)
		if f.AE != 0 {
			dst = appendUint(append(dst, `,"ae":`...), f.AE)
		}
		if f.Attempt != 0 {
			dst = appendUint(append(dst, `,"attempt":`...), uint64(f.Attempt))
		}
	default:
		dst = appendEntryJSON(append(dst, `"message":{`...), f.Entry, f.Prev)
	}
	return append(dst, '}', '}')
}

// appendNum appends name and v with a comma behind, or nothing for 0.
func appendNum(dst []byte, name string, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return append(appendUint(append(dst, name...), v), ',')
}

// appendWordJSON appends name and v with a comma behind, or nothing for "".
func appendWordJSON(dst []byte, name, v string) []byte {
	if v == "" {
		return dst
	}
	return append(AppendString(append(dst, name...), v), ',')
}

// appendEntryJSON appends the members of an entry, in the schema's order.
func appendEntryJSON(dst []byte, e *Entry, prev uint64) []byte {
	dst = appendWordJSON(dst, `"session":`, string(e.Session))
	dst = appendNum(dst, `"seq":`, e.Seq)
	dst = appendNum(dst, `"epoch":`, e.Epoch)
	if e.TS != 0 {
		dst = append(appendInt(append(dst, `"ts":`...), e.TS), ',')
	}
	if e.From != (Author{}) {
		dst = append(dst, `"from":{`...)
		dst = appendWordJSON(dst, `"role":`, string(e.From.Role))
		dst = appendWordJSON(dst, `"id":`, e.From.ID)
		dst = appendWordJSON(dst, `"name":`, e.From.Name)
		dst[len(dst)-1] = '}' // there is at least one member, and its comma
		dst = append(dst, ',')
	}
	dst = appendWordJSON(dst, `"origin":`, string(e.Origin))
	dst = appendWordJSON(dst, `"kind":`, e.Kind)
	dst = appendWordJSON(dst, `"type":`, e.Type)
	dst = appendBodyJSON(dst, e.Body)
	dst = appendWordJSON(dst, `"visibility":`, e.Visibility)
	dst = appendWordJSON(dst, `"channel":`, e.Channel)
	dst = appendUint(append(dst, `"prev":`...), prev)
	if e.ReplyTo != 0 {
		dst = appendUint(append(dst, `,"reply_to":`...), e.ReplyTo)
	}
	if e.Stream != "" {
		dst = AppendString(append(dst, `,"stream":`...), e.Stream)
	}
	return dst
}

// command reads a hot frame. It reports false for everything else, also for what is wrong: the generic way then says
// what.
func (s *scan) command(cmd *Command) bool {
	verbs := 0
	err := s.object(func(key []byte) (err error) {
		switch string(key) {
		case "id":
			if cmd.ID, err = s.uint(); cmd.ID == 0 {
				return errJSON
			}
			return err
		case "send":
			cmd.Verb = VerbSend
		case "reply":
			cmd.Verb = VerbReply
		case "ack":
			cmd.Verb = VerbAck
		case "typing":
			cmd.Verb = VerbTyping
		case "delta":
			cmd.Verb = VerbDelta
		case "nack":
			cmd.Verb = VerbNack
		default:
			return errJSON
		}
		verbs++
		return s.object(func(key []byte) error { return s.member(key, cmd) })
	})
	s.space()
	if err != nil || verbs != 1 || s.i != len(s.b) {
		return false
	}
	for _, v := range s.escaped[:s.escapes] {
		inner := unsafe.Slice(unsafe.StringData(*v), len(*v)) // of the frame
		text := unescape(inner[:0], inner)                    // never longer
		*v = unsafe.String(unsafe.SliceData(text), len(text))
	}
	return true
}

// own reads a string into v, as it is written. The text takes its place when the whole frame was read: until then the generic way may have to
// read it, too.
func (s *scan) own(v *string) error {
	if s.peek() != '"' {
		return errJSON
	}
	inner, plain, err := s.strRaw()
	if err != nil {
		return err
	}
	*v = unsafe.String(unsafe.SliceData(inner), len(inner))
	if plain || slices.Contains(s.escaped[:s.escapes], v) { // the last of two of one name counts
		return nil
	}
	if s.escapes == len(s.escaped) {
		return errJSON // more than there are strings in a verb
	}
	s.escaped[s.escapes] = v
	s.escapes++
	return nil
}

// member reads one member of a hot verb. Members that it does not have are somebody else's to judge.
func (s *scan) member(key []byte, cmd *Command) (err error) {
	if string(key) == "body" && (cmd.Verb == VerbSend || cmd.Verb == VerbReply) {
		cmd.Body, err = s.document()
		return err
	}
	if s.peek() == 'n' {
		return errJSON // null leaves a field as it is: the generic way knows
	}
	verb := cmd.Verb
	switch string(key) {
	case "session":
		err = s.own((*string)(&cmd.Session))
	case "key":
		if verb != VerbSend && verb != VerbReply && verb != VerbNack {
			return errJSON
		}
		err = s.own(&cmd.Key)
	case "type":
		if verb != VerbSend && verb != VerbReply {
			return errJSON
		}
		err = s.own(&cmd.Type)
	case "reply_to":
		if verb != VerbSend && verb != VerbReply {
			return errJSON
		}
		cmd.ReplyTo, err = s.uint()
	case "ae":
		if verb == VerbSend {
			return errJSON
		}
		cmd.AE, err = s.uint()
	case "ge":
		if verb != VerbReply {
			return errJSON
		}
		cmd.GE, err = s.uint()
	case "ack":
		if verb != VerbReply {
			return errJSON
		}
		cmd.Ack.Value, err = s.uint()
		cmd.Ack.Set = true
	case "seq":
		if verb != VerbAck && verb != VerbNack {
			return errJSON
		}
		cmd.Seq, err = s.uint()
	case "delay_ms":
		if verb != VerbNack {
			return errJSON
		}
		cmd.DelayMS, err = s.int()
	case "reason":
		if verb != VerbNack {
			return errJSON
		}
		err = s.own(&cmd.Reason)
	case "read":
		if verb != VerbAck {
			return errJSON
		}
		cmd.Read, err = s.uint()
	case "off":
		if verb != VerbDelta {
			return errJSON
		}
		cmd.Seq, err = s.uint()
	case "text":
		if verb != VerbDelta {
			return errJSON
		}
		err = s.own(&cmd.Text)
	case "stream":
		if verb != VerbDelta && verb != VerbReply {
			return errJSON
		}
		err = s.own(&cmd.Stream)
	case "visibility":
		if verb != VerbReply {
			return errJSON
		}
		err = s.own(&cmd.Visibility)
	case "on":
		if verb != VerbTyping {
			return errJSON
		}
		cmd.On, err = s.bool()
	default:
		return errJSON
	}
	return err
}

// text reads a string; without escapes it aliases the text.
func text[T ~string](s *scan) (T, error) {
	b, err := s.str()
	return T(unsafe.String(unsafe.SliceData(b), len(b))), err
}
