package shard

import "switchboard/wire"

// Some mail between customers and sessions is for this very shard: a customer's sessions are on his slot. What comes of one another in one turn is one fact
// of the log, so such mail need not wait until the turn is durable before it is taken: a merge is half as long for it. It is taken behind everything
// else of the turn, and not at once: who sends it may be in the middle of a session. Commands about sessions are never sent so, as their order counts [SW-4.2].

// near sends m to an owner: it is taken in this turn when that is the shard itself.
func (s *Shard) near(to wire.Slot, m wire.Mail) {
	if s.owns(to) {
		s.nearby = append(s.nearby, m)
		return
	}
	s.post1(to, m)
}

// takeNear takes what the turn has sent to the shard itself, and what comes of that. Each piece goes only so many ways: see hopsMost.
func (s *Shard) takeNear() {
	for i := 0; i < len(s.nearby); i++ {
		m := s.nearby[i]
		s.nearby[i] = nil
		s.handle(m)
	}
	s.nearby = s.nearby[:0]
}

// loseNear is for a turn that is dropped: commands that were still to be taken in it stand among its mail, so that who asked hears of it.
func (s *Shard) loseNear() {
	for i, m := range s.nearby {
		if c, ok := m.(*wire.Command); ok {
			s.d.Mail = append(s.d.Mail, wire.Envelope{Mail: c})
		}
		s.nearby[i] = nil
	}
	s.nearby = s.nearby[:0]
}
