package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// Question is a waiting session of which the server asks this worker what it is about [SW-5a.3].
type Question struct {
	Session, Queue, Shop string
	Customer             wire.Author
	Attributes           []byte // JSON; what routing sees so far
	AttributesV          uint64
	Head                 uint64  // the last entry
	Tail                 []Entry // the latest entries
	Expires              time.Duration
}

// Invitation is a session to which the owner or a supervisor asks this worker as a guest [SW-5a.1].
type Invitation struct {
	Session, As, By, Note, Queue string
	Summary                      []byte // JSON
	Expires                      time.Duration
}

// seat is a guest's place in a session; of all others it is zero.
type seat struct {
	ge uint64
	as string
}

// classify asks about a session. It is asked once for each question that is open.
func (w *worker) classify(m *wirepb.Classify) {
	if w == nil || w.stopping || w.cfg.Classify == nil {
		return // the server goes on without an answer
	}
	id := "?" + m.Session // no offer is called so
	if w.offers[id] != nil {
		return
	}
	ctx, cancel := context.WithTimeout(w.c.ctx, time.Duration(m.ExpiresMs)*time.Millisecond)
	it := &considering{cancel}
	w.offers[id] = it
	q := Question{
		Session: m.Session, Queue: m.Queue, Shop: m.Shop, Customer: wire.AuthorOf(m.Customer), Attributes: m.Attributes, AttributesV: m.AttributesV,
		Head: m.Head, Tail: entriesOf(m.Tail), Expires: time.Duration(m.ExpiresMs) * time.Millisecond,
	}
	w.all.Go(func() {
		defer w.considered(id, it)
		if err := w.answer(ctx, &q); err != nil && ctx.Err() == nil {
			w.c.cfg.Log.Warn("classifying failed", "session", q.Session, "error", err)
		}
	})
}

// answer says what a session is about. That it was too late is no error: the session was routed without an answer.
func (w *worker) answer(ctx context.Context, q *Question) error {
	patch, err := w.cfg.Classify(ctx, *q)
	if err != nil || patch == nil {
		return err
	}
	b, err := bodyOf(patch)
	if err != nil {
		return err
	}
	_, err = w.c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Attributes{Attributes: &wirepb.Attributes{
		Session: q.Session, IfV: q.AttributesV, Patch: b, Key: newKey(),
	}}}, nil)
	if isSlug(err, wire.StaleAssignment) {
		w.c.cfg.Log.Debug("classified too late", "session", q.Session)
		return nil
	}
	return err
}

// considered forgets what was offered or asked, unless it was so once more since, over another connection.
func (w *worker) considered(id string, it *considering) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	it.cancel()
	if w.offers[id] == it {
		delete(w.offers, id)
	}
}

// invited asks whether to come as a guest. The same invitation may be shown twice.
func (w *worker) invited(m *wirepb.Invited) {
	if w == nil || w.stopping || w.cfg.Invited == nil {
		return // it expires, or another client of this worker comes
	}
	id := "+" + m.Session
	if w.offers[id] != nil || w.c.followed[m.Session] != nil {
		return
	}
	expires := time.Duration(or(m.ExpiresMs, inviteMS)) * time.Millisecond
	ctx, cancel := context.WithTimeout(w.c.ctx, expires)
	it := &considering{cancel}
	w.offers[id] = it
	i := Invitation{Session: m.Session, As: m.As, By: m.By, Note: m.Note, Queue: m.Queue, Summary: m.Summary, Expires: expires}
	w.all.Go(func() {
		defer w.considered(id, it)
		if w.cfg.Invited(ctx, w.c, i) || ctx.Err() != nil {
			return
		}
		_, err := w.c.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Leave{Leave: &wirepb.Leave{Session: i.Session}}}, nil)
		if err != nil && ctx.Err() == nil {
			w.c.cfg.Log.Debug("declining an invitation", "session", i.Session, "error", err)
		}
	})
}

// inviteMS is how long an invitation holds, as the protocol has it.
const inviteMS = 600_000

// isSlug tells whether the server refused with slug.
func isSlug(err error, slug wire.Slug) bool {
	e, ok := errors.AsType[*wire.Error](err)
	return ok && e.Slug == slug
}

// Join makes this client a guest of a session [SW-5a.1]: as "monitor", "assist", "consult" or "barge" of a supervisor, as what he was
// asked to be (as may be empty) of a worker who was invited. The session is followed from its head on; [Session.History] has what was
// said before, [Session.Reply] speaks as a guest, and [Session.Leave] gives the seat up. With the connection the seat ends too:
// [Session.Recv] then returns [ErrRevoked] behind what had come, and the guest may join again.
func (c *Client) Join(ctx context.Context, session, as string) (*Session, error) {
	var s *Session
	f := &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Join{Join: &wirepb.Join{Session: session, As: as, Key: newKey()}}}
	_, err := c.call(ctx, f, func(f *wirepb.ServerFrame) {
		ge := f.GetJoin().GetGe()
		s = c.follow(&wirepb.Open{Session: session}, &wirepb.OpenReply{Session: session, Head: ge, Epoch: 1})
		s.seat = seat{ge: ge, as: as}
	})
	if err != nil {
		return nil, fmt.Errorf("joining a session: %w", err)
	}
	return s, nil
}

// Invite asks another worker to come to this worker's session as a guest ("assist", "consult" or "barge"), and returns the seq of the
// entry that says so. It means requested: participant.joined or participant.uninvited follows [SW-5a.1]. Supervisors invite as guests
// of the session themselves.
func (s *Session) Invite(ctx context.Context, worker, as, note string) (seq uint64, err error) {
	m := &wirepb.Invite{Session: s.id, Ae: s.ae, Worker: worker, As: as, Note: note, Key: newKey()}
	f, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Invite{Invite: m}}, nil)
	if err != nil {
		return 0, fmt.Errorf("inviting: %w", s.stale(err))
	}
	return f.GetInvite().GetSeq(), nil
}

// guestReply is Reply of a guest, whose words are fenced by ge.
func (s *Session) guestReply(ctx context.Context, typ string, body []byte, w *words) (Sent, error) {
	m := &wirepb.Reply{
		Session: s.id, Ge: s.ge, Key: or(w.key, newKey()), Stream: w.stream, Type: or(typ, "text"), Body: body, Visibility: w.visibility, ReplyTo: w.replyTo,
	}
	f, err := s.call(ctx, &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Reply{Reply: m}}, func(f *wirepb.ServerFrame) {
		r := f.GetReply()
		e := s.ownEntry(&wirepb.Send{Type: m.Type, Body: m.Body, ReplyTo: m.ReplyTo}, r)
		e.Origin, e.Visibility = wire.OriginAssist, w.visibility
		if e.Visibility == "" {
			if e.Visibility = wire.Staff; s.as == "barge" {
				e.Visibility = wire.Public
			}
		}
		s.took(s.feed.own(e, r.GetDuplicate()))
	})
	if err != nil {
		return Sent{}, fmt.Errorf("replying as a guest: %w", err)
	}
	return sentOf(f.GetReply()), nil
}

// Finish closes the conversation and leaves it: who only closes goes on following, because somebody's next word opens it again
// [SW-4.6], and follows at most as many as the server's limit of sessions, closed ones too. One that is closed already is left.
func (s *Session) Finish(ctx context.Context, reason string) error {
	if err := s.Close(ctx, reason); err != nil && !isSlug(err, wire.SessionClosed) {
		return err
	}
	if s.ae != 0 {
		return nil // an assignment ends with the close
	}
	return s.Leave(ctx)
}
