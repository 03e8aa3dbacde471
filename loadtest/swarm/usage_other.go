//go:build !unix

package swarm

import "runtime"

// usage returns the bytes that the Go runtime has from the system; processor time is not known here.
func usage() (rss int64, cpu float64) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys), 0 //nolint:gosec // of this machine
}

// fileLimit is not a thing here; sockets are bounded by memory.
func fileLimit() int { return 1 << 20 }
