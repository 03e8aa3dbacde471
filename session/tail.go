package session

import (
	"encoding/binary"
	"slices"

	"switchboard/wire"
)

// Limits of what a session remembers of its log's end.
const (
	// TailEntries and TailBytes bound the latest entries that a state holds.
	TailEntries = 32
	TailBytes   = 48 << 10
	// lateEntries is how many of them are held as they were said: the last word and what answers it. An entry keeps the frame alive that it
	// came in, and both are what a collector has to visit, of every session. Those before are rows, one behind the other, without a pointer.
	lateEntries = 2
)

// tail is the last entries of a session, contiguous. The zero tail has none.
type tail struct {
	late  [lateEntries]*wire.Entry // the latest, oldest first, in front
	rows  []byte                   // those before: each its row behind a head, from "from" on
	from  int32
	size  int32 // of all entries, as entrySize has it
	lates uint8 // of late
	rowed uint8 // of rows
}

// rowHead is what stands before a row: its length, and the entry's size.
const rowHead = 8

// rowWords is about how much of a row is neither who wrote the entry nor what he said.
const rowWords = 48

// rowsKept is how much room is kept for rows although they are few.
const rowsKept = 4 << 10

// entrySize is about what e costs: its strings alias its frame.
func entrySize(e *wire.Entry) int { return len(e.Body) + 256 }

// len returns how many entries there are.
func (t *tail) len() int { return int(t.lates) + int(t.rowed) }

// last returns the latest entry, or nil.
func (t *tail) last() *wire.Entry {
	if t.lates == 0 {
		return nil
	}
	return t.late[t.lates-1]
}

// add puts e at the end and drops what is beyond the bounds, or what it does not follow on.
func (t *tail) add(e *wire.Entry) {
	if last := t.last(); last != nil && last.Seq+1 != e.Seq {
		*t = tail{}
	}
	if t.lates == lateEntries {
		t.pack(t.late[0])
		copy(t.late[:], t.late[1:])
		t.lates--
	}
	t.late[t.lates] = e
	t.lates++
	t.size += int32(entrySize(e)) //nolint:gosec // bounded by a frame
	for t.len() > TailEntries || t.size > TailBytes && t.len() > 1 {
		t.drop()
	}
}

// pack puts e behind the rows.
func (t *tail) pack(e *wire.Entry) {
	if int(t.from) > len(t.rows)/2 { // so every byte is moved once, on average
		left := t.rows[t.from:]
		if cap(t.rows) > 4*len(left)+rowsKept { // something long was among them
			t.rows = append(make([]byte, 0, 2*len(left)), left...)
		} else {
			t.rows = t.rows[:copy(t.rows, left)]
		}
		t.from = 0
	}
	at := len(t.rows)
	t.rows = slices.Grow(t.rows, rowHead+rowWords+len(e.From.ID)+len(e.From.Name)+len(e.Stream)+len(e.Body))
	t.rows = wire.AppendEntry(append(t.rows, make([]byte, rowHead)...), e)
	binary.LittleEndian.PutUint32(t.rows[at:], uint32(len(t.rows)-at-rowHead)) //nolint:gosec // bounded by a frame
	binary.LittleEndian.PutUint32(t.rows[at+4:], uint32(entrySize(e)))         //nolint:gosec // bounded by a frame
	t.rowed++
}

// drop forgets the oldest entry, of which there is one.
func (t *tail) drop() {
	if t.rowed > 0 {
		head := t.rows[t.from:]
		t.from += rowHead + int32(binary.LittleEndian.Uint32(head)) //nolint:gosec // bounded by a frame
		t.size -= int32(binary.LittleEndian.Uint32(head[4:]))       //nolint:gosec // as above
		if t.rowed--; t.rowed == 0 {
			t.rows, t.from = nil, 0
		}
		return
	}
	t.size -= int32(entrySize(t.late[0])) //nolint:gosec // bounded by a frame
	copy(t.late[:], t.late[1:])
	t.lates--
	t.late[t.lates] = nil
}

// at returns the entry with seq, or nil. One of the rows is made anew for every caller.
func (t *tail) at(id wire.SessionID, seq uint64) *wire.Entry {
	last := t.last()
	if last == nil || seq > last.Seq || last.Seq-seq >= uint64(t.len()) { //nolint:gosec // at most TailEntries
		return nil
	}
	back := int(last.Seq - seq) //nolint:gosec // less than TailEntries
	if back < int(t.lates) {
		return t.late[int(t.lates)-1-back]
	}
	row := t.rows[t.from:]
	for range t.len() - 1 - back {
		row = row[rowHead+binary.LittleEndian.Uint32(row):]
	}
	return unpack(id, row)
}

// unpack reads the first of rows. Its words are copied: rows move.
func unpack(id wire.SessionID, rows []byte) *wire.Entry {
	row := append([]byte(nil), rows[rowHead:rowHead+binary.LittleEndian.Uint32(rows)]...)
	e := &wire.Entry{Session: id}
	if wire.ParseEntry(row, e) != nil {
		return nil // AppendEntry wrote it
	}
	return e
}

// all appends all entries to list, the oldest first.
func (t *tail) all(id wire.SessionID, list []*wire.Entry) []*wire.Entry {
	row := t.rows[t.from:]
	for range t.rowed {
		list = append(list, unpack(id, row))
		row = row[rowHead+binary.LittleEndian.Uint32(row):]
	}
	return append(list, t.late[:t.lates]...)
}

// Tail returns the last entries, contiguous and ending at Head, the oldest first; they are bounded, and may be none. The slice is the
// caller's. The entries are read anew, but for the latest: who wants one of them asks for that.
func (s *State) Tail() []*wire.Entry {
	if s.tail.len() == 0 {
		return nil
	}
	return s.tail.all(s.ID, make([]*wire.Entry, 0, s.tail.len()))
}

// at returns the entry with seq when it is in memory.
func (s *State) at(seq uint64) *wire.Entry {
	if e := s.tail.at(s.ID, seq); e != nil {
		return e
	}
	return find(s.owner.back, seq)
}

func find(run []*wire.Entry, seq uint64) *wire.Entry {
	if len(run) == 0 || seq < run[0].Seq || seq > run[len(run)-1].Seq {
		return nil
	}
	if i := seq - run[0].Seq; i < uint64(len(run)) && run[i].Seq == seq {
		return run[i]
	}
	return nil
}
