//go:build !race

package socket

const forgets = 0
