package seglog

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The errors that callers tell apart. They come wrapped; test with errors.Is.
var (
	// ErrDamaged says that something on the disk is not what was written.
	ErrDamaged = errors.New("seglog: damaged")
	// ErrFormat says that the folder was written by a version that this program does not know.
	ErrFormat = errors.New("seglog: unknown format")
	// ErrFailed says that a write or sync failed. The log is dead; open it again in a new process.
	ErrFailed = errors.New("seglog: failed")
	// ErrNoSpace says that there was no room for another segment. Nothing was written; the same call succeeds once
	// there is.
	ErrNoSpace = errors.New("seglog: no space for a segment")
	// ErrOrder says that a batch does not follow what the log has. Nothing was written. It is a mistake of the caller.
	ErrOrder = errors.New("seglog: out of order")
	// ErrTooLarge says that a batch is over 1 GiB. Nothing was written.
	ErrTooLarge = errors.New("seglog: batch is too large")
)

// Config says where a log is. The zero value of each field means its default.
type Config struct {
	// Dir is the folder; its parent must exist. It has no default.
	Dir string
	// FS is the file system; nil means the machine's.
	FS vfs.FS
	// SegmentBytes is the size of a segment; default 64 MiB, at least 16 KiB, a multiple of 4 KiB. A batch that is larger
	// makes a larger segment.
	SegmentBytes int64
	// Spares is how many segments are kept ready at most; default 2. More than that are removed when they are not needed.
	Spares int
	// PinSegments is how many segments there may be before the records that are still needed of the lowest are copied to the
	// end, so that it can be recycled; default 6. It is done only while less than half of all segments is needed.
	PinSegments int
	// Create makes the folder and the first segment when there are none. Without it a folder without a readable segment
	// is ErrDamaged.
	Create bool
	// ReadOnly changes nothing on the disk. Only Read and what tells of groups may be called then.
	ReadOnly bool
}

func (c *Config) validate() error {
	if c.Dir == "" {
		return errors.New("seglog: Config.Dir is empty")
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.SegmentBytes < 4*block || c.SegmentBytes > batchSizeMax || c.SegmentBytes%block != 0 {
		return fmt.Errorf("seglog: Config.SegmentBytes is %d; it must be 16 KiB to 1 GiB and a multiple of 4 KiB", c.SegmentBytes)
	}
	if c.Spares == 0 {
		c.Spares = 2
	}
	if c.PinSegments == 0 {
		c.PinSegments = 6
	}
	return nil
}

// Log is an open log. All its methods may be called from any goroutine.
//
// Two locks are held across I/O, against the house's rule: there is one stream of writes, so whoever wants to write next
// has to wait for the one before anyway; and segments are made ready and recycled by one at a time, beside the writes. They
// are taken in that order, and mu last, never across I/O.
type Log struct {
	// Fixed after Open.
	cfg  Config
	salt uint64

	writing lock
	// Guarded by writing.
	active  *segment
	at      int64   // where the next batch goes
	seq     uint64  // of the last batch
	prev    []entry // what it did; the next one says so
	touched []touch // what the batch at hand does
	own     Batch   // tables, truncations, copies
	// The system cannot write and sync in one.
	twoSteps bool

	keeping lock
	// Guarded by keeping.
	top   uint64   // the highest number of a segment
	fresh *segment // a spare in the making, which has no number yet

	mu sync.Mutex
	// Guarded by mu.
	groups []*group
	segs   []*segment // ascending; the last is active
	spares []*segment // the numbers that follow
	idle   []*reader  // memory for Reads
	broken error
	// Files are removed, not recycled.
	renewing bool

	// Shared.
	used    atomic.Int64 // of the active segment
	filled  atomic.Int64 // of the spare in the making
	bare    atomic.Bool  // it grows: it did not have its blocks when it was begun
	written atomic.Uint64
	copied  atomic.Uint64
	rolls   atomic.Uint64
}

// touch is what the batch at hand does to a group, before it is written.
type touch struct {
	g    *group
	last uint64
	entry
}

// Write writes the batch with one write and one sync, and makes it readable. The batch keeps its memory; Reset it before
// the next use. ErrOrder, ErrTooLarge and ErrNoSpace leave everything as it was. After any other error nobody knows what the
// disk holds, and every Write says ErrFailed from then on.
func (l *Log) Write(b *Batch) error {
	if b.Empty() {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.write(b, l.cfg.SegmentBytes-l.tail())
}

// tailMost bounds the end of each segment that is left to truncations.
const tailMost = 256 << 10

// tail is how many bytes at the end of each segment are left to truncations: where there is no room for another segment, it is they that make it.
func (l *Log) tail() int64 { return min(l.cfg.SegmentBytes/8, tailMost) &^ (block - 1) }

// write begins another segment when the batch would end behind end in the active one.
func (l *Log) write(b *Batch, end int64) error {
	if err := l.failure(); err != nil {
		return err
	}
	size := len(b.buf) + len(l.prev)*dirEntry
	if size > batchSizeMax {
		return fmt.Errorf("writing a batch of %d bytes: %w", size, ErrTooLarge)
	}
	if l.at > block && (l.at+int64(padded(size)) > end || l.leave()) {
		if err := l.check(b); err != nil {
			return err // before a segment is begun for it
		}
		if err := l.roll(); err != nil {
			return err
		}
	}
	if err := l.check(b); err != nil {
		return err
	}
	return l.commit(b)
}

// check looks whether the batch follows what the log has, numbers its operations, and notes what it does in touched.
func (l *Log) check(b *Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched = l.touched[:0]
	var err error
	for i := range b.recs {
		if err = l.plan(&b.recs[i]); err != nil {
			break
		}
	}
	for i := range l.touched {
		t := &l.touched[i]
		t.g.planned, t.high = 0, t.last
	}
	return err
}

// plan needs mu.
func (l *Log) plan(r *pending) error {
	g := l.group(r.group)
	if r.op == opTruncate || r.op == opState || r.op == opCopy || r.op == opCopyLeap {
		r.n = g.n
		return nil
	}
	if g.planned == 0 {
		l.touched = append(l.touched, touch{g: g, last: g.last, entry: entry{group: r.group, n: g.n}})
		g.planned = len(l.touched)
	}
	t := &l.touched[g.planned-1]
	if r.op != opMeta && (r.index <= g.trunc || r.op != opLeap && r.index > t.last+1) {
		return fmt.Errorf("record %d of group %d comes after %d, truncated at %d: %w", r.index, r.group, t.last, g.trunc, ErrOrder)
	}
	t.n++
	t.last = t.note(r.op, r.index, t.last)
	r.n = t.n
	return nil
}

// note adds an operation to what a batch does to a group, whose log ended at last; it returns where it ends then.
func (e *entry) note(op uint8, index, last uint64) uint64 {
	switch op {
	case opMeta:
		e.flags |= flagMeta
		return last
	case opLeap:
		e.flags |= flagLeap
	}
	if index <= last || op == opCut {
		e.flags |= flagCut
	}
	if e.low == 0 || index < e.low {
		e.low = index
	}
	if op == opCut {
		return index - 1
	}
	return index
}

// commit puts the batch, which was checked, where at stands.
func (l *Log) commit(b *Batch) error {
	l.seal(b)
	if err := l.put(b.buf); err != nil {
		return l.fail(err)
	}
	l.settle(b)
	return nil
}

// put writes b where at stands, and syncs it. Only files of the system itself go the short way: others want to see each write and each sync.
func (l *Log) put(b []byte) error {
	if l.cfg.FS == vfs.Default && !l.twoSteps {
		known, err := putSynced(l.active.f.Fd(), b, l.at)
		if err != nil {
			return fmt.Errorf("writing and syncing segment %d: %w", l.active.num, err)
		}
		if known {
			return nil
		}
		l.twoSteps = true
	}
	if _, err := l.active.f.WriteAt(b, l.at); err != nil {
		return fmt.Errorf("writing segment %d: %w", l.active.num, err)
	}
	if err := l.active.f.SyncData(); err != nil {
		return fmt.Errorf("syncing segment %d: %w", l.active.num, err)
	}
	return nil
}

// seal adds the directory and the padding to the batch and fills in everything that depends on its place.
func (l *Log) seal(b *Batch) {
	s := l.active
	for i := range b.recs {
		r := &b.recs[i]
		sealRecord(b.buf[r.at:r.at+r.size], s.seed, l.salt, int(l.at)+r.at, r.n)
	}
	for _, e := range l.prev {
		at := len(b.buf)
		b.grow(dirEntry)
		e.put(b.buf[at:])
	}
	h := batchHead{from: int(l.at), size: len(b.buf), seq: l.seq + 1, records: len(b.recs), dirs: len(l.prev)}
	putBatchHeader(b.buf, s.seed, l.salt, s.num, h)
	b.grow(padded(h.size) - h.size)
	clear(b.buf[h.size:])
}

// settle makes what was written known.
func (l *Log) settle(b *Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range b.recs {
		r := &b.recs[i]
		g := l.group(r.group)
		g.known = true
		at := loc{seg: uint32(l.active.num), off: uint32(l.at) + uint32(r.at), size: uint32(r.size)} //nolint:gosec // bounded by batchSizeMax
		switch r.op {
		case opAppend:
			l.active.live += int64(r.size)
			g.append(r.index, r.term, at, false, l.gone)
		case opLeap:
			l.active.live += int64(r.size)
			g.leap(r.index, r.term, at, l.gone)
		case opCopy, opCopyLeap:
			l.active.live += int64(r.size)
			g.put(r.index, r.term, at, r.op == opCopyLeap, l.gone)
		case opCut:
			g.cut(r.index, l.gone)
		case opMeta:
			g.meta, g.metaLost = append(g.meta[:0], b.body(r)...), false
		case opTruncate:
			g.truncate(r.index, r.term, l.gone)
		}
	}
	l.prev = l.prev[:0]
	for i := range l.touched {
		t := &l.touched[i]
		t.g.n = t.n
		l.prev = append(l.prev, t.entry)
	}
	clear(l.touched)
	l.touched = l.touched[:0]
	l.at += int64(len(b.buf))
	l.seq++
	l.used.Store(l.at)
	l.written.Add(uint64(len(b.buf)))
	l.active.size = max(l.active.size, l.at)
}

// leap is an append that settles what was lost.
func (g *group) leap(index, term uint64, at loc, gone func(loc)) {
	g.append(index, term, at, true, gone)
	g.unsure, g.doubt, g.gapped, g.metaLost = false, false, false, false
}

// group returns the group, which comes into being when it is first asked for. It needs mu.
func (l *Log) group(id uint16) *group {
	for int(id) >= len(l.groups) {
		l.groups = append(l.groups, &group{})
	}
	return l.groups[id]
}

// gone notes that a record is not needed any more. It needs mu.
func (l *Log) gone(at loc) {
	if s := l.segment(at.seg); s != nil {
		s.live -= int64(at.size)
	}
}

// segment finds a segment by its number. It needs mu.
func (l *Log) segment(num uint32) *segment {
	for n := len(l.segs); n > 0; n-- { // there are few, and the last is the usual one
		if s := l.segs[n-1]; uint32(s.num) == num { //nolint:gosec // see segmentNumMax
			return s
		}
	}
	return nil
}

// fail makes the log refuse everything from now on.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return l.broken
}

func (l *Log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Close closes the files. Nothing may be called afterwards.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.keeping.Lock()
	defer l.keeping.Unlock()
	l.mu.Lock()
	open := append(l.segs, l.spares...)
	if l.fresh != nil {
		open = append(open, l.fresh)
		l.fresh = nil
	}
	l.segs, l.spares = nil, nil
	if l.broken == nil {
		l.broken = fmt.Errorf("%w: closed", ErrFailed)
	}
	l.mu.Unlock()
	var errs []error
	for _, s := range open {
		errs = append(errs, s.f.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the log: %w", err)
	}
	return nil
}

func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
