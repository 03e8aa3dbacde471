package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

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

// whither says by which shape a slot has left, and which shard has it since. Both are 0 for those that left before it was noted.
type whither struct {
	shape uint64
	to    int
	clean bool // nothing of it is left
}

// Rows are those of a group: all that are decided ([journal.Group]), or those that are in the store ([journal.Stored]).
type Rows interface {
	Get(key, buf []byte) ([]byte, error)
	Scan(from, to []byte, reverse bool, fn func(key, val []byte) bool) error
}

// readStanding reads the row, and which slots have left; away is nil when none have.
func readStanding(g Rows) (st standing, away map[int]whither, err error) {
	row, err := g.Get([]byte{rowStanding}, nil)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return st, nil, nil
	case err != nil:
		return st, nil, err
	}
	if st, err = parseStanding(row); err != nil {
		return st, nil, err
	}
	bad := false
	err = g.Scan([]byte{rowAway}, []byte{rowAway + 1}, false, func(k, v []byte) bool {
		slot, ok := parseAway(k)
		if !ok {
			bad = true
			return false
		}
		if away == nil {
			away = map[int]whither{}
		}
		away[slot] = parseWhither(v)
		return true
	})
	if err == nil && bad {
		err = fmt.Errorf("reading which slots have left a shard: %w", session.ErrRow)
	}
	return st, away, err
}

// parseStanding reads what putStanding has put. What is behind it is a later version's.
func parseStanding(row []byte) (st standing, err error) {
	if !cutNumbers(row, &st.shape, &st.term, &st.epoch) {
		return standing{}, fmt.Errorf("reading what a shard has noted of itself: %w", session.ErrRow)
	}
	return st, nil
}

// cutNumbers reads numbers off the front of a row, and reports whether all of them are there.
func cutNumbers(row []byte, list ...*uint64) bool {
	for _, v := range list {
		n, w := binary.Uvarint(row)
		if w <= 0 {
			return false
		}
		*v, row = n, row[w:]
	}
	return true
}

func appendWhither(dst []byte, w whither) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, w.shape), uint64(w.to)) //nolint:gosec // a shard's number
	if w.clean {
		dst = append(dst, 1)
	}
	return dst
}

// parseWhither reads what appendWhither wrote, or nothing, as earlier versions noted.
func parseWhither(row []byte) whither {
	shape, n := binary.Uvarint(row)
	if n <= 0 {
		return whither{}
	}
	to, m := binary.Uvarint(row[n:])
	if m <= 0 || to > math.MaxUint16 {
		return whither{}
	}
	return whither{shape, int(to), len(row) > n+m} //nolint:gosec // just compared
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
	s.stood, s.away = st, away
	for _, slot := range s.cfg.Slots {
		if _, left := away[slot.Number()]; left {
			return fmt.Errorf("%w: slot %d has left", ErrOldMap, slot.Number())
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
		row := appendWhither(nil, whither{shape: s.cfg.Shape, to: s.cfg.Leaving.To})
		for _, slot := range s.cfg.Leaving.Slots {
			s.turn.Put(awayKey(slot.Number()), row)
		}
	}
}

func awayKey(slot int) []byte {
	return binary.BigEndian.AppendUint16([]byte{rowAway}, uint16(slot)) //nolint:gosec // below wire.Slots
}

// parseAway returns the slot of a key that awayKey has made.
func parseAway(key []byte) (slot int, ok bool) {
	if len(key) != 3 {
		return 0, false
	}
	slot = int(binary.BigEndian.Uint16(key[1:]))
	return slot, slot < wire.Slots
}

func (s *Shard) putStanding(shape uint64) {
	s.row = appendStanding(s.row[:0], standing{shape, s.stood.term, s.stood.epoch})
	s.turn.Put([]byte{rowStanding}, s.row)
}

func appendStanding(dst []byte, st standing) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(dst, st.shape), st.term), st.epoch)
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
	s.clean()
}

// Term returns what tells this owner from those before it, and is higher. It may be called from any goroutine.
func (s *Shard) Term() uint64 { return s.term }

// Standing is what a shard says of itself. It stays true, whoever opens the shard later.
type Standing struct {
	// Shape is that of the placement by which it is open, as far as that is durable.
	Shape uint64
	// Left is the shape in which slots have left it whose rows are all with the other shard; 0 while there is none.
	Left uint64
	// Cleaned is Config.Clean once nothing is left of those slots; 0 before.
	Cleaned uint64
}

// Standing may be called from any goroutine.
func (s *Shard) Standing() Standing {
	return Standing{Shape: s.shape.Load(), Left: s.left.Load(), Cleaned: s.cleaned.Load()}
}

// gone tells of rows that are still there whether their slot has left.
type gone struct{ away map[int]whither }

func (g gone) session(id wire.SessionID) bool {
	if g.away == nil {
		return false
	}
	_, slot, ok := id.Place()
	return ok && g.slot(slot)
}

func (g gone) pool(tenant string) bool { return g.slot(exchange.PoolSlot(tenant)) }

func (g gone) slot(slot wire.Slot) bool {
	_, left := g.away[slot.Number()]
	return left
}
