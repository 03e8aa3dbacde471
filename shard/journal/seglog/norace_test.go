//go:build !race

package seglog

const raced = false
