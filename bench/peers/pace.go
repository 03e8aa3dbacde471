package main

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// onSchedule sends message k at start + k/Rate, round the customers, on a thread of its own: Go's timers are a millisecond
// late on a quiet machine, nanosleep with a slack of 1 µs is not.
func (l *Load) onSchedule(ctx context.Context, sample func()) error {
	paced := make(chan error, 1)
	gap := float64(time.Second) / l.Rate
	from, until := l.Warm, l.Warm+l.Time
	l.from.Store(int64(from))
	go func() {
		runtime.LockOSThread()
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0) // ns
		paced <- l.pace(ctx, gap, until)
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // the default again
		runtime.UnlockOSThread()                           // or the thread ends, and with it servers that it has started
	}()
	if err := l.wait(ctx, from-time.Since(l.start)); err != nil {
		return err
	}
	sample()
	if err := <-paced; err != nil {
		return err
	}
	sample()
	if err := l.drain(ctx); err != nil {
		return err
	}
	l.until.Store(int64(until))
	return l.failed()
}

func (l *Load) pace(ctx context.Context, gap float64, until time.Duration) error {
	for k := 0; ; k++ {
		due := time.Duration(float64(k) * gap)
		if due >= until {
			return nil
		}
		for left := due - time.Since(l.start); left > 0; left = due - time.Since(l.start) {
			ts := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&ts, nil) // interrupted: again
		}
		if k%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := l.failed(); err != nil {
			return err
		}
		if due >= l.Warm {
			_ = l.lag.RecordValue(min((time.Since(l.start) - due).Microseconds(), microsMax))
		}
		if err := l.say(k%len(l.people), due); err != nil {
			return err
		}
	}
}
