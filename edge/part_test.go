package edge

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"switchboard/wire"
)

// A session was given up, and its owner had no room to be told. Until it is told, its client follows it again: the owner hears nothing behind that, or he
// would follow what does not know him any more.
func TestGivenUpAndFollowedAgain(t *testing.T) {
	for _, again := range []bool{true, false} {
		r := newRig(t, nil)
		p := r.login(wire.JSON, "demo/customer/alice")
		id := p.open()
		conn := r.shard.lastConn(wire.VerbOpen)
		p.ask(fmt.Sprintf(`"leave":{"session":%q}`, id))
		setFunc(&r.shard.refuse, func(c *wire.Command) bool { return c.Verb == wire.VerbGone })
		r.conn(conn).giveUp(id)
		if again {
			p.ask(fmt.Sprintf(`"open":{"session":%q}`, id))
		}
		setFunc(&r.shard.refuse, func(*wire.Command) bool { return false })
		r.e.settleOrphans(r.e.now() + int64(time.Second/time.Millisecond))
		want := 1
		if again {
			want = 0
		}
		p.ask(fmt.Sprintf(`"history":{"session":%q,"limit":1}`, id)) // behind it
		if got := len(r.shard.goneFrom(conn)); got != want {
			t.Errorf("followed again %v: the session is told %d times that it is not; want %d", again, got, want)
		}
	}
}

// The client asks to follow a session again at the very moment at which it is given up: its owner hears of the request last. Between the look whether it is
// asked for and the word that it is not, nobody asks.
func TestFollowedWhileGivenUp(t *testing.T) {
	r := newRig(t, nil)
	p := r.login(wire.JSON, "demo/customer/alice")
	id := p.open()
	c := r.conn(r.shard.lastConn(wire.VerbOpen))
	p.ask(fmt.Sprintf(`"leave":{"session":%q}`, id))
	setFunc(&r.shard.refuse, func(cmd *wire.Command) bool {
		if cmd.Verb != wire.VerbGone {
			return false
		}
		p.say(fmt.Sprintf(`{"id":70,"open":{"session":%q}}`, id))
		held := 0
		eventually(t, "the owner is asked, or the connection lets nobody ask", func() bool {
			if c.mu.TryLock() {
				c.mu.Unlock()
				held = -1
			}
			held++
			return held == 50 || r.shard.count(wire.VerbOpen) == 2
		})
		return false
	})
	c.giveUp(id)
	setFunc(&r.shard.refuse, func(*wire.Command) bool { return false })
	for m := p.next(); m.Id != 70; m = p.next() {
	}
	p.ask(fmt.Sprintf(`"history":{"session":%q,"limit":1}`, id)) // behind it
	if got, gone := r.shard.attachedTo(id), len(r.shard.goneFrom(c.id)); got != 1 || gone != 1 {
		t.Errorf("it was told %d times that nobody follows, and %d do; want 1 and 1", gone, got)
	}
}

// More connections end than can be said, to an owner who takes nothing and to one on another node: what is let go of is counted, and logged once a minute.
func TestUnsaid(t *testing.T) {
	var text bytes.Buffer
	r := newRig(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&text, nil)) })
	r.stand()
	of := func(session wire.SessionID, n uint64) wire.Envelope {
		return wire.Envelope{To: wire.ToSlot(0), Mail: &wire.Command{Verb: wire.VerbGone, Conn: wire.Conn{Node: 7, ID: n}, Session: session}}
	}
	end := func(n uint64) wire.Envelope { return of("s_1", n) }
	unsaid := func() int { return int(counted(t, r.e.m.unsaid)) }
	setFunc(&r.shard.refuse, func(*wire.Command) bool { return true })
	r.e.mu.Lock()
	r.e.again = make([]parting, maxAgain-1)
	r.e.mu.Unlock()
	r.e.postGone(end(1))
	if n := unsaid(); n != 0 {
		t.Errorf("with room for the last %d are let go of", n)
	}
	r.e.postGone(end(2))
	if n := unsaid(); n != 1 {
		t.Errorf("without room %d are let go of; want 1", n)
	}
	r.e.postGone(of("", 3))
	if n := unsaid(); n != 1 {
		t.Errorf("a pool is not told: %d are let go of", n)
	}
	r.e.mu.Lock()
	r.e.again = nil
	r.e.mu.Unlock()
	r.x.UnplugSlots(allSlots(), r.shard)
	r.x.PlugRemote(allSlots(), hole{})
	for n := range uint64(maxParted + 2) {
		r.e.postGone(end(10 + n))
	}
	r.e.mu.Lock()
	n, first := len(r.e.parted), r.e.parted[0].env.Mail.(*wire.Command).Conn.ID
	r.e.mu.Unlock()
	if n != maxParted || first != 12 || unsaid() != 3 {
		t.Errorf("%d are said again, from %d on, and %d are let go of; want %d, 12 and 3", n, first, unsaid(), maxParted)
	}
	if n := strings.Count(text.String(), "ends_unsaid_total"); n != 1 {
		t.Errorf("it is logged %d times: %s", n, text.String())
	}
	r.skew.Add(int64(time.Minute))
	r.e.postGone(end(9))
	if n := strings.Count(text.String(), "ends_unsaid_total"); n != 2 {
		t.Errorf("a minute later it was logged %d times", n)
	}
}
