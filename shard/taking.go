package shard

import (
	"switchboard/broker"
	"switchboard/wire"
)

// A shard's answer to a census may tell of ten thousand sessions. The pool takes it in parts, one in each step of its owner, so that others are served between.
// What sessions say to the pool meanwhile waits until all of it is taken: it comes behind the answer, as that was said before.

// takeMost is how many sessions of an answer, or words behind it, a pool takes in one step.
const takeMost = 256

// maxBehind bounds the words that wait: at so many the rest is taken at once, and nothing waits any more.
const maxBehind = 4_096

// taking is an answer that is being taken, and what waits behind it.
type taking struct {
	pool   uint64
	shard  uint32
	left   []told // of the answer
	behind []wire.Mail
}

// told is what an answer says of one assignment.
type told struct {
	live     *wire.Live
	wrapUpMS int64 // above 0 it is over, and its worker busy with it for so long
}

// take begins to take an answer, which tells of these sessions. A short one is taken at once.
func (p *pool) take(s *Shard, m *wire.CensusAnswer, live []told) {
	p.taking.pool, p.taking.shard, p.taking.left = m.Pool, m.Shard, live
	if len(live) <= takeMost {
		p.takePart(s, len(live))
		return
	}
	s.inbox.Nudge()
}

// takes tells whether an answer is being taken, or something waits behind one.
func (p *pool) takes() bool { return len(p.taking.left)+len(p.taking.behind) > 0 }

// takePart takes so many sessions of the answer.
func (p *pool) takePart(s *Shard, n int) {
	t := &p.taking
	part := make([]broker.Live, n)
	for i, l := range t.left[:n] {
		part[i] = p.liveTask(l.live)
		part[i].WrapUpMS = l.wrapUpMS
	}
	if t.left = t.left[n:]; len(t.left) > 0 {
		p.core.CensusPart(t.pool, t.shard, part, s.now, &p.out)
		return
	}
	t.left = nil
	p.core.CensusAnswer(t.pool, t.shard, part, s.now, &p.out)
}

// takeSome takes the next part of an answer, and what waits behind it when that was the last.
func (p *pool) takeSome(s *Shard) {
	t := &p.taking
	for room := takeMost; room > 0 && p.takes(); {
		if len(t.left) > 0 {
			n := min(room, len(t.left))
			p.takePart(s, n)
			room -= n
			continue
		}
		m := t.behind[0]
		t.behind[0], t.behind = nil, t.behind[1:]
		p.hear(s, m)
		room--
	}
	if !p.takes() {
		t.behind = nil
		return
	}
	s.inbox.Nudge()
}

// wait lets what a session, or another shard, says wait behind the answer that is being taken.
func (p *pool) wait(s *Shard, m wire.Mail) {
	t := &p.taking
	t.behind = append(t.behind, m)
	for full := len(t.behind) >= maxBehind; full && p.takes(); {
		p.takeSome(s)
	}
}
