package session

import (
	"strconv"
	"strings"
	"testing"

	"switchboard/wire"
)

func entries(first, last uint64) (list []*wire.Entry) {
	for seq := first; seq <= last; seq++ {
		list = append(list, &wire.Entry{Seq: seq, Body: []byte(`1`)})
	}
	return list
}

// Whatever rows a state is given, it never takes one entry for another.
func TestRememberTail(t *testing.T) {
	f := func(head uint64, tail []*wire.Entry, want int) {
		t.Helper()
		s := &State{Head: head}
		s.Remember(tail, nil, nil, 0)
		if len(s.Tail()) != want {
			t.Fatalf("%d entries in memory; want %d", len(s.Tail()), want)
		}
		for seq := range head + 3 {
			if e := s.at(seq); e != nil && e.Seq != seq {
				t.Fatalf("entry %d stands for %d", e.Seq, seq)
			}
		}
	}
	f(5, entries(1, 5), 5)
	f(5, entries(3, 5), 3)
	f(5, entries(1, 4), 0)                                 // it does not reach the head
	f(9, append(entries(1, 4), entries(6, 9)...), 4)       // a hole
	f(100, entries(1, 100), TailEntries)                   // more than there is room for
	f(9, append(entries(1, 3), nil...), 0)                 // far behind
	f(4, append(entries(1, 2), entries(4, 4)...), 1)       // a hole before the last
	f(0, nil, 0)                                           // nothing
	f(7, append(entries(2, 3), entries(5, 7)...)[1:], 3+0) // a hole behind the first
}

// The tail is bounded in bytes too, but for its last entry.
func TestTailBytes(t *testing.T) {
	s := &State{}
	for seq := uint64(1); seq <= 9; seq++ {
		s.tail.add(&wire.Entry{Seq: seq, Body: []byte(strings.Repeat("x", 20<<10))})
	}
	if list := s.Tail(); len(list) != 2 || list[1].Seq != 9 {
		t.Fatalf("%d entries of 20 KiB in memory", len(list))
	}
	s.tail.add(&wire.Entry{Seq: 10, Body: []byte(strings.Repeat("x", TailBytes))})
	if list := s.Tail(); len(list) != 1 || int(s.tail.size) != entrySize(list[0]) {
		t.Fatalf("%d entries, %d bytes", len(list), s.tail.size)
	}
}

// Fingerprints of old keys are bounded; beyond that every unknown key is looked up.
func TestOldKeys(t *testing.T) {
	var o oldKeys
	for i := range uint64(maxOld) {
		o.put(KeyAt{FP: i, Seq: i + 1})
	}
	f := func(fp, seq uint64, wide, ok bool) {
		t.Helper()
		if gotSeq, gotWide, got := o.may(fp); gotSeq != seq || gotWide != wide || got != ok {
			t.Fatalf("key %d: entry %d, wide %v, %v", fp, gotSeq, gotWide, got)
		}
	}
	f(maxOld, 0, false, false)
	f(7, 8, false, true)
	o.put(KeyAt{FP: maxOld, Seq: 1})
	if o.n != maxOld {
		t.Fatalf("%d fingerprints in memory", o.n)
	}
	f(7, 8, false, true)
	f(maxOld, 0, true, true)
	f(maxOld+1, 0, true, true)
}

// A list names the keys since the one before; it is due after so many keys, so many entries, or at once when a key rides
// nowhere.
func TestKeyList(t *testing.T) {
	s := &State{}
	key := func(rides bool) {
		s.Head++
		k := &Key{N: s.KeyCount + 1, FP: 100 + s.KeyCount, At: int64(s.Head)}
		if rides {
			k.Seq = s.Head
		}
		s.remember(k)
	}
	list := func(first, n int) {
		t.Helper()
		if !s.ListDue() {
			t.Fatal("no list is due")
		}
		lines, err := ParseKeyList(s.AppendKeyList(nil), nil)
		if err != nil || len(lines) != n {
			t.Fatalf("%d lines, %v; want %d", len(lines), err, n)
		}
		for i, l := range lines {
			if l.FP != uint64(100+first+i) || l.At == 0 {
				t.Fatalf("line %d is %+v", i, l)
			}
		}
		if s.ListDue() {
			t.Fatal("a list is due although everything is listed")
		}
	}
	quiet := func() {
		t.Helper()
		if s.ListDue() {
			t.Fatalf("a list is due after %d keys and %d entries", s.KeyCount, s.Head)
		}
	}
	quiet()
	for range listKeys - 1 {
		key(true)
		quiet()
	}
	key(true)
	list(0, listKeys)
	key(false)
	list(listKeys, 1)
	s.Head += 10 * listSpan
	key(true)
	quiet()
	s.Head += listSpan - 1
	quiet()
	s.Head++
	list(listKeys+1, 1)
	for range 3 * listKeys { // around the ring
		if key(true); s.ListDue() {
			list(int(s.KeyCount)-listKeys, listKeys)
		}
	}
	if _, err := ParseKeyList(make([]byte, keyAtSize+1), nil); err == nil {
		t.Fatal("a list with half a line was read")
	}
}

// Two keys with one fingerprint are told apart by their names.
func TestKeyRingCollision(t *testing.T) {
	var r keyRing
	r.put(&Key{FP: 7, Sender: "alice", Key: "a", Done: Done{Seq: 1}})
	r.put(&Key{FP: 7, Sender: "alice", Key: "b", Done: Done{Seq: 2}})
	r.put(&Key{FP: 7, Sender: "bob", Key: "a", Done: Done{Seq: 3}})
	f := func(sender, key string, want uint64) {
		t.Helper()
		got := uint64(0)
		if k := r.find(7, sender, key); k != nil {
			got = k.Done.Seq
		}
		if got != want {
			t.Fatalf("%s/%s came to %d; want %d", sender, key, got, want)
		}
	}
	f("alice", "a", 1)
	f("alice", "b", 2)
	f("bob", "a", 3)
	f("bob", "b", 0)
}

// A payload is what a request says, wherever it stands; no two that differ are alike because their parts touch.
func TestPayloadHash(t *testing.T) {
	seen := map[uint64]string{}
	f := func(c wire.Command) {
		t.Helper()
		name := strconv.Itoa(len(seen))
		h := payloadHash(&c)
		if other, ok := seen[h]; ok || h == 0 {
			t.Fatalf("%s has the hash of %s", name, other)
		}
		seen[h] = name
	}
	f(wire.Command{Verb: wire.VerbSend})
	f(wire.Command{Verb: wire.VerbReply})
	f(wire.Command{Verb: wire.VerbSend, Type: "a"})
	f(wire.Command{Verb: wire.VerbSend, Body: []byte("a")})
	f(wire.Command{Verb: wire.VerbSend, Type: "ab", Body: []byte("c")})
	f(wire.Command{Verb: wire.VerbSend, Type: "a", Body: []byte("bc")})
	f(wire.Command{Verb: wire.VerbSend, Body: []byte("a"), Visibility: "b"})
	f(wire.Command{Verb: wire.VerbSend, Body: []byte("ab")})
	f(wire.Command{Verb: wire.VerbSend, ReplyTo: 1})
	f(wire.Command{Verb: wire.VerbReply, Ack: wire.Some(0)})
	f(wire.Command{Verb: wire.VerbReply, Ack: wire.Some(1)})
	f(wire.Command{Verb: wire.VerbReply, Upto: wire.Some(0)})
	f(wire.Command{Verb: wire.VerbReply, Stream: "m1"})
	f(wire.Command{Verb: wire.VerbNack, Seq: 1})
	f(wire.Command{Verb: wire.VerbNack, DelayMS: 1})
	a, b := wire.Command{Verb: wire.VerbReply, AE: 1}, wire.Command{Verb: wire.VerbReply, AE: 2}
	if payloadHash(&a) != payloadHash(&b) {
		t.Fatal("the ae is a fence, not a part of the payload")
	}
}

// What an owner on another connection may have been shown may be given back, as far as it can be the customer's: of entries that are not in
// memory nobody knows whose they are, and what follows the last that was delivered was passed over, and not shown.
func TestOwedAfterBindingAgain(t *testing.T) {
	s := &State{Head: 67}
	s.owner = delivery{window: 1, sent: 5, unacked: []uint64{2}} // the window is full; 3 to 5 are others'
	s.bindAgain(botConn, 1)
	for seq, want := range map[uint64]bool{1: true, 2: true, 3: false, 4: false, 6: false} {
		if s.owed(seq) != want {
			t.Errorf("entry %d may be given back: %v", seq, !want)
		}
		if may := s.delivered(seq); may != (seq <= 5) {
			t.Errorf("entry %d may be acknowledged: %v", seq, may)
		}
	}
}
