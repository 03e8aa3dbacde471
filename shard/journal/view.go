package journal

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

// View is a group's rows at one moment, for who reads many of them: what a read costs besides the row, most of all the way down to it through every table,
// is paid once. It belongs to one goroutine.
type View struct {
	g       *Group
	it      *pebble.Iterator
	key, to []byte // of the data store, of the read that is going on
}

// View calls fn with the group's rows as they are when it begins: it sees everything up to Applied, and nothing that comes while fn runs. While fn runs
// Close waits, and the store keeps what it would drop. It returns fn's error.
func (g *Group) View(fn func(*View) error) error {
	j := g.j
	if err := g.readable(); err != nil {
		return err
	}
	if !j.reads.TryRLock() {
		return ErrClosed
	}
	defer j.reads.RUnlock()
	if err := j.settleOf(g); err != nil {
		return err
	}
	lower, upper := g.bounds(nil, nil)
	it, err := j.data.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return storeError("looking at rows", err)
	}
	err = fn(&View{g: g, it: it})
	if bad := it.Close(); err == nil { // what was wrong with a row was said with that row
		err = storeError("looking at rows", bad)
	}
	return err
}

// Get is Group.Get.
func (v *View) Get(key, buf []byte) ([]byte, error) {
	if err := v.g.readable(); err != nil {
		return nil, err
	}
	v.key = dataKey(v.key[:0], v.g.id, tagRow, key)
	v.to = append(append(v.to[:0], v.key...), 0) // or it would look behind everything that is deleted there
	if v.it.SeekGEWithLimit(v.key, v.to) != pebble.IterValid || !bytes.Equal(v.it.Key(), v.key) {
		if err := v.it.Error(); err != nil {
			return nil, storeError("reading a row", err)
		}
		return nil, ErrNotFound
	}
	val, err := v.it.ValueAndErr()
	if err != nil {
		return nil, storeError("reading a row", err)
	}
	return append(buf, val...), nil
}

// Scan is Group.Scan. fn must not read from v.
func (v *View) Scan(from, to []byte, reverse bool, fn func(key, val []byte) bool) error {
	if err := v.g.readable(); err != nil {
		return err
	}
	v.key = dataKey(v.key[:0], v.g.id, tagRow, from)
	v.to = dataKey(v.to[:0], v.g.id, tagRow, to)
	if len(to) == 0 {
		v.to = dataKey(v.to[:0], v.g.id, tagEnd, nil)
	}
	var state pebble.IterValidityState
	if reverse {
		state = v.it.SeekLTWithLimit(v.to, v.key)
	} else {
		state = v.it.SeekGEWithLimit(v.key, v.to)
	}
	for state == pebble.IterValid {
		key := v.it.Key()
		if bytes.Compare(key, v.key) < 0 || bytes.Compare(key, v.to) >= 0 { // a limit is no promise
			break
		}
		val, err := v.it.ValueAndErr()
		if err != nil {
			return storeError("scanning rows", err)
		}
		if !fn(key[3:], val) {
			break
		}
		if reverse {
			state = v.it.PrevWithLimit(v.key)
		} else {
			state = v.it.NextWithLimit(v.to)
		}
	}
	return storeError("scanning rows", v.it.Error())
}
