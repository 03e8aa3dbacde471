package seglog

import "slices"

// loc is where a live record is.
type loc struct {
	seg  uint32 // the number of its segment
	off  uint32
	size uint32 // with header, aligned
}

// Run is a run of records of one term, from index First on.
type Run struct{ First, Term uint64 }

// Range is a range of indexes, both included.
type Range struct{ From, To uint64 }

// span is a contiguous piece of a group's log. There is one, unless something was lost or a record has leapt.
type span struct {
	first uint64
	leap  bool // the gap before it is meant to be there
	locs  []loc
	runs  []Run
}

func (s *span) end() uint64 { return s.first + uint64(len(s.locs)) }

func (s *span) term(i uint64) uint64 {
	n, _ := slices.BinarySearchFunc(s.runs, i+1, func(r Run, i uint64) int {
		if r.First < i {
			return -1
		}
		return 1
	})
	return s.runs[n-1].Term
}

// push adds a record to the end.
func (s *span) push(at loc, term uint64) {
	if len(s.runs) == 0 || s.runs[len(s.runs)-1].Term != term {
		s.runs = append(s.runs, Run{s.end(), term})
	}
	s.locs = append(s.locs, at)
}

// group is one group's log as it is on the disk.
type group struct {
	trunc, truncTerm uint64 // nothing up to here is needed
	last             uint64 // the end, whether or not it could be read
	n                uint32 // operations so far; consecutive, so a lost one shows
	meta             []byte
	spans            []span

	// What Open has found.
	known    bool // anything about this group
	unsure   bool // something was lost, and nobody can say what
	doubt    bool // something may have been lost; the next operation will tell
	gapped   bool // an operation of a damaged batch is missing
	metaLost bool

	planned int // 1 + place in Log.touched
}

// cut removes the records from index from on, and calls gone for each.
func (g *group) cut(from uint64, gone func(loc)) {
	for n := len(g.spans); n > 0; n-- {
		s := &g.spans[n-1]
		if s.end() <= from {
			break
		}
		keep := 0
		if from > s.first {
			keep = int(from - s.first) //nolint:gosec // not above len(locs)
		}
		for _, at := range s.locs[keep:] {
			gone(at)
		}
		if keep == 0 {
			g.spans = g.spans[:n-1]
			continue
		}
		s.locs = s.locs[:keep]
		for len(s.runs) > 0 && s.runs[len(s.runs)-1].First >= from {
			s.runs = s.runs[:len(s.runs)-1]
		}
	}
	g.last = max(from-1, g.trunc)
}

// truncate forgets the records up to index upTo.
func (g *group) truncate(upTo, term uint64, gone func(loc)) {
	if upTo <= g.trunc {
		return
	}
	for len(g.spans) > 0 && g.spans[0].first <= upTo {
		s := &g.spans[0]
		drop := len(s.locs)
		if upTo+1 < s.end() {
			drop = int(upTo + 1 - s.first) //nolint:gosec // below len(locs)
		}
		for _, at := range s.locs[:drop] {
			gone(at)
		}
		if drop == len(s.locs) && len(g.spans) == 1 {
			// The usual case, when everything is flushed: keep the memory.
			s.first, s.locs, s.runs, s.leap = upTo+1, s.locs[:0], s.runs[:0], false
			break
		}
		if drop == len(s.locs) {
			g.spans = slices.Delete(g.spans, 0, 1)
			continue
		}
		s.first, s.locs, s.leap = upTo+1, s.locs[drop:], false
		for len(s.runs) > 1 && s.runs[1].First <= upTo+1 {
			s.runs = s.runs[1:]
		}
		s.runs[0].First = max(s.runs[0].First, upTo+1)
	}
	g.trunc, g.truncTerm = upTo, term
	if upTo >= g.last {
		g.last, g.unsure, g.doubt = upTo, false, false // nothing of what may be missing is needed
	}
}

// append takes the record index at the end of the log, and cuts what was from there on.
func (g *group) append(index, term uint64, at loc, leap bool, gone func(loc)) {
	if index <= g.last {
		g.cut(index, gone)
	}
	g.last = index
	if n := len(g.spans); n > 0 {
		s := &g.spans[n-1]
		if len(s.locs) == 0 {
			s.first, s.leap = index, leap
		}
		if s.end() == index && (!leap || len(s.locs) == 0) {
			s.push(at, term)
			return
		}
	}
	s := span{first: index, leap: leap}
	s.push(at, term)
	g.spans = append(g.spans, s)
}

// put notes where the record index is now, wherever that is in the log.
func (g *group) put(index, term uint64, at loc, leap bool, gone func(loc)) {
	if index <= g.trunc {
		gone(at)
		return
	}
	g.last = max(g.last, index)
	n, _ := slices.BinarySearchFunc(g.spans, index, func(s span, i uint64) int {
		if s.end() <= i {
			return -1
		}
		return 1
	}) // the first span that ends behind index
	if n < len(g.spans) && g.spans[n].first <= index {
		s := &g.spans[n]
		gone(s.locs[index-s.first])
		s.locs[index-s.first] = at
		return
	}
	if n > 0 && g.spans[n-1].end() == index && !leap && len(g.spans[n-1].locs) > 0 {
		n--
		g.spans[n].push(at, term)
	} else {
		s := span{first: index, leap: leap}
		s.push(at, term)
		g.spans = slices.Insert(g.spans, n, s)
	}
	if n+1 < len(g.spans) && g.spans[n+1].first == index+1 && !g.spans[n+1].leap {
		s, next := &g.spans[n], &g.spans[n+1]
		for i, at := range next.locs {
			s.push(at, next.term(next.first+uint64(i)))
		}
		g.spans = slices.Delete(g.spans, n+1, n+2)
	}
}

// missing lists what should be there and is not.
func (g *group) missing() []Range {
	var out []Range
	next := g.trunc + 1
	for i := range g.spans {
		s := &g.spans[i]
		if len(s.locs) == 0 {
			continue
		}
		if s.first > next && !s.leap {
			out = append(out, Range{next, s.first - 1})
		}
		next = s.end()
	}
	if next <= g.last {
		out = append(out, Range{next, g.last})
	}
	return out
}

// term returns the term of the record index.
func (g *group) term(index uint64) (uint64, bool) {
	if index == g.trunc {
		return g.truncTerm, true
	}
	for i := range g.spans {
		if s := &g.spans[i]; index >= s.first && index < s.end() {
			return s.term(index), true
		}
	}
	return 0, false
}
