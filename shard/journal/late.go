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
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// late holds what is decided and on this disk, and not in the data store yet. A row that comes alone costs the store a search through its whole table
// in memory; rows that come by the hundred, in the order of their keys, cost a third of that, and of those with one key the last is enough.
// Whoever reads puts into the store first what is late, so nobody sees the difference. After a crash it comes from the log.
type late struct {
	size atomic.Int64 // bytes that are not in the store, about: at 0 nothing is late

	mu sync.Mutex
	// Guarded by mu.
	groups map[uint16]*lateGroup

	settling sync.Mutex // who has it puts rows into the store; nobody takes it with mu
	// Guarded by settling.
	begun  map[uint16]*lateGroup // of these
	left   []uint16              // these are not in the store; without any, begun is empty, and has the memory of what was in it
	rows   []lateRow
	broken error // the store did not take them: nothing is read any more
}

// lateGroup is what is late of a group.
type lateGroup struct {
	g     *Group
	turns [][]byte // their operations, in the order in which they were decided
	bytes int64    // of late.size, and of g's
	at    applied  // how far they bring it
	known bool     // at is
}

// lateTurn is the operations of a turn.
type lateTurn struct {
	g   *Group
	ops []byte
}

// lateRow is one of them.
type lateRow struct {
	kind     byte
	n        int32 // its place among all
	key, val []byte
}

const (
	// lateMost is how many times Config.LateBytes may be late before the committer sees to it itself.
	lateMost = 4
	// latePause is how long others have the machine between two groups of settleSlowly.
	latePause = time.Millisecond
	// lateEntry is what an entry counts besides its operations: its index wants to be noted, too.
	lateEntry = 16
	// lateKept is for how many turns of a group memory is kept for the next ones.
	lateKept = 1024
)

// add takes decided turns, whose bytes must not change, and how far they bring their groups. It is the committer's.
func (l *late) add(turns []lateTurn, groups []*Group) {
	l.mu.Lock()
	for i := range turns {
		t := &turns[i]
		of := l.count(t.g, len(t.ops))
		of.turns = append(of.turns, t.ops)
	}
	for _, g := range groups {
		of := l.count(g, lateEntry)
		of.at, of.known = g.next, true
	}
	l.mu.Unlock()
}

// count returns what is late of a group, where so many bytes more are about to be. It needs mu.
func (l *late) count(g *Group, bytes int) *lateGroup {
	of := l.groups[g.id]
	if of == nil {
		if l.groups == nil {
			l.groups = map[uint16]*lateGroup{}
		}
		of = &lateGroup{}
		l.groups[g.id] = of
	}
	of.g = g
	of.bytes += int64(bytes)
	g.late.Add(int64(bytes))
	l.size.Add(int64(bytes))
	return of
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
	if err := j.putLate(groupsMax); err != nil { // what somebody has begun
		return err
	}
	l.take()
	return j.putLate(groupsMax)
}

// settleOf is settle for who reads one group: what is late of others stays where it is, to come together with more. Where nothing is late of this one,
// as of a shard that has just begun, nobody is waited for.
func (j *Journal) settleOf(g *Group) error {
	l := &j.late
	if g.late.Load() == 0 {
		return nil
	}
	l.settling.Lock()
	defer l.settling.Unlock()
	if i, begun := slices.BinarySearch(l.left, g.id); begun {
		if err := j.putOne(g.id); err != nil {
			return err
		}
		l.left = slices.Delete(l.left, i, i+1)
	}
	l.takeOne(g.id)
	return j.putOne(g.id)
}

// settleSlowly is settle for whom nobody waits, and so watch's: it pauses between two groups, as long as not as much again is late. Some milliseconds
// of a processor in one piece, several times a second, are the tail of what customers wait: a machine of few processors has nobody else to read what
// they say meanwhile. What the log wants of watch does not wait for the pauses of many groups: it is done between.
func (j *Journal) settleSlowly() error {
	l := &j.late
	if l.size.Load() == 0 {
		return nil
	}
	for begun := false; ; begun = true {
		l.settling.Lock()
		if !begun && len(l.left) == 0 {
			l.take()
		}
		err := j.putLate(1)
		done := len(l.left) == 0
		l.settling.Unlock()
		switch {
		case err != nil || done: // perhaps by somebody who could not wait
			return err
		case j.log != nil && j.log.Hungry():
			j.check(j.spare())
		case l.size.Load() < 2*int64(j.cfg.LateBytes):
			time.Sleep(latePause)
		default:
			runtime.Gosched()
		}
	}
}

// take begins with what was added. It needs settling, and that nothing is left of what was begun.
func (l *late) take() {
	l.mu.Lock()
	l.begun, l.groups = l.groups, l.begun
	l.mu.Unlock()
	l.left = slices.AppendSeq(l.left[:0], maps.Keys(l.begun))
	slices.Sort(l.left)
}

// takeOne is take for one group. It needs settling, and that nothing is left of what was begun of it.
func (l *late) takeOne(group uint16) {
	if l.begun == nil {
		l.begun = map[uint16]*lateGroup{}
	}
	done := l.begun[group]
	l.mu.Lock()
	defer l.mu.Unlock()
	if of := l.groups[group]; of != nil {
		l.begun[group] = of
		if delete(l.groups, group); done != nil {
			l.groups[group] = done
		}
	}
}

// putLate puts what was begun into the store, up to so many groups of it. It needs settling.
func (j *Journal) putLate(most int) error {
	l := &j.late
	for ; most > 0 && len(l.left) > 0; most-- {
		if err := j.putOne(l.left[0]); err != nil {
			return err
		}
		l.left = l.left[1:]
	}
	return l.broken
}

// putOne puts what was begun of a group into the store, its turns all or nothing, with the index that they bring it to. It needs settling.
func (j *Journal) putOne(group uint16) error {
	l := &j.late
	if l.broken == nil {
		if l.broken = j.putBegun(group); l.broken != nil {
			j.fail(l.broken)
		}
	}
	return l.broken
}

func (j *Journal) putBegun(group uint16) error {
	of := j.late.begun[group]
	if of == nil {
		return nil
	}
	if !of.known { // gone, or never here
		if len(of.turns) > 0 { // never thrown away in silence
			return fmt.Errorf("%d late turns of group %d bring it nowhere", len(of.turns), group)
		}
		delete(j.late.begun, group)
		return nil
	}
	if err := j.late.order(group, of.turns); err != nil {
		return err
	}
	if err := j.putGroup(group, j.late.rows, of.at); err != nil {
		return err
	}
	clear(j.late.rows)
	clear(of.turns)
	if of.turns = of.turns[:0]; cap(of.turns) > lateKept {
		of.turns = nil
	}
	of.known = false
	of.g.late.Add(-of.bytes)
	j.late.size.Add(-of.bytes)
	of.bytes = 0
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

// order makes rows of a group's turns, brings them into the order of their keys, and leaves the last of each. When some remove a range, all stay as
// they came.
func (l *late) order(group uint16, turns [][]byte) error {
	l.rows = l.rows[:0]
	ranges := false
	for _, ops := range turns {
		for len(ops) > 0 {
			kind, key, val, rest, err := nextOp(ops)
			if err != nil {
				return fmt.Errorf("applying turns of group %d: %w", group, err)
			}
			ranges = ranges || kind == opDeleteRange
			l.rows = append(l.rows, lateRow{kind, int32(len(l.rows)), key, val}) //nolint:gosec // bounded by Config.LateBytes and a round
			ops = rest
		}
	}
	if ranges {
		return nil
	}
	slices.SortFunc(l.rows, func(a, b lateRow) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(b.n, a.n)
	})
	l.rows = slices.CompactFunc(l.rows, func(a, b lateRow) bool { return bytes.Equal(a.key, b.key) })
	return nil
}
