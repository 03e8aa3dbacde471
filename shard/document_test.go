package shard_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

const oneQueue = "version: 1\nqueues: [{name: default}]\n"

func (c *conn) configure(version uint64, doc string) {
	c.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbConfigure, Body: []byte(doc), Ack: wire.Some(version)})
}

// version returns the version of the document that counts.
func (c *conn) version() uint64 {
	c.n.t.Helper()
	c.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbDocument})
	return c.next(wire.FrameAnswer).Seq
}

// A document whose turn the journal refuses was never there: nobody hears of it, and its version is free.
func TestRefusedDocument(t *testing.T) {
	n, disk, g := startFull(t)
	defer n.stop()
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	sue.configure(0, oneQueue+"bar_ms: 1\n")
	if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Seq != 1 {
		t.Fatalf("%+v", f)
	}
	for try := 1; n.shards[0].Stats().Abandoned == 0; try++ { // until the pause is in the very turn in which it is decided
		if try > 100 {
			t.Fatal("no turn was refused")
		}
		if try > 1 {
			disk.is(false)
		}
		n.pause()
		on := <-g.stop
		sue.configure(1, oneQueue+"bar_ms: 2\n")
		n.pause() // behind it
		close(on)
		on = <-g.stop
		for n.shards[0].Read() == 0 {
			runtime.Gosched()
		}
		n.pause()
		close(on)
		on = <-g.stop
		disk.is(true)
		close(on)
		if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Kind != wire.FrameError || f.Err.Slug != wire.Unavailable {
			t.Fatalf("what was lost was answered %+v", f)
		}
		if v := sue.version(); v != 1 {
			t.Fatalf("the version is %d", v)
		}
	}
	sue.configure(1, oneQueue+"bar_ms: 3\n")
	if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Kind != wire.FrameError || f.Err.Slug != wire.Unavailable {
		t.Fatalf("on a full disk it was answered %+v", f)
	}
	disk.is(false)
	sue.configure(1, oneQueue+"bar_ms: 4\n")
	if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Kind != wire.FrameAnswer || f.Seq != 2 {
		t.Fatalf("%+v", f)
	}
}

// Nobody's rows wait for a document: four as large as may be are read for a second, and who comes meanwhile is served before they are done.
func TestLargeDocumentsKeepNobody(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	var doc strings.Builder
	doc.WriteString("version: 1\nqueues:\n")
	for i := range 2000 {
		fmt.Fprintf(&doc, "  - {name: q%d, asks: {wrong: [%s]}}\n", i, strings.Repeat("1, ", 20))
	}
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	const documents = 4
	for range documents {
		sue.configure(0, doc.String())
	}
	n.conn(customer("ben")).open(&wirepb.Open{})
	sue.mu.Lock()
	done := len(sue.frames)
	sue.mu.Unlock()
	if done == documents {
		t.Error("a customer was opened behind all documents")
	}
	for range documents {
		if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Kind != wire.FrameError || f.Err.Slug == wire.Overloaded {
			t.Errorf("%+v", f)
		}
	}
}

// A fraction where the document has a whole number is a mistake of who hands it in.
func TestNoFractions(t *testing.T) {
	n := start(t, t.TempDir(), 1)
	defer n.stop()
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	sue.configure(0, oneQueue+"bar_ms: 1.5\n")
	if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Kind != wire.FrameError || !strings.Contains(string(f.Err.Detail), "no whole number") {
		t.Fatalf("%+v", f)
	}
	if v := sue.version(); v != 0 {
		t.Fatalf("the version is %d", v)
	}
}

// What was told last is what a node begins with.
func TestReadDocuments(t *testing.T) {
	dir := t.TempDir()
	n := start(t, dir, 2)
	sue := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	for v := range uint64(3) {
		sue.configure(v, oneQueue+strings.Repeat("#", int(v+1))+"\n") //nolint:gosec // below 3
		if f := sue.next(wire.FrameAnswer, wire.FrameError); f.Seq != v+1 {
			t.Fatalf("%+v", f)
		}
	}
	n.stop()
	j, err := journal.Open(journal.Config{Dir: dir, Groups: 2, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	found := 0
	for i := range 2 {
		if err := shard.ReadDocuments(j.Group(i), func(tenant string, d shard.Document) error {
			found++
			if tenant != "demo" || d.Version != 3 || d.By != "sue" || d.Role != wire.RoleSupervisor || d.At == 0 || string(d.Text) != oneQueue+"###\n" {
				t.Errorf("%s: %+v", tenant, d)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if found != 1 {
		t.Fatalf("%d documents", found)
	}
}
