package shard_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/exchange"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func (c *conn) identify(sub string) {
	c.n.t.Helper()
	c.do(exchange.CustomerSlot(c.who.Tenant, c.who.Sub), &wire.Command{Verb: wire.VerbIdentify, Text: sub})
}

// identified repeats identify as a client does, who hears nothing from a shard that lost what it was told, until it is answered.
func (c *conn) identified(sub string) (customer string, sessions []string) {
	c.n.t.Helper()
	c.identify(sub)
	for {
		f := c.soon(5*time.Second, wire.FrameAnswer, wire.FrameError)
		switch {
		case f == nil, f.Kind == wire.FrameError && f.Err.Slug == wire.Unavailable:
			c.identify(sub)
		case f.Kind == wire.FrameError:
			c.n.t.Fatalf("identify as %s: %v", sub, f.Err)
		case f.PB.GetIdentify() != nil:
			return f.PB.GetIdentify().Customer, f.PB.GetIdentify().Sessions
		}
	}
}

// soon is next that gives up.
func (c *conn) soon(wait time.Duration, kinds ...wire.FrameKind) *wire.Frame {
	late := time.After(wait)
	for {
		c.mu.Lock()
		for len(c.frames) > 0 {
			f := c.frames[0]
			c.frames = c.frames[1:]
			if slices.Contains(kinds, f.Kind) {
				c.mu.Unlock()
				return f
			}
		}
		c.mu.Unlock()
		select {
		case <-c.wake:
		case <-late:
			return nil
		}
	}
}

func service(sub string) *wire.Principal {
	return &wire.Principal{Tenant: "demo", Role: wire.RoleService, Sub: sub}
}

// as lets a service ask on behalf of an external id.
func (c *conn) as(external string, m *wire.Command) {
	c.n.t.Helper()
	m.For = &wire.External{Channel: "wechat", ID: external}
	if m.PB == nil {
		m.PB = &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Open{Open: &wirepb.Open{}}}
	}
	c.do(exchange.IdentitySlot(c.who.Tenant, "wechat", external), m)
}

// together checks that all subs are one customer: whoever opens lands in the same session, of which all is readable.
func (n *node) together(where string, subs ...string) (root string, id wire.SessionID) {
	n.t.Helper()
	for _, sub := range subs {
		c := n.conn(customer(sub))
		customer, sessions := c.identified(sub)
		got := c.open(&wirepb.Open{})
		if root == "" {
			root, id = customer, got
		}
		if customer != root || got != id || len(sessions) > 1 || len(sessions) == 1 && sessions[0] != string(id) {
			n.t.Fatalf("%s: %s is %s with %v and opened %s; %s is %s and opened %s", where, sub, customer, sessions, got, subs[0], root, id)
		}
	}
	return root, id
}

// TestMergePowerCuts cuts the power at every sync while customers become each other: visitors with and without sessions, younger
// and older ones, a chain, and a circle. Of what is left, opened again, whoever was told that he is another is that; whoever was on
// his way arrives, whoever was not may begin; no word is lost, and in the end each family is one customer with one open session.
func TestMergePowerCuts(t *testing.T) {
	const groups = 3
	families := [][][2]string{
		{{"v1", "alice"}},
		{{"a", "b"}, {"b", "c"}},
		{{"x", "y"}, {"y", "z"}, {"z", "x"}},
	}
	mem, l := vfs.NewCrashableMem(), &ledger{}
	p := &power{fs: mem, ledger: l, rng: rand.New(rand.NewPCG(20261122, 1)), most: 1 << 20}
	every := errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			p.cut(fmt.Sprintf("%v of %s", op.Kind, op.Path), 1)
		}
		return nil
	})
	n := startOn(t, journal.Config{Dir: "data", FS: errorfs.Wrap(mem, every), Groups: groups, FreeMin: -1}, 1)
	people := map[string]wire.SessionID{}
	for _, wishes := range families {
		for _, sub := range family(wishes) {
			c := n.conn(customer(sub))
			people[sub] = c.open(&wirepb.Open{})
			c.send(people[sub], "k"+sub, sub)
			l.wrote(word{session: people[sub], seq: c.next(wire.FrameWrote).Seq, who: sub, key: "k" + sub, text: sub})
		}
	}
	said := len(l.words)
	var all sync.WaitGroup
	for _, wishes := range families {
		for _, w := range wishes {
			c := n.conn(customer(w[0]))
			all.Go(func() {
				root, _ := c.identified(w[1])
				l.wrote(word{who: w[0], text: w[1], key: root}) // what it was told stands where words stand
			})
		}
	}
	all.Wait()
	n.stop()
	looked := 0
	for _, c := range append(p.cuts, p.last(l)) {
		if c.words < said {
			continue // nobody was on his way
		}
		looked++
		after := startOn(t, journal.Config{Dir: "data", FS: c.fs, Groups: groups, FreeMin: -1}, 1)
		for _, w := range l.words[said:c.words] { // they are one, also before anybody asks again
			one, other := "", "-"
			for try := 0; one != other; try++ { // others of the family are on their way
				one, _ = after.conn(customer(w.who)).identified(w.who)
				other, _ = after.conn(customer(w.text)).identified(w.text)
				if one != other && try > 10 {
					t.Fatalf("%s: %s was told that it is %s, and they are %s and %s", c.where, w.who, w.text, one, other)
				}
			}
		}
		for _, wishes := range families {
			for _, w := range wishes {
				after.conn(customer(w[0])).identified(w[1])
			}
			subs := family(wishes)
			_, id := after.together(c.where, subs...)
			for _, sub := range subs { // everybody reads what everybody said, and a repeated word is not said twice
				for _, reader := range subs {
					r := after.conn(customer(reader))
					r.send(people[sub], "k"+sub, sub)
					if f := r.next(wire.FrameWrote); !f.Duplicate || f.Seq != 2 {
						t.Fatalf("%s: %s repeats %s's word and is answered %+v", c.where, reader, sub, f)
					}
					r.do(slotOf(people[sub]), &wire.Command{Verb: wire.VerbPage, Session: people[sub]})
					page := r.next(wire.FramePage)
					if len(page.Entries) < 2 || string(page.Entries[1].Body) != `{"text":"`+sub+`"}` {
						t.Fatalf("%s: %s reads %v of %s", c.where, reader, page.Entries, sub)
					}
					if last := page.Entries[len(page.Entries)-1]; (last.Type == "session.merged") != (people[sub] != id) {
						t.Fatalf("%s: the session of %s ends with %s, and %s is the one", c.where, sub, last.Type, id)
					}
				}
			}
			stranger := after.conn(customer("mallory"))
			stranger.do(slotOf(id), &wire.Command{Verb: wire.VerbHistory, Session: id})
			if f := stranger.next(wire.FrameError); f.Err.Slug != wire.NoSession {
				t.Fatalf("%s: a stranger is answered %v", c.where, f.Err)
			}
		}
		after.stop()
	}
	if looked < 10 {
		t.Errorf("only %d power cuts", looked)
	}
	t.Logf("%d power cuts", looked)
}

// family returns everybody in a list of wishes.
func family(wishes [][2]string) (list []string) {
	for _, w := range wishes {
		for _, sub := range w {
			if !slices.Contains(list, sub) {
				list = append(list, sub)
			}
		}
	}
	return list
}

// A turn that the journal refuses, whichever it is of those in which a customer becomes another: he arrives all the same. Somebody has become him before, so
// he has to ask.
func TestRefusedTurnsOfAMerge(t *testing.T) {
	t.Parallel() // most of its time it waits for the journal to look at the disk
	n, disk, g := startFull(t)
	defer n.stop()
	// step lets the owner do what waits, and stops it before it does what came of that.
	step := func(on chan struct{}) chan struct{} {
		n.pause()
		close(on)
		on = <-g.stop
		for group := n.j.Group(0); group.Applied() < group.Last(); {
			runtime.Gosched()
		}
		if _, err := n.j.Replica(0); err != nil { // the committer is behind it: the owner has been told
			t.Fatal(err)
		}
		n.pause()
		close(on)
		return <-g.stop
	}
	// One shard does it in three turns, and a step is two, or one where the owner hears late of what is durable: then it is tried again.
	var refused uint64
	for round := 0; round < 5 && refused < 2; round++ {
		before := n.shards[0].Stats().Abandoned
		for steps := range 6 {
			v, a := fmt.Sprint("v", round, steps), fmt.Sprint("a", round, steps)
			vc, ac := n.conn(customer(v)), n.conn(customer(a))
			vid := vc.open(&wirepb.Open{})
			vc.send(vid, "", "hi")
			vc.next(wire.FrameWrote)
			n.conn(customer(fmt.Sprint("u", round, steps))).identified(v)
			disk.skew.Add(int64(time.Second))
			ac.open(&wirepb.Open{})
			n.pause()
			on := <-g.stop
			vc.identify(a)
			for range steps {
				on = step(on)
			}
			disk.is(true)
			on = step(on)
			disk.is(false)
			close(on)
			if root, sessions := vc.identified(a); root != a || len(sessions) != 1 || sessions[0] != string(vid) {
				t.Fatalf("step %d: identified as %s with %v; want %s with %s", steps, root, sessions, a, vid)
			}
			n.together(fmt.Sprint("round ", round, " step ", steps), v, a)
		}
		refused = n.shards[0].Stats().Abandoned - before
	}
	if refused < 2 {
		t.Errorf("only %d turns were refused", refused)
	}
}

// [SW-5a.6] Racing opens for one external id are one customer with one session; with a first writer who is somebody, they are he.
func TestRacingServices(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, 4)
	ids := map[wire.SessionID]bool{}
	var list []*conn
	for range 8 {
		c := n.conn(service("s"))
		c.as("o1", &wire.Command{Verb: wire.VerbOpen})
		list = append(list, c)
	}
	for _, c := range list {
		ids[c.next(wire.FrameAttach).Session] = true
	}
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	list[0].as("o2", &wire.Command{Verb: wire.VerbLink, Text: "alice"})
	list[0].next(wire.FrameAnswer)
	list[1].as("o2", &wire.Command{Verb: wire.VerbLink, Text: "bob"})
	if f := list[1].next(wire.FrameError); f.Err.Slug != wire.IdentityTaken || string(f.Err.Detail) != `{"customer":"alice"}` {
		t.Fatalf("another's identity: %v", f.Err)
	}
	n.stop()
	n = start(t, dir, 4)
	defer n.stop()
	c := n.conn(service("s"))
	c.as("o1", &wire.Command{Verb: wire.VerbOpen})
	ids[c.next(wire.FrameAttach).Session] = true
	if len(ids) != 1 {
		t.Fatalf("one external id has the sessions %v", ids)
	}
	c.as("o2", &wire.Command{Verb: wire.VerbOpen})
	if got := c.next(wire.FrameAttach).Session; got != id {
		t.Fatalf("alice's external id opened %s; want %s", got, id)
	}
}

// [SW-4.2] What one connection says about one session is in the order in which it was said, also when each word has to find out
// first who says it.
func TestErrandsKeepTheOrder(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, 4)
	v, a := n.conn(customer("visitor")), n.conn(customer("alice"))
	id := a.open(&wirepb.Open{})
	v.open(&wirepb.Open{}) // younger: it ends, and the visitor goes on in alice's
	v.identified("alice")
	n.stop()
	n = start(t, dir, 4) // nothing is in memory
	defer n.stop()
	const words = 200
	f := func(c *conn, say func(i int)) {
		t.Helper()
		last := uint64(0)
		for i := range words {
			say(i)
			if i%40 == 39 { // at most 64 may wait for rows
				for range 40 {
					w := c.next(wire.FrameWrote)
					if w.Seq <= last {
						t.Fatalf("seq %d after %d", w.Seq, last)
					}
					last = w.Seq
				}
			}
		}
	}
	v = n.conn(customer("visitor"))
	f(v, func(i int) { v.send(id, fmt.Sprint("k", i), fmt.Sprint(i)) })
	s := n.conn(service("s"))
	s.as("o1", &wire.Command{Verb: wire.VerbLink, Text: "visitor"})
	s.next(wire.FrameAnswer)
	f(s, func(i int) {
		s.as("o1", &wire.Command{Verb: wire.VerbSend, Session: id, Key: fmt.Sprint("k", i), Type: "text", Body: []byte(`{}`), PB: &wirepb.ClientFrame{}})
	})
}
