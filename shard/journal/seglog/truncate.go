package seglog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// copyBytes is how much is copied forward while writes wait.
const copyBytes = 256 << 10

// Point is where a group's log begins: nothing up to UpTo is needed any more.
type Point struct {
	Group uint16
	UpTo  uint64
	// Term is the term of the record UpTo; 0 means that the log knows it. UpTo may lie beyond the end of the log, as
	// after a snapshot; the log then begins there.
	Term uint64
}

// Truncate forgets the beginnings of groups' logs. The points are durable when it returns; a point that is not beyond the
// one before is passed over. Segments in which nothing is needed any more are recycled; of a segment that stands in the
// way for too long (Config.PinSegments) what is needed is copied to the end first. Writes go on beside it, but for the one
// sync of the points, and for each 256 KiB that are copied. An error that wraps ErrDamaged says that a record that had to
// be copied cannot be read: nothing is lost by that which was not lost before. ErrNoSpace leaves everything as it was. After
// other errors the log is dead.
func (l *Log) Truncate(points []Point) error {
	last, err := l.truncate(points)
	if err != nil {
		return err
	}
	l.keeping.Lock()
	err = l.recycle()
	l.keeping.Unlock()
	for err == nil {
		var more bool
		if more, err = l.copyForward(last); !more || err != nil {
			return err
		}
		l.keeping.Lock()
		err = l.recycle()
		l.keeping.Unlock()
	}
	return err
}

// truncate writes the points. It returns the number of the segment that is written now.
func (l *Log) truncate(points []Point) (num uint64, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.own.Reset()
	l.mu.Lock()
	for _, p := range points {
		g := l.group(p.Group)
		if p.UpTo <= g.trunc {
			continue
		}
		if p.Term == 0 {
			p.Term, _ = g.term(p.UpTo)
		}
		l.own.add(rec{Record: Record{Index: p.UpTo, Term: p.Term}, group: p.Group, op: opTruncate})
	}
	l.mu.Unlock()
	if l.own.Empty() {
		return l.active.num, l.failure()
	}
	own := l.own // roll uses it too
	l.own = Batch{}
	err = l.write(&own, l.cfg.SegmentBytes)
	own.Reset()
	l.own = own
	return l.active.num, err
}

// recycle makes spares of the lowest segments, as long as nothing in them is needed. Only of the lowest: a hole in the
// numbers is damage. It needs keeping.
func (l *Log) recycle() error {
	for {
		s, keep := l.dead()
		if s == nil {
			return l.failure()
		}
		if err := l.reuse(s, keep); err != nil {
			return l.fail(err)
		}
	}
}

// dead takes the lowest segment out, if it can be recycled, and says whether to keep its file.
func (l *Log) dead() (s *segment, keep bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil || len(l.segs) < 2 || l.segs[0].live > 0 || l.segs[0].readers > 0 {
		return nil, false
	}
	s = l.segs[0]
	l.segs = slices.Delete(l.segs, 0, 1)
	return s, !l.renewing && len(l.spares) < l.cfg.Spares && s.size >= l.cfg.SegmentBytes/2 && s.size <= 2*l.cfg.SegmentBytes
}

// reuse gives the file of a dead segment the next number, or removes it. Each step is durable before the next.
func (l *Log) reuse(s *segment, keep bool) error {
	fs := l.cfg.FS
	if err := s.f.Close(); err != nil {
		return fmt.Errorf("closing segment %d: %w", s.num, err)
	}
	if !keep {
		if err := fs.Remove(l.path(s.num)); err != nil {
			return fmt.Errorf("removing segment %d: %w", s.num, err)
		}
		return l.syncDir(l.cfg.Dir)
	}
	num := l.top + 1
	if err := fs.Rename(l.path(s.num), l.path(num)); err != nil {
		return fmt.Errorf("renaming segment %d: %w", s.num, err)
	}
	if err := l.syncDir(l.cfg.Dir); err != nil {
		return err
	}
	f, err := fs.OpenReadWrite(l.path(num), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("opening segment %d: %w", num, err)
	}
	next := &segment{num: num, f: f, seed: seedOf(l.salt, num), size: s.size}
	if _, err := l.fill(next, -1); errors.Is(err, ErrNoSpace) {
		if err := errors.Join(f.Close(), fs.Remove(l.path(num))); err != nil {
			return fmt.Errorf("removing segment %d: %w", num, err)
		}
		return l.syncDir(l.cfg.Dir)
	} else if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := l.head(f, num); err != nil {
		return errors.Join(err, f.Close())
	}
	l.top = num
	l.mu.Lock()
	l.spares = append(l.spares, next)
	l.mu.Unlock()
	return nil
}

// copyForward writes some of the needed records of the lowest segment once more, when there are too many segments. It
// reports whether it did. It does not copy what is in a segment behind last, where the copies are; nor anything between Renew and Renewed, as the new
// files shall have nothing of the old ones.
func (l *Log) copyForward(last uint64) (more bool, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	var live int64
	for _, s := range l.segs {
		live += s.live
	}
	n := len(l.segs)
	if l.broken != nil || l.renewing || n <= l.cfg.PinSegments || l.segs[0].live == 0 || l.segs[0].num >= last || live > int64(n)*(l.cfg.SegmentBytes-l.tail())/2 {
		err := l.broken
		l.mu.Unlock()
		return false, err
	}
	victim := l.segs[0]
	found := l.needed(victim)
	l.mu.Unlock()

	batch := l.own
	l.own = Batch{}
	defer func() { batch.Reset(); l.own = batch }()
	batch.Reset()
	var buf []byte
	for _, x := range found {
		r, b, err := l.readAt(victim, x.at, buf)
		if err != nil {
			return false, fmt.Errorf("copying record %d of group %d forward: %w", x.index, x.group, err)
		}
		buf = b
		r.op = opCopy
		if x.leap {
			r.op = opCopyLeap
		}
		batch.add(r)
	}
	if err := l.write(&batch, l.cfg.SegmentBytes-l.tail()); err != nil {
		return false, err
	}
	l.copied.Add(uint64(batch.Size())) //nolint:gosec // not negative
	return true, nil
}

type copied struct {
	group uint16
	index uint64
	leap  bool
	at    loc
}

// needed lists needed records of a segment, up to copyBytes. It needs mu.
func (l *Log) needed(s *segment) (found []copied) {
	size := 0
	for id, g := range l.groups {
		for i := range g.spans {
			sp := &g.spans[i]
			for k, at := range sp.locs {
				if uint64(at.seg) != s.num {
					continue
				}
				found = append(found, copied{uint16(id), sp.first + uint64(k), sp.leap && k == 0, at}) //nolint:gosec // there are no more groups
				if size += int(at.size); size >= copyBytes {
					return found
				}
			}
		}
	}
	return found
}
