package edge

import (
	"testing"
	"time"
)

// TestBucketWhenTheClockGoesBack: whoever has tokens has them still when the clock is set back, and no more of them.
func TestBucketWhenTheClockGoesBack(t *testing.T) {
	const rate, burst = 10, 3
	var b bucket
	f := func(now int64, want time.Duration) {
		t.Helper()
		if got := b.take(now, 1, rate, burst); got != want {
			t.Fatalf("at %d one waits %v; want %v", now, got, want)
		}
	}
	f(60_000, 0)
	f(0, 0)
	f(0, 0)
	f(0, 100*time.Millisecond)
	f(100, 0)
}
