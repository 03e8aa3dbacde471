package backup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"switchboard/shard/journal"
)

// A list comes from another disk. What is read is within its bounds, and is written as a list that reads the same.
func FuzzParseList(f *testing.F) {
	l := &list{}
	f.Add(l.encode())
	for i, pack := range []string{"0001.pack", "0002.pack", "0001.pack"} {
		l.chunks = append(l.chunks, chunk{sum: sha256.Sum256([]byte(pack)), pack: l.name(pack), offset: uint64(i) << 20, size: 1000, raw: 5000, rows: 12})
	}
	f.Add(l.encode())
	f.Add([]byte(listMagic + "\xff\xff\xff\xff\x00\x01a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseList(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if again, err := parseList(l.encode()); err != nil || !reflect.DeepEqual(l, again) {
			t.Fatalf("the list was\n%+v\nand is\n%+v, %v", l, again, err)
		}
		for _, c := range l.chunks {
			if l.packs[c.pack] == "" || c.raw > chunkMax || c.size > chunkMax {
				t.Fatalf("a chunk of %+v", c)
			}
		}
	})
}

// A manifest is read as it is, and with the checksum that it should have: without that hardly anything is one.
func FuzzParseManifest(f *testing.F) {
	const id = "2026-11-11T00-00-00"
	m := &Manifest{
		Format: format, ID: id, Taken: time.Unix(1_800_000_000, 5).UTC(), Program: "1.0", From: "node a", Shards: 2,
		Parts: []Part{
			{Mark: journal.Mark{Group: 0, Turn: 7, Epoch: 1, Term: 3, Index: 9}, Amount: Amount{5, 100}, Chunks: 1, List: "a.list", Sum: hexSum([]byte("a"))},
			{Mark: journal.Mark{Group: 1}, List: "b.list", Sum: hexSum(nil)},
		},
		Keys: []byte(`{"version":1}`), Cluster: map[string][]byte{"member/1": []byte(`{"id":1}`)},
	}
	for range 2 {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-2*sha256.Size-len("\nsha256 \n")])
		m.Parts, m.Shards = nil, 0
	}
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, fmt.Appendf(slices.Clip(b), "\nsha256 %x\n", sha256.Sum256(b))} {
			m, err := parseManifest(id, b)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
					t.Fatal(err)
				}
				continue
			}
			doc, err := m.encode()
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseManifest(id, doc)
			if err != nil {
				t.Fatal(err)
			}
			if twice, err := again.encode(); err != nil || string(twice) != string(doc) {
				t.Fatalf("the manifest was\n%s\nand is\n%s, %v", doc, twice, err)
			}
			_, _ = m.Total(), m.Highest()
		}
	})
}

// Who was erased is read as it is, and with the checksum that it should have, and is found again when it is written again.
func FuzzParseErasures(f *testing.F) {
	e := &Erasures{Salt: "s"}
	e.List = []Erasure{{e.who("demo", "ann"), "m1", 5}, {e.who("demo", "bob"), "m2", 7}}
	b, err := e.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-2*sha256.Size-len("\nsha256 \n")])
	f.Add([]byte(`{"salt":"s","erased":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, fmt.Appendf(slices.Clip(b), "\nsha256 %x\n", sha256.Sum256(b))} {
			e, err := parseErasures(b)
			if err != nil {
				if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
					t.Fatal(err)
				}
				continue
			}
			doc, err := e.encode()
			if err != nil {
				t.Fatal(err)
			}
			again, err := parseErasures(doc)
			if err != nil || again.Salt != e.Salt || !slices.Equal(again.List, e.List) || !maps.Equal(again.find, e.find) {
				t.Fatalf("they were\n%+v\nand are\n%+v, %v", e, again, err)
			}
		}
	})
}
