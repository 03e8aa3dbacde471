package shard

import (
	"slices"

	"switchboard/wire"
)

// A census is answered in pieces, so that others are served between: each live session of the tenant notes the number of the pool that asks, which is a row,
// and how it is then goes into the answer. Those of which something is noted afterwards are told anew at the end: so the answer says how all of them are
// at one moment, and what they say to the pool from then on comes behind it.

// stocktaking is a census that is not answered yet.
type stocktaking struct {
	m       *wire.Census
	left    []*hosted // that have not been looked at
	live    []wire.Live
	wraps   []wire.WrapUp
	changed map[wire.SessionID]*hosted // since they were looked at, or never looked at
}

// censusMost is how many sessions are looked at in one step.
const censusMost = 256

// census takes a pool's question. Asked again while it is being answered it is answered once.
func (s *Shard) census(m *wire.Census) {
	if !s.writable || !s.knowsDeparted() {
		return // it asks again
	}
	if c := s.censuses[m.Tenant]; c != nil && c.m.Pool >= m.Pool {
		return
	}
	c := &stocktaking{m: m, changed: map[wire.SessionID]*hosted{}}
	for _, h := range s.sessions {
		switch {
		case h.state == nil && h.live:
			return // still being read again: it asks again
		case h.state != nil && h.state.Tenant == m.Tenant && h.state.Live():
			c.left = append(c.left, h)
		}
	}
	c.live = make([]wire.Live, 0, len(c.left))
	if s.censuses == nil {
		s.censuses = map[string]*stocktaking{}
	}
	s.censuses[m.Tenant] = c // tick goes on
}

// recount lets a session be told anew of which something is noted.
func (s *Shard) recount(h *hosted) {
	if c := s.censuses[h.state.Tenant]; c != nil {
		c.changed[h.id] = h
	}
}

// takeStock goes on with the answers to censuses.
func (s *Shard) takeStock() {
	room := censusMost
	for tenant, c := range s.censuses {
		n := min(len(c.left), room)
		room -= n
		for _, h := range c.left[:n] {
			if c.changed[h.id] == nil {
				s.introduce(c, h)
				delete(c.changed, h.id)
			}
		}
		if c.left = c.left[n:]; len(c.left) == 0 {
			s.tellStock(c)
			delete(s.censuses, tenant)
		}
	}
	if len(s.censuses) > 0 {
		s.inbox.Nudge()
	}
}

// introduce lets a session note the number of the pool, and takes it into the answer.
func (s *Shard) introduce(c *stocktaking, h *hosted) {
	if s.sessions[h.id] != h || h.state == nil || !h.state.Live() {
		return
	}
	s.before(h)
	h.state.Introduce(c.m.Pool, &s.d)
	s.note(h)
	c.live = h.state.AppendCensus(c.live)
	c.wraps = h.state.AppendWrapUps(c.wraps, s.now)
}

// tellStock answers a pool with every live task that the shard knows.
func (s *Shard) tellStock(c *stocktaking) {
	if changed := c.changed; len(changed) > 0 {
		c.live = slices.DeleteFunc(c.live, func(l wire.Live) bool { return changed[l.Session] != nil })
		c.wraps = slices.DeleteFunc(c.wraps, func(w wire.WrapUp) bool { return changed[w.Session] != nil })
		c.changed = map[wire.SessionID]*hosted{}
		for _, h := range changed {
			s.introduce(c, h)
		}
	}
	s.d.Mail = append(s.d.Mail, wire.Envelope{To: c.m.Reply, Mail: &wire.CensusAnswer{
		Tenant: c.m.Tenant, Pool: c.m.Pool, Shard: c.m.Shard, Shape: s.cfg.Shape, Left: s.departed.told(c.m.Tenant, s.now), Live: c.live, WrapUps: c.wraps,
	}})
}
