package seglog

import "encoding/binary"

// Record is one entry of a group's log. Term, Epoch, Kind and Body are the caller's; the log keeps them.
type Record struct {
	Index, Term, Epoch uint64
	Kind               uint8
	// Leap lets the record leave a gap behind the one before it, and settles whatever the group has lost before.
	Leap bool
	Body []byte
}

// Batch is what shall be written at once: operations of any number of groups, which take effect in their order. It is a
// builder on one buffer that is meant to be reused: fill it, Write it, Reset it. The zero Batch is empty and ready. It
// belongs to one goroutine, and copies what it is given.
type Batch struct {
	buf  []byte // header, records, directory, padding: as it goes to the disk
	recs []pending
}

// pending is a record in the buffer that is not written yet.
type pending struct {
	at, size    int
	index, term uint64
	group       uint16
	op          uint8
	n           uint32 // known when it is planned
}

// Append adds a record to the group's log. Its index follows the last one; a lower one replaces the log from there on; a
// higher one needs Leap.
func (b *Batch) Append(group uint16, r Record) {
	op := uint8(opAppend)
	if r.Leap {
		op = opLeap
	}
	b.add(rec{Record: r, group: group, op: op})
}

// CutSuffix removes the records of the group from index from on. The one before from must be there, or be truncated: inside
// the gap that a leap has left there is no place to end.
func (b *Batch) CutSuffix(group uint16, from uint64) {
	b.add(rec{Record: Record{Index: from}, group: group, op: opCut})
}

// SetMeta replaces the group's metadata, which outlives truncation.
func (b *Batch) SetMeta(group uint16, meta []byte) {
	b.add(rec{Record: Record{Body: meta}, group: group, op: opMeta})
}

// Reset empties the batch and keeps its memory, unless a burst has made it large.
func (b *Batch) Reset() {
	b.recs = b.recs[:0]
	if cap(b.buf) > 8<<20 {
		b.buf = nil
	}
	b.buf = b.buf[:0]
}

// Empty reports whether there is nothing to write.
func (b *Batch) Empty() bool { return len(b.recs) == 0 }

// Size is how many bytes the batch takes on the disk; after Write exactly, before it without the directory.
func (b *Batch) Size() int { return padded(len(b.buf)) }

func (b *Batch) add(r rec) {
	if len(b.buf) == 0 {
		b.grow(batchHeader)
	}
	at := len(b.buf)
	b.grow(r.size())
	putRecord(b.buf[at:], &r)
	b.recs = append(b.recs, pending{
		at: at, size: r.size(), index: r.Index, term: r.Term, group: r.group, op: r.op,
	})
}

// grow makes the buffer n bytes longer. The new bytes are not zero.
func (b *Batch) grow(n int) {
	need := len(b.buf) + n
	if need > cap(b.buf) {
		more := make([]byte, len(b.buf), max(padded(need), 2*cap(b.buf), 64<<10))
		copy(more, b.buf)
		b.buf = more
	}
	b.buf = b.buf[:need]
}

// state is what a segment's first batch says of a group, so that no older segment is needed to know it.
type state struct {
	trunc, truncTerm uint64
	n                uint32
	unsure, metaLost bool
	meta             []byte
}

func (s state) put() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.trunc)
	b = binary.BigEndian.AppendUint64(b, s.truncTerm)
	b = binary.BigEndian.AppendUint32(b, s.n)
	var flags byte
	if s.unsure {
		flags |= 1
	}
	if s.metaLost {
		flags |= 2
	}
	b = append(b, flags)
	return append(b, s.meta...)
}

func readState(b []byte) state {
	return state{
		trunc: binary.BigEndian.Uint64(b), truncTerm: binary.BigEndian.Uint64(b[8:]),
		n: binary.BigEndian.Uint32(b[16:]), unsure: b[20]&1 != 0, metaLost: b[20]&2 != 0, meta: append([]byte(nil), b[stateBody:]...),
	}
}

// body is the body of a record in the buffer.
func (b *Batch) body(r *pending) []byte {
	size := int(binary.BigEndian.Uint32(b.buf[r.at+4:]))
	return b.buf[r.at+recordHeader:][:size]
}
