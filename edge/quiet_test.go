package edge

import (
	"testing"

	"switchboard/wire"
)

// A connection that has asked for something and been quiet for a while keeps no room for requests, and asks on as before.
func TestQuietConnectionIsSmall(t *testing.T) {
	r := newRig(t, nil)
	r.stand()
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	var c *conn
	for i := range r.e.table {
		for _, x := range r.e.table[i].list(nil) {
			c = x
		}
	}
	f := func(want bool) {
		t.Helper()
		eventually(t, "everything is answered", func() bool { return c.unanswered.Load() == 0 })
		c.mu.Lock()
		defer c.mu.Unlock()
		if got := c.pending == nil && c.flights == nil && c.queue == nil && c.spareFlight == nil; got != want {
			t.Errorf("it keeps no room for requests: %v; want %v", got, want)
		}
	}
	f(false)
	r.pass(quietMS * 1e6 * 9 / 10)
	f(false)
	r.pass(quietMS * 1e6 / 10)
	f(true)
	if m, _ := p.ask(`"send":{"session":"` + string(id) + `","type":"text","body":{"text":"hi"}}`); m.GetSend() == nil {
		t.Errorf("it asks, and is answered %v", m)
	}
	f(false)
}
