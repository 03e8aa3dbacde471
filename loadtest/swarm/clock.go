package swarm

import (
	"container/heap"
	"context"
	"runtime"
	"sync"
	"time"
)

// timeline tells the time in Unix nanoseconds, without the jumps of a clock that is set. Processes of one machine agree.
type timeline struct {
	began time.Time
	unix  int64
}

func newTimeline() timeline {
	t := time.Now()
	return timeline{t, t.UnixNano()}
}

func (t *timeline) now() int64 { return t.unix + int64(time.Since(t.began)) }

// job is something that falls due.
type job interface {
	// run does it; due is the moment for which it was planned. It must not wait.
	run(due int64)
}

// planned is a job at its moment. order keeps those of one moment in the order in which they were planned.
type planned struct {
	due   int64
	order uint64
	job   job
}

type plannedHeap []planned

// Len implements heap.Interface.
func (h plannedHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h plannedHeap) Less(i, j int) bool {
	return h[i].due < h[j].due || h[i].due == h[j].due && h[i].order < h[j].order
}

// Swap implements heap.Interface.
func (h plannedHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *plannedHeap) Push(x any) { *h = append(*h, x.(planned)) }

// Pop implements heap.Interface.
func (h *plannedHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = planned{}
	*h = (*h)[:last]
	return x
}

// clock runs jobs when they are due, one at a time, whatever happened to those before: it never waits for an answer.
type clock struct {
	timeline
	wake chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	jobs  plannedHeap
	order uint64
	busy  bool // a job that was taken may still run
}

func newClock(t timeline) *clock { return &clock{timeline: t, wake: make(chan struct{}, 1)} }

// at plans a job.
func (c *clock) at(due int64, j job) {
	c.mu.Lock()
	c.order++
	heap.Push(&c.jobs, planned{due, c.order, j})
	first := c.jobs[0].due == due
	c.mu.Unlock()
	if first {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// take returns the next job if it is due, and when the next is.
func (c *clock) take() (p planned, ok bool, next int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if len(c.jobs) == 0 {
		return p, false, 1<<63 - 1
	}
	if c.jobs[0].due > c.now() {
		return p, false, c.jobs[0].due
	}
	c.busy = true
	return heap.Pop(&c.jobs).(planned), true, 0
}

// past tells whether everything that was due before a moment was done. A clock that is late is not past the moment when it
// is.
func (c *clock) past(moment int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.busy && (len(c.jobs) == 0 || c.jobs[0].due >= moment)
}

// napMax is how long the clock sleeps without listening for an earlier job.
const napMax = 300 * time.Microsecond

// run is the clock until ctx ends.
func (c *clock) run(ctx context.Context) {
	runtime.LockOSThread() // its sleep is the thread's
	defer runtime.UnlockOSThread()
	sharpen()
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for ctx.Err() == nil {
		p, ok, next := c.take()
		if ok {
			p.job.run(p.due)
			continue
		}
		d := time.Duration(next - c.now())
		if d < 2*time.Millisecond { // the runtime's timers are late by up to a millisecond
			nap(min(d, napMax))
			continue
		}
		t.Reset(min(d-time.Millisecond, time.Hour))
		select {
		case <-ctx.Done():
		case <-c.wake:
		case <-t.C:
		}
	}
}
