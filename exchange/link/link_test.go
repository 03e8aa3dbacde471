package link

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/exchange"
	"switchboard/wire"
)

// tcp opens hosts that are connected over loopback, all with all.
func tcp(t testing.TB, n int, more func(*Config)) (hosts []*host) {
	t.Helper()
	var addrs []string
	for i := range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		h := &host{x: exchange.New(uint64(i + 1)), events: make(chan Event, 1<<16)}
		cfg := Config{Cluster: "test", Node: fmt.Sprint("n", i), Born: 1, Notify: func(e Event) { h.events <- e }, Silence: 10 * time.Second, Log: slog.New(slog.DiscardHandler)}
		if more != nil {
			more(&cfg)
		}
		if h.Links, err = Open(h.x, ln, cfg); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		hosts, addrs = append(hosts, h), append(addrs, ln.Addr().String())
	}
	for i, h := range hosts {
		for j, addr := range addrs {
			if i == j {
				continue
			}
			if _, err := h.Add(fmt.Sprint("n", j), addr); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, h := range hosts {
		for range n - 1 {
			if e := <-h.events; e.Kind != Up {
				t.Fatalf("the first that comes is %+v", e)
			}
		}
	}
	return hosts
}

// Three nodes over real sockets: every pair's mail arrives, all of it, in order, with the principal that was sent once.
func TestThreeNodesTalk(t *testing.T) {
	const each = 5000
	hosts := tcp(t, 3, nil)
	var wg sync.WaitGroup
	for i, from := range hosts {
		for j, to := range hosts {
			if i == j {
				continue
			}
			slot := wire.Slot(10*i + j)
			in := make(sink, each)
			to.x.PlugSlots([]wire.Slot{slot}, in)
			from.x.PlugRemote([]wire.Slot{slot}, from.To(fmt.Sprint("n", j)))
			replies := make(sink, each)
			from.x.PlugConn(uint64(j), replies)
			me := wire.Conn{Node: from.x.Node(), ID: uint64(j)}
			wg.Go(func() {
				who := &wire.Principal{Tenant: "demo", Sub: fmt.Sprint("p", i, j), Ability: &wire.Ability{Skills: map[string]float64{"de": 1}}}
				for n := range uint64(each) {
					from.post(t, wire.ToSlot(slot), &wire.Command{Verb: wire.VerbSend, Conn: me, Who: who, ID: n + 1, Body: []byte(`{"text":"hi"}`)})
				}
				for n := range uint64(each) {
					e := <-replies
					if f := e.Mail.(*wire.Frame); f.Seq != n || e.Term != 7 {
						t.Errorf("reply %d arrives as %+v", n, e)
						return
					}
				}
			})
			wg.Go(func() {
				var first *wire.Principal
				for n := range uint64(each) {
					c := (<-in).Mail.(*wire.Command)
					if first == nil {
						first = c.Who
					}
					if c.ID != n+1 || c.Conn != me || c.Who != first || c.Who.Sub != fmt.Sprint("p", i, j) || string(c.Body) != `{"text":"hi"}` {
						t.Errorf("mail %d arrives as %+v", n, c)
						return
					}
					for to.x.Post(wire.Envelope{To: c.Conn.Address(), Term: 7, Mail: &wire.Frame{Seq: n}}) != nil {
						pause()
					}
				}
			})
		}
	}
	wg.Wait()
	for _, h := range hosts {
		for _, s := range h.Status() {
			if !s.Up || s.Received != 2*each || s.Lost != 0 || s.Err != "" {
				t.Errorf("status %+v", s)
			}
		}
	}
}

// Connections break at any byte, in both directions, again and again. What arrives is in order and once; what does not is
// counted; and when the network heals everything arrives.
func TestBrokenConnectionsLoseAndTell(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { broken(t, seed) })
		})
	}
}

func broken(t *testing.T, seed uint64) {
	const each, last = 4000, 1 << 32
	rnd, healed, n := rand.New(rand.NewPCG(seed, 1)), false, newNetwork()
	luck := rand.New(rand.NewPCG(seed, 2)) // the network's, below its lock
	n.fault = func(_ int, _, _ string) (f fault) {
		rnd := luck
		if healed {
			return f
		}
		switch rnd.IntN(4) {
		case 0:
			f.cut = 1 + rnd.IntN(500) // often in the midst of a greeting
		case 1:
			f.back = 1 + rnd.IntN(120)
		case 2:
			f.flip = 1 + rnd.IntN(4000)
		default:
			f.cut, f.twice = 200+rnd.IntN(2000), true
		}
		return f
	}
	a, b := n.open(t, "a", 1, 1, nil), n.open(t, "b", 2, 1, nil)
	a.add(t, "b")
	b.add(t, "a")
	in := make(sink, 2*each)
	b.x.PlugSlots([]wire.Slot{5}, in)
	b.x.PlugConn(9, in)
	a.x.PlugRemote([]wire.Slot{5}, a.To("b"))
	people := []*wire.Principal{{Sub: "alice"}, {Sub: "bob"}, {Sub: "carol"}}
	taken := 0
	for i := range uint64(each) {
		e := wire.Envelope{To: wire.ToSlot(5), Mail: &wire.Command{Verb: wire.VerbAck, Seq: i + 1, Who: people[rnd.IntN(len(people))], Text: strings.Repeat("x", rnd.IntN(60))}}
		if i%2 == 1 {
			e = wire.Envelope{To: wire.Conn{Node: 2, ID: 9}.Address(), Mail: &wire.Frame{Seq: i + 1, Text: strings.Repeat("x", rnd.IntN(60))}}
		}
		if a.x.Post(e) == nil {
			taken++
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.mu.Lock()
	healed = true
	n.mu.Unlock()
	n.hangUp()
	time.Sleep(5 * time.Second)
	a.post(t, wire.ToSlot(5), &wire.Command{Seq: last, Who: people[0]})
	time.Sleep(time.Second) // a heartbeat tells what is missing at the end
	got, before := 0, map[bool]uint64{}
	for done := false; !done; got++ {
		e := <-in
		var seq uint64
		switch m := e.Mail.(type) {
		case *wire.Command:
			if seq = m.Seq; m.Who == nil || !strings.Contains("alice bob carol", m.Who.Sub) {
				t.Fatalf("seed %d: %d comes from %+v", seed, seq, m.Who)
			}
		case *wire.Frame:
			seq = m.Seq
		}
		if seq <= before[e.To.Slot] {
			t.Fatalf("seed %d: %d comes after %d", seed, seq, before[e.To.Slot])
		}
		before[e.To.Slot], done = seq, seq == last
	}
	sent, s := a.To("b").Status(), b.To("a").Status()
	if n.fired() < 12 || taken < each/20 || got < taken/20 {
		t.Fatalf("seed %d: only %d faults fired, %d of %d were taken, %d arrived", seed, n.fired(), taken, each, got)
	}
	// Numbers of the time before b knew any are nobody's loss.
	if s.Received != uint64(got) || s.Lost > sent.Sent-s.Received || s.Lost+s.Received < sent.Sent-each/4 {
		t.Fatalf("seed %d: %d sent, %d arrived, %d are missed", seed, sent.Sent, s.Received, s.Lost)
	}
	var lost uint64
	for len(b.events) > 0 {
		if e := <-b.events; e.Kind == Restarted {
			lost += e.Lost
		}
	}
	if lost != s.Lost || lost == 0 {
		t.Fatalf("seed %d: %d are missed, and %d were told", seed, s.Lost, lost)
	}
	t.Logf("seed %d: %d dials, %d faults fired, %d taken, %d arrived, %d missed", seed, n.dials, n.fired(), taken, got, lost)
}

// Mail that found no room is missed by its receiver when nobody will send it again, even if nothing comes behind it.
func TestRefusedMailForConnectionsIsMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, newNetwork(), func(c *Config) { c.Queue = 1000 })
		in := make(sink, 100)
		b.x.PlugConn(9, in)
		refused := 0
		for range 100 { // one bubble's goroutine: the writer takes part of them at best
			if a.x.Post(wire.Envelope{To: wire.Conn{Node: 2, ID: 9}.Address(), Mail: &wire.Frame{Text: strings.Repeat("x", 100)}}) != nil {
				refused++
			}
		}
		synctest.Wait()
		time.Sleep(time.Second)
		s := b.To("a").Status()
		if refused == 0 || s.Lost != uint64(refused) || s.Received != uint64(100-refused) || len(in) != 100-refused {
			t.Fatalf("%d of 100 were refused; b has %d, misses %d", refused, s.Received, s.Lost)
		}
		if q := a.To("b").Status(); q.Refused != uint64(refused) || q.Queued != 0 {
			t.Fatalf("a counts %+v", q)
		}
	})
}

// A peer that takes nothing more: what waits stays within its bound, clients' commands are refused before what shards say, and
// after the silence the node is down.
func TestSlowPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, _ := pair(t, n, func(c *Config) { c.Queue = 64 << 10 })
		k := a.To("b")
		a.x.PlugRemote([]wire.Slot{5}, k)
		// A pipe without its goroutine: the next write blocks for good.
		n.mu.Lock()
		for _, p := range n.pipes {
			p.stopped.Store(true)
		}
		n.mu.Unlock()
		body := []byte(strings.Repeat("1", 1000))
		fill := func(m wire.Mail) (taken int) {
			for ; a.x.Post(wire.Envelope{To: wire.ToSlot(5), Mail: m}) == nil; taken++ {
				if q := k.Status().Queued; q > 66<<10 || taken > 1000 {
					t.Fatalf("%d bytes wait after %d", q, taken)
				}
			}
			return taken
		}
		commands, tasks := fill(&wire.Command{Verb: wire.VerbSend, Body: body}), fill(&wire.Task{Summary: body})
		if commands < 30 || tasks < 10 {
			t.Fatalf("%d commands and %d tasks found room", commands, tasks)
		}
		began := time.Now()
		a.await(t, Event{Kind: Down, Node: "b", Incarnation: 2})
		if d := time.Since(began); d < time.Second || d > 3*time.Second {
			t.Fatalf("down after %v", d)
		}
		a.await(t, Event{Kind: Up, Node: "b", Incarnation: 2})
	})
}

// The network swallows everything without a word: both sides find out within the silence, come up again when they can, and
// neither has ended.
func TestHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, b := pair(t, n, nil)
		began := time.Now()
		dark := true
		n.mu.Lock()
		n.fault = func(int, string, string) fault {
			if dark {
				return fault{hold: time.Minute}
			}
			return fault{}
		}
		n.mu.Unlock()
		n.swallow()
		a.await(t, Event{Kind: Down, Node: "b", Incarnation: 2})
		b.await(t, Event{Kind: Down, Node: "a", Incarnation: 1})
		if d := time.Since(began); d < time.Second || d > 2500*time.Millisecond {
			t.Fatalf("down after %v", d)
		}
		synctest.Wait()
		if err := a.x.Post(wire.Envelope{To: wire.Conn{Node: 2, ID: 1}.Address(), Mail: &wire.Frame{}}); !errors.Is(err, exchange.ErrOverloaded) {
			t.Fatalf("mail to a node that is down: %v", err)
		}
		n.mu.Lock()
		dark = false
		n.mu.Unlock()
		a.await(t, Event{Kind: Up, Node: "b", Incarnation: 2})
		b.await(t, Event{Kind: Up, Node: "a", Incarnation: 1})
		a.none(t, Ended)
		time.Sleep(2 * time.Minute) // until what was held is let go: it finds nobody
		a.none(t, Down)
	})
}

// A connection that breaks and comes back at once is not worth more than a word about what was lost.
func TestShortBreakIsNotDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, b := pair(t, n, nil)
		n.hangUp()
		time.Sleep(10 * time.Second)
		a.none(t, Down)
		b.none(t, Down)
		if s := a.To("b").Status(); !s.Up || s.Err != "" {
			t.Fatalf("status %+v", s)
		}
	})
}

// A node whose process ends is known to be gone when its machine takes no connection, long before its silence says so; once.
func TestGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, b := pair(t, n, nil)
		began := time.Now()
		n.mu.Lock()
		there := n.listeners["b"]
		delete(n.listeners, "b")
		n.mu.Unlock()
		n.hangUp()
		a.await(t, Event{Kind: Gone, Node: "b", Incarnation: 2})
		if d := time.Since(began); d > 200*time.Millisecond {
			t.Fatalf("it is noticed after %v", d)
		}
		time.Sleep(500 * time.Millisecond) // it is dialled again and again
		a.none(t, Gone)
		b.none(t, Gone) // the other is there
		n.mu.Lock()
		n.listeners["b"] = there
		n.mu.Unlock()
		time.Sleep(5 * time.Second)
		n.mu.Lock()
		delete(n.listeners, "b")
		n.mu.Unlock()
		n.hangUp()
		a.await(t, Event{Kind: Gone, Node: "b", Incarnation: 2}) // as it was back
	})
}

// A node that starts anew ends what was before it, at once and for good, also when the old process lives on.
func TestNewestIncarnationWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, old := pair(t, n, nil)
		in := make(sink, 10)
		a.x.PlugSlots([]wire.Slot{5}, in)
		old.x.PlugRemote([]wire.Slot{5}, old.To("a"))

		b := n.open(t, "b", 3, 2, nil) // takes the address; the old one does not know
		b.add(t, "a")
		a.await(t, Event{Kind: Ended, Node: "b", Incarnation: 2})
		a.await(t, Event{Kind: Up, Node: "b", Incarnation: 3})
		b.await(t, Event{Kind: Up, Node: "a", Incarnation: 1})
		if err := a.x.Post(wire.Envelope{To: wire.Conn{Node: 2, ID: 1}.Address(), Mail: &wire.Frame{}}); !errors.Is(err, exchange.ErrNowhere) {
			t.Fatalf("mail to a connection of the old incarnation: %v", err)
		}
		time.Sleep(10 * time.Second)
		if err := old.x.Post(wire.Envelope{To: wire.ToSlot(5), Mail: &wire.Lost{}}); err == nil || len(in) != 0 {
			t.Fatalf("the old incarnation is still heard (%v)", err)
		}
		if s := old.To("a").Status(); s.Up || !strings.Contains(s.Err, "a later incarnation") {
			t.Fatalf("the old incarnation does not know: %+v", s)
		}
		if s := a.To("b").Status(); !s.Up || s.Incarnation != 3 {
			t.Fatalf("the new one is %+v", s)
		}
		b.x.PlugRemote([]wire.Slot{5}, b.To("a"))
		b.post(t, wire.ToSlot(5), &wire.Lost{AE: 1})
		if e := <-in; e.Mail.(*wire.Lost).AE != 1 {
			t.Fatalf("what arrives is %+v", e.Mail)
		}
	})
}

// A node that closes says so: nobody waits for its silence. What it posted before arrives.
func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, newNetwork(), nil)
		in := make(sink, 1000)
		a.x.PlugConn(9, in)
		for range 1000 {
			b.post(t, wire.Conn{Node: 1, ID: 9}.Address(), &wire.Frame{Text: strings.Repeat("x", 1000)})
		}
		began := time.Now()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		a.await(t, Event{Kind: Ended, Node: "b", Incarnation: 2})
		if d := time.Since(began); d > time.Second || len(in) != 1000 {
			t.Fatalf("ended after %v; %d of 1000 arrived", d, len(in))
		}
		if _, err := b.Add("c", "c"); !errors.Is(err, ErrClosed) {
			t.Fatalf("Add on closed links: %v", err)
		}
	})
}

// A member that is removed is over for this node, and refused when it calls.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pair(t, newNetwork(), nil)
		a.Remove("b")
		a.await(t, Event{Kind: Ended, Node: "b", Incarnation: 2})
		b.await(t, Event{Kind: Down, Node: "a", Incarnation: 1})
		time.Sleep(time.Second)
		if s := b.To("a").Status(); !strings.Contains(s.Err, "no such node: b") {
			t.Fatalf("b is told %q", s.Err)
		}
	})
}

// A connection that was long on its way comes when a later one stands: it is refused, and ends nothing.
func TestLateConnectionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		late := 0
		n.fault = func(_ int, from, _ string) fault {
			if late++; from == "a" && late <= 2 { // the first for mail, and the first for control
				return fault{hold: 10 * time.Second}
			}
			return fault{}
		}
		a := n.open(t, "a", 1, 1, nil)
		b := n.open(t, "b", 2, 1, nil)
		a.add(t, "b")
		synctest.Wait()
		b.add(t, "a")
		a.await(t, Event{Kind: Up, Node: "b", Incarnation: 2})
		b.await(t, Event{Kind: Up, Node: "a", Incarnation: 1})
		time.Sleep(30 * time.Second)
		a.none(t, Down)
		b.none(t, Down)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.dials != 6 {
			t.Fatalf("%d dials: something that stood was ended", n.dials)
		}
	})
}

// gate is an inlet that keeps whoever puts until it is opened.
type gate struct {
	open    chan struct{}
	entered chan uint64
}

func (g *gate) Put(e wire.Envelope) bool {
	g.entered <- e.Mail.(*wire.Frame).Seq
	<-g.open
	return true
}

// Two connections of one node never deliver at once, however slow the reader of the first is to notice its end.
func TestConnectionsDeliverOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, b := pair(t, n, nil)
		g := &gate{make(chan struct{}), make(chan uint64, 10)}
		b.x.PlugConn(9, g)
		to := wire.Conn{Node: 2, ID: 9}.Address()
		a.post(t, to, &wire.Frame{Seq: 1})
		synctest.Wait()
		n.hangUp()
		for range 100 {
			_ = a.x.Post(wire.Envelope{To: to, Mail: &wire.Frame{Seq: 2}})
			time.Sleep(100 * time.Millisecond)
		}
		if len(g.entered) != 1 {
			t.Fatalf("%d deliveries at once", len(g.entered))
		}
		close(g.open)
		time.Sleep(10 * time.Second)
		a.post(t, to, &wire.Frame{Seq: 3})
		synctest.Wait()
		if first, then := <-g.entered, <-g.entered; first != 1 || then != 3 {
			t.Fatalf("%d arrives, then %d; want 1 and 3", first, then)
		}
	})
}
