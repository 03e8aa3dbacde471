package mailbox_test

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"switchboard/internal/mailbox"
)

func TestFullIsAnAnswer(t *testing.T) {
	b := mailbox.New[int](4, 1)
	for i := range 3 {
		if !b.Put(i) {
			t.Fatalf("Put(%d) refused", i)
		}
	}
	if b.Put(3) {
		t.Fatal("Put went into the reserve")
	}
	if !b.PutReserved(3) || b.PutReserved(4) {
		t.Fatal("the reserve holds exactly one")
	}
	got := b.Take(nil, 2)
	if len(got) != 2 || got[0] != 0 || got[1] != 1 {
		t.Fatalf("Take = %v", got)
	}
	select {
	case <-b.Wake():
	default:
		t.Fatal("the box did not wake its taker for the rest")
	}
	if got = b.Take(got, 10); len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Fatalf("Take = %v", got)
	}
	b.Close()
	if b.PutReserved(9) {
		t.Fatal("a closed box took something")
	}
}

func TestManyPutOneTakes(t *testing.T) {
	const putters, each = 8, 1000
	b := mailbox.New[[2]int](putters*each, 0)
	var wg sync.WaitGroup
	for p := range putters {
		wg.Go(func() {
			for i := range each {
				b.Put([2]int{p, i})
			}
		})
	}
	go func() { wg.Wait(); b.Close() }()
	var next [putters]int
	var items [][2]int
	for total := 0; total < putters*each; {
		<-b.Wake()
		items = b.Take(items, 64)
		for _, it := range items {
			if it[1] != next[it[0]] {
				t.Fatalf("putter %d: got %d, want %d", it[0], it[1], next[it[0]])
			}
			next[it[0]]++
			total++
		}
	}
}

func TestWarmBoxDoesNotAllocate(t *testing.T) {
	b := mailbox.New[int](16, 0)
	var items []int
	n := testing.AllocsPerRun(100, func() {
		b.Put(1)
		items = b.Take(items, 16)
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// A box that is filled and emptied in pieces of any size has what a plain queue has: bounds, order, length and who is woken.
func TestBoxIsAQueue(t *testing.T) {
	const limit, reserve = 40, 8
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's
	b := mailbox.New[int](limit, reserve)
	var want, got []int
	for n := range 20000 {
		most, put := limit-reserve, b.Put
		if rnd.IntN(4) == 0 {
			most, put = limit, b.PutReserved
		}
		if rnd.IntN(5) > 0 {
			if ok := put(n); ok != (len(want) < most) {
				t.Fatalf("seed %d, step %d: put into %d of %d: %v", seed, n, len(want), most, ok)
			} else if ok {
				want = append(want, n)
			}
		} else {
			most := 1 + rnd.IntN(12)
			k := min(most, len(want))
			got = b.Take(got, most)
			if !slices.Equal(got, want[:k]) {
				t.Fatalf("seed %d, step %d: took %v; want %v", seed, n, got, want[:k])
			}
			want = want[k:]
			clear(got)
		}
		if b.Len() != len(want) {
			t.Fatalf("seed %d, step %d: %d wait; want %d", seed, n, b.Len(), len(want))
		}
		if len(want) > 0 {
			select {
			case <-b.Wake():
				b.Nudge()
			default:
				t.Fatalf("seed %d, step %d: %d wait, and nobody is woken", seed, n, len(want))
			}
		}
	}
}

// What was taken in pieces is not kept alive by the box.
func TestTakenIsForgotten(t *testing.T) {
	b := mailbox.New[*[64]byte](16, 0)
	gone := make(chan struct{}, 3)
	for range 4 {
		p := new([64]byte)
		runtime.AddCleanup(p, func(int) { gone <- struct{}{} }, 0)
		b.Put(p)
	}
	batch := b.Take(nil, 3)
	clear(batch)
	for range 3 {
		runtime.GC()
		<-gone
	}
	if b.Len() != 1 {
		t.Fatalf("%d wait; want 1", b.Len())
	}
	runtime.KeepAlive(b)
}

// BenchmarkBacklog puts and takes 256 at a time where so many more wait.
func BenchmarkBacklog(b *testing.B) {
	f := func(name string, waiting int) {
		b.Run(name, func(b *testing.B) {
			box := mailbox.New[[11]*int](1<<16, 0)
			for range waiting {
				box.Put([11]*int{})
			}
			var batch [][11]*int
			for b.Loop() {
				for range 256 {
					box.Put([11]*int{})
				}
				batch = box.Take(batch, 256)
				clear(batch)
			}
		})
	}
	f("none", 0)
	f("1000", 1000)
	f("8000", 8000)
}
