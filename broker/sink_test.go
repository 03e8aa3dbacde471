package broker

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"switchboard/wire"
)

// Whatever people take and give back, in whatever order: nobody stands worse in a ranking than he is, and whoever stands better is known to. Where loads
// are bands, that is at most who took last.
func TestWhoStandsBetterIsKnown(t *testing.T) {
	for _, weighted := range []bool{false, true} {
		t.Run(fmt.Sprintf("weighted=%v", weighted), func(t *testing.T) { standsBetter(t, weighted) })
	}
}

func standsBetter(t *testing.T, weighted bool) {
	t.Helper()
	const people, sessions = 5, 14
	queues := []Queue{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	if weighted {
		queues[2].Scoring, queues[2].Weights = Weighted, Weights{Load: 1, Skill: 1}
	}
	c := New(Config{Queues: queues})
	var out Effects
	c.Open(1, nil, 0, &out)
	for i := range people {
		id := fmt.Sprint("w", i)
		c.Subscribe(&Subscription{ID: id, Sub: id, Kind: wire.OriginHuman, All: true, Allowed: []string{"*"}, Slots: 3 + i%2, NewLease: "l", Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}}, 0, &out)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var tickets [sessions]uint64
	better, took := 0, 0
	for n := range 20_000 {
		i := r.IntN(sessions)
		session := wire.SessionID(fmt.Sprint("s", i))
		switch task := c.find(session, tickets[i]); {
		case task == nil:
			tickets[i]++
			c.Offer(&Task{Session: session, Ticket: tickets[i], Queue: queues[r.IntN(len(queues))].Name}, 0, &out)
			took++
		case task.state == offered && r.IntN(4) == 0: // by this alone he comes to stand elsewhere among his equals
			c.Accept(task.offer, task.worker.ID, Ref{Conn: task.worker.conn}, 0, &out)
		default:
			c.Withdraw(session, tickets[i], 0, &out)
		}
		out.Reset()
		stale := 0
		for id, w := range c.workers {
			if w.stale {
				stale++
			}
			for i, f := range w.feet {
				is, stands := w.load, w.stood(i, &c.ladder)
				if !w.takes(int(f.cost)) {
					is = math.Inf(1)
				}
				switch {
				case stands > is:
					t.Fatalf("step %d: %s stands at %v, and is at %v", n, id, stands, is)
				case stands < is && !w.stale:
					t.Fatalf("step %d: %s stands at %v unnoticed, and is at %v", n, id, stands, is)
				case stands < is:
					better++
				}
			}
		}
		if !weighted && stale > 1 {
			t.Fatalf("step %d: %d may stand better than they are", n, stale)
		}
	}
	if better == 0 || took < 1_000 {
		t.Fatalf("%d were offered, and %d stood better: nothing is tested", took, better)
	}
}
