package broker_test

import (
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// An edge asks by itself what its worker has, because mail may have been lost. A grant whose session has not answered yet cannot be named, so the worker
// loses it there, or goes on not to know of it: also the session's word to him may be among what was lost. The session takes him for told. So it is to tell him
// anew as soon as it is known that he has it.
func TestGrantedWhenResumed(t *testing.T) {
	for _, resumed := range []bool{true, false} {
		c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "default"}}})
		var out broker.Effects
		c.Open(1, nil, 0, &out)
		sub := broker.Subscription{
			ID: "bob", Sub: "bob", Kind: wire.OriginBot, Queues: []string{"default"}, Allowed: []string{"*"}, Slots: 2, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l_bob",
		}
		c.Subscribe(&sub, 0, &out)
		c.Offer(&broker.Task{Session: "s1", Ticket: 1, Queue: "default"}, 0, &out)
		if sub.Lease, sub.Resumed = "l_bob", true; resumed {
			c.Subscribe(&sub, 100, &out)
		}
		out.Reset()
		c.Confirm("s1", 1, "bob", "l_bob", 1, 200, &out)
		told := 0
		for i := range out {
			if e := &out[i]; e.Kind == broker.Rebind && e.Session == "s1" && e.AE == 1 && e.Fresh && e.Conn == sub.Conn && e.Lease == "l_bob" {
				told++
			}
		}
		if resumed && told != 1 || !resumed && len(out) > 0 {
			t.Errorf("resumed %v: confirmed, there came %+v", resumed, out)
		}
	}
}
