package seglog

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzRecord reads anything as a record and as a batch header. What is taken for one is what sealing it gives.
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
	b := make([]byte, block)
	putBatchHeader(b, seed, salt, num, batchHead{from: 4096, size: 1000, seq: 3, records: 2, dirs: 4})
	f.Add(b)
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
		in := append(make([]byte, 4096), b...)
		if h, ok := readBatchHeader(in, 4096, seed, salt, num); ok && (h.end() < h.from || h.from+h.size > len(in) || h.body() < h.from+batchHeader) {
			t.Fatalf("a batch outside of its bytes: %+v of %d", h, len(in))
		}
		_, _, _, _ = readSegHeader(b)
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
