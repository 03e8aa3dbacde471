package session

import (
	"slices"

	"switchboard/wire"
)

// bind begins deliveries of a new assignment to conn, behind after.
func (s *State) bind(conn wire.Conn, window uint32, after uint64) {
	s.owner = delivery{conn: conn, window: int(max(window, 1)), sent: after, began: after, unacked: s.owner.unacked[:0]}
}

// bindAgain begins deliveries of the same assignment to conn, from what is unacknowledged on.
func (s *State) bindAgain(conn wire.Conn, window uint32) {
	before, mayOwe, began := max(s.owner.before, s.owner.sent), s.owner.mayOwe, s.owner.began
	if n := len(s.owner.unacked); n > 0 {
		mayOwe = max(mayOwe, s.owner.unacked[n-1])
	}
	s.bind(conn, window, s.Cursor)
	s.owner.before, s.owner.mayOwe, s.owner.began = before, mayOwe, began
}

// settle forgets the owner's window, and what it streamed.
func (s *State) settle() {
	s.owner = delivery{unacked: s.owner.unacked[:0]}
	s.streams = nil
}

// delivered tells whether seq may be acknowledged: it was shown to the owner since the last rewind [SW-5.6], or, on another
// connection or by another owner of the session's shard, may have been.
func (s *State) delivered(seq uint64) bool {
	return seq <= s.owner.sent || seq <= s.Cursor || seq <= s.owner.before
}

// owed tells whether seq may be given back: it was delivered, or may have been, and is not acknowledged.
func (s *State) owed(seq uint64) bool {
	if slices.Contains(s.owner.unacked, seq) {
		return true
	}
	if seq <= max(s.Cursor, s.owner.sent) || seq > s.owner.mayOwe {
		return false
	}
	e := s.at(seq)
	return e == nil || e.Origin == wire.OriginCustomer
}

// trim forgets unacked entries that are acknowledged by now. What an earlier owner of the shard delivered is not delivered again.
func (s *State) trim() {
	s.owner.sent = max(s.owner.sent, s.Cursor)
	i := 0
	for i < len(s.owner.unacked) && s.owner.unacked[i] <= s.Cursor {
		i++
	}
	s.owner.unacked = slices.Delete(s.owner.unacked, 0, i)
}

// rewind lets everything behind seq be delivered again.
func (s *State) rewind(seq uint64) {
	s.owner.sent, s.owner.before, s.owner.mayOwe, s.owner.said = min(s.owner.sent, seq), min(s.owner.before, seq), min(s.owner.mayOwe, seq), 0
	i := len(s.owner.unacked)
	for i > 0 && s.owner.unacked[i-1] > seq {
		i--
	}
	s.owner.unacked = s.owner.unacked[:i]
}

// firstUnacked returns the first entry of the customer that was delivered to the owner, or may have been by an earlier owner of the session's
// shard, and is not acknowledged; 0 is none, or one too old to be in memory. What waits behind a nack is with nobody.
func (s *State) firstUnacked(now int64) uint64 {
	if len(s.owner.unacked) > 0 {
		return s.owner.unacked[0]
	}
	last := s.owner.mayOwe
	if s.HoldUntil > now {
		last = min(last, s.FailSeq-1)
	}
	for seq := max(s.Cursor, s.owner.sent) + 1; seq <= last; seq++ {
		switch e := s.at(seq); {
		case e == nil:
			return 0
		case e.Origin == wire.OriginCustomer:
			return seq
		}
	}
	return 0
}

// pump delivers to the owner what it may see and has not been sent, in order, while its window is open [SW-5.4].
// Of what was said before the assignment only what the customer said and nobody acknowledged is delivered: assigned's tail
// has told the rest.
func (s *State) pump(env *Env, d *Decision) {
	w := &s.owner
	if s.Phase != Assigned || w.conn == (wire.Conn{}) || w.loading {
		return
	}
	w.retryAt = 0
	for w.sent < s.Head {
		seq := w.sent + 1
		if seq <= s.Owner.Since && seq <= s.Cursor {
			w.sent = min(s.Owner.Since, s.Cursor)
			continue
		}
		e := s.at(seq)
		if e == nil {
			w.loading = true
			d.Load = append(d.Load, Load{Kind: LoadBack, After: w.sent, Before: s.Head + 1, Limit: TailEntries, Staff: true})
			return
		}
		if s.HoldUntil > env.Now && seq >= s.FailSeq { // [SW-5.6] what follows waits too
			w.before, w.mayOwe = 0, 0
			return
		}
		if e.Origin == wire.OriginCustomer && seq > s.Cursor {
			if len(w.unacked) >= w.window {
				w.before, w.mayOwe = 0, 0
				return
			}
			w.unacked = append(w.unacked, seq)
		}
		w.sent = seq
		if s.shown(e) {
			s.deliver(e, d)
		}
	}
	w.back, w.before, w.mayOwe = nil, 0, 0
}

// shown tells whether e is delivered to the owner: not what it said itself, and not the past.
func (s *State) shown(e *wire.Entry) bool {
	if e.Seq <= s.Owner.Since {
		return e.Origin == wire.OriginCustomer && e.Seq > s.Cursor
	}
	return e.Kind == wire.KindEvent || e.From.ID != s.Owner.Sub || e.From.Role != s.Owner.role()
}

func (s *State) deliver(e *wire.Entry, d *Decision) {
	f := d.frame(s.owner.conn)
	f.Kind, f.Session, f.Entry, f.Prev, f.AE = wire.FrameDelivery, s.ID, e, e.Seq-1, s.AE
	f.Head, s.owner.said = s.owner.said, e.Seq
	if e.Origin == wire.OriginCustomer {
		f.Attempt = 1
		if e.Seq == s.FailSeq {
			f.Attempt = s.Attempt + 1
		}
	}
}

// resync delivers again from c.Seq on what is not acknowledged: the edge had to drop something [SW-4.7], or it was lost, and the edge may not know
// where the deliveries had gone on. Without Seq it knows nothing of the assignment at all, which is told once more.
func (s *State) resync(env *Env, c *wire.Command, d *Decision) {
	if c.Resume {
		s.rebound(env, c, d)
		return
	}
	if s.Phase != Assigned || c.AE != s.AE || c.Conn != s.owner.conn {
		return
	}
	if c.Seq == 0 {
		s.bindAgain(c.Conn, uint32(s.owner.window)) //nolint:gosec // it was one
		s.present("route", d)
		s.pump(env, d)
		return
	}
	s.rewind(max(c.Seq-1, s.Cursor))
	f := d.frame(c.Conn)
	f.Kind, f.Session, f.AE, f.Seq = wire.FrameResync, s.ID, s.AE, c.Seq
	s.pump(env, d)
}

// backRetryMS is how long a failed LoadBack rests.
const backRetryMS = 1000

// Back answers a LoadBack with the entries that were read, or none when that failed: it is then asked for again at Alarm.
// An answer that is overtaken by a new owner or a Rebind does no harm.
func (s *State) Back(env *Env, entries []*wire.Entry, d *Decision) {
	w := &s.owner
	if s.Phase != Assigned {
		return
	}
	w.loading, w.back = false, entries
	if len(entries) == 0 && w.sent < s.Head && s.at(w.sent+1) == nil {
		w.retryAt = env.Now + backRetryMS
		return
	}
	s.pump(env, d)
}
