package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// late holds what is decided and on this disk, and not in the data store yet. A row that comes alone costs the store a search through its whole table
// in memory; rows that come by the hundred, in the order of their keys, cost a third of that, and of those with one key the last is enough.
// Whoever reads puts into the store first what is late, so nobody sees the difference. After a crash it comes from the log.
type late struct {
	size atomic.Int64 // bytes that are not in the store, about: at 0 nothing is late

	mu sync.Mutex
	// Guarded by mu.
	turns []lateTurn // in the order in which they were decided
	at    map[uint16]applied
	bytes int64 // of size, in turns and at

	settling sync.Mutex // who has it puts rows into the store; nobody takes it with mu
	// Guarded by settling.
	taken  []lateTurn
	rows   []lateRow
	broken error // the store did not take them: nothing is read any more
}

// lateTurn is the operations of a turn.
type lateTurn struct {
	group uint16
	ops   []byte
}

// lateRow is one of them.
type lateRow struct {
	group    uint16
	kind     byte
	n        int32 // its place among all
	key, val []byte
}

// lateMost is how many times Config.LateBytes may be late before the committer sees to it itself.
const lateMost = 4

// lateEntry is what an entry counts besides its operations: its index wants to be noted, too.
const lateEntry = 16

// add takes decided turns, whose bytes must not change, and how far they bring their groups. It is the committer's.
func (l *late) add(turns []lateTurn, groups []*Group) {
	l.mu.Lock()
	l.turns = append(l.turns, turns...)
	n := int64(lateEntry * len(groups))
	for i := range turns {
		n += int64(len(turns[i].ops))
	}
	if l.at == nil {
		l.at = map[uint16]applied{}
	}
	for _, g := range groups {
		l.at[g.id] = g.next
	}
	l.bytes += n
	l.size.Add(n)
	l.mu.Unlock()
}

// settle puts what is late into the data store: all that was added before the call is there when it returns nil. It may be called from any
// goroutine. An error is the journal's end.
func (j *Journal) settle() error {
	l := &j.late
	if l.size.Load() == 0 {
		return nil
	}
	l.settling.Lock()
	defer l.settling.Unlock()
	if l.broken != nil {
		return l.broken
	}
	l.mu.Lock()
	turns, at, n := l.turns, l.at, l.bytes
	l.turns, l.at, l.bytes = l.taken[:0], nil, 0
	l.mu.Unlock()
	l.taken = turns
	if err := j.putLate(turns, at); err != nil {
		l.broken = err
		j.fail(err)
		return err
	}
	clear(turns)
	clear(l.rows)
	l.size.Add(-n)
	return nil
}

// putLate puts turns into the store, those of a group all or nothing, with the index that they bring it to. It needs settling.
func (j *Journal) putLate(turns []lateTurn, at map[uint16]applied) error {
	l := &j.late
	ranges, err := l.split(turns)
	if err != nil {
		return err
	}
	l.sort(ranges)
	rows := l.rows
	for _, group := range slices.Sorted(maps.Keys(at)) {
		n := 0
		for n < len(rows) && rows[n].group == group {
			n++
		}
		if err := j.putGroup(group, rows[:n], at[group]); err != nil {
			return err
		}
		if rows = rows[n:]; len(rows) > 0 {
			runtime.Gosched() // some milliseconds in one piece would be the tail of what customers wait
		}
	}
	if len(rows) > 0 { // never thrown away in silence
		return fmt.Errorf("%d late rows of group %d bring it nowhere", len(rows), rows[0].group)
	}
	return nil
}

// putGroup puts rows of a group into the store, and how far they bring it.
func (j *Journal) putGroup(group uint16, rows []lateRow, at applied) error {
	size := 64
	for i := range rows {
		size += len(rows[i].key) + len(rows[i].val) + 32
	}
	b := j.data.NewBatchWithSize(size)
	for i := range rows {
		r := &rows[i]
		if err := putOp(b, group, r.kind, r.key, r.val); err != nil {
			return err
		}
	}
	if err := putApplied(b, group, at); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("applying a batch: %w", err)
	}
	return closeBatch(b)
}

// split makes rows of turns. ranges says that some remove a range, so that all have to go in as they came.
func (l *late) split(turns []lateTurn) (ranges bool, err error) {
	l.rows = l.rows[:0]
	for _, t := range turns {
		for ops := t.ops; len(ops) > 0; {
			kind, key, val, rest, err := nextOp(ops)
			if err != nil {
				return false, fmt.Errorf("applying turns of group %d: %w", t.group, err)
			}
			ranges = ranges || kind == opDeleteRange
			l.rows = append(l.rows, lateRow{t.group, kind, int32(len(l.rows)), key, val}) //nolint:gosec // bounded by Config.LateBytes and a round
			ops = rest
		}
	}
	return ranges, nil
}

// sort brings rows together by their groups, there into the order of their keys, and leaves the last of each. With ranges they stay as they came.
func (l *late) sort(ranges bool) {
	slices.SortFunc(l.rows, func(a, b lateRow) int {
		if a.group != b.group {
			return cmp.Compare(a.group, b.group)
		}
		if ranges {
			return cmp.Compare(a.n, b.n)
		}
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(b.n, a.n)
	})
	if !ranges {
		l.rows = slices.CompactFunc(l.rows, func(a, b lateRow) bool { return a.group == b.group && bytes.Equal(a.key, b.key) })
	}
}
