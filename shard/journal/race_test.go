//go:build race

package journal

// raced tells that the race detector is on: everything takes fifteen times as long, and opening a store again and again finds no race that the first times did not.
const raced = true
