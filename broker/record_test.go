package broker_test

import (
	"fmt"
	"reflect"
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

func decision() broker.Decision {
	return broker.Decision{
		At: 1_800_000_000_000, Session: "s_00c1k0v7x2m9q4ab", Ticket: 3, Queue: "service", Worker: "ann/1", Reason: "overflow", Step: "others",
		WaitedMS: 72_000, Ahead: 4, Eligible: 12, Free: 3, Asked: 2, Excluded: []string{"ben", "cy"},
		Top: []broker.Candidate{{Worker: "ann/1", Load: 0.25, Skill: 0.9, Rating: 0.8, Score: 0.612345, Preferred: true}, {Worker: "dan", Load: 1. / 3}},
	}
}

// What is kept of a decision is the decision, figures to six places.
func TestDecisionRecord(t *testing.T) {
	want := decision()
	b := broker.AppendDecision([]byte("x"), &want)[1:]
	var got broker.Decision
	if err := broker.ParseDecision(b, &got); err != nil {
		t.Fatal(err)
	}
	want.Top[1].Load = 0.333333
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("it was\n%+v\nand is\n%+v", want, got)
	}
	if len(b) > 60+30*len(want.Top)+40 {
		t.Errorf("it takes %d bytes", len(b))
	}
	for n := range b {
		if err := broker.ParseDecision(b[:n], &got); err == nil {
			t.Fatalf("%d of %d bytes are taken for a decision", n, len(b))
		}
	}
	if broker.ParseDecision(append(b, 0), &got) == nil {
		t.Error("a byte too many is taken")
	}
	for v := range 256 {
		if b[0] = byte(v); (broker.ParseDecision(b, &got) == nil) != (v == 1) {
			t.Errorf("version %d is taken, or is not", v)
		}
	}
	want.Ended = "declined"
	b = broker.AppendDecision(nil, &want)
	if err := broker.ParseDecision(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("it was\n%+v\nand is\n%+v, %v", want, got, err)
	}
	for n := range b {
		if broker.ParseDecision(b[:n], &got) == nil {
			t.Fatalf("%d of %d bytes are taken for an offer that nobody took", n, len(b))
		}
	}
}

func FuzzDecisionRecord(f *testing.F) {
	d := decision()
	f.Add(broker.AppendDecision(nil, &d))
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, again broker.Decision
		if broker.ParseDecision(b, &d) != nil {
			return
		}
		if err := broker.ParseDecision(broker.AppendDecision(nil, &d), &again); err != nil {
			t.Fatalf("%+v is not read again: %v", d, err)
		}
	})
}

// grants are those among what is to be done.
func grants(out broker.Effects) (list []*broker.Effect) {
	for i := range out {
		if out[i].Kind == broker.Grant {
			list = append(list, &out[i])
		}
	}
	return list
}

// whyOf returns why a grant was decided, as it is kept.
func whyOf(t *testing.T, c *broker.Core, e *broker.Effect) (d broker.Decision) {
	t.Helper()
	b := c.Why(nil, e)
	if len(b) == 0 {
		t.Fatalf("nothing is known of %+v", e)
	}
	if err := broker.ParseDecision(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Of a grant why is known: also when it is repeated, when a human has thought about it while others were decided, and when another than
// the first who was asked is the first to accept.
func TestGrantKnowsWhy(t *testing.T) {
	c, out := broker.New(broker.Config{TraceEvery: 1, TraceKeep: 2, Queues: []broker.Queue{
		{Name: "bots"}, {Name: "people", Steps: []broker.Step{{Name: "all", OfferN: 2}}},
	}}), &broker.Effects{}
	c.Open(1, nil, 0, out)
	for i, w := range []struct {
		id, queue string
		kind      wire.Origin
	}{{"bot", "bots", wire.OriginBot}, {"ann", "people", wire.OriginHuman}, {"ben", "people", wire.OriginHuman}} {
		c.Subscribe(&broker.Subscription{
			ID: w.id, Sub: w.id, Kind: w.kind, Queues: []string{w.queue}, Allowed: []string{"*"}, Slots: 100, Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}, NewLease: "l",
		}, 0, out)
	}
	out.Reset()
	c.Offer(&broker.Task{Session: "s_p", Ticket: 1, Queue: "people"}, 10, out)
	var second string // the offer of who was not decided on
	for i := range *out {
		if e := &(*out)[i]; e.Kind == broker.OfferPush && e.Worker == "ben" {
			second = e.Offer
		}
	}
	for i := range 5 {
		out.Reset()
		id := wire.SessionID(fmt.Sprint("s_", i))
		c.Offer(&broker.Task{Session: id, Ticket: 1, Queue: "bots"}, 20, out)
		if d := whyOf(t, c, grants(*out)[0]); d.Session != id || d.Worker != "bot" || d.Eligible != 1 || len(d.Top) != 1 {
			t.Fatalf("%+v", d)
		}
	}
	out.Reset()
	c.Accept(second, "ben", broker.Ref{Conn: wire.Conn{Node: 1, ID: 3}, ID: 1}, 30, out)
	if d := whyOf(t, c, grants(*out)[0]); d.Worker != "ben" || d.Step != "all" || d.Asked != 1 || d.At != 10 || len(d.Top) != 2 {
		t.Fatalf("of two who were asked the second has accepted: %+v", d)
	}
	out.Reset()
	c.Tick(2_000, out) // nothing was confirmed
	for _, e := range grants(*out) {
		switch b := c.Why(nil, e); {
		case e.Session == "s_p" || e.Session == "s_3" || e.Session == "s_4":
			if d := whyOf(t, c, e); d.Session != e.Session {
				t.Fatalf("%s is told %+v", e.Session, d)
			}
		case len(b) != 0: // two are remembered
			t.Fatalf("of %s %d bytes are known", e.Session, len(b))
		}
	}
	out.Reset()
	c.Confirm("s_p", 1, "ben", "l", 1, 2_100, out)
	out.Reset()
	for now := int64(3_000); now < 130_000; now += 1_000 {
		c.Tick(now, out)
	}
	asked := 0
	for _, e := range grants(*out) {
		if e.Session != "s_p" {
			continue
		}
		if asked++; c.Why(nil, e) != nil {
			t.Fatal("what is held is said with why again")
		}
	}
	if asked == 0 {
		t.Fatal("nobody asks whether it is held")
	}
}

// What is kept of an assignment costs no memory of its own.
func TestWhyAllocations(t *testing.T) {
	c, out := traced(t, 1)
	task := broker.Task{Session: "s_a", Queue: "default"}
	buf := make([]byte, 0, 1024)
	one := func() {
		task.Ticket++
		c.Offer(&task, 1, out)
		if buf = c.Why(buf[:0], grantOf(*out)); len(buf) < 100 {
			t.Fatalf("%d bytes", len(buf))
		}
		c.Withdraw(task.Session, task.Ticket, 1, out)
		out.Reset()
	}
	for range 200 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func grantOf(out broker.Effects) *broker.Effect {
	for i := range out {
		if out[i].Kind == broker.Grant {
			return &out[i]
		}
	}
	return nil
}

// BenchmarkWhy is what the record of one assignment costs, beside the assignment.
func BenchmarkWhy(b *testing.B) {
	for _, kept := range []bool{false, true} {
		b.Run(fmt.Sprint("kept ", kept), func(b *testing.B) {
			c, out := traced(b, 1)
			task := broker.Task{Session: "s_a", Queue: "default"}
			buf := make([]byte, 0, 1024)
			b.ReportAllocs()
			for b.Loop() {
				task.Ticket++
				c.Offer(&task, 1, out)
				if kept {
					buf = c.Why(buf[:0], grantOf(*out))
				}
				c.Withdraw(task.Session, task.Ticket, 1, out)
				out.Reset()
			}
		})
	}
}
