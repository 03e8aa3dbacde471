package shard_test

import (
	"runtime"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func supervisor(sub string) *wire.Principal {
	return &wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: sub}
}

func (c *conn) join(id wire.SessionID) {
	c.n.t.Helper()
	c.do(slotOf(id), &wire.Command{Verb: wire.VerbJoin, Session: id, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Join{Join: &wirepb.Join{As: "monitor"}}}})
	c.next(wire.FrameAttach)
}

func (c *conn) takeOver(id wire.SessionID) {
	c.n.t.Helper()
	c.do(slotOf(id), &wire.Command{Verb: wire.VerbTake, Session: id, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Take{Take: &wirepb.Take{}}}})
	c.next(wire.FrameAnswer)
}

// leaves ends c as its edge does.
func (c *conn) leaves(sessions ...wire.SessionID) {
	c.n.t.Helper()
	for _, id := range sessions {
		if err := c.n.x.Post(wire.Envelope{To: wire.ToSlot(slotOf(id)), Mail: &wire.Command{Verb: wire.VerbGone, Conn: c.id, Who: c.who, Session: id}}); err != nil {
			c.n.t.Fatal(err)
		}
	}
	c.n.x.UnplugConn(c.id.ID)
}

func types(n *node, id wire.SessionID) map[string]int {
	n.t.Helper()
	seen := map[string]int{}
	if err := readLog(n, id, func(e *wire.Entry) error { seen[e.Type]++; return nil }); err != nil {
		n.t.Fatal(err)
	}
	return seen
}

// eventually lets time go by, as the shard sees it, until the session's log holds each type.
func eventually(n *node, disk *full, id wire.SessionID, want ...string) {
	n.t.Helper()
	by := time.Now().Add(10 * time.Second)
	poke := n.conn(customer("ben"))
	for {
		seen, missing := types(n, id), ""
		for _, typ := range want {
			if seen[typ] == 0 {
				missing = typ
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(by) {
			n.t.Fatalf("%s never came: %v", missing, seen)
		}
		disk.skew.Add(int64(300 * time.Millisecond))
		poke.do(slotOf(id), &wire.Command{Verb: wire.VerbTyping, Session: "s_none"})
		runtime.Gosched()
	}
}

// That a guest and a supervisor who took a session are gone is heard once, maybe in a turn that the journal refuses. They are gone
// all the same [SW-5a.1] [SW-5a.4].
func TestGoneInARefusedTurn(t *testing.T) {
	n, disk, g := startFull(t)
	defer n.stop()
	alice, sue, tom := n.conn(customer("alice")), n.conn(supervisor("sue")), n.conn(supervisor("tom"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "1")
	alice.next(wire.FrameWrote)
	sue.join(id)
	tom.takeOver(id)
	n.pause()
	on := <-g.stop
	sue.leaves(id)
	tom.leaves(id)
	n.pause()
	close(on)
	on = <-g.stop
	disk.is(true)
	close(on)
	for n.shards[0].Stats().Abandoned == 0 {
		runtime.Gosched()
	}
	disk.is(false)
	eventually(n, disk, id, "participant.left", "worker.lost")
}

// Who is gone while the log takes nothing is gone also when the session is read again before that could be written.
func TestGoneWhileTheDiskIsFull(t *testing.T) {
	n, disk, g := startFull(t)
	defer n.stop()
	alice, sue, tom := n.conn(customer("alice")), n.conn(supervisor("sue")), n.conn(supervisor("tom"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "1")
	alice.next(wire.FrameWrote)
	sue.join(id)
	tom.takeOver(id)
	disk.is(true)
	sue.leaves(id)
	tom.leaves(id)
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbHistory, Session: id}) // both were heard
	alice.next(wire.FrameAnswer)
	disk.is(false)
	n.pause()
	on := <-g.stop
	alice.send(id, "k2", "lost")
	n.pause()
	close(on)
	on = <-g.stop
	disk.is(true)
	close(on)
	for n.shards[0].Stats().Abandoned == 0 {
		runtime.Gosched()
	}
	disk.is(false)
	eventually(n, disk, id, "participant.left", "worker.lost")
}

// A connection may end before what it asked for without waiting for an answer is done: its edge knows nothing to take back. The
// session finds out when it speaks to it.
func TestTakenByWhoIsGone(t *testing.T) {
	n := startOn(t, journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: -1}, 0)
	defer n.stop()
	bot, alice, sue := n.conn(worker("bot", wire.OriginBot)), n.conn(customer("alice")), n.conn(supervisor("sue"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "1")
	alice.next(wire.FrameWrote)
	n.x.UnplugConn(sue.id.ID)
	for _, m := range []*wire.Command{
		{Verb: wire.VerbTake, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Take{Take: &wirepb.Take{}}}},
		{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{Session: string(id)}}}},
	} {
		m.Session, m.Conn, m.Who = id, sue.id, sue.who
		if err := n.x.Post(wire.Envelope{To: wire.ToSlot(slotOf(id)), Mail: m}); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if e := alice.next(wire.FrameMessage).Entry; e.Type == "session.queued" && e.Seq > 4 {
			break
		}
	}
	n.x.UnplugConn(bot.id.ID)
}

// What waits for rows when the journal refuses a turn is answered at once, and not when its client gives up.
func TestRefusedTurnAnswersWhoWaits(t *testing.T) {
	n, disk, g := startFull(t)
	defer n.stop()
	alice, ben := n.conn(customer("alice")), n.conn(customer("ben"))
	id := alice.open(&wirepb.Open{})
	n.pause()
	on := <-g.stop
	alice.send(id, "k1", "lost")
	ben.do(exchange.CustomerSlot("demo", "ben"), &wire.Command{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{}}}})
	n.pause()
	close(on)
	on = <-g.stop
	disk.is(true)
	close(on)
	if f := ben.next(wire.FrameError); f.Err.Slug != wire.Unavailable {
		t.Fatalf("%+v", f.Err)
	}
}
