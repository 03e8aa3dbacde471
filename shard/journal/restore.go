package journal

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// FloorBits says how the number of a restore is the floor of other numbers: times 2^20. A group that is restored in each second of a
// century, and writes a million turns in each, gives no number twice, and all of them are below 2^53.
const FloorBits = 20

// restoreMax keeps what follows from the number of a restore exact in JSON.
const restoreMax = 1<<(53-FloorBits) - 1

// Restored is what Restore has made.
type Restored struct {
	Groups int
	Rows   uint64
	Bytes  uint64 // of keys and values
}

// Restore makes a new journal in cfg.Dir whose groups begin with rows of a backup: rows calls put for each row of a group, in any order.
// Each group is alone, its replica is a new one, and it begins in the epoch and the term number, with a turn number of number times 2^20:
// above all that were given out before, when number is above every epoch and term of theirs. (The first owner leads in a term above.)
//
// All of it is durable when it returns nil. Until then the directory may look like a journal that has less: the caller marks it. It refuses a directory in
// which there is a journal. Errors: ErrInUse, ErrFormat, ErrTooLarge, those of rows, and those of the file system.
func Restore(cfg Config, number uint64, rows func(group int, put func(key, val []byte) error) error) (r Restored, err error) {
	if number == 0 || number > restoreMax {
		return r, fmt.Errorf("a restore has the number %d: it must be 1 to %d", number, uint64(restoreMax))
	}
	if err := cfg.Validate(); err != nil {
		return r, err
	}
	if there, err := exists(cfg.FS, cfg.FS.PathJoin(cfg.Dir, formatName)); err != nil || there {
		return r, errors.Join(err, fmt.Errorf("restoring into %s: there is a journal already: %w", cfg.Dir, ErrFormat))
	}
	j, err := Open(cfg)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	for id := range cfg.Groups {
		if err := j.fill(id, &r, rows); err != nil {
			return r, fmt.Errorf("restoring group %d: %w", id, err)
		}
		r.Groups++
	}
	if err := j.flush(); err != nil { // the log has nothing of the rows
		return r, err
	}
	for id := range cfg.Groups {
		if err := j.beginAgain(j.Group(id), number); err != nil {
			return r, fmt.Errorf("beginning the epoch of group %d: %w", id, err)
		}
	}
	if err := j.flush(); err != nil {
		return r, err
	}
	return r, j.ask(nil) // the fence
}

// fill writes the rows of a group that has no owner.
func (j *Journal) fill(id int, r *Restored, rows func(group int, put func(key, val []byte) error) error) error {
	b := j.data.NewBatch()
	defer func() { b.Close() }() //nolint:errcheck // an empty batch, or one that is given up
	commit := func() error {
		if err := b.Commit(pebble.NoSync); err != nil {
			return storeError("writing rows", err)
		}
		b.Reset()
		return j.failure()
	}
	if err := rows(id, func(key, val []byte) error {
		switch {
		case len(key) == 0 || len(key) > keySizeMax || len(val) > turnSizeMax:
			return fmt.Errorf("a row of %d and %d bytes: %w", len(key), len(val), ErrTooLarge)
		case j.Full():
			return ErrNoSpace
		}
		r.Rows++
		r.Bytes += uint64(len(key) + len(val))
		if err := b.Set(dataKey(nil, uint16(id), tagRow, key), val, nil); err != nil { //nolint:gosec // bounded by Validate
			return fmt.Errorf("building a data batch: %w", err)
		}
		if b.Len() >= replayBytes {
			return commit()
		}
		return nil
	}); err != nil {
		return err
	}
	return commit()
}

// beginAgain lets a group that is alone and has no owner go on in another epoch, far above all its numbers.
func (j *Journal) beginAgain(g *Group, number uint64) error {
	return j.do(func() error {
		j.host.Remove(g.id)
		j.abandon(g)
		whole := g.at
		at := applied{index: max(number<<FloorBits, whole.index+epochSkip), term: max(number, whole.term), epoch: max(number, whole.epoch+1)}
		at.turn, at.base = at.index, at.index
		g.meta.term, g.meta.vote = at.term, 0
		if err := j.startEpoch(g, whole.index, at); err != nil {
			j.check(err)
			return err
		}
		j.reach(g, at)
		j.mu.Lock()
		g.last = at.turn
		j.mu.Unlock()
		return j.add(g)
	})
}
