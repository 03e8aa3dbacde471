package shard

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"switchboard/broker"
	"switchboard/broker/level"
	"switchboard/session"
	"switchboard/wire"
)

// Rows come from a disk, and from another shard when slots move. Whatever they hold, reading one does not panic and takes no more memory than there
// are bytes; and what is read is written as a row that reads the same.

func FuzzParseHook(f *testing.F) {
	f.Add(appendHook(nil, &hookRow{tenant: "demo", name: "crm", attempt: 1, at: 1_800_000_000_000, call: "s_1/7", body: []byte(`{"action":"handoff"}`)}))
	f.Add(appendHook(nil, &hookRow{attempt: 1 << 20, at: -1}))
	f.Add([]byte{hookVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseHook(b)
		if !ok {
			return
		}
		if again, ok := parseHook(appendHook([]byte("x"), &r)[1:]); !ok || !reflect.DeepEqual(r, again) {
			t.Fatalf("the call was\n%+v\nand is\n%+v", r, again)
		}
		if len(r.tenant)+len(r.name)+len(r.call)+len(r.body) > len(b) {
			t.Fatalf("%d bytes are a call of more: %+v", len(b), r)
		}
	})
}

func FuzzParseWhither(f *testing.F) {
	f.Add(appendWhither(nil, whither{shape: 3, to: 17}))
	f.Add(appendWhither(nil, whither{shape: 1 << 60, to: 1<<16 - 1, clean: true}))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		w := parseWhither(b)
		if again := parseWhither(appendWhither([]byte("x"), w)[1:]); again != w {
			t.Fatalf("it was %+v and is %+v", w, again)
		}
		if w.to < 0 || w.to > 1<<16-1 {
			t.Fatalf("it has gone to shard %d", w.to)
		}
	})
}

// FuzzParseStanding reads anything as what a shard has noted of itself, and as the key of a slot that has left.
func FuzzParseStanding(f *testing.F) {
	f.Add(appendStanding(nil, standing{3, 1 << 60, 2}))
	f.Add(appendStanding(nil, standing{}))
	f.Add(awayKey(wire.Slots - 1))
	f.Add([]byte{rowAway, 0xff, 0xff})
	f.Add([]byte{rowAway})
	f.Add([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if st, err := parseStanding(b); err == nil {
			if again, err := parseStanding(appendStanding([]byte("x"), st)[1:]); err != nil || again != st {
				t.Fatalf("it was %+v and is %+v, %v", st, again, err)
			}
		} else if !errors.Is(err, session.ErrRow) || st != (standing{}) {
			t.Fatalf("%+v, %v", st, err)
		}
		if slot, ok := parseAway(b); ok && (slot < 0 || slot >= wire.Slots || !bytes.Equal(awayKey(slot)[1:], b[1:])) {
			t.Fatalf("%x is slot %d", b, slot)
		}
	})
}

// FuzzParseFloor reads anything as the place from which a feed can be told.
func FuzzParseFloor(f *testing.F) {
	f.Add(appendFloor(nil, 1<<63, 7))
	f.Add(appendFloor(nil, 0, 0))
	f.Add([]byte{7})
	f.Fuzz(func(t *testing.T, b []byte) {
		floor, of, err := parseFloor(b)
		if err != nil {
			if !errors.Is(err, session.ErrRow) || floor != 0 || of != 0 {
				t.Fatalf("%d, %d, %v", floor, of, err)
			}
			return
		}
		if a, b, err := parseFloor(appendFloor([]byte("x"), floor, of)[1:]); err != nil || a != floor || b != of {
			t.Fatalf("it was %d of %d and is %d of %d, %v", floor, of, a, b, err)
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	add := func(tenant string, d *Document) {
		f.Add(documentKey(nil, tenant, d.Version)[1:], appendDocument(nil, d))
	}
	add("demo", &Document{Version: 3, At: 1_800_000_000_000, By: "ann", Role: wire.RoleOperator, Text: []byte("version: 1\nqueues: [{name: default}]\n")})
	add("", &Document{By: "a\nb\xff"})
	f.Fuzz(func(t *testing.T, key, row []byte) {
		key = append([]byte{rowDocument}, key...) // by it the row was found
		tenant, d, err := parseDocument(key, row)
		if err != nil {
			return
		}
		k := documentKey(nil, tenant, d.Version)
		if !bytes.Equal(k, key) {
			t.Fatalf("it is found under %x and would be kept under %x", key, k)
		}
		name, again, err := parseDocument(k, appendDocument(nil, &d))
		if err != nil || name != tenant || !reflect.DeepEqual(d, again) {
			t.Fatalf("the document of %q was\n%+v\nand of %q is\n%+v, %v", tenant, d, name, again, err)
		}
	})
}

// An entry's row has marks in front, and a key if one rides on it.
func FuzzParseEntry(f *testing.F) {
	const id = wire.SessionID("s_00c1k0v7x2m9q4ab")
	e := &wire.Entry{
		Session: id, Seq: 9, Epoch: 2, TS: 5, From: wire.Author{Role: wire.RoleCustomer, ID: "alice"}, Origin: wire.OriginHuman, Kind: wire.KindMessage, Type: "text",
		Body: []byte(`{"text":"hello"}`), Visibility: "public",
	}
	marks := session.Marks{Public: 3, Said: 1 << 40, Cursor: 300, Keys: 7}
	f.Add(wire.AppendEntry(session.AppendMarks(nil, marks, nil), e))
	f.Add(wire.AppendEntry(session.AppendMarks(nil, marks, &session.Key{N: 7, Hash: 1 << 60, Sender: "alice", Key: "k1"}), e))
	f.Fuzz(func(t *testing.T, b []byte) {
		marks, ride, e, err := parseEntry(id, b)
		if err != nil {
			return
		}
		var key *session.Key
		if ride.N != 0 {
			k := ride.Known(e)
			key = &k
		}
		m, r, again, err := parseEntry(id, wire.AppendEntry(session.AppendMarks(nil, marks, key), e))
		if err != nil || m != marks || !reflect.DeepEqual(r, ride) || !reflect.DeepEqual(again, e) {
			t.Fatalf("it was\n%+v %+v %+v\nand is\n%+v %+v %+v, %v", marks, ride, e, m, r, again, err)
		}
	})
}

// Why somebody has a session comes with a grant, from another shard.
func FuzzCutWhy(f *testing.F) {
	f.Add([]byte("\x08\x80\xd0\xac\xf3\x8f\x69record"))
	f.Add([]byte{whyMost + 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		each, _, record, ok := cutWhy(b)
		if ok && (each == 0 || each > whyMost || !bytes.HasSuffix(b, record) || len(record) >= len(b)) {
			t.Fatalf("%x is %d and %x", b, each, record)
		}
	})
}

// A parcel is rows of a shard that gives slots away: all of it is fields.
func FuzzCutField(f *testing.F) {
	f.Add(appendField(appendField(nil, []byte("key")), []byte("row")))
	f.Add(appendField(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; ; {
			field, next, ok := cutField(rest)
			if !ok {
				break
			}
			if again = appendField(again, field); len(next) >= len(rest) {
				t.Fatalf("a field of no bytes: %d are left of %d", len(next), len(rest))
			}
			rest = next
		}
		for rest := again; len(rest) > 0; {
			_, next, ok := cutField(rest)
			if !ok {
				t.Fatalf("%x was read from %x, and is no fields", again, b)
			}
			rest = next
		}
	})
}

// A tenant's measure travels with his document, and a newer version may have written it. What is read of it can be compiled or is refused, and is the same when it is written again.
func FuzzCompile(f *testing.F) {
	f.Add(measureOf([]level.Definition{{Name: "first", Clock: "first_response", LimitMS: 60_000, Target: 0.9}}, []broker.Team{{Name: "t", Workers: []string{"bob/1"}}}))
	f.Add([]byte(`{"defs":[{}]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := compile(b)
		if err != nil {
			return
		}
		var m measure
		if len(b) == 0 {
			if set.Len() != 0 {
				t.Fatal("nothing is a measure")
			}
			return
		}
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		doc, err := json.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := compile(doc); err != nil || again.Len() != set.Len() {
			t.Fatalf("%s has %d levels, and %s %d, %v", b, set.Len(), doc, again.Len(), err)
		}
	})
}
