package session

import (
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// delta adds to a running stream of the owner, and shows it to everybody attached [SW-4.8]. Offsets count bytes of
// UTF-8. What does not fit is answered with a rewind, from where the owner sends again.
func (s *State) delta(env *Env, c *wire.Command, d *Decision) {
	if !s.fenced(c, d) {
		return
	}
	if c.Stream == "" {
		d.fail(c, &wire.Error{Slug: wire.BadRequest, Message: "a delta needs a stream"})
		return
	}
	st := s.stream(c.Stream)
	have := uint64(0)
	if st != nil {
		have = uint64(len(st.text))
	}
	if c.Seq != have {
		d.push(c.Conn, wire.FrameKeep, s.ID, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Rewind{Rewind: &wirepb.Rewind{Session: string(s.ID), Stream: c.Stream, Off: have}}})
		s.took(c, have, d)
		return
	}
	if int(have)+len(c.Text) > env.Policy.MaxBody { //nolint:gosec // have is the length of a text
		d.refuse(c, wire.TooLarge)
		return
	}
	if st == nil {
		if len(s.streams) >= maxStreams {
			d.fail(c, &wire.Error{Slug: wire.QuotaExceeded, Message: "as many streams run in the session as may; end one"})
			return
		}
		s.streams = append(s.streams, stream{id: c.Stream})
		st = &s.streams[len(s.streams)-1]
	}
	st.text = append(st.text, c.Text...)
	for i := range s.Attached {
		if a := &s.Attached[i]; a.Conn != c.Conn {
			f := d.frame(a.Conn)
			f.Kind, f.Session, f.Stream, f.Seq, f.Text = wire.FrameDelta, s.ID, c.Stream, have, c.Text
		}
	}
	s.took(c, uint64(len(st.text)), d)
}

// took answers a delta that asked for it, with the offset that is expected next [SW-2.3].
func (s *State) took(c *wire.Command, off uint64, d *Decision) {
	if c.ID != 0 {
		d.answer(c, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Delta{Delta: &wirepb.Delta{Session: string(s.ID), Stream: c.Stream, Off: off}}})
	}
}

func (s *State) stream(id string) *stream {
	for i := range s.streams {
		if s.streams[i].id == id {
			return &s.streams[i]
		}
	}
	return nil
}

// endStream forgets a stream whose final message is being written.
func (s *State) endStream(id string) {
	if id == "" {
		return
	}
	for i := range s.streams {
		if s.streams[i].id == id {
			s.streams = append(s.streams[:i], s.streams[i+1:]...)
			return
		}
	}
}

// interrupt ends every running stream with the text so far: its owner will not [SW-4.8].
func (s *State) interrupt(env *Env, d *Decision) {
	for _, st := range s.streams {
		s.append(env, &wire.Entry{
			From: wire.Author{Role: s.Owner.role(), ID: s.Owner.Sub, Name: s.Owner.Name}, Origin: s.Owner.Kind, Kind: wire.KindMessage,
			Type: "interrupted", Body: object("text", string(st.text)), Visibility: wire.Public, Channel: s.Channels[0], Stream: st.id,
		}, wire.Conn{}, d)
	}
	s.streams = nil
}

// running tells conn, which has attached in the middle, the text so far of every running stream [SW-4.8].
func (s *State) running(conn wire.Conn, d *Decision) {
	for _, m := range s.streamsPB() {
		d.push(conn, wire.FrameKeep, s.ID, &wirepb.ServerFrame{Verb: &wirepb.ServerFrame_Stream{Stream: m}})
	}
}

func (s *State) streamsPB() []*wirepb.Stream {
	if len(s.streams) == 0 {
		return nil
	}
	out := make([]*wirepb.Stream, len(s.streams))
	for i, st := range s.streams {
		out[i] = &wirepb.Stream{Session: string(s.ID), Stream: st.id, Off: uint64(len(st.text)), Text: string(st.text)}
	}
	return out
}
