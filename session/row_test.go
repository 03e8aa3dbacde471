package session

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"switchboard/wire"
)

// full is a state of which every field that a row holds is set.
func full() *State {
	return &State{
		ID: wire.NewSessionID(1, 2, 3), Tenant: "demo", Shop: "s1", Queue: "refunds", Customer: wire.Author{Role: wire.RoleCustomer, ID: "alice", Name: "Alice"},
		Tier: "gold", Channels: []string{"web", "app"}, Attributes: []byte(`{"a":1}`), Phase: Assigned, HumanOnly: true,
		Epochs: []EpochStart{{1, 1}, {4, 9}}, Head: 12, Public: 11, Said: 10, Ticket: 5, EnqueuedAt: -7, Requeued: true, Handed: true, Exclude: "bot",
		LastWorker: "bob", AE: 3, Owner: Owner{"bob/b", "bob", "Bob", wire.OriginHuman, "l_1", "o_1", wire.RoleOperator, 4, 8}, Past: []Past{{"bot", 4}, {"ann", 6}},
		Transfer: Transfer{5, "ann", "please", true}, Guests: []Guest{{GE: 7, Sub: "sue", Role: wire.RoleSupervisor, As: "barge", Conn: wire.Conn{Node: 1, ID: 2}, Worker: "sue/x"}}, AttributesV: 6, ContextV: 2, Context: []byte(`{"b":2}`), ClosedAt: math.MaxInt64, Pool: math.MaxUint64, KeyCount: 77, Resort: 4, Classified: true, Stumbles: 2, Followed: true, Invites: []Invite{{N: 3, Worker: "ann", As: "consult", By: "bob", Note: "please", Until: 99}},
		Cursor: 9, FailSeq: 10, Attempt: 2, HoldUntil: 5000, Delivered: 11, Read: 8, Holder: "alice2", OpenedAt: -9, ErasedAt: 3,
	}
}

func TestStateRow(t *testing.T) {
	s := full()
	v := reflect.ValueOf(*s)
	for i := range v.NumField() { // a field that is added belongs into the row, or into this list
		switch f := v.Type().Field(i); f.Name {
		case "Keys", "Attached", "tail", "old", "lists", "owner", "streams", "place", "boost", "boosts", "ahead", "question", "absent", "lonelyUntil", "WrapUps":
		default:
			if v.Field(i).IsZero() {
				t.Errorf("%s is not part of this test", f.Name)
			}
		}
	}
	row := AppendState(nil, s)
	var got State
	if err := ParseState(row, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(durable(s), durable(&got)) {
		t.Fatalf("the row holds another state:\n%+v\n%+v", durable(s), durable(&got))
	}
	for i := range row {
		if ParseState(row[:i], &State{}) == nil {
			t.Fatalf("%d of %d bytes are a state", i, len(row))
		}
	}
	if ParseState(append(row, 0), &State{}) == nil {
		t.Fatal("a byte too many is a state")
	}
	// As rows were written before, without the fields that each version has added at the end: zero, they are a byte each (a guest's worker goes with him).
	old, cut := *s, 0
	for _, x := range []struct {
		version byte
		fields  int
		clear   func()
	}{
		{8, 0, func() { old.ErasedAt = 0 }},
		{7, 1, func() { old.Followed = false }},
		{6, 1, func() { old.Stumbles = 0 }},
		{5, 2, func() { old.Invites, old.Guests = nil, slices.Clone(s.Guests); old.Guests[0].Worker = "" }},
		{4, 1, func() { old.Classified = false }},
		{3, 1, func() { old.Resort = 0 }},
		{2, 2, func() { old.Holder, old.OpenedAt = "", 0 }},
		{1, 3, func() { old.AttributesV, old.Guests, old.Owner.Role, old.Transfer.Force = 0, nil, "", false }},
	} {
		x.clear()
		cut += x.fields
		before := AppendState(nil, &old)
		before[0] = x.version
		got = State{}
		if err := ParseState(before[:len(before)-cut], &got); err != nil || !reflect.DeepEqual(durable(&old), durable(&got)) {
			t.Fatalf("a row of version %d: %v\n%+v", x.version, err, durable(&got))
		}
	}
	row[0]++
	if ParseState(row, &State{}) == nil {
		t.Fatal("a row of a newer version was read")
	}
}

func TestKeyRow(t *testing.T) {
	k := Key{N: 1, FP: 2, Hash: 3, At: -4, Sender: "alice", Key: "k1", Done: Done{Seq: 5, Epoch: 6, TS: 7, V: 8}}
	row := AppendKey(nil, &k)
	var got Key
	if err := ParseKey(row, &got); err != nil || got != k {
		t.Fatalf("got %+v, %v; want %+v", got, err, k)
	}
	for i := range row {
		if ParseKey(row[:i], &got) == nil {
			t.Fatalf("%d of %d bytes are a key", i, len(row))
		}
	}
	if ParseKey(append(row, 0), &got) == nil {
		t.Fatal("a byte too many is a key")
	}
}

func TestMarks(t *testing.T) {
	want := Marks{Public: 3, Said: 1 << 40, Cursor: 300, Keys: 7}
	e := &wire.Entry{Seq: 9, Epoch: 2, TS: 5, From: wire.Author{ID: "alice"}}
	for _, key := range []*Key{nil, {
		N: 7, FP: Fingerprint("alice", "k1"), Hash: 1 << 60, At: 5, Seq: 9, Sender: "alice", Key: "k1",
		Done: Done{Seq: 9, Epoch: 2, TS: 5},
	}} {
		row := append(AppendMarks(nil, want, key), "entry"...)
		got, ride, entry, err := CutMarks(row)
		if err != nil || got != want || string(entry) != "entry" {
			t.Fatalf("got %+v, %q, %v; want %+v", got, entry, err, want)
		}
		switch {
		case key == nil && ride.N != 0:
			t.Fatalf("a key %+v rides on an entry without", ride)
		case key != nil && ride.Known(e) != *key:
			t.Fatalf("the key is %+v; want %+v", ride.Known(e), *key)
		}
		for i := range len(row) - len("entry") {
			if _, _, _, err := CutMarks(row[:i]); err == nil {
				t.Fatalf("%d bytes are marks", i)
			}
		}
	}
}

// A state that is ahead of the last entry's marks is not taken back by them.
func TestCatchUp(t *testing.T) {
	f := func(s State, head uint64, m Marks, keys uint64, want string) {
		t.Helper()
		s.CatchUp(head, m, keys)
		if got := fmt.Sprint(s.Head, s.Public, s.Said, s.Cursor, s.FailSeq, s.KeyCount); got != want {
			t.Fatalf("caught up to %s; want %s", got, want)
		}
	}
	f(State{}, 0, Marks{}, 0, "0 0 0 0 0 0")
	f(State{Head: 5, Public: 4, Said: 3, Cursor: 3, KeyCount: 2}, 5, Marks{4, 3, 2, 2}, 0, "5 4 3 3 0 2")
	f(State{Head: 5, Public: 4, Said: 3, Cursor: 2, FailSeq: 3, Attempt: 1, KeyCount: 2}, 9, Marks{8, 7, 2, 0}, 4, "9 8 7 2 3 4")
	f(State{Head: 5, Public: 4, Said: 3, Cursor: 2, FailSeq: 3, Attempt: 1}, 9, Marks{8, 7, 7, 4}, 4, "9 8 7 7 0 4")
	f(State{Head: 5, Said: 3, Cursor: 4}, 6, Marks{6, 3, 2, 0}, 0, "6 6 3 4 0 0")
}

// A list's length is believed only as far as there are bytes: a short row cannot ask for much memory.
func TestRowMemory(t *testing.T) {
	huge := strings.Repeat("\xff", 9) + "\x01"
	row := "\x01" + strings.Repeat("\x00", 8) + huge // the channels
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if ParseState([]byte(row), &State{}) == nil || ParseCustomer([]byte("\x01\x00\x00\x00\x00"+huge), &Customer{}) == nil {
			t.Fatal("a list of 2^64 was read")
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Fatalf("%d bytes were allocated for rows of %d", n/100, len(row))
	}
}

// What runs after a session stands in the row that says that it is live, which is empty otherwise, as all of them were once.
func TestLiveRow(t *testing.T) {
	s := &State{WrapUps: []WrapUp{{"bob/b", "l_1", "refunds", 4, 3, 5000}, {"ann", "", "default", math.MaxUint64, 9, math.MaxInt64}}}
	row := AppendLive(nil, s)
	got := State{WrapUps: []WrapUp{{Worker: "old"}}}
	if err := ParseLive(row, &got); err != nil || !reflect.DeepEqual(got.WrapUps, s.WrapUps) {
		t.Fatalf("%+v is read as %+v, %v", s.WrapUps, got.WrapUps, err)
	}
	for i := range row[1:] {
		if ParseLive(row[:i+1], &State{}) == nil {
			t.Fatalf("%d of %d bytes are wrap-ups", i+1, len(row))
		}
	}
	if ParseLive(append(row, 0), &State{}) == nil {
		t.Fatal("a byte too many is a wrap-up")
	}
	if row[0]++; ParseLive(row, &State{}) == nil {
		t.Fatal("a row of a newer version was read")
	}
	if row = AppendLive(nil, &State{}); len(row) > 0 || ParseLive(row, &got) != nil || got.WrapUps != nil {
		t.Fatalf("none is written as %x, and read as %+v", row, got.WrapUps)
	}
}

// A session keeps the latest of very many wrap-ups.
func TestWrapUpsAreBounded(t *testing.T) {
	s := &State{Channels: []string{"web"}}
	for i := range uint64(maxWrapUps + 3) {
		s.Apply(&Fact{Kind: WrapUpBegan, Owner: &Owner{Worker: "bob"}, N: i + 1, At: 1000})
	}
	list := s.AppendWrapUps(nil, 0)
	if len(list) != maxWrapUps || list[0].AE != 4 || len(s.AppendWrapUps(nil, 1000)) > 0 {
		t.Fatalf("of %d wrap-ups %d are kept, the first under ae %d", maxWrapUps+3, len(list), list[0].AE)
	}
	if list = s.AppendWrapUps(nil, 1000-2*longestWrapUp); list[0].LeftMS != longestWrapUp { // the clock of the next machine is behind
		t.Fatalf("%d ms are left of the first, longer than any", list[0].LeftMS)
	}
}

func FuzzParseLive(f *testing.F) {
	f.Add(AppendLive(nil, &State{WrapUps: []WrapUp{{"bob/b", "l_1", "refunds", 4, 3, 5000}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again State
		if ParseLive(b, &s) != nil {
			return
		}
		if err := ParseLive(AppendLive(nil, &s), &again); err != nil || !reflect.DeepEqual(s, again) {
			t.Fatalf("wrap-ups changed on their way: %v\n%+v\n%+v", err, s.WrapUps, again.WrapUps)
		}
	})
}

func FuzzParseState(f *testing.F) {
	f.Add(AppendState(nil, full()))
	f.Add(AppendState(nil, &State{Channels: []string{""}, Epochs: []EpochStart{{1, 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s State
		if ParseState(b, &s) != nil {
			return
		}
		// What was read is a state: it can be written, asked and woken.
		var again State
		if err := ParseState(AppendState(nil, &s), &again); err != nil || !reflect.DeepEqual(durable(&s), durable(&again)) {
			t.Fatalf("the state changed on its way: %v\n%+v\n%+v", err, durable(&s), durable(&again))
		}
		_ = s.Phase.String()
		_, _, _ = s.Again(), s.AppendCensus(nil), s.Alarm(0)
		var d Decision
		s.Wake(&Env{Policy: policy}, &d)
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(AppendKey(nil, &Key{N: 1, Sender: "alice", Key: "k"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var k, again Key
		if ParseKey(b, &k) != nil {
			return
		}
		if err := ParseKey(AppendKey(nil, &k), &again); err != nil || k != again {
			t.Fatalf("the key changed on its way: %v", err)
		}
	})
}

func FuzzParseKeyList(f *testing.F) {
	row := func(lines []KeyAt) []byte { // as a state writes it that has these keys and no list yet
		var s State
		for i, l := range lines {
			s.remember(&Key{N: uint64(i) + 1, FP: l.FP, At: l.At, Seq: l.Seq})
		}
		return s.AppendKeyList(nil)
	}
	f.Add(row([]KeyAt{{5, 1_800_000_000_000, 3}, {1 << 63, -1, 0}}))
	f.Add(make([]byte, keyAtSize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, err := ParseKeyList(b, nil)
		if (err != nil) != (len(b)%keyAtSize != 0) || len(lines) > len(b)/keyAtSize {
			t.Fatalf("%d bytes are %d lines, %v", len(b), len(lines), err)
		}
		if lines = lines[:min(len(lines), KeysInMemory)]; err == nil && !bytes.Equal(row(lines), b[:len(lines)*keyAtSize]) {
			t.Fatalf("%v is written as %x", lines, row(lines))
		}
	})
}

func FuzzParseCustomer(f *testing.F) {
	f.Add(AppendCustomer(nil, &Customer{Tenant: "demo", ID: "alice", Shops: []Latest{{"s1", "s_1"}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again Customer
		if ParseCustomer(b, &c) != nil {
			return
		}
		if err := ParseCustomer(AppendCustomer(nil, &c), &again); err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("the customer changed on its way: %v", err)
		}
	})
}

func FuzzParseIdentity(f *testing.F) {
	f.Add(AppendIdentity(nil, &Identity{"demo", "wechat", "wx_1", "alice"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var i, again Identity
		if ParseIdentity(b, &i) != nil {
			return
		}
		if err := ParseIdentity(AppendIdentity(nil, &i), &again); err != nil || i != again {
			t.Fatalf("the identity changed on its way: %v", err)
		}
	})
}

// Patches come from bots: whatever they hold, the result is a document that can be patched again.
func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":{"b":null,"c":[1,2.50]}}`))
	f.Add([]byte(``), []byte(`null`))
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		out, err := merge(doc, patch)
		if err != nil {
			return
		}
		if strings.ContainsAny(string(out), "\r\n") {
			t.Fatalf("a raw line feed in %q", out)
		}
		if again, err := merge(out, []byte(`{}`)); err != nil || out[0] == '{' && string(again) != string(out) {
			t.Fatalf("an empty patch made %q of %q: %v", again, out, err)
		}
	})
}

// FuzzCutMarks reads anything as the row of an entry. What is read is the same when it is written again.
func FuzzCutMarks(f *testing.F) {
	f.Add(AppendMarks(nil, Marks{Public: 1, Said: 2, Cursor: 3, Keys: 1 << 60}, nil))
	f.Add(append(AppendMarks(nil, Marks{}, &Key{N: 7, Hash: 9, Key: "k"}), "entry"...))
	f.Add([]byte{1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ride, entry, err := CutMarks(b)
		if err != nil {
			if !errors.Is(err, ErrRow) {
				t.Fatal(err)
			}
			return
		}
		var k *Key
		if ride.N != 0 {
			k = &Key{N: ride.N, Hash: ride.Hash, Key: string(ride.Key)}
		}
		m2, ride2, entry2, err := CutMarks(append(AppendMarks([]byte("x"), m, k), entry...)[1:])
		if err != nil || m2 != m || ride2.N != ride.N || ride2.Hash != ride.Hash || !bytes.Equal(ride2.Key, ride.Key) || !bytes.Equal(entry2, entry) {
			t.Fatalf("it was %+v %+v %q and is %+v %+v %q, %v", m, ride, entry, m2, ride2, entry2, err)
		}
	})
}
