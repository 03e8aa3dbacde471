package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"
)

// heap decides how much garbage may lie around. A node under load is not collected before 128 MiB of it have come together: with the
// little that lives in a small one it would be every 20 MB otherwise, several times a second, and each time messages wait for 15 ms of
// a core. Beyond that there may be as much of it as lives, and twice as much as long as a quarter of the machine's memory holds all of it: what lives
// is visited once in a collection, and messages wait meanwhile, so that rarer is better: where a machine has memory to spare a node under moderate load has up to
// 512 MiB, a thirty-second part of it, and is collected once in half a minute instead of every ten seconds. Not so one at full speed, which would be busy with touching new memory. A quiet one has a quarter of what lives, which costs it a third of a percent of a core at most, and gives the rest of its
// memory back: idle connections shall not pay for load that is over.
type heap struct {
	busy      bool
	fast      bool   // so much is allocated that new memory is dear
	quiet     int    // looks in a row at which little was allocated
	allocated uint64 // bytes ever, at the last look
	percent   int    // that is set
	machine   uint64 // bytes of memory that there are for the process; 0 when that is not known
}

const (
	heapEvery = time.Second // between two looks
	heapFloor = 128 << 20   // bytes of garbage that may lie around under load, whatever lives,
	heapSpare = 32          // or one of so many parts of the machine's memory,
	heapCeil  = 512 << 20   // when that is more; at most so many,
	heapFast  = 64 << 20    // and only while less than so many are allocated between two looks; again at half of it
	heapBusy  = 1 << 20     // bytes allocated between two looks from which on it is load
	heapAfter = 10          // quiet looks until memory is given back
	heapFull  = 100         // percent of what lives that may be garbage beside the floor,
	heapRoomy = 200         // and as long as all of it is less than
	heapShare = 4           // one of so many parts of the machine's memory
	heapQuiet = 25          // the same without load
	heapMost  = 4000        // percent: what lives is hardly known when it is little
)

// turn takes what was allocated ever and what lives. It returns the percentage to set, 0 for none, and whether to give memory back.
func (h *heap) turn(allocated, live uint64) (percent int, give bool) {
	took := allocated - h.allocated
	h.allocated = allocated
	switch {
	case took >= heapBusy:
		h.busy, h.quiet = true, 0
	case h.busy:
		if h.quiet++; h.quiet >= heapAfter {
			h.busy, h.quiet, give = false, 0, true
		}
	}
	want := heapQuiet
	if h.busy {
		full, floor := heapFull, uint64(heapFloor)
		if h.fast = took >= heapFast || h.fast && took >= heapFast/2; !h.fast {
			floor = max(floor, min(h.machine/heapSpare, heapCeil))
		}
		if (1+heapRoomy/100)*live+floor <= h.machine/heapShare {
			full = heapRoomy
		}
		want = full + heapMost
		if live > 0 {
			want = full + int(min(floor*100/live, heapMost)) //nolint:gosec // at most heapMost
		}
	}
	if math.Abs(float64(want-h.percent)) <= float64(h.percent)/10 && want != heapQuiet || want == h.percent {
		return 0, give // setting it stops the world
	}
	h.percent = want
	return want, give
}

// heapKeeper applies what heap decides. It does nothing when GOGC says what the operator wants.
type heapKeeper struct {
	off     bool
	heap    heap
	samples [2]metrics.Sample
}

// newHeapKeeper begins as under load: what a start allocates is none.
func newHeapKeeper() *heapKeeper {
	k := &heapKeeper{off: os.Getenv("GOGC") != "", heap: heap{busy: true, machine: machineMemory()}}
	k.samples[0].Name, k.samples[1].Name = "/gc/heap/allocs:bytes", "/gc/heap/live:bytes"
	k.look()
	return k
}

// look is to be called every heapEvery.
func (k *heapKeeper) look() {
	if k.off {
		return
	}
	metrics.Read(k.samples[:])
	if k.samples[0].Value.Kind() != metrics.KindUint64 || k.samples[1].Value.Kind() != metrics.KindUint64 {
		return // another runtime: it keeps its own rule
	}
	percent, give := k.heap.turn(k.samples[0].Value.Uint64(), k.samples[1].Value.Uint64())
	if percent != 0 {
		debug.SetGCPercent(percent)
	}
	if give {
		debug.FreeOSMemory()
	}
}

// machineMemory returns how many bytes of memory the process may have: the machine's, or what its group is given when that is less.
// It is 0 where nobody says so.
func machineMemory() uint64 {
	total := parseMemory("/proc/meminfo")
	if group := groupMemory("/proc/self/cgroup", "/sys/fs/cgroup"); group != 0 && group < total {
		return group
	}
	return total
}

// groupMemory returns the least that a control group of the process, or one above it, is given, or 0 when none is bounded. self names the groups, and they
// are below root: a container sees its own as the root, a service of systemd, with MemoryMax, is some way below. Both versions of groups count.
func groupMemory(self, root string) (least uint64) {
	text, err := os.ReadFile(self) //nolint:gosec // the kernel's
	if err != nil {
		return 0
	}
	for row := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(row), ":", 3)
		if len(part) < 3 {
			continue
		}
		dir, file := root, "memory.max"
		switch {
		case slices.Contains(strings.Split(part[1], ","), "memory"):
			dir, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		case part[1] != "":
			continue
		}
		for at := filepath.Clean("/" + part[2]); ; at = filepath.Dir(at) {
			if n := parseMemory(filepath.Join(dir, at, file)); n != 0 && (least == 0 || n < least) {
				least = n
			}
			if at == "/" {
				break
			}
		}
	}
	return least
}

// parseMemory reads a file of the kernel whose first number says how much memory there is: in bytes, or in the unit behind it.
// It returns 0 when there is no such file or no such number.
func parseMemory(name string) uint64 {
	text, err := os.ReadFile(name) //nolint:gosec // the kernel's
	if err != nil {
		return 0
	}
	words := strings.Fields(string(text))
	if len(words) > 1 && words[0] == "MemTotal:" {
		words = words[1:]
	}
	if len(words) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(words[0], 10, 64)
	if err != nil {
		return 0 // "max": no bound
	}
	if len(words) > 1 && words[1] == "kB" {
		n <<= 10
	}
	return n
}
