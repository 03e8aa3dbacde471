package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// ErrThawed says that rows which were frozen are there no more: the replica was taken off, took a snapshot of its leader's, or the
// Frozen was closed. Freeze again.
var ErrThawed = errors.New("journal: what was frozen is gone")

// Frozen is the rows of groups as they were at one moment. Owners go on; what they write does not show. It holds on to disk space until
// it is closed. Its methods may be called from any goroutine.
type Frozen struct {
	// Fixed.
	j  *Journal
	at map[uint16]applied

	use sync.RWMutex // held shared by pages, and after Journal.reads
	// Guarded by use.
	shot *pebble.Snapshot // nil when it is closed
}

// Mark is what a group's rows are as of.
type Mark struct {
	Group int    `json:"group"`
	Turn  uint64 `json:"turn"`  // the last that is in
	Epoch uint64 `json:"epoch"` // how often it was begun anew
	Term  uint64 `json:"term"`  // of the leader who wrote last
	Index uint64 `json:"index"` // in the log
}

// Freeze keeps the rows of groups as they are now. It blocks nobody. What was told to be durable before the call is in, if this node leads
// the group: see [Journal.Confirm]. Errors: ErrNotFound for a group that is not here, ErrReadOnly for one that has lost data, ErrClosed.
func (j *Journal) Freeze(groups ...int) (*Frozen, error) {
	for _, id := range groups {
		g := j.Group(id)
		if g == nil {
			return nil, fmt.Errorf("freezing group %d: %w", id, ErrNotFound)
		}
		if s := g.State(); s.Mode != OK {
			return nil, fmt.Errorf("freezing group %d: %w", id, s.err())
		}
	}
	if !j.reads.TryRLock() {
		return nil, ErrClosed
	}
	defer j.reads.RUnlock()
	if err := j.settle(); err != nil {
		return nil, err
	}
	f := &Frozen{j: j, shot: j.data.NewSnapshot(), at: map[uint16]applied{}}
	j.mu.Lock()
	if j.frozen == nil {
		j.frozen = map[*Frozen]struct{}{}
	}
	j.frozen[f] = struct{}{}
	j.mu.Unlock()
	for _, id := range groups {
		at, err := f.applied(uint16(id)) //nolint:gosec // it is there
		if err != nil {
			return nil, errors.Join(fmt.Errorf("freezing group %d: %w", id, err), f.close())
		}
		f.at[uint16(id)] = at //nolint:gosec // it is there
	}
	return f, nil
}

// applied reads how far a group is. It needs reads, and use when others know of f.
func (f *Frozen) applied(group uint16) (at applied, err error) {
	key := dataKey(nil, group, tagApplied, nil)
	v, done, err := f.shot.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return at, ErrThawed
	}
	if err != nil {
		return at, storeError("reading the applied index", err)
	}
	at, err = readApplied(key, v)
	return at, errors.Join(err, storeError("reading the applied index", done.Close()))
}

// Mark tells what the rows of a group are as of; ok is false when it was not frozen.
func (f *Frozen) Mark(group int) (m Mark, ok bool) {
	at, ok := f.at[uint16(group)] //nolint:gosec // a number that is too large was not frozen under any
	ok = ok && group >= 0 && group < groupsMax
	return Mark{Group: group, Turn: at.turn, Epoch: at.epoch, Term: at.term, Index: at.index}, ok
}

// Page appends the rows of a group behind the key after (nil: from the first on) to dst, until they have more than most bytes, as
//
//	( size of key uvarint | size of value uvarint | key | value )…
//
// and returns the key of the last, which is nil when there are no more. Errors: ErrThawed, ErrDamaged, ErrClosed.
func (f *Frozen) Page(group int, after []byte, most int, dst []byte) (rows, last []byte, err error) {
	if _, ok := f.Mark(group); !ok {
		return dst, nil, fmt.Errorf("group %d was not frozen: %w", group, ErrNotFound)
	}
	if !f.j.reads.TryRLock() {
		return dst, nil, ErrClosed
	}
	defer f.j.reads.RUnlock()
	f.use.RLock()
	defer f.use.RUnlock()
	if f.shot == nil {
		return dst, nil, ErrThawed
	}
	id := uint16(group) //nolint:gosec // checked by Mark
	lower, upper := (&Group{id: id}).bounds(after, nil)
	it, err := f.shot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return dst, nil, storeError("reading rows", err)
	}
	start := len(dst)
	ok := it.First()
	if ok && len(after) > 0 && bytes.Equal(it.Key()[3:], after) {
		ok = it.Next()
	}
	for ; ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			break // Close says it again
		}
		key := it.Key()[3:]
		dst = AppendRow(dst, key, v)
		if len(dst)-start >= most {
			last = bytes.Clone(key)
			break
		}
	}
	if err := it.Close(); err != nil {
		return dst[:start], nil, storeError("reading rows", err)
	}
	// Rows that are excised are gone from snapshots, too, but for iterators that are open. All of a group goes at once; so what was read is
	// whole when this row is still there.
	at, err := f.applied(id)
	if err == nil && at != f.at[id] {
		err = ErrThawed
	}
	if err != nil {
		return dst[:start], nil, err
	}
	return dst, last, nil
}

// Close lets go of the rows. Once the journal is closed, or called again, it does nothing. It waits for pages that are being read.
func (f *Frozen) Close() error {
	if !f.j.reads.TryRLock() {
		return nil // the journal closes, and lets go of all
	}
	defer f.j.reads.RUnlock()
	return f.close()
}

// close needs reads.
func (f *Frozen) close() error {
	f.j.mu.Lock()
	delete(f.j.frozen, f)
	f.j.mu.Unlock()
	f.use.Lock()
	defer f.use.Unlock()
	if f.shot == nil {
		return nil
	}
	shot := f.shot
	f.shot = nil
	return storeError("letting go of what was frozen", shot.Close())
}

// thaw closes all that is frozen, when nothing reads any more.
func (j *Journal) thaw() error {
	var errs []error
	j.mu.Lock()
	all := slices.Collect(maps.Keys(j.frozen))
	j.mu.Unlock()
	for _, f := range all {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// AppendRow appends one row as Page does.
func AppendRow(dst, key, val []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(len(val)))
	dst = append(dst, key...)
	return append(dst, val...)
}

// NextRow splits the first row off what Page returned. The slices point into rows. Error: ErrDamaged.
func NextRow(rows []byte) (key, val, rest []byte, err error) {
	nk, a := binary.Uvarint(rows)
	if a <= 0 {
		return nil, nil, nil, fmt.Errorf("a row is cut short: %w", ErrDamaged)
	}
	nv, b := binary.Uvarint(rows[a:])
	rest = rows[a+max(b, 0):]
	if b <= 0 || nk == 0 || nk > keySizeMax || nv > turnSizeMax || nk+nv > uint64(len(rest)) {
		return nil, nil, nil, fmt.Errorf("a row is cut short: %w", ErrDamaged)
	}
	return rest[:nk], rest[nk : nk+nv], rest[nk+nv:], nil
}
