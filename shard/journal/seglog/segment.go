package seglog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fileSuffix ends the names of segments: 16 digits and this.
const fileSuffix = ".log"

// segment is one file of the log.
type segment struct {
	// Fixed.
	num  uint64
	f    vfs.File
	seed uint32

	// Guarded by Log.mu.
	size    int64 // of the file, as far as it was written
	live    int64 // bytes of records that are needed
	readers int   // that hold it open
}

func fileName(num uint64) string { return fmt.Sprintf("%016d%s", num, fileSuffix) }

// fileNum is the number in a segment's name.
func fileNum(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	num, err := strconv.ParseUint(digits, 10, 64)
	return num, err == nil && num > 0 && num <= segmentNumMax && fileName(num) == name
}

func (l *Log) path(num uint64) string { return l.cfg.FS.PathJoin(l.cfg.Dir, fileName(num)) }

// head makes the file the segment num: its header is on the disk when it returns, and where the first batch will be is
// none.
func (l *Log) head(f vfs.File, num uint64) error {
	b := make([]byte, 2*block)
	putSegHeader(b, num, l.salt)
	if _, err := f.WriteAt(b, 0); err != nil {
		return fmt.Errorf("writing the header of segment %d: %w", num, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing segment %d: %w", num, err)
	}
	return nil
}

// create makes the next segment. Filled with zeros, it has its blocks, and a sync of what is written into it later has no
// metadata to write. It needs keeping.
func (l *Log) create(fill bool) (*segment, error) {
	num, fs := l.top+1, l.cfg.FS
	if num > segmentNumMax {
		return nil, fmt.Errorf("making segment %d: there are no more numbers: %w", num, ErrFormat)
	}
	f, err := fs.OpenReadWrite(l.path(num), vfs.WriteCategoryUnspecified)
	if err != nil {
		if full(err) {
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		return nil, fmt.Errorf("making segment %d: %w", num, err)
	}
	s := &segment{num: num, f: f, seed: seedOf(l.salt, num), size: 2 * block}
	if err := l.reserve(s, fill); err != nil {
		// Nobody has relied on this file; without it all is as before.
		return nil, errors.Join(fmt.Errorf("making segment %d: %w", num, err), f.Close(), fs.Remove(l.path(num)))
	}
	if err = l.head(f, num); err == nil {
		err = l.syncDir(l.cfg.Dir)
	}
	if err != nil {
		return nil, errors.Join(l.fail(err), f.Close())
	}
	l.top = num
	return s, nil
}

// reserve takes the room of a segment on the disk, so that no write into it can find the disk full.
func (l *Log) reserve(s *segment, fill bool) error {
	if err := s.f.Preallocate(0, l.cfg.SegmentBytes); full(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	} // other errors: a file system that cannot do it
	if !fill {
		return nil
	}
	zeros := make([]byte, min(256<<10, l.cfg.SegmentBytes))
	for at := int64(0); at < l.cfg.SegmentBytes; at += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), l.cfg.SegmentBytes-at)]
		if _, err := s.f.WriteAt(zeros, at); full(err) {
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		} else if err != nil {
			return l.fail(fmt.Errorf("filling it: %w", err))
		}
	}
	s.size = l.cfg.SegmentBytes
	return nil
}

// roll goes on in the next segment, which begins with all there is to know of every group. It needs writing.
func (l *Log) roll() error {
	s, err := l.next()
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.segs = append(l.segs, s)
	l.mu.Unlock()
	l.active, l.at = s, block
	l.rolls.Add(1)
	l.own.Reset()
	l.mu.Lock()
	for id, g := range l.groups {
		if g.known {
			term, _ := g.term(g.last)
			l.own.add(rec{
				Record: Record{Index: g.last, Term: term, Body: state{g.trunc, g.truncTerm, g.n, g.unsure, g.metaLost, g.meta}.put()},
				group:  uint16(id), op: opState, //nolint:gosec // there are no more groups
			})
		}
	}
	l.mu.Unlock()
	if err := l.check(&l.own); err != nil {
		return err
	}
	return l.commit(&l.own)
}

// next takes the lowest spare, or makes a segment.
func (l *Log) next() (*segment, error) {
	if s := l.spare(); s != nil {
		return s, nil
	}
	l.keeping.Lock() // somebody may be making one just now
	defer l.keeping.Unlock()
	if s := l.spare(); s != nil {
		return s, nil
	}
	return l.create(false)
}

func (l *Log) spare() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.spares) == 0 {
		return nil
	}
	s := l.spares[0]
	l.spares = l.spares[1:]
	return s
}

// Hungry reports whether Prepare has something to do: there is no spare, and a quarter of the active segment is used.
func (l *Log) Hungry() bool {
	if l.used.Load() < l.cfg.SegmentBytes/4 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spares) == 0 && l.broken == nil
}

// Prepare makes a spare segment when the log is Hungry, beside the writes. Without it the Write that fills a segment makes
// the next one itself, which takes it some milliseconds. ErrNoSpace leaves everything as it was; after another error the
// log is dead.
func (l *Log) Prepare() error {
	l.keeping.Lock()
	defer l.keeping.Unlock()
	if !l.Hungry() {
		return l.failure()
	}
	s, err := l.create(true)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.spares = append(l.spares, s)
	l.mu.Unlock()
	return nil
}

// syncDir makes the names in a folder durable.
func (l *Log) syncDir(dir string) error {
	d, err := l.cfg.FS.OpenDir(dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return fmt.Errorf("syncing the folder %s: %w", dir, err)
	}
	return nil
}
