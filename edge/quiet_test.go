package edge

import (
	"strconv"
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

// Whoever looks after deadlines may come by while a connection leaves: it then keeps its hands off what is asked for.
func TestQuietConnectionLeaves(t *testing.T) {
	r := newRig(t, nil)
	for i := range 20 {
		p := r.login(wire.JSON, "demo/customer/alice"+strconv.Itoa(i))
		p.open()
	}
	list := r.e.list()
	later := r.e.now() + 2*quietMS
	ended := make(chan struct{})
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for {
			for _, c := range list {
				c.watchQuiet(later)
				c.watchRequests(later)
			}
			select {
			case <-ended:
				return
			default:
			}
		}
	}()
	for _, c := range list {
		c.cut()
	}
	eventually(t, "all have left", func() bool { return r.e.Connections() == 0 })
	close(ended)
	<-looked
}
