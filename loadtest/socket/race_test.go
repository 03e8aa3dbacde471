//go:build race

package socket

// forgets is what pools forget under the race detector, in allocations of a turn.
const forgets = 8
