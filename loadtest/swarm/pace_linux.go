package swarm

import (
	"syscall"
	"time"
)

// sharpen lets the thread's sleeps end when they should, and not 50 µs later.
func sharpen() {
	const setTimerSlack = 29
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1000, 0) // without it the generator is a little late, and says so
}

// nap sleeps for d.
func nap(d time.Duration) {
	if d > 0 {
		ts := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&ts, nil) // a signal ends it early, and the caller looks at the time
	}
}
