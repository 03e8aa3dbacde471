package loadtest

import (
	"sync"
	"testing"
	"time"
)

// TestLatencies: what many enter at a time is all there, and a customer more takes no memory.
func TestLatencies(t *testing.T) {
	var l latencies
	if n := l.sum().TotalCount(); n != 0 {
		t.Fatalf("%d are there", n)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			for k := range 50 {
				l.record(i, time.Duration(k+1)*time.Millisecond)
			}
		})
	}
	wg.Wait()
	all := l.sum()
	if n, high := all.TotalCount(), all.Max(); n != 5000 || high < 50_000 || high > 50_100 {
		t.Errorf("%d entries, the highest %d µs", n, high)
	}
	if n := testing.AllocsPerRun(100, func() { l.record(12_345, time.Second) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLatencies(b *testing.B) {
	var l latencies
	b.ReportAllocs()
	for i := range b.N {
		l.record(i, time.Millisecond)
	}
}
