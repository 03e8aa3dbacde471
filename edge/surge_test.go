package edge

import (
	"strings"
	"testing"

	"switchboard/wire"
)

// A bot that is assigned thousands of sessions before anything can be written to it keeps its connection; a customer has no business
// with as much, and nobody's outbox is without a bound.
func TestOutboxOfASurge(t *testing.T) {
	f := func(role wire.Role, frames int, cut bool) {
		t.Helper()
		c, _, _ := bare(t, wire.JSON, role)
		c.mu.Lock()
		c.writer = true // somebody writes, and has not come to it
		c.mu.Unlock()
		text := strings.Repeat("x", 1000)
		for range frames {
			c.push(&wire.Frame{Kind: wire.FrameKeep, Text: text})
		}
		if got := c.byeAt.Load() != 0; got != cut {
			t.Errorf("a %s with %d frames: cut %v; want %v", role, frames, got, cut)
		}
	}
	f(wire.RoleWorker, 10_000, false)
	f(wire.RoleWorker, 20_000, true)
	f(wire.RoleCustomer, 800, false)
	f(wire.RoleCustomer, 2000, true)
}
