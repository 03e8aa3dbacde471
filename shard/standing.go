package shard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"switchboard/exchange"
	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// ErrOldMap says that a shard was opened by a newer map before: what it has by this one it may have given away.
var ErrOldMap = errors.New("the map is older than that by which the shard was opened before")

// standing is what a shard notes of itself in its own log: nobody who opens it later can know less.
type standing struct {
	// shape is that of the placement by which it was opened.
	shape uint64
	// term and epoch are added to those of its group: what has come from another shard was said in those.
	term, epoch uint64
}

// readStanding reads the row, and which slots have left.
func readStanding(g *journal.Group) (st standing, away *[wire.Slots]bool, err error) {
	row, err := g.Get([]byte{rowStanding}, nil)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return st, nil, nil
	case err != nil:
		return st, nil, err
	}
	for _, v := range []*uint64{&st.shape, &st.term, &st.epoch} {
		n, w := binary.Uvarint(row)
		if w <= 0 {
			return st, nil, fmt.Errorf("reading what a shard has noted of itself: %w", session.ErrRow)
		}
		*v, row = n, row[w:]
	}
	err = g.Scan([]byte{rowAway}, []byte{rowAway + 1}, false, func(k, _ []byte) bool {
		if away == nil {
			away = &[wire.Slots]bool{}
		}
		if n := binary.BigEndian.Uint16(k[1:]); n < wire.Slots {
			away[n] = true
		}
		return true
	})
	return st, away, err
}

// stand reads what the shard has noted of itself, and compares.
func (s *Shard) stand() error {
	st, away, err := readStanding(s.g)
	switch {
	case err != nil:
		return err
	case s.cfg.Shape < st.shape:
		return fmt.Errorf("%w: shape %d, and %d before", ErrOldMap, s.cfg.Shape, st.shape)
	}
	s.stood = st
	if away != nil {
		for _, slot := range s.cfg.Slots {
			if away[slot.Number()] {
				return fmt.Errorf("%w: slot %d has left", ErrOldMap, slot.Number())
			}
		}
	}
	return nil
}

// takeStand notes, before anything else is done, by which map the shard is open and which slots leave it.
func (s *Shard) takeStand() {
	if s.noted || s.noting || !s.writable || s.now < s.noteAt {
		return
	}
	if s.cfg.Shape == s.stood.shape { // nothing has changed, so what leaves is noted too
		s.noted = true
		return
	}
	s.noting = true
	s.putStanding(s.cfg.Shape)
	if s.cfg.Leaving != nil {
		for _, slot := range s.cfg.Leaving.Slots {
			s.turn.Put(binary.BigEndian.AppendUint16([]byte{rowAway}, uint16(slot.Number())), nil) //nolint:gosec // below wire.Slots
		}
	}
}

func (s *Shard) putStanding(shape uint64) {
	s.row = binary.AppendUvarint(s.row[:0], shape)
	s.row = binary.AppendUvarint(s.row, s.stood.term)
	s.row = binary.AppendUvarint(s.row, s.stood.epoch)
	s.turn.Put([]byte{rowStanding}, s.row)
}

// hasNoted is told with which turn the standing was appended.
func (s *Shard) hasNoted(index uint64) {
	if s.noting {
		s.noted, s.noting, s.notedAt, s.stood.shape = true, false, index, s.cfg.Shape
	}
}

// refusedStand lets it be noted later, when the log did not take it. Not at once: what is read again after that would be read again
// and again, until somebody says that another leads.
func (s *Shard) refusedStand() {
	if s.noting {
		s.noting, s.noteAt = false, s.now+parcelAgain
		s.alarms.add(s.noteAt, "")
	}
}

// stands lets others know by which map the shard is open, once that is durable, and begins to give away what leaves.
func (s *Shard) stands() {
	if !s.noted || s.notedAt > s.durable.Load() {
		return
	}
	s.shape.Store(s.cfg.Shape)
	s.give()
}

// Term returns what tells this owner from those before it, and is higher. It may be called from any goroutine.
func (s *Shard) Term() uint64 { return s.term }

// Standing returns the shape of the placement by which the shard is open, as far as that is durable, and the shape in which slots have left it
// whose rows are all with the other shard; 0 while there is none. What it says stays true, whoever opens the shard later. It may be
// called from any goroutine.
func (s *Shard) Standing() (shape, left uint64) { return s.shape.Load(), s.left.Load() }

// gone tells of rows that are still there whether their slot has left.
type gone struct{ away *[wire.Slots]bool }

func (g gone) session(id wire.SessionID) bool {
	if g.away == nil {
		return false
	}
	_, slot, ok := id.Place()
	return ok && g.away[slot.Number()]
}

func (g gone) pool(tenant string) bool {
	return g.away != nil && g.away[exchange.PoolSlot(tenant).Number()]
}
