package session

import "encoding/binary"

// Keys have no row of their own where they can help it. A key whose verb wrote an entry stands in that entry's row, in
// front of it: it rides. Now and then a *list* says of the keys since the last one where they are; so a lookup of an old key
// is one read, and loading a state reads the lists and a bounded number of entries. A key that rides nowhere has a row, and
// is listed at once.

// KeyAt is one line of a list: where the row of a key is.
type KeyAt struct {
	FP  uint64
	At  int64  // Unix ms
	Seq uint64 // the entry that it rides on; 0: it has a row of its own, under its fingerprint
}

const (
	listKeys = 32  // so many keys make a list due; below KeysInMemory, as it is made of those
	listSpan = 256 // and so many entries since the first of them: whoever loads the state reads these

	keyAtSize = 3 * 8
)

// listing is how far the keys are listed.
type listing struct {
	upTo uint64 // the number of the last key in a list
	from uint64 // Head when the first behind it was remembered
	now  bool   // one of those has a row of its own, which nothing else tells of
}

func (k *Key) where() KeyAt { return KeyAt{k.FP, k.At, k.Seq} }

// ListDue tells whether the latest keys want to be listed in this turn, with AppendKeyList.
func (s *State) ListDue() bool {
	n := s.KeyCount - s.lists.upTo
	return n != 0 && (s.lists.now || n >= listKeys || s.Head-s.lists.from >= listSpan)
}

// AppendKeyList appends the list of the keys that stand in no list yet, oldest first, and takes them for listed. Its
// number is KeyCount.
func (s *State) AppendKeyList(dst []byte) []byte {
	for n := min(int(s.KeyCount-s.lists.upTo), len(s.Keys.recs)); n > 0; n-- { //nolint:gosec // at most KeysInMemory
		k := s.Keys.latest(n)
		dst = binary.BigEndian.AppendUint64(dst, k.FP)
		dst = binary.BigEndian.AppendUint64(dst, uint64(k.At)) //nolint:gosec // a time
		dst = binary.BigEndian.AppendUint64(dst, k.Seq)
	}
	s.lists = listing{upTo: s.KeyCount}
	return dst
}

// ParseKeyList appends the lines of a list to lines.
func ParseKeyList(row []byte, lines []KeyAt) ([]KeyAt, error) {
	if len(row)%keyAtSize != 0 {
		return lines, ErrRow
	}
	for ; len(row) > 0; row = row[keyAtSize:] {
		lines = append(lines, KeyAt{
			FP:  binary.BigEndian.Uint64(row),
			At:  int64(binary.BigEndian.Uint64(row[8:])), //nolint:gosec // a time
			Seq: binary.BigEndian.Uint64(row[16:]),
		})
	}
	return lines, nil
}

// remember makes k known, as the latest key.
func (s *State) remember(k *Key) {
	if s.KeyCount == s.lists.upTo {
		s.lists.from = s.Head
	}
	s.KeyCount = k.N
	s.lists.now = s.lists.now || k.Seq == 0
	s.putKey(k)
}

// putKey makes k the latest key in memory. As soon as there is a table of old keys, it has those of the ring as well.
func (s *State) putKey(k *Key) {
	if s.old.n == 0 && s.Keys.full() {
		for _, other := range s.Keys.All() {
			s.old.put(other.where())
		}
	}
	if s.old.n > 0 {
		s.old.put(k.where())
	}
	s.Keys.put(k)
}

// knownKey looks for a key. When it is not in memory, old says that there may be one, and where; wide that only the lists know.
func (s *State) knownKey(fp uint64, sender, name string) (k *Key, seq uint64, wide, old bool) {
	indexed := s.old.n > 0
	if indexed {
		seq, wide, old = s.old.may(fp)
	}
	if old || !indexed {
		k = s.Keys.find(fp, sender, name)
	}
	return k, seq, wide, old
}

// rides returns the entry of this decision whose row can tell of key, or 0.
func (d *Decision) rides(key *Key) uint64 {
	for i := len(d.Facts) - 1; i >= d.begin; i-- {
		f := &d.Facts[i]
		if f.Kind != Said || f.Entry.Seq != key.Done.Seq {
			continue
		}
		e := f.Entry
		if e.From.ID == key.Sender && key.Done == (Done{Seq: e.Seq, Epoch: e.Epoch, TS: e.TS}) && key.At == e.TS {
			return e.Seq
		}
		return 0
	}
	return 0
}
