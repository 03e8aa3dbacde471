package broker_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"switchboard/broker"
	"switchboard/wire"
)

// A session's word that somebody has it may come before its shard's answer to the census. It does not say what the session costs him, which the answer
// does: his slots are counted by that.
func TestConfirmedBeforeTheCensus(t *testing.T) {
	for _, cost := range []int{1, 3, broker.All} {
		c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "first"}, {Name: "q"}}})
		var out broker.Effects
		c.Open(2, []uint32{0, 1}, 10_000, &out)
		c.Subscribe(&broker.Subscription{ID: "w", Sub: "w", Kind: wire.OriginBot, Queues: []string{"q"}, Allowed: []string{"*"}, Slots: 4, Lease: "l", NewLease: "l2", Conn: wire.Conn{Node: 1, ID: 1}}, 10_000, &out)
		c.Confirm("s", 1, "w", "l", 7, 10_000, &out)
		live := broker.Live{Task: broker.Task{Session: "s", Ticket: 1, Queue: "q", Cost: cost}, Assigned: true, Worker: "w", Origin: wire.OriginBot, Lease: "l", AE: 7}
		c.CensusAnswer(2, 0, []broker.Live{live}, 10_000, &out)
		c.CensusAnswer(2, 1, []broker.Live{live}, 10_000, &out)
		for i := range 5 {
			c.Offer(&broker.Task{Session: wire.SessionID(fmt.Sprint("n", i)), Ticket: 1, Queue: "q"}, 10_000, &out)
		}
		got := 0
		for i := range out {
			if out[i].Kind == broker.Grant {
				got++
			}
		}
		left := 4 - cost
		if cost == broker.All {
			left = 0
		}
		if e := c.Explain("s"); got != left || e.Queue != "q" {
			t.Errorf("of a session of %s that costs %d: %d others are given to one of 4 slots; want %d of q's", e.Queue, cost, got, left)
		}
	}
}

// When many wait and many come at once, everybody takes by the priorities of his own teams, and among equals who waits longest, whatever others go by:
// at once and in pieces.
func TestTeamsTakeByTheirOwnPriorities(t *testing.T) {
	const people, waiting = 6, 40
	names := []string{"a", "b", "c"}
	differ := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		var cfg broker.Config
		for i, name := range names {
			cfg.Queues = append(cfg.Queues, broker.Queue{Name: name, Order: broker.FIFO, Priority: int32(r.IntN(2) * i)}) //nolint:gosec // small
		}
		seat := map[string]map[string]int32{}
		for i := range people {
			id := fmt.Sprint("w", i)
			seat[id] = map[string]int32{}
			team := broker.Team{Name: "t" + id, Workers: []string{id}}
			for _, q := range cfg.Queues {
				if seat[id][q.Name] = q.Priority; r.IntN(3) > 0 {
					seat[id][q.Name] = int32(r.IntN(3))
					team.Seats = append(team.Seats, broker.Seat{Queue: q.Name, Priority: seat[id][q.Name]})
				}
			}
			cfg.Teams = append(cfg.Teams, team)
		}
		c := broker.New(cfg)
		most := int(seed%3) * 7
		if most > 0 {
			c = broker.NewInPieces(cfg, most)
		}
		var out broker.Effects
		c.Open(1, []uint32{0}, 0, &out)
		for i := range people {
			id := fmt.Sprint("w", i)
			c.Subscribe(&broker.Subscription{ID: id, Sub: id, Kind: wire.OriginBot, Queues: names, Allowed: []string{"*"}, Slots: 1 + r.IntN(4), NewLease: "l", Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}}, 0, &out)
		}
		var live []broker.Live
		waits := map[wire.SessionID]*broker.Task{}
		for i := range waiting {
			l := broker.Live{Task: broker.Task{Session: wire.SessionID(fmt.Sprintf("s%02d", i)), Ticket: 1, Queue: names[r.IntN(3)], EnqueuedAt: int64(r.IntN(20))}}
			live = append(live, l)
			waits[l.Session] = &l.Task
		}
		out.Reset()
		c.CensusAnswer(1, 0, live, 1_000, &out)
		for c.Unfinished() {
			c.Continue(max(most, 1), 1_000, &out)
		}
		given := 0
		for i := range out {
			e := &out[i]
			if e.Kind != broker.Grant {
				continue
			}
			by := func(t *broker.Task) []int64 {
				return []int64{int64(seat[e.Worker][t.Queue]), t.EnqueuedAt}
			}
			is := by(waits[e.Session])
			oldest := true
			for s, o := range waits {
				x := by(o)
				if d := slices.Compare(x, is); d < 0 || d == 0 && cmp.Less(s, e.Session) {
					t.Fatalf("seed %d, pieces of %d: %s gets %s %v; %s %v waits", seed, most, e.Worker, e.Session, is, s, x)
				}
				oldest = oldest && o.EnqueuedAt >= waits[e.Session].EnqueuedAt
			}
			if !oldest {
				differ++
			}
			delete(waits, e.Session)
			given++
		}
		if given == 0 {
			t.Fatalf("seed %d: nobody is given anybody", seed)
		}
	}
	if differ < 50 {
		t.Fatalf("%d were given who do not wait longest: nothing is tested", differ)
	}
}

// Who has something that wants him for itself has no slot free, however many slots he turns out to have: a pool hears of what he has before it hears of him.
func TestWholeWhateverTheSlots(t *testing.T) {
	c := broker.New(broker.Config{Queues: []broker.Queue{{Name: "q"}}, Fair: true, Shops: []broker.Shop{{Name: "s1"}}})
	var out broker.Effects
	c.Open(2, []uint32{0}, 10_000, &out)
	f := func(slots, used, free int) {
		t.Helper()
		for w := range c.Workers("", "w") {
			if w.Slots != slots || w.Used != used {
				t.Errorf("he has %d of %d slots; want %d of %d", w.Used, w.Slots, used, slots)
			}
		}
		for q := range c.Queues() {
			if q.FreeSlots != free {
				t.Errorf("%d slots are free; want %d", q.FreeSlots, free)
			}
		}
	}
	live := broker.Live{Task: broker.Task{Session: "s", Ticket: 1, Queue: "q", Cost: broker.All}, Assigned: true, Worker: "w", Origin: wire.OriginBot, Lease: "l", AE: 7}
	c.CensusAnswer(2, 0, []broker.Live{live}, 10_000, &out)
	conn := wire.Conn{Node: 1, ID: 1}
	c.Subscribe(&broker.Subscription{ID: "w", Sub: "w", Kind: wire.OriginBot, Queues: []string{"q"}, Allowed: []string{"*"}, Slots: 4, Lease: "l", NewLease: "l2", Conn: conn}, 10_000, &out)
	f(4, 4, 0)
	c.Slots("w", 6, broker.Ref{Conn: conn}, 10_000, &out)
	f(6, 6, 0)
	c.Slots("w", 2, broker.Ref{Conn: conn}, 10_000, &out)
	f(2, 2, 0)
	c.Release("s", 7, 0, false, 10_000, &out)
	f(2, 0, 2)
}
