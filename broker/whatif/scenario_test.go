package whatif

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/broker/routes"
	"switchboard/broker/selector"
	"switchboard/wire"
)

// The scenarios are whole days in virtual time, of fixed seeds: what they show is the same on every machine.

func routing(t testing.TB, doc string) *routes.Routes {
	t.Helper()
	r, err := routes.Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func configure(t testing.TB, day, doc string, sets ...string) Config {
	t.Helper()
	d, err := Parse("day.yaml", []byte(day), sets...)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := d.Config(routing(t, doc), time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// nothingLost is what every scenario promises.
func nothingLost(t *testing.T, r *Result) {
	t.Helper()
	if r.Rejected != 0 || r.Open != 0 || r.People.Unserved != 0 {
		t.Errorf("%s: %d rejected, %d open, %d unserved", r.Name, r.Rejected, r.Open, r.People.Unserved)
	}
}

const botsFirst = `
version: 1
queues:
  - name: service
    route:
      - {name: bots, who: bots}
      - {name: people, who: humans}
`

// TestPeakHour is S4: 200,000 inquiries in an hour, of which bots end 80 %.
func TestPeakHour(t *testing.T) {
	r := play(t, configure(t, `
name: peak
start: 2026-11-11T20:00
length: 1h
sessions: 200000
bots: {count: 20, alone: 80%}
people: {first: {median: 15s, sigma: 0.5}, handle: {median: 200s, sigma: 0.68}}
staff: [{name: agent, count: 800, slots: 5}]
`, botsFirst))
	nothingLost(t, r)
	if share := float64(r.Alone) / float64(r.Sessions); share < .795 || share > .805 || r.Sessions < 198_000 || r.People.Rate < .95 {
		t.Errorf("bots end %.3f of %d, people answer %.3f in time", share, r.Sessions, r.People.Rate)
	}
	t.Logf("%d sessions, %d by bots, %d by people, p95 %d ms, %d events, %d effects", r.Sessions, r.Alone, r.Served, r.People.P95, r.Events, r.Effects)
	golden(t, "peak", figures("200,000 in an hour", r))
}

// TestSurges is S5: three times the sessions of one channel, ten times and a hundred times all: nothing is lost, and everybody who
// waits hears where he stands.
func TestSurges(t *testing.T) {
	f := func(sets ...string) *Result {
		t.Helper()
		cfg := configure(t, `
name: surge
start: 2026-11-11T20:00
length: 1h
sessions: 240
surges: [{at: 10m, for: 30m, times: 3, channel: live}]
customers: {channels: {web: 60, mini: 20, live: 20}}
bots: {count: 2, alone: 80%}
people: {first: {median: 15s}, handle: {median: 200s, sigma: 0.68}}
staff: [{name: agent, count: 4, slots: 5}]
`, botsFirst, sets...)
		cfg.DrainMS = 48 * hourMS // four people have a hundredfold before them
		r := play(t, cfg)
		nothingLost(t, r)
		if r.Untold != 0 {
			t.Errorf("%d sessions: %d waited and did not hear their place", r.Sessions, r.Untold)
		}
		t.Logf("%v: %d sessions, longest line %d, %d told, p95 %d s", sets, r.Sessions, r.MaxLine, r.Told, r.People.P95/1000)
		return r
	}
	// Half of them come by the channel that is surged, and people have three quarters of what they can do before it.
	half := []string{"sessions=2000", "customers.channels={web: 40, mini: 10, live: 50}", "staff[0].count=6"}
	calm, three := f(append(half, "surges=[]")...), f(half...)
	ten, hundred := f("surges[0]={at: 10m, for: 30m, times: 10}"), f("surges[0]={at: 10m, for: 30m, times: 100}")
	if live, was := named(three.Channels, "live").Wanted, named(calm.Channels, "live").Wanted; live < 2*was || three.MaxLine < 50 || three.Told < 500 {
		t.Errorf("%d of the channel wanted somebody, and %d did without the surge; they made a line of %d, who were told %d times", live, was, three.MaxLine, three.Told)
	}
	if ten.Sessions < 8*120 || ten.MaxLine < 50 || hundred.Sessions < 90*120 || hundred.MaxLine < 500 { // the half hour has 120 on average
		t.Errorf("%d and %d came, with lines of %d and %d", ten.Sessions, hundred.Sessions, ten.MaxLine, hundred.MaxLine)
	}
	golden(t, "surges", figures("x3 on one channel", three)+figures("x10", ten)+figures("x100", hundred))
}

// TestOverflow is S6: 200 in one channel's line while another team is idle; they must get through.
func TestOverflow(t *testing.T) {
	doc := `
version: 1
queues:
  - name: phone
    route:
      - {name: own, who: humans}
      - {name: others, who: humans, after_ms: 30000, queues: [live]}
  - name: live
`
	f := func(doc string) *Result {
		visits := make([]Visit, 200)
		for i := range visits {
			visits[i] = Visit{At: testStart + int64(i), Queue: "phone", Channel: "phone", Human: Talk{Turns: []Turn{{Reply: 5_000}}, Tail: 235_000}, Accept: 2_000}
		}
		cfg := Config{Name: "overflow", Routes: routing(t, doc).Broker, Start: testStart, End: testStart + hourMS, DrainMS: 24 * hourMS, Visits: Of(visits)}
		for i := range 22 {
			a := Agent{ID: fmt.Sprintf("live%02d", i), Queues: []string{"live"}, Slots: 3, Shifts: []Shift{{testStart, testStart + 48*hourMS}}}
			if i < 2 {
				a.ID, a.Queues = fmt.Sprintf("phone%02d", i), []string{"phone"}
			}
			cfg.Agents = append(cfg.Agents, a)
		}
		r := play(t, cfg)
		nothingLost(t, r)
		return r
	}
	with, without := f(doc), f(strings.Replace(doc, "      - {name: others, who: humans, after_ms: 30000, queues: [live]}\n", "", 1))
	t.Logf("the last waits %d s, without help %d s", with.People.MaxWait/1000, without.People.MaxWait/1000)
	// 66 slots of 4 minutes are 200 calls in four rounds; two people alone take 34 rounds.
	if with.People.MaxWait > 4*250_000 || without.People.MaxWait < 30*240_000 {
		t.Errorf("the last of 200 waits %d ms with help and %d ms without", with.People.MaxWait, without.People.MaxWait)
	}
	golden(t, "overflow", figures("another team helps", with)+figures("it does not", without))
}

// TestShops is S7: 53 shops and 16 to 18 people who have home shops and help out after a minute: at least 95 % within three minutes,
// all in all, and of 17 and more in every shop as well. Each shop is told. Without helping out it cannot be held.
func TestShops(t *testing.T) {
	day, err := os.ReadFile("../../examples/plan/merchant-53-shops.yaml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../examples/merchant-53-shops.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := func(people int, help bool) *Result {
		t.Helper()
		cfg := configure(t, string(day), string(doc), fmt.Sprintf("staff[0].count=%d", people), "customers.patience={median: 100h}", "start=2026-11-02T08:00", "length=15h", "sessions=53000")
		cfg.Routes.Shops = slices.Clone(cfg.Routes.Shops)
		for i := range cfg.Routes.Shops { // the figures are those of people who are there from eight to eleven
			cfg.Routes.Shops[i].Calendar = ""
		}
		for i := range cfg.Routes.Queues {
			cfg.Routes.Queues[i].Calendar = ""
		}
		if !help {
			q := &cfg.Routes.Queues[0]
			var steps []broker.Step
			for _, s := range q.Steps {
				if s.Name == "bots" || s.Name == "home" {
					steps = append(steps, s)
				}
			}
			q.Steps = steps
		}
		r := play(t, cfg)
		worst := Figures{Rate: 1}
		for _, s := range r.Shops {
			if s.Rate < worst.Rate {
				worst = s
			}
		}
		t.Logf("%d people, help %v: %.2f %% of %d, worst %s with %.2f %% of %d", people, help, 100*r.People.Rate, r.People.Wanted, worst.Name, 100*worst.Rate, worst.Wanted)
		if r.Within != 180_000 || len(r.Shops) != 53 || slices.ContainsFunc(r.Shops, func(s Figures) bool { return s.Wanted < 50 }) {
			t.Errorf("within %d ms, %d shops are told", r.Within, len(r.Shops))
		}
		if help && people >= 17 && worst.Rate < .95 {
			t.Errorf("%d people answer %.3f in time, %s %.3f", people, r.People.Rate, worst.Name, worst.Rate)
		}
		return r
	}
	all := ""
	for _, people := range []int{16, 17, 18} {
		r := f(people, true)
		if r.People.Rate < .95 {
			t.Errorf("%d people answer %.3f in time", people, r.People.Rate)
		}
		all += figures(fmt.Sprint(people, " people"), r)
	}
	golden(t, "shops", all)
	if r := f(17, false); r.People.Rate > .8 {
		t.Errorf("without help they answer %.3f in time", r.People.Rate)
	}
}

// surged is four hours of a hundred slots at a load of 0.7, and of 1.5 for half an hour; 30 % are VIPs.
const surged = `
name: surged
start: 2026-11-11T10:00
length: 4h
sessions: 4200
curve: {steps: [{at: 1h, times: 2.142857}, {at: 90m, times: 1}]}
customers: {tiers: {vip: 0.3}}
people: {accept: {median: 3s}, first: {median: 18s}, handle: {exponential: 240s}}
staff: [{name: agent, count: 100}]
`

const plain = `
version: 1
queues:
  - name: q
    route: [{who: humans}]
`

// TestSavableFirst is S8: in a surge those who can still be answered in time come first: at least ten points more than first come,
// first served, at the same mean wait.
func TestSavableFirst(t *testing.T) {
	const seeds = 5
	var rate, wait [2]float64
	longest, all := int64(0), ""
	for seed := range seeds {
		for i, order := range []string{"fifo", "savable_first"} {
			cfg := configure(t, surged, plain, fmt.Sprintf("seed=%d", seed+1))
			var err error
			if cfg.Routes, err = Ordered(cfg.Routes, order, 162_000); err != nil { // 18 s are left for the answer
				t.Fatal(err)
			}
			r := play(t, cfg)
			nothingLost(t, r)
			rate[i] += r.People.Rate / seeds
			wait[i] += float64(r.People.MeanWait) / seeds
			longest = max(longest, r.People.MaxWait)
			all += figures(fmt.Sprint(order, " ", seed+1), r)
		}
	}
	golden(t, "savable", all)
	t.Logf("fifo %.1f %% at %.0f s, savable first %.1f %% at %.0f s, the longest %d s", 100*rate[0], wait[0]/1000, 100*rate[1], wait[1]/1000, longest/1000)
	if rate[1] < rate[0]+.1 || wait[1] > 1.02*wait[0] || wait[1] < .98*wait[0] {
		t.Errorf("fifo %.3f, savable first %.3f; mean waits %.0f and %.0f ms", rate[0], rate[1], wait[0], wait[1])
	}
}

// TestVIP is S12: in the same surge 95 % of the VIPs wait a minute at most, and nobody else waits more than 25 minutes.
func TestVIP(t *testing.T) {
	cfg := configure(t, surged, `
version: 1
service_levels: [{name: three, first_reply_ms: 162000, count: [human]}]
queues:
  - name: q
    service_level: three
    order:
      mode: savable_first
      floor: 4
      boosts: [{when: task.tier == 'vip', ms: 120000}]
    route: [{who: humans}]
`)
	r := play(t, cfg)
	nothingLost(t, r)
	vip, other := named(r.Tiers, "vip"), named(r.Tiers, "")
	t.Logf("VIPs: p95 %d s, %.1f %% in time; others: %.1f %%, p95 %d s, longest %d s", vip.P95/1000, 100*vip.Rate, 100*other.Rate, other.P95/1000, other.MaxWait/1000)
	// A pick in four is the oldest of all, so the line that a surge has left is through by the time that four times its length would take alone.
	if vip.P95 > 60_000 || other.MaxWait > 25*60_000 || vip.Wanted < 1000 || other.Wanted < 2000 {
		t.Errorf("VIPs p95 %d ms of %d; others %d ms at most of %d", vip.P95, vip.Wanted, other.MaxWait, other.Wanted)
	}
	golden(t, "vip", figures("VIPs in the surge", r))
}

// TestTransfers is S13: 12 % are transferred twice; each of them is somebody's or in line at every moment, and all are served.
func TestTransfers(t *testing.T) {
	cfg := configure(t, `
name: transfers
start: 2026-11-11T10:00
length: 4h
sessions: 4000
people: {first: {median: 15s}, handle: {median: 200s, sigma: 0.68}, transfer: 12%, transfer_times: 2, transfer_to: second}
staff: [{name: agent, count: 40, slots: 3}]
`, `
version: 1
queues:
  - {name: first, route: [{who: humans}]}
  - {name: second, route: [{who: humans}]}
`)
	// Every second: the core has as many tasks as there are sessions, neither lost nor twice.
	for at := cfg.Start; at < cfg.End; at += 1000 {
		cfg.Hooks = append(cfg.Hooks, Hook{at, func(s *Sim) {
			n := 0
			for q := range s.Core().Queues() {
				n += q.Waiting + q.Offered + q.Assigned
			}
			if n != len(s.sessions) {
				t.Errorf("the core has %d tasks of %d sessions", n, len(s.sessions))
			}
		}})
	}
	r := play(t, cfg)
	nothingLost(t, r)
	if share := float64(r.Transfers) / float64(r.Sessions); share < .22 || share > .26 || r.Served != r.Sessions || r.People.Wanted != r.Sessions+r.Transfers || r.Transfers%2 != 0 {
		t.Errorf("%d transfers of %d sessions; %d served, %d wanted somebody", r.Transfers, r.Sessions, r.Served, r.People.Wanted)
	}
	golden(t, "transfers", figures("12 % twice", r))
}

// TestKilledAgent is S14: an agent with five chats is killed. Back after 29 s he has them still; after 31 s they have been queued
// again, in front of who came after them.
func TestKilledAgent(t *testing.T) {
	f := func(back int64, lost int, ae uint64) {
		t.Helper()
		var visits []Visit
		for i := range 7 {
			visits = append(visits, Visit{At: testStart + int64(i)*1000, Human: Talk{Turns: []Turn{{Reply: 1000}}, Tail: 10 * 60_000}, Accept: 500})
		}
		cfg := Config{
			Routes: routing(t, plain).Broker, Start: testStart, End: testStart + hourMS, Visits: Of(visits),
			Agents: []Agent{{ID: "ann", Slots: 5, Shifts: []Shift{{testStart, testStart + 9*hourMS}}}},
		}
		cfg.Hooks = []Hook{
			{testStart + 60_000, func(s *Sim) { s.Drop("ann", back) }},
			{testStart + 100_000, func(s *Sim) {
				for n := 1; n <= 7; n++ {
					worker, got, waiting := s.Where(n)
					if n <= 5 && (worker != "ann" || got != ae || waiting) || n > 5 && (!waiting || got != 0) {
						t.Errorf("back after %d ms: session %d is with %q under %d, waits %v", back, n, worker, got, waiting)
					}
				}
			}},
		}
		r := play(t, cfg)
		nothingLost(t, r)
		if r.Lost != lost || r.Served != 7 {
			t.Errorf("back after %d ms: %d lost, %d served", back, r.Lost, r.Served)
		}
	}
	f(29_000, 0, 1)
	f(31_000, 5, 2)
}

// TestDroppedAtTheEnd: who is cut off when his shift ends comes back for the session that he has, and for no other; nobody answers or
// closes while he is away.
func TestDroppedAtTheEnd(t *testing.T) {
	end := testStart + 60_000
	cfg := Config{
		Routes: routing(t, plain).Broker, Start: testStart, End: testStart + hourMS, DrainMS: hourMS,
		Visits: Of([]Visit{
			{At: testStart, Human: Talk{Turns: []Turn{{Reply: 1000}}, Tail: 60_500}},
			{At: testStart + 1000, Human: Talk{Turns: []Turn{{}}}},
		}),
		Agents: []Agent{{ID: "ann", Shifts: []Shift{{testStart, end}}}},
		Hooks: []Hook{
			{end - 500, func(s *Sim) { s.Drop("ann", 10_000) }},
			{end + 9_000, func(s *Sim) {
				if worker, _, _ := s.Where(1); worker != "ann" {
					t.Errorf("the session is with %q while she is cut off", worker)
				}
			}},
		},
	}
	if r := play(t, cfg); r.Served != 1 || r.Lost != 0 || r.People.Unserved != 1 {
		t.Errorf("%d served, %d lost, %d unserved", r.Served, r.Lost, r.People.Unserved)
	}
}

// TestRacingAccepts is S15: 1,000 sessions are offered to two people at once, who both accept in the same moment: each is assigned once,
// and nobody gets more than his three slots.
func TestRacingAccepts(t *testing.T) {
	var visits []Visit
	for i := range 1000 {
		visits = append(visits, Visit{At: testStart + int64(i)*100, Human: Talk{Turns: []Turn{{Reply: 100}}, Tail: 3000}, Accept: 1000})
	}
	cfg := Config{
		Routes: routing(t, `
version: 1
queues: [{name: q, route: [{who: humans, offer: {n: 2}}]}]
`).Broker, Start: testStart, End: testStart + hourMS, Visits: Of(visits),
	}
	for i := range 30 {
		cfg.Agents = append(cfg.Agents, Agent{ID: fmt.Sprintf("a%02d", i), Slots: 3, Shifts: []Shift{{testStart, testStart + 9*hourMS}}})
	}
	for at := int64(0); at < 200_000; at += 250 {
		cfg.Hooks = append(cfg.Hooks, Hook{testStart + at, func(s *Sim) {
			for w := range s.Core().Workers("", "") {
				if w.Used > 3 {
					t.Errorf("%s has %d", w.ID, w.Used)
				}
			}
		}})
	}
	s, r := simulate(t, cfg)
	nothingLost(t, r)
	// Each is accepted by both, at the same millisecond; whoever was second is told that it is gone.
	if r.Served != 1000 || s.measures.assigned != 1000 || r.Offers != 2000 {
		t.Errorf("%d served, %d assigned, %d offers", r.Served, s.measures.assigned, r.Offers)
	}
	golden(t, "accepts", figures("1,000 double accepts", r))
}

// TestAcceptAgainstLeave is S16: the customer leaves a moment before he is accepted, in the same moment, and a moment after. Nobody is
// left with a session that nobody has.
func TestAcceptAgainstLeave(t *testing.T) {
	var visits []Visit
	for i := range 900 {
		visits = append(visits, Visit{At: testStart + int64(i)*40, Human: Talk{Turns: []Turn{{Reply: 100}}, Tail: 2000}, Accept: 1000, Patience: 999 + int64(i%3)})
	}
	cfg := Config{Routes: routing(t, plain).Broker, Start: testStart, End: testStart + hourMS, Visits: Of(visits), DrainMS: hourMS}
	for i := range 100 {
		cfg.Agents = append(cfg.Agents, Agent{ID: fmt.Sprintf("a%02d", i), Shifts: []Shift{{testStart, testStart + 9*hourMS}}})
	}
	s, r := simulate(t, cfg)
	nothingLost(t, r)
	golden(t, "leaves", figures("accept against leave", r))
	if r.People.Left < 300 || r.Served < 300 || r.Served+r.People.Left != 900 {
		t.Errorf("%d left, %d served", r.People.Left, r.Served)
	}
	for w := range s.Core().Workers("", "") {
		if w.Used != 0 || w.Presence != broker.Ready {
			t.Errorf("%s has %d in the end, and is %v", w.ID, w.Used, w.Presence)
		}
	}
}

// TestLunch is S21: who writes a minute before the lunch break and is answered a minute after it was answered in time: the clock
// stands still while everybody is away. Under a definition whose clock runs on he was not.
func TestLunch(t *testing.T) {
	const hours = `hours: {zone: Asia/Shanghai, weekly: [{from: "09:00", to: "12:00"}, {from: "13:00", to: "18:00"}]}`
	cfg := configure(t, `
name: lunch
start: 2026-11-02T09:00
zone: Asia/Shanghai
length: 9h
sessions: 0
staff: [{name: agent, count: 1, from: "09:00", to: "18:00", breaks: [{from: "12:00", to: "13:00"}]}]
levels:
  - {name: pauses, limit_ms: 180000, closed: pause, `+hours+`}
  - {name: runs, limit_ms: 180000, closed: skip, `+hours+`}
`, plain)
	noon := cfg.Start + 3*hourMS
	cfg.Visits = Of([]Visit{
		// The first has the agent beyond the beginning of his break; the second is taken after it.
		{At: noon - 120_000, Human: Talk{Turns: []Turn{{Reply: 10_000}}, Tail: 150_000}},
		{At: noon - 60_000, Human: Talk{Turns: []Turn{{Reply: 60_000}}, Tail: 1000}},
	})
	r := play(t, cfg)
	nothingLost(t, r)
	for _, l := range r.Levels {
		want := map[string]int64{"pauses": 2, "runs": 1}[l.Level]
		if l.Count != 2 || l.Met != want {
			t.Errorf("%+v; want %d of 2", l, want)
		}
	}
	golden(t, "lunch", figures("over lunch", r))
	if r.People.MaxWait < hourMS {
		t.Errorf("the second waited %d ms: the break was none", r.People.MaxWait)
	}
}

// TestAttributeChange is S24: 10,000 wait for who can do refunds; somebody learns it. He gets as many as he has slots, the oldest, and
// nobody else moves: the work is his, not that of all who wait. How long the owner is busy with it is told.
func TestAttributeChange(t *testing.T) {
	const waiting = 10_000
	var out broker.Effects
	core := broker.New(routing(t, `
version: 1
queues: [{name: q, route: [{who: humans, select: "worker.labels HAS task.intent"}]}]
`).Broker)
	now := testStart
	core.Open(1, nil, now, &out)
	intents := []string{"refund", "invoice", "order", "logistics"}
	for i := range waiting {
		a := selector.Attrs{}.With("intent", selector.StringOf(intents[i%len(intents)]))
		core.Offer(&broker.Task{Session: name(i + 1), Ticket: 1, Queue: "q", EnqueuedAt: now + int64(i), Attributes: a}, now+int64(i), &out)
		out.Reset()
	}
	now += waiting
	subscribe := func(labels ...string) time.Duration {
		out.Reset()
		began := time.Now()
		core.Subscribe(&broker.Subscription{
			ID: "ann", Sub: "ann", Kind: wire.OriginHuman, Allowed: []string{"*"}, All: true, Slots: 5, Conn: wire.Conn{Node: 1, ID: 1}, NewLease: "l",
			Attributes: selector.Attrs{}.With("labels", selector.ListOf(labels...)),
		}, now, &out)
		return time.Since(began)
	}
	offered := func() (ids []wire.SessionID) {
		for i := range out {
			if out[i].Kind == broker.OfferPush {
				ids = append(ids, out[i].Session)
			}
		}
		return ids
	}
	subscribe("greetings")
	if ids := offered(); len(ids) != 0 {
		t.Fatalf("%v is offered to who cannot do it", ids)
	}
	took := subscribe("refund")
	t.Logf("a change of a worker's attributes beside %d who wait: %v", waiting, took)
	if ids := offered(); fmt.Sprint(ids) != fmt.Sprint([]wire.SessionID{name(1), name(5), name(9), name(13), name(17)}) || len(out) > 20 {
		t.Errorf("%v are offered, with %d effects", ids, len(out))
	}
	out.Reset()
	began := time.Now()
	core.Offer(&broker.Task{Session: name(2), Ticket: 1, Version: 1, Queue: "q", EnqueuedAt: testStart + 1, Attributes: selector.Attrs{}.With("intent", selector.StringOf("order"))}, now, &out)
	t.Logf("a change of a session's attributes: %v", time.Since(began))
	if len(out) > 5 || core.Waiting("q") != waiting-5 {
		t.Errorf("%d effects, %d wait", len(out), core.Waiting("q"))
	}
}

// TestSame: the same seed gives the same day, another one another.
func TestSame(t *testing.T) {
	f := func(sets ...string) string {
		r := play(t, configure(t, surged, plain, sets...))
		return fmt.Sprintf("%+v %d %d", r.People.Name, r.Effects, r.People.MeanWait) + fmt.Sprint(r.Hours[1].P95, r.Told)
	}
	if a, b, c := f(), f(), f("seed=2"); a != b || a == c {
		t.Errorf("%q, %q, %q", a, b, c)
	}
}

// named returns the figures of that name.
func named(list []Figures, name string) Figures {
	if i := slices.IndexFunc(list, func(f Figures) bool { return f.Name == name }); i >= 0 {
		return list[i]
	}
	return Figures{Name: name, Rate: 1}
}
