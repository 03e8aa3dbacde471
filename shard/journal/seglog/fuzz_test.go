package seglog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"
)

// FuzzRecord reads anything as a record. What is taken for one is what sealing it gives.
func FuzzRecord(f *testing.F) {
	const salt, num = 77, 5
	seed := seedOf(salt, num)
	for _, size := range []int{0, 1, 8, 100} {
		r := rec{Record: Record{Index: 7, Term: 3, Epoch: 1, Kind: 2, Body: make([]byte, size)}, group: 4, op: opAppend}
		b := make([]byte, r.size())
		putRecord(b, &r)
		sealRecord(b, seed, salt, 4096, 9)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := readRecord(b, seed, salt, 4096); ok {
			again := make([]byte, r.size())
			putRecord(again, &r)
			sealRecord(again, seed, salt, 4096, r.n)
			n := recordHeader + len(r.Body)
			if !bytes.Equal(again[:n], b[:n]) {
				t.Fatalf("%x was read as %x", b[:n], again[:n])
			}
		}
	})
}

// FuzzReadState reads anything as what a segment says of a group, as it comes to it: as the body of a record that was sealed. What is read
// is the same bytes when it is written again.
func FuzzReadState(f *testing.F) {
	const salt, num = 77, 5
	f.Add(state{trunc: 9, truncTerm: 2, n: 3, unsure: true, meta: []byte("meta")}.put())
	f.Add(state{metaLost: true}.put())
	f.Add(make([]byte, stateBody-1))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := rec{Record: Record{Index: 7, Term: 3, Body: b}, op: opState}
		sealed := make([]byte, in.size())
		putRecord(sealed, &in)
		sealRecord(sealed, seedOf(salt, num), salt, 4096, 9)
		r, ok := readRecord(sealed, seedOf(salt, num), salt, 4096)
		if ok != (len(b) >= stateBody) {
			t.Fatalf("%d bytes are a state: %v", len(b), ok)
		}
		if !ok {
			return
		}
		want := bytes.Clone(b)
		want[stateBody-1] &= 1 | 2 // the flags that there are
		if again := readState(r.Body).put(); !bytes.Equal(again, want) {
			t.Fatalf("%x was read as %x", b, again)
		}
	})
}

// FuzzReadSegHeader reads anything as the beginning of a segment, as it is and as one with the checksum that it should have: without that
// hardly anything is one. What is read is the same bytes when it is written again; another format is told, not guessed.
func FuzzReadSegHeader(f *testing.F) {
	b := make([]byte, block)
	putSegHeader(b, 5, 77)
	f.Add(b[:segHeader])
	f.Add(b[:segHeader-1])
	b[11] = 2
	f.Add(b[:segHeader])
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed := bytes.Clone(b)
		if len(b) >= segHeader {
			binary.BigEndian.PutUint64(sealed, magic)
			binary.BigEndian.PutUint32(sealed[32:], crc32.Checksum(sealed[:32], castagnoli))
			if _, _, ok, err := readSegHeader(sealed); !ok && err == nil {
				t.Fatalf("%x is whole, and neither read nor refused", sealed)
			}
		}
		for _, b := range [][]byte{b, sealed} {
			segment, salt, ok, err := readSegHeader(b)
			if err != nil && (ok || !errors.Is(err, ErrFormat)) {
				t.Fatalf("%x: %v, %v", b, ok, err)
			}
			again := make([]byte, block)
			putSegHeader(again, segment, salt)
			if ok && !bytes.Equal(again[:segHeader], b[:segHeader]) {
				t.Fatalf("%x was read as %x", b, again[:segHeader])
			}
		}
	})
}

// FuzzReadBatchHeader reads anything as a batch, as it is and as one of this place with the checksum that it should have. What is taken for
// one lies within its bytes and has room for its header and its directory, and is the same bytes when it is written again.
func FuzzReadBatchHeader(f *testing.F) {
	const salt, num, from = 77, 5, block
	seed := seedOf(salt, num)
	b := make([]byte, block)
	putBatchHeader(b, seed, salt, num, batchHead{from: from, size: 1000, seq: 3, records: 2, dirs: 4})
	f.Add(b)
	f.Add(b[:1000])
	f.Add(b[:999])
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed := bytes.Clone(b)
		if len(b) >= batchHeader {
			binary.BigEndian.PutUint64(sealed[8:], salt)
			binary.BigEndian.PutUint64(sealed[16:], num)
			binary.BigEndian.PutUint32(sealed[32:], from)
			size, dirs := int(binary.BigEndian.Uint32(b[4:])), int(binary.BigEndian.Uint32(b[36:]))
			if size <= len(b) && dirs <= size/dirEntry {
				c := crc32.Update(seed, castagnoli, sealed[4:batchHeader])
				binary.BigEndian.PutUint32(sealed, crc32.Update(c, castagnoli, sealed[size-dirs*dirEntry:size]))
			}
		}
		for _, b := range [][]byte{b, sealed} {
			in := slices.Concat(make([]byte, from), b)
			h, ok := readBatchHeader(in, from, seed, salt, num)
			if !ok {
				continue
			}
			if h.end() <= h.from || h.from+h.size > len(in) || h.body() < h.from+batchHeader {
				t.Fatalf("a batch outside of its bytes: %+v of %d", h, len(in))
			}
			again := bytes.Clone(b)
			putBatchHeader(again, seed, salt, num, h)
			if binary.BigEndian.Uint32(b[44:]) == 0 && !bytes.Equal(again, b) {
				t.Fatalf("%x was read as %x", b, again)
			}
		}
	})
}

// FuzzOpen puts anything anywhere into a log. No record is ever read that was not written, and nothing but its last batch
// is gone without a word.
func FuzzOpen(f *testing.F) {
	h := makeHistory(f)
	names := make([]string, 0, len(h.files))
	for name := range h.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for i := range names {
		f.Add(uint8(i), uint32(block), []byte("hello"))
		f.Add(uint8(i), uint32(block), h.files[names[0]][block:2*block])
	}
	f.Fuzz(func(t *testing.T, file uint8, at uint32, with []byte) {
		name := names[int(file)%len(names)]
		cfg := h.disk(t, func(files map[string][]byte) {
			if int(at) < len(files[name]) {
				copy(files[name][at:], with)
			}
		})
		end := min(int(at)+len(with), len(h.files[name]))
		v := h.verdict(t, cfg, false, h.gone(name, int(at), end), "fuzzed")
		if v == "shorter" && !h.last(name, end-1) {
			t.Errorf("%d bytes in %s at %d took the last batch away", len(with), name, at)
		}
	})
}
