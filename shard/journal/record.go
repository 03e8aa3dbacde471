package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"switchboard/shard/journal/seglog"
)

// The kinds of records in the log. They are on the disk: never change a number.
const (
	kindTurn  = 1 // body: operations
	kindEpoch = 2 // body: u64, the index before the hole that was accepted; the only record that may follow a hole
)

// record is a record of the log, whole and of a known kind. The log has looked at its checksum.
type record struct {
	index, term, epoch uint64
	kind               byte
	body               []byte
}

func readRecord(r seglog.Record) (record, error) {
	if r.Kind != kindTurn && r.Kind != kindEpoch || r.Kind == kindEpoch && len(r.Body) != 8 {
		return record{}, fmt.Errorf("record %d is of kind %d with %d bytes: %w", r.Index, r.Kind, len(r.Body), ErrFormat)
	}
	return record{index: r.Index, term: r.Term, epoch: r.Epoch, kind: r.Kind, body: r.Body}, nil
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
