package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"switchboard/wire"
)

// The roll has every task once, under its session's name, whoever came and went.
func TestRollHasEveryTask(t *testing.T) {
	var out Effects
	c := New(Config{Queues: []Queue{{Name: "q"}}})
	c.Open(1, nil, 0, &out)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 3_000 {
		out.Reset()
		id := wire.SessionID(fmt.Sprint("s", r.IntN(50)))
		if r.IntN(2) == 0 {
			c.Offer(&Task{Session: id, Ticket: uint64(n + 1), Queue: "q"}, 0, &out) //nolint:gosec // small
		} else if x := c.sessions.get(id); x != nil {
			c.Withdraw(id, x.ticket, 0, &out)
		}
	}
	n := 0
	for x := range c.sessions.all {
		for ; x != nil; x = x.next {
			if n++; x.onRoll >= len(c.roll) || c.roll[x.onRoll] != (onRoll{x.session, x}) {
				t.Fatalf("%s is not where it knows", x.session)
			}
		}
	}
	if n == 0 || n != len(c.roll) || n != c.tasks {
		t.Fatalf("there are %d tasks, %d on the roll, and %d counted", n, len(c.roll), c.tasks)
	}
}
