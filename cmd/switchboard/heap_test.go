package main

import (
	"os"
	"path/filepath"
	"testing"
)

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
		if most := live + heapFloor; goal > most+most/6 {
			t.Fatalf("with %d alive, %d bytes of garbage may lie around; want at most %d and a sixth", live, goal, most)
		}
	}
}

// With memory to spare a collection is rarer; a node that has grown into its machine is as careful as ever.
func TestHeapWithRoom(t *testing.T) {
	const mib = 1 << 20
	f := func(live, machine uint64, want int) {
		t.Helper()
		h := &heap{busy: true, machine: machine}
		if percent, _ := h.turn(100*mib, live); percent != want {
			t.Errorf("%d MiB of %d alive: %d percent; want %d", live/mib, machine/mib, percent, want)
		}
	}
	f(128*mib, 0, 200) // nobody knows
	f(128*mib, 4096*mib, 300)
	f(128*mib, 2048*mib, 300)
	f(129*mib, 2048*mib, 199)
	f(1024*mib, 16<<30, 212)
	f(1024*mib, 8<<30, 112)
	f(8*mib, 512*mib, 1700)
}

// A large machine lets more garbage lie around, but not at full speed, and does not go to and fro near that.
func TestHeapOfLargeMachine(t *testing.T) {
	const mib = 1 << 20
	var at uint64
	h := &heap{busy: true, machine: 32 << 30}
	f := func(allocated uint64, want int) {
		t.Helper()
		at += allocated
		if percent, _ := h.turn(at, 100*mib); percent != want {
			t.Errorf("%d MiB allocated: %d percent; want %d", allocated/mib, percent, want)
		}
	}
	f(10*mib, 712)
	f(63*mib, 0)
	f(64*mib, 328)
	f(33*mib, 0)
	f(31*mib, 712)
	f(40*mib, 0)
	h, at = &heap{busy: true, machine: 8 << 30}, 0
	f(10*mib, 456)
}

func TestMachineMemory(t *testing.T) {
	f := func(text string, want uint64) {
		t.Helper()
		name := filepath.Join(t.TempDir(), "memory")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := parseMemory(name); got != want {
			t.Errorf("%q is %d bytes; want %d", text, got, want)
		}
	}
	f("MemTotal:       24683524 kB\nMemFree:        123 kB\n", 24683524<<10)
	f("536870912\n", 512<<20)
	f("max\n", 0)
	f("", 0)
	f("MemTotal:\n", 0)
	if got := parseMemory(filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("a file that is not there says %d", got)
	}
}

// A service is bounded by its own group or one above it, a container by what it sees as the root; of two bounds the lesser counts.
func TestGroupMemory(t *testing.T) {
	f := func(self string, want uint64, files ...string) {
		t.Helper()
		root := t.TempDir()
		put := func(name, text string) {
			t.Helper()
			name = filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put("self", self)
		for i := 0; i < len(files); i += 2 {
			put("groups/"+files[i], files[i+1])
		}
		if got := groupMemory(filepath.Join(root, "self"), filepath.Join(root, "groups")); got != want {
			t.Errorf("%q with %q is %d bytes; want %d", self, files, got, want)
		}
	}
	const service = "0::/system.slice/switchboard.service\n"
	f(service, 512<<20, "system.slice/switchboard.service/memory.max", "536870912\n")
	f(service, 256<<20, "system.slice/switchboard.service/memory.max", "536870912\n", "system.slice/memory.max", "268435456\n")
	f(service, 512<<20, "system.slice/switchboard.service/memory.max", "max\n", "system.slice/memory.max", "536870912\n")
	f("0::/\n", 512<<20, "memory.max", "536870912\n")
	f("0::/../../x\n", 512<<20, "memory.max", "536870912\n")
	f("5:cpu:/a\n4:memory:/docker/a\n0::/\n", 512<<20, "memory/memory.limit_in_bytes", "536870912\n", "memory/other/memory.limit_in_bytes", "1\n")
	f("0::/\n", 0)
	f("garbage\n:\n", 0, "memory.max", "1\n")
	f("", 0)
}
