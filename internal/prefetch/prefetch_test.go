//go:build unix

package prefetch_test

import (
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"switchboard/internal/prefetch"
)

// Whatever is asked for, nothing happens to it, nor to whoever asks: not at the end of the memory that there is, nor behind it.
func TestNothingHappens(t *testing.T) {
	page := syscall.Getpagesize()
	b, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(b) //nolint:errcheck // a test's
	for i := range b {
		b[i] = byte(i)
	}
	if err := syscall.Mprotect(b[page:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	for i := range page {
		prefetch.Object((*[200]byte)(unsafe.Pointer(&b[i]))) //nolint:gosec // the last ones reach into the page that may not be read
		prefetch.Object(&b[i])
	}
	prefetch.Object((*[1 << 20]byte)(unsafe.Pointer(&b[0]))) //nolint:gosec // far behind it
	prefetch.Object[int](nil)
	prefetch.Start[int](nil, 100)
	prefetch.Slice[int](nil)
	for i := range page {
		prefetch.Start(&b[i], 2*uintptr(page)) //nolint:gosec // behind it, too
		prefetch.Slice(b[i:])
	}
	prefetch.Object(&struct{}{})
	prefetch.String("")
	prefetch.String(strings.Repeat("x", 1000))
	for i := range page {
		if b[i] != byte(i) {
			t.Fatalf("byte %d has changed", i)
		}
	}
}

// It is called several times for a message.
func TestNoAllocations(t *testing.T) {
	x, s := &[512]byte{}, strings.Repeat("x", 18)
	if n := testing.AllocsPerRun(100, func() {
		prefetch.Object(x)
		prefetch.Start(x, 100)
		prefetch.Slice(x[:])
		prefetch.String(s)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkSum adds up what stands in objects all over a memory that no cache holds, with and without asking for them some steps before.
func BenchmarkSum(b *testing.B) {
	type object [64]uint64
	const n = 1 << 18
	all := make([]object, n)
	for i := range all {
		all[i][63] = 1 // or there is no memory yet
	}
	for _, ahead := range []int{0, 4} {
		name := "asked=none"
		if ahead > 0 {
			name = "asked=4 steps before"
		}
		b.Run(name, func(b *testing.B) {
			at, sum := uint32(1), uint64(0)
			step := func(at uint32) uint32 { return (at*1664525 + 1013904223) % n } // all of them, in no order
			soon := at
			for range ahead {
				soon = step(soon)
			}
			for b.Loop() {
				if ahead > 0 {
					prefetch.Object(&all[soon])
					soon = step(soon)
				}
				o := &all[at]
				k := uint64(0)
				for range 8 { // each says where to look next, as pointers do
					k = (k + 8 + o[k]) % 64
				}
				sum += k
				at = step(at)
			}
			if sum != 0 {
				b.Fatal(sum)
			}
		})
	}
}
