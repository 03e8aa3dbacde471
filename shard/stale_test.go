package shard

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"switchboard/session"
	"switchboard/shard/journal"
	"switchboard/wire"
)

// A key whose row is due to be forgotten may be used again before that is done, as when the disk is full: the row is then the new
// one's, and stays. A list that names a row which is not there would make its session unreadable.
func TestForgottenKeyIsUsedAgain(t *testing.T) {
	j, err := journal.Open(journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	g := j.Group(0)
	committed := make(chan error, 1)
	g.Start(func(_ uint64, err error) { committed <- err })
	id := wire.NewSessionID(0, 1, 1)
	now := time.Now()
	old := now.Add(-25 * time.Hour).UnixMilli()
	const again, forgotten = 7, 8
	list := func(keys ...*session.Key) []byte {
		st := &session.State{}
		for _, k := range keys {
			st.Apply(&session.Fact{Kind: session.Known, Key: k})
		}
		return st.AppendKeyList(nil)
	}
	var turn journal.Turn
	first := list(&session.Key{N: 1, FP: again, At: old}, &session.Key{N: 2, FP: forgotten, At: old})
	turn.Put(numberedKey(nil, rowKeyList, id, 2), first)
	turn.Put(numberedKey(nil, rowKeyList, id, 2000), list(&session.Key{N: 1, FP: again, At: now.UnixMilli()}))
	for _, fp := range []uint64{again, forgotten} {
		turn.Put(numberedKey(nil, rowKey, id, fp), session.AppendKey(nil, &session.Key{N: 1, FP: fp}))
	}
	if _, err := g.Append(&turn); err != nil {
		t.Fatal(err)
	}
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	s := &Shard{g: g, cfg: Config{Now: func() time.Time { return now }}}
	l, err := s.keyLists(g, id)
	if err != nil {
		t.Fatal(err)
	}
	stale := func(row []byte) bool {
		return slices.ContainsFunc(l.stale, func(k []byte) bool { return bytes.Equal(k, row) })
	}
	if !stale(numberedKey(nil, rowKeyList, id, 2)) || !stale(numberedKey(nil, rowKey, id, forgotten)) {
		t.Fatalf("what is old is not forgotten: %q", l.stale)
	}
	if stale(numberedKey(nil, rowKey, id, again)) {
		t.Fatal("the row of a key that was used again is forgotten")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
