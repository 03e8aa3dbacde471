package whatif

import (
	"strings"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/broker/routes"
	"switchboard/examples"
)

// TestDays: what is shipped can be read and played.
func TestDays(t *testing.T) {
	for _, name := range examples.Days() {
		text, _ := examples.Day(name)
		d, err := Parse(name, text, "sessions=500")
		if err != nil {
			t.Fatal(err)
		}
		doc, err := examples.Routes(d.Routes)
		if err != nil {
			t.Fatal(err)
		}
		r, err := routes.Parse(doc)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := d.Config(r, time.LoadLocation)
		if err != nil {
			t.Fatal(err)
		}
		if res := play(t, cfg); res.Sessions < 400 || res.Alone == 0 || res.Served == 0 || len(res.Levels) == 0 || d.Name != name {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

// TestMistakes: what makes no sense is told with its place.
func TestMistakes(t *testing.T) {
	const good = "name: x\nstart: 2026-11-11T00:00\nsessions: 10\n"
	f := func(text, want string) {
		t.Helper()
		if _, err := Parse("d.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	f(good+"sesions: 1\n", "unknown field")
	f(strings.Replace(good, "10", "-1", 1), "d.yaml:3:11: sessions")
	f(good+"length: 5\n", "length")
	f(good+"staff: [{name: a, count: 2.9}]\n", `d.yaml:4:26: "2.9" is no whole number`)
	f(good+"customers: {tiers: {vip: 0.7, gold: 0.6}}\n", "customers.tiers")
	f(good+"customers: {attributes: {shop: {a: 1}}}\n", "knows it itself")
	f(good+"customers: {patience: {exponential: 5m, median: 3m}}\n", "exponential excludes median")
	f(good+"staff: [{name: a, count: 2, hours: [1]}]\n", "staff[0].hours")
	f(good+"staff: [{name: a, count: 2, from: \"8\"}]\n", "staff[0].from")
	f(good+"staff: [{name: a, count: 2, breaks: [{from: \"13:00\", to: \"12:00\"}]}]\n", "staff[0].breaks[0]")
	f(good+"bots: {alone: 120%}\n", "bots.alone")
	f(good+"surges: [{at: 23h, for: 2h, times: 3}]\n", "surges[0].for")
	f(good+"targets: [1.5]\n", "targets[0]")
	f(good+"levels: [{preset: nobody}]\n", "levels[0]")
	f(strings.Replace(good, "2026-11-11T00:00", "tomorrow", 1), "start")
	f(good+"customers: {messages: {median: 0.5}}\n", "customers.messages: it is 0.5: somebody says 1 to 16 messages in a row")
	f(good+"people: {messages: {median: 1, max: 17}}\n", "people.messages: it is 17")
	f(good+"people: {messages: {profile: agent_reply}}\n", "people.messages: profile agent_reply does not count")
	f(good+"customers: {between: {profile: agent_messages}}\n", "customers.between: profile agent_messages does not count")
	f(good+"customers: {messages: {median: 3s}}\n", "customers.messages")
	f(good+"people: {accept: {median: 0s}}\n", "people.accept: it is zero") // it would be three seconds
	f(good+"people: {first: {exponential: 0s}, away: 0s}\n", "people.away: it is zero")
	f(good+"bots: {reply: {median: 0ms, max: 0s}}\n", "bots.reply: it is zero")
	f(good+"within: 0s\n", "within: it is zero")
	f(good+"customers: {patience: {median: 0s}}\n", "customers.patience: it is zero") // it would be endless

	later := func(text, want string) {
		t.Helper()
		d, err := Parse("d.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Config(routing(t, plain), time.LoadLocation); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
	later(good+"zone: Moon\n", "zone")
	later(good+"customers: {queues: {other: 1}}\n", "no queue other")
	later(good+"customers: {attributes: {colour: {red: 1}}}\n", "no attribute colour")
	later(good+"surges: [{at: 1h, for: 1h, times: 3, shop: s9}]\n", "nobody has the s9")
	later(good+"curve: {steps: [{at: 0s, times: 0}]}\n", "nobody ever comes")
	later(good+"drops: [{at: 1h, agent: ann, back: 5s}]\n", "no agent ann")

	// What cannot be simulated is told before it begins.
	for want, cfg := range map[string]Config{
		"no queue":     {},
		"takes up to":  {Routes: broker.Config{Queues: []broker.Queue{{Name: "q"}}}},
		"nobody comes": {Routes: broker.Config{Queues: []broker.Queue{{Name: "q"}}}, End: 1},
		"there twice":  {Routes: broker.Config{Queues: []broker.Queue{{Name: "q"}}}, End: 1, Visits: Of(nil), Agents: []Agent{{ID: "a"}, {ID: "a"}}},
		"allow 10000":  {Routes: broker.Config{Queues: []broker.Queue{{Name: "q"}}}, End: 1, Visits: Of(nil), Agents: []Agent{{ID: "a", Slots: 10_001}}},
		"overlap":      {Routes: broker.Config{Queues: []broker.Queue{{Name: "q"}}}, End: 1, Visits: Of(nil), Agents: []Agent{{ID: "a", Shifts: []Shift{{5, 9}, {8, 10}}}}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// TestNobodyWorks: who comes when nobody ever works is not lost, and the simulation ends.
func TestNobodyWorks(t *testing.T) {
	r := play(t, configure(t, "name: x\nstart: 2026-11-11T00:00\nlength: 1h\nsessions: 50\n", plain))
	if r.Open != r.Sessions || r.People.Unserved != r.Sessions || r.People.Rate != 0 {
		t.Errorf("%+v", r.People)
	}
}

// TestShifts: hours, breaks, a night over midnight, and a day that begins in the middle.
func TestShifts(t *testing.T) {
	zone, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 2, 8, 0, 0, 0, zone)
	f := func(row StaffRow, n int, want string) {
		t.Helper()
		var got []string
		for _, s := range row.shifts(n, start, 24*time.Hour) {
			got = append(got, time.UnixMilli(s.From).In(zone).Format("02.15:04")+"-"+time.UnixMilli(s.To).In(zone).Format("02.15:04"))
		}
		if text := strings.Join(got, " "); !strings.HasPrefix(text, want) {
			t.Errorf("%+v: %s; want %s", row, text, want)
		}
	}
	f(StaffRow{From: "09:00", To: "18:00", Breaks: []Span{{"12:00", "13:00"}}}, 0, "02.09:00-02.12:00 02.13:00-02.18:00 03.09:00-03.12:00")
	f(StaffRow{From: "22:00", To: "09:00"}, 0, "02.08:00-02.09:00 02.22:00-03.09:00")
	f(StaffRow{Hours: append([]int{2, 1}, make([]int, 22)...)}, 0, "03.00:00-03.02:00")
	f(StaffRow{Hours: append([]int{2, 1}, make([]int, 22)...)}, 1, "03.00:00-03.01:00")
	f(StaffRow{}, 0, "02.08:00-")
}

// TestStaffOutOfReach: an hour that no number of people helps to its target, behind hours of which others do not do any better,
// gets those who help, and not all that a simulation can have.
func TestStaffOutOfReach(t *testing.T) {
	text, _ := examples.Day("merchant-53-shops")
	d, err := Parse("d.yaml", text, "start=2026-11-07T20:00", "length=2h", "sessions=7000", "targets=[0.99]", "seed=22")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := examples.Routes(d.Routes)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Staff(d, routing(t, string(doc)), "", time.LoadLocation, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := s.Plans[0]
	for k := 20; k < 22; k++ {
		if p.Reached[k] || p.Rates[k] < .94 || p.People[k] > 2*s.Hours[k].Erlang {
			t.Errorf("%02d:00: %d people come to %.3f, reached %v; the formula says %d", k, p.People[k], p.Rates[k], p.Reached[k], s.Hours[k].Erlang)
		}
	}
}

// TestStaff: the plan holds its targets by the hour, one person fewer does not, and around it is a cliff.
func TestStaff(t *testing.T) {
	d, err := Parse("d.yaml", []byte(`
name: small
start: 2026-11-02T09:00
length: 4h
sessions: 700
curve: {steps: [{at: 1h, times: 3}, {at: 2h, times: 1}]}
people: {accept: {median: 2s}, first: {median: 15s}, handle: {exponential: 240s}}
staff: [{name: agent, count: 1}]
targets: [0.8, 0.95]
`))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Staff(d, routing(t, plain), "", time.LoadLocation, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	low, high := s.Plans[0], s.Plans[1]
	for k := 9; k < 13; k++ {
		if !low.Reached[k] || !high.Reached[k] || low.Rates[k] < .8 || high.Rates[k] < .95 || low.People[k] > high.People[k] {
			t.Errorf("%02d:00: %d and %d people come to %.3f and %.3f", k, low.People[k], high.People[k], low.Rates[k], high.Rates[k])
		}
		// Behind the surge people also work off what it has left: of that the formula knows nothing.
		if e := s.Hours[k].Erlang; k < 11 && (e < high.People[k]-6 || e > high.People[k]+6) {
			t.Errorf("%02d:00: %d people, the formula says %d", k, high.People[k], e)
		}
	}
	if high.People[10] < 2*high.People[9] || high.People[8] != 0 || high.People[13] != 0 {
		t.Errorf("%v", high.People)
	}
	if first, last := s.Cliff[0], s.Cliff[len(s.Cliff)-1]; first.Rate > .75 || last.Rate < .97 || s.CliffOf != .95 {
		t.Errorf("the cliff goes from %+v to %+v", first, last)
	}
	t.Logf("%v people in %d runs; cliff %+v", high.People[9:13], s.Runs, s.Cliff)
	if _, err := Staff(d, routing(t, plain), "nobody", time.LoadLocation, nil, nil); err == nil {
		t.Error("a row that is not there is looked for")
	}
}
