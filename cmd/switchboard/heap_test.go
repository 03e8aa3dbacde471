package main

import "testing"

func TestHeapTurn(t *testing.T) {
	var at uint64
	h := &heap{busy: true}
	f := func(allocated, live uint64, percent int, give bool) {
		t.Helper()
		at += allocated
		if p, g := h.turn(at, live); p != percent || g != give {
			t.Fatalf("%d bytes with %d alive: %d %v; want %d %v", allocated, live, p, g, percent, give)
		}
	}
	const mib = 1 << 20
	f(20*mib, 0, 4100, false)       // a start: nobody knows what lives
	f(50*mib, 8*mib, 1700, false)   // garbage up to 8 + 128 MiB
	f(50*mib, 8*mib, 0, false)      // as it is
	f(50*mib, 9*mib/1, 1522, false) // a little more lives
	f(50*mib, 9*mib+mib/4, 0, false)
	f(50*mib, 128*mib, 200, false) // a small share
	f(50*mib, 1024*mib, 112, false)
	for range heapAfter - 1 {
		f(mib/2, 1024*mib, 0, false)
	}
	f(mib, 1024*mib, 0, false) // load: it begins again
	for range heapAfter - 1 {
		f(mib/2, 10*mib, map[bool]int{true: 1380}[h.percent == 112], false)
	}
	f(0, 10*mib, heapQuiet, true)
	for range 3 * heapAfter { // once
		f(0, 10*mib, 0, false)
	}
	f(mib-1, 10*mib, 0, false) // not enough to be load
	f(mib, 10*mib, 1380, false)
}

// Garbage is bounded whatever lives: not by a share of what lived once.
func TestHeapFollowsWhatLives(t *testing.T) {
	h := &heap{busy: true}
	var at uint64
	for live := uint64(4 << 20); live < 8<<30; live += live / 8 {
		at += 100 << 20
		h.turn(at, live)
		goal := live * uint64(h.percent) / 100
		if most := live + 2*heapFloor; goal > most+most/6 {
			t.Fatalf("with %d alive, %d bytes of garbage may lie around; want at most %d and a sixth", live, goal, most)
		}
	}
}
