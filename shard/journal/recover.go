package journal

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"switchboard/shard/journal/replica"
	"switchboard/shard/journal/seglog"
)

// replayBytes is how much of the log is applied in one batch of the data store.
const replayBytes = 4 << 20

// recovery brings one group's rows up to date with its log and compares the log with its fence.
type recovery struct {
	g         *Group
	fenced    entry
	fenceLost bool // there was a fence, and it cannot be read

	at     applied // how far the rows are whole
	end    applied // how far the log is
	fresh  bool    // nothing was ever written of this group
	status Status
	dry    bool // check only; apply nothing
	seen   uint64
}

// run returns an error only for what makes the journal unusable; a loss goes to status.
func (r *recovery) run() error {
	g, log := r.g, r.g.j.log
	if log != nil && len(log.Meta(g.id, nil)) == 0 && !log.Loss(g.id).Any() {
		if _, _, last := log.Bounds(g.id); last <= 1 {
			r.fresh = true
		}
	}
	r.name()
	if err := r.start(); err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		// The rows are not readable here, so nobody knows how far they reach. Never below the fence.
		r.at = applied{index: r.fenced.last, term: r.fenced.lastTerm, epoch: r.fenced.epoch, turn: r.fenced.turn}
		r.end = r.at
		r.status = Status{Mode: Quarantined, Reason: err.Error()}
		return nil
	}
	if r.at.index > 1 || r.fenced.last > 1 {
		r.fresh = false
	}
	if r.fresh {
		if r.fenceLost {
			r.lost("the fence cannot be read, so nobody knows how far the log reached")
		}
		return nil
	}
	err := r.identify()
	if err == nil && log == nil {
		r.lost("the log cannot be opened: " + g.j.logBroken.Error())
	} else if err == nil {
		err = r.replay()
	}
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		r.lost(err.Error())
	}
	r.compare()
	return nil
}

// name says who the replica is, as far as that can be read, whatever else is damaged: it is by its id that another takes its place.
func (r *recovery) name() {
	r.g.self = r.fenced.replica
	if r.g.j.log == nil {
		return
	}
	if m, err := readMeta(r.g.j.log.Meta(r.g.id, nil)); err == nil && m.self != 0 {
		r.g.self = m.self
		r.g.shared = r.g.shared || !alone(m.conf)
	}
}

// start reads how far the data store has flushed.
func (r *recovery) start() error {
	key := dataKey(nil, r.g.id, tagApplied, nil)
	v, done, err := r.g.j.data.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		if r.g.j.log != nil { // nothing was flushed: the rows begin where the log does, unless that forgot something
			if prev, term, _ := r.g.j.log.Bounds(r.g.id); prev <= 1 {
				r.at = applied{index: prev, term: term}
			}
		}
	case err != nil:
		return storeError("reading the applied index", err)
	default:
		r.at, err = readApplied(key, v)
		if err := errors.Join(err, storeError("reading the applied index", done.Close())); err != nil {
			return err
		}
	}
	r.end = r.at
	return nil
}

// identify finds out who the replica is and who its peers are.
func (r *recovery) identify() error {
	g, j := r.g, r.g.j
	var err error
	if j.log != nil && !j.log.Loss(g.id).Meta {
		if b := j.log.Meta(g.id, nil); len(b) > 0 {
			if g.meta, err = readMeta(b); err != nil {
				return err
			}
		}
	}
	switch {
	case g.meta.self != 0:
	case g.shared:
		return fmt.Errorf("what the replica has promised to others is lost: %w", ErrDamaged)
	default: // it was alone, and has promised nothing
		self := r.fenced.replica
		if self == 0 {
			self = replica.ID(j.cfg.Node, uint32(g.id)+1)
		}
		g.meta = j.first(g.id, self, []uint64{self}).meta
		g.meta.term = max(r.fenced.term, r.at.term)
		g.newMeta = true
	}
	conf, err := j.storedConf(g.id)
	if err != nil {
		return err
	}
	if conf.confAt > g.meta.confAt { // a snapshot was taken, and the log not told
		g.meta.conf, g.meta.confAt, g.newMeta = conf.conf, conf.confAt, true
	}
	g.self = g.meta.self
	g.shared = g.shared || !alone(g.meta.conf)
	if r.fenced.replica != g.self && !alone(g.meta.conf) {
		r.fenced = entry{group: r.fenced.group} // it says how far another replica was, which was taken off
	}
	return nil
}

// replay applies the records behind the applied index that are known to be decided for good, as long as each follows the one
// before, and looks at the others.
func (r *recovery) replay() error {
	b := r.g.j.data.NewBatch()
	defer func() { b.Close() }() //nolint:errcheck // an empty batch, or one that is given up
	log := r.g.j.log
	if term, ok := log.Term(r.g.id, r.at.index); ok && term != r.at.term {
		return nil // a snapshot took its place; align drops what is behind
	}
	if len(r.g.meta.conf.GetVoters()) == 0 {
		return nil // it waits for its first snapshot
	}
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
	if _, _, last := log.Bounds(r.g.id); last > r.end.index {
		return fmt.Errorf("the log ended at %d and can be read up to %d: %w", last, r.end.index, ErrDamaged)
	}
	if log.Loss(r.g.id).Unsure {
		return fmt.Errorf("the log lost batches of which nobody can say what they were: %w", ErrDamaged)
	}
	return nil
}

// decided reports whether a record is known to be decided for good. What a group of one has is; a change of its members may
// be where that ends.
func (r *recovery) decided(rec record) bool {
	if rec.index <= max(r.fenced.last, r.g.meta.confAt) {
		return true
	}
	return alone(r.g.meta.conf) && rec.kind != kindConf && r.at.index+1 == rec.index
}

// step looks at one record, and applies it when it is decided.
func (r *recovery) step(b *pebble.Batch, x seglog.Record) error {
	rec, err := readRecord(x)
	if err != nil {
		return err
	}
	if err := rec.follows(r.end); err != nil {
		return err
	}
	decided := r.decided(rec) || rec.kind == kindEpoch
	if rec.kind == kindTurn {
		_, ops := rec.turn()
		if err := checkOps(ops); err != nil {
			return err
		}
		if decided && !r.dry {
			if err := applyOps(b, r.g.id, ops); err != nil {
				return err
			}
		}
	}
	r.end = r.end.next(rec)
	if !decided {
		return nil
	}
	r.at = r.end
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
	case r.end.index < r.fenced.last:
		r.lost(fmt.Sprintf("the log ends at %d, its fence says %d", r.end.index, r.fenced.last))
	case r.fenced.lossFrom != 0 && r.at.epoch <= r.fenced.epoch:
		r.lost("a loss was found before and is not accepted yet")
	}
	if r.status.LossFrom != 0 && r.fenced.lossFrom != 0 {
		r.status.LossFrom = min(r.status.LossFrom, r.fenced.lossFrom)
	}
}

func (r *recovery) lost(reason string) {
	r.status = Status{Mode: ReadOnly, Reason: reason, LossFrom: r.at.turn + 1}
}
