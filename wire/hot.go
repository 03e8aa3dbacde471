package wire

import "switchboard/wire/wirepb"

// ParseCommand reads one frame as [Codec.Next] cut it into cmd. It fails like [Codec.Parse]; the command's id is set
// when the frame's was. The command may alias frame.
func (c Codec) ParseCommand(frame []byte, cmd *Command) error {
	m := &wirepb.ClientFrame{}
	err := c.Parse(frame, m)
	cmd.Cold(m)
	return err
}

// AppendFrame appends f as it stands in a message, also behind others. Kinds that write nothing leave dst as it is.
func (c Codec) AppendFrame(dst []byte, f *Frame) []byte {
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

// server returns f as the schema has it.
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
