//go:build race

package secure

// raced tells that the race detector is on: pools forget at random what they have then.
const raced = true
