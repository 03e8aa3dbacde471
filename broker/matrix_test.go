package broker_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// crew is a pool of workers with some of 200 skills each, of which some part of the slots is taken, and tasks that make
// as many requirement classes as are wanted.
type crew struct {
	core  *broker.Core
	out   broker.Effects
	facts []selector.Worker
	used  []int
	tasks []broker.Task
	want  *selector.Expr

	// Of offer: what a mail was parsed to.
	task  broker.Task
	attrs [2]selector.Attr
	kinds []selector.Value // 200, or more when somebody has more skills
}

const crewSlots = 4

func newCrew(tb testing.TB, workers, load, classes, each int) *crew {
	tb.Helper()
	return newCrewWhy(tb, workers, load, classes, each, 0)
}

// newCrewWhy is newCrew, with why kept of every so many assignments.
func newCrewWhy(tb testing.TB, workers, load, classes, each, every int) *crew {
	tb.Helper()
	r := rand.New(rand.NewPCG(uint64(workers), uint64(classes)))
	c := &crew{kinds: make([]selector.Value, max(200, each)), want: selector.MustParse("worker.skills HAS task.intent AND worker.skill(task.intent) >= task.order_value")}
	for i := range c.kinds {
		c.kinds[i] = selector.StringOf(fmt.Sprint("k", i))
	}
	c.attrs = [2]selector.Attr{{Name: "intent"}, {Name: "order_value"}}
	c.core = broker.New(broker.Config{TraceEvery: every, Queues: []broker.Queue{
		{Name: "q", SkillBy: "intent", Steps: []broker.Step{{Who: broker.Bots, Select: c.want}}}, {Name: "fill"},
	}})
	c.core.Open(1, nil, 0, &c.out)
	for i := range workers {
		id := fmt.Sprintf("w%06d", i)
		var skills []broker.Skill
		var names []string
		for _, k := range r.Perm(len(c.kinds))[:each] {
			names = append(names, fmt.Sprint("k", k))
			skills = append(skills, broker.Skill{Name: names[len(names)-1], Level: r.Float64()})
		}
		slices.SortFunc(skills, func(a, b broker.Skill) int { return strings.Compare(a.Name, b.Name) })
		c.facts = append(c.facts, selector.Worker{Attrs: selector.Attrs{{Name: "kind", Value: selector.StringOf("bot")}, {Name: "skills", Value: selector.ListOf(names...)}}, Skills: skills})
		c.core.Subscribe(&broker.Subscription{
			ID: id, Sub: id, Kind: wire.OriginBot, Queues: []string{"q", "fill"}, Allowed: []string{"*"}, Slots: crewSlots, Skills: skills,
			Rating: r.Float64(), Conn: wire.Conn{Node: 1, ID: uint64(i + 1)}, NewLease: "l",
		}, 0, &c.out)
		c.out.Reset()
	}
	c.used = make([]int, workers)
	for n, left := 0, workers*crewSlots*load/100; left > 0; n, left = n+1, left-1 {
		w := r.IntN(workers)
		for c.used[w] == crewSlots {
			w = (w + 1) % workers
		}
		c.used[w]++
		c.core.Offer(&broker.Task{Session: wire.SessionID(fmt.Sprint("busy", n)), Ticket: 1, Queue: "fill", To: fmt.Sprintf("w%06d", w)}, 0, &c.out)
		c.out.Reset()
	}
	for i := range classes {
		c.tasks = append(c.tasks, broker.Task{
			Session: wire.SessionID(fmt.Sprint("s", i)), Queue: "q",
			Attributes: selector.Attrs{{Name: "intent", Value: c.kinds[i%len(c.kinds)]}, {Name: "order_value", Value: selector.NumberOf(float64(i/len(c.kinds)) / 24)}},
		})
		c.offer(i)
	}
	return c
}

// offer has the i'th task taken and given back, and returns how long the taking took. What the core is told lies near, as it does when a
// mail was parsed just now; only the core's own memory is as far away as it is.
func (c *crew) offer(i int) (took time.Duration, granted bool) {
	session, ticket := c.tasks[i].Session, c.tasks[i].Ticket+1
	c.tasks[i].Ticket = ticket
	c.attrs[0].Value, c.attrs[1].Value = c.kinds[i%len(c.kinds)], selector.NumberOf(float64(i/len(c.kinds))/24)
	c.task = broker.Task{Session: session, Ticket: ticket, Queue: "q", Attributes: c.attrs[:]}
	if session[0] != 's' {
		panic(session)
	}
	start := time.Now()
	c.core.Offer(&c.task, 0, &c.out)
	took = time.Since(start)
	granted = len(c.out) > 0
	c.core.Withdraw(session, ticket, 0, &c.out)
	c.out.Reset()
	return took, granted
}

// scan is the naive way: look at everybody, by the condition that was bound before.
func (c *crew) scan(r selector.Residual) int {
	best := -1
	for i := range c.facts {
		if c.used[i] < crewSlots && r.Eval(&c.facts[i]) && (best < 0 || c.used[i] < c.used[best]) {
			best = i
		}
	}
	return best
}

func TestSelectedPickAllocations(t *testing.T) {
	c := newCrew(t, 1000, 50, 300, 3)
	i := 0
	if n := testing.AllocsPerRun(5000, func() {
		c.offer(i % len(c.tasks))
		i++
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// Nothing is allocated either when sessions last, and everybody moves in all his rankings between two looks at him.
func TestHeldAllocations(t *testing.T) {
	c := newCrew(t, 1000, 40, 600, 5)
	take, give := c.lasting(500)
	for range 20_000 { // until blocks have become as large as they get
		give()
		take()
	}
	if n := testing.AllocsPerRun(5000, func() {
		give()
		take()
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// The best of a class is among those that a scan finds.
func TestPickIsAsScanned(t *testing.T) {
	c := newCrew(t, 300, 50, 400, 3)
	found := 0
	for i := range c.tasks {
		task := &c.tasks[i]
		best := c.scan(c.want.Bind(task.Attributes))
		task.Ticket++
		c.core.Offer(task, 0, &c.out)
		switch {
		case len(c.out) == 0 && best >= 0:
			t.Fatalf("%v is nobody's; a scan finds w%06d", task.Attributes, best)
		case len(c.out) > 0:
			var got int
			if _, err := fmt.Sscanf(c.out[0].Worker, "w%d", &got); err != nil {
				t.Fatal(err)
			}
			if best < 0 || c.used[got] != c.used[best] || !c.want.Eval(task.Attributes, &c.facts[got]) {
				t.Fatalf("%v is w%06d's; a scan finds w%06d", task.Attributes, got, best)
			}
			found++
		}
		c.core.Withdraw(task.Session, task.Ticket, 0, &c.out)
		c.out.Reset()
	}
	if found == 0 {
		t.Fatal("nobody was found")
	}
}

// It stays so while sessions come and go, whoever sank or rose in whatever class: people of three skills and of ninety, who are put right in all
// their rankings at once, and of three hundred, who are put right when they are found.
func TestBestStaysBest(t *testing.T) {
	for _, skills := range []int{3, 90, 300} {
		t.Run(fmt.Sprintf("skills=%d", skills), func(t *testing.T) { bestStaysBest(t, skills) })
	}
}

func bestStaysBest(t *testing.T, skills int) {
	t.Helper()
	c := newCrew(t, 60, 25, max(200, skills), skills)
	r := rand.New(rand.NewPCG(3, 4))
	type hold struct{ task, worker int }
	var held []hold
	busy := map[int]bool{}
	for n := range 20_000 {
		i := r.IntN(len(c.tasks))
		if len(held) > 0 && (busy[i] || r.IntN(9) < len(held)/10) {
			k := r.IntN(len(held))
			h := held[k]
			held = slices.Delete(held, k, k+1)
			delete(busy, h.task)
			c.used[h.worker]--
			c.core.Withdraw(c.tasks[h.task].Session, c.tasks[h.task].Ticket, 0, &c.out)
			c.out.Reset()
			continue
		}
		task := &c.tasks[i]
		best := c.scan(c.want.Bind(task.Attributes))
		task.Ticket++
		c.core.Offer(task, 0, &c.out)
		if len(c.out) == 0 {
			if best >= 0 {
				t.Fatalf("step %d: %v is nobody's; a scan finds w%06d", n, task.Attributes, best)
			}
			c.core.Withdraw(task.Session, task.Ticket, 0, &c.out)
			continue
		}
		var got int
		if _, err := fmt.Sscanf(c.out[0].Worker, "w%d", &got); err != nil {
			t.Fatal(err)
		}
		if best < 0 || c.used[got] != c.used[best] {
			t.Fatalf("step %d: %v is w%06d's, who has %d; a scan finds w%06d, who has %d", n, task.Attributes, got, c.used[got], best, c.used[max(best, 0)])
		}
		c.used[got]++
		busy[i] = true
		held = append(held, hold{i, got})
		c.out.Reset()
	}
}

// BenchmarkMatrix is one event that finds the best of many workers by a selector, and takes him: Offer until its grant.
func BenchmarkMatrix(b *testing.B) {
	for _, workers := range []int{10, 100, 1_000, 10_000, 100_000} {
		for _, load := range []int{50, 90} {
			for _, classes := range []int{50, 4096} {
				for _, each := range []int{3, 10, 200} {
					if workers*each*classes > 10_000*200*400 { // BenchmarkMany has two of them: it takes minutes to try everybody for every class
						continue
					}
					b.Run(fmt.Sprintf("workers=%d/load=%d/classes=%d/skills=%d", workers, load, classes, each), func(b *testing.B) {
						matrix(b, workers, load, classes, each)
					})
				}
			}
		}
	}
}

// BenchmarkMany is BenchmarkMatrix for people of all skills, and for 100,000 of them, in thousands of classes.
func BenchmarkMany(b *testing.B) {
	for _, x := range []struct{ workers, each int }{{10_000, 200}, {100_000, 10}} {
		b.Run(fmt.Sprintf("workers=%d/load=50/classes=4096/skills=%d", x.workers, x.each), func(b *testing.B) {
			matrix(b, x.workers, 50, 4096, x.each)
		})
	}
}

// BenchmarkNoted is BenchmarkMatrix with why noted of each, as documents have it that do not say otherwise.
func BenchmarkNoted(b *testing.B) {
	for _, classes := range []int{50, 4096} {
		b.Run(fmt.Sprintf("workers=10000/load=50/classes=%d/skills=10", classes), func(b *testing.B) {
			newCrewWhy(b, 10_000, 50, classes, 10, 1).bench(b)
		})
	}
}

func matrix(b *testing.B, workers, load, classes, each int) {
	b.Helper()
	newCrew(b, workers, load, classes, each).bench(b)
}

// BenchmarkClock is what is measured of nothing: so much of each of the other figures is the clock.
func BenchmarkClock(b *testing.B) {
	var took [10_000]int32
	n := 0
	for b.Loop() {
		start := time.Now()
		took[min(int(time.Since(start)/10), len(took)-1)]++
		n++
	}
	report(b, took[:], n, "")
}

// bench measures offer. Times are counted by tens of nanoseconds: a list of all would drive out of the processor's memory what is measured.
func (c *crew) bench(b *testing.B) {
	b.Helper()
	var took [10_000]int32
	granted, n := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		d, ok := c.offer((n * 7919) % len(c.tasks))
		n++
		if ok {
			granted++
		}
		took[min(int(d/10), len(took)-1)]++
	}
	report(b, took[:], n, "")
	b.ReportMetric(float64(granted)/float64(n), "granted")
}

// report tells percentiles of n times of something that were counted by tens of nanoseconds.
func report(b *testing.B, took []int32, n int, of string) {
	b.Helper()
	for _, p := range []struct {
		of   float64
		name string
	}{{0.5, "p50-ns"}, {0.99, "p99-ns"}, {0.999, "p99.9-ns"}} {
		i, seen := 0, int(took[0])
		for float64(seen) < p.of*float64(n) {
			i++
			seen += int(took[i])
		}
		b.ReportMetric(float64(10*i), of+p.name)
	}
}

// BenchmarkWaiting is the other way round: all of 10,000 people are full, 10,000 tasks wait, and one of the people gets rid of one: until the
// first of those whom he may serve is his. The task that he had waits again, behind everybody.
func BenchmarkWaiting(b *testing.B) {
	for _, classes := range []int{50, 4096} {
		for _, each := range []int{3, 10} {
			b.Run(fmt.Sprintf("workers=10000/waiting=10000/classes=%d/skills=%d", classes, each), func(b *testing.B) {
				newCrew(b, 10_000, 100, classes, each).waiting(b)
			})
		}
	}
}

func (c *crew) waiting(b *testing.B) {
	b.Helper()
	const waiting = 10_000
	type place struct {
		session wire.SessionID
		ticket  uint64
		kind    int
	}
	now, made := int64(0), 0
	places := map[wire.SessionID]*place{}
	offer := func(p *place) { // the clock of the core stands still, that of those who wait does not
		now++
		p.ticket++
		attrs := selector.Attrs{{Name: "intent", Value: c.kinds[p.kind%len(c.kinds)]}, {Name: "order_value", Value: selector.NumberOf(float64(p.kind/len(c.kinds)) / 24)}}
		c.core.Offer(&broker.Task{Session: p.session, Ticket: p.ticket, Queue: "q", EnqueuedAt: now, Attributes: attrs}, 0, &c.out)
	}
	fill := func() {
		for c.core.Waiting("q") < waiting {
			p := &place{session: wire.SessionID(fmt.Sprint("p", made)), kind: made * 7919 % len(c.tasks)}
			made++
			places[p.session] = p
			offer(p)
			c.out.Reset()
		}
	}
	fill()
	var held []*place // by those who have taken one of them
	for n := range 2_000 {
		c.core.Withdraw(wire.SessionID(fmt.Sprint("busy", n)), 1, 0, &c.out)
		for i := range c.out {
			if c.out[i].Kind == broker.Grant {
				held = append(held, places[c.out[i].Session])
			}
		}
		c.out.Reset()
	}
	fill() // as many as were taken
	var took [1_000_000]int32
	n, granted := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		p := held[n%len(held)]
		start := time.Now()
		c.core.Withdraw(p.session, p.ticket, 0, &c.out)
		d := time.Since(start)
		for i := range c.out {
			if c.out[i].Kind == broker.Grant {
				held[n%len(held)] = places[c.out[i].Session]
				granted++
			}
		}
		c.out.Reset()
		if held[n%len(held)] != p {
			offer(p)
			c.out.Reset()
		}
		n++
		took[min(int(d/10), len(took)-1)]++
	}
	report(b, took[:], n, "")
	b.ReportMetric(float64(granted)/float64(n), "granted")
}

// BenchmarkScan is the same by looking at everybody, with the condition compiled.
func BenchmarkScan(b *testing.B) {
	for _, workers := range []int{10, 100, 1_000, 10_000} {
		for _, load := range []int{50, 90} {
			b.Run(fmt.Sprintf("workers=%d/load=%d", workers, load), func(b *testing.B) {
				c := newCrew(b, workers, load, 50, 3)
				bound := make([]selector.Residual, len(c.tasks))
				for i := range c.tasks {
					bound[i] = c.want.Bind(c.tasks[i].Attributes)
				}
				n := 0
				b.ReportAllocs()
				for b.Loop() {
					c.scan(bound[n%len(bound)])
					n++
				}
			})
		}
	}
}

// BenchmarkHeld is BenchmarkMatrix for sessions that last: what was taken is given back when 5,000 others have been taken, so that everybody's load
// moves between two looks at him. Both are counted, taking and giving back, each for itself.
func BenchmarkHeld(b *testing.B) {
	for _, x := range []struct{ workers, load, skills int }{{10_000, 50, 10}, {10_000, 90, 10}, {10_000, 50, 50}, {100_000, 50, 10}} {
		for _, classes := range []int{50, 4096} {
			b.Run(fmt.Sprintf("workers=%d/load=%d/classes=%d/skills=%d", x.workers, x.load, classes, x.skills), func(b *testing.B) {
				newCrew(b, x.workers, x.load-100*5_000/(x.workers*crewSlots), classes, x.skills).held(b)
			})
		}
	}
}

// BenchmarkHeldByAll is BenchmarkHeld for people who stand in all 200 rankings of thousands of classes. It takes half a minute to try everybody for
// every class.
func BenchmarkHeldByAll(b *testing.B) {
	newCrew(b, 10_000, 50-100*5_000/(10_000*crewSlots), 4096, 200).held(b)
}

func (c *crew) held(b *testing.B) {
	b.Helper()
	take, give := c.lasting(5_000)
	var took, back [10_000]int32
	n, granted := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		back[min(int(give()/10), len(back)-1)]++
		d, ok := take()
		took[min(int(d/10), len(took)-1)]++
		if n++; ok {
			granted++
		}
	}
	report(b, took[:], n, "")
	report(b, back[:], n, "back-")
	b.ReportMetric(float64(granted)/float64(n), "granted")
}

// lasting has n sessions taken, and returns what has the next one taken and what has the oldest given back. Both tell how long that took.
func (c *crew) lasting(n int) (take func() (time.Duration, bool), give func() time.Duration) {
	sessions := make([]wire.SessionID, n)
	for i := range sessions {
		sessions[i] = wire.SessionID(fmt.Sprint("h", i))
	}
	at := 0
	take = func() (took time.Duration, granted bool) {
		i := at * 7919 % len(c.tasks)
		c.attrs[0].Value, c.attrs[1].Value = c.kinds[i%len(c.kinds)], selector.NumberOf(float64(i/len(c.kinds))/24)
		c.task = broker.Task{Session: sessions[at%n], Ticket: uint64(at/n + 1), Queue: "q", Attributes: c.attrs[:]}
		at++
		start := time.Now()
		c.core.Offer(&c.task, 0, &c.out)
		took = time.Since(start)
		granted = len(c.out) > 0 && c.out[0].Kind == broker.Grant
		c.out.Reset()
		return took, granted
	}
	give = func() time.Duration {
		session, ticket := sessions[at%n], uint64(at/n)
		start := time.Now()
		c.core.Withdraw(session, ticket, 0, &c.out)
		took := time.Since(start)
		c.out.Reset()
		return took
	}
	for range n {
		take()
	}
	return take, give
}
