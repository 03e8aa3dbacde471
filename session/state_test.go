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
		s.Remember(tail, nil, nil)
		if len(s.Tail) != want {
			t.Fatalf("%d entries in memory; want %d", len(s.Tail), want)
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
		s.keep(&wire.Entry{Seq: seq, Body: []byte(strings.Repeat("x", 20<<10))})
	}
	if len(s.Tail) != 2 || s.Tail[1].Seq != 9 {
		t.Fatalf("%d entries of 20 KiB in memory", len(s.Tail))
	}
	s.keep(&wire.Entry{Seq: 10, Body: []byte(strings.Repeat("x", TailBytes))})
	if len(s.Tail) != 1 || s.tailSize != entrySize(s.Tail[0]) {
		t.Fatalf("%d entries, %d bytes", len(s.Tail), s.tailSize)
	}
}

// Fingerprints of old keys are bounded; beyond that every unknown key is looked up.
func TestOldKeys(t *testing.T) {
	var o oldKeys
	for i := range uint64(maxOld) {
		o.put(i)
	}
	if o.may(maxOld) || !o.may(7) {
		t.Fatal("what was never put may be there")
	}
	o.put(maxOld)
	if len(o.fps) != maxOld || !o.may(maxOld) || !o.may(maxOld+1) {
		t.Fatal("what did not fit is forgotten")
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
