package seglog

import (
	"errors"

	"golang.org/x/sys/unix"
)

// putSynced writes all of b at off and returns when it is on the disk, in one call of the system where two would do (pwritev2(2), RWF_DSYNC): a
// thread that comes back from one must find a processor for Go again, and behind the first of two that is the tail of every sync. It reports false, and has
// written nothing that counts, when the kernel or the file system does not know that.
func putSynced(fd uintptr, b []byte, off int64) (known bool, err error) {
	for len(b) > 0 {
		n, err := unix.Pwritev2(int(fd), [][]byte{b}, off, unix.RWF_DSYNC) //nolint:gosec // a descriptor
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case unknown(err):
			return false, nil
		case err != nil:
			return true, err //nolint:wrapcheck // the caller says which file it was
		case n <= 0:
			return true, unix.EIO // never, of a file
		}
		b, off = b[n:], off+int64(n)
	}
	return true, nil
}

// unknown tells whether a kernel, a file system or a sandbox says by err that it has no such call: the first Linux with it has not the flag (EINVAL), and
// profiles of containers that are older than the call forbid it (EPERM). Nothing is written then. What is wrong otherwise says the plain write once more.
func unknown(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM)
}
