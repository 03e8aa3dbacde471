package mailbox_test

import (
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
