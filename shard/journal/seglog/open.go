package seglog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Report is what Open has found.
type Report struct {
	Segments, Batches, Records int
	// Torn says that the end of the log is a batch whose Write had not returned. It is dropped as a whole.
	Torn bool
	// Damages are the places that are not what was written, in the order of the log. What of it is needed is Loss's to say:
	// often it is nothing.
	Damages []Damage
}

// Damage is one place that is not what was written.
type Damage struct {
	Segment uint64
	// From and To bound it within the segment's file.
	From, To int64
	Text     string
}

func (d Damage) String() string {
	return fmt.Sprintf("segment %d, bytes %d to %d: %s", d.Segment, d.From, d.To, d.Text)
}

// Open opens the log and reads all of it. It fails on damage only when nothing can be read at all (ErrDamaged); otherwise
// the report says what is wrong, and Loss, group by group, what is missing.
func Open(cfg Config) (*Log, *Report, error) {
	if err := cfg.validate(); err != nil {
		return nil, nil, err
	}
	l := &Log{cfg: cfg, writing: newLock(), keeping: newLock()}
	sc := &scan{l: l, report: &Report{}}
	err := l.load(sc)
	if err == nil && !cfg.ReadOnly {
		err = l.ready(sc)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening the log in %s: %w", cfg.Dir, err), l.Close())
	}
	return l, sc.report, nil
}

// load opens all segments and reads them.
func (l *Log) load(sc *scan) error {
	names, err := l.cfg.FS.List(l.cfg.Dir)
	switch {
	case errors.Is(err, iofs.ErrNotExist) && l.cfg.Create:
		if err := l.cfg.FS.MkdirAll(l.cfg.Dir, 0o700); err != nil {
			return fmt.Errorf("making the folder: %w", err)
		}
		if err := l.syncDir(l.cfg.FS.PathDir(l.cfg.Dir)); err != nil {
			return err
		}
	case errors.Is(err, iofs.ErrNotExist):
		return fmt.Errorf("the folder is missing: %w", ErrDamaged)
	case err != nil:
		return fmt.Errorf("listing the folder: %w", err)
	}
	for _, name := range names {
		if num, ok := fileNum(name); ok {
			if err := l.openSegment(num); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(l.segs, func(a, b *segment) int { return int(a.num) - int(b.num) }) //nolint:gosec // below 2^32
	if err := l.findSalt(); err != nil {
		return err
	}
	for _, s := range l.segs {
		s.seed = seedOf(l.salt, s.num)
	}
	for i, s := range l.segs {
		if i > 0 && s.num != l.segs[i-1].num+1 {
			sc.gaps = append(sc.gaps, i)
		}
		if err := sc.segment(i, s); err != nil {
			return err
		}
	}
	return sc.finish()
}

func (l *Log) openSegment(num uint64) error {
	var f vfs.File
	var err error
	if l.cfg.ReadOnly {
		f, err = l.cfg.FS.Open(l.path(num))
	} else {
		f, err = l.cfg.FS.OpenReadWrite(l.path(num), vfs.WriteCategoryUnspecified)
	}
	if err != nil {
		return fmt.Errorf("opening segment %d: %w", num, err)
	}
	l.segs = append(l.segs, &segment{num: num, f: f})
	return nil
}

// findSalt takes the salt from the first segment whose header is whole, or draws one for a new log.
func (l *Log) findSalt() error {
	b := make([]byte, segHeader)
	for _, s := range l.segs {
		n, err := s.f.ReadAt(b, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading segment %d: %w", s.num, err)
		}
		_, salt, ok, err := readSegHeader(b[:n])
		if err != nil {
			return err
		}
		if ok {
			l.salt = salt
			return nil
		}
	}
	if !l.cfg.Create {
		return fmt.Errorf("none of %d segments can be read: %w", len(l.segs), ErrDamaged)
	}
	var salt [8]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return fmt.Errorf("drawing a salt: %w", err)
	}
	l.salt = binary.BigEndian.Uint64(salt[:]) | 1 // a block of zeros never carries it
	return nil
}

// ready makes the log that was read one that can be written.
func (l *Log) ready(sc *scan) error {
	if sc.tail < 0 {
		sc.tail = 0 // segments were made, and no batch was written
	}
	if len(l.segs) > 0 {
		l.segs, l.spares = l.segs[:sc.tail+1:sc.tail+1], l.segs[sc.tail+1:]
		l.active, l.at, l.seq = l.segs[sc.tail], sc.at, sc.seq
	} else {
		s, err := l.create()
		if err != nil {
			return err
		}
		l.segs, l.active, l.at = append(l.segs, s), s, block
	}
	if err := l.resync(sc); err != nil {
		return err
	}
	l.used.Store(l.at)
	l.bare.Store(l.active.size < l.cfg.SegmentBytes)
	l.top = l.active.num
	keep := 0
	for _, s := range l.spares {
		// They hold nothing; but a torn batch may have left its header in the first. One that is short was not finished.
		if s.num == l.top+1 && keep < l.cfg.Spares && s.size >= l.cfg.SegmentBytes {
			if err := l.head(s.f, s.num); err != nil {
				return err
			}
			keep++
			l.top++
			continue
		}
		if err := l.cfg.FS.Remove(l.path(s.num)); err != nil {
			return fmt.Errorf("removing segment %d: %w", s.num, err)
		}
	}
	for _, s := range l.spares[keep:] {
		if err := s.f.Close(); err != nil {
			return fmt.Errorf("closing segment %d: %w", s.num, err)
		}
	}
	l.spares = l.spares[:keep]
	l.prev = sc.prev
	if err := l.cfg.FS.Remove(l.freshPath()); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("removing a segment that was not finished: %w", err)
	}
	return l.syncDir(l.cfg.Dir)
}

// resync makes sure that what was read is on the disk. It may have come from memory: a process that ended between its write
// and its sync leaves a batch there, and one whose sync has failed leaves it there for good, taken for written. Only
// the last batch can be one of those, so it is written once more, the same bytes to the same place, and synced.
func (l *Log) resync(sc *scan) error {
	if l.at == block { // no batch: the header then
		return l.head(l.active.f, l.active.num)
	}
	if len(sc.tailBytes) > 0 {
		if _, err := l.active.f.WriteAt(sc.tailBytes, sc.tailFrom); err != nil {
			return fmt.Errorf("writing the last batch of segment %d again: %w", l.active.num, err)
		}
	}
	if sc.report.Torn && l.at+block <= l.active.size {
		// If the next batch goes to another segment, under the number of the torn one, its header must not stand here.
		if _, err := l.active.f.WriteAt(make([]byte, block), l.at); err != nil {
			return fmt.Errorf("wiping the torn batch of segment %d: %w", l.active.num, err)
		}
	}
	if err := l.active.f.Sync(); err != nil {
		return fmt.Errorf("syncing segment %d: %w", l.active.num, err)
	}
	return nil
}
