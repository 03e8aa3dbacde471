package broker

import (
	"fmt"
	"testing"

	"switchboard/wire"
)

// Classes that nobody has any more leave their ranking, their bits are used again, and a ranking goes with its last class: whoever meets them is
// found all the time.
func TestRankingsAreForgotten(t *testing.T) {
	var out Effects
	c := New(Config{Queues: []Queue{{Name: "q"}}})
	c.Open(1, nil, 0, &out)
	for i := range 3 {
		c.Subscribe(&Subscription{
			ID: fmt.Sprint("w", i), Kind: wire.OriginBot, Queues: []string{"q"}, Allowed: []string{"q"}, Skills: []Skill{{Name: "often", Level: 0.9}, {Name: "once", Level: 0.9}},
			Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}, NewLease: "l",
		}, 0, &out)
	}
	offer := func(skill string, i int) {
		out.Reset()
		session := wire.SessionID(fmt.Sprint(skill, i))
		c.Offer(&Task{Session: session, Ticket: 1, Queue: "q", Skills: []Skill{{Name: skill, Level: float64(i) / 100_000}}}, 0, &out)
		if len(out) != 1 || out[0].Kind != Grant {
			t.Fatalf("%s is not granted: %+v", session, out)
		}
		c.Withdraw(session, 1, 0, &out)
	}
	offer("once", 0)
	c.Offer(&Task{Session: "kept", Ticket: 1, Queue: "q", Skills: []Skill{{Name: "often", Level: 0.5}}}, 0, &out) // its class stays, and so does its ranking
	for i := range maxPlans + 2_000 {
		offer("often", i)
	}
	if len(c.rankings) != 1 {
		t.Errorf("there are %d rankings", len(c.rankings))
	}
	for _, r := range c.rankings {
		if most := 2 * maxPlans; len(r.classes) > most { // the default route asks bots, and humans
			t.Errorf("a ranking has bits for %d classes, of which %d were there at once", len(r.classes), most)
		}
	}
	for i := range c.workers["w0"].stands {
		if s := c.workers["w0"].stands[i]; s.in.live == 0 || int(s.seat) != i {
			t.Errorf("somebody stands in a ranking that nobody has")
		}
	}
	offer("once", 1)
}
