package broker_test

import (
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// When an edge says by itself that its worker is still there, the worker does not hear what `kept` says. He may never have heard of what
// he has: it was on its way when his node was cut off. So the session tells it anew, and the edge passes over what was told. A worker
// who asks himself is answered by `kept`.
func TestResumedHearsAnew(t *testing.T) {
	for _, resumed := range []bool{true, false} {
		c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
		var out broker.Effects
		c.Open(1, nil, 0, &out)
		sub := broker.Subscription{
			ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1},
			NewLease: "l_bob",
		}
		c.Subscribe(&sub, 0, &out)
		c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, 0, &out)
		c.Confirm("s1", 1, "bob", "l_bob", 1, 0, &out)
		out.Reset()
		sub.Lease, sub.Resumed = "l_bob", resumed
		c.Subscribe(&sub, 3000, &out)
		told := 0
		for i := range out {
			if e := &out[i]; e.Kind == broker.Rebind && e.Session == "s1" && e.Fresh == resumed {
				told++
			}
		}
		if told != 1 {
			t.Errorf("resumed %v: %+v; want one rebind, fresh %v", resumed, out, resumed)
		}
	}
}
