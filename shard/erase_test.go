package shard_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"switchboard/exchange"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

func operator(sub string) *wire.Principal {
	return &wire.Principal{Tenant: "demo", Role: wire.RoleOperator, Sub: sub}
}

// erase asks for the erasure of a customer, or only how far that is.
func (c *conn) erase(sub string, only bool) *wire.Frame {
	c.n.t.Helper()
	c.do(exchange.CustomerSlot(c.who.Tenant, sub), &wire.Command{Verb: wire.VerbErase, Text: sub, Reason: "e_" + sub, On: only})
	f := c.soon(10*time.Second, wire.FrameAnswer, wire.FrameError)
	if f == nil {
		c.n.t.Fatalf("erasing %s was not answered", sub)
	}
	return f
}

// erased waits until no row has anything of a customer.
func (c *conn) erased(sub string) {
	c.n.t.Helper()
	var f *wire.Frame
	c.n.until(func() string { return fmt.Sprintf("%s is erased: %+v", sub, f) }, func() bool {
		f = c.erase(sub, true)
		return f.Kind != wire.FrameError && strings.Contains(f.Text, `"state":"erased"`)
	})
}

// until looks again and again whether what is promised has come about.
func (n *node) until(what func() string, happened func() bool) {
	n.t.Helper()
	if !happens(time.Minute, happened) {
		n.t.Fatalf("it did not come about: %s", what())
	}
}

// What was said while a feed catches up waits for it, as long as its client pleases. Of a session that is erased meanwhile it is told without words.
func TestErasedWhileAFeedCatchesUp(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	alice, opa := n.conn(customer("alice")), n.conn(operator("opa"))
	id := alice.open(&wirepb.Open{})
	for range 70 { // more than a page
		alice.send(id, "", "before")
		alice.next(wire.FrameWrote)
	}
	pb := &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Watch{Watch: &wirepb.Watch{Scope: &wirepb.Scope{}}}}
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	at := uint64(0)
	page := func() (last *wire.Frame, said []string) {
		t.Helper()
		sue.do(wire.ShardSlot(0), &wire.Command{Verb: wire.VerbWatch, PB: pb, Ack: wire.Some(at)})
		for {
			f := sue.next(wire.FrameFeed)
			at = f.Seq
			if f.Entry == nil {
				return f, said
			}
			said = append(said, string(f.Entry.Body))
		}
	}
	if f, _ := page(); f.Live {
		t.Fatal("all came at once: this tests nothing")
	}
	for range 100 { // more than the page that reaches the first of them
		alice.send(id, "", "canary")
		alice.next(wire.FrameWrote)
	}
	opa.erase("alice", false)
	opa.erased("alice")
	f, said := page()
	if !f.Live || len(said) == 0 {
		t.Fatalf("the feed has not caught up: %+v", f)
	}
	for _, body := range said {
		if strings.Contains(body, "canary") || strings.Contains(body, "before") {
			t.Errorf("after she was erased it is told that she said %s", body)
		}
	}
}

// Whoever comes under the id of somebody who was erased becomes another as anybody does, also while files may still have something of the one before.
func TestSomebodyNewBecomesAnother(t *testing.T) {
	n := start(t, t.TempDir(), 4)
	defer n.stop()
	alice, opa := n.conn(customer("alice")), n.conn(operator("opa"))
	alice.open(&wirepb.Open{})
	opa.erase("alice", false)
	opa.erased("alice")
	now := alice.open(&wirepb.Open{})
	alice.identify("bob")
	f := alice.soon(5*time.Second, wire.FrameAnswer, wire.FrameError)
	if f == nil || f.PB.GetIdentify().GetCustomer() != "bob" {
		t.Fatalf("identify was answered %+v", f)
	}
	if id := n.conn(customer("bob")).open(&wirepb.Open{}); id != now {
		t.Fatalf("bob opened %s; want %s", id, now)
	}
	alice.identify("bob") // once more
	if f = alice.soon(5*time.Second, wire.FrameAnswer, wire.FrameError); f == nil || f.PB.GetIdentify().GetCustomer() != "bob" {
		t.Fatalf("identify was answered %+v", f)
	}
}

// While a customer is about to become another, who may know his external ids by then, he is not erased by himself.
func TestEraseOneWhoBecomesAnother(t *testing.T) {
	n := start(t, t.TempDir(), 2)
	defer func() {
		n.shards = n.shards[:0]
		n.stop()
	}()
	here, there := "alice", ""
	of := exchange.CustomerSlot("demo", here).Number() % 2
	for _, sub := range []string{"bob", "carol", "dave", "erin", "frank", "grace"} {
		if exchange.CustomerSlot("demo", sub).Number()%2 != of {
			there = sub
		}
	}
	defer n.shards[of].Close()
	n.shards[1-of].Close()
	alice, opa := n.conn(customer(here)), n.conn(operator("opa"))
	alice.do(exchange.CustomerSlot("demo", here), &wire.Command{
		Verb: wire.VerbIdentify, Text: there, Way: &wire.Way{Stage: wire.StageMerge, At: here, Root: here}, // whom it is about is another
	})
	// Both are asked of one owner, in this order.
	if f := opa.erase(here, false); f.Kind != wire.FrameError || f.Err.Slug != wire.Unavailable || !strings.Contains(f.Err.Message, "becoming another") {
		t.Fatalf("erasing was answered %+v", f)
	}
}

// An external id that is asked for while its row is being taken out is nobody's: it is claimed anew, and stays that.
func TestErasedExternalID(t *testing.T) {
	const external = "o6"
	var armed atomic.Int32
	var once sync.Once
	stuck, release := make(chan struct{}), make(chan struct{})
	mem := vfs.NewMem()
	slow := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && armed.Load() > 0 && armed.Add(-1) == 0 {
			once.Do(func() { close(stuck) })
			<-release
		}
		return nil
	})
	cfg := journal.Config{Dir: "data", FS: errorfs.Wrap(mem, slow), Groups: 1, FreeMin: -1}
	n := startOn(t, cfg, 0)
	opa, connector := n.conn(operator("opa")), n.conn(service("connector"))
	opa.as(external, &wire.Command{Verb: wire.VerbLink, Text: "alice"})
	opa.next(wire.FrameAnswer)
	armed.Store(3) // that she is to be erased, that claims are kept off, and that the row is gone
	opa.do(exchange.CustomerSlot("demo", "alice"), &wire.Command{Verb: wire.VerbErase, Text: "alice", Reason: "e_1"})
	<-stuck
	taken := func(mail uint64) {
		t.Helper()
		n.until(func() string { return "mail is taken" }, func() bool { return n.shards[0].Stats().Mail >= mail })
	}
	mail := n.shards[0].Stats().Mail
	connector.as(external, &wire.Command{Verb: wire.VerbOpen})
	taken(mail + 1)
	opa.do(exchange.CustomerSlot("demo", "alice"), &wire.Command{Verb: wire.VerbErase, Text: "alice", On: true})
	taken(mail + 2) // so the owner is done with what was before
	close(release)
	opa.next(wire.FrameAnswer)
	opa.erased("alice")
	connector.soon(5*time.Second, wire.FrameAttach, wire.FrameError)
	connector.as(external, &wire.Command{Verb: wire.VerbOpen})
	id := connector.next(wire.FrameAttach).Session
	n.stop()
	n = startOn(t, cfg, 0)
	defer n.stop()
	connector = n.conn(service("connector"))
	connector.as(external, &wire.Command{Verb: wire.VerbOpen})
	if again := connector.next(wire.FrameAttach).Session; again != id {
		t.Fatalf("after a restart %s is in %s; was in %s", external, again, id)
	}
}

// However many are erased at once, each is in the end.
func TestEraseMany(t *testing.T) {
	n := start(t, t.TempDir(), 2)
	defer n.stop()
	opa := n.conn(operator("opa"))
	names := strings.Fields("a b c d e f g h i j k l m n o p")
	for _, sub := range names {
		c := n.conn(customer(sub))
		c.send(c.open(&wirepb.Open{}), "", "canary")
		c.next(wire.FrameWrote)
	}
	for _, sub := range names {
		opa.erase(sub, false)
	}
	for _, sub := range names {
		opa.erased(sub)
	}
}
