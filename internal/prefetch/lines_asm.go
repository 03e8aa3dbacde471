//go:build amd64 || arm64

package prefetch

import "unsafe"

// lines asks for the n bytes at p, by steps of a line.
//
//go:noescape
func lines(p unsafe.Pointer, n uintptr)
