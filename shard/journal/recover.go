package journal

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"switchboard/shard/journal/seglog"
)

// replayBytes is how much of the log is applied in one batch of the data store.
const replayBytes = 4 << 20

// recovery brings one group's rows up to date with its log and compares the log with its fence.
type recovery struct {
	g         *Group
	fenced    entry
	fenceLost bool // there was a fence, and it cannot be read

	at     applied // how far the group is whole
	status Status
	dry    bool // check only; apply nothing
	seen   uint64
}

// run returns an error only for what makes the journal unusable; a loss goes to status.
func (r *recovery) run() error {
	key := dataKey(nil, r.g.id, tagApplied, nil)
	if err := r.start(key); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		// The rows are not readable here, so nobody knows how far they reach. Never below the fence.
		r.at = applied{index: r.fenced.last, term: r.fenced.term, epoch: r.fenced.epoch}
		r.status = Status{Mode: Quarantined, Reason: err.Error()}
		return nil
	}
	if r.g.j.log == nil {
		r.lost("the log cannot be opened: " + r.g.j.logBroken.Error())
	} else if err := r.replay(); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		r.lost(err.Error())
	}
	r.compare()
	return nil
}

// start reads how far the data store has flushed.
func (r *recovery) start(key []byte) error {
	v, done, err := r.g.j.data.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return storeError("reading the applied index", err)
	}
	r.at, err = readApplied(key, v)
	return errors.Join(err, storeError("reading the applied index", done.Close()))
}

// replay applies the records behind the applied index, as long as each follows the one before.
func (r *recovery) replay() error {
	b := r.g.j.data.NewBatch()
	defer func() { b.Close() }() //nolint:errcheck // an empty batch, or one that is given up
	log := r.g.j.log
	var err error
	readErr := log.Read(r.g.id, r.at.index+1, math.MaxUint64, 0, func(x seglog.Record) bool {
		err = r.step(b, x)
		return err == nil
	})
	// What came before is whole and stays.
	if err := errors.Join(err, r.apply(b)); err != nil {
		return err
	}
	if readErr != nil {
		return logError("reading the log", readErr)
	}
	if _, _, last := log.Bounds(r.g.id); last > r.at.index {
		return fmt.Errorf("the log ended at %d and can be read up to %d: %w", last, r.at.index, ErrDamaged)
	}
	if log.Loss(r.g.id).Unsure {
		return fmt.Errorf("the log lost batches of which nobody can say what they were: %w", ErrDamaged)
	}
	return nil
}

// step applies one record.
func (r *recovery) step(b *pebble.Batch, x seglog.Record) error {
	rec, err := readRecord(x)
	if err != nil {
		return err
	}
	if err := rec.follows(r.at.index, r.at.term, r.at.epoch); err != nil {
		return err
	}
	if rec.kind == kindTurn {
		if err := checkOps(rec.body); err != nil {
			return err
		}
		if !r.dry {
			if err := applyOps(b, r.g.id, rec.body); err != nil {
				return err
			}
		}
	}
	r.at = applied{index: rec.index, term: rec.term, epoch: rec.epoch}
	r.seen++
	if b.Len() < replayBytes {
		return nil
	}
	defer b.Reset()
	return r.apply(b)
}

func checkOps(ops []byte) error {
	for len(ops) > 0 {
		_, _, _, rest, err := nextOp(ops)
		if err != nil {
			return err
		}
		ops = rest
	}
	return nil
}

// apply commits what the batch holds together with the index that it reaches.
func (r *recovery) apply(b *pebble.Batch) error {
	if r.dry || r.seen == 0 {
		return nil
	}
	if err := putApplied(b, r.g.id, r.at); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("replaying the log: %w", err)
	}
	r.g.j.m.replayed.Add(r.seen)
	r.seen = 0
	return nil
}

// compare holds what was found against what the fence says must be there.
func (r *recovery) compare() {
	switch {
	case r.status.Mode != OK:
	case r.fenceLost:
		r.lost("the fence cannot be read, so nobody knows how far the log reached")
	case r.at.index < r.fenced.last:
		r.lost(fmt.Sprintf("the log ends at %d, its fence says %d", r.at.index, r.fenced.last))
	case r.fenced.lossFrom != 0 && r.at.epoch <= r.fenced.epoch:
		r.lost("a loss was found before and is not accepted yet")
	}
	if r.status.LossFrom != 0 && r.fenced.lossFrom != 0 {
		r.status.LossFrom = min(r.status.LossFrom, r.fenced.lossFrom)
	}
}

func (r *recovery) lost(reason string) {
	r.status = Status{Mode: ReadOnly, Reason: reason, LossFrom: r.at.index + 1}
}
