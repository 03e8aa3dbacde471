package seglog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A segment begins with one block that says which one it is; batches follow, each from the beginning of a block. All
// numbers are big endian. A segment's header:
//
//	magic u64 | version u32 | block u32 | segment u64 | salt u64 | crc32c u32
//
// A batch is a header, records, each from a multiple of 8, and the directory of the batch before it; zeros up to the end
// of its last block. Its header:
//
//	crc32c u32 | size u32 | salt u64 | segment u64 | sequence u64 | offset u32 | directory entries u32 | records u32 | 0 u32
//
// The checksum covers the header and the directory. A record:
//
//	crc32c u32 | body size u32 | salt u32 | offset u32 | index u64 | term u64 | epoch u64 | group u16 | op u8 | kind u8 | n u32 | body
//
// A directory entry, one per group that the batch before has changed:
//
//	group u16 | flags u8 | 0 u8 | n u32 | low u64 | high u64
//
// Every checksum begins with the salt and the segment's number, and what it covers has its own offset: bytes of an older
// use of the file, of another segment, of another place, or made up by somebody who writes messages, are not taken for
// records. The salt is drawn when the log is made and never leaves it.
const (
	version       = 1
	magic         = 0x5357_5345_474c_4f47 // SWSEGLOG
	block         = 4096
	segHeader     = 8 + 4 + 4 + 8 + 8 + 4
	batchHeader   = 48
	recordHeader  = 48
	dirEntry      = 24
	stateBody     = 8 + 8 + 4 + 1
	batchSizeMax  = 1 << 30
	bodySizeMax   = batchSizeMax - block
	segmentNumMax = 1<<32 - 1
)

// What a record does to its group. They are on the disk: never change a number.
const (
	opAppend   = 1 // the record index, and the end of the log; what was from index on is gone
	opCut      = 2 // what was from index on is gone
	opMeta     = 3 // body: the group's metadata
	opTruncate = 4 // what was up to index is not needed any more; term: of the record index
	opState    = 5 // all there is to know of the group: index: the last; term: its term; body: see state
	opCopy     = 6 // the record index once more, from an old segment
	opLeap     = 7 // an opAppend that may leave a gap and settles what was lost before
	opCopyLeap = 8 // an opLeap once more
)

// Flags of a directory entry.
const (
	flagCut  = 1 // something was removed or replaced
	flagMeta = 2 // metadata was written
	flagLeap = 4 // a leap was written
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seedOf is what every checksum of a segment begins with.
func seedOf(salt, segment uint64) uint32 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], salt)
	binary.BigEndian.PutUint64(b[8:], segment)
	return crc32.Checksum(b[:], castagnoli)
}

func putSegHeader(b []byte, segment, salt uint64) {
	clear(b[:block])
	binary.BigEndian.PutUint64(b, magic)
	binary.BigEndian.PutUint32(b[8:], version)
	binary.BigEndian.PutUint32(b[12:], block)
	binary.BigEndian.PutUint64(b[16:], segment)
	binary.BigEndian.PutUint64(b[24:], salt)
	binary.BigEndian.PutUint32(b[32:], crc32.Checksum(b[:32], castagnoli))
}

// readSegHeader returns the number and the salt of a segment. ok is false when there is no whole header.
func readSegHeader(b []byte) (segment, salt uint64, ok bool, err error) {
	if len(b) < segHeader || binary.BigEndian.Uint64(b) != magic ||
		binary.BigEndian.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli) {
		return 0, 0, false, nil
	}
	if v, bl := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:]); v != version || bl != block {
		return 0, 0, false, fmt.Errorf("a segment has version %d with blocks of %d; this program knows %d with %d: %w",
			v, bl, version, block, ErrFormat)
	}
	return binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:]), true, nil
}

// batchHead is a batch as its header and its directory tell it.
type batchHead struct {
	from    int // in its segment
	size    int // with header and directory, without padding
	seq     uint64
	records int
	dirs    int
}

// end is where the next batch begins.
func (h batchHead) end() int { return h.from + padded(h.size) }

// body is where the records end and the directory begins.
func (h batchHead) body() int { return h.from + h.size - h.dirs*dirEntry }

func padded(n int) int { return (n + block - 1) &^ (block - 1) }

func aligned(n int) int { return (n + 7) &^ 7 }

// putBatchHeader fills in the header of a batch whose records and directory are in b.
func putBatchHeader(b []byte, seed uint32, salt, segment uint64, h batchHead) {
	binary.BigEndian.PutUint32(b[4:], uint32(h.size))
	binary.BigEndian.PutUint64(b[8:], salt)
	binary.BigEndian.PutUint64(b[16:], segment)
	binary.BigEndian.PutUint64(b[24:], h.seq)
	binary.BigEndian.PutUint32(b[32:], uint32(h.from))
	binary.BigEndian.PutUint32(b[36:], uint32(h.dirs))
	binary.BigEndian.PutUint32(b[40:], uint32(h.records))
	binary.BigEndian.PutUint32(b[44:], 0)
	c := crc32.Update(seed, castagnoli, b[4:batchHeader])
	binary.BigEndian.PutUint32(b, crc32.Update(c, castagnoli, b[h.size-h.dirs*dirEntry:h.size]))
}

// readBatchHeader reads the header of a batch that begins at from in the segment whose bytes are b.
func readBatchHeader(b []byte, from int, seed uint32, salt, segment uint64) (h batchHead, ok bool) {
	if from+batchHeader > len(b) {
		return h, false
	}
	p := b[from:]
	if binary.BigEndian.Uint64(p[8:]) != salt || binary.BigEndian.Uint64(p[16:]) != segment {
		return h, false
	}
	h = batchHead{
		from:    int(binary.BigEndian.Uint32(p[32:])),
		size:    int(binary.BigEndian.Uint32(p[4:])),
		seq:     binary.BigEndian.Uint64(p[24:]),
		records: int(binary.BigEndian.Uint32(p[40:])),
		dirs:    int(binary.BigEndian.Uint32(p[36:])),
	}
	if h.from != from || h.size > len(p) || h.dirs > h.size/dirEntry || batchHeader+h.dirs*dirEntry > h.size {
		return h, false
	}
	c := crc32.Update(seed, castagnoli, p[4:batchHeader])
	return h, binary.BigEndian.Uint32(p) == crc32.Update(c, castagnoli, p[h.size-h.dirs*dirEntry:h.size])
}

// entry is one line of the directory: what a batch did to one group.
type entry struct {
	group     uint16
	flags     uint8
	n         uint32 // of the group's last operation
	low, high uint64 // of the indexes written or cut, and the end of the log; 0 and the end when it wrote none
}

func (e entry) put(b []byte) {
	binary.BigEndian.PutUint16(b, e.group)
	b[2], b[3] = e.flags, 0
	binary.BigEndian.PutUint32(b[4:], e.n)
	binary.BigEndian.PutUint64(b[8:], e.low)
	binary.BigEndian.PutUint64(b[16:], e.high)
}

func readEntry(b []byte) entry {
	return entry{
		group: binary.BigEndian.Uint16(b), flags: b[2], n: binary.BigEndian.Uint32(b[4:]),
		low: binary.BigEndian.Uint64(b[8:]), high: binary.BigEndian.Uint64(b[16:]),
	}
}

// rec is a record with what only the log itself looks at.
type rec struct {
	Record
	group uint16
	op    uint8
	n     uint32
	at    int // in its segment
}

// size is what the record takes in its segment.
func (r *rec) size() int { return aligned(recordHeader + len(r.Body)) }

// putRecord writes all of a record's header but what is known only when it is written: n, offset and checksum.
func putRecord(b []byte, r *rec) {
	binary.BigEndian.PutUint32(b[4:], uint32(len(r.Body)))
	binary.BigEndian.PutUint64(b[16:], r.Index)
	binary.BigEndian.PutUint64(b[24:], r.Term)
	binary.BigEndian.PutUint64(b[32:], r.Epoch)
	binary.BigEndian.PutUint16(b[40:], r.group)
	b[42], b[43] = r.op, r.Kind
	n := recordHeader + copy(b[recordHeader:], r.Body)
	clear(b[n:])
}

// sealRecord completes the record that begins b, which is at offset at of its segment.
func sealRecord(b []byte, seed uint32, salt uint64, at int, n uint32) {
	end := recordHeader + int(binary.BigEndian.Uint32(b[4:]))
	binary.BigEndian.PutUint32(b[8:], uint32(salt)) //nolint:gosec // half of it is enough here
	binary.BigEndian.PutUint32(b[12:], uint32(at))
	binary.BigEndian.PutUint32(b[44:], n)
	binary.BigEndian.PutUint32(b, crc32.Update(seed, castagnoli, b[4:end]))
}

// readRecord reads the record that begins b, which is at offset at of its segment. Its body points into b.
func readRecord(b []byte, seed uint32, salt uint64, at int) (r rec, ok bool) {
	if len(b) < recordHeader || binary.BigEndian.Uint32(b[8:]) != uint32(salt) || binary.BigEndian.Uint32(b[12:]) != uint32(at) { //nolint:gosec // as in sealRecord
		return r, false
	}
	size := uint64(binary.BigEndian.Uint32(b[4:]))
	if size > uint64(len(b)-recordHeader) {
		return r, false
	}
	end := recordHeader + int(size) //nolint:gosec // not above len(b)
	if binary.BigEndian.Uint32(b) != crc32.Update(seed, castagnoli, b[4:end]) {
		return r, false
	}
	r = rec{
		Record: Record{
			Index: binary.BigEndian.Uint64(b[16:]), Term: binary.BigEndian.Uint64(b[24:]), Epoch: binary.BigEndian.Uint64(b[32:]),
			Kind: b[43], Body: b[recordHeader:end:end],
		},
		group: binary.BigEndian.Uint16(b[40:]), op: b[42], n: binary.BigEndian.Uint32(b[44:]), at: at,
	}
	return r, r.op >= opAppend && r.op <= opCopyLeap && (r.op != opState || len(r.Body) >= stateBody)
}
