package broker_test

import (
	"fmt"
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// Requirements that nobody has any more are forgotten, those in use are not: who waits under one is served.
func TestClassesAreForgotten(t *testing.T) {
	c, out := pool(t, wire.OriginBot, 1)
	want := func(level float64) []broker.Skill { return []broker.Skill{{Name: "rare", Level: level}} }
	c.Offer(&broker.Task{Session: "s_waits", Ticket: 1, Queue: "default", Skills: want(0.5)}, 1, out)
	for i := range 2000 {
		task := broker.Task{Session: "s_other", Ticket: uint64(i + 1), Queue: "default", Skills: want(1 + float64(i))}
		c.Offer(&task, 1, out)
		c.Withdraw(task.Session, task.Ticket, 1, out)
	}
	if len(*out) != 0 {
		t.Fatalf("effects: %+v", *out)
	}
	if n := c.Waiting("default"); n != 1 {
		t.Fatalf("%d wait; want 1", n)
	}
	c.Subscribe(&broker.Subscription{
		ID: "rare", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"default"}, Skills: want(0.5),
		Conn: wire.Conn{Node: 1, ID: 99}, NewLease: "l",
	}, 1, out)
	if e := (*out)[len(*out)-1]; e.Kind != broker.Grant || e.Session != "s_waits" || e.Worker != "rare" {
		t.Fatalf("after the worker came: %+v", e)
	}
}

// An offer's end is remembered for the last thousand of them; after that its worker is told that it is gone.
func TestEndedOffersAreBounded(t *testing.T) {
	c, out := pool(t, wire.OriginHuman, 1)
	var offers []string
	for i := range 2000 {
		out.Reset()
		c.Offer(&broker.Task{Session: "s_a", Ticket: uint64(i + 1), Queue: "default"}, 1, out)
		o := (*out)[0]
		offers = append(offers, o.Offer)
		c.Accept(o.Offer, o.Worker, broker.Ref{Conn: o.Conn}, 1, out)
		c.Confirm("s_a", uint64(i+1), o.Worker, "l", uint64(i+1), 1, out)
		c.Release("s_a", uint64(i+1), 0, false, 1, out)
	}
	f := func(i int, want broker.EffectKind) {
		t.Helper()
		out.Reset()
		c.Accept(offers[i], "w00000", broker.Ref{Conn: wire.Conn{Node: 1, ID: 1}, ID: 1}, 1, out)
		if e := (*out)[0]; e.Kind != want || want == broker.Accepted && e.AE != uint64(i+1) {
			t.Fatalf("accept of offer %d: %+v", i, e)
		}
	}
	f(1999, broker.Accepted)
	f(2000-1024, broker.Accepted)
	f(2000-1025, broker.Fail)
	f(0, broker.Fail)
}

// A census of many sessions is taken over whole.
func TestCensusOfMany(t *testing.T) {
	out := &broker.Effects{}
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
	c.Open(7, []uint32{0, 1, 2}, 1000, out)
	for shard := range uint32(3) {
		var live []broker.Live
		for i := range 1000 {
			l := broker.Live{Task: broker.Task{Session: wire.SessionID(fmt.Sprint("s", shard, "-", i)), Ticket: 1, Queue: "default", EnqueuedAt: int64(i)}}
			if i%2 == 0 {
				l.Assigned, l.Worker, l.Origin, l.Lease, l.AE = true, fmt.Sprint("w", i%20), wire.OriginBot, "l", 1
			}
			live = append(live, l)
		}
		c.CensusAnswer(7, shard, live, 1100, out)
	}
	if e := (*out)[len(*out)-1]; e.Kind != broker.Opened || e.Missing != 0 {
		t.Fatalf("the last effect is %+v", e)
	}
	out.Reset()
	c.Subscribe(&broker.Subscription{
		ID: "w0", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 152, Lease: "l", NewLease: "l2",
		Conn: wire.Conn{Node: 1, ID: 1},
	}, 1200, out)
	if e := (*out)[0]; e.Kind != broker.Subscribed || e.Lease != "l" || len(e.Kept) != 150 {
		t.Fatalf("w0 kept %d under %s", len(e.Kept), e.Lease)
	}
	// [SW-5.1] 150 are kept, 150 rebinds, and the two oldest that wait fill its slots.
	if got := (*out)[151:]; len(got) != 2 || got[0].Session != "s0-1" || got[1].Session != "s1-1" {
		t.Fatalf("after kept: %+v", got)
	}
	out.Reset()
	c.Tick(1100+5000, out)
	lost := 0
	for _, e := range *out {
		if e.Kind == broker.Lost {
			lost++
		}
	}
	if lost != 1350 {
		t.Fatalf("%d assignments are lost after the grace; want 1350", lost)
	}
}
