package broker_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// Who gets rid of a task among many who are full has, of all who wait and whom he meets, the one who has waited longest, as a look at everybody
// finds him: also when some of those who wait have left, were kept from him, or came back.
func TestFreedHasTheOldest(t *testing.T) {
	const workers, kinds = 40, 300
	c := newCrew(t, workers, 100, kinds, 5)
	r := rand.New(rand.NewPCG(7, 9))
	type customer struct {
		since  int64
		ticket uint64
		attrs  selector.Attrs
		barred string
	}
	wait := map[wire.SessionID]*customer{}
	had := map[string][]wire.SessionID{} // by worker: what he can get rid of
	for n := range workers * crewSlots {
		id := wire.SessionID(fmt.Sprint("busy", n))
		for _, s := range statsOf(c.core, id) {
			had[s.Worker] = append(had[s.Worker], id)
		}
	}
	if len(had) != workers {
		t.Fatalf("%d workers are busy", len(had))
	}
	now, made, served, kept := int64(0), 0, 0, 0
	offer := func() {
		now++
		k := r.IntN(kinds)
		x := &customer{since: now, ticket: 1, attrs: selector.Attrs{
			{Name: "intent", Value: c.kinds[k%200]}, {Name: "order_value", Value: selector.NumberOf(float64(k/200) / 24)},
		}}
		in := broker.Task{Session: wire.SessionID(fmt.Sprint("c", made)), Ticket: 1, Queue: "q", EnqueuedAt: now, Attributes: x.attrs}
		if r.IntN(4) == 0 {
			x.barred = fmt.Sprintf("w%06d", r.IntN(workers))
			in.Exclude = []string{x.barred}
		}
		made++
		wait[in.Session] = x
		c.core.Offer(&in, 0, &c.out)
		if len(c.out) > 0 && c.out[0].Kind == broker.Grant {
			t.Fatalf("%s is %s's, who is full", in.Session, c.out[0].Worker)
		}
		c.out.Reset()
	}
	tickets := map[wire.SessionID]uint64{}
	for len(wait) < 500 {
		offer()
	}
	for step := range 4000 {
		if r.IntN(5) == 0 { // one leaves
			for id, x := range wait {
				c.core.Withdraw(id, x.ticket, 0, &c.out)
				c.out.Reset()
				delete(wait, id)
				break
			}
			offer()
		}
		w := r.IntN(workers)
		name := fmt.Sprintf("w%06d", w)
		mine := had[name]
		if len(mine) == 0 {
			continue
		}
		i := r.IntN(len(mine))
		id := mine[i]
		had[name] = append(mine[:i:i], mine[i+1:]...)
		var want wire.SessionID
		for s, x := range wait {
			if x.barred == name {
				kept++
				continue
			}
			if c.want.Eval(x.attrs, &c.facts[w]) && (want == "" || x.since < wait[want].since) {
				want = s
			}
		}
		c.core.Withdraw(id, max(tickets[id], 1), 0, &c.out)
		var got wire.SessionID
		for k := range c.out {
			if c.out[k].Kind == broker.Grant {
				got = c.out[k].Session
				if c.out[k].Worker != name {
					t.Fatalf("step %d: %s was freed, %s is %s's", step, name, got, c.out[k].Worker)
				}
			}
		}
		c.out.Reset()
		if got != want {
			t.Fatalf("step %d: %s has %q; a look at all who wait finds %q", step, name, got, want)
		}
		if got == "" { // nothing waits for him: he is filled up again
			fill := wire.SessionID(fmt.Sprint("fill", step))
			c.core.Offer(&broker.Task{Session: fill, Ticket: 1, Queue: "fill", To: name}, 0, &c.out)
			c.out.Reset()
			had[name] = append(had[name], fill)
			continue
		}
		served++
		delete(wait, got)
		had[name] = append(had[name], got)
		offer()
	}
	if served < 500 || kept < 500 {
		t.Fatalf("%d were served, %d were kept from one who was freed", served, kept)
	}
}

// statsOf returns how a session stands.
func statsOf(c *broker.Core, id wire.SessionID) (list []broker.SessionStats) {
	all, _ := c.Sessions("", "", 1<<20)
	for _, s := range all {
		if s.Session == id {
			list = append(list, s)
		}
	}
	return list
}

func TestFreedAllocations(t *testing.T) {
	c, out := pool(t, wire.OriginBot, 1)
	a, b := broker.Task{Session: "s_a", Queue: "default"}, broker.Task{Session: "s_b", Queue: "default"}
	for n := range 3 {
		c.Offer(&broker.Task{Session: wire.SessionID(fmt.Sprint("busy", n)), Ticket: 1, Queue: "default"}, 1, out)
	}
	a.Ticket++
	c.Offer(&a, 1, out)
	out.Reset()
	n := testing.AllocsPerRun(2000, func() {
		b.Ticket++
		c.Offer(&b, 1, out)
		out.Reset()
		c.Withdraw(a.Session, a.Ticket, 1, out)
		if len(*out) != 1 || (*out)[0].Session != b.Session {
			t.Fatalf("%d effects", len(*out))
		}
		out.Reset()
		a, b = b, a
	})
	if n != 0 {
		t.Fatalf("%v allocations until the next task is found", n)
	}
}
