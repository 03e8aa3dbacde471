package shard_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"switchboard/broker/why"
	"switchboard/exchange"
	"switchboard/shard"
	"switchboard/shard/journal"
	"switchboard/wire"
	"switchboard/wire/wirepb"
)

// whys are the tenants of a test that keep why.
func whys(t testing.TB, days, each int) map[string]*shard.Tenant {
	t.Helper()
	base := tenants(0)["demo"]
	r, err := base.Routed(shard.Document{Text: fmt.Appendf(nil, "version: 1\nqueues: [{name: default}]\ntrace_days: %d\ntrace_each: %d\n", days, each)})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*shard.Tenant{"demo": r}
}

// startWhy starts a node of one shard whose clock is told.
func startWhy(t *testing.T, fs vfs.FS, days, each int, now *time.Time) *node {
	t.Helper()
	j, err := journal.Open(journal.Config{Dir: "j", FS: fs, Groups: 1, FreeMin: -1})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, x: exchange.New(1), j: j}
	cfg := shard.Config{Peers: []wire.Slot{0}, Tenants: whys(t, days, each), Now: func() time.Time { return *now }}
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

// explained asks why, as a supervisor.
func (n *node) explained(id wire.SessionID) (r why.Report) {
	n.t.Helper()
	sup := n.conn(&wire.Principal{Tenant: "demo", Role: wire.RoleSupervisor, Sub: "sue"})
	sup.do(slotOf(id), &wire.Command{Verb: wire.VerbExplain, Session: id})
	if err := json.Unmarshal([]byte(sup.next(wire.FrameAnswer).Text), &r); err != nil {
		n.t.Fatal(err)
	}
	return r
}

// assignments lets alice be assigned so many times in a row, from one human to the other, and returns her session.
func (n *node) assignments(times int) wire.SessionID {
	n.t.Helper()
	people := [2]*conn{n.conn(worker("ann", wire.OriginHuman)), n.conn(worker("ben", wire.OriginHuman))}
	for _, w := range people {
		w.subscribe(8, "")
	}
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "", "hi")
	for i := range times {
		w := people[i%2]
		offer := w.next(wire.FrameKeep).PB.GetOffer()
		for offer == nil {
			offer = w.next(wire.FrameKeep).PB.GetOffer()
		}
		w.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: offer.Offer}}}})
		ae := w.next(wire.FrameAssigned).AE
		if i == times-1 {
			break
		}
		w.do(slotOf(id), &wire.Command{Verb: wire.VerbTransfer, Session: id, AE: ae, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Transfer{
			Transfer: &wirepb.Transfer{Session: string(id), Ae: ae, To: &wirepb.Target{Queue: "default"}},
		}}})
	}
	return id
}

// Why stays with its session when pool and node are gone, of so many assignments as the document says, the latest; and until the time that it
// says. Then its rows go.
func TestWhyStays(t *testing.T) {
	fs, now := vfs.NewMem(), time.UnixMilli(1_800_000_000_000)
	n := startWhy(t, fs, 2, 3, &now)
	id := n.assignments(5)
	had := n.explained(id).Decisions
	if len(had) < 5 || had[0].Worker != "ann" || had[0].Reason != "transfer" || had[4].Worker != "ann" || had[4].Reason != "route" {
		t.Fatalf("the pool remembers %+v", had)
	}
	n.stop()

	n = startWhy(t, fs, 2, 3, &now)
	kept := n.explained(id)
	if len(kept.Decisions) != 3 {
		t.Fatalf("%d are kept: %+v", len(kept.Decisions), kept.Decisions)
	}
	for i, d := range kept.Decisions {
		if h := had[i]; d.At != h.At || d.Ticket != h.Ticket || d.Worker != h.Worker || d.Step != h.Step || d.Reason != h.Reason || len(d.Top) != len(h.Top) || d.Eligible != h.Eligible {
			t.Fatalf("the %d. is kept as\n%+v\nand was\n%+v", i, d, h)
		}
	}
	// A second copy of a grant, with another explanation, changes nothing; nor does garbage.
	for _, text := range [][]byte{append(shard.WhyHead(3, now.UnixMilli()+1), "x"...), {0xff}, nil} {
		n.post(id, &wire.Grant{Session: id, Ticket: kept.Decisions[0].Ticket, Pool: math.MaxInt64, Queue: "default", Worker: "ann", Why: text})
	}
	if again := n.explained(id); len(again.Decisions) != 3 || again.Decisions[0].At != had[0].At {
		t.Fatalf("after a second copy: %+v", again.Decisions)
	}
	alice := n.conn(customer("alice"))
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbClose, Session: id})
	alice.next(wire.FrameAnswer)
	n.stop()

	now = now.Add(49 * time.Hour)
	n = startWhy(t, fs, 2, 3, &now)
	if r := n.explained(id); len(r.Decisions) != 0 {
		t.Fatalf("after two days: %+v", r.Decisions)
	}
	n.stop()
	n = startWhy(t, fs, 2, 3, &now)
	defer n.stop()
	n.pruned(id)
}

// A document that keeps nothing beyond memory keeps nothing.
func TestWhyInMemoryAlone(t *testing.T) {
	fs, now := vfs.NewMem(), time.UnixMilli(1_800_000_000_000)
	n := startWhy(t, fs, 0, 3, &now)
	id := n.assignments(2)
	if had := n.explained(id).Decisions; len(had) != 2 {
		t.Fatalf("%+v", had)
	}
	n.stop()
	n = startWhy(t, fs, 0, 3, &now)
	defer n.stop()
	if r := n.explained(id); len(r.Decisions) != 0 {
		t.Fatalf("%+v", r.Decisions)
	}
}

func (n *node) post(id wire.SessionID, m wire.Mail) {
	n.t.Helper()
	if err := n.x.Post(wire.Envelope{To: wire.ToSlot(slotOf(id)), Mail: m}); err != nil {
		n.t.Fatal(err)
	}
}

// declined lets whoever is asked for id decline.
func (n *node) declined(id wire.SessionID, w *conn) {
	n.t.Helper()
	offer := w.next(wire.FrameKeep).PB.GetOffer()
	for offer == nil || offer.Session != string(id) {
		offer = w.next(wire.FrameKeep).PB.GetOffer()
	}
	w.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbDecline, ID: 9, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Decline{Decline: &wirepb.Decline{Offer: offer.Offer}}}})
}

// Offers that nobody took stay as well, through a power cut, beside the assignment that followed and without driving it out; and nobody else's word
// adds to them.
func TestUntakenStays(t *testing.T) {
	fs, now := vfs.NewCrashableMem(), time.UnixMilli(1_800_000_000_000)
	n := startWhy(t, fs, 2, 3, &now)
	ann := n.conn(worker("ann", wire.OriginHuman))
	ann.subscribe(8, "")
	alice := n.conn(customer("alice"))
	id := alice.open(&wirepb.Open{})
	alice.send(id, "", "hi")
	n.declined(id, ann)
	n.rows(id, 1)
	ben := n.conn(worker("ben", wire.OriginHuman))
	ben.subscribe(8, "")
	n.declined(id, ben)
	n.rows(id, 2)
	had := n.explained(id)
	lost := fs.CrashClone(vfs.CrashCloneCfg{})
	n.stop()

	n = startWhy(t, lost, 2, 3, &now)
	kept := n.explained(id)
	if len(kept.Decisions) != 2 || len(had.Decisions) != 2 {
		t.Fatalf("kept are %+v of %+v", kept.Decisions, had.Decisions)
	}
	for i, d := range kept.Decisions {
		if h := had.Decisions[i]; d.Ended != "declined" || h.Ended != "declined" || d.Worker != h.Worker || d.At != h.At || d.Eligible != h.Eligible || d.Eligible == 0 {
			t.Fatalf("the %d. is kept as\n%+v\nand was\n%+v", i, d, h)
		}
	}
	if !slices.ContainsFunc(kept.Why, func(s string) bool { return strings.Contains(s, "ben") && strings.Contains(s, "who declined it") }) {
		t.Fatalf("it is told %q", kept.Why)
	}

	// A second copy, the word of an earlier pool, one about a ticket that there was not, and garbage.
	ticket := kept.Decisions[0].Ticket
	head := shard.WhyHead(3, now.Add(time.Hour).UnixMilli())
	for _, u := range []*wire.Untaken{
		{Session: id, Ticket: ticket, Pool: 0, N: 3, Why: head},
		{Session: id, Ticket: ticket + 1, Pool: math.MaxInt64, N: 3, Why: head},
		{Session: id, Pool: math.MaxInt64, N: 3, Why: head},
		{Session: id, Ticket: ticket, Pool: math.MaxInt64, N: 3, Why: []byte{0xff}},
		{Session: id, Ticket: ticket, Pool: math.MaxInt64, N: 3},
	} {
		n.post(id, u)
	}
	cat := n.conn(worker("cat", wire.OriginHuman))
	cat.subscribe(8, "")
	offer := cat.next(wire.FrameKeep).PB.GetOffer()
	for offer == nil {
		offer = cat.next(wire.FrameKeep).PB.GetOffer()
	}
	cat.do(exchange.PoolSlot("demo"), &wire.Command{Verb: wire.VerbAccept, PB: &wirepb.ClientFrame{Verb: &wirepb.ClientFrame_Accept{Accept: &wirepb.Accept{Offer: offer.Offer}}}})
	cat.next(wire.FrameAssigned)
	n.rows(id, 3)
	r := n.explained(id)
	if len(r.Decisions) != 3 || r.Decisions[0].Worker != "cat" || r.Decisions[0].Ended != "" {
		t.Fatalf("%+v", r.Decisions)
	}
	if len(r.Why) < 2 || r.Why[0] != "cat has it." || !strings.HasPrefix(r.Why[1], "It went to cat") {
		t.Fatalf("it is told %q", r.Why)
	}

	// Of a session that is closed nothing is written any more.
	alice = n.conn(customer("alice"))
	alice.do(slotOf(id), &wire.Command{Verb: wire.VerbClose, Session: id})
	alice.next(wire.FrameAnswer)
	n.post(id, &wire.Untaken{Session: id, Ticket: ticket, Pool: math.MaxInt64, N: 3, Why: head})
	n.explained(id)
	n.rows(id, 3)
	n.stop()
}

// rows waits until there are so many rows of explanations of a session.
func (n *node) rows(id wire.SessionID, want int) {
	n.t.Helper()
	rows := 0
	if !happens(10*time.Second, func() bool {
		assigned, untaken, err := shard.WhyRows(n.j.Group(0), id)
		if err != nil {
			n.t.Fatal(err)
		}
		rows = assigned + untaken
		return rows == want
	}) {
		n.t.Fatalf("there are %d rows; want %d", rows, want)
	}
}

// pruned waits until no rows of explanations are left of a session.
func (n *node) pruned(id wire.SessionID) {
	n.t.Helper()
	n.rows(id, 0)
}
