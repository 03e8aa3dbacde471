package broker_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// helper is somebody as a look at everybody sees him.
type helper struct {
	id          string
	levels      map[string]float64
	rating      float64
	preferred   bool
	used, slots int
	served      int
}

// Whom a task goes to is whom a look at everybody finds, to the last tie: whether loads are few enough for bands of their own, become too many
// on the way, or count as a part of the score.
func TestBestIsExact(t *testing.T) {
	for _, scoring := range []broker.Scoring{broker.Banded, broker.Weighted} {
		for _, slots := range []int{1, 4, 300} { // of 300 different ones there are too many loads
			t.Run(fmt.Sprintf("scoring=%d/slots=%d", scoring, slots), func(t *testing.T) { bestIsExact(t, scoring, slots, 6, 4) })
		}
		t.Run(fmt.Sprintf("scoring=%d/skills=110", scoring), func(t *testing.T) { bestIsExact(t, scoring, 4, 110, 110) }) // so many rankings that they put him right where he is found
	}
}

// bestIsExact compares whom a pool finds with a look at everybody, among workers with up to most of so many skills.
func bestIsExact(t *testing.T, scoring broker.Scoring, slots, skills, most int) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(slots), uint64(scoring)))
	c := broker.New(broker.Config{MaxSlots: 1000, Queues: []broker.Queue{{
		Name: "q", SkillBy: "intent", Scoring: scoring, Steps: []broker.Step{{
			Select: selector.MustParse("worker.skills HAS task.intent AND worker.skill(task.intent) >= task.order_value"),
			Prefer: selector.MustParse("worker.skills HAS 'k0'"),
		}},
	}}})
	var out broker.Effects
	c.Open(1, nil, 0, &out)
	var all []*helper
	come := func() {
		x := &helper{id: fmt.Sprintf("w%03d", len(all)), levels: map[string]float64{}, rating: float64(1+r.IntN(2)) / 2, slots: 1 + r.IntN(min(slots, 1+len(all)))}
		s := broker.Subscription{
			ID: x.id, Kind: wire.OriginBot, Queues: []string{"q"}, Allowed: []string{"*"}, Slots: x.slots, Rating: x.rating,
			Conn: wire.Conn{Node: 1, ID: uint64(len(all) + 1)}, NewLease: "l",
		}
		for _, k := range r.Perm(skills)[:1+r.IntN(most)] {
			name := fmt.Sprint("k", k)
			x.levels[name] = float64(1+r.IntN(4)) / 4
			x.preferred = x.preferred || k == 0
			s.Skills = append(s.Skills, broker.Skill{Name: name, Level: x.levels[name]})
		}
		all = append(all, x)
		c.Subscribe(&s, 0, &out)
		out.Reset()
	}
	had := map[wire.SessionID]*helper{}
	var sessions []wire.SessionID
	served, nobody := 0, 0
	for step := range 12_000 {
		switch {
		case len(all) < 150 && step%40 == 0:
			come()
		case r.IntN(200) == 0:
			x := all[r.IntN(len(all))]
			x.slots = 1 + r.IntN(slots)
			c.Slots(x.id, x.slots, broker.Ref{Conn: wire.Conn{Node: 1, ID: uint64(slices.Index(all, x) + 1)}}, 0, &out)
		case len(sessions) > 0 && r.IntN(5) < 2:
			i := r.IntN(len(sessions))
			id := sessions[i]
			sessions = slices.Delete(sessions, i, i+1)
			had[id].used--
			c.Withdraw(id, 1, 0, &out)
		default:
			intent, least := fmt.Sprint("k", r.IntN(skills)), float64(r.IntN(5))/4
			best := bestOf(all, scoring, intent, least)
			id := wire.SessionID(fmt.Sprint("s", step))
			c.Offer(&broker.Task{Session: id, Ticket: 1, Queue: "q", Attributes: selector.Attrs{
				{Name: "intent", Value: selector.StringOf(intent)}, {Name: "order_value", Value: selector.NumberOf(least)},
			}}, 0, &out)
			got := ""
			for i := range out {
				if out[i].Kind == broker.Grant {
					got = out[i].Worker
				}
			}
			if best == nil {
				if nobody++; got != "" {
					t.Fatalf("step %d: %s of at least %v is %s's; a look at everybody finds nobody", step, intent, least, got)
				}
				c.Withdraw(id, 1, 0, &out)
				break
			}
			if got != best.id {
				t.Fatalf("step %d: %s of at least %v is %q's; a look at everybody finds %+v", step, intent, least, got, *best)
			}
			served++
			best.used, best.served = best.used+1, served
			had[id] = best
			sessions = append(sessions, id)
		}
		out.Reset()
	}
	if served < 1000 || nobody < 10 {
		t.Fatalf("%d were served, for %d there was nobody", served, nobody)
	}
}

// bestOf looks at everybody.
func bestOf(all []*helper, scoring broker.Scoring, intent string, least float64) (best *helper) {
	yes := func(x bool) int {
		if x {
			return 1
		}
		return 0
	}
	order := func(a, b *helper) int {
		fa, fb := 0.4*a.levels[intent]+0.3*a.rating, 0.4*b.levels[intent]+0.3*b.rating
		la, lb := float64(a.used)/float64(a.slots), float64(b.used)/float64(b.slots)
		if scoring == broker.Weighted {
			fa, fb, la, lb = fa-0.3*la, fb-0.3*lb, 0, 0
		}
		return cmp.Or(cmp.Compare(yes(b.preferred), yes(a.preferred)), cmp.Compare(la, lb), cmp.Compare(fb, fa), cmp.Compare(a.served, b.served), cmp.Compare(a.id, b.id))
	}
	for _, x := range all {
		if level, ok := x.levels[intent]; ok && level >= least && x.used < x.slots && (best == nil || order(x, best) < 0) {
			best = x
		}
	}
	return best
}
