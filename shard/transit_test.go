package shard_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// answers is an inlet that keeps answers to a census.
type answers struct {
	mu   sync.Mutex
	list []*wire.CensusAnswer
}

func (a *answers) Put(e wire.Envelope) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, e.Mail.(*wire.CensusAnswer))
	return true
}

func (a *answers) of(pool uint64) *wire.CensusAnswer {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.list {
		if m.Pool == pool {
			return m
		}
	}
	return nil
}

// ask asks a shard, again until it answers, as a pool does.
func (a *answers) ask(t *testing.T, m *move, id int, pool uint64) (got *wire.CensusAnswer) {
	t.Helper()
	if !happens(20*time.Second, func() bool {
		if got = a.of(pool); got != nil {
			return true
		}
		c := &wire.Census{Tenant: "demo", Pool: pool, Shard: uint32(id), Reply: wire.ToSlot(wire.ShardSlot(7))} //nolint:gosec // small
		_ = m.x.Post(wire.Envelope{To: wire.ToSlot(wire.ShardSlot(id)), Mail: c})
		return false
	}) {
		t.Fatalf("shard %d does not answer", id)
	}
	return got
}

// Sessions whose slots are on their way are in the answer of the shard that they have left, with the shape that tells whose word counts; and in that of
// the other as soon as it serves them.
func TestCensusTellsOfWhatHasLeft(t *testing.T) {
	const people = 24
	m := moveOn(t, vfs.NewMem(), 0)
	defer m.stop()
	bot := m.conn(worker("bot", wire.OriginBot))
	lease := bot.subscribe(people, "").Lease
	assign(m, bot, people)
	a := &answers{}
	m.x.PlugSlots([]wire.Slot{wire.ShardSlot(7)}, a)

	m.step = 1
	m.again(0)
	m.until(0)
	from, to := a.ask(t, m, 0, 1<<40), a.ask(t, m, 1, 1<<40+1)
	if len(from.Live)+len(from.Left) != people || len(from.Left) == 0 || len(from.Live) == 0 || len(to.Live)+len(to.Left) != 0 {
		t.Fatalf("while they are on their way shard 0 tells of %d and %d that have left, shard 1 of %d", len(from.Live), len(from.Left), len(to.Live))
	}
	for _, l := range from.Left {
		if !l.Assigned || l.Worker != "bot" || l.AE != 1 || l.To != uint64(wire.ShardSlot(1)) || l.Shape != 2 || to.Shape > l.Shape {
			t.Fatalf("it tells of %+v; shard 1 is at shape %d", l, to.Shape)
		}
	}
	// The pool that has begun with shard 0 counts all of them: one more customer finds nobody who has room.
	bot = m.conn(worker("bot", wire.OriginBot))
	bot.subscribe(people, lease)
	late := m.conn(customer("late"))
	waits := late.open(&wirepb.Open{})
	late.send(waits, "k", "hi")
	if used, waiting := stand(m, late); used != people || waiting != 1 {
		t.Fatalf("the bot has %d of %d slots in use, %d wait", used, people, waiting)
	}

	m.step = 2
	m.again(1)
	m.until(1)
	to = a.ask(t, m, 1, 1<<40+2)
	if len(to.Live) != len(from.Left) || to.Shape <= from.Left[0].Shape {
		t.Fatalf("shard 1 serves %d at shape %d; %d have left at %d", len(to.Live), to.Shape, len(from.Left), from.Left[0].Shape)
	}
	// Who waits for room goes, or he would have what becomes free.
	late.do(slotOf(waits), &wire.Command{Verb: wire.VerbClose, Session: waits, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Close{Close: &wirepb.Close{}}}})
	late.next(wire.FrameAnswer)
	// One of them ends there. A pool that begins now believes shard 1, in whatever order it is answered.
	gone := to.Live[0].Session
	bot.do(slotOf(gone), &wire.Command{Verb: wire.VerbClose, Session: gone, AE: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Close{Close: &wirepb.Close{}}}})
	bot.next(wire.FrameAnswer)
	for _, first := range []int{0, 1} {
		a := [2]*wire.CensusAnswer{a.ask(t, m, 0, uint64(1<<41+2*first)), a.ask(t, m, 1, uint64(1<<41+2*first+1))} //nolint:gosec // small
		if used := shard.Counted(siteOf(0, 2), a[first], a[1-first]); used != people-1 {
			t.Fatalf("when shard %d answers first the bot has %d sessions; want %d", first, used, people-1)
		}
	}
}

// So are the wrap-ups of such sessions: a pool that begins then counts them, and one that begins when they have come where they go counts them once.
func TestCensusTellsOfWrapUpsThatHaveLeft(t *testing.T) {
	const people = 24
	m := moveOn(t, vfs.NewMem(), 0)
	defer m.stop()
	ann := m.conn(worker("ann", wire.OriginHuman))
	ann.subscribe(people, "")
	for i := range people {
		who := m.conn(customer(fmt.Sprint("c", i)))
		id := who.open(&wirepb.Open{})
		who.send(id, "k", "hi")
		o := ann.next(wire.FrameKeep).PB.GetOffer()
		ann.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: o.GetOffer()}}}})
		ann.next(wire.FrameAssigned)
		ann.do(slotOf(id), &wire.Command{Verb: wire.VerbClose, Session: id, AE: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Close{Close: &wirepb.Close{}}}})
		ann.next(wire.FrameAnswer)
	}
	a := &answers{}
	m.x.PlugSlots([]wire.Slot{wire.ShardSlot(7)}, a)
	m.step = 1
	m.again(0)
	m.until(0)
	from, to := a.ask(t, m, 0, 1<<40), a.ask(t, m, 1, 1<<40+1)
	if len(from.WrapUps)+len(from.Left) != people || len(from.Left) == 0 || len(to.WrapUps)+len(to.Left) != 0 {
		t.Fatalf("while they are on their way shard 0 tells of %d and %d that have left, shard 1 of %d", len(from.WrapUps), len(from.Left), len(to.WrapUps))
	}
	for _, l := range from.Left {
		if l.Assigned || l.Worker != "ann" || l.AE != 1 || l.LeftMS <= 0 || l.LeftMS > 600_000 {
			t.Fatalf("it tells of %+v", l)
		}
	}
	m.step = 2
	m.again(1)
	m.until(1)
	later := a.ask(t, m, 1, 1<<40+2)
	for _, list := range [][2]*wire.CensusAnswer{{from, to}, {to, from}, {from, later}, {later, from}} {
		if used := shard.Counted(siteOf(0, 2), list[0], list[1]); used != people {
			t.Errorf("she is busy with %d; want %d", used, people)
		}
	}
}

// assign lets customers come until the bot has so many sessions.
func assign(m *move, bot *conn, n int) {
	m.t.Helper()
	for i := range n {
		who := m.conn(customer(fmt.Sprint("c", i)))
		who.send(who.open(&wirepb.Open{}), "k", "hi")
		bot.next(wire.FrameAssigned)
	}
}

// stand returns how many slots of the bot are in use and how many sessions wait, once one does.
func stand(m *move, c *conn) (used, waiting uint32) {
	m.t.Helper()
	who := m.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	if !happens(20*time.Second, func() bool {
		who.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbStats, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Stats{Stats: &wirepb.Stats{}}}})
		st := who.next(wire.FrameAnswer).PB.GetStats()
		if len(st.GetWorkers()) == 1 && len(st.GetQueues()) == 1 {
			used, waiting = st.Workers[0].Used, st.Queues[0].Waiting
		}
		return waiting > 0 || used > 24
	}) {
		m.t.Fatalf("%d slots are in use, and nobody waits", used)
	}
	return used, waiting
}
