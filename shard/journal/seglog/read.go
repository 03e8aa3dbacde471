package seglog

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	readWindow = 64 << 10 // bytes read at once
	readStep   = 256      // records looked up at once
)

// reader is the memory of one Read.
type reader struct {
	found []place
	buf   []byte
	have  []byte // of buf, what was read
	seg   *segment
	from  int64 // of have
}

type place struct {
	index uint64
	seg   *segment
	at    loc
}

// Read calls fn for the group's records from index from up to, not including, to, in order, until fn returns false or
// their bodies come to more than maxBytes; at least one, and without a limit when maxBytes is not positive. The body is
// valid only during the call. What is not there is passed over: the caller looks at the indexes. A record that is not what
// was written is ErrDamaged.
func (l *Log) Read(group uint16, from, to uint64, maxBytes int64, fn func(Record) bool) error {
	rd := l.reader()
	defer l.rest(rd)
	for from < to {
		l.find(rd, group, from, to)
		next, err := l.readFound(rd, group, &maxBytes, fn)
		l.release(rd)
		if err != nil {
			return err
		}
		if next == 0 {
			return nil
		}
		from = next
	}
	return nil
}

// reader takes memory for a Read, and rest gives it back.
func (l *Log) reader() *reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.idle)
	if n == 0 {
		return &reader{}
	}
	rd := l.idle[n-1]
	l.idle = l.idle[:n-1]
	return rd
}

func (l *Log) rest(rd *reader) {
	rd.seg, rd.have = nil, nil
	if cap(rd.buf) > 16*readWindow {
		rd.buf = nil // a large record has made it large
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.idle) < 4 {
		l.idle = append(l.idle, rd)
	}
}

// find looks up where some of the records are, and keeps their segments from being recycled.
func (l *Log) find(rd *reader, id uint16, from, to uint64) {
	rd.found, rd.seg, rd.have = rd.found[:0], nil, nil
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(id) >= len(l.groups) {
		return
	}
	g := l.groups[id]
	for i := range g.spans {
		s := &g.spans[i]
		for index := max(from, s.first); index < min(to, s.end()); index++ {
			at := s.locs[index-s.first]
			seg := l.segment(at.seg)
			seg.readers++
			rd.found = append(rd.found, place{index, seg, at})
			if len(rd.found) == readStep {
				return
			}
		}
	}
}

func (l *Log) release(rd *reader) {
	l.mu.Lock()
	for _, p := range rd.found {
		p.seg.readers--
	}
	l.mu.Unlock()
	clear(rd.found)
}

// readFound reads what find has found. It returns the index behind, or 0 when that was all.
func (l *Log) readFound(rd *reader, id uint16, left *int64, fn func(Record) bool) (next uint64, err error) {
	limited := *left > 0
	for i := range rd.found {
		p := &rd.found[i]
		b, err := rd.load(p)
		if err != nil {
			return 0, fmt.Errorf("reading record %d of group %d: %w", p.index, id, err)
		}
		r, ok := readRecord(b, p.seg.seed, l.salt, int(p.at.off))
		if !ok || r.group != id || r.Index != p.index {
			return 0, fmt.Errorf("record %d of group %d, in segment %d at %d, is not what was written: %w",
				p.index, id, p.seg.num, p.at.off, ErrDamaged)
		}
		r.Leap = r.op == opLeap || r.op == opCopyLeap
		if !fn(r.Record) {
			return 0, nil
		}
		if limited {
			if *left -= int64(len(r.Body)); *left <= 0 {
				return 0, nil
			}
		}
		next = p.index + 1
	}
	if len(rd.found) < readStep {
		return 0, nil
	}
	return next, nil
}

// load returns the bytes of the record, and reads on behind it: the next one is probably there.
func (rd *reader) load(p *place) ([]byte, error) {
	off, size := int64(p.at.off), int(p.at.size)
	if rd.seg != p.seg || off < rd.from || off+int64(size) > rd.from+int64(len(rd.have)) {
		want := max(size, readWindow)
		rd.buf = slices.Grow(rd.buf[:0], want)[:want]
		n, err := p.seg.f.ReadAt(rd.buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		rd.seg, rd.from, rd.have = p.seg, off, rd.buf[:n]
	}
	b := rd.have[off-rd.from:]
	return b[:min(len(b), size)], nil
}

// readAt reads one record into buf, which grows.
func (l *Log) readAt(s *segment, at loc, buf []byte) (rec, []byte, error) {
	buf = slices.Grow(buf[:0], int(at.size))[:at.size]
	if _, err := s.f.ReadAt(buf, int64(at.off)); err != nil && !errors.Is(err, io.EOF) {
		return rec{}, buf, fmt.Errorf("reading segment %d: %w", s.num, err)
	}
	r, ok := readRecord(buf, s.seed, l.salt, int(at.off))
	if !ok {
		return rec{}, buf, fmt.Errorf("segment %d at %d is not what was written: %w", s.num, at.off, ErrDamaged)
	}
	return r, buf, nil
}

// Bounds tells where the group's log stands: prev is the last index that was truncated and prevTerm its term, last is the
// end. Of a group that lost its end, last is where it was.
func (l *Log) Bounds(group uint16) (prev, prevTerm, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(group) >= len(l.groups) {
		return 0, 0, 0
	}
	g := l.groups[group]
	return g.trunc, g.truncTerm, g.last
}

// Term returns the term of the group's record index, from memory; that of the last truncated one is known too. ok is
// false for others that are not there.
func (l *Log) Term(group uint16, index uint64) (term uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(group) >= len(l.groups) {
		return 0, false
	}
	return l.groups[group].term(index)
}

// Runs appends the terms of the group's records to runs, ascending.
func (l *Log) Runs(group uint16, runs []Run) []Run {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(group) >= len(l.groups) {
		return runs
	}
	for i := range l.groups[group].spans {
		for _, r := range l.groups[group].spans[i].runs {
			if n := len(runs); n == 0 || runs[n-1].Term != r.Term {
				runs = append(runs, r)
			}
		}
	}
	return runs
}

// Meta appends the group's metadata to buf; nothing when there is none.
func (l *Log) Meta(group uint16, buf []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(group) >= len(l.groups) {
		return buf
	}
	return append(buf, l.groups[group].meta...)
}

// Loss is what a group has lost, as Open has found it.
type Loss struct {
	// Ranges are the indexes that should be there and are not.
	Ranges []Range
	// Unsure says that operations were lost of which nobody can say what they were: any record may have been replaced.
	// It takes two damaged batches in a row.
	Unsure bool
	// Meta says that the latest metadata is lost.
	Meta bool
}

// Any reports whether anything is lost.
func (x Loss) Any() bool { return len(x.Ranges) > 0 || x.Unsure || x.Meta }

// Loss tells what the group has lost. A record that Leaps settles it; so does truncation of what is missing.
func (l *Log) Loss(group uint16) Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(group) >= len(l.groups) {
		return Loss{}
	}
	g := l.groups[group]
	return Loss{Ranges: g.missing(), Unsure: g.unsure, Meta: g.metaLost}
}

// Beyond returns the highest index of a group's record behind which no more than so many bytes of its records follow; 0 when all of them are fewer.
// What is truncated up to there leaves at most that.
func (l *Log) Beyond(group uint16, most int64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(group) >= len(l.groups) || l.groups[group] == nil {
		return 0
	}
	g := l.groups[group]
	for n := len(g.spans); n > 0; n-- {
		s := &g.spans[n-1]
		for i := len(s.locs); i > 0; i-- {
			if most -= int64(s.locs[i-1].size); most < 0 {
				return s.first + uint64(i) - 1 //nolint:gosec // an index
			}
		}
	}
	return 0
}

// Stats is how a log is and what it has done since Open.
type Stats struct {
	Segments, Spares int
	Live             int64  // bytes of records that are needed
	Written          uint64 // bytes, with padding
	Copied           uint64 // bytes that were copied to the end
	Rolls            uint64 // segments begun
}

// Stats returns the counters as they are now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Segments: len(l.segs), Spares: len(l.spares),
		Written: l.written.Load(), Copied: l.copied.Load(), Rolls: l.rolls.Load(),
	}
	for _, seg := range l.segs {
		s.Live += seg.live
	}
	return s
}
