package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// ErrAside says that a damaged log or store was put aside in the directory: nobody knows what is in it. Look at it, and remove it.
var ErrAside = errors.New("journal: something damaged was put aside")

// Span is a range of rows: from From up to, not including, To.
type Span struct{ From, To []byte }

const (
	scrubLook     = 20 * time.Millisecond
	scrubBehind   = 5 * time.Second // how long followers may take to have what they would need a snapshot for otherwise
	scrubManifest = 4096            // edits after which a manifest must have been begun anew
)

// Scrub lets no file of the directory hold what the rows of these spans were before it was called, whichever group they are of: neither the tables, also
// those of replicas that were taken off or got a snapshot, nor the log with its recycled files, nor the names of keys that are no more. It flushes, merges the
// tables of the spans, begins new files for the log and for the manifest, truncates the log, and looks whether all of that has come about. Owners go on
// meanwhile. It may be repeated, and does nothing by halves that matters. One at a time: a second call waits.
//
// Errors: ErrAside, ErrReadOnly for a group that is damaged, ErrClosed, ErrFailed, the context's when what has to come about does not: an entry that is not
// decided for want of a majority, a backup that holds on to old rows.
func (j *Journal) Scrub(ctx context.Context, spans []Span) (err error) {
	select {
	case j.scrubs <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-j.scrubs }()
	if err := j.aside(); err != nil {
		return err
	}
	for _, g := range j.list() {
		if s := g.State(); s.Mode != OK {
			return fmt.Errorf("scrubbing: group %d: %w", g.id, s.err())
		}
	}
	num, err := j.log.Renew()
	if err != nil {
		return logError("beginning a new file of the log", err)
	}
	defer j.log.Renewed()
	ends := map[uint16]uint64{}
	for _, g := range j.list() {
		_, _, ends[g.id] = j.log.Bounds(g.id)
	}
	if err := j.applyUpTo(ctx, ends); err != nil {
		return err
	}
	if err := j.merge(ctx, spans); err != nil {
		return err
	}
	j.waitForFollowers(ctx, ends)
	if err := j.request(ask{reply: make(chan error, 1), fn: func() error { return j.truncate(ends) }}); err != nil {
		return err
	}
	if low := j.log.Lowest(); low < num {
		return fmt.Errorf("scrubbing: file %d of the log is needed still, and %d is the first new one", low, num)
	}
	return j.dropped(ctx)
}

// Came grows with each replica that begins here, and with each snapshot that comes: what they bring may be older than the last Scrub, as long as others
// have such. It may be called from any goroutine.
func (j *Journal) Came() uint64 { return j.m.came.Load() }

// aside says whether there is something in the directory, or beside it, that was put aside.
func (j *Journal) aside() error {
	fs := j.cfg.FS
	names, err := fs.List(j.cfg.Dir)
	if err != nil {
		return fmt.Errorf("scrubbing: listing %s: %w", j.cfg.Dir, err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, logDir+".damaged") {
			return fmt.Errorf("%w: %s", ErrAside, fs.PathJoin(j.cfg.Dir, name))
		}
	}
	if there, err := exists(fs, j.cfg.Dir+asideSuffix); err != nil || there {
		return errors.Join(err, fmt.Errorf("%w: %s", ErrAside, j.cfg.Dir+asideSuffix))
	}
	return nil
}

// every calls done now and then until it returns true.
func every(ctx context.Context, doing string, done func() (bool, error)) error {
	tick := time.NewTicker(scrubLook)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("scrubbing: %s: %w", doing, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// applyUpTo waits until the rows have everything that the log had, unless it was cut.
func (j *Journal) applyUpTo(ctx context.Context, ends map[uint16]uint64) error {
	return every(ctx, "waiting for entries to be decided", func() (bool, error) {
		if err := j.failure(); err != nil {
			return false, err
		}
		for _, g := range j.list() {
			_, _, last := j.log.Bounds(g.id)
			j.mu.Lock()
			at := g.at.index
			j.mu.Unlock()
			if at < min(ends[g.id], last) {
				return false, nil
			}
		}
		return true, nil
	})
}

// waitForFollowers gives replicas that are well a moment to have what is about to be forgotten.
func (j *Journal) waitForFollowers(ctx context.Context, ends map[uint16]uint64) {
	ctx, cancel := context.WithTimeout(ctx, scrubBehind)
	defer cancel()
	var ids []uint16
	for id := range ends {
		ids = append(ids, id)
	}
	_ = every(ctx, "", func() (bool, error) { // who has not by then gets a snapshot
		all, err := j.Replicas(ids...)
		if err != nil {
			return true, nil //nolint:nilerr // it ends
		}
		for id, s := range all {
			for _, f := range s.Followers {
				if f.Active && !f.Snapshot && f.Match < ends[id] {
					return false, nil
				}
			}
		}
		return true, nil
	})
}

// merge flushes, and merges tables until only the latest of each row of the spans is left.
func (j *Journal) merge(ctx context.Context, spans []Span) error {
	if !j.reads.TryRLock() {
		return ErrClosed
	}
	defer j.reads.RUnlock()
	// What is frozen, or on its way as a snapshot, would keep old rows in the merged tables.
	if err := every(ctx, "waiting for backups and snapshots that hold old rows", func() (bool, error) {
		return j.data.Metrics().Snapshots.Count == 0, j.failure()
	}); err != nil {
		return err
	}
	if err := j.settle(); err != nil {
		return err
	}
	if err := j.flushTables(); err != nil {
		return err
	}
	for _, g := range j.list() {
		for _, s := range spans {
			lower, upper := g.bounds(s.From, s.To)
			if err := j.data.Compact(ctx, lower, upper, false); err != nil {
				return storeError("merging tables", err)
			}
		}
	}
	if err := j.rewriteHeldBack(ctx, spans); err != nil {
		return err
	}
	if err := j.rewriteVirtual(ctx); err != nil {
		return err
	}
	return j.renewManifest(ctx)
}

// rewriteHeldBack makes tables of the spans anew that were written while a backup or a snapshot was open, and have rows as they were beside what they
// became: those of the lowest level are not merged with anything below them, and one that overlaps nothing is only moved there.
func (j *Journal) rewriteHeldBack(ctx context.Context, spans []Span) error {
	for _, g := range j.list() {
		for _, s := range spans {
			lower, upper := g.bounds(s.From, s.To)
			levels, err := j.data.SSTables(pebble.WithProperties(), pebble.WithKeyRangeFilter(lower, upper))
			if err != nil {
				return storeError("listing tables", err)
			}
			for _, level := range levels {
				for i := range level {
					t := &level[i]
					if t.Properties == nil || t.Properties.SnapshotPinnedKeys == 0 {
						continue
					}
					if err := j.touchTable(ctx, t.Smallest.UserKey, t.Largest.UserKey); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// rewriteVirtual makes tables anew of which only a part counts, after what stood beside it was excised: the file has the rest as well. A key that touches a
// table lets it be merged; that of a range key which nobody has set says nothing, and goes with the merging.
func (j *Journal) rewriteVirtual(ctx context.Context) error {
	levels, err := j.data.SSTables()
	if err != nil {
		return storeError("listing tables", err)
	}
	for _, level := range levels {
		for i := range level {
			t := &level[i]
			if !t.Virtual {
				continue
			}
			if err := j.touchTable(ctx, t.Smallest.UserKey, t.Largest.UserKey); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *Journal) touchTable(ctx context.Context, first, last []byte) error {
	b := j.data.NewBatch()
	if err := b.RangeKeyDelete(first, append(slices.Clone(first), 0), nil); err != nil {
		return storeError("touching a table", err)
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return storeError("touching a table", err)
	}
	if err := j.flushTables(); err != nil {
		return err
	}
	return storeError("merging tables", j.data.Compact(ctx, first, append(slices.Clone(last), 0), false))
}

// manifest returns the path of the present manifest.
func (j *Journal) manifest() (path string, err error) {
	dir := j.cfg.FS.PathJoin(j.cfg.Dir, dataDir)
	names, err := j.cfg.FS.List(dir)
	if err != nil {
		return "", fmt.Errorf("scrubbing: listing %s: %w", dir, err)
	}
	last := ""
	for _, name := range names {
		if strings.HasPrefix(name, "MANIFEST-") && (len(name) > len(last) || len(name) == len(last) && name > last) {
			last = name
		}
	}
	return j.cfg.FS.PathJoin(dir, last), nil
}

// renewManifest lets the store begin its manifest anew until the present one is gone, as it keeps the one before: they name keys that bounded tables
// which are gone.
func (j *Journal) renewManifest(ctx context.Context) error {
	before, err := j.manifest()
	if err != nil {
		return err
	}
	end := dataKey(nil, groupsMax, tagEnd, nil)
	for range scrubManifest {
		if there, err := exists(j.cfg.FS, before); err != nil || !there {
			return err
		}
		if err := j.touchTable(ctx, end, end); err != nil {
			return err
		}
	}
	return fmt.Errorf("scrubbing: %s was not begun anew after %d edits", before, scrubManifest)
}

// dropped waits until tables that do not count any more are removed.
func (j *Journal) dropped(ctx context.Context) error {
	if !j.reads.TryRLock() {
		return ErrClosed
	}
	defer j.reads.RUnlock()
	return every(ctx, "waiting for old tables to be removed", func() (bool, error) {
		m := j.data.Metrics()
		return m.Table.ZombieCount == 0 && m.Table.ObsoleteCount == 0, j.failure()
	})
}
