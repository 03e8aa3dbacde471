package shard

import (
	"fmt"
	"slices"

	"switchboard/wire"
)

// Sessions in transit. A session whose slot is on its way from one shard to another is nobody's, and its worker has it all the same. So that a
// pool that begins just then counts it, the shard that it has left tells of it as well: its rows there change no more. Which word counts is decided by
// shapes. When the other shard answers by a later shape than that in which the slot left, it has the slot and its answer is all; otherwise it
// had nothing of it when it answered, and what was left behind is how the session still stands.

// lately is by how many shapes a slot may have left before and still be told of. A lot takes two: who is asked while the next one is on
// its way has perhaps not been heard of since the last began.
const lately = 2

// departure is a live session whose slot has left.
type departure struct {
	id wire.SessionID
	whither
}

// departed are those of them that are told of. They are read once somebody asks.
type departed struct {
	list    []departure
	reading bool
	known   bool
	at      int64                  // Unix ms, when they were read
	live    map[string][]wire.Left // by tenant; never changed once it is there
}

// told returns what is told of a tenant's: wrap-ups as long as they run still.
func (d *departed) told(tenant string, now int64) []wire.Left {
	list := d.live[tenant]
	if !slices.ContainsFunc(list, func(l wire.Left) bool { return l.LeftMS > 0 }) {
		return list
	}
	still := make([]wire.Left, 0, len(list))
	for _, l := range list {
		if l.LeftMS > 0 {
			if l.LeftMS -= max(now-d.at, 0); l.LeftMS <= 0 {
				continue
			}
		}
		still = append(still, l)
	}
	return still
}

// add notes a session that is live in the rows and not the shard's, if its slot has left lately. Those that are on their way here have not.
func (d *departed) add(s *Shard, id wire.SessionID, slot wire.Slot) {
	w, left := s.away[slot.Number()]
	if l := s.cfg.Leaving; !left && l != nil {
		for _, leaving := range l.Slots { // about to be noted
			if left = leaving == slot; left {
				w = whither{shape: s.cfg.Shape, to: l.To}
				break
			}
		}
	}
	if left && w.shape != 0 && w.shape+lately >= s.cfg.Shape {
		d.list = append(d.list, departure{id, w})
	}
}

// knowsDeparted tells whether it is known how these sessions stand, and has them read otherwise.
func (s *Shard) knowsDeparted() bool {
	d := &s.departed
	switch {
	case d.known || len(d.list) == 0:
		return true
	case !d.reading:
		d.reading = true
		s.wish(job{kind: jobDeparted, departed: d.list})
	}
	return false
}

// readDeparted reads how sessions stood when their slots left.
func (s *Shard) readDeparted(j job) result {
	r := result{job: j, left: map[string][]wire.Left{}, at: s.cfg.Now().UnixMilli()}
	for _, d := range j.departed {
		one := s.readSession(s.g, d.id)
		switch {
		case one.err != nil:
			r.err = fmt.Errorf("reading session %s, which has left: %w", d.id, one.err)
			return r
		case one.state == nil:
			continue
		}
		if err := s.readLive(s.g, d.id, one.state); err != nil {
			r.err = fmt.Errorf("reading wrap-ups after session %s, which has left: %w", d.id, err)
			return r
		}
		t, to := one.state.Tenant, uint64(wire.ShardSlot(d.to))
		for _, l := range one.state.AppendCensus(nil) {
			if l.Assigned { // who waits is nobody's, and asks where he comes to
				r.left[t] = append(r.left[t], wire.Left{Live: l, To: to, Shape: d.shape})
			}
		}
		for _, w := range one.state.AppendWrapUps(nil, r.at) {
			r.left[t] = append(r.left[t], wire.Left{Live: w.Live, To: to, Shape: d.shape, LeftMS: w.LeftMS})
		}
	}
	return r
}

func (s *Shard) departedLoaded(r *result) {
	d := &s.departed
	d.reading = false
	if r.err == nil {
		d.known, d.at, d.live, d.list = true, r.at, r.left, nil
	}
}

// transit is what a pool's census has heard of sessions in transit.
type transit struct {
	shapes map[uint32]uint64    // by shard: by which it was open when it answered
	left   map[uint32][]transed // by the shard that they are on their way to, as long as that has not answered
}

// transed is an assignment, or the wrap-up behind one, that the pool counts by the word of the shard that the session has left.
type transed struct {
	session wire.SessionID
	ae      uint64
	shape   uint64
}

// censusAnswer hands a shard's answer to the core, with the sessions that are in transit from it, and without those that have come to it.
func (p *pool) censusAnswer(s *Shard, m *wire.CensusAnswer) {
	t := &p.transit
	if _, twice := t.shapes[m.Shard]; twice || m.Pool != p.number {
		return
	}
	if t.shapes == nil {
		t.shapes, t.left = map[uint32]uint64{}, map[uint32][]transed{}
	}
	t.shapes[m.Shard] = m.Shape
	for _, l := range t.left[m.Shard] {
		if m.Shape > l.shape && !tells(m, l) {
			p.core.Ended(l.session, l.ae, s.now, &p.out)
		}
	}
	delete(t.left, m.Shard)
	live := make([]told, 0, len(m.Live)+len(m.WrapUps)+len(m.Left))
	for i := range m.Live {
		live = append(live, told{live: &m.Live[i]})
	}
	for i := range m.WrapUps {
		live = append(live, told{live: &m.WrapUps[i].Live, wrapUpMS: m.WrapUps[i].LeftMS})
	}
	for i := range m.Left {
		l := &m.Left[i]
		to, known := p.peer(s, l.To)
		if shape, answered := t.shapes[to]; known && answered {
			if shape > l.Shape {
				continue // that shard has told how it is
			}
		} else if known {
			t.left[to] = append(t.left[to], transed{l.Session, l.AE, l.Shape})
		}
		live = append(live, told{live: &l.Live, wrapUpMS: l.LeftMS})
	}
	p.take(s, m, live)
}

// peer returns how the pool counts the shard with an address.
func (p *pool) peer(s *Shard, slot uint64) (uint32, bool) {
	for i, peer := range s.cfg.Peers {
		if uint64(peer) == slot {
			return uint32(i), true //nolint:gosec // a placement has few shards
		}
	}
	return 0, false
}

// tells tells whether an answer has the assignment, as it was, or that its worker is busy with what came after it.
func tells(m *wire.CensusAnswer, l transed) bool {
	for i := range m.Live {
		if o := &m.Live[i]; o.Assigned && o.Session == l.session && o.AE == l.ae {
			return true
		}
	}
	for i := range m.WrapUps {
		if o := &m.WrapUps[i]; o.Session == l.session && o.AE == l.ae {
			return true
		}
	}
	return false
}
