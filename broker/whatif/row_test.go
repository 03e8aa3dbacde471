package whatif

import (
	"maps"
	"reflect"
	"testing"
	"time"

	"switchboard/broker"
	"switchboard/broker/level"
)

// minute counts answers within a minute, by turn, by message and by customer.
func minute(t *testing.T) *level.Set {
	t.Helper()
	set, err := level.Compile([]level.Definition{
		{Name: "turns", LimitMS: 60_000}, {Name: "messages", LimitMS: 60_000, Unit: level.Message}, {Name: "customers", LimitMS: 60_000, Unit: level.Day},
	}, nil, time.LoadLocation)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// counted compares what was counted of everybody with what comes out by hand: of each level how many were met, and of how many.
func counted(t *testing.T, what string, got []LevelLine, want map[string][2]int64) {
	t.Helper()
	left := maps.Clone(want)
	for _, l := range got {
		if l.Shop != "" {
			continue
		}
		if w, ok := want[l.Level]; !ok || l.Met != w[0] || l.Count != w[1] {
			t.Errorf("%s, %s: %d of %d; by hand %v", what, l.Level, l.Met, l.Count, w)
		}
		delete(left, l.Level)
	}
	if len(left) > 0 {
		t.Errorf("%s: not counted: %v", what, left)
	}
}

// TestRow: what is said in a row is said as long as nobody has answered, also by who is in line; each definition counts it its way.
func TestRow(t *testing.T) {
	ann := Agent{ID: "ann", Shifts: []Shift{{testStart, testStart + 10*hourMS}}}
	r := play(t, Config{
		Name: "row", Routes: routing(t, plain).Broker, Start: testStart, End: testStart + hourMS, Levels: minute(t), Agents: []Agent{ann},
		Visits: Of([]Visit{
			// His words are at 0, 20 and 50 s, the answer at 70 s, and more of it at 110 s. He speaks again at 170 s, and is answered at 200 s, before he
			// says anything more at 220 s.
			{At: testStart, Customer: "a", Human: Talk{Turns: []Turn{{Reply: 70_000, Think: 100_000, Asks: 2, Adds: 1}, {Reply: 30_000, Asks: 1, Row: 3}}, Pauses: []int64{20_000, 30_000, 40_000, 50_000}, Tail: 10_000}},
			// He is in line from 10 s on, asks again at 110 s, and is answered at 240 s.
			{At: testStart + 10_000, Customer: "b", Human: Talk{Turns: []Turn{{Reply: 30_000, Asks: 1}}, Pauses: []int64{100_000}, Tail: 10_000}},
		}),
	})
	nothingLost(t, r)
	counted(t, "a row", r.Levels, map[string][2]int64{"turns": {1, 3}, "messages": {3, 6}, "customers": {0, 2}})
	if r.CustomerMessages != 6 || r.PeopleMessages != 4 {
		t.Errorf("%d and %d messages; by hand 6 and 4", r.CustomerMessages, r.PeopleMessages)
	}
}

// TestRowOfTheLost: who has lost a session adds nothing to his answer, and nor does who has it now.
func TestRowOfTheLost(t *testing.T) {
	shift := []Shift{{testStart, testStart + 10*hourMS}}
	// Ann answers at 70 s and would add to it at 150 s. She is gone at 90 s, and given up at 120 s. Ben answers at 190 s, and adds to it at 270 s.
	r := play(t, Config{
		Name: "lost", Routes: routing(t, plain).Broker, Start: testStart, End: testStart + hourMS,
		Agents: []Agent{{ID: "ann", Rating: 1, Shifts: shift}, {ID: "ben", Shifts: shift}},
		Visits: Of([]Visit{{At: testStart, Human: Talk{Turns: []Turn{{Reply: 70_000, Adds: 1}}, Pauses: []int64{80_000}, Tail: 300_000}}}),
		Hooks:  []Hook{{At: testStart + 90_000, Do: func(s *Sim) { s.Drop("ann", 9*hourMS) }}},
	})
	nothingLost(t, r)
	if r.Lost != 1 || r.PeopleMessages != 3 {
		t.Errorf("%d lost, %d messages of people; by hand 1 and 3", r.Lost, r.PeopleMessages)
	}
}

// TestRowsDrawn: in how many messages one says something changes when what is counted by message, and no wait, no handling and no chance.
func TestRowsDrawn(t *testing.T) {
	f := func(sets ...string) *Result {
		t.Helper()
		cfg := configure(t, `
name: rows
start: 2026-11-11T09:00
length: 4h
sessions: 4000
people: {reply: {median: 60s, sigma: 0.8}}
staff: [{name: agent, count: 100, slots: 3}]
`, plain, sets...)
		cfg.Levels = minute(t)
		r := play(t, cfg)
		nothingLost(t, r)
		return r
	}
	of := func(r *Result, name string) LevelLine {
		for _, l := range r.Levels {
			if l.Level == name {
				return l
			}
		}
		return LevelLine{}
	}
	one := f("customers.messages={median: 1}", "people.messages={median: 1}")
	as := f()
	if again := f(); !reflect.DeepEqual(as, again) {
		t.Error("the same day comes to something else")
	}
	if !reflect.DeepEqual(one.Hours, as.Hours) || !reflect.DeepEqual(one.People, as.People) || one.AgentHours != as.AgentHours {
		t.Errorf("in one message each:\n%+v\nas people speak:\n%+v", one.People, as.People)
	}
	if m, n := of(one, "messages"), of(one, "turns"); m.Count != n.Count || m.Met != n.Met || one.PeopleMessages != int(n.Count) {
		t.Errorf("of one message each, messages are %+v, turns %+v", m, n)
	}
	m, n := of(as, "messages"), of(as, "turns")
	if per := float64(m.Count) / float64(n.Count); per < 1.5 || per > 1.6 || as.CustomerMessages != int(m.Count) {
		t.Errorf("%d messages in %d turns", m.Count, n.Count)
	}
	if per := float64(as.PeopleMessages) / float64(n.Count); per < 1.28 || per > 1.38 {
		t.Errorf("%d messages of people in %d turns", as.PeopleMessages, n.Count)
	}
	// The last message of a turn has waited less than its first; who says much in one spoils no more than one turn with it.
	if c := of(as, "customers"); m.Rate <= n.Rate || c.Rate > n.Rate-.1 {
		t.Errorf("in time are %.3f by message, %.3f by turn, %.3f by customer", m.Rate, n.Rate, c.Rate)
	}
	slow := f("customers.messages={median: 16}", "customers.between={median: 1h}", "people.messages={median: 16}", "people.between={median: 1h}")
	if !reflect.DeepEqual(one.People, slow.People) {
		t.Errorf("in messages that would take for ever:\n%+v\nin one each:\n%+v", slow.People, one.People)
	}
}

// TestRowsRecorded: a recorded day keeps what was said in a row, and played again as it was it is counted as it was.
func TestRowsRecorded(t *testing.T) {
	w := &tape{start: testStart}
	w.session("c1") // three words before ann has him, one behind it; a second answer of ann's; and two words that she answers late
	w.says(0, "customer", "c1")
	w.queued(0)
	w.says(10, "customer", "c1")
	w.says(30, "customer", "c1")
	w.assigned(40, "human", "ann")
	w.says(45, "customer", "c1")
	w.says(75, "human", "ann")
	w.says(85, "human", "ann")
	w.says(130, "customer", "c1")
	w.says(135, "customer", "c1")
	w.says(200, "human", "ann")
	w.event(210, "session.closed", `{"by":"worker"}`)
	w.session("c2") // says three things in line, and leaves
	w.says(40, "customer", "c2")
	w.queued(40)
	w.says(60, "customer", "c2")
	w.says(90, "customer", "c2")
	w.event(110, "session.closed", `{"by":"customer"}`)
	d := w.day(t, minute(t), 60_000)
	want := Talk{
		Turns:  []Turn{{Reply: 35_000, Think: 55_000, Asks: 3, Adds: 1}, {Reply: 70_000, Asks: 1, Row: 4}},
		Pauses: []int64{10_000, 20_000, 15_000, 10_000, 5_000}, Tail: 10_000,
	}
	if got := d.Visits[0].Human; !reflect.DeepEqual(got, want) {
		t.Errorf("recorded is\n%+v\nwant\n%+v", got, want)
	}
	d.Visits[0].Patience = 0 // it is drawn, and he may well have less of it than he had
	for i := range d.Visits {
		d.Visits[i].Accept = 0 // ann comes at 40 s, and does not think about it
	}
	// Of c1's first turn the last two words are answered within a minute, of his second none; of c2 nothing is.
	byHand := map[string][2]int64{"turns": {0, 3}, "messages": {2, 9}, "customers": {0, 2}}
	counted(t, "as it was", d.Levels, byHand)
	cfg := d.Config(Config{Routes: routing(t, plain).Broker, Levels: minute(t), Within: 60_000})
	cfg.Agents[0].Shifts[0] = Shift{testStart + 40_000, testStart + hourMS}
	r := play(t, cfg)
	counted(t, "played again", r.Levels, byHand)
	if r.CustomerMessages != 9 || r.PeopleMessages != 3 || r.Served != 1 || r.People.Left != 1 {
		t.Errorf("%d and %d messages, %d served, %d left", r.CustomerMessages, r.PeopleMessages, r.Served, r.People.Left)
	}
	// With somebody there at once he is answered at 35 s, and does not ask a fourth time.
	cfg = d.Config(Config{Routes: broker.Config{Queues: []broker.Queue{{Name: "q", Steps: []broker.Step{{Who: broker.Humans}}}}}, Levels: minute(t), Within: 60_000})
	cfg.Agents = []Agent{{ID: "ben", Slots: 2, Shifts: []Shift{{testStart - hourMS, testStart + hourMS}}}}
	if r = play(t, cfg); r.CustomerMessages != 5+1 {
		t.Errorf("%d messages of customers who are answered at once", r.CustomerMessages)
	}
}
