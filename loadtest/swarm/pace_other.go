//go:build !linux

package swarm

import "time"

func sharpen() {}

// nap sleeps for d.
func nap(d time.Duration) { time.Sleep(d) }
