package broker_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// Sessions tells the first of all, in the order that it promises, whatever the order in which they came; a queue's and a worker's
// are those of all that are theirs.
func TestSessions(t *testing.T) {
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "a"}, {Name: "b"}}})
	var out broker.Effects
	c.Open(1, nil, 1, &out)
	c.Subscribe(&broker.Subscription{ID: "ann", Sub: "ann", Kind: wire.OriginBot, Queues: []string{"a"}, Allowed: []string{"*"}, Slots: 3, NewLease: "l", Conn: wire.Conn{ID: 1}}, 1, &out)
	attrs := selector.Attrs{}.With("shop", selector.StringOf("s1")).With("channel", selector.StringOf("web")).With("tier", selector.StringOf("vip"))
	rnd := rand.New(rand.NewPCG(1, 2))
	for i, n := range rnd.Perm(40) {
		c.Offer(&broker.Task{Session: wire.NewSessionID(1, 1, uint64(n)), Ticket: 1, Queue: []string{"a", "b"}[n%2], EnqueuedAt: int64(n/4) + 1, Attributes: attrs}, int64(100+i), &out) //nolint:gosec // small
	}
	all, more := c.Sessions("", "", 100)
	if len(all) != 40 || more {
		t.Fatalf("%d, more %v", len(all), more)
	}
	rank := map[string]int{"waiting": 0, "assigned": 1}
	if !slices.IsSortedFunc(all, func(a, b broker.SessionStats) int {
		return cmp.Or(cmp.Compare(rank[a.State], rank[b.State]), cmp.Compare(a.EnqueuedAt, b.EnqueuedAt), cmp.Compare(a.Session, b.Session))
	}) {
		t.Fatalf("the order is %v", all)
	}
	if x := all[39]; x.State != "assigned" || x.Worker != "ann" || x.Shop != "s1" || x.Channel != "web" || x.Tier != "vip" || x.Queue != "a" {
		t.Fatalf("%+v", x)
	}
	for n := range 41 {
		if some, more := c.Sessions("", "", n); !slices.Equal(some, all[:n]) || more != (n < 40) {
			t.Fatalf("the first %d are %v, more %v", n, some, more)
		}
	}
	mine := func(s broker.SessionStats) bool { return s.Worker != "ann" }
	if some, _ := c.Sessions("", "ann", 100); !slices.Equal(some, slices.DeleteFunc(slices.Clone(all), mine)) || len(some) != 3 {
		t.Fatalf("ann has %v", some)
	}
	if some, _ := c.Sessions("b", "", 100); len(some) != 20 || some[0].Queue != "b" || some[0].Worker != "" {
		t.Fatalf("b has %v", some)
	}
	if some, more := c.Sessions("", "nobody", 100); len(some) != 0 || more {
		t.Fatalf("nobody has %v", some)
	}
}

// A list of 128 among many costs their number, and no memory but the list.
func BenchmarkSessions(b *testing.B) {
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "a"}}})
	var out broker.Effects
	c.Open(1, nil, 1, &out)
	for n := range 100_000 {
		c.Offer(&broker.Task{Session: wire.NewSessionID(1, 1, uint64(n)), Ticket: 1, Queue: "a", EnqueuedAt: int64(n)}, 1, &out) //nolint:gosec // small
		out.Reset()
	}
	for b.Loop() {
		if list, _ := c.Sessions("", "", 128); len(list) != 128 {
			b.Fatal(len(list))
		}
	}
}
