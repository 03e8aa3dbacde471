package shard_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/exchange"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// types returns the types of a session's entries.
func (n *standing) types(id wire.SessionID) (list []string) {
	n.t.Helper()
	if err := readLog(n.node, id, func(e *wire.Entry) error {
		list = append(list, e.Type)
		return nil
	}); err != nil {
		n.t.Fatal(err)
	}
	return list
}

// cut ends the node without notice, starts it over what its disk has, and lets its pool begin.
func (n *standing) cut(mem *vfs.MemFS) (*standing, *vfs.MemFS) {
	n.t.Helper()
	left := mem.CrashClone(vfs.CrashCloneCfg{})
	n.stop()
	next := startStanding(n.t.(*testing.T), left, n.at.Load())
	for range 5 { // what is not loaded yet is asked for again
		next.pass(20 * time.Millisecond)
	}
	return next, left
}

// [SW-5.8] A transfer that is pending when the node is killed waits for its target, who is back later than its source, and has his slot before the one who
// waits in line. [SW-5.6] A worker who does not come back, or begins anew, has failed at what he was delivered: the next one is told.
func TestPendingAcrossCrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	n := startStanding(t, mem, morning)
	defer func() { n.stop() }()
	bot := n.conn(worker("bot", wire.OriginBot))
	lease := bot.subscribe(1, "").Lease
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	alice.ask(id, "hi")
	if d := bot.next(wire.FrameDelivery); d.Attempt != 1 {
		t.Fatalf("delivered with attempt %d", d.Attempt)
	}
	ann := n.conn(worker("ann", wire.OriginHuman))
	ann.subscribe(1, "")
	bot.do(slotOf(id), &wire.Command{Verb: wire.VerbTransfer, Session: id, AE: 1, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{
		Transfer: &wirepb.Transfer{To: &wirepb.Target{Worker: "ann"}},
	}}})
	if o := ann.next(wire.FrameKeep).PB.GetOffer(); o.GetSession() != string(id) {
		t.Fatalf("ann is offered %v", o)
	}
	ben := n.conn(customer("ben"))
	ben.ask(ben.open(&wirepb.Open{}), "hello?")

	n, mem = n.cut(mem)
	bot = n.conn(worker("bot", wire.OriginBot))
	if kept := bot.subscribe(1, lease).Kept; len(kept) != 1 {
		t.Fatalf("bot has kept %v", kept)
	}
	n.pass(10 * time.Second)
	if list := n.types(id); slices.Contains(list, "session.transfer_failed") {
		t.Fatalf("the transfer has failed before ann could be back: %v", list)
	}
	ann = n.conn(worker("ann", wire.OriginHuman))
	ann.subscribe(1, "")
	o := ann.next(wire.FrameKeep).PB.GetOffer()
	if o.GetSession() != string(id) {
		t.Fatalf("ann is offered %v; want %s", o, id)
	}
	ann.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: o.Offer}}}})
	if d := ann.next(wire.FrameDelivery); d.AE != 2 || d.Attempt != 1 {
		t.Fatalf("delivered under %d with attempt %d; a transfer is none", d.AE, d.Attempt)
	}

	n, _ = n.cut(mem)
	ann = n.conn(worker("ann", wire.OriginHuman))
	ann.subscribe(3, "") // without her lease: what she held is lost
	for o = nil; o.GetSession() != string(id); {
		o = ann.next(wire.FrameKeep).PB.GetOffer()
	}
	ann.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: o.Offer}}}})
	if d := ann.next(wire.FrameDelivery); d.AE != 3 || d.Entry.Seq != 2 || d.Attempt != 2 {
		t.Fatalf("delivered %+v under %d, attempt %d; want the second attempt at entry 2", d.Entry, d.AE, d.Attempt)
	}
}
