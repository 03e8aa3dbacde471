package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/shard/journal/seglog"
)

// A patrol. What nobody reads may be damaged for long, until the other replicas have lost it, too. So all of the log and all tables are read from
// time to time, slowly, and their checksums compared. What is damaged goes the way of everything that is found damaged when it is read: a
// replica whose others are elsewhere takes no part any more and is replaced; entries of the log that cannot be read make the rows be flushed. Of a
// group that is here alone it is only told: nobody could help, and what is read of it may be whole.

const (
	patrolName  = "PATROL"  // when the last pass began that came to its end, Unix s as u64, and the checksum of that; before there were checksums without it
	patrolChunk = 256 << 10 // bytes that are read of the log at once
	// patrolFirst is how long the first pass of a directory waits at least; where nobody knows when the last one was, some part of a whole
	// interval is added, so that the nodes of a cluster do not read all at the same time.
	patrolFirst = time.Hour
	patrolAgain = time.Minute // after a pass that could not read
)

var errPatrolEnds = errors.New("the journal is closed")

// patroller is one journal's reading of itself. It belongs to patrol.
type patroller struct {
	j     *Journal
	log   *seglog.Log // nil when it does not open: that was told
	owed  int64       // bytes that were read and are not paid for by time
	began time.Time
	found int
}

// patrol reads everything now and then, until the journal is closed.
func (j *Journal) patrol(log *seglog.Log) {
	defer close(j.ended[2])
	if j.cfg.PatrolEvery < 0 {
		return
	}
	timer := time.NewTimer(j.untilPatrol(time.Now()))
	defer timer.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-timer.C:
		}
		s := &patroller{j: j, log: log, began: time.Now()}
		switch err := s.pass(); {
		case errors.Is(err, errPatrolEnds):
			return
		case err != nil:
			j.cfg.Log.Warn("reading all that is on the disk came to nothing; it is tried again", "dir", j.cfg.Dir, "err", err)
			timer.Reset(patrolAgain)
		default:
			j.m.patrols.Add(1)
			j.m.patrolled.Store(time.Now().Unix())
			if err := notePatrol(j.cfg, s.began); err != nil {
				j.cfg.Log.Warn("noting that all was read", "dir", j.cfg.Dir, "err", err)
			}
			j.cfg.Log.Info("all that is on the disk was read", "dir", j.cfg.Dir, "damaged", s.found, "took", time.Since(s.began).Round(time.Second))
			timer.Reset(max(time.Until(s.began.Add(j.cfg.PatrolEvery)), time.Second))
		}
	}
}

// untilPatrol returns how long it is to the next pass.
func (j *Journal) untilPatrol(now time.Time) time.Duration {
	last, err := lastPatrol(j.cfg)
	if err != nil {
		j.cfg.Log.Warn("when all was read last is not known; it is read as if that were never", "dir", j.cfg.Dir, "err", err)
	}
	if err != nil || last.IsZero() || last.After(now) { // a clock that was set back says nothing
		return min(patrolFirst+time.Duration(rand.Int64N(int64(j.cfg.PatrolEvery))), j.cfg.PatrolEvery)
	}
	j.m.patrolled.Store(last.Unix()) // about: it ended later
	return max(last.Add(j.cfg.PatrolEvery).Sub(now), min(patrolFirst, j.cfg.PatrolEvery))
}

// pass reads everything once.
func (s *patroller) pass() error {
	if err := s.tables(); err != nil {
		return err
	}
	return s.records()
}

// pay waits until n more bytes may be read.
func (s *patroller) pay(n int) error {
	s.j.m.patrolBytes.Add(uint64(n)) //nolint:gosec // a size
	s.owed += int64(n)
	select {
	case <-s.j.stop:
		return errPatrolEnds
	default:
	}
	wait := time.Duration(float64(s.owed) / float64(s.j.cfg.PatrolRate) * float64(time.Second))
	if wait < 10*time.Millisecond {
		return nil
	}
	s.owed = 0
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.j.stop:
		return errPatrolEnds
	case <-timer.C:
		return nil
	}
}

// heldTable is a file of the data store and the groups that may have rows in it.
type heldTable struct {
	file     string
	from, to int
}

// live returns the tables of the data store by now.
func (s *patroller) live() ([]heldTable, error) {
	levels, err := s.j.data.SSTables()
	if err != nil {
		return nil, storeError("listing the tables of data", err)
	}
	var list []heldTable
	for _, level := range levels {
		for i := range level {
			t := &level[i]
			h := heldTable{fmt.Sprintf("%06d.sst", uint64(t.BackingSSTNum)), groupOf(t.Smallest.UserKey, 0), groupOf(t.Largest.UserKey, groupsMax)}
			if at := slices.IndexFunc(list, func(o heldTable) bool { return o.file == h.file }); at >= 0 { // parts of one file
				list[at].from, list[at].to = min(list[at].from, h.from), max(list[at].to, h.to)
				continue
			}
			list = append(list, h)
		}
	}
	return list, nil
}

// tables reads every block of every table. Those that are merged meanwhile were read by that, and those that come of it are whole.
func (s *patroller) tables() error {
	list, err := s.live()
	if err != nil {
		return err
	}
	for _, t := range list {
		err := s.table(t.file)
		if err == nil || errors.Is(err, iofs.ErrNotExist) {
			continue
		}
		if errors.Is(err, errPatrolEnds) {
			return err
		}
		if again := s.table(t.file); again == nil || errors.Is(again, errPatrolEnds) || errors.Is(again, iofs.ErrNotExist) {
			s.j.cfg.Log.Warn("a table was read differently the second time", "file", t.file, "first", err, "second", again)
			if errors.Is(again, errPatrolEnds) {
				return again
			}
			continue
		} else if !pebble.IsCorruptionError(again) {
			return fmt.Errorf("reading table %s: %w", t.file, again) // the disk does not answer: another pass will see
		}
		now, liveErr := s.live()
		if liveErr != nil {
			return liveErr
		}
		if !slices.ContainsFunc(now, func(o heldTable) bool { return o.file == t.file }) {
			continue // it was in nobody's way any more
		}
		s.found++
		s.j.m.patrolDamages.Add(1)
		s.j.lies(s.j.cfg.FS.PathJoin(s.j.cfg.Dir, dataDir, t.file), t.from, t.to, err, true)
	}
	return nil
}

// table checks every block of a table.
func (s *patroller) table(file string) error {
	fs := s.j.cfg.FS
	f, err := fs.Open(fs.PathJoin(s.j.cfg.Dir, dataDir, file))
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(slowFile{f, s})
	if err != nil {
		return errors.Join(err, f.Close())
	}
	o := &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatNewest} // without the cache: it is for what is asked for
	o.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), readable, o.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// slowFile is a file that is read no faster than the patroller may.
type slowFile struct {
	vfs.File
	s *patroller
}

// ReadAt implements io.ReaderAt.
func (f slowFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.s.pay(len(b)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, at)
}

// records reads every record that is still in the log.
func (s *patroller) records() error {
	j := s.j
	if s.log == nil {
		return nil
	}
	for _, g := range j.list() {
		damaged := 0
		prev, _, last := s.log.Bounds(g.id)
		for next := prev + 1; next <= last; {
			size := 0
			from := next
			err := s.log.Read(g.id, from, last+1, patrolChunk, func(r seglog.Record) bool {
				next = r.Index + 1
				size += len(r.Body)
				return true
			})
			if next == from && err == nil {
				break // it was truncated meanwhile
			}
			if err := s.pay(size); err != nil {
				return err
			}
			switch {
			case errors.Is(err, seglog.ErrDamaged):
				if damaged++; damaged == 1 {
					s.found++
					j.m.patrolDamages.Add(1)
					j.logDamaged(g.id, err)
				}
				next++ // behind the record
			case err != nil:
				return logError("reading the log", err)
			}
		}
	}
	return nil
}

// lastPatrol returns when the last pass began that came to its end, a zero time when there was none.
func lastPatrol(cfg Config) (time.Time, error) {
	f, err := cfg.FS.Open(cfg.FS.PathJoin(cfg.Dir, patrolName))
	if errors.Is(err, iofs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("opening %s: %w", patrolName, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 13))
	if err := errors.Join(err, f.Close()); err != nil {
		return time.Time{}, fmt.Errorf("reading %s: %w", patrolName, err)
	}
	return parsePatrol(b)
}

// parsePatrol reads what notePatrol has written, or a version before checksums.
func parsePatrol(b []byte) (time.Time, error) {
	if len(b) != 8 && (len(b) != 12 || binary.BigEndian.Uint32(b[8:]) != checksum(b[:8])) {
		return time.Time{}, fmt.Errorf("%w: %s with %d bytes", ErrDamaged, patrolName, len(b))
	}
	return time.Unix(int64(binary.BigEndian.Uint64(b)), 0), nil //nolint:gosec // a time
}

// notePatrol notes it, whole or not at all.
func notePatrol(cfg Config, at time.Time) error {
	name := cfg.FS.PathJoin(cfg.Dir, patrolName)
	f, err := cfg.FS.Create(name+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(at.Unix())) //nolint:gosec // after 1970
	_, err = f.Write(binary.BigEndian.AppendUint32(b, checksum(b)))
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := cfg.FS.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(cfg.FS, cfg.Dir)
}
