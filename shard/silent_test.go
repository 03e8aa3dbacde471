package shard_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// way is the link to another node, behind which is one connection for all.
type way struct {
	*conn
	down   atomic.Bool
	takes  atomic.Bool // mail, whatever Up says: it stands again since
	missed atomic.Int32
}

func (w *way) Up() bool { return !w.down.Load() }

func (w *way) Put(e wire.Envelope) bool {
	if !w.Up() && !w.takes.Load() {
		w.missed.Add(1)
		return false
	}
	return e.To.ID == 0 || w.conn.Put(e)
}

// startFar starts a shard whose clock runs with *ahead, and the way to node 2.
func startFar(t *testing.T, ahead *atomic.Int64) (n *node, far func(who *wire.Principal) *conn, w *way) {
	t.Helper()
	j, err := journal.Open(journal.Config{Dir: "j", FS: vfs.NewMem(), Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	n = &node{t: t, x: exchange.New(1), j: j}
	cfg := shard.Config{Peers: []wire.Slot{0}, Tenants: tenants(5000), Now: func() time.Time { return time.UnixMilli(ahead.Load()) }}
	for s := range wire.Slot(wire.Slots) {
		cfg.Slots = append(cfg.Slots, s)
	}
	s, err := shard.Open(n.x, j.Group(0), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.shards = append(n.shards, s)
	w = &way{}
	return n, func(who *wire.Principal) *conn {
		c := &conn{n: n, id: wire.Conn{Node: 2, ID: 1}, who: who, wake: make(chan struct{}, 1)}
		w.conn = c
		n.x.PlugNode(2, w)
		return c
	}, w
}

// looks lets so many sweeps pass: what the shard is asked it answers behind what is due.
func (n *node) looks(ahead *atomic.Int64, times int) {
	n.t.Helper()
	for range times {
		ahead.Add(10_000)
		n.conn(customer("nobody")).open(&wirepb.Open{})
	}
}

// The node is gone that had a bot's connection, and neither comes back: nobody says that the connection has ended. After a while without a way to the node
// it counts as ended all the same, and behind its grace the session is another's.
func TestNodeThatNeverComesBack(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_800_000_000_000)
	n, far, w := startFar(t, &clock)
	defer n.stop()
	bot, alice := far(worker("bot", wire.OriginBot)), n.conn(customer("alice"))
	bot.subscribe(8, "")
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	bot.next(wire.FrameDelivery)
	other := n.conn(worker("other", wire.OriginBot))
	other.subscribe(8, "")

	w.down.Store(true)
	n.looks(&clock, 1)
	w.down.Store(false) // a break that heals is nobody's business
	n.looks(&clock, 1)
	w.down.Store(true)
	n.looks(&clock, 1)
	if s := other.idle(); s != "" {
		t.Fatalf("with a way to the node until just now another hears %s", s)
	}
	n.looks(&clock, 2) // silent, and behind the grace
	if a := other.next(wire.FrameAssigned); a.Session != id || a.AE != 2 {
		t.Fatalf("assigned %+v", a)
	}
	if d := other.next(wire.FrameDelivery); string(d.Entry.Body) != `{"text":"hi"}` {
		t.Fatalf("delivery %+v", d)
	}
}

// idle returns what came that no next has taken, or "".
func (c *conn) idle() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if f.Kind == wire.FrameAssigned {
			return "assigned " + string(f.Session)
		}
	}
	return ""
}

// There is no way to a node for so long that its worker counts as gone, but he sits there and has noticed nothing. When there is one again he is sent away
// to come back, unless he has subscribed again by himself. If he has from elsewhere he is told so: coming back he would take over in turn [SW-5.7].
func TestNodeThatComesBack(t *testing.T) {
	for _, meanwhile := range []string{"", "resumed", "elsewhere"} {
		var clock atomic.Int64
		clock.Store(1_800_000_000_000)
		n, far, w := startFar(t, &clock)
		bot := far(worker("bot", wire.OriginBot))
		lease := bot.subscribe(8, "").Lease
		w.down.Store(true)
		n.looks(&clock, 2)
		if meanwhile == "elsewhere" {
			n.conn(worker("bot", wire.OriginBot)).subscribe(8, lease)
		}
		w.down.Store(false)
		if meanwhile == "resumed" {
			bot.subscribe(8, lease)
		}
		n.looks(&clock, 1)
		bot.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbSlots, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Slots{Slots: &wirepb.Slots{Slots: 2}}}})
		switch f := bot.next(wire.FrameBye, wire.FrameKeep, wire.FrameAnswer, wire.FrameError); {
		case meanwhile == "" && f.Kind == wire.FrameBye && f.Seq == uint64(wire.CloseReconnect):
		case meanwhile == "resumed" && f.Kind == wire.FrameAnswer:
		case meanwhile == "elsewhere" && f.PB.GetRevoked().GetReason() == "takeover":
		default:
			t.Errorf("%q: came %+v", meanwhile, f)
		}
		n.stop()
	}
}

// Two of one worker resume whose edges say no turn, as they are of an earlier version: one goes on, and the other is sent away to come back. Which it is does
// not matter: it was not taken over for good [SW-5.7].
func TestResumedWithoutTurn(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_800_000_000_000)
	n, far, _ := startFar(t, &clock)
	defer n.stop()
	first, second := far(worker("bot", wire.OriginBot)), n.conn(worker("bot", wire.OriginBot))
	resume := func(c *conn, turn uint64) {
		c.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbSubscribe, Resume: true, Seq: turn, Type: "ready", PB: &wirepb.ClientFrame{
			Verb: &wirepb.ClientFrame_Subscribe{Subscribe: &wirepb.Subscribe{Queues: []string{"default"}, Slots: 2, Lease: "l_bot"}},
		}})
	}
	resume(first, 0)
	first.next(wire.FrameAnswer)
	resume(second, 900)
	second.next(wire.FrameAnswer)
	if f := first.next(wire.FrameBye, wire.FrameKeep); f.Kind != wire.FrameBye || f.Seq != uint64(wire.CloseReconnect) {
		t.Errorf("the first hears %+v", f)
	}
}

// A customer of another node follows a session, and nobody says anything. When the node counts as ended he does not follow it any more, which he cannot know:
// a piece of mail is missing there, so that the node finds out when there is a way again.
func TestNodeThatIsForgottenMissesMail(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_800_000_000_000)
	n, far, w := startFar(t, &clock)
	defer n.stop()
	far(customer("alice")).open(&wirepb.Open{})
	w.down.Store(true)
	n.looks(&clock, 1)
	if got := w.missed.Load(); got != 0 {
		t.Fatalf("at the first look %d pieces of mail are missing", got)
	}
	n.looks(&clock, 3)
	if got := w.missed.Load(); got != 1 {
		t.Fatalf("%d pieces of mail are missing; want 1", got)
	}
}

// The way stands again at the very moment at which the node would count as ended: it does not.
func TestNodeThatIsReachedJustInTime(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_800_000_000_000)
	n, far, w := startFar(t, &clock)
	defer n.stop()
	bot := far(worker("bot", wire.OriginBot))
	bot.subscribe(8, "")
	w.down.Store(true)
	n.looks(&clock, 1)
	w.takes.Store(true)
	n.looks(&clock, 1)
	w.down.Store(false)
	n.looks(&clock, 1)
	bot.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbSlots, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Slots{Slots: &wirepb.Slots{Slots: 2}}}})
	if f := bot.next(wire.FrameBye, wire.FrameAnswer, wire.FrameError); f.Kind != wire.FrameAnswer {
		t.Fatalf("came %+v", f)
	}
}

// So is a supervisor gone who has taken a session, and whose node is: the session is queued again for people [SW-5a.4].
func TestTakenByWhoseNodeIsGone(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_800_000_000_000)
	n, far, w := startFar(t, &clock)
	defer n.stop()
	sue, alice := far(supervisor("sue")), n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	alice.next(wire.FrameWrote)
	sue.takeOver(id)
	bob := n.conn(worker("bob", wire.OriginHuman))
	bob.subscribe(2, "")
	w.down.Store(true)
	n.looks(&clock, 2)
	if o := bob.next(wire.FrameKeep).PB.GetOffer(); o.GetSession() != string(id) {
		t.Fatalf("offered %v", o)
	}
}

// The same when the node was there for a moment only: known to nobody when somebody looked.
func TestTakenByWhoseNodeWasHardlyThere(t *testing.T) {
	var clock atomic.Int64
	clock.Store(1_800_000_000_000)
	n, far, w := startFar(t, &clock)
	defer n.stop()
	bob := n.conn(worker("bob", wire.OriginHuman))
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	alice.next(wire.FrameWrote)
	far(supervisor("sue")).takeOver(id)
	n.x.UnplugNode(2, w)
	bob.subscribe(2, "")
	n.looks(&clock, 3)
	if o := bob.next(wire.FrameKeep).PB.GetOffer(); o.GetSession() != string(id) {
		t.Fatalf("offered %v", o)
	}
}
