package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine returns the facts that a figure needs: processors, memory, kernel, Go.
func Machine() string {
	return fmt.Sprintf("%d × %s, %s memory, %s/%s %s, %s", runtime.NumCPU(), fact("/proc/cpuinfo", "model name"), fact("/proc/meminfo", "MemTotal"),
		runtime.GOOS, runtime.GOARCH, fact("/proc/sys/kernel/osrelease", ""), runtime.Version())
}

// fact returns what stands behind prefix in a file of /proc.
func fact(path, prefix string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for l := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(l, prefix) {
			_, v, ok := strings.Cut(l, ":")
			if !ok {
				v = l
			}
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}
