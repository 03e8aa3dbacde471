package shard_test

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/exchange"
	"switchboard/session"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// node is a few shards over one journal, as package node wires them.
type node struct {
	t      testing.TB
	x      *exchange.Exchange
	j      *journal.Journal
	shards []*shard.Shard
	conns  uint64

	mu sync.Mutex
	// Guarded by mu.
	hot []hotOne
}

// hotOne is a hot command as it is, and as it was posted: whoever posts one may post it again.
type hotOne struct {
	now *wire.Command
	was wire.Command
}

func tenants(grace int64) map[string]*shard.Tenant {
	demo := &shard.Tenant{
		Session: session.Policy{ReopenWindowMS: 1000 * 3600 * 24, MaxAttempts: 5, MaxBody: 32 << 10, Queues: map[string]bool{"default": true}, DefaultQueue: "default"},
		Broker:  broker.Config{Queues: []broker.Queue{{Name: "default"}}, BotGraceMS: grace, HumanGraceMS: grace},
	}
	if grace > 0 {
		demo.Session.WrapUpMS = 50 // humans have them
	}
	return map[string]*shard.Tenant{"demo": demo.KeepsWhy()}
}

func start(t testing.TB, dir string, n int) *node {
	t.Helper()
	return startOn(t, journal.Config{Dir: dir, Groups: n, FreeMin: -1}, 0)
}

// startOn starts the shards of a journal. grace is that of workers in ms; 0 is the default.
func startOn(t testing.TB, cfg journal.Config, grace int64) *node {
	t.Helper()
	n := cfg.Groups
	j, err := journal.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nd := &node{t: t, x: exchange.New(1), j: j}
	for i := range n {
		nd.shards = append(nd.shards, nd.open(i, n, grace))
	}
	return nd
}

// open opens shard i of n.
func (n *node) open(i, of int, grace int64) *shard.Shard {
	n.t.Helper()
	var peers, slots []wire.Slot
	for i := range of {
		peers = append(peers, wire.Slot(i))
	}
	for s := i; s < wire.Slots; s += of {
		slots = append(slots, wire.Slot(s))
	}
	s, err := shard.Open(n.x, n.j.Group(i), shard.Config{ID: i, Slots: slots, Peers: peers, Tenants: tenants(grace)})
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

func (n *node) stop() {
	n.t.Helper()
	for _, s := range n.shards {
		s.Close()
	}
	if err := n.j.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range n.hot {
		if h := &n.hot[i]; !reflect.DeepEqual(*h.now, h.was) {
			n.t.Errorf("a hot command was written to: it was %+v and is %+v", h.was, *h.now)
		}
	}
}

// conn is a connection's outbox, without a socket.
type conn struct {
	n   *node
	id  wire.Conn
	who *wire.Principal
	req uint64

	mu     sync.Mutex
	frames []*wire.Frame
	wake   chan struct{}
}

func (n *node) conn(who *wire.Principal) *conn {
	n.conns++
	c := &conn{n: n, id: wire.Conn{Node: 1, ID: n.conns}, who: who, wake: make(chan struct{}, 1)}
	n.x.PlugConn(c.id.ID, c)
	return c
}

func (c *conn) Put(e wire.Envelope) bool {
	c.mu.Lock()
	c.frames = append(c.frames, e.Mail.(*wire.Frame))
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// happens calls happened now and then until it is true, for so much of the time in which this process runs: of a machine that stood still no more
// counts than a second.
func happens(d time.Duration, happened func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for was := time.Now(); !happened(); <-tick.C {
		now := time.Now()
		if d -= min(now.Sub(was), time.Second); d < 0 {
			return false
		}
		was = now
	}
	return true
}

// next returns the next frame of one of the kinds, and drops those before it.
func (c *conn) next(kinds ...wire.FrameKind) *wire.Frame {
	c.n.t.Helper()
	tick := time.NewTicker(time.Second) // of a machine that stands still one second counts
	defer tick.Stop()
	for seconds := 0; ; {
		c.mu.Lock()
		for len(c.frames) > 0 {
			f := c.frames[0]
			c.frames = c.frames[1:]
			if slices.Contains(kinds, f.Kind) {
				c.mu.Unlock()
				return f
			}
			if f.Kind == wire.FrameError {
				c.n.t.Fatalf("error %v while waiting for %v", f.Err, kinds)
			}
		}
		c.mu.Unlock()
		select {
		case <-c.wake:
		case <-tick.C:
			if seconds++; seconds > 10 {
				c.n.t.Fatalf("no frame of %v within 10 s", kinds)
			}
		}
	}
}

func (c *conn) do(to wire.Slot, m *wire.Command) {
	c.n.t.Helper()
	c.req++
	m.ID, m.Conn, m.Who = c.req, c.id, c.who
	if m.Hot() {
		c.n.mu.Lock()
		if len(c.n.hot) < 10_000 {
			c.n.hot = append(c.n.hot, hotOne{m, *m})
		}
		c.n.mu.Unlock()
	}
	if err := c.n.x.Post(wire.Envelope{To: wire.ToSlot(to), Mail: m}); err != nil {
		c.n.t.Fatal(err)
	}
}

// readLog gives fn every entry of a session.
func readLog(n *node, id wire.SessionID, fn func(*wire.Entry) error) error {
	return shard.ReadLog(n.j.Group(int(slotOf(id))%len(n.shards)), id, fn)
}

func slotOf(id wire.SessionID) wire.Slot {
	_, slot, _ := id.Place()
	return slot
}

func (c *conn) open(o *wirepb.Open) wire.SessionID {
	c.n.t.Helper()
	m := &wire.Command{Verb: wire.VerbOpen, Session: wire.SessionID(o.Session), Key: o.Key, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: o}}}
	slot := exchange.CustomerSlot(c.who.Tenant, c.who.Sub)
	if m.Session != "" {
		slot = slotOf(m.Session)
	}
	c.do(slot, m)
	return c.next(wire.FrameAttach).Session
}

func (c *conn) subscribe(slots uint32, lease string) *wirepb.SubscribeReply {
	c.n.t.Helper()
	for {
		c.asks(slots, lease)
		if f := c.next(wire.FrameAnswer, wire.FrameMoved); f.Kind == wire.FrameAnswer { // as an edge does: it is asked for again while its client is there
			return f.PB.GetSubscribe()
		}
	}
}

// asks is subscribe, of a client who does not wait for the answer.
func (c *conn) asks(slots uint32, lease string) {
	c.n.t.Helper()
	c.do(exchange.PoolSlot(c.who.Tenant), &wire.Command{Verb: wire.VerbSubscribe, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Subscribe{
		Subscribe: &wirepb.Subscribe{Queues: []string{"default"}, Slots: slots, Lease: lease},
	}}})
}

func (c *conn) send(id wire.SessionID, key, text string) {
	c.n.t.Helper()
	c.do(slotOf(id), &wire.Command{Verb: wire.VerbSend, Session: id, Key: key, Type: "text", Body: []byte(`{"text":"` + text + `"}`)})
}

func customer(sub string) *wire.Principal {
	return &wire.Principal{Tenant: "demo", Role: wire.RoleCustomer, Sub: sub}
}

func worker(sub string, kind wire.Origin) *wire.Principal {
	return &wire.Principal{Tenant: "demo", Role: wire.RoleWorker, Sub: sub, Worker: sub, Kind: kind, Ability: &wire.Ability{Queues: []string{"*"}}}
}

func TestCustomerTalksToBotAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, 4)
	bot := n.conn(worker("bot", wire.OriginBot))
	lease := bot.subscribe(8, "").Lease
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "k1", "hi")
	wrote := alice.next(wire.FrameWrote)
	if wrote.Seq != 2 || wrote.Duplicate {
		t.Fatalf("wrote %+v", wrote)
	}
	a := bot.next(wire.FrameAssigned)
	d := bot.next(wire.FrameDelivery)
	if a.AE != 1 || d.Entry.Seq != 2 || d.Attempt != 1 || string(d.Entry.Body) != `{"text":"hi"}` {
		t.Fatalf("assigned %+v, delivery %+v", a, d)
	}
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbReply, Session: id, AE: 1, Ack: wire.Some(2), Type: "text", Body: []byte(`{"text":"hello"}`)})
	reply := bot.next(wire.FrameWrote)
	for {
		if m := alice.next(wire.FrameMessage); m.Entry.Seq == reply.Seq {
			break
		}
	}
	n.stop()

	n = start(t, dir, 4)
	alice, bot = n.conn(customer("alice")), n.conn(worker("bot", wire.OriginBot))
	if again := alice.open(&wirepb.Open{From: &wirepb.Position{Epoch: 1}}); again != id {
		t.Fatalf("opened %s after the restart; want %s", again, id)
	}
	alice.send(id, "k1", "hi") // the answer was lost
	if w := alice.next(wire.FrameWrote); w.Seq != 2 || !w.Duplicate {
		t.Fatalf("the same key wrote %+v", w)
	}
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbPage, Session: id})
	page := alice.next(wire.FramePage)
	if len(page.Entries) != int(page.Head) || page.Head != reply.Seq {
		t.Fatalf("page of %d entries, head %d; want %d", len(page.Entries), page.Head, reply.Seq)
	}
	if kept := bot.subscribe(8, lease).Kept; len(kept) != 1 || kept[0].Session != string(id) || kept[0].Ae != 1 {
		t.Fatalf("kept %v", kept)
	}
	alice.send(id, "k2", "still there?")
	if d := bot.next(wire.FrameDelivery); d.AE != 1 || string(d.Entry.Body) != `{"text":"still there?"}` {
		t.Fatalf("delivery %+v", d)
	}
	n.stop()
}

func TestHandOffToHuman(t *testing.T) {
	n := start(t, t.TempDir(), 4)
	defer n.stop()
	bot, human, alice := n.conn(worker("bot", wire.OriginBot)), n.conn(worker("bob", wire.OriginHuman)), n.conn(customer("alice"))
	bot.subscribe(8, "")
	human.subscribe(2, "")
	id := alice.open(&wirepb.Open{})
	alice.send(id, "", "help")
	bot.next(wire.FrameAssigned)
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbTransfer, Session: id, AE: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{
		Transfer: &wirepb.Transfer{Session: string(id), Ae: 1, To: &wirepb.Target{Queue: "default"}, Note: "wants a human", Context: []byte(`{"order":"7"}`)},
	}}})
	offer := human.next(wire.FrameKeep).PB.GetOffer()
	human.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: offer.Offer}}}})
	if a := human.next(wire.FrameAnswer).PB.GetAccept(); a.GetAe() != 2 {
		t.Fatalf("accept answered %v", a)
	}
	a := human.next(wire.FrameAssigned).PB.GetAssigned()
	if string(a.Context.GetDoc()) != `{"order":"7"}` || len(a.Tail) == 0 {
		t.Fatalf("assigned %v", a)
	}
	if d := human.next(wire.FrameDelivery); string(d.Entry.Body) != `{"text":"help"}` {
		t.Fatalf("delivery %+v: the customer's word was not acknowledged by the bot", d)
	}
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbReply, Session: id, AE: 1, Type: "text", Body: []byte(`{}`)})
	for {
		f := bot.next(wire.FrameError, wire.FrameRevoked, wire.FrameAnswer)
		if f.Kind == wire.FrameError {
			if f.Err.Slug != wire.StaleAssignment {
				t.Fatalf("the bot's late word was answered %v", f.Err)
			}
			break
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	n := start(b, b.TempDir(), 16)
	defer n.stop()
	const customers, workers = 64, 4
	var bots []*conn
	for w := range workers {
		bot := n.conn(worker(fmt.Sprint("bot", w), wire.OriginBot))
		bot.subscribe(10_000, "")
		bots = append(bots, bot)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, bot := range bots {
		wg.Go(func() { serve(bot, done) })
	}
	var people []*conn
	var ids []wire.SessionID
	for c := range customers {
		p := n.conn(customer(fmt.Sprint("c", c)))
		people = append(people, p)
		ids = append(ids, p.open(&wirepb.Open{}))
	}
	b.ResetTimer()
	var pw sync.WaitGroup
	for i, p := range people {
		pw.Go(func() {
			for range b.N / customers {
				p.send(ids[i], "", "0123456789")
				for {
					if m := p.next(wire.FrameMessage); m.Entry.Origin == wire.OriginBot {
						break
					}
				}
			}
		})
	}
	pw.Wait()
	b.StopTimer()
	m := n.j.Metrics()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "roundtrips/s")
	b.Logf("%+v", m)
	close(done)
	for _, bot := range bots {
		bot.wake <- struct{}{}
	}
	wg.Wait()
}

func serve(bot *conn, done chan struct{}) {
	body := []byte(`{"text":"0123456789"}`)
	for {
		select {
		case <-bot.wake:
		case <-done:
			return
		}
		bot.mu.Lock()
		frames := bot.frames
		bot.frames = nil
		bot.mu.Unlock()
		for _, f := range frames {
			if f.Kind == wire.FrameDelivery && f.Attempt > 0 {
				bot.do(slotOf(f.Session), &wire.Command{Verb: wire.VerbReply, Session: f.Session, AE: f.AE, Ack: wire.Some(f.Entry.Seq), Type: "text", Body: body})
			}
		}
	}
}
