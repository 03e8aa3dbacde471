package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// mirror is a peer without sockets: a goroutine that answers, and spoils what it is told to.
type mirror struct {
	load  *Load
	spoil func(n int, i int, body []byte) (answers [][]byte, to int)
	queue chan said
	over  chan struct{}
	wg    sync.WaitGroup
}

type said struct {
	i    int
	body []byte
}

func (m *mirror) Say(i int, body []byte) error {
	select {
	case m.queue <- said{i, body}:
		return nil
	case <-m.over:
		return net.ErrClosed
	}
}

func (m *mirror) Close() {
	close(m.over)
	m.wg.Wait()
}

func (m *mirror) run() {
	m.wg.Go(func() {
		for n := 0; ; n++ {
			var s said
			select {
			case <-m.over:
				return
			case s = <-m.queue:
			}
			answers, to := [][]byte{s.body}, s.i
			if m.spoil != nil {
				answers, to = m.spoil(n, s.i, s.body)
			}
			for _, a := range answers {
				m.load.Heard(to, a)
			}
		}
	})
}

// play runs a load of 4 customers for a moment.
func play(t *testing.T, rate float64, spoil func(n, i int, body []byte) ([][]byte, int)) (*Load, error) {
	t.Helper()
	cfg := &Config{Customers: 4, Workers: 1, Body: 40, Warm: 10 * time.Millisecond, Time: 100 * time.Millisecond}
	l := newLoad(cfg, rate)
	m := &mirror{load: l, spoil: spoil, queue: make(chan said, 1<<16), over: make(chan struct{})}
	m.run()
	defer m.Close()
	samples := 0
	err := l.Measure(t.Context(), m, func() { samples++ })
	if err == nil && samples != 2 {
		t.Errorf("%d samples; want 2: one at each end of the window", samples)
	}
	return l, err
}

func TestClosedLoopCounts(t *testing.T) {
	l, err := play(t, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.counted.Load() == 0 || l.twice.Load() != 0 || l.disorder.Load() != 0 {
		t.Errorf("counted %d, twice %d, out of order %d; want some, 0, 0", l.counted.Load(), l.twice.Load(), l.disorder.Load())
	}
	if got, want := uint64(l.latencies().TotalCount()), l.counted.Load(); got != want {
		t.Errorf("%d latencies of %d answers", got, want)
	}
}

func TestScheduleCountsWhatWasDue(t *testing.T) {
	l, err := play(t, 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := l.counted.Load(); n != 100 { // 100 ms at 1,000/s, however late they were
		t.Errorf("%d answers count; want 100", n)
	}
	if l.waiting() != 0 {
		t.Errorf("%d messages wait", l.waiting())
	}
}

func TestWhatIsSpoiltIsSeen(t *testing.T) {
	t.Run("twice", func(t *testing.T) {
		l, err := play(t, 1000, func(n, i int, body []byte) ([][]byte, int) {
			if n == 50 {
				return [][]byte{body, body}, i
			}
			return [][]byte{body}, i
		})
		if err != nil || l.twice.Load() != 1 {
			t.Errorf("%v, twice %d; want 1", err, l.twice.Load())
		}
	})
	t.Run("out of order", func(t *testing.T) {
		var held []byte
		l, err := play(t, 1000, func(n, i int, body []byte) ([][]byte, int) {
			switch n { // customer 0 sends 40 and 44
			case 40:
				held = body
				return nil, i
			case 44:
				return [][]byte{body, held}, i
			}
			return [][]byte{body}, i
		})
		if err != nil || l.disorder.Load() != 1 {
			t.Errorf("%v, out of order %d; want 1", err, l.disorder.Load())
		}
	})
	t.Run("left over from another run", func(t *testing.T) {
		l, err := play(t, 1000, func(n, i int, body []byte) ([][]byte, int) {
			if n == 50 {
				return [][]byte{append([]byte("zzzzzzzz"), body[8:]...), body}, i
			}
			return [][]byte{body}, i
		})
		if err != nil || l.strange.Load() != 1 || l.twice.Load() != 0 {
			t.Errorf("%v, strange %d, twice %d; want 1, 0", err, l.strange.Load(), l.twice.Load())
		}
	})
	t.Run("to somebody else", func(t *testing.T) {
		_, err := play(t, 1000, func(n, i int, body []byte) ([][]byte, int) {
			if n == 50 {
				return [][]byte{body}, (i + 1) % 4
			}
			return [][]byte{body}, i
		})
		if err == nil || !strings.Contains(err.Error(), "meant for another") {
			t.Errorf("%v; want what was meant for another", err)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newLoad(&Config{Customers: 1, Body: header}, 0).wait(ctx, time.Hour); err == nil {
		t.Error("it waited for an hour")
	}
}
