package loadtest

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencies are histograms that customers share, a few of them so that they seldom wait for each other: one of his own would be
// 139 KB for each. Safe for concurrent use.
type latencies [16]struct {
	mu sync.Mutex
	// Guarded by mu.
	hist *hdrhistogram.Histogram // nil when empty
}

func newHistogram() *hdrhistogram.Histogram {
	const micro, minute = 1, 60_000_000
	return hdrhistogram.New(micro, minute, 3)
}

// record enters a latency of customer i, up to a minute.
func (l *latencies) record(i int, d time.Duration) {
	s := &l[i%len(l)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hist == nil {
		s.hist = newHistogram()
	}
	_ = s.hist.RecordValue(d.Microseconds()) // what is longer is not entered
}

// sum is all of them.
func (l *latencies) sum() *hdrhistogram.Histogram {
	all := newHistogram()
	for i := range l {
		s := &l[i]
		s.mu.Lock()
		if s.hist != nil {
			all.Merge(s.hist)
		}
		s.mu.Unlock()
	}
	return all
}
