package session

import (
	"encoding/binary"

	"switchboard/wire"
)

// Marks are the positions that move with nearly every entry. They stand in front of each entry's row, so that a message
// costs no row of the session's state: whoever loads a state catches up with the marks of the last entry.
type Marks struct {
	Public uint64 // State.Public, once the entry is written
	Said   uint64
	Cursor uint64
	Keys   uint64 // State.KeyCount
}

// Ride is a key that stands in the row of the entry that its verb wrote: what the entry itself does not tell of it. The
// zero Ride is none.
type Ride struct {
	N    uint64
	Hash uint64
	Key  []byte // aliases the row
}

// Marks returns the marks of s as it is now.
func (s *State) Marks() Marks { return Marks{s.Public, s.Said, s.Cursor, s.KeyCount} }

// AppendMarks appends m, and the key that rides on the entry, or nil.
func AppendMarks(dst []byte, m Marks, k *Key) []byte {
	dst = binary.AppendUvarint(dst, m.Public)
	dst = binary.AppendUvarint(dst, m.Said)
	dst = binary.AppendUvarint(dst, m.Cursor)
	dst = binary.AppendUvarint(dst, m.Keys)
	if k == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, k.N)
	dst = binary.BigEndian.AppendUint64(dst, k.Hash)
	return append(binary.AppendUvarint(dst, uint64(len(k.Key))), k.Key...)
}

// CutMarks takes the marks and the key off the front of an entry's row.
func CutMarks(row []byte) (m Marks, ride Ride, entry []byte, err error) {
	r := reader{b: row}
	m = Marks{r.num(), r.num(), r.num(), r.num()}
	if ride.N = r.num(); ride.N != 0 {
		ride.Hash = r.fixed()
		ride.Key = r.raw()
	}
	if r.bad {
		return Marks{}, Ride{}, nil, ErrRow
	}
	return m, ride, r.b, nil
}

// Known returns the key that rides on e.
func (r Ride) Known(e *wire.Entry) Key {
	name := string(r.Key)
	return Key{
		N: r.N, FP: Fingerprint(e.From.ID, name), Hash: r.Hash, At: e.TS, Seq: e.Seq, Sender: e.From.ID, Key: name,
		Done: Done{Seq: e.Seq, Epoch: e.Epoch, TS: e.TS},
	}
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
	s.KeyCount = max(s.KeyCount, m.Keys, keys)
}
