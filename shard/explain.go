package shard

import (
	"encoding/json"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/broker/why"
	"switchboard/session"
	"switchboard/wire"
)

// explain is the session's part of an explanation [SW-7.4]: may the bearer know, what does it say of itself, and what was kept of
// how it was routed. The pool knows the rest.
func (s *Shard) explain(h *hosted, c *wire.Command) {
	st := h.state
	if !st.Explains(c) {
		s.d.Refuse(c, wire.NoSession)
		return
	}
	w := why.Session{ID: st.ID, Phase: st.Phase.String(), Queue: st.Queue, Ticket: st.Ticket, Transfer: st.Transfer.Worker}
	if st.Phase == session.Assigned {
		w.Owner, w.Taken, w.AE = st.Owner.Worker, st.Owner.Role != "", st.AE
	}
	if _, err := selector.ParseAttrs(st.Attributes); err != nil {
		w.Note = err.Error()
	}
	s.wish(job{kind: jobWhy, id: h.id, explain: explainJob{c, &w}})
}

// explained is the pool's part. It looks at everybody in the queue, and at what was decided last: a question of people.
func (s *Shard) explained(c *wire.Command) {
	p := s.pools[c.Who.Tenant]
	var w why.Session
	if p == nil || json.Unmarshal([]byte(c.Text), &w) != nil {
		s.d.Refuse(c, wire.Unavailable)
		return
	}
	var about []broker.Decision
	for d := range p.core.Decisions {
		if d.Session == w.ID {
			about = append(about, *d)
		}
	}
	s.sayJSON(c, 0, why.Tell(&w, p.core.Explain(w.ID), about, &p.t.Broker, s.now))
}
