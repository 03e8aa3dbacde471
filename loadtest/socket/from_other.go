//go:build !linux

package socket

import "syscall"

// fromAddress is Linux' alone.
func fromAddress(string, string, syscall.RawConn) error { return nil }
