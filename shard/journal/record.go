package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A record is one turn in the log store. Its key is the group and the index, its value
//
//	crc32c u32 | version u8 | kind u8 | term u64 | epoch u64 | body
//
// all big endian. The checksum covers the key as well, so a record that turns up under another index is damage too.
const (
	recordVersion = 1
	recordHeader  = 4 + 1 + 1 + 8 + 8

	kindTurn  = 1 // body: operations
	kindEpoch = 2 // body: u64, the index before the hole that was accepted; the only record that may follow a hole

	logKeySize = 2 + 8
)

type record struct {
	index, term, epoch uint64
	kind               byte
	body               []byte
}

func logKey(dst []byte, group uint16, index uint64) []byte {
	dst = binary.BigEndian.AppendUint16(dst, group)
	return binary.BigEndian.AppendUint64(dst, index)
}

// putRecord writes a record's value into dst, which has exactly the size that it needs.
func putRecord(dst, key []byte, r record) {
	dst[4], dst[5] = recordVersion, r.kind
	binary.BigEndian.PutUint64(dst[6:], r.term)
	binary.BigEndian.PutUint64(dst[14:], r.epoch)
	copy(dst[recordHeader:], r.body)
	binary.BigEndian.PutUint32(dst, checksum(key, dst[4:]))
}

// readRecord checks a record and splits it. The body points into value.
func readRecord(key, value []byte) (record, error) {
	if len(key) != logKeySize || len(value) < recordHeader {
		return record{}, fmt.Errorf("a record of %d bytes under a key of %d: %w", len(value), len(key), ErrDamaged)
	}
	r := record{
		index: binary.BigEndian.Uint64(key[2:]),
		kind:  value[5],
		term:  binary.BigEndian.Uint64(value[6:]),
		epoch: binary.BigEndian.Uint64(value[14:]),
		body:  value[recordHeader:],
	}
	if binary.BigEndian.Uint32(value) != checksum(key, value[4:]) {
		return r, fmt.Errorf("record %d has a wrong checksum: %w", r.index, ErrDamaged)
	}
	if value[4] != recordVersion || r.kind != kindTurn && r.kind != kindEpoch || r.kind == kindEpoch && len(r.body) != 8 {
		return r, fmt.Errorf("record %d has version %d and kind %d: %w", r.index, value[4], r.kind, ErrFormat)
	}
	return r, nil
}

// follows says why r may not come after the record at last, or nil.
func (r record) follows(last, term, epoch uint64) error {
	switch {
	case r.kind == kindEpoch && r.index > last && r.epoch > epoch && binary.BigEndian.Uint64(r.body) == last:
		return nil
	case r.index != last+1:
		return fmt.Errorf("record %d follows %d: %w", r.index, last, ErrDamaged)
	case r.term < term || r.epoch != epoch:
		return fmt.Errorf("record %d is of term %d and epoch %d after %d and %d: %w", r.index, r.term, r.epoch, term, epoch, ErrDamaged)
	}
	return nil
}

func checksum(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // the same table every time; this is how the package hands it out
	var c uint32
	for _, p := range parts {
		c = crc32.Update(c, table, p)
	}
	return c
}

// A key of the data store is the group, a tag, and for rows the row's own key.
const (
	tagApplied = 0
	tagRow     = 1
	tagEnd     = 2 // above all rows
)

func dataKey(dst []byte, group uint16, tag byte, key []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, group)
	dst = append(dst, tag)
	return append(dst, key...)
}

// applied is how far a group's rows reach. It is written in the same batch as what it covers.
type applied struct{ index, term, epoch uint64 }

const appliedSize = 3*8 + 4

func (a applied) put(dst, key []byte) {
	binary.BigEndian.PutUint64(dst, a.index)
	binary.BigEndian.PutUint64(dst[8:], a.term)
	binary.BigEndian.PutUint64(dst[16:], a.epoch)
	binary.BigEndian.PutUint32(dst[24:], checksum(key, dst[:24]))
}

func readApplied(key, value []byte) (applied, error) {
	if len(value) != appliedSize || binary.BigEndian.Uint32(value[24:]) != checksum(key, value[:24]) {
		return applied{}, fmt.Errorf("an applied index has a wrong checksum: %w", ErrDamaged)
	}
	return applied{
		index: binary.BigEndian.Uint64(value),
		term:  binary.BigEndian.Uint64(value[8:]),
		epoch: binary.BigEndian.Uint64(value[16:]),
	}, nil
}

func epochBody(whole uint64) []byte { return binary.BigEndian.AppendUint64(nil, whole) }
