package shard_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/broker/level"
	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// standing is a node of one shard whose clock stands still until it is told to go on.
type standing struct {
	*node
	at   *atomic.Int64 // Unix ms
	fs   vfs.FS
	defs []level.Definition
}

var morning = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC).UnixMilli()

func startStanding(t *testing.T, fs vfs.FS, at int64, defs ...level.Definition) *standing {
	t.Helper()
	set, err := level.Compile(defs, nil, time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(journal.Config{Dir: "data", FS: fs, Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	n := &standing{node: &node{t: t, x: exchange.New(1), j: j}, at: &atomic.Int64{}, fs: fs, defs: defs}
	n.at.Store(at)
	var slots []wire.Slot
	for s := range wire.Slots {
		slots = append(slots, wire.Slot(s))
	}
	all := tenants(1 << 40)
	all["demo"].Levels = set
	s, err := shard.Open(n.x, j.Group(0), shard.Config{Slots: slots, Peers: []wire.Slot{0}, Tenants: all, Now: func() time.Time { return time.UnixMilli(n.at.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	n.shards = append(n.shards, s)
	return n
}

// pass lets time pass, and everything that is then due be done and be durable.
func (n *standing) pass(d time.Duration) {
	n.t.Helper()
	n.at.Add(d.Milliseconds())
	for range 3 { // what a turn has decided is counted, or told, in the next
		probe := n.conn(customer("probe"))
		probe.open(&wirepb.Open{})
		probe.do(exchange.CustomerSlot("demo", "probe"), &wire.Command{Verb: wire.VerbGone})
	}
}

// again starts the node anew, over the same rows or those that a power cut has left.
func (n *standing) again(fs vfs.FS) *standing {
	n.t.Helper()
	n.stop()
	return startStanding(n.t.(*testing.T), fs, n.at.Load(), n.defs...)
}

// total returns what was counted of the shop.
func (n *standing) total(name, shop string) (count, met, timed int64) {
	n.t.Helper()
	n.pass(20 * time.Second)
	for _, row := range n.shards[0].Levels()["demo"] {
		if row.Level == name && row.Of == level.OfShop && row.Name == shop {
			c := row.Windows[level.Total]
			return c.Count, c.Met, c.Timed
		}
	}
	return 0, 0, 0
}

func (n *standing) is(name, shop string, count, met, timed int64) {
	n.t.Helper()
	if c, m, r := n.total(name, shop); c != count || m != met || r != timed {
		n.t.Fatalf("%s of shop %q: %d of %d in time, %d timed; want %d of %d, %d", name, shop, m, c, r, met, count, timed)
	}
}

// told returns the level entries of a session.
func (n *standing) told(id wire.SessionID) string {
	n.t.Helper()
	var list []string
	if err := readLog(n.node, id, func(e *wire.Entry) error {
		if strings.HasPrefix(e.Type, "level.") {
			var b struct {
				Level   string
				Case    int
				Percent int
			}
			if err := json.Unmarshal(e.Body, &b); err != nil {
				return err
			}
			if e.Visibility != wire.Staff {
				n.t.Fatalf("%s is %s", e.Type, e.Visibility)
			}
			list = append(list, fmt.Sprintf("%s %s#%d %d%%", e.Type, b.Level, b.Case, b.Percent))
		}
		return nil
	}); err != nil {
		n.t.Fatal(err)
	}
	return strings.Join(list, ", ")
}

func (c *conn) ask(id wire.SessionID, text string) uint64 {
	c.n.t.Helper()
	c.send(id, "", text)
	return c.next(wire.FrameWrote).Seq
}

func (c *conn) answer(id wire.SessionID, ae, ack uint64) {
	c.n.t.Helper()
	c.do(slotOf(id), &wire.Command{Verb: wire.VerbReply, Session: id, AE: ae, Ack: wire.Some(ack), Type: "text", Body: []byte(`{}`)})
	c.next(wire.FrameWrote)
}

// minute is a limit of a minute for anybody's answer, with warnings.
var minute = level.Definition{
	Name: "minute", LimitMS: 60_000, Count: []string{"human", "bot"},
	Warn:  []level.Warning{{At: 0.5, Do: []string{"notify"}}, {At: 0.8, Do: []string{"notify", "holding_reply"}}, {At: 1, Do: []string{"notify"}}},
	Hours: level.Hours{}, Holding: "Somebody will come.",
}

const allTold = "level.warned minute#2 50%, level.warned minute#2 80%, level.missed minute#2 100%"

// A case is warned of and missed at its times, counted once, and its late answer is timed.
func TestLevelsAreTold(t *testing.T) {
	n := startStanding(t, vfs.NewMem(), morning, minute)
	defer func() { n.stop() }()
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{Shop: "s1"})
	alice.ask(id, "anybody?")
	n.pass(29 * time.Second)
	if got := n.told(id); got != "" {
		t.Fatalf("told %s before half of the time was over", got)
	}
	n.pass(31 * time.Second) // at the limit
	if got, want := n.told(id), "level.warned minute#2 50%, level.warned minute#2 80%"; got != want {
		t.Fatalf("told %s; want %s", got, want)
	}
	for { // the holding reply reaches the customer, and answers nothing
		if m := alice.next(wire.FrameMessage); m.Entry.Kind == wire.KindMessage {
			if string(m.Entry.Body) != `{"text":"Somebody will come."}` || m.Entry.Origin != wire.OriginSystem {
				t.Fatalf("%+v", m.Entry)
			}
			break
		}
	}
	n.pass(time.Millisecond)
	if got := n.told(id); got != allTold {
		t.Fatalf("told %s; want %s", got, allTold)
	}
	n.is("minute", "s1", 1, 0, 0)
	bot := n.conn(worker("bot", wire.OriginBot))
	bot.subscribe(8, "")
	bot.next(wire.FrameDelivery)
	bot.answer(id, 1, 2)
	n.is("minute", "s1", 1, 0, 1)
	seq := alice.ask(id, "and now?")
	n.pass(60 * time.Second)
	bot.answer(id, 1, seq)
	n.is("minute", "s1", 2, 1, 2)
	stats := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	stats.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbStats, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Stats{Stats: &wirepb.Stats{}}}})
	got := stats.next(wire.FrameAnswer).PB.GetStats().Levels
	if len(got) != 2 || got[1].Of != "shop" || got[1].Name != "s1" || got[1].LimitMs != 60_000 {
		t.Fatalf("stats %v", got)
	}
	if w := got[1].Windows[0]; w.Window != "5m" && w.Window != "1m" || w.Met != 1 {
		t.Fatalf("stats %v", got)
	}
}

// However the node ends and comes back, each step of a case is told once, and no case is counted twice in one life.
func TestLevelsSurviveRestarts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, crash := range []bool{false, true} {
		for _, steps := range [][]time.Duration{
			{10 * time.Second},
			{35 * time.Second},
			{50 * time.Second},
			{61 * time.Second},
			{200 * time.Second},
			{5 * time.Second, 25 * time.Second, 18 * time.Second, 12 * time.Second, time.Second, time.Second},
		} {
			mem := vfs.NewCrashableMem()
			n := startStanding(t, mem, morning, minute)
			alice := n.conn(customer("alice"))
			id := alice.open(&wirepb.Open{Shop: "s1"})
			alice.ask(id, "anybody?")
			for _, d := range steps {
				n.pass(d)
				if crash {
					left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
					n.again(mem).stop()
					mem = left
					n = startStanding(t, mem, n.at.Load(), minute)
				} else {
					n = n.again(mem)
				}
			}
			n.at.Add(70_000) // while it is not looked at
			n.pass(0)
			if got := n.told(id); got != allTold {
				t.Fatalf("crash %v, restarts after %v: told %s; want %s", crash, steps, got, allTold)
			}
			if c, m, _ := n.total("minute", "s1"); c > 1 || m != 0 {
				t.Fatalf("crash %v, restarts after %v: %d of %d", crash, steps, m, c)
			}
			n = n.again(mem)
			n.is("minute", "s1", 0, 0, 0) // what the log has told is not told again
			n.stop()
		}
	}
}

// What was let go and read again goes on, also when the end of its log does not tell what was before.
func TestLevelsOfUnloadedSessions(t *testing.T) {
	first := level.Definition{Name: "first", Clock: level.FirstResponse, LimitMS: 60_000, Count: []string{"human"}}
	whole := level.Definition{Name: "whole", Unit: level.Session, LimitMS: 60_000, Count: []string{"bot"}, FullAuto: level.Run}
	n := startStanding(t, vfs.NewMem(), morning, first, whole)
	defer func() { n.stop() }()
	alice, bot := n.conn(customer("alice")), n.conn(worker("bot", wire.OriginBot))
	bot.subscribe(8, "")
	id := alice.open(&wirepb.Open{Shop: "s1"})
	for range 20 { // more than the tail holds
		seq := alice.ask(id, "question")
		bot.next(wire.FrameDelivery)
		bot.answer(id, 1, seq)
	}
	n.is("whole", "s1", 1, 1, 20)
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbRelease, Session: id, AE: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Release{Release: &wirepb.Release{Session: string(id), Ae: 1}}}})
	bot.next(wire.FrameAnswer)
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbLeave, Session: id})
	alice.next(wire.FrameDetach)
	loaded := n.shards[0].Stats().Loaded
	n.pass(5 * time.Minute)
	if got := n.shards[0].Stats().Loaded; got >= loaded {
		t.Fatalf("%d sessions are in memory, and %d were", got, loaded)
	}
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	sue.do(slotOf(id), &wire.Command{Verb: wire.VerbTake, Session: id, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Take{Take: &wirepb.Take{Session: string(id)}}}})
	ae := sue.next(wire.FrameAnswer).PB.GetTake().GetAe()
	n.is("first", "s1", 0, 0, 0) // no human has answered yet, and that is known
	alice.open(&wirepb.Open{Session: string(id)})
	seq := alice.ask(id, "a human?")
	n.pass(time.Second)
	sue.answer(id, ae, seq)
	n.is("first", "s1", 1, 1, 1)
	n.is("whole", "s1", 1, 1, 20)
}

// A turn that the journal refuses is not counted, and nothing behind it is counted twice.
func TestLevelsOfRefusedTurns(t *testing.T) {
	set, err := level.Compile([]level.Definition{{Name: "each", Unit: level.Message, LimitMS: 3_600_000, Count: []string{"bot"}}}, nil, time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	n, disk, g := startFull(t, func(t *shard.Tenant) { t.Levels = set })
	defer n.stop()
	bot, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(customer("alice"))
	bot.subscribe(8, "")
	id := alice.open(&wirepb.Open{})
	alice.ask(id, "1")
	bot.next(wire.FrameAssigned)
	bot.next(wire.FrameDelivery)

	n.pause()
	on := <-g.stop
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbReply, Session: id, AE: 1, Type: "text", Body: []byte(`{"text":"lost"}`)})
	n.pause()
	close(on)
	on = <-g.stop
	disk.is(true)
	close(on)
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbHistory, Session: id, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_History{History: &wirepb.History{Session: string(id)}}}})
	alice.next(wire.FrameAnswer)
	disk.is(false)
	if got := n.shards[0].Stats().Abandoned; got != 1 {
		t.Fatalf("%d turns were refused; want 1", got)
	}
	if e := bot.next(wire.FrameError); e.Err.Slug != wire.Unavailable {
		t.Fatalf("what was lost was refused with %v", e.Err)
	}
	seq := alice.ask(id, "2") // takes the place of the answer that was lost
	bot.next(wire.FrameDelivery)
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbReply, Session: id, AE: 1, Ack: wire.Some(seq), Type: "text", Body: []byte(`{}`)})
	bot.next(wire.FrameWrote)
	disk.skew.Add(int64(time.Minute))
	for range 3 {
		probe := n.conn(customer("probe"))
		probe.open(&wirepb.Open{})
	}
	rows := n.shards[0].Levels()["demo"]
	i := slices.IndexFunc(rows, func(r level.Row) bool { return r.Of == level.OfShop })
	if i < 0 {
		t.Fatalf("rows %v", rows)
	}
	if c := rows[i].Windows[level.Total]; c.Count != 2 || c.Met != 2 || c.Timed != 2 {
		t.Fatalf("%d of %d, %d timed; want the two messages of the log", c.Met, c.Count, c.Timed)
	}
}

// An answer that was given in time counts, however long the disk takes to have it: time goes on meanwhile.
func TestLevelsWaitForTheDisk(t *testing.T) {
	var hold atomic.Pointer[chan struct{}]
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if c := hold.Load(); c != nil {
				<-*c
			}
		default:
		}
		return nil
	}))
	n := startStanding(t, fs, morning, minute)
	defer func() { n.stop() }()
	alice, bot := n.conn(customer("alice")), n.conn(worker("bot", wire.OriginBot))
	bot.subscribe(8, "")
	id := alice.open(&wirepb.Open{Shop: "s1"})
	seq := alice.ask(id, "in time?")
	bot.next(wire.FrameDelivery)
	n.pass(59 * time.Second)
	told := n.told(id)
	c := make(chan struct{})
	hold.Store(&c)
	look := func() { // a turn of the owner, which waits for nothing
		before := n.shards[0].Stats().Mail
		alice.do(slotOf(id), &wire.Command{Verb: wire.VerbTyping, Session: id})
		for n.shards[0].Stats().Mail == before {
			runtime.Gosched()
		}
	}
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbReply, Session: id, AE: 1, Ack: wire.Some(seq), Type: "text", Body: []byte(`{}`)})
	look()
	n.at.Add(10_000)
	look()
	look()
	hold.Store(nil)
	close(c)
	bot.next(wire.FrameWrote)
	n.is("minute", "s1", 1, 1, 1)
	if got := n.told(id); got != told {
		t.Fatalf("told %s", got)
	}
}

// Who is boosted comes before who came before him, also after a restart; and not without.
func TestLevelsBoost(t *testing.T) {
	vip := level.Definition{Name: "vip", LimitMS: 60_000, Shops: []string{"vip"}, BoostMS: 600_000, Warn: []level.Warning{{At: 0.1, Do: []string{"boost"}}}}
	plain := vip
	plain.Warn = nil
	for _, f := range []struct {
		def     level.Definition
		restart bool
		first   string
	}{{plain, false, "alice"}, {vip, false, "ben"}, {vip, true, "ben"}} {
		mem := vfs.NewMem()
		n := startStanding(t, mem, morning, f.def)
		ids := map[wire.SessionID]string{}
		for _, c := range []struct{ sub, shop string }{{"alice", "plain"}, {"ben", "vip"}} {
			p := n.conn(customer(c.sub))
			id := p.open(&wirepb.Open{Shop: c.shop})
			ids[id] = c.sub
			p.ask(id, "hello")
			n.pass(time.Second)
		}
		n.pass(10 * time.Second)
		if f.restart {
			n = n.again(mem)
		}
		bot := n.conn(worker("bot", wire.OriginBot))
		bot.subscribe(1, "")
		if got := ids[bot.next(wire.FrameAssigned).Session]; got != f.first {
			t.Fatalf("%v, restart %v: %s of %v came first; want %s", f.def.Warn, f.restart, got, slices.Sorted(maps.Values(ids)), f.first)
		}
		n.stop()
	}
}
