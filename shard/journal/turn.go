package journal

import (
	"encoding/binary"
	"fmt"
)

// The kinds of operations in a turn. They are on the disk: never change a number.
const (
	opPut         = 1
	opDelete      = 2
	opDeleteRange = 3
)

// Turn is what one owner wants written at once: rows to put and rows to delete, applied in that order, all or nothing.
// It is a builder on one buffer that is meant to be reused: fill it, Append it, Reset it. The zero Turn is empty and
// ready. A Turn belongs to one goroutine; Append copies it.
type Turn struct {
	ops []byte
	n   int
	err error
}

// Put sets the row key to val. Both are copied. The key must not be empty.
func (t *Turn) Put(key, val []byte) { t.add(opPut, key, val) }

// Delete removes the row key, if there is one. The key is copied and must not be empty.
func (t *Turn) Delete(key []byte) { t.add(opDelete, key, nil) }

// DeleteRange removes the rows from key from up to, not including, key to; an empty to means the end of the group. An
// empty from means its beginning. It costs the same whatever it removes.
func (t *Turn) DeleteRange(from, to []byte) { t.add(opDeleteRange, from, to) }

// Reset empties the turn and keeps its memory.
func (t *Turn) Reset() { t.ops, t.n, t.err = t.ops[:0], 0, nil }

// Len is the number of operations.
func (t *Turn) Len() int { return t.n }

// Size is the number of bytes the turn takes in the log, without its header.
func (t *Turn) Size() int { return len(t.ops) }

// Empty reports whether the turn has no operations.
func (t *Turn) Empty() bool { return t.n == 0 }

func (t *Turn) add(kind byte, key, val []byte) {
	switch {
	case len(key) == 0 && kind != opDeleteRange:
		t.err = fmt.Errorf("adding to a turn: the key is empty")
	case len(key) > keySizeMax, kind == opDeleteRange && len(val) > keySizeMax, len(t.ops)+len(key)+len(val) > turnSizeMax:
		t.err = fmt.Errorf("adding a key of %d and a value of %d bytes: %w", len(key), len(val), ErrTooLarge)
	}
	t.n++
	if t.err != nil {
		return // Append reports it
	}
	t.ops = append(t.ops, kind)
	t.ops = binary.AppendUvarint(t.ops, uint64(len(key)))
	t.ops = append(t.ops, key...)
	if kind != opDelete {
		t.ops = binary.AppendUvarint(t.ops, uint64(len(val)))
		t.ops = append(t.ops, val...)
	}
}

// nextOp splits the first operation off ops. The slices point into ops.
func nextOp(ops []byte) (kind byte, key, val, rest []byte, err error) {
	kind, rest = ops[0], ops[1:]
	if key, rest, err = field(rest); err != nil {
		return 0, nil, nil, nil, err
	}
	switch kind {
	case opDelete:
	case opPut, opDeleteRange:
		val, rest, err = field(rest)
	default:
		err = fmt.Errorf("operation %d is unknown: %w", kind, ErrDamaged)
	}
	return kind, key, val, rest, err
}

func field(b []byte) (f, rest []byte, err error) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, fmt.Errorf("an operation is cut short: %w", ErrDamaged)
	}
	return b[w : w+int(n)], b[w+int(n):], nil
}
