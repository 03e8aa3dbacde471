// Package prefetch asks the processor to bring memory into its caches that will be looked at soon, while something else is done. It is a
// wish and not a read: it waits for nothing, changes nothing, may be said of what others write to at the moment, and never fails. Where it
// is not known how to ask (other processors than amd64 and arm64) nothing happens.
//
// It helps whoever goes from one of many thousand things to the next and knows some steps before which it will be. A wait for memory is
// about a hundred nanoseconds, and what is asked for comes all at once.
package prefetch

import "unsafe"

// Object asks for all of what p points to, which may be nil.
func Object[T any](p *T) {
	if p != nil {
		lines(unsafe.Pointer(p), unsafe.Sizeof(*p)) //nolint:gosec // of the object
	}
}

// Start asks for the first n bytes of what p points to, which may be nil: of something large of which the rest is not looked at.
func Start[T any](p *T, n uintptr) {
	if p != nil {
		lines(unsafe.Pointer(p), n) //nolint:gosec // of the object
	}
}

// Slice asks for all of s.
func Slice[T any](s []T) {
	if len(s) > 0 {
		lines(unsafe.Pointer(unsafe.SliceData(s)), uintptr(len(s))*unsafe.Sizeof(s[0])) //nolint:gosec // of the slice
	}
}

// String asks for the text of s.
func String[T ~string](s T) {
	if len(s) > 0 {
		lines(unsafe.Pointer(unsafe.StringData(string(s))), uintptr(len(s))) //nolint:gosec // of the text
	}
}
