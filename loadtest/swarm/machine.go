package swarm

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"switchboard/loadtest/report"
)

// machine says where it ran.
func machine() string {
	return fmt.Sprintf("%s/%s, %s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU())
}

// hardware says on what, as far as the system tells it.
func hardware() (h report.Hardware) {
	h.Model, h.Kernel = fact("/proc/cpuinfo", "model name"), fact("/proc/sys/kernel/osrelease", "")
	if kib, err := strconv.ParseFloat(strings.TrimSuffix(fact("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		h.Memory = fmt.Sprintf("%.1f GiB", kib/(1<<20)) // the last digits differ from one start of the system to the next
	}
	return h
}

// fact returns what stands behind prefix and a colon in a file of /proc, or the first line without prefix; "" when that is not known.
func fact(path, prefix string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch rest, is := strings.CutPrefix(lines.Text(), prefix); {
		case is && prefix == "":
			return strings.TrimSpace(rest)
		case is:
			_, v, _ := strings.Cut(rest, ":")
			return strings.TrimSpace(v)
		}
	}
	return ""
}
