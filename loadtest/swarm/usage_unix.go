//go:build unix

package swarm

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

// usage returns what this process takes: resident bytes now (where the system tells; its highest otherwise), and seconds
// of processor time.
func usage() (rss int64, cpu float64) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil {
		cpu = float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
		rss = int64(r.Maxrss) //nolint:unconvert // another size elsewhere
		if runtime.GOOS != "darwin" {
			rss *= 1024
		}
	}
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return rss, cpu
	}
	if f := bytes.Fields(statm); len(f) > 1 {
		if pages, err := strconv.ParseInt(string(f[1]), 10, 64); err == nil {
			rss = pages * int64(os.Getpagesize())
		}
	}
	return rss, cpu
}

// fileLimit raises the limit of open files as far as it goes, and returns it.
func fileLimit() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	if l.Cur < l.Max {
		up := l
		up.Cur = l.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &up) == nil {
			l = up
		}
	}
	return int(min(uint64(l.Cur), 1<<30)) //nolint:gosec,unconvert // bounded; another type elsewhere
}
