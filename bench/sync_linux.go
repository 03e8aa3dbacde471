package bench

import (
	"os"
	"syscall"
)

// syncData is fdatasync: what a log needs.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) } //nolint:gosec // a descriptor
