package shard

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"slices"

	"switchboard/broker"
	"switchboard/broker/routes"
	"switchboard/broker/why"
	"switchboard/session"
	"switchboard/wire"
)

// Why a session went to whom it did is decided in its pool, whose memory ends with its owner. So each grant carries it, and the
// session's shard keeps it beside the session, in the turn that makes the assignment: nobody has the one without the other. The rows
// of a session are a ring, found by the ticket; what is over is cleared away by and by.

const (
	whyDays = 30 // how long it stays, when a document does not say
	whyEach = 8  // how many of one session do
	whyMost = 16 // and at most

	dayMS = 24 * 60 * 60 * 1000
	// pruneMS is how often rows are looked through whose time is over; a part of them at a time.
	pruneMS   = 60 * 60 * 1000
	pruneLook = 4096
)

// keepsWhy is what a tenant's document says of explanations.
type keepsWhy struct {
	days int // 0 is in memory alone
	each int
}

func keepsWhyOf(d *routes.Document) keepsWhy {
	k := keepsWhy{whyDays, whyEach}
	if d.TraceDays != nil {
		k.days = *d.TraceDays
	}
	if d.TraceEach > 0 {
		k.each = min(d.TraceEach, whyMost)
	}
	return k
}

// whyOf returns what a grant carries: how many the session keeps, until when this one stays, and why it was decided. It is nil when
// that was not noted, or is not to stay.
func (p *pool) whyOf(e *broker.Effect, now int64) []byte {
	keep := p.t.keeps
	if keep.days == 0 || !e.Noted() {
		return nil
	}
	b := binary.AppendUvarint(make([]byte, 0, 384), uint64(keep.each)) //nolint:gosec // 1 to 16
	b = binary.AppendVarint(b, now+int64(keep.days)*dayMS)
	n := len(b)
	if b = p.core.Why(b, e); len(b) == n {
		return nil
	}
	return b
}

// cutWhy splits what whyOf made.
func cutWhy(b []byte) (each uint64, until int64, record []byte, ok bool) {
	each, n := binary.Uvarint(b)
	if n <= 0 || each == 0 || each > whyMost {
		return 0, 0, nil, false
	}
	until, m := binary.Varint(b[n:])
	if m <= 0 {
		return 0, 0, nil, false
	}
	return each, until, b[n+m:], true
}

// keepWhy writes why g was decided, in the turn in which it has become an assignment of h.
func (s *Shard) keepWhy(h *hosted, g *wire.Grant) {
	st := h.state
	if len(g.Why) == 0 || st.Phase != session.Assigned || st.Owner.Ticket != g.Ticket || st.Owner.Worker != g.Worker {
		return
	}
	each, _, _, ok := cutWhy(g.Why)
	if !ok {
		return // of a later version: this one keeps none of it
	}
	s.key = numberedKey(s.key, rowWhy, h.id, g.Ticket%each)
	s.turn.Put(s.key, g.Why)
}

// untakenRow is beyond the numbers of assignments: offers that nobody took are a ring of their own, so that ten who look away do not
// drive out why somebody had it.
const untakenRow = 1 << 32

// keepUntaken writes why a session was offered to somebody who did not take it. A second copy writes the same again; of an earlier pool, of a
// session that is closed, or of a ticket that it has not had, nothing is written.
func (s *Shard) keepUntaken(h *hosted, u *wire.Untaken) {
	st := h.state
	each, _, _, ok := cutWhy(u.Why)
	if !ok || u.Pool < st.Pool || u.Ticket == 0 || u.Ticket > st.Ticket || st.Phase != session.Queued && st.Phase != session.Assigned {
		return
	}
	s.key = numberedKey(s.key, rowWhy, h.id, untakenRow+u.N%each)
	s.turn.Put(s.key, u.Why)
}

// readWhy is the loader's part of an explanation: what was kept of the session, the latest first.
func (s *Shard) readWhy(j job) result {
	r := result{job: j}
	now := s.cfg.Now().UnixMilli()
	prefix := sessionKey(nil, rowWhy, j.id)
	r.err = s.g.Scan(prefix, after(prefix), false, func(_, v []byte) bool {
		_, until, record, ok := cutWhy(v)
		var d broker.Decision
		if ok && until > now && broker.ParseDecision(record, &d) == nil && d.Session == j.id {
			r.why = append(r.why, why.Made(&d))
		}
		return true
	})
	slices.SortFunc(r.why, func(a, b why.Decision) int { return cmp.Or(cmp.Compare(b.Ticket, a.Ticket), cmp.Compare(b.At, a.At)) })
	return r
}

// whyLoaded goes on to the pool with what was kept, and what the session says of itself.
func (s *Shard) whyLoaded(r *result) {
	c, w := r.explain.c, r.explain.w
	if r.err != nil {
		s.d.Refuse(c, slugOf(r.err))
		return
	}
	w.Kept = r.why
	text, err := json.Marshal(w)
	if err != nil {
		panic(err) // it has plain fields alone
	}
	c.Text, c.Way = string(text), &wire.Way{Stage: wire.StageExplain}
	s.further(c, s.x.PoolSlot(c.Who.Tenant))
}

// explainJob is a question that waits for rows.
type explainJob struct {
	c *wire.Command
	w *why.Session
}

// prune looks for explanations whose time is over, a part at a time. It is called with every sweep.
func (s *Shard) prune() {
	if s.pruning || s.now < s.pruneAt || !s.writable {
		return
	}
	s.pruning = true
	s.wish(job{kind: jobPrune, prune: s.pruneFrom})
}

// readPrune is the loader's part.
func (s *Shard) readPrune(j job) result {
	r := result{job: j}
	now := s.cfg.Now().UnixMilli()
	from, looked := j.prune, 0
	if from == nil {
		from = []byte{rowWhy}
	}
	r.err = s.g.Scan(from, []byte{rowWhy + 1}, false, func(k, v []byte) bool {
		if looked++; looked > pruneLook {
			r.pruneNext = slices.Clone(k)
			return false
		}
		if _, until, _, ok := cutWhy(v); ok && until <= now && len(k) > 9 {
			r.pruned = append(r.pruned, prunedRow{slices.Clone(k), until})
		}
		return true
	})
	return r
}

// prunedRow is a row that may go.
type prunedRow struct {
	key   []byte
	until int64
}

// pruneLoaded takes away what is over. A row that was written anew meanwhile is spared: its session would hold a turn that is not durable,
// or one of a moment ago.
func (s *Shard) pruneLoaded(r *result) {
	s.pruning = false
	s.pruneFrom, s.pruneAt = r.pruneNext, s.now
	if r.err != nil || !s.writable {
		s.pruneFrom, s.pruneAt = r.prune, s.now+retryPruneMS
		return
	}
	if r.pruneNext == nil {
		s.pruneAt = s.now + pruneMS
	}
	for i := range r.pruned {
		if h := s.sessions[wire.SessionID(r.pruned[i].key[1:len(r.pruned[i].key)-8])]; h != nil && h.state != nil {
			continue // it may have got another by now; when it is let go its rows are looked at again
		}
		s.turn.Delete(r.pruned[i].key)
	}
}

// retryPruneMS is after how long rows are looked through again that could not be read.
const retryPruneMS = 60_000
