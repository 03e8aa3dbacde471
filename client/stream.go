package client

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// draft is a message that somebody else is writing.
type draft struct{ text strings.Builder }

// draftsMax bounds the messages that may be written in one session at a time.
const draftsMax = 16

// written takes a piece of a stream [SW-4.8], or all of it so far. A piece that does not follow what is here is
// dropped, as everything ephemeral may be: the durable entry has all.
func (s *Session) written(id string, off uint64, text string, whole bool) {
	on := s.c.cfg.On.Stream
	if on == nil {
		return
	}
	d := s.streams[id]
	switch {
	case d == nil && (len(s.streams) >= draftsMax || !whole && off > 0):
		return
	case d == nil || whole:
		if d = new(draft); s.streams == nil {
			s.streams = map[string]*draft{}
		}
		s.streams[id] = d
	}
	have := uint64(d.text.Len())
	if off > have || off+uint64(len(text)) < have || d.text.Len()+len(text) > int(s.c.cfg.MessageMax) {
		return
	}
	d.text.WriteString(text[have-off:])
	so := Draft{Stream: id, Text: d.text.String()}
	s.c.after(func() { on(s, so) })
}

// ended forgets the stream that an entry has ended, or that is gone.
func (s *Session) ended(id string) {
	d := s.streams[id]
	if d == nil {
		return
	}
	delete(s.streams, id)
	on, last := s.c.cfg.On.Stream, Draft{Stream: id, Text: d.text.String(), Ended: true}
	s.c.after(func() { on(s, last) })
}

// dropDrafts forgets the streams that are not among those that run.
func (s *Session) dropDrafts(running []*wirepb.Stream) {
	for id := range s.streams {
		if !slices.ContainsFunc(running, func(r *wirepb.Stream) bool { return r.Stream == id }) {
			s.ended(id)
		}
	}
}

// Stream is a message that this worker is writing, shown to everybody while it grows [SW-4.8]. It is an io.Writer of
// UTF-8 text. Pieces are sent as the connection takes them: a slow one gets fewer and larger ones. Nothing of it is
// durable before [Stream.End].
type Stream struct {
	// Fixed.
	s  *Session
	id string

	// Guarded by Client.mu.
	text []byte
	rest []byte // the beginning of a rune
	sent int
	over bool
}

// Stream begins a message. id names it inside the session; empty makes one up.
func (s *Session) Stream(id string) *Stream {
	w := &Stream{s: s, id: or(id, newKey())}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.writers == nil {
		s.writers = map[string]*Stream{}
	}
	s.writers[w.id] = w
	return w
}

// Write adds text. It does not wait for the network. It fails when the assignment has ended, and with
// [wire.TooLarge] when the text outgrows the largest body that the server takes.
func (w *Stream) Write(p []byte) (int, error) {
	w.s.c.mu.Lock()
	defer w.s.c.mu.Unlock()
	switch {
	case w.s.err != nil:
		return 0, w.s.err
	case w.over:
		return 0, ErrRevoked
	case len(w.text)+len(p) > or(w.s.c.hello.Body, 32768):
		return 0, wire.Refuse(wire.TooLarge)
	}
	b := append(w.rest, p...)
	cut := wholeRunes(b)
	w.text = append(w.text, strings.ToValidUTF8(string(b[:cut]), string(utf8.RuneError))...)
	w.rest = append([]byte(nil), b[cut:]...)
	w.s.touch()
	return len(p), nil
}

// WriteString adds text, as Write does.
func (w *Stream) WriteString(text string) (int, error) { return w.Write([]byte(text)) }

// wholeRunes returns the length of b without a rune that is cut off at its end.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

// End writes the final entry, and with it the stream is over. A nil body means {"text":…} with all that was written.
// The options are those of [Session.Reply].
func (w *Stream) End(ctx context.Context, typ string, body any, opts ...Option) (Sent, error) {
	w.s.c.mu.Lock()
	w.over = true
	delete(w.s.writers, w.id)
	text := string(w.text)
	w.s.c.mu.Unlock()
	if body == nil {
		body = text
	}
	return w.s.Reply(ctx, typ, body, append(opts, func(o *words) { o.stream = w.id })...)
}

// deltas appends what the streams have to say, a piece each. Client.mu is held.
func (s *Session) deltas(out []outgoing) []outgoing {
	// A byte of text takes up to six in JSON; the frame must hold it.
	most := max(min(8192, s.c.hello.Frame/8), 64)
	more := false
	for _, w := range s.writers {
		if w.sent >= len(w.text) {
			continue
		}
		piece := w.text[w.sent:min(w.sent+most, len(w.text))]
		piece = piece[:wholeRunes(piece)]
		out = append(out, outgoing{frame: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Delta{Delta: &wirepb.Delta{
			Session: s.id, Ae: s.ae, Stream: w.id, Off: uint64(w.sent), Text: string(piece),
		}}}})
		w.sent += len(piece)
		more = more || w.sent < len(w.text)
	}
	if more {
		s.touch()
	}
	return out
}

// rewindStream goes back to what the server has [SW-4.8].
func (s *Session) rewindStream(m *wirepb.Rewind) {
	if w := s.writers[m.Stream]; w != nil && m.Off <= uint64(len(w.text)) {
		w.sent = int(m.Off)
		s.touch()
	}
}
