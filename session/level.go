package session

import "switchboard/wire"

// Alert is what a service level has to say of a session.
type Alert struct {
	Level   string
	Case    uint64 // the entry with which the case began
	Since   int64  // Unix ms
	LimitMS int64
	Percent uint64 // of the limit that are over; 100 is missed
	Worker  string // who has the session, if anybody does
}

// Warn writes that a service level comes to its limit, or is missed [SW-4.9]. Staff sees it.
func (s *State) Warn(env *Env, a *Alert, d *Decision) {
	if s.ErasedAt != 0 {
		return
	}
	typ := EventWarned
	if a.Percent >= 100 {
		typ = EventMissed
	}
	body := objectNum(objectString(nil, "level", a.Level), "case", a.Case)
	body = objectNum(body, "since", uint64(a.Since))                                       //nolint:gosec // a time
	body = objectNum(objectNum(body, "limit_ms", uint64(a.LimitMS)), "percent", a.Percent) //nolint:gosec // positive
	if a.Worker != "" {
		body = objectString(body, "worker", a.Worker)
	}
	s.event(env, typ, body, d)
	s.pump(env, d)
}

// Hold tells the customer that somebody will come, in the broker's own name or as the bot by. It answers nothing: whosever name it
// has, its author's role is the broker's.
func (s *State) Hold(env *Env, text, by string, d *Decision) {
	if s.Phase == Closed {
		return
	}
	e := &wire.Entry{
		Origin: wire.OriginSystem, Kind: wire.KindMessage, Type: "text", Body: object("text", text), Visibility: wire.Public, Channel: s.Channels[0],
	}
	if by != "" {
		e.Origin, e.From = wire.OriginBot, wire.Author{Role: wire.RoleSystem, Name: by}
	}
	s.append(env, e, wire.Conn{}, d)
	s.pump(env, d)
}

// Boost lets the session count as having come ms earlier, and opens so many steps of its route before their time, until it is told
// otherwise. While it waits its pool hears of it, when
// tell is set; otherwise with what it is told next. It is no fact: service levels know it again when the session is read.
func (s *State) Boost(env *Env, ms int64, steps uint32, tell bool, d *Decision) {
	if ms == s.boost && steps == s.ahead {
		return
	}
	s.boost, s.ahead = ms, steps
	s.boosts = max(s.boosts+1, uint64(max(env.Now, 0))) // above what an earlier owner of its shard has told the pool, who counted as well
	if tell && s.Phase == Queued && s.Transfer.Ticket == 0 {
		d.post(env, s.task())
	}
}
