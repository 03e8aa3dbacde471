package swarm

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// note is a job that writes down when it was due.
type note struct {
	c    *clock
	took *[]int64
	hold <-chan struct{} // it waits for it
	over chan<- struct{} // it tells that it is done
}

func (n *note) run(due int64) {
	if n.hold != nil {
		<-n.hold
	}
	*n.took = append(*n.took, due)
	if n.over != nil {
		n.over <- struct{}{}
	}
}

// TestClock: jobs run in the order in which they are due, those of one moment in the order in which they were planned; and
// a clock that is in the middle of a job is not past its moment, however late it is.
func TestClock(t *testing.T) {
	c := newClock(newTimeline())
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var took []int64
	hold, over := make(chan struct{}), make(chan struct{})
	base := c.now()
	c.at(base-1, &note{c: c, took: &took, hold: hold})
	for _, ms := range []int64{5, 1, 3, 3, 2} {
		c.at(base+ms*int64(time.Millisecond), &note{c: c, took: &took})
	}
	c.at(base+6*int64(time.Millisecond), &note{c: c, took: &took, over: over})
	if c.past(base) {
		t.Error("it is past what nobody has run")
	}
	wg.Go(func() { c.run(ctx) })
	hold <- struct{}{} // the first runs
	<-over
	c.at(base+int64(time.Hour), &note{c: c, took: &took})
	for !c.past(base + int64(time.Minute)) { // the last returns
		c.wait(t)
	}
	if c.past(base + 2*int64(time.Hour)) {
		t.Error("it is past what is due in an hour")
	}
	cancel()
	wg.Wait()
	if len(took) != 7 || !slices.IsSorted(took) {
		t.Errorf("they ran at %v", took)
	}
}

// wait lets others run.
func (c *clock) wait(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	c.at(c.now(), &closer{done})
	<-done
}

type closer struct{ done chan struct{} }

func (c *closer) run(int64) { close(c.done) }

// TestUntil: what is waited for may take so long, and a process that stands still in between has not waited.
func TestUntil(t *testing.T) {
	a := &agent{timeline: newTimeline()}
	looks := 0
	if err := a.until(t.Context(), 10*time.Second, func() bool {
		if looks++; looks == 2 {
			a.unix += int64(time.Hour) // as if nobody had run for so long
		}
		return looks == 4
	}); err != nil {
		t.Errorf("after %d looks: %v", looks, err)
	}
	if err := a.until(t.Context(), 20*time.Millisecond, func() bool { return false }); !errors.Is(err, errLate) {
		t.Errorf("what never happens: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.until(ctx, time.Hour, func() bool { return false }); !errors.Is(err, context.Canceled) {
		t.Errorf("when nobody waits any more: %v", err)
	}
}
