package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"switchboard/shard/journal/seglog"
)

// The kinds of records in the log. They are on the disk: never change a number.
const (
	kindTurn  = 1 // body: u64, the turn's number, and its operations
	kindEpoch = 2 // body: u64, the index before the hole that was accepted; the only record that may follow a hole
	kindBlank = 3 // no body: the first entry of a leader's term
	kindConf  = 4 // body: a change of the group's members, as Raft writes it (ConfChangeV2)
)

// turnHeader is what stands before a turn's operations.
const turnHeader = 8

// record is a record of the log, whole and of a known kind. The log has looked at its checksum.
type record struct {
	index, term, epoch uint64
	kind               byte
	body               []byte
}

func readRecord(r seglog.Record) (record, error) {
	ok := false
	switch r.Kind {
	case kindTurn:
		ok = len(r.Body) >= turnHeader
	case kindEpoch:
		ok = len(r.Body) == 8
	case kindBlank:
		ok = len(r.Body) == 0
	case kindConf:
		ok = true
	}
	if !ok {
		return record{}, fmt.Errorf("record %d is of kind %d with %d bytes: %w", r.Index, r.Kind, len(r.Body), ErrFormat)
	}
	return record{index: r.Index, term: r.Term, epoch: r.Epoch, kind: r.Kind, body: r.Body}, nil
}

// turn is the number of a turn, and its operations.
func (r record) turn() (number uint64, ops []byte) {
	return binary.BigEndian.Uint64(r.body), r.body[turnHeader:]
}

// follows says why r may not come after what is applied, or nil.
func (r record) follows(at applied) error {
	switch {
	case r.kind == kindEpoch && r.index > at.index && r.epoch > at.epoch && binary.BigEndian.Uint64(r.body) == at.index:
		return nil
	case r.index != at.index+1:
		return fmt.Errorf("record %d follows %d: %w", r.index, at.index, ErrDamaged)
	case r.term < at.term || r.epoch != at.epoch:
		return fmt.Errorf("record %d is of term %d and epoch %d after %d and %d: %w", r.index, r.term, r.epoch, at.term, at.epoch, ErrDamaged)
	case r.kind == kindTurn && binary.BigEndian.Uint64(r.body) != at.turn+1:
		return fmt.Errorf("record %d has turn %d after %d: %w", r.index, binary.BigEndian.Uint64(r.body), at.turn, ErrDamaged)
	}
	return nil
}

// next is how far the group is with r applied.
func (at applied) next(r record) applied {
	at.index, at.term = r.index, r.term
	switch r.kind {
	case kindTurn:
		at.turn, _ = r.turn()
	case kindEpoch:
		at.turn, at.base, at.epoch = r.index, r.index, r.epoch
	}
	return at
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
	tagConf    = 1 // the members that came with a snapshot
	tagRow     = 2
	tagEnd     = 3 // above all rows
)

func dataKey(dst []byte, group uint16, tag byte, key []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, group)
	dst = append(dst, tag)
	return append(dst, key...)
}

// applied is how far a group's rows reach. It is written in the same batch as what it covers. Turns have numbers of their
// own, as the log has entries besides them. The log is not read below base: a loss was accepted there.
type applied struct{ index, term, epoch, turn, base uint64 }

const appliedSize = 5*8 + 4

func (at applied) put(dst, key []byte) {
	for i, v := range [...]uint64{at.index, at.term, at.epoch, at.turn, at.base} {
		binary.BigEndian.PutUint64(dst[8*i:], v)
	}
	binary.BigEndian.PutUint32(dst[appliedSize-4:], checksum(key, dst[:appliedSize-4]))
}

func readApplied(key, value []byte) (at applied, err error) {
	if len(value) != appliedSize || binary.BigEndian.Uint32(value[appliedSize-4:]) != checksum(key, value[:appliedSize-4]) {
		return applied{}, fmt.Errorf("an applied index has a wrong checksum: %w", ErrDamaged)
	}
	for i, v := range []*uint64{&at.index, &at.term, &at.epoch, &at.turn, &at.base} {
		*v = binary.BigEndian.Uint64(value[8*i:])
	}
	return at, nil
}

func epochBody(whole uint64) []byte { return binary.BigEndian.AppendUint64(nil, whole) }
