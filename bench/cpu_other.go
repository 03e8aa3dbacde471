//go:build !linux

package bench

import "time"

// threadCPU is the processor time of the calling thread; ok is false where that cannot be told.
func threadCPU() (d time.Duration, ok bool) { return 0, false }
