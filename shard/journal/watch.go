package journal

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"switchboard/shard/journal/seglog"
)

const (
	watchEvery = time.Second
	freeMinMax = 1 << 30 // the default of Config.FreeMin on a large disk
	// An accepted loss skips so many indexes beyond the last one that is known. What was given out after the last fence
	// is not known, and must never be given out again; a disk does not write a million turns in that second.
	epochSkip = 1 << 20
)

// watch does what can be late: the fence, truncation, a look at the disk, and accepted losses. None of it is waited for
// by a commit.
func (j *Journal) watch() {
	defer close(j.ended[1])
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var flushed <-chan struct{}
	for {
		select {
		case <-j.stop:
			return
		case a := <-j.asks:
			a.reply <- j.acceptLoss(j.groups[a.group])
			continue
		case <-flushed:
			flushed = nil
			j.check(j.truncate())
		case <-tick.C:
			j.look()
			j.check(j.spare())
			j.check(j.keepFence())
		case <-j.nudge:
			if j.cfg.FreeMin >= 0 && j.sinceLook.Load() >= j.lookBytes {
				j.look()
			}
			j.check(j.spare())
			if j.sinceFence.Load() >= j.cfg.FenceTurns {
				j.check(j.keepFence())
			}
		}
		if flushed == nil && j.sinceFlush.Load() >= j.cfg.FlushBytes && j.failure() == nil {
			j.sinceFlush.Store(0)
			var err error
			flushed, err = j.data.AsyncFlush()
			j.check(storeError("flushing the data store", err))
			j.m.flushes.Add(1)
		}
	}
}

// check stops the journal on an error that leaves the disk unknown.
func (j *Journal) check(err error) {
	if err != nil && !errors.Is(err, ErrFailed) {
		j.fail(err)
	}
}

// keepFence writes the fence when it has something new to say. It claims only what is durable: the applied indexes.
func (j *Journal) keepFence() error {
	if err := j.failure(); err != nil {
		return nil //nolint:nilerr // said already; the fence stays as it is
	}
	j.sinceFence.Store(0)
	next := make([]entry, len(j.groups))
	j.mu.Lock()
	for i, g := range j.groups {
		next[i] = g.entry(j.entries[i], j.cfg.Replica)
	}
	j.mu.Unlock()
	if slices.Equal(next, j.entries) {
		return nil
	}
	if err := j.fence.write(next); err != nil {
		return err
	}
	j.entries = next
	j.m.fences.Add(1)
	return nil
}

// entry is what the fence shall say of the group. It needs j.mu.
func (g *Group) entry(before entry, replica uint64) entry {
	e := before
	e.replica, e.vote, e.term = replica, replica, g.term
	if g.status.LossFrom != 0 {
		// What was lost stays claimed until somebody accepts it.
		e.lossFrom = g.status.LossFrom
		return e
	}
	e.lossFrom, e.epoch = 0, g.epoch
	if last := g.applied.Load(); last > e.last {
		e.last, e.commit = last, last
		if e.lastTerm = g.term; last == g.openLast {
			e.lastTerm = g.openTerm
		}
	}
	return e
}

// truncate removes from the log what the data store has flushed.
func (j *Journal) truncate() error {
	if j.log == nil || j.failure() != nil {
		return nil
	}
	it, err := j.data.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		return storeError("reading what is flushed", err)
	}
	var points []seglog.Point
	for i, g := range j.groups {
		key := dataKey(nil, g.id, tagApplied, nil)
		if !it.SeekGE(key) || string(it.Key()) != string(key) {
			continue
		}
		a, err := readApplied(key, it.Value())
		if err != nil || a.index <= j.truncated[i] {
			continue // a damaged one keeps its log, and is found again when the journal opens
		}
		points = append(points, seglog.Point{Group: g.id, UpTo: a.index, Term: a.term})
		j.truncated[i] = a.index
		j.m.truncations.Add(1)
	}
	if err := it.Close(); err != nil {
		j.cfg.Log.Warn("reading what is flushed", "err", err) // the damage is reported by corrupted
	}
	return j.keepOn("truncating the log", j.log.Truncate(points))
}

// keepOn passes over errors of the log that left everything as it was.
func (j *Journal) keepOn(doing string, err error) error {
	if errors.Is(err, seglog.ErrDamaged) || errors.Is(err, seglog.ErrNoSpace) {
		j.cfg.Log.Warn(doing, "dir", j.cfg.Dir, "err", err)
		return nil
	}
	return logError(doing, err)
}

// spare makes the next segment of the log ready when it is time. When there is no room for it, Append refuses until there is:
// the log must never find the disk full in the middle of a commit.
func (j *Journal) spare() error {
	if j.log == nil || j.failure() != nil {
		return nil
	}
	err := j.log.Prepare()
	full := errors.Is(err, seglog.ErrNoSpace)
	j.mu.Lock()
	was := j.noSpare
	j.noSpare = full
	j.room.Broadcast()
	j.mu.Unlock()
	if was != full {
		j.cfg.Log.Warn("room for the log's next segment", "dir", j.cfg.Dir, "refusing", full)
	}
	if full {
		return nil
	}
	return logError("preparing a segment of the log", err)
}

// measure decides the mark of free space.
func (j *Journal) measure() {
	if j.cfg.FreeMin < 0 {
		return
	}
	j.freeMin = uint64(j.cfg.FreeMin)
	if j.freeMin == 0 {
		j.freeMin = freeMinMax
		if _, total, err := j.cfg.Free(); err == nil {
			j.freeMin = min(freeMinMax, total/20)
		}
	}
	// A quarter of what is kept free is written before somebody looks again, at worst.
	j.lookBytes = max(1<<20, int64(j.freeMin/16))
}

// look asks for the free space. Refusing begins below the mark and ends a quarter above it, so that it does not flutter.
func (j *Journal) look() {
	if j.cfg.FreeMin < 0 {
		return
	}
	j.sinceLook.Store(0)
	free, _, err := j.cfg.Free()
	if err != nil {
		return // unknown, and unknown refuses nothing
	}
	j.m.free.Store(free)
	j.mu.Lock()
	was := j.noSpace
	switch {
	case free < j.freeMin:
		j.noSpace = true
	case free >= j.freeMin+j.freeMin/4:
		j.noSpace = false
	}
	now := j.noSpace
	j.room.Broadcast()
	j.mu.Unlock()
	if was != now {
		j.cfg.Log.Warn("free space crossed the mark", "dir", j.cfg.Dir, "free", free, "mark", j.freeMin, "refusing", now)
	}
}

// ask is one AcceptLoss on its way to watch.
type ask struct {
	group int
	reply chan error
}

// AcceptLoss lets a group that lost data write again. What is lost stays lost; the group starts a new epoch, and its
// next index lies far beyond any that may have been given out. It refuses a group that has lost nothing, and one that is
// quarantined. It blocks until the new epoch is durable.
func (j *Journal) AcceptLoss(group int) error {
	if group < 0 || group >= len(j.groups) {
		return fmt.Errorf("accepting a loss: there is no group %d", group)
	}
	a := ask{group, make(chan error, 1)}
	select {
	case j.asks <- a:
	case <-j.ended[1]:
		return ErrClosed
	}
	if err := <-a.reply; err != nil {
		return fmt.Errorf("accepting the loss of group %d: %w", group, err)
	}
	return nil
}

func (j *Journal) acceptLoss(g *Group) error {
	if s := g.State(); s.Mode != ReadOnly {
		return fmt.Errorf("the group is %s and has no loss to accept", s.Mode)
	}
	if err := j.replaceLog(); err != nil {
		return err
	}
	_, _, end := j.log.Bounds(g.id)
	fenced, whole := j.entries[g.id], g.applied.Load()
	at := applied{index: max(fenced.last, whole, end) + epochSkip, term: g.term, epoch: max(fenced.epoch, g.Epoch()) + 1}
	if err := j.startEpoch(g, whole, at); err != nil {
		j.check(err)
		return err
	}
	g.applied.Store(at.index)
	j.mu.Lock()
	g.last, g.epoch, g.status = at.index, at.epoch, Status{}
	j.mu.Unlock()
	j.cfg.Log.Warn("a loss was accepted", "group", g.id, "whole_up_to", whole, "next", at.index+1, "epoch", at.epoch)
	err := j.keepFence()
	j.check(err)
	return err
}

// startEpoch replaces what lies behind the loss by a record that says where the new epoch begins.
func (j *Journal) startEpoch(g *Group, whole uint64, at applied) error {
	var b seglog.Batch
	if prev, _, last := j.log.Bounds(g.id); whole < last && whole >= prev {
		b.CutSuffix(g.id, whole+1)
	}
	b.Append(g.id, seglog.Record{
		Index: at.index, Term: at.term, Epoch: at.epoch, Kind: kindEpoch, Leap: true, Body: epochBody(whole),
	})
	if err := j.log.Write(&b); err != nil {
		return logError("writing an epoch", err)
	}
	d := j.data.NewBatch()
	if err := putApplied(d, g.id, at); err != nil {
		return err
	}
	if err := d.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("applying an epoch: %w", err)
	}
	return closeBatch(d)
}

// replaceLog moves a log that cannot be opened aside and begins a new one. The fence already says of every group
// that it has a loss, so the others stay read-only.
func (j *Journal) replaceLog() error {
	if j.log != nil {
		return nil
	}
	fs := j.cfg.FS
	old := fs.PathJoin(j.cfg.Dir, logDir)
	if there, err := exists(fs, old); err != nil {
		return fmt.Errorf("looking for the log: %w", err)
	} else if there {
		aside := fmt.Sprintf("%s.damaged-%d", old, j.fence.seq)
		if err := fs.Rename(old, aside); err != nil {
			return fmt.Errorf("moving the damaged log aside: %w", err)
		}
		if err := syncDir(fs, j.cfg.Dir); err != nil {
			return err
		}
		j.cfg.Log.Warn("the damaged log was moved aside", "to", aside)
	}
	log, _, err := j.openLog(true, false)
	if err != nil {
		return err
	}
	j.log = log
	return syncDir(fs, j.cfg.Dir)
}
