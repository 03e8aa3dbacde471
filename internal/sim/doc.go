// Package sim is a world in one process for whole nodes: a network that delays, cuts one way or both and resets, and disks that
// lose what was not synced. In a bubble of testing/synctest its time is virtual, so that minutes of elections, leases and backoffs
// take a second. The nodes are real: the same code as in the binary, from the socket to the log.
//
// What is decided by the seed is what happens when (faults, delays, who talks); the order in which goroutines run is not. So a seed
// that fails may have to be run some times to fail again. DESIGN.md says which promise is tried where, and under which faults.
package sim
