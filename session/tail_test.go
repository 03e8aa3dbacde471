package session

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"switchboard/wire"
)

// An entry that is a row by now is the one that was said, whatever is said behind it and however long it is.
func TestTailOfRows(t *testing.T) {
	id := wire.NewSessionID(0, 1, 1)
	var tl tail
	var said []*wire.Entry
	var first *wire.Entry
	for seq := uint64(1); seq <= 300; seq++ {
		e := &wire.Entry{
			Session: id, Seq: seq, Epoch: 3, TS: int64(1_700_000_000_000 + seq), From: wire.Author{Role: wire.RoleCustomer, ID: "alice", Name: "Alice"},
			Origin: wire.OriginCustomer, Kind: wire.KindMessage, Type: "text", Body: []byte(strings.Repeat("x", int(seq*37%900))),
			Visibility: wire.Public, Channel: "web", ReplyTo: seq % 3, Stream: strings.Repeat("s", int(seq%5)),
		}
		if len(e.Body) == 0 {
			e.Body = nil
		}
		said = append(said, e)
		tl.add(e)
		if seq == 40 {
			first = tl.at(id, 20)
		}
		if tl.at(id, seq-min(seq, 9)+1) == nil {
			t.Fatalf("entry %d is not in memory at %d", seq-min(seq, 9)+1, seq)
		}
	}
	list := tl.all(id, nil)
	if len(list) != TailEntries || !reflect.DeepEqual(list, said[len(said)-TailEntries:]) {
		t.Fatalf("%d entries, which are not the last that were said", len(list))
	}
	if !reflect.DeepEqual(first, said[19]) {
		t.Fatal("an entry has changed behind whoever was given it")
	}
	size := 0
	for seq := range uint64(310) {
		e := tl.at(id, seq)
		if in := seq > 300-TailEntries && seq <= 300; in != (e != nil) || in && !reflect.DeepEqual(e, said[seq-1]) {
			t.Fatalf("entry %d is %+v", seq, e)
		}
		if e != nil {
			size += entrySize(e)
		}
	}
	if size != int(tl.size) || len(tl.rows)-int(tl.from) > size {
		t.Fatalf("%d bytes are counted as %d, in %d of rows", size, tl.size, len(tl.rows)-int(tl.from))
	}
	if cap(tl.rows) > 4*size {
		t.Fatalf("rows of %d bytes take %d", size, cap(tl.rows))
	}
}

// The ring holds the last keys with their words, and not those of all that ever were.
func TestKeyRingWords(t *testing.T) {
	var r keyRing
	name := func(n uint64) string { return fmt.Sprintf("k%d%s", n, strings.Repeat("-", int(n%40))) }
	sender := func(n uint64) string { return strings.Repeat("bob", int(n%3)) }
	keyOf := func(n uint64) Key {
		k := Key{N: n, FP: n % 7, Hash: n, At: int64(n), Seq: 2 * n, Sender: sender(n), Key: name(n), Done: Done{Seq: 2 * n, Epoch: 1 << (n % 64), TS: int64(n)}}
		switch n % 4 {
		case 1: // it has a row of its own
			k.Seq = 0
		case 2: // and a version, and a time before all others
			k.Seq, k.Done = 0, Done{Seq: n, Epoch: 1, TS: -5, V: n << 40}
		}
		return k
	}
	for n := uint64(1); n <= 1000; n++ {
		k := keyOf(n)
		r.put(&k)
		for _, old := range []uint64{n, n - min(n-1, KeysInMemory/2), n - min(n-1, KeysInMemory-1)} {
			k := r.find(old%7, sender(old), name(old))
			if k == nil || *k != keyOf(old) {
				t.Fatalf("key %d is %+v behind %d", old, k, n)
			}
		}
		if n > KeysInMemory && r.find((n-KeysInMemory)%7, sender(n-KeysInMemory), name(n-KeysInMemory)) != nil {
			t.Fatalf("key %d is still there behind %d", n-KeysInMemory, n)
		}
		if at := r.latest(1); at != k.where() {
			t.Fatalf("the latest key is at %+v; want %+v", at, k.where())
		}
	}
	if len(r.All()) != KeysInMemory || len(r.names) > 3*KeysInMemory*50 {
		t.Fatalf("%d keys of %d bytes", len(r.All()), len(r.names))
	}
}

// A long word does not leave its room behind when it is forgotten.
func TestTailForgetsLongRows(t *testing.T) {
	var tl tail
	say := func(seq uint64, size int) {
		tl.add(&wire.Entry{Seq: seq, Body: []byte(strings.Repeat("x", size))})
	}
	for seq := uint64(1); seq <= 3; seq++ {
		say(seq, 14<<10)
	}
	most := cap(tl.rows)
	for seq := uint64(4); seq <= 100; seq++ {
		say(seq, 20)
	}
	if most < 14<<10 || cap(tl.rows) > 2*rowsKept {
		t.Fatalf("rows had room for %d bytes, and have for %d", most, cap(tl.rows))
	}
}
