package seglog

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnknown: a system without the call is no broken disk, and a broken disk is not taken for one.
func TestUnknown(t *testing.T) {
	for err, want := range map[syscall.Errno]bool{
		unix.ENOSYS: true, unix.EOPNOTSUPP: true, unix.EINVAL: true, unix.EPERM: true,
		unix.EIO: false, unix.ENOSPC: false, unix.EBADF: false, unix.EDQUOT: false,
	} {
		if got := unknown(err); got != want {
			t.Errorf("unknown(%v) = %v; want %v", err, got, want)
		}
	}
}
