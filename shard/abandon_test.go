package shard_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// gate is a log handler that stops the owner in the middle of a turn, where it logs that a frame was posted to it.
type gate struct {
	slog.Handler
	stop chan chan struct{} // takes the owner's place to go on
}

func (g *gate) Enabled(context.Context, slog.Level) bool { return true }

func (g *gate) WithAttrs([]slog.Attr) slog.Handler { return g }

func (g *gate) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "a frame was posted to a shard" {
		on := make(chan struct{})
		g.stop <- on
		<-on
	}
	return nil
}

// full is a disk that can run out of space.
type full struct {
	t    *testing.T
	j    *journal.Journal
	free atomic.Uint64
	skew atomic.Int64 // of the shard's clock
}

// is waits until the journal has seen that the disk is full, or is not.
func (f *full) is(yes bool) {
	f.free.Store(1 << 40)
	if yes {
		f.free.Store(0)
	}
	for (f.j.Group(0).Writable() != nil) != yes {
		runtime.Gosched()
	}
}

func startFull(t *testing.T, change ...func(*shard.Tenant)) (*node, *full, *gate) {
	t.Helper()
	all := tenants(0)
	for _, f := range change {
		f(all["demo"])
	}
	f, g := &full{t: t}, &gate{slog.DiscardHandler, make(chan chan struct{})}
	f.free.Store(1 << 40)
	j, err := journal.Open(journal.Config{Dir: t.TempDir(), Groups: 1, FreeMin: 1 << 20, Free: func() (uint64, uint64, error) { return f.free.Load(), 1 << 41, nil }})
	if err != nil {
		t.Fatal(err)
	}
	f.j = j
	n := &node{t: t, x: exchange.New(1), j: j}
	var slots []wire.Slot
	for s := range wire.Slots {
		slots = append(slots, wire.Slot(s))
	}
	s, err := shard.Open(n.x, j.Group(0), shard.Config{Slots: slots, Peers: []wire.Slot{0}, Tenants: all, Log: slog.New(g), Now: func() time.Time {
		return time.Now().Add(time.Duration(f.skew.Load()))
	}})
	if err != nil {
		t.Fatal(err)
	}
	n.shards = append(n.shards, s)
	return n, f, g
}

// pause posts what stops the owner.
func (n *node) pause() {
	if err := n.x.Post(wire.Envelope{To: wire.ToSlot(0), Mail: &wire.Frame{}}); err != nil {
		n.t.Fatal(err)
	}
}

// A turn that the journal refuses is forgotten, and what goes on behind it goes to whom it went before: the worker who is
// connected hears of the customer's next words, and a worker who came in that turn is one.
func TestRefusedTurnLeavesWorkersServed(t *testing.T) {
	n, disk, g := startFull(t)
	defer n.stop()
	bot, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(customer("alice"))
	bot.subscribe(8, "")
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "1")
	alice.next(wire.FrameWrote)
	bot.next(wire.FrameAssigned)
	bot.next(wire.FrameDelivery)
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbAck, Session: id, AE: 1, Seq: 2})
	bot.next(wire.FrameAnswer)

	late := n.conn(worker("late", wire.OriginBot))
	n.pause()
	on := <-g.stop
	alice.send(id, "k2", "lost")
	late.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbSubscribe, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{
		Subscribe: &wirepb.Subscribe{Queues: []string{"default"}, Slots: 1},
	}}})
	n.pause() // in the turn of what was just sent
	close(on)
	on = <-g.stop
	disk.is(true)
	close(on)
	if a := late.next(wire.FrameAnswer).PB.GetSubscribe(); a.GetLease() == "" {
		t.Fatalf("subscribe answered %v", a)
	}
	if got := n.shards[0].Stats().Abandoned; got != 1 {
		t.Fatalf("%d turns were refused; want 1", got)
	}
	if e := alice.next(wire.FrameError); e.Err.Slug != wire.Unavailable {
		t.Fatalf("what was lost was refused with %v", e.Err)
	}
	disk.is(false)
	alice.send(id, "k2", "again")
	w := alice.next(wire.FrameWrote, wire.FrameError)
	for try := 0; w.Kind == wire.FrameError && w.Err.Slug == wire.Unavailable && try < 100; try++ { // the owner may hear of the room behind the journal
		alice.send(id, "k2", "again")
		w = alice.next(wire.FrameWrote, wire.FrameError)
	}
	if w.Kind != wire.FrameWrote || w.Duplicate {
		t.Fatalf("wrote %+v: what was refused is remembered", w)
	}
	for {
		if d := bot.next(wire.FrameDelivery); d.Entry.Seq == w.Seq && string(d.Entry.Body) == `{"text":"again"}` {
			break
		}
	}
	if err := readLog(n, id, func(*wire.Entry) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// A worker's connection to which a session was bound in a turn that the journal refuses was not told of the assignment: it is, when the session is bound again.
func TestRefusedTurnTellsItsWorker(t *testing.T) {
	n, disk, g := startFull(t)
	defer n.stop()
	bot, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(customer("alice"))
	lease := bot.subscribe(8, "").Lease
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "1")
	alice.next(wire.FrameWrote)
	bot.next(wire.FrameDelivery)

	there := n.conn(worker("bot", wire.OriginBot))
	n.pause()
	on := <-g.stop
	if err := n.x.Post(wire.Envelope{To: wire.ToSlot(slotOf(id)), Mail: &wire.Rebind{
		Session: id, Pool: n.shards[0].Term(), Worker: "bot", AE: 1, Conn: there.id, Lease: lease, Window: 4, Fresh: true, Reason: "route",
	}}); err != nil {
		t.Fatal(err)
	}
	alice.send(id, "k2", "lost")
	n.pause() // in the turn of what was just sent
	close(on)
	on = <-g.stop
	disk.is(true)
	close(on)
	if e := alice.next(wire.FrameError); e.Err.Slug != wire.Unavailable {
		t.Fatalf("what was lost was refused with %v", e.Err)
	}
	if a := there.next(wire.FrameAssigned); a.PB.GetAssigned().GetSession() != string(id) || a.AE != 1 {
		t.Fatalf("assigned %+v", a)
	}
	if d := there.next(wire.FrameDelivery); string(d.Entry.Body) != `{"text":"1"}` {
		t.Fatalf("delivery %+v", d)
	}
	if got := n.shards[0].Stats().Abandoned; got != 1 {
		t.Fatalf("%d turns were refused; want 1", got)
	}
}

// Everybody whose request was decided in a turn that the journal refuses hears of it at once, and nothing has come of it. Who leaves has left.
func TestRefusedTurnIsTold(t *testing.T) {
	n, disk, g := startFull(t)
	defer n.stop()
	alice, ben, carol := n.conn(customer("alice")), n.conn(customer("ben")), n.conn(customer("carol"))
	id, other := alice.open(&wirepb.Open{}), carol.open(&wirepb.Open{})
	n.pause()
	on := <-g.stop
	alice.send(id, "k1", "lost")
	ben.do(exchange.CustomerSlot("demo", "ben"), &wire.Command{Verb: wire.VerbOpen, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{}}}})
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbHistory, Session: id})
	carol.do(slotOf(other), &wire.Command{Verb: wire.VerbLeave, Session: other})
	n.pause() // in the turn of what was just sent
	close(on)
	on = <-g.stop
	disk.is(true)
	close(on)
	for what, c := range map[string]*conn{"send": alice, "open": ben, "history": alice} {
		if e := c.next(wire.FrameError); e.Err.Slug != wire.Unavailable || e.ID == 0 {
			t.Fatalf("%s was refused with %v, as %d", what, e.Err, e.ID)
		}
	}
	carol.next(wire.FrameDetach)
	if got := n.shards[0].Stats().Abandoned; got != 1 {
		t.Fatalf("%d turns were refused; want 1", got)
	}
	disk.is(false)
	if r := ben.open(&wirepb.Open{}); r == "" || r == id {
		t.Fatalf("ben opens %q", r)
	}
	alice.send(id, "k1", "again")
	if w := alice.next(wire.FrameWrote); w.Duplicate || w.Seq != 2 {
		t.Fatalf("wrote %+v: what was refused is remembered", w)
	}
}

// Who reads a session whose keys are due to be forgotten reads it also from a disk that is full.
func TestOldKeysDoNotTouchAFullDisk(t *testing.T) {
	n, disk, _ := startFull(t)
	defer n.stop()
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	for i := range 1100 {
		alice.send(id, fmt.Sprint("k", i), "hi")
		alice.next(wire.FrameWrote)
	}
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbClose, Session: id}) // what nobody waits for leaves memory
	alice.next(wire.FrameAnswer)
	disk.skew.Store(int64(25 * time.Hour))
	for n.shards[0].Stats().Loaded > 0 {
		n.conn(customer("ben")).do(slotOf(id), &wire.Command{Verb: wire.VerbTyping, Session: "s_none"}) // any mail makes the owner look at the clock
	}
	disk.is(true)
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbHistory, Session: id})
	if h := alice.next(wire.FrameAnswer).PB.GetHistory(); len(h.GetEntries()) == 0 {
		t.Fatal("no entries")
	}
	if got := n.shards[0].Stats().Abandoned; got != 0 {
		t.Fatalf("%d turns were refused; want none", got)
	}
}
