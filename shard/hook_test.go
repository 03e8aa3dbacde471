package shard_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// desk is a receiver that a test answers for.
type desk struct {
	mu sync.Mutex
	// Guarded by mu.
	full  int // so many calls find no room
	calls chan deskCall
}

type deskCall struct {
	*shard.HookCall
	done func(status int, why string, retryAfter time.Duration, final bool)
}

func (d *desk) call(c *shard.HookCall, done func(int, string, time.Duration, bool)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full > 0 {
		d.full--
		return false
	}
	d.calls <- deskCall{c, done}
	return true
}

// startDesk starts a node of one shard whose only queue has a last step that calls d at once.
func startDesk(t *testing.T, fs vfs.FS, d *desk) *node {
	t.Helper()
	r, err := tenants(0)["demo"].Routed(shard.Document{Text: []byte("version: 1\nhooks: [{name: desk, url: \"https://desk.example/\", secret: s, attempts: 3}]\nqueues: [{name: default, route: [{who: bots}, {resort: ticket, hook: desk}]}]\n")})
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(journal.Config{Dir: "j", FS: fs, Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, x: exchange.New(1), j: j}
	cfg := shard.Config{Peers: []wire.Slot{0}, Tenants: map[string]*shard.Tenant{"demo": r}, Hook: d.call, HookFirst: time.Millisecond}
	for s := range wire.Slot(wire.Slots) {
		cfg.Slots = append(cfg.Slots, s)
	}
	s, err := shard.Open(n.x, j.Group(0), cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.shards = append(n.shards, s)
	return n
}

// waits lets a customer wait beside nobody.
func (n *node) waits(name string) wire.SessionID {
	n.t.Helper()
	c := n.conn(customer(name))
	id := c.open(&wirepb.Open{})
	c.send(id, "", "hi")
	c.next(wire.FrameWrote)
	return id
}

// hookEvents returns what staff reads of hooks in a session.
func (n *node) hookEvents(id wire.SessionID) (types []string) {
	n.t.Helper()
	if err := readLog(n, id, func(e *wire.Entry) error {
		if e.Type == "hook.delivered" || e.Type == "hook.failed" {
			types = append(types, e.Type)
		}
		return nil
	}); err != nil {
		n.t.Fatal(err)
	}
	return types
}

// idle waits until a shard has no tasks.
func (n *node) idle() {
	n.t.Helper()
	if !happens(20*time.Second, func() bool {
		rows, err := shard.HookRows(n.j.Group(0))
		if err != nil {
			n.t.Fatal(err)
		}
		return rows == 0 && n.shards[0].Stats().Hooks.Waiting == 0
	}) {
		n.t.Fatal("calls are owed still")
	}
}

// A call for which there is no room is made later, one that fails is made again with the same words, and what is said twice of it counts once.
func TestHookOutcomes(t *testing.T) {
	d := &desk{full: 2, calls: make(chan deskCall, 10)}
	n := startDesk(t, vfs.NewMem(), d)
	defer n.stop()
	id := n.waits("alice")
	first := <-d.calls
	first.done(0, "no answer in time", 0, false)
	first.done(0, "no answer in time", 0, false) // the second copy
	again := <-d.calls
	if again.ID != first.ID || string(again.Body) != string(first.Body) || again.URL != "https://desk.example/" || again.Secret != "s" || again.Timeout != 5*time.Second {
		t.Fatalf("%+v, and then %+v", first.HookCall, again.HookCall)
	}
	again.done(200, "", 0, false)
	again.done(200, "", 0, false)
	first.done(500, "late", 0, false)
	n.idle()
	if got := n.hookEvents(id); fmt.Sprint(got) != "[hook.delivered]" {
		t.Fatalf("%v", got)
	}
	if h := n.shards[0].Stats().Hooks; h.Delivered != 1 || h.Retried != 1 || h.Failed != 0 {
		t.Fatalf("%+v", h)
	}
	other := n.waits("ben")
	for range 3 {
		c := <-d.calls
		c.done(500, "answered 500", 0, false)
	}
	n.idle()
	if got := n.hookEvents(other); fmt.Sprint(got) != "[hook.failed]" || len(d.calls) > 0 {
		t.Fatalf("%v, and %d calls", got, len(d.calls))
	}
}

// Power fails at any sync while calls are made. Of what is left, opened again: nobody is called about whom the log does not know, whoever was
// promised a ticket gets it, and whoever has it is called no more.
func TestHookPowerCuts(t *testing.T) {
	const people = 8
	c := &cuts{fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(7, 44))}
	d := &desk{calls: make(chan deskCall, 100)}
	n := startDesk(t, errorfs.Wrap(c.fs, c), d)
	for i := range people {
		n.waits(fmt.Sprint("c", i))
		call := <-d.calls
		if i%2 == 0 {
			call.done(503, "answered 503", 0, false)
			call = <-d.calls
		}
		if i%4 != 3 {
			call.done(200, "", 0, false)
		} // else nothing is heard
	}
	n.stop()
	c.mu.Lock()
	list := c.list
	c.mu.Unlock()
	if len(list) < 10 {
		t.Fatalf("only %d power cuts", len(list))
	}
	for i, at := range list {
		told, had := map[wire.SessionID]bool{}, map[wire.SessionID]bool{}
		d := &desk{calls: make(chan deskCall, 100)}
		n := startDesk(t, at.fs, d)
		known := map[wire.SessionID]bool{}
		if err := shard.ReadSessions(n.j.Group(0), func(_ string, id wire.SessionID) error { known[id] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		for id := range known {
			if err := readLog(n, id, func(e *wire.Entry) error {
				told[id] = told[id] || e.Type == "session.last_resort"
				had[id] = had[id] || e.Type == "hook.delivered"
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		owed := 0
		for id := range known { // who waits and was not told is told by the pool that opens
			if told[id] && !had[id] {
				owed++
			}
		}
		for range owed {
			call := <-d.calls
			call.done(200, "", 0, false)
		}
		n.idleWith(d)
		for id := range known {
			if got := n.hookEvents(id); told[id] && fmt.Sprint(got) != "[hook.delivered]" {
				t.Fatalf("cut %d: %s has %v; told %v, had %v", i, id, got, told[id], had[id])
			}
		}
		n.stop()
	}
}

// idleWith is idle while d takes whatever comes.
func (n *node) idleWith(d *desk) {
	n.t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case c := <-d.calls:
				c.done(200, "", 0, false)
			case <-stop:
				return
			}
		}
	}()
	n.idle()
	close(stop)
	<-done
}

// Who is erased while a hook is being told of him is erased when that has come to its end. What came of it changes nothing: it is not told again, and no row
// of it comes back.
func TestHookUnderWayOfTheErased(t *testing.T) {
	for _, status := range []int{200, 500} {
		d := &desk{calls: make(chan deskCall, 10)}
		n := startDesk(t, vfs.NewMem(), d)
		n.waits("alice")
		call := <-d.calls
		opa := n.conn(operator("opa"))
		opa.erase("alice", false)
		// One who has no call under way is erased meanwhile, in the same shard.
		bob := n.conn(customer("bob"))
		bob.send(bob.open(&wirepb.Open{}), "", "hi")
		(<-d.calls).done(200, "", 0, false)
		opa.erase("bob", false)
		opa.erased("bob")
		if f := opa.erase("alice", true); strings.Contains(f.Text, `"state":"erased"`) {
			t.Fatalf("she is erased while her words are on their way: %s", f.Text)
		}
		why := ""
		if status != 200 {
			why = "500"
		}
		call.done(status, why, 0, false)
		opa.erased("alice")
		n.idle()
		select {
		case again := <-d.calls:
			t.Fatalf("behind a status of %d it was told again: %+v", status, again.HookCall)
		default:
		}
		n.stop()
	}
}

// Who waits for his turn at a hook has it when a call about somebody who is erased has come to its end.
func TestHookBehindTheErased(t *testing.T) {
	d := &desk{calls: make(chan deskCall, 10)}
	n := startDesk(t, vfs.NewMem(), d)
	defer n.stop()
	n.waits("alice")
	n.waits("bob")
	first, second := <-d.calls, <-d.calls
	n.waits("carol") // behind as many as are called at once
	opa := n.conn(operator("opa"))
	for _, sub := range []string{"alice", "bob"} {
		opa.erase(sub, false)
	}
	opa.erase("dave", false) // who has nothing: behind him the sessions of the others are found
	opa.erased("dave")
	first.done(200, "", 0, false)
	second.done(200, "", 0, false)
	for _, sub := range []string{"alice", "bob"} {
		opa.erased(sub)
	}
	select {
	case c := <-d.calls:
		c.done(200, "", 0, false)
	case <-time.After(20 * time.Second): // a call of which nothing is heard is forgotten behind a minute
		t.Fatal("nobody is told of who comes next")
	}
	n.idle()
}
