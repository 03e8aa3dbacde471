package bench

import (
	"syscall"
	"time"
)

// threadCPU is the processor time of the calling thread; ok is false where that cannot be told.
func threadCPU() (d time.Duration, ok bool) {
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
