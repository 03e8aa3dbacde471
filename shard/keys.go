package shard

import (
	"errors"
	"math"
	"slices"

	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

const (
	keepKeys = 1024                // [SW-4.3] at least so many keys are remembered
	keepFor  = 24 * 60 * 60 * 1000 // and for so many ms

	sparse = 4 // entries to one that is looked for are read as quickly as that is found
)

// keyLists is what the lists of a session's keys say.
type keyLists struct {
	lines []session.KeyAt // oldest first, contiguous, without those that may be forgotten
	upTo  uint64          // the number of the last
	stale [][]byte        // rows that may go
}

// keyLists reads where the keys of a session are.
func (s *Shard) keyLists(g Rows, id wire.SessionID) (l keyLists, err error) {
	prefix := sessionKey(nil, rowKeyList, id)
	cut := s.cfg.Now().UnixMilli() - keepFor
	var bad error
	var gone []uint64 // fingerprints of keys whose rows may go
	err = g.Scan(prefix, after(prefix), true, func(k, v []byte) bool {
		n := lastNumber(k)
		l.upTo = max(l.upTo, n)
		from := len(l.lines)
		if l.lines, bad = session.ParseKeyList(v, l.lines); bad != nil {
			return false
		}
		list := l.lines[from:]
		if n+keepKeys > l.upTo || len(list) > 0 && list[len(list)-1].At >= cut {
			slices.Reverse(list) // as is all, until it is whole
			return true
		}
		l.stale = append(l.stale, append([]byte(nil), k...))
		for _, at := range list {
			if at.Seq == 0 {
				gone = append(gone, at.FP)
			}
		}
		l.lines = l.lines[:from]
		return true
	})
	slices.Reverse(l.lines)
	// A key that was forgotten and used again has its row under the same fingerprint: that one stays.
	for _, fp := range gone {
		if !slices.ContainsFunc(l.lines, func(at session.KeyAt) bool { return at.Seq == 0 && at.FP == fp }) {
			l.stale = append(l.stale, numberedKey(nil, rowKey, id, fp))
		}
	}
	return l, errors.Join(err, bad)
}

// down returns the entry down to which those that are listed and belong into memory ride on so many of all entries that it is cheaper to read these one
// after the other than those one by one.
func (l *keyLists) down() uint64 {
	var first, last, n uint64
	for _, at := range l.lines[max(len(l.lines)-session.KeysInMemory, 0):] {
		if at.Seq == 0 {
			continue
		}
		if n == 0 {
			first = at.Seq
		}
		last = at.Seq
		n++
	}
	if n == 0 || last-first > sparse*n {
		return math.MaxUint64
	}
	return first
}

// latestKeys reads the keys that belong into memory, and says where the older ones are. near are keys that were come across
// already: all that stand in no list, and some that do.
func (s *Shard) latestKeys(g Rows, id wire.SessionID, l *keyLists, near []session.Key) (keys []session.Key, older []session.KeyAt, err error) {
	first := len(near) // that is not listed
	for first > 0 && near[first-1].N > l.upTo {
		first--
	}
	listed, fresh := near[:first], near[first:]
	split := max(len(l.lines)-max(session.KeysInMemory-len(fresh), 0), 0)
	keys = make([]session.Key, 0, len(l.lines)-split+len(fresh))
	for _, at := range l.lines[split:] {
		for len(listed) > 0 && listed[0].Seq < at.Seq {
			listed = listed[1:]
		}
		if len(listed) > 0 && listed[0].Seq == at.Seq && listed[0].FP == at.FP {
			keys = append(keys, listed[0])
			continue
		}
		k, err := s.lookUp(g, id, at, false)
		if err != nil {
			return nil, nil, err
		}
		if k == nil {
			return nil, nil, session.ErrRow // a list names what there is
		}
		keys = append(keys, *k)
	}
	return append(keys, fresh...), l.lines[:split], nil
}

// lookUp reads one key; without one it returns nil. wide says that the lists are to be asked where it is.
func (s *Shard) lookUp(g Rows, id wire.SessionID, at session.KeyAt, wide bool) (*session.Key, error) {
	if wide {
		l, err := s.keyLists(g, id)
		if err != nil {
			return nil, err
		}
		for i := range l.lines { // the latest counts
			if l.lines[i].FP == at.FP {
				at = l.lines[i]
			}
		}
	}
	if at.Seq == 0 {
		row, err := g.Get(numberedKey(nil, rowKey, id, at.FP), nil)
		if errors.Is(err, journal.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		k := &session.Key{}
		return k, session.ParseKey(row, k)
	}
	row, err := g.Get(numberedKey(nil, rowEntry, id, at.Seq), nil)
	if err != nil {
		return nil, err
	}
	_, ride, e, err := parseEntry(id, row)
	if err != nil {
		return nil, err
	}
	if k := ride.Known(e); ride.N != 0 && k.FP == at.FP {
		return &k, nil
	}
	return nil, session.ErrRow // a list names what there is
}
