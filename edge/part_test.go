package edge

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"switchboard/exchange"
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

// crowded is an owner that takes nothing.
type crowded struct{}

func (crowded) Put(wire.Envelope) bool { return false }

// More connections end than can be said, to an owner who takes nothing and to one on another node: what is let go of is counted, and logged once a minute.
func TestUnsaid(t *testing.T) {
	var text bytes.Buffer
	now := time.UnixMilli(1_800_000_000_000)
	x := exchange.New(7)
	e := &Edge{x: x, m: newMetrics(nil), cfg: Config{Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&text, nil))}} // nothing ticks
	of := func(session wire.SessionID, n uint64) wire.Envelope {
		return wire.Envelope{To: wire.ToSlot(0), Mail: &wire.Command{Verb: wire.VerbGone, Conn: wire.Conn{Node: 7, ID: n}, Session: session}}
	}
	end := func(n uint64) wire.Envelope { return of("s_1", n) }
	want := func(what string, n float64, logged int) {
		t.Helper()
		if got := counted(t, e.m.unsaid); got != n {
			t.Errorf("%s: %v are let go of; want %v", what, got, n)
		}
		if got := strings.Count(text.String(), "ends_unsaid_total"); got != logged {
			t.Errorf("%s: it is logged %d times; want %d", what, got, logged)
		}
	}
	x.PlugSlots(allSlots(), crowded{})
	e.again = make([]parting, maxAgain-1)
	e.postGone(end(1))
	want("there is room for the last", 0, 0)
	e.postGone(end(2))
	want("there is none", 1, 1)
	e.postGone(of("", 3))
	want("there is for what a pool is told", 1, 1)
	x.UnplugSlots(allSlots(), crowded{})
	x.PlugRemote(allSlots(), hole{})
	for n := range uint64(maxParted + 2) {
		e.postGone(end(10 + n))
	}
	want("another node leads", 3, 1)
	if first, ok := e.parted[0].env.Mail.(*wire.Command); !ok || len(e.parted) != maxParted || first.Conn.ID != 12 {
		t.Errorf("%d may be said again, from %+v on; want %d from 12 on", len(e.parted), first, maxParted)
	}
	now = now.Add(time.Minute)
	e.postGone(end(9))
	want("a minute later", 4, 2)
}
