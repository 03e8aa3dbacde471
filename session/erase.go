package session

import (
	"slices"

	"switchboard/wire"
)

// What is left of somebody who has asked to be forgotten [SW-7.11]. A session keeps that it was, when, how long and who of the staff had it, so that
// what was counted stays true; what was said in it, by anybody, and what it knew of its customer are gone. Nobody can put anything into it again.

// TypeErased is the type of an entry whose words are gone.
const TypeErased = "erased"

// Erase takes everything of s that is its customer's: mark stands for him from now on. An open session ends, so that its worker has room again. The
// rows of the entries are the shard's to rewrite; until it has, and whoever reads them meanwhile, [State.Blank] stands between.
func (s *State) Erase(env *Env, mark string, d *Decision) {
	if s.ErasedAt != 0 {
		return
	}
	s.streams = nil // what a bot was about to say is not kept either
	if s.Phase != Closed {
		s.endTransfer(env, "closed", d)
		s.event(env, EventClosed, object("by", string(wire.RoleOperator)), d)
		s.dismiss(env, d) // before the last entry, as nothing comes behind it [SW-7.11]
	}
	s.event(env, EventErased, nil, d)
	if s.Phase != Closed {
		s.over(env, wire.Conn{}, d)
	}
	d.fact(s, Fact{Kind: Erased, At: env.Now, Name: mark})
	his := func(a Attachment) bool { return frontend(a.Who.Role) }
	for i := range s.Attached { // they have heard of it, and follow nothing any more
		if a := &s.Attached[i]; his(*a) {
			f := d.frame(a.Conn)
			f.Kind, f.Session = wire.FrameDetach, s.ID
		}
	}
	s.Attached = slices.DeleteFunc(s.Attached, his)
}

// erased is what the fact changes.
func (s *State) erased(at int64, mark string) {
	s.ErasedAt = at
	s.Customer, s.Holder, s.Tier = wire.Author{Role: wire.RoleCustomer, ID: mark}, "", ""
	s.Attributes, s.Context, s.Transfer, s.Invites = nil, nil, Transfer{}, nil
	s.KeyCount, s.Keys, s.old, s.lists = 0, keyRing{}, oldKeys{}, listing{}
	s.streams, s.question, s.place = nil, question{}, nil
	said := s.Tail()
	s.tail = tail{}
	for _, e := range said { // they are shared with mail that is on its way
		s.tail.add(Blank(e))
	}
}

// Blank returns e as readers of s are shown it: e itself, or what is left of it when s is erased.
func (s *State) Blank(e *wire.Entry) *wire.Entry {
	if s.ErasedAt == 0 {
		return e
	}
	return Blank(e)
}

// Blank returns what is left of an entry of a customer who was erased: where and when it stood, and what kind of party has written it. Of events it
// keeps what the broker itself says of a session's way. It is its own Blank.
func Blank(e *wire.Entry) *wire.Entry {
	b := &wire.Entry{
		Session: e.Session, Seq: e.Seq, Epoch: e.Epoch, TS: e.TS, From: wire.Author{Role: e.From.Role}, Origin: e.Origin, Kind: e.Kind, Type: TypeErased,
		Visibility: e.Visibility, Channel: e.Channel, ReplyTo: e.ReplyTo,
	}
	if e.From.Role != wire.RoleCustomer {
		b.From.ID = e.From.ID // who of the staff, whose work is counted
	}
	if e.Kind != wire.KindEvent {
		return b
	}
	b.Type = e.Type
	switch e.Type {
	case EventOpened, EventQueued, EventAssigned, EventClosed, EventReopened, EventChannel, EventWorkerLost, EventWarned, EventMissed, EventParked,
		EventAbandoned, EventResort, EventTransferFailed, EventHookDelivered, EventHookFailed:
		b.Body = e.Body
	}
	return b
}

// BlankRow returns the row of an entry as it is when its session is erased, appended to dst: without the key that rode on it. The marks' positions
// stay. Errors: ErrRow, and those of [wire.ParseEntry].
func BlankRow(dst []byte, id wire.SessionID, row []byte) ([]byte, error) {
	m, _, raw, err := CutMarks(row)
	if err != nil {
		return dst, err
	}
	e := &wire.Entry{Session: id}
	if err := wire.ParseEntry(raw, e); err != nil {
		return dst, err
	}
	m.Keys = 0
	return wire.AppendEntry(AppendMarks(dst, m, nil), Blank(e)), nil
}

// BlankState returns the row of a state as it is when its session is erased, appended to dst. It is for rows that nobody serves: of backups, and of
// slots that have left. A session that was open there is closed. Error: ErrRow.
func BlankState(dst, row []byte, at int64, mark string) ([]byte, error) {
	s := &State{}
	if err := ParseState(row, s); err != nil {
		return dst, err
	}
	if s.ErasedAt != 0 {
		return append(dst, row...), nil
	}
	if s.Phase != Closed {
		s.Apply(&Fact{Kind: Ended, At: at})
		s.Guests = nil
	}
	s.Apply(&Fact{Kind: Erased, At: at, Name: mark})
	return AppendState(dst, s), nil
}
