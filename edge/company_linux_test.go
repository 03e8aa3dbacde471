package edge

import (
	"testing"
	"time"

	"switchboard/wire"
)

// state returns what c knows of what follows its acknowledgements.
func (c *conn) state() company {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.company
}

// calm waits until c's writer has ended and knows all owners: what is queued while it writes goes with it, and it looks around when
// there are others.
func calm(t *testing.T, c *conn) {
	t.Helper()
	if c.seen.Load() != c.e.x.Changes() {
		c.wake()
	}
	eventually(t, "a writer that has ended", func() bool {
		if c.seen.Load() != c.e.x.Changes() {
			return false
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.writer
	})
}

// expect lets c believe that answers take so long.
func (c *conn) expect(after time.Duration) {
	c.mu.Lock()
	c.company.after = micros(after)
	c.mu.Unlock()
}

// An acknowledgement waits for what usually follows it, and for nothing else.
func TestCompany(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AckDelay, c.Answer = time.Hour, 24*time.Hour })
	if len(r.e.loops) == 0 {
		t.Skip("connections without a loop write at once: nothing is gathered there")
	}
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	c := r.conn(r.shard.lastConn(wire.VerbOpen))
	send := func(n int) {
		p.say(`{"id":` + uintString(uint64(n)) + `,"send":{"session":"` + string(id) + `","type":"text","body":{"text":"hello"}}}`)
	}
	expect := func(n uint64) {
		t.Helper()
		if m := p.next(); m.Id != n || n != 0 && m.GetSend() == nil || n == 0 && m.GetMessage() == nil {
			t.Fatalf("got %v; want the reply to %d, or for 0 an entry", m, n)
		}
	}
	send(1)
	expect(1) // nothing is known yet
	r.shard.say(id, `"soon"`, "")
	expect(0)

	calm(t, c)
	c.expect(time.Hour)
	send(2)
	eventually(t, "an acknowledgement that waits", func() bool { return c.state().waits })
	r.shard.say(id, `"soon again"`, "")
	expect(2)
	expect(0)

	calm(t, c)
	c.expect(time.Hour)
	send(3)
	eventually(t, "an acknowledgement that waits", func() bool { return c.state().waits })
	send(4) // he asks for more than an answer: both are written
	expect(3)
	expect(4)
	r.shard.say(id, `"one answer"`, "")
	expect(0)

	calm(t, c)
	c.expect(time.Hour)
	send(5)
	eventually(t, "an acknowledgement that waits", func() bool { return c.state().waits })
	p.say(`{"id":6,"history":{"session":"` + string(id) + `"}}`)
	expect(5) // whatever comes is company
	if m := p.next(); m.Id != 6 {
		t.Fatalf("got %v; want the reply to 6", m)
	}

	calm(t, c)
	c.expect(time.Hour)
	send(7)
	eventually(t, "an acknowledgement that waits", func() bool { return c.state().waits })
	c.bye(wire.CloseKicked, 0)
	expect(7) // an end does not lose it
}

// The patience of a connection follows what it sees.
func TestPatience(t *testing.T) {
	var k company
	for _, v := range []struct {
		after, most, want time.Duration
	}{
		{0, time.Second, time.Millisecond},
		{5 * time.Millisecond, time.Second, 11 * time.Millisecond},
		{time.Second, 100 * time.Millisecond, 100 * time.Millisecond},
	} {
		if k.after = micros(v.after); k.patience(v.most) != v.want {
			t.Errorf("after %v, at most %v: %v; want %v", v.after, v.most, k.patience(v.most), v.want)
		}
	}
	h := newHand(t, func(c *Config) { c.AckDelay, c.Answer = time.Hour, 24*time.Hour })
	c, _ := h.admit(wire.JSON, wire.RoleCustomer)
	meet := func(after time.Duration) {
		c.company.at = h.l.now() - int64(after)
		c.met()
	}
	meet(8 * time.Minute)
	if k := c.company; !k.usual || (time.Duration(k.after)*time.Microsecond).Round(time.Minute) != 8*time.Minute {
		t.Errorf("the first answer leaves %+v", k)
	}
	meet(4 * time.Minute)
	if k := c.company; !k.usual || (time.Duration(k.after)*time.Microsecond).Round(time.Minute) != 7*time.Minute {
		t.Errorf("the second answer leaves %+v; want a mean of 7 minutes", k)
	}
	meet(2 * time.Hour)
	if c.company.usual {
		t.Error("an answer after two hours is usual")
	}
	meet(time.Minute)
	if k := c.company; !k.usual || (time.Duration(k.after)*time.Microsecond).Round(time.Minute) != time.Minute {
		t.Errorf("the first after a silence leaves %+v; want it to stand alone", k)
	}
}

// An acknowledgement that nobody follows is written after a while, and the next one does not wait.
func TestNoCompany(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AckDelay = 50 * time.Millisecond })
	if len(r.e.loops) == 0 {
		t.Skip("connections without a loop write at once: nothing is gathered there")
	}
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	c := r.conn(r.shard.lastConn(wire.VerbOpen))
	for n := range 3 { // the timer is set again
		calm(t, c)
		c.mu.Lock()
		c.company = company{usual: true, after: micros(20 * time.Millisecond)}
		c.mu.Unlock()
		if m, _ := p.ask(`"send":{"session":"` + string(id) + `","type":"text","body":{"text":"hello"}}`); m.GetSend() == nil {
			t.Fatalf("turn %d: got %v; want the reply", n, m)
		}
		if k := c.state(); k.usual || k.waits {
			t.Fatalf("turn %d: an acknowledgement that had no company leaves %+v", n, k)
		}
	}
	w := r.login(wire.JSON, "demo/worker/bob") // his acknowledgements are gathered by how much he has to do
	w.ask(`"subscribe":{"slots":1}`)
	wc := r.conn(r.shard.lastConn(wire.VerbSubscribe))
	wc.mu.Lock()
	wc.company = company{usual: true}
	wait := wc.alone(&item{f: &wire.Frame{Kind: wire.FrameWrote, Verb: wire.VerbSend}})
	wc.mu.Unlock()
	if wait {
		t.Error("a worker's acknowledgement waits")
	}
}
