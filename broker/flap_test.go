package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"switchboard/wire"
)

// flapping is a pool of a queue whose people are asked when no bot is there, and in hours that begin and end each second, and of one whose people are
// asked always, in pieces.
type flapping struct {
	*testing.T
	c    *Core
	cfg  Config
	out  Effects
	now  int64
	r    *rand.Rand
	asks int // of people
	n    int // tasks that have come
}

const flapMost = 20

func newFlapping(t *testing.T, tasks int) *flapping {
	t.Helper()
	f := &flapping{T: t, r: rand.New(rand.NewPCG(5, 6))}
	f.cfg = Config{
		Calendars: []Calendar{{Name: "odd", At: func(at int64) (open bool, since, until int64) {
			from := at / 1000 * 1000
			return at/1000%2 == 0, from, from + 1000
		}}},
		Queues: []Queue{{Name: "q", Calendar: "odd", Steps: []Step{
			{Who: Bots, Hours: AnyTime}, {Who: Humans, When: Unstaffed, AfterMS: 1 << 40, Hours: AnyTime}, {Who: Humans},
		}}, {Name: "always", Steps: []Step{{Who: Humans}}}},
	}
	f.c = NewInPieces(f.cfg, flapMost)
	f.c.Open(1, nil, 0, &f.out)
	for range tasks {
		f.arrive()
	}
	f.finish()
	return f
}

func (f *flapping) arrive() {
	f.n++
	q := f.cfg.Queues[f.n%8/7].Name
	f.c.Offer(&Task{Session: wire.SessionID(fmt.Sprint("s", f.n)), Ticket: 1, Queue: q, EnqueuedAt: int64(f.r.IntN(100))}, f.now, &f.out)
}

func (f *flapping) come(kind wire.Origin, i, slots int) {
	id := fmt.Sprint(kind, i)
	f.c.Subscribe(&Subscription{
		ID: id, Sub: id, Kind: kind, Queues: []string{"q", "always"}, Allowed: []string{"*"}, Slots: slots, NewLease: "l", Conn: f.conn(kind, i),
	}, f.now, &f.out)
}

func (f *flapping) gone(kind wire.Origin, i int) { f.c.ConnLost(f.conn(kind, i), f.now, &f.out) }

func (f *flapping) conn(kind wire.Origin, i int) wire.Conn {
	return wire.Conn{Node: 1, ID: uint64(100*len(kind) + i)} //nolint:gosec // small
}

// lined returns in how many lines tasks stand, by step.
func (f *flapping) lined() (n [3]int) {
	for t := range f.c.sessions.all {
		for ; t != nil; t = t.next {
			for i := range t.lines {
				if t.lines[i].at > 0 {
					n[i]++
				}
			}
		}
	}
	return n
}

// step has something happen, or a piece of what has begun. However many are concerned, a few at most come into lines or leave them.
func (f *flapping) step(do func()) {
	f.Helper()
	before := f.lined()
	do()
	for i, n := range f.lined() {
		if d := n - before[i]; d > flapMost+1 || d < -flapMost-1 {
			f.Fatalf("%d tasks came into the lines of step %d, or left them, at once: stage %+v", d, i+1, f.c.anew)
		}
	}
	for i := range f.out {
		if f.out[i].Kind == OfferPush {
			f.asks++
		}
	}
	f.out.Reset()
}

func (f *flapping) goOn() { f.c.Continue(flapMost, f.now, &f.out) }

func (f *flapping) finish() {
	f.Helper()
	for f.c.Unfinished() {
		f.step(f.goOn)
	}
}

// settled checks that who waits stands in the lines of the steps that are open, and that nobody is free whom he could have.
func (f *flapping) settled() {
	f.Helper()
	for t := range f.c.sessions.all {
		for i := range t.lines {
			if open := f.c.anew == nil && t.plan.opens(i, t, f.c.now); t.lined && open != (t.lines[i].at > 0) {
				f.Fatalf("%s stands in the line of step %d: %v; it is open: %v", t.session, i+1, !open, open)
			}
		}
	}
	for _, cl := range f.c.classes {
		if cl.manned != (cl.staffed > 0) || cl.turned {
			f.Fatalf("%d staff a class, and steps go by %v", cl.staffed, cl.manned)
		}
	}
	for id, w := range f.c.workers {
		if t := f.c.first(w); t != nil {
			f.Fatalf("%s waits, and %s is free", t.session, id)
		}
	}
}

// A bot that comes and goes, and hours that begin and end, while tasks are put anew in line in pieces, are no reason to do it for all of them in one event;
// and when it is over, everybody is where he belongs.
func TestFlapsInPieces(t *testing.T) {
	f := newFlapping(t, 300)
	pieces, quiet := 0, 0
	for range 6_000 {
		i := f.r.IntN(3)
		f.step(func() {
			switch k := f.r.IntN(20); {
			case k < 2:
				f.come(wire.OriginBot, i, 1)
			case k < 4:
				f.gone(wire.OriginBot, i)
			case k == 4:
				f.come(wire.OriginHuman, i, 1)
			case k == 5:
				f.gone(wire.OriginHuman, i)
			case k == 6 && f.c.Tasks() < 320:
				f.arrive()
			case k == 7:
				f.c.Withdraw(wire.SessionID(fmt.Sprint("s", 1+f.r.IntN(f.n))), 1, f.now, &f.out)
			case k == 8 && f.r.IntN(10) == 0:
				f.c.Reconfigure(f.cfg, f.now, &f.out)
			case k == 9:
				f.now += 100
				f.c.Tick(f.now, &f.out)
			default:
				if f.c.Unfinished() {
					pieces++
				}
				f.goOn()
			}
		})
		if !f.c.Unfinished() {
			quiet++
			f.settled()
		}
	}
	if f.finish(); f.asks == 0 || pieces < 1_000 || quiet < 100 {
		t.Fatalf("%d people were asked, in %d pieces, and it was over %d times: nothing is tested", f.asks, pieces, quiet)
	}
	f.settled()
}

// Somebody who comes and goes all the time does not keep others waiting.
func TestFlapsKeepNobodyWaiting(t *testing.T) {
	f := newFlapping(t, 300)
	f.come(wire.OriginBot, 0, 1)
	f.finish()
	f.come(wire.OriginHuman, 0, 3)
	f.gone(wire.OriginBot, 0) // people may be asked
	if !f.c.Unfinished() {
		t.Fatal("it was done at once")
	}
	f.out.Reset()
	for n := 0; f.asks == 0; n++ {
		if n > 4*300/flapMost {
			t.Fatalf("nobody is asked in %d pieces", n)
		}
		f.step(f.goOn)
		f.step(func() { f.come(wire.OriginBot, 1, 1) })
		f.step(func() { f.gone(wire.OriginBot, 1) })
	}
}

// Hours that begin while a new configuration is being matched put many anew in line; whom it has not come to is looked at all the same.
func TestHoursBeginWhileMatching(t *testing.T) {
	f := newFlapping(t, 0)
	f.now = 1_000 // the hours are over
	f.c.Tick(f.now, &f.out)
	f.come(wire.OriginHuman, 0, 500)
	people := f.cfg.Queues[1].Steps
	f.cfg.Queues[0].Steps, f.cfg.Queues[1].Steps = f.cfg.Queues[0].Steps[2:], []Step{{Who: Bots}}
	f.c.Reconfigure(f.cfg, f.now, &f.out)
	f.finish()
	for range 400 {
		f.arrive()
	}
	f.out.Reset()
	f.cfg.Queues[1].Steps = people
	f.c.Reconfigure(f.cfg, f.now, &f.out)
	for f.c.anew.stage != matching {
		f.step(f.goOn)
	}
	f.now = 2_000
	f.step(func() { f.c.Tick(f.now, &f.out) })
	f.finish()
	if f.settled(); f.asks != 400 {
		t.Fatalf("somebody idle is asked about %d of 400", f.asks)
	}
}
