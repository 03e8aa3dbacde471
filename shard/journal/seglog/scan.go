package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// scan reads a log from end to end. Its rule: a batch is written when the one before it is synced. So whatever stands
// before a batch that is there was on the disk once, and if it is not what it was, that is damage; and what cannot be
// read behind the last batch was never acknowledged, as far as one log can know.
type scan struct {
	l      *Log
	report *Report
	gaps   []int // places in segs before which numbers are missing

	buf   []byte // the segment at hand
	which int    // its place in segs; -1 for none

	seen    bool     // there was a batch
	seq     uint64   // of the last one whose header could be read
	broken  bool     // and that one cannot be read
	unread  []region // since the last batch
	prev    []entry  // what the last batch did
	touched []touch

	tail      int   // place in segs of the last batch; -1 for none
	at        int64 // where it ends
	tailFrom  int64 // where it begins
	tailBytes []byte
}

// region is a piece of a segment that is no batch.
type region struct {
	which    int
	from, to int
	batch    bool // a batch whose header is whole
}

// segment reads one segment, the i'th.
func (sc *scan) segment(i int, s *segment) error {
	if i == 0 {
		sc.tail, sc.at, sc.which = -1, block, -1
	}
	if err := sc.load(i); err != nil {
		return err
	}
	s.size = int64(len(sc.buf))
	num, salt, ok, err := readSegHeader(sc.buf)
	if err != nil {
		return err
	}
	headed := ok && num == s.num && salt == sc.l.salt
	any := false
	for at := block; at < len(sc.buf); {
		h, ok := sc.header(s, at)
		if !ok {
			next := sc.next(s, at+block)
			sc.unread = append(sc.unread, region{which: i, from: at, to: next})
			at = next
			continue
		}
		any = true
		if err := sc.batch(i, h); err != nil {
			return err
		}
		at = h.end()
	}
	if any {
		sc.report.Segments++
		if !headed {
			sc.damage(s, 0, block, "the header of the segment is not what was written")
		}
	}
	return nil
}

// load reads the i'th segment into buf.
func (sc *scan) load(i int) error {
	if sc.which == i {
		return nil
	}
	s := sc.l.segs[i]
	info, err := s.f.Stat()
	if err != nil {
		return fmt.Errorf("reading segment %d: %w", s.num, err)
	}
	sc.buf = slices.Grow(sc.buf[:0], int(info.Size()))[:info.Size()]
	n, err := s.f.ReadAt(sc.buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading segment %d: %w", s.num, err)
	}
	sc.buf, sc.which = sc.buf[:n], i
	return nil
}

// header reads a batch header that may be at. One with a lower number than the last is what a torn write has left behind in
// a segment that was not begun then.
func (sc *scan) header(s *segment, at int) (batchHead, bool) {
	h, ok := readBatchHeader(sc.buf, at, s.seed, sc.l.salt, s.num)
	return h, ok && (!sc.seen || h.seq > sc.seq)
}

// next finds the next batch from at on, or the end of the segment.
func (sc *scan) next(s *segment, at int) int {
	for ; at+batchHeader <= len(sc.buf); at += block {
		if _, ok := sc.header(s, at); ok {
			return at
		}
	}
	return max(len(sc.buf), at)
}

func (sc *scan) damage(s *segment, from, to int, format string, args ...any) {
	sc.report.Damages = append(sc.report.Damages, Damage{s.num, int64(from), int64(to), fmt.Sprintf(format, args...)})
}

// batch takes a batch whose header is whole.
func (sc *scan) batch(i int, h batchHead) error {
	dir := make([]entry, h.dirs)
	for n := range dir {
		dir[n] = readEntry(sc.buf[h.body()+n*dirEntry:])
	}
	if err := sc.prove(h, dir); err != nil {
		return err
	}
	if err := sc.load(i); err != nil {
		return err
	}
	s := sc.l.segs[i]
	sc.seen, sc.seq = true, h.seq
	recs, ok := sc.records(s, h)
	if !ok {
		sc.broken, sc.prev = true, dir
		// What is before was synced, and may have been saved: if this is the end, it is not written over.
		sc.tail, sc.at, sc.tailBytes = i, int64(h.from), nil
		sc.unread = append(sc.unread, region{which: i, from: h.from, to: h.end(), batch: true})
		return nil
	}
	sc.report.Batches++
	sc.report.Records += len(recs)
	sc.touched = sc.touched[:0]
	for n := range recs {
		sc.apply(s, &recs[n])
	}
	sc.prev = sc.prev[:0]
	for n := range sc.touched {
		t := &sc.touched[n]
		t.g.planned, t.high, t.n = 0, t.last, t.g.n
		sc.prev = append(sc.prev, t.entry)
	}
	sc.tail, sc.at, sc.tailFrom = i, int64(h.end()), int64(h.from)
	sc.tailBytes = append(sc.tailBytes[:0], sc.buf[h.from:min(h.end(), len(sc.buf))]...)
	return nil
}

// records reads the records of a batch. All of them, or none.
func (sc *scan) records(s *segment, h batchHead) ([]rec, bool) {
	recs := make([]rec, 0, min(h.records, h.size/recordHeader))
	at := h.from + batchHeader
	for at < h.body() {
		r, ok := readRecord(sc.buf[at:h.body()], s.seed, sc.l.salt, at)
		if !ok {
			return nil, false
		}
		recs = append(recs, r)
		at += r.size()
	}
	return recs, len(recs) == h.records && at == h.body()
}

// prove looks at what could not be read, now that a batch behind it shows that it was on the disk.
func (sc *scan) prove(h batchHead, dir []entry) error {
	defer func() { sc.unread, sc.broken = sc.unread[:0], false }()
	lost := uint64(0)
	if sc.seen {
		lost = h.seq - sc.seq - 1
	} else if len(sc.unread) > 0 || h.from != block {
		lost = 1 // at least
	}
	if lost == 0 && !sc.broken {
		return nil // that was the end of a segment
	}
	if lost > 1 || lost == 1 && (sc.broken || !sc.seen) {
		// The directory tells of one batch only.
		for _, g := range sc.l.groups {
			g.doubt = true
		}
	}
	if lost > 0 && len(sc.unread) == 0 || len(sc.gaps) > 0 {
		sc.damage(sc.l.segs[sc.which], 0, h.from, "%d batches before number %d are missing", lost, h.seq)
		sc.gaps = nil
	}
	for _, x := range sc.unread {
		if lost > 0 || x.batch {
			if err := sc.salvage(x, lost); err != nil {
				return err
			}
		}
	}
	for _, e := range dir {
		sc.reconcile(e)
	}
	for _, g := range sc.l.groups {
		if g.gapped {
			g.gapped, g.unsure = false, true
		}
	}
	return nil
}

// salvage takes from a damaged piece the records that are whole.
func (sc *scan) salvage(x region, lost uint64) error {
	if err := sc.load(x.which); err != nil {
		return err
	}
	s := sc.l.segs[x.which]
	to := min(x.to, len(sc.buf))
	found := 0
	for at := x.from + batchHeader; at+recordHeader <= to; {
		r, ok := readRecord(sc.buf[at:to], s.seed, sc.l.salt, at)
		if !ok {
			at += 8
			continue
		}
		found++
		at += r.size()
		sc.rescue(s, &r)
	}
	if x.batch {
		sc.damage(s, x.from, to, "a batch is damaged; %d of its records are whole", found)
	} else {
		sc.damage(s, x.from, to, "there should be a batch, one of %d; %d records are whole", lost, found)
	}
	return nil
}

// rescue takes a record of a damaged batch.
func (sc *scan) rescue(s *segment, r *rec) {
	sc.report.Records++
	g := sc.l.group(r.group)
	if r.op <= opMeta || r.op == opLeap {
		switch behind := int32(r.n - g.n); { //nolint:gosec // as sequence numbers are compared
		case !g.known || behind == 1:
		case behind <= 0:
			return
		default:
			g.gapped = true
		}
	}
	sc.take(s, g, r)
}

// apply takes a record of a whole batch.
func (sc *scan) apply(s *segment, r *rec) {
	g := sc.l.group(r.group)
	switch r.op {
	case opAppend, opCut, opMeta, opLeap:
		if g.planned == 0 {
			sc.touched = append(sc.touched, touch{g: g, last: g.last, entry: entry{group: r.group}})
			g.planned = len(sc.touched)
		}
		if g.known && r.n != g.n+1 {
			g.unsure = true
		}
		g.doubt = false
		t := &sc.touched[g.planned-1]
		t.last = t.note(r.op, r.Index, t.last)
	}
	sc.take(s, g, r)
}

// take does to the group what the record says.
func (sc *scan) take(s *segment, g *group, r *rec) {
	gone := sc.l.gone
	at := loc{seg: uint32(s.num), off: uint32(r.at), size: uint32(r.size())} //nolint:gosec // bounded by batchSizeMax
	switch r.op {
	case opAppend:
		s.live += int64(at.size)
		if r.Index <= g.trunc { // where it begins was learnt from a later place; cannot be in a whole log
			gone(at)
			break
		}
		g.append(r.Index, r.Term, at, false, gone)
	case opLeap:
		s.live += int64(at.size)
		if r.Index <= g.trunc {
			gone(at)
			break
		}
		g.leap(r.Index, r.Term, at, gone)
	case opCopy, opCopyLeap:
		s.live += int64(at.size)
		g.put(r.Index, r.Term, at, r.op == opCopyLeap, gone)
	case opCut:
		g.cut(r.Index, gone)
	case opMeta:
		g.meta, g.metaLost = append(g.meta[:0], r.Body...), false
	case opTruncate:
		g.truncate(r.Index, r.Term, gone)
	case opState:
		sc.state(g, r)
	}
	if r.op <= opMeta || r.op == opLeap {
		g.n = r.n
	}
	g.known = true
}

// state takes what a segment's first batch says of a group.
func (sc *scan) state(g *group, r *rec) {
	st := readState(r.Body)
	g.unsure = g.unsure || st.unsure || g.known && st.n != g.n
	g.doubt = false
	if st.trunc > g.trunc {
		g.truncate(st.trunc, st.truncTerm, sc.l.gone)
	}
	if r.Index < g.last {
		g.cut(r.Index+1, sc.l.gone)
	}
	g.last, g.n, g.meta, g.metaLost = max(r.Index, g.trunc), st.n, st.meta, st.metaLost
}

// reconcile holds what was saved of a damaged batch against what the next batch says it did to a group.
func (sc *scan) reconcile(e entry) {
	g := sc.l.group(e.group)
	if g.known && g.n == e.n && !g.gapped {
		if g.doubt {
			g.doubt = false
		}
		return
	}
	if e.flags&flagCut != 0 {
		if e.low > g.trunc && e.low <= g.last {
			g.cut(e.low, sc.l.gone)
		}
		g.last = max(e.high, g.trunc)
	} else if e.low != 0 {
		g.last = max(g.last, e.high)
	}
	g.metaLost = g.metaLost || e.flags&flagMeta != 0
	g.unsure = g.unsure || g.doubt || e.flags&flagLeap != 0
	g.n, g.known, g.gapped, g.doubt = e.n, true, false, false
}

// finish decides about the end of the log.
func (sc *scan) finish() error {
	if sc.broken {
		// A batch whose header is whole and whose records are not, and nothing behind it: torn.
		sc.seq--
		sc.report.Torn = true
		if sc.at == block && sc.tail > 0 {
			// It was the first of its segment. Nothing was begun there: the segment before is the last, and full.
			sc.tail--
			sc.at = max(sc.l.segs[sc.tail].size, sc.l.cfg.SegmentBytes)
		}
	}
	for _, x := range sc.unread {
		if err := sc.load(x.which); err != nil {
			return err
		}
		s := sc.l.segs[x.which]
		if x.from+batchHeader <= len(sc.buf) && binary.BigEndian.Uint64(sc.buf[x.from+8:]) == sc.l.salt &&
			binary.BigEndian.Uint64(sc.buf[x.from+16:]) == s.num {
			sc.report.Torn = true
		}
	}
	for _, g := range sc.l.groups {
		g.unsure = g.unsure || g.doubt
		g.doubt = false
	}
	if len(sc.report.Damages) == 0 {
		sc.lostFirst()
	}
	sc.buf, sc.which = nil, -1
	return nil
}

// lostFirst says so when records are missing and no place is damaged: then it is the first segments that are gone.
func (sc *scan) lostFirst() {
	for id, g := range sc.l.groups {
		if r := g.missing(); len(r) > 0 {
			sc.damage(sc.l.segs[0], 0, block, "segments before this one are missing: they had record %d of group %d", r[0].From, id)
			return
		}
	}
}
