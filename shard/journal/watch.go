package journal

import (
	"errors"
	"fmt"
	"runtime"
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
	// keepEntries is how many entries of a group with several replicas stay in the log for those that are behind, as long as
	// Config.KeepBytes lets them.
	keepEntries = 10_000
	// keepLeast is how much each group may keep in any case.
	keepLeast = 256 << 10
)

// observe takes what the data store says of itself.
func (j *Journal) observe(m *pebble.Metrics) {
	j.m.level0.Store(uint64(max(m.Levels[0].Sublevels, 0)))
	j.m.cached.Store(uint64(max(m.BlockCache.Size, 0)))
	j.m.hits.Store(uint64(max(m.BlockCache.Hits, 0)))
	j.m.misses.Store(uint64(max(m.BlockCache.Misses, 0)))
}

// watch does what can be late: the fence, truncation, a look at the disk, and accepted losses. None of it is waited for
// by a commit.
func (j *Journal) watch() {
	defer close(j.ended[1])
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var flushed <-chan struct{}
	for {
		runtime.Gosched() // a call of the system is over before the scheduler takes its processor away: without this, owners wait on it for milliseconds
		select {
		case <-j.stop:
			return
		case a := <-j.asks:
			a.reply <- j.answered(a)
			continue
		case <-flushed:
			flushed = nil
			j.check(j.truncate(nil))
		case <-tick.C:
			j.look()
			m := j.data.Metrics()
			j.observe(m)
			j.forgetMerge(m.Compact.NumInProgress > 0)
			j.check(j.spare())
			if j.untruncated {
				j.check(j.truncate(nil))
			}
			j.check(j.keepFence())
			_ = j.settleSlowly() // a failure is the journal's, who knows
		case <-j.nudge:
			if j.cfg.FreeMin >= 0 && j.sinceLook.Load() >= j.lookBytes {
				j.look()
			}
			if j.late.size.Load() >= int64(j.cfg.LateBytes) {
				_ = j.settleSlowly()
			}
			j.check(j.spare())
			if j.sinceFence.Load() >= j.cfg.FenceTurns {
				j.check(j.keepFence())
			}
		}
		since := j.sinceFlush.Load()
		if flushed == nil && (since >= j.cfg.FlushBytes || since > 0 && j.cramped()) && j.failure() == nil {
			j.sinceFlush.Store(0)
			err := j.settle()
			if err == nil {
				flushed, err = j.data.AsyncFlush()
			}
			j.check(storeError("flushing the data store", err))
			j.m.flushes.Add(1)
		}
	}
}

// cramped tells whether the log has no room, and what is not flushed yet may be what takes it.
func (j *Journal) cramped() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.noSpare || j.noWrite
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
	groups := j.list()
	next := make([]entry, len(groups))
	j.mu.Lock()
	for i, g := range groups {
		next[i] = g.entry()
	}
	j.mu.Unlock()
	if j.fence.seq > 0 && slices.Equal(next, j.entries) {
		return nil
	}
	if err := j.fence.write(next); err != nil {
		return err
	}
	j.entries = next
	for i, g := range groups {
		g.fenced = next[i]
	}
	j.m.fences.Add(1)
	return nil
}

// entry is what the fence shall say of the group. It needs j.mu.
func (g *Group) entry() entry {
	e := g.fenced
	e.group, e.replica, e.term = uint64(g.id), g.self, max(e.term, g.lead)
	if g.shared {
		e.shared = 1
	}
	if g.status.LossFrom != 0 {
		// What was lost stays claimed until somebody accepts it.
		e.lossFrom = g.status.LossFrom
		return e
	}
	e.lossFrom, e.epoch = 0, g.at.epoch
	if g.at.index > e.last {
		e.last, e.lastTerm, e.turn = g.at.index, g.at.term, g.at.turn
	}
	return e
}

// truncate removes from the log what the data store has flushed: of a group with several replicas not the end, which those need that are a little
// behind, but in any case what lies up to upTo says.
func (j *Journal) truncate(upTo map[uint16]uint64) error {
	if j.log == nil || j.failure() != nil {
		return nil
	}
	it, err := j.data.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		return storeError("reading what is flushed", err)
	}
	var points []seglog.Point
	groups, of := j.list(), map[uint16]*Group{}
	most := max(keepLeast, j.cfg.KeepBytes/int64(max(1, len(groups))))
	for _, g := range groups {
		key := dataKey(nil, g.id, tagApplied, nil)
		if !it.SeekGE(key) || string(it.Key()) != string(key) {
			continue
		}
		at, err := readApplied(key, it.Value())
		if err != nil {
			continue // a damaged one keeps its log, and is found again when the journal opens
		}
		p := seglog.Point{Group: g.id, UpTo: at.index, Term: at.term}
		j.mu.Lock()
		shared := g.shared
		j.mu.Unlock()
		if shared { // followers that are a little behind shall not need a snapshot
			keep := max(at.index-min(at.index, keepEntries), j.log.Beyond(g.id, most), min(at.index, upTo[g.id]))
			if keep < at.index {
				p.UpTo, p.Term = keep, 0
			}
		}
		if p.UpTo <= g.truncated {
			continue
		}
		points, of[g.id] = append(points, p), g
	}
	if err := it.Close(); err != nil {
		j.cfg.Log.Warn("reading what is flushed", "err", err) // the damage is reported by corrupted
	}
	if len(points) > 0 { // nobody may look for what is gone
		if err := j.doAnytime(func() error { // also while the log waits for the room that this makes
			points = slices.DeleteFunc(points, func(p seglog.Point) bool { // of a snapshot that is being taken: the log is cut first
				g := j.groups[p.Group]
				return g == nil || p.UpTo > g.at.index
			})
			for _, p := range points {
				j.host.Compacted(p.Group, p.UpTo)
			}
			return nil
		}); err != nil {
			return nil //nolint:nilerr // it ends
		}
	}
	err = j.log.Truncate(points)
	if j.untruncated = errors.Is(err, seglog.ErrNoSpace); !j.untruncated {
		for _, p := range points {
			of[p.Group].truncated = p.UpTo
			j.m.truncations.Add(1)
		}
	}
	return j.keepOn("truncating the log", err)
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

// look asks for the free space. Refusing begins below the mark and ends a quarter above it, so that it does not flutter. What other nodes' owners
// decide is taken until half of it is left, and a little more.
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
	if j.scarce = free < j.freeMin/2; !j.scarce {
		j.squeezed = 0
	}
	now := j.noSpace
	j.room.Broadcast()
	j.mu.Unlock()
	if was != now {
		j.cfg.Log.Warn("free space crossed the mark", "dir", j.cfg.Dir, "free", free, "mark", j.freeMin, "refusing", now)
	}
}

// ask is something that watch does for somebody else.
type ask struct {
	group *Group       // whose loss is accepted; nil is for the fence, or for fn
	fn    func() error // to be done beside nothing else of watch's
	reply chan error
}

// ask lets watch accept the loss of g, or write the fence when that is nil.
func (j *Journal) ask(g *Group) error {
	return j.request(ask{group: g, reply: make(chan error, 1)})
}

func (j *Journal) request(a ask) error {
	select {
	case j.asks <- a:
		return <-a.reply
	case <-j.ended[1]:
		return ErrClosed
	}
}

func (j *Journal) answered(a ask) error {
	switch {
	case a.fn != nil:
		return a.fn()
	case a.group != nil:
		return j.acceptLoss(a.group)
	}
	err := j.keepFence()
	j.check(err)
	return err
}

// AcceptLoss lets a group that lost data write again. What is lost stays lost; the group starts a new epoch, and its
// next index lies far beyond any that may have been given out. It refuses a group that has lost nothing, and one that is
// quarantined. It blocks until the new epoch is durable.
func (j *Journal) AcceptLoss(group int) error {
	if j.Group(group) == nil {
		return fmt.Errorf("accepting a loss: there is no group %d", group)
	}
	if err := j.ask(j.Group(group)); err != nil {
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
	j.mu.Lock()
	whole, shared := g.at, g.shared
	j.mu.Unlock()
	if shared {
		return errors.New("the group has replicas elsewhere, which have what was lost here: take this replica off and let another take its place")
	}
	_, _, end := j.log.Bounds(g.id)
	fenced := g.fenced
	at := applied{index: max(fenced.last, whole.index, end) + epochSkip, term: max(fenced.term, whole.term, g.meta.term), epoch: max(fenced.epoch, whole.epoch) + 1}
	at.turn, at.base = at.index, at.index
	err := j.attempt(func() error { // watch waits for no room that it may make
		if g.status.Mode != ReadOnly { // whoever was told that there is no room has asked again, and it has come about since
			return fmt.Errorf("the group is %s and has no loss to accept any more", g.status.Mode)
		}
		if err := j.startEpoch(g, whole.index, at); err != nil {
			j.check(err)
			return err
		}
		j.reach(g, at)
		j.mu.Lock()
		g.last, g.status, g.self = at.turn, Status{}, g.meta.self
		j.mu.Unlock()
		return j.add(g)
	})
	if err != nil {
		return err
	}
	j.cfg.Log.Warn("a loss was accepted", "group", g.id, "whole_up_to", whole.turn, "next", at.turn+1, "epoch", at.epoch)
	err = j.keepFence()
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
	g.newMeta = true
	if err := g.putMeta(&b); err != nil {
		return err
	}
	if err := j.record(&b); err != nil {
		return logError("writing an epoch", err)
	}
	return j.storeApplied(g.id, at)
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
