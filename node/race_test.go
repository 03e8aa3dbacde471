//go:build race

package node_test

// raced tells that the race detector is on: the stores then have their memory on the heap, 32 MiB at a time.
const raced = true
