package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// The bounds of one turn of cleaning. The next one is decided when it is durable, so whoever talks waits for one at most.
const (
	cleanSlots = 16   // of which all rows of sessions go
	cleanRows  = 512  // other rows that go
	cleanLook  = 4096 // rows that are looked at for them
)

// cleaning is how far the taking off of rows has come that slots have left here. First those go that are not in the order of slots, then, slot by
// slot, those of sessions; a slot is noted as clean in the turn in which its last rows go. So whoever begins again after a crash goes on with what is not.
type cleaning struct {
	slots   []int // ascending, that are not clean
	at      remainsAt
	looked  bool // what is not in the order of slots is gone
	reading bool
	turn    uint64 // that must be durable before the next
	done    []int  // slots that are clean with it
}

// remainsAt is a place among otherRows.
type remainsAt struct {
	kind int
	key  []byte // the last that was looked at; nil at the beginning
}

// remainsJob is a wish to find the next rows of slots that are not in their order.
type remainsJob struct {
	at    remainsAt
	slots []int
}

// remainsRead is what came of it.
type remainsRead struct {
	at   remainsAt
	keys [][]byte
	last bool
}

// clean goes on taking off the rows that slots have left, a turn at a time.
func (s *Shard) clean() {
	if s.cfg.Clean == 0 || !s.writable || s.cleaned.Load() == s.cfg.Clean {
		return
	}
	c := s.cleaning
	if c == nil {
		c = &cleaning{}
		for slot, w := range s.away {
			if !w.clean && w.shape < s.cfg.Clean {
				c.slots = append(c.slots, slot)
			}
		}
		slices.Sort(c.slots)
		s.cleaning = c
		s.log.Info("rows that slots have left are taken off", "slots", len(c.slots), "shape", s.cfg.Clean)
		if len(c.slots) > 0 {
			s.raiseFloor()
		}
	}
	if c.reading || c.turn > s.durable.Load() {
		return
	}
	for _, slot := range c.done {
		w := s.away[slot]
		w.clean = true
		s.away[slot] = w
	}
	c.done = c.done[:0]
	switch {
	case len(c.slots) == 0:
		s.cleaning = nil
		s.cleaned.Store(s.cfg.Clean)
		s.log.Info("rows that slots have left are off", "shape", s.cfg.Clean)
	case !c.looked:
		c.reading = true
		s.wish(job{kind: jobRemains, remains: remainsJob{c.at, c.slots}})
	default:
		s.cleanSessions()
	}
}

// raiseFloor notes, with the first rows that go, that the feed cannot be told from the beginning any more. Who goes on after a crash leaves it
// where it is: slots that have left say nothing.
func (s *Shard) raiseFloor() {
	if s.floorOf == s.cfg.Clean {
		return
	}
	s.floor, s.floorOf = s.lsn+s.fed, s.cfg.Clean
	s.turn.Put([]byte{rowFloor}, appendFloor(nil, s.floor, s.floorOf))
	for conn, f := range s.feeds { // who has not caught up asks again, and is told so
		if !f.live {
			delete(s.feeds, conn)
		}
	}
}

// readFloor reads what raiseFloor noted.
func (s *Shard) readFloor() error {
	row, err := s.g.Get([]byte{rowFloor}, nil)
	if errors.Is(err, journal.ErrNotFound) {
		return nil
	}
	if err == nil {
		s.floor, s.floorOf, err = parseFloor(row)
	}
	return err
}

func appendFloor(dst []byte, floor, of uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, floor), of)
}

// parseFloor reads what appendFloor has written. What is behind it is a later version's.
func parseFloor(row []byte) (floor, of uint64, err error) {
	if !cutNumbers(row, &floor, &of) {
		return 0, 0, fmt.Errorf("reading where the feed begins: %w", session.ErrRow)
	}
	return floor, of, nil
}

// cleanSessions takes off the rows of sessions of some slots.
func (s *Shard) cleanSessions() {
	c := s.cleaning
	n := min(cleanSlots, len(c.slots))
	for _, slot := range c.slots[:n] {
		for _, kind := range sessionRows {
			from := slotPrefix(kind, wire.At(s.place, slot))
			s.turn.DeleteRange(from, after(from))
		}
		w := s.away[slot]
		w.clean = true
		s.turn.Put(awayKey(slot), appendWhither(nil, w))
	}
	c.done, c.slots = append(c.done, c.slots[:n]...), c.slots[n:]
	s.cleanTurn()
}

// cleanTurn ends a turn of cleaning.
func (s *Shard) cleanTurn() {
	s.commit()
	if s.cleaning == nil {
		return // the journal has refused it
	}
	if s.cleaning.turn = s.last; s.last <= s.durable.Load() {
		s.inbox.Nudge() // nothing was to be written, and nobody will tell
	}
}

// remainsLoaded takes off the rows that were found.
func (s *Shard) remainsLoaded(r *result) {
	c := s.cleaning
	if c == nil || !c.reading {
		return
	}
	c.reading = false
	if r.err != nil {
		s.cleaning = nil // it begins again, as after a crash
		s.alarms.add(s.now+parcelAgain, "")
		return
	}
	c.at, c.looked = r.remains.at, r.remains.last
	for _, k := range r.remains.keys {
		s.turn.Delete(k)
	}
	s.cleanTurn()
}

// readRemains looks for rows of slots among those that are not in their order.
func (s *Shard) readRemains(j job) result {
	r := result{job: j}
	p := &r.remains
	p.at = j.remains.at
	for looked := 0; p.at.kind < len(otherRows); {
		kind := otherRows[p.at.kind]
		from := []byte{kind}
		if p.at.key != nil {
			from = append(bytes.Clone(p.at.key), 0)
		}
		full := false
		if r.err = s.g.Scan(from, []byte{kind + 1}, false, func(k, _ []byte) bool {
			if full = looked >= cleanLook || len(p.keys) >= cleanRows; full {
				return false
			}
			looked++
			p.at.key = append(p.at.key[:0:0], k...)
			if _, found := slices.BinarySearch(j.remains.slots, numberOf(k)); found {
				p.keys = append(p.keys, bytes.Clone(k))
			}
			return true
		}); r.err != nil || full {
			return r
		}
		p.at = remainsAt{kind: p.at.kind + 1}
	}
	p.last = true
	return r
}
