//go:build race

package seglog

// raced tells that the race detector is on: everything takes fifteen times as long, and what has one goroutine has no race.
const raced = true
