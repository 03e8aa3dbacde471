package shard_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/exchange"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// at returns a name for which slot gives a slot of shard i of n.
func at(i, n int, prefix string, slot func(string) wire.Slot) string {
	for k := 0; ; k++ {
		if name := fmt.Sprint(prefix, k); slot(name).Number()%n == i {
			return name
		}
	}
}

func byCustomer(name string) wire.Slot { return exchange.CustomerSlot("demo", name) }
func byExternal(id string) wire.Slot   { return exchange.IdentitySlot("demo", "wechat", id) }

// holds tells whether any row of a shard has word in it.
func (n *node) holds(shard int, word string) (found bool) {
	n.t.Helper()
	if err := n.j.Group(shard).Scan([]byte{0}, []byte{0xff}, false, func(k, v []byte) bool {
		found = found || bytes.Contains(k, []byte(word)) || bytes.Contains(v, []byte(word))
		return !found
	}); err != nil {
		n.t.Fatal(err)
	}
	return found
}

// linked links an external id to a customer, and returns what was answered.
func (c *conn) linked(external, sub string) *wire.Frame {
	c.n.t.Helper()
	c.as(external, &wire.Command{Verb: wire.VerbLink, Text: sub})
	return c.next(wire.FrameAnswer, wire.FrameError)
}

// [I14] An external id that is claimed for a customer while he is being erased, behind the look through the ids of its shard, does not outlive the erasure, also when
// the shard's owner ends before anybody hears of the claim, and when it is not the one that has looked. Afterwards he, who is somebody new, may be given it.
func TestClaimedWhileErased(t *testing.T) {
	const of = 3
	alice, early, late := at(0, of, "alice", byCustomer), at(1, of, "early", byExternal), at(1, of, "late", byExternal)
	for _, another := range []bool{false, true} {
		t.Run(fmt.Sprint("another=", another), func(t *testing.T) {
			var armed atomic.Bool
			var once sync.Once
			stuck, release := make(chan struct{}), make(chan struct{})
			slow := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileSyncData && armed.Load() {
					once.Do(func() { close(stuck) })
					<-release
				}
				return nil
			})
			n := startOn(t, journal.Config{Dir: "data", FS: errorfs.Wrap(vfs.NewMem(), slow), Groups: of, FreeMin: -1}, 0)
			defer func() { n.stop() }()
			opa, s := n.conn(operator("opa")), n.conn(service("s"))
			s.linked(early, alice)
			n.shards[2].Close() // it holds up the erasure
			n.shards = n.shards[:2]
			opa.erase(alice, false)
			n.until(func() string { return "only shard 2 has not looked" }, func() bool {
				list := n.shards[0].Erasures()
				return len(list) == 1 && slices.Equal(list[0].Shards, []int{2})
			})
			if another {
				n.shards[1].Close()
				n.shards[1] = n.open(1, of, 0)
			}
			armed.Store(true)
			s.as(late, &wire.Command{Verb: wire.VerbLink, Text: alice})
			select {
			case <-stuck: // it is claimed, and the owner ends before he can say so
				var end sync.WaitGroup
				end.Go(n.shards[1].Drop)
				n.until(func() string { return "the owner ends" }, func() bool {
					return !n.shards[1].Put(wire.Envelope{To: wire.ToSlot(1), Mail: &wire.Scrub{Tenant: "demo", Customer: "nobody"}})
				})
				armed.Store(false)
				close(release)
				end.Wait()
				n.shards[1] = n.open(1, of, 0)
			case <-s.wake:
				armed.Store(false)
				if f := s.next(wire.FrameAnswer, wire.FrameError); f.Kind != wire.FrameError || f.Err.Slug != wire.Unavailable {
					t.Fatalf("while she is being erased a link is answered %+v", f)
				}
			}
			n.shards = append(n.shards, n.open(2, of, 0))
			opa.erased(alice)
			for i := range of {
				if n.holds(i, late) {
					t.Errorf("shard %d has the external id that was claimed meanwhile", i)
				}
			}
			if f := s.linked(late, alice); f.Kind != wire.FrameAnswer || f.PB.GetIdentities().GetDuplicate() {
				t.Fatalf("when it is over a link is answered %+v", f)
			}
			id := n.conn(customer(alice)).open(&wirepb.Open{})
			// A letter of the erasure that comes now is late: what somebody new was given stays.
			if err := n.x.Post(wire.Envelope{To: wire.ToSlot(1), Mail: &wire.Purge{Tenant: "demo", Customer: alice, Mark: "e_" + alice, Shard: 1}}); err != nil {
				t.Fatal(err)
			}
			opa.erase("bob", false)
			opa.erased("bob") // the shard has looked once more
			s.as(late, &wire.Command{Verb: wire.VerbOpen})
			if got := s.next(wire.FrameAttach).Session; got != id {
				t.Fatalf("what she was given is lost: it leads to %s, and she has %s", got, id)
			}
		})
	}
}

// A claim from before an erasure, which comes to its customer when that is over, is made again: its row has gone.
func TestClaimFromBefore(t *testing.T) {
	const of = 3
	alice, late := at(0, of, "alice", byCustomer), at(1, of, "late", byExternal)
	n := start(t, t.TempDir(), of)
	defer n.stop()
	opa, s := n.conn(operator("opa")), n.conn(service("s"))
	opa.erase(alice, false)
	opa.erased(alice)
	s.do(byCustomer(alice), &wire.Command{
		Verb: wire.VerbLink, Text: alice, For: &wire.External{Channel: "wechat", ID: late}, Way: &wire.Way{Stage: wire.StageLink, At: alice, Owner: alice},
	})
	if f := s.next(wire.FrameAnswer); len(f.PB.GetIdentities().GetIdentities()) != 1 || !n.holds(1, late) {
		t.Fatalf("answered %+v, and the shard has the row: %v", f, n.holds(1, late))
	}
}

// An erasure tells who was erased with the customer, however far away: backups from before they were one have them apart.
func TestErasedWithHim(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, 4)
	list := []string{"v0", "v1", "v2", "v3", "alice"}
	for i, sub := range list[1:] {
		n.conn(customer(list[i])).open(&wirepb.Open{})
		n.conn(customer(list[i])).identified(sub)
	}
	opa := n.conn(operator("opa"))
	if f := opa.erase("v0", false); f.Kind != wire.FrameAnswer {
		t.Fatalf("erasing was answered %+v", f)
	}
	opa.erased("alice")
	n.stop()
	n = start(t, dir, 4)
	defer n.stop()
	opa = n.conn(operator("opa"))
	var e struct {
		Customer string
		Also     []string
	}
	if err := json.Unmarshal([]byte(opa.erase("alice", true).Text), &e); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(e.Also); e.Customer != "alice" || !slices.Equal(e.Also, list[:4]) {
		t.Errorf("with %s were erased %q; want %q", e.Customer, e.Also, list[:4])
	}
}

// The name of whom an external id leads to says nothing of it: the same id has another name in another place, and again when who had it was erased. It keeps
// the one that it has.
func TestNewcomers(t *testing.T) {
	who := func(n *node) string {
		t.Helper()
		s := n.conn(service("s"))
		s.as("+4915112345678", &wire.Command{Verb: wire.VerbOpen})
		s.next(wire.FrameAttach)
		f := s.linked("+4915112345678", "alice")
		if f.Kind != wire.FrameError || f.Err.Slug != wire.IdentityTaken {
			t.Fatalf("a link was answered %+v", f)
		}
		var d struct{ Customer string }
		if err := json.Unmarshal(f.Err.Detail, &d); err != nil || !strings.HasPrefix(d.Customer, "x_") || !wire.ValidID(d.Customer) {
			t.Fatalf("it is %s's (%v)", f.Err.Detail, err)
		}
		return d.Customer
	}
	dir := t.TempDir()
	n := start(t, dir, 4)
	first := who(n)
	n.stop()
	n = start(t, dir, 4)
	defer func() { n.stop() }()
	if again := who(n); again != first {
		t.Fatalf("after a restart it is %s; was %s", again, first)
	}
	opa := n.conn(operator("opa"))
	opa.erase(first, false)
	opa.erased(first)
	names := []string{first, who(n)}
	other := start(t, t.TempDir(), 4)
	names = append(names, who(other))
	other.stop()
	slices.Sort(names)
	if len(slices.Compact(names)) != 3 {
		t.Errorf("three times somebody new, by the names %q", names)
	}
}

// [I14] When a customer is erased no row of any shard has a word of his sessions, nor of those of who became him: not in entries, states, keys, customers or ids. Another's
// words are there.
func TestErasedRows(t *testing.T) {
	const of, canary = 3, "Canary77hQ"
	n := start(t, t.TempDir(), of)
	defer n.stop()
	bot := n.conn(worker("bot", wire.OriginBot))
	bot.subscribe(8, "")
	s, opa := n.conn(service("s")), n.conn(operator("opa"))
	for i, sub := range []string{"visitor", "alice", "bob"} {
		word := canary + sub
		c := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleCustomer, Sub: sub, Name: word})
		id := c.open(&wirepb.Open{Shop: fmt.Sprint("s", i), Attributes: []byte(`{"about":"` + word + `"}`), Key: word})
		c.send(id, word+"k", word)
		c.next(wire.FrameWrote)
		a := bot.next(wire.FrameAssigned)
		bot.do(slotOf(id), &wire.Command{Verb: wire.VerbReply, Session: id, AE: a.AE, Type: "text", Key: word, Body: []byte(`{"text":"` + word + `"}`)})
		bot.next(wire.FrameWrote)
		s.linked(word, sub)
		if sub == "visitor" {
			c.identified("alice")
		}
	}
	opa.erase("alice", false)
	opa.erased("alice")
	for i := range of {
		for _, word := range []string{canary + "visitor", canary + "alice"} {
			if n.holds(i, word) {
				t.Errorf("shard %d has a row with %s", i, word)
			}
		}
	}
	if !n.holds(0, canary+"bob") && !n.holds(1, canary+"bob") && !n.holds(2, canary+"bob") {
		t.Error("bob's words are gone")
	}
}
