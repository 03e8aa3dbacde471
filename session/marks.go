package session

import "encoding/binary"

// Marks are the positions that move with nearly every entry. They stand in front of each entry's row, so that a message
// costs no row of the session's state: whoever loads a state catches up with the marks of the last entry.
type Marks struct {
	Public uint64 // State.Public, once the entry is written
	Said   uint64
	Cursor uint64
}

// Marks returns the marks of s as it is now.
func (s *State) Marks() Marks { return Marks{s.Public, s.Said, s.Cursor} }

// AppendMarks appends m.
func AppendMarks(dst []byte, m Marks) []byte {
	dst = binary.AppendUvarint(dst, m.Public)
	dst = binary.AppendUvarint(dst, m.Said)
	return binary.AppendUvarint(dst, m.Cursor)
}

// CutMarks takes the marks off the front of an entry's row.
func CutMarks(row []byte) (m Marks, entry []byte, err error) {
	r := reader{b: row}
	m = Marks{r.num(), r.num(), r.num()}
	if r.bad {
		return Marks{}, nil, ErrRow
	}
	return m, r.b, nil
}

// Light tells whether f is told by the rows of entries and keys alone. A decision of light facts with an entry needs no
// row of the state.
func (f *Fact) Light() bool { return f.Kind == Said || f.Kind == Known || f.Kind == Acked }

// CatchUp brings a state that was read from its row up to the last entry, and to the last key that was remembered.
func (s *State) CatchUp(head uint64, m Marks, keys uint64) {
	if head > s.Head {
		s.Head, s.Public, s.Said = head, m.Public, m.Said
		s.acked(m.Cursor)
	}
	s.KeyCount = max(s.KeyCount, keys)
}
