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

// create makes the next segment, for a write that cannot wait for a spare: it has its room, but not its blocks, and every
// sync of it writes metadata too. It needs keeping.
func (l *Log) create() (*segment, error) {
	s, err := l.make(l.path(l.top + 1))
	if err != nil {
		return nil, err
	}
	return l.number(s)
}

// make makes a file that has the room of a segment. It needs keeping.
func (l *Log) make(path string) (*segment, error) {
	num := l.top + 1
	if num > segmentNumMax {
		return nil, fmt.Errorf("making segment %d: there are no more numbers: %w", num, ErrFormat)
	}
	f, err := l.cfg.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		if full(err) {
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		return nil, fmt.Errorf("making segment %d: %w", num, err)
	}
	s := &segment{f: f, size: 2 * block}
	if err := l.reserve(s); err != nil {
		// Nobody has relied on this file; without it all is as before.
		return nil, errors.Join(fmt.Errorf("making segment %d: %w", num, err), f.Close(), l.cfg.FS.Remove(path))
	}
	return s, nil
}

// number makes a file that has its name the next segment. It needs keeping.
func (l *Log) number(s *segment) (*segment, error) {
	num := l.top + 1
	s.num, s.seed = num, seedOf(l.salt, num)
	err := l.head(s.f, num)
	if err == nil {
		err = l.syncDir(l.cfg.Dir)
	}
	if err != nil {
		return nil, errors.Join(l.fail(err), s.f.Close())
	}
	l.top = num
	return s, nil
}

// reserve takes the room of a segment on the disk, so that no write into it can find the disk full.
func (l *Log) reserve(s *segment) error {
	if err := s.f.Preallocate(0, l.cfg.SegmentBytes); full(err) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return nil // other errors: a file system that cannot do it
}

// fillBytes is how much of a segment Prepare fills before it lets others at the disk: the sync of a whole segment holds up
// theirs for tens of milliseconds.
const fillBytes = 128 << 10

// nothing is what segments are filled with. Nobody writes to it: its pages are the kernel's one page of zeros.
var nothing [fillBytes]byte

// fill writes zeros from what was written to the end, and syncs them piece by piece. It does no more than pieces of them,
// and reports whether all is filled.
func (l *Log) fill(s *segment, pieces int) (whole bool, err error) {
	zeros := nothing[:min(fillBytes, l.cfg.SegmentBytes)]
	for ; s.size < l.cfg.SegmentBytes; pieces-- {
		if pieces == 0 {
			return false, nil
		}
		zeros = zeros[:min(int64(len(zeros)), l.cfg.SegmentBytes-s.size)]
		_, err := s.f.WriteAt(zeros, s.size)
		if full(err) {
			return false, fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		if err == nil {
			err = s.f.SyncData()
		}
		if err != nil {
			return false, l.fail(fmt.Errorf("filling a segment: %w", err))
		}
		s.size += int64(len(zeros))
	}
	return true, nil
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
	l.bare.Store(s.size < l.cfg.SegmentBytes)
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
	return l.create()
}

// leave reports whether the active segment grows while there is one that need not. It needs writing.
func (l *Log) leave() bool {
	if !l.bare.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spares) > 0
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

// bareBytes is how far a segment grows before one that has its blocks is made: nothing for a log of a few records.
const bareBytes = 4 << 20

// Hungry reports whether Prepare has something to do: there is no spare, and a quarter of the active segment is used, or
// 4 MiB of one that grows. From there on the spare is filled twice as fast as the active one, and at once when that one grows: it is whole in time, and
// its writes are spread over all of that instead of being in everybody's way for a fifth of a second.
func (l *Log) Hungry() bool {
	most, bare := l.cfg.SegmentBytes/4, l.bare.Load()
	if bare {
		most = min(most, bareBytes)
	}
	used := l.used.Load()
	if used < most || !bare && l.filled.Load() > 2*(used-most) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spares) == 0 && l.broken == nil
}

// Prepare goes on making a spare segment while the log is Hungry, beside the writes: so much of it that it holds up no
// sync for long. So it is called again and again, best with writes between, until the log is not Hungry any more. Without it
// the Write that fills a segment makes the next one itself, and it and those that follow take longer. ErrNoSpace leaves
// everything as it was; after another error the log is dead.
//
// A spare is filled with zeros: it has its blocks then, and a sync of what is written into it later has no metadata to write.
func (l *Log) Prepare() error {
	l.keeping.Lock()
	defer l.keeping.Unlock()
	if !l.Hungry() {
		return l.failure()
	}
	if l.fresh == nil {
		s, err := l.make(l.freshPath())
		if err != nil {
			return err
		}
		l.fresh = s
	}
	whole, err := l.fill(l.fresh, 1)
	l.filled.Store(l.fresh.size)
	if errors.Is(err, ErrNoSpace) {
		s := l.fresh
		l.fresh = nil
		l.filled.Store(0)
		return errors.Join(err, s.f.Close(), l.cfg.FS.Remove(l.freshPath()))
	}
	if err != nil || !whole {
		return err
	}
	s := l.fresh
	l.fresh = nil
	l.filled.Store(0)
	if err := l.cfg.FS.Rename(l.freshPath(), l.path(l.top+1)); err != nil {
		return errors.Join(l.fail(fmt.Errorf("naming segment %d: %w", l.top+1, err)), s.f.Close())
	}
	if s, err = l.number(s); err != nil {
		return err
	}
	l.mu.Lock()
	l.spares = append(l.spares, s)
	l.mu.Unlock()
	return nil
}

// freshPath is where a spare is before it has a number.
func (l *Log) freshPath() string { return l.cfg.FS.PathJoin(l.cfg.Dir, "fresh") }

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
