package level

import "math/bits"

// Response times fall into buckets whose width is about a fifth of them: four in each doubling, from 64 ms to some nine hours.
const (
	firstBits = 6
	doublings = 19
	buckets   = 4*doublings + 2 // what is below, and what is above
)

// bucketOf returns the bucket of a response time.
func bucketOf(ms int64) int {
	if ms < 1<<firstBits {
		return 0
	}
	top := bits.Len64(uint64(ms)) - 1 //nolint:gosec // positive
	if top >= firstBits+doublings {
		return buckets - 1
	}
	return 1 + 4*(top-firstBits) + int(ms>>(top-2))&3
}

// bounds returns the response times from ≤ ms < until of a bucket.
func bounds(b int) (from, until int64) {
	edge := func(i int) int64 { return int64(4+i%4) << (firstBits - 2 + i/4) }
	switch b {
	case 0:
		return 0, 1 << firstBits
	case buckets - 1:
		return edge(4 * doublings), 2 * edge(4*doublings)
	}
	return edge(b - 1), edge(b)
}

// Counts are what happened in a window.
type Counts struct {
	Count, Met int64 // cases, and those in time
	Timed, Sum int64 // response times, and their sum in ms
	times      [buckets]uint32
}

func (c *Counts) add(s *Sample) {
	c.Count += int64(s.Count)
	c.Met += int64(s.Met)
	if s.Timed > 0 {
		c.Timed += int64(s.Timed)
		c.Sum += int64(s.Timed) * s.RT
		c.times[bucketOf(s.RT)] += uint32(s.Timed) //nolint:gosec // positive
	}
}

// Merge adds what happened elsewhere in the same window.
func (c *Counts) Merge(o *Counts) {
	c.Count += o.Count
	c.Met += o.Met
	c.Timed += o.Timed
	c.Sum += o.Sum
	for i, n := range o.times {
		c.times[i] += n
	}
}

// Rate returns the share that was in time, and whether anything was counted.
func (c *Counts) Rate() (float64, bool) {
	if c.Count <= 0 {
		return 0, false
	}
	return max(float64(c.Met)/float64(c.Count), 0), true
}

// Mean returns the mean response time in ms, 0 when there is none.
func (c *Counts) Mean() int64 {
	if c.Timed == 0 {
		return 0
	}
	return c.Sum / c.Timed
}

// Percentile returns the response time in ms below which a share of them lies, as exactly as the buckets are narrow: within a
// fifth. It is 0 when there is none.
func (c *Counts) Percentile(p float64) int64 {
	rank := int64(p * float64(c.Timed))
	seen := int64(0)
	for b, n := range c.times {
		if seen += int64(n); n > 0 && seen > rank || n > 0 && seen == c.Timed {
			from, until := bounds(b)
			return (from + until) / 2
		}
	}
	return 0
}
