package scenario

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const minimal = `name: t
about: a test
steady: 10s
customers: {sockets: 10}
`

func TestDefaults(t *testing.T) {
	s, err := Parse("t.yaml", []byte(minimal+"talk: {rate: 5/s}\nworkers: {bots: {count: 1}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s.Seed != 1 || s.Ramp.Duration() != 5*time.Second || s.Stop.Duration() != 10*time.Second || s.Customers.Sources != 1 || !s.Customers.Open ||
		s.Talk.Arrivals != Poisson || s.Talk.Turns.Mean() != 1 || s.Workers.Bots.Reply != Echo || !s.Answered() {
		t.Errorf("%+v", s)
	}
}

// TestErrors: every error names its line, column and field, and all of them are told.
func TestErrors(t *testing.T) {
	f := func(doc string, want ...string) {
		t.Helper()
		_, err := Parse("t.yaml", []byte(doc))
		if err == nil {
			t.Errorf("%q is taken", doc)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q says\n%v\nwant %q", doc, err, w)
			}
		}
		if e := new(Error); !errors.As(err, &e) {
			t.Errorf("%T is no *Error", err)
		}
	}
	f(minimal+"custmers: 5\n", `t.yaml:5:1: `, "custmers")
	f("", "t.yaml: it is empty: there is no document in it")
	f("# nothing but words\n", "t.yaml: it is empty")
	f("name: t\nabout: x\nsteady: 10s\ncustomers:\n  sockets: 10.9\n", "t.yaml:5:12: ", `"10.9" is no whole number`)
	f("name: t\nabout: x\nsteady: 10s\ncustomers: {sockets: 10}\ntalk: {rate: 1/s, think: {median: 0s}}\n", "t.yaml:5:", "talk.think: it is zero") // it would be a second
	f("name: t\nabout: x\nsteady: 10s\ncustomers:\n  sockets: 10\n  sokets: 3\n", "t.yaml:6:3: ")
	f(minimal+"talk:\n  rate: 5 apples\n", "t.yaml:6:9: talk.rate: ")
	f(minimal+"talk: {rate: 20ms}\n", "t.yaml:5:14: talk.rate: ", "is not a rate")
	f(minimal+"---\nseed: 5\n", "t.yaml: there are 2 documents; it must be one")
	f(minimal+"ramp: -5s\n", "t.yaml:5:7: ramp: ", "below zero")
	f(minimal+"gates:\n  - p99 < 20ms\n  - p98 < 3ms\n  - lost = 0\n", "t.yaml:7:5: gates[1]: ", "t.yaml:8:5: gates[2]: ")
	f(minimal+"actions:\n  - {at: 1s}\n  - {at: 99s, run: x}\n", "t.yaml:6:6: actions[0]: ", "t.yaml:7:10: actions[1].at: ")
	f(minimal+"actions:\n  - {at: 1s, kill: true, run: x}\n", "exactly one")
	f("name: t\nabout: x\ncustomers: {sockets: 0}\n", "t.yaml:3:22: customers.sockets: ", "steady: it is needed")
	f(minimal+"talk: {curve: {day: [1, 2]}}\n", "talk.curve.day: a day has 24 hours")
	f(minimal+"talk: {curve: {steps: [{at: 5s, times: 2}, {at: 1s, times: 3}]}}\n", "talk.curve.steps[1].at: steps must be in order")
	f(minimal+"talk: {curve: {pulses: [{at: 5s, for: 50s, times: 2}]}}\n", "talk.curve.pulses[0].for: ")
	f(minimal+"talk: {curve: {pulses: [{at: 5s, for: 1s, times: 2, shop: 3}]}}\n", "customers.shops")
	f(minimal+"talk: {think: {profile: nobody}}\n", "there is no profile")
	f(minimal+"talk: {think: {profile: customer_turns}}\n", "does not count a time")
	f(minimal+"talk: {length: {median: 20KiB, sigma: 2}}\n", "talk.length: ", "set max")
	f(minimal+"workers: {bots: {count: 1, handoff: {share: 30%}}}\n", "no humans")
	f(minimal+"workers: {bots: {count: 1, reply: loud}}\n", "t.yaml:5:35: workers.bots.reply: ")
	f(minimal+"customers: {sockets: 3}\n", "t.yaml:5:1: ")
	f(minimal+"\tx: 1\n", "t.yaml:")
	f("", "t.yaml: ")
}

// A few lines of aliases of aliases would be gigabytes, so none is read: in the document, when something is laid over it, and in what is laid over it.
func TestNothingStandsForMore(t *testing.T) {
	bomb := "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
	for i := range 5 {
		bomb += fmt.Sprintf("x%d: &x%d [%s*x%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*x%d, ", i), 9), i)
	}
	f := func(place, doc string, sets ...string) {
		t.Helper()
		var any struct {
			X0 any `yaml:"x0"`
		}
		_, err := Parse("t.yaml", []byte(doc), sets...)
		for _, err := range []error{err, Decode("t.yaml", []byte(doc), &any, nil, sets...)} {
			if err == nil || !strings.Contains(err.Error(), "anchors, aliases, tags and merges are not read") || !strings.Contains(err.Error(), place) {
				t.Errorf("%.40q with %q: %v", doc, sets, err)
			}
		}
	}
	f("1:5", bomb+minimal)
	f("", bomb+minimal, "seed=3")
	f("", "--- 1\n---\n"+bomb)
	f("5:5", minimal+"b: {<<: {a: 1}}\n")
	var any map[string]any
	if err := Decode("t.yaml", []byte("a: 1\n"), &any, nil, "b=[&x 1, *x]"); err == nil || !strings.Contains(err.Error(), "--set b=") {
		t.Errorf("laid over: %v", err)
	}
}

// TestDeep: what is nested deeper than anybody writes is refused before the parser, which takes the square of it, sees it.
func TestDeep(t *testing.T) {
	deep := strings.Repeat("[", 100_000)
	f := func(want, doc string, sets ...string) {
		t.Helper()
		if _, err := Parse("t.yaml", []byte(doc), sets...); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("with %.20q: %.200v; want %q", sets, err, want)
		}
	}
	f("t.yaml:1:71: it is nested deeper than 64", "about: "+deep)
	f("--set about=", minimal, "about="+deep)
}

func TestSet(t *testing.T) {
	s, err := Parse("t.yaml", []byte(minimal), "customers.sockets=77", "talk.rate=9/s", "gates[0]=p99 < 5ms", "actions[0].at=2s", "actions[0].run=echo a=b")
	if err != nil {
		t.Fatal(err)
	}
	if s.Customers.Sockets != 77 || s.Talk.Rate.Value != 9 || len(s.Checked()) != 1 || s.Checked()[0].Metric != "answer.p99" || s.Actions[0].Run != "echo a=b" {
		t.Errorf("%+v", s)
	}
	f := func(set, want string) {
		t.Helper()
		if _, err := Parse("t.yaml", []byte(minimal), set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", set, err, want)
		}
	}
	f("customers.sockets", "key=value")
	f("customers.socket=3", "--set customers.socket=3: ")
	f("customers.sockets=many", "--set customers.sockets=many")
	f("customers.sockets.more=3", "nothing below")
	f("gates[3]=p99 < 1s", "0 entries")
	f("name[0]=x", "no list")
	f("gates[x]=1", "no field")
	f("steady=0", "with --set steady=0: steady: ")
	_, err = Parse("t.yaml", []byte(minimal+"actions: [{at: 1s, kill: true}, {at: 8s, kill: true}, {at: 9s, kill: true}]\n"), "steady=5s")
	if want := "actions[2].at: it is 9.00s, which is behind the steady time of 5.00s"; err == nil || strings.Count(err.Error(), "--set") != 1 || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("two mistakes: %v; want the sets once, and %q", err, want)
	}
}

func TestQuantity(t *testing.T) {
	f := func(text string, value float64, u Unit) {
		t.Helper()
		q, err := ParseQuantity(text)
		if err != nil || math.Abs(q.Value-value) > 1e-12 || q.Unit != u {
			t.Errorf("%q is %v %v, %v; want %v %v", text, q.Value, q.Unit, err, value, u)
		}
	}
	f("20ms", .02, Time)
	f("1h30m", 5400, Time)
	f("12KiB", 12288, Bytes)
	f("1.5 GiB", 1.5*(1<<30), Bytes)
	f("30%", .3, Share)
	f("120/min", 2, Rate)
	f("7", 7, None)
	f("1_000", 1000, None)
	for _, bad := range []string{"", "x", "5 apples", "KiB", "NaN", "1e999", "--5s"} {
		if q, err := ParseQuantity(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, q)
		}
	}
}

func TestGate(t *testing.T) {
	f := func(text string, v float64, want bool) {
		t.Helper()
		g, err := ParseGate(text)
		if err != nil {
			t.Fatal(err)
		}
		if g.Holds(v) != want {
			t.Errorf("%q with %v: %v", text, v, !want)
		}
	}
	f("p99 < 20ms", .0199, true)
	f("p99 < 20ms", .02, false)
	f("p99<=20ms", .02, true)
	f("lost == 0", 0, true)
	f("lost == 0", 1, false)
	f("lost != 0", 1, true)
	f("rss_per_conn < 12KiB", 12287, true)
	f("goodput >= 99.5%", .994, false)
	f("rate > 900/s", 901, true)
	f("ack.p99.9 < 1s", .5, true)
	f("p99 < 20ms", math.NaN(), false)
	f("lost == 0", math.NaN(), false)
	for _, bad := range []string{"p99", "p99 < 20", "p99 < 20KiB", "lost == 5ms", "nothing < 3", "ack.p42 < 1s", "lost =< 0", "p99 < ", "p99 ! 3s", "cpu < 30%"} {
		if g, err := ParseGate(bad); err == nil {
			t.Errorf("%q is taken: %+v", bad, g)
		}
	}
}

// between counts the arrivals of all lists in a span of the steady time.
func between(s *Scenario, processes int, from, to time.Duration, shop int) (n int) {
	for p := range processes {
		for i, list := range s.Segments(processes) {
			a := NewArrivals(list, s.Talk.Arrivals, rand.New(rand.NewPCG(uint64(p), uint64(i))))
			last := -s.Lead()
			for at, sh, ok := a.Next(); ok; at, sh, ok = a.Next() {
				if at < last || at > s.Steady.Duration() {
					panic("arrivals are not in order, or outside")
				}
				last = at
				if at >= from && at < to && sh == shop {
					n++
				}
			}
		}
	}
	return n
}

// near tells whether n is within five standard deviations of what a Poisson process gives.
func near(t *testing.T, what string, n int, want float64) {
	t.Helper()
	if math.Abs(float64(n)-want) > 5*math.Sqrt(want)+1 {
		t.Errorf("%s: %d arrivals; want about %.0f", what, n, want)
	}
}

func TestCurves(t *testing.T) {
	parse := func(talk string) *Scenario {
		t.Helper()
		s, err := Parse("t.yaml", []byte("name: t\nabout: x\nsteady: 240s\ncustomers: {sockets: 10, shops: 5}\ntalk: "+talk+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := parse("{rate: 100/s}")
	near(t, "flat", between(s, 1, 0, 240*time.Second, 0), 24_000)
	near(t, "four processes", between(s, 4, 0, 240*time.Second, 0), 24_000)
	near(t, "a second", between(s, 1, 100*time.Second, 101*time.Second, 0), 100)
	s = parse("{rate: 100/s, arrivals: even}")
	if n := between(s, 1, 0, 240*time.Second, 0); n != 24_000 {
		t.Errorf("even: %d", n)
	}
	s = parse("{rate: 10/s, curve: {steps: [{at: 60s, times: 10}, {at: 120s, times: 100}, {at: 180s, times: 0}]}}")
	near(t, "before", between(s, 1, 0, 60*time.Second, 0), 600)
	near(t, "times 10", between(s, 1, 60*time.Second, 120*time.Second, 0), 6_000)
	near(t, "times 100", between(s, 1, 120*time.Second, 180*time.Second, 0), 60_000)
	near(t, "times 0", between(s, 1, 180*time.Second, 240*time.Second, 0), 0)
	// A day of 240 s has hours of 10 s; midnight's pulse of 12 minutes is 2 s of 28 times the mean.
	s = parse("{rate: 50/s, curve: {day: [1,1,1,1,1,1,1,1,1,1,1,1,3,3,3,3,3,3,3,3,3,3,3,3], pulses: [{at: 0h, for: 12m, times: 28}, {at: 12h, for: 1h, times: 20, shop: 2}]}}")
	near(t, "midnight", between(s, 1, 0, 2*time.Second, 0), 2*50*28)
	near(t, "morning", between(s, 1, 20*time.Second, 120*time.Second, 0), 100*25)
	near(t, "evening", between(s, 1, 120*time.Second, 240*time.Second, 0), 120*75)
	near(t, "flash", between(s, 1, 120*time.Second, 130*time.Second, 2), 10*50*20/5)
	// Conversations of five messages arrive a fifth as often, and some have begun before.
	s = parse("{rate: 100/s, turns: {median: 5}, think: {median: 2s}, pace: 2}")
	near(t, "turns", between(s, 1, 0, 240*time.Second, 0), 24_000/5)
	if s.Lead() < 4*time.Second || between(s, 1, -s.Lead(), 0, 0) == 0 {
		t.Errorf("the lead is %v", s.Lead())
	}
	s = parse("{rate: 100/s, turns: {median: 5}, think: {median: 1s}, curve: {pulses: [{at: 0s, for: 10s, times: 28}]}}")
	near(t, "before a pulse", between(s, 1, -s.Lead(), 0, 0), s.Lead().Seconds()*100/5)
	near(t, "a pulse at the beginning", between(s, 1, 0, 10*time.Second, 0), 10*2800/5)
	if parse("{rate: 0}").Segments(1) != nil {
		t.Error("silence has segments")
	}
}

// TestSameSeed: a schedule depends on its seed alone.
func TestSameSeed(t *testing.T) {
	list := []Segment{{0, 10 * time.Second, 50, 0}}
	take := func(seed uint64) (all []time.Duration) {
		a := NewArrivals(list, Poisson, rand.New(rand.NewPCG(seed, 1)))
		for at, _, ok := a.Next(); ok; at, _, ok = a.Next() {
			all = append(all, at)
		}
		return all
	}
	if !slices.Equal(take(1), take(1)) || slices.Equal(take(1), take(2)) {
		t.Error("the seed does not decide the schedule")
	}
}

func TestDist(t *testing.T) {
	d := Dist{Median: Number(10), Sigma: .7, Max: Number(100)}
	if m := d.Quantile(.5); math.Abs(m-10) > 1e-9 {
		t.Errorf("the median is %v", m)
	}
	if d.Quantile(.9999) != 100 || d.Mean() < 11 || d.Mean() > 14 {
		t.Errorf("%v %v", d.Quantile(.9999), d.Mean())
	}
	for name := range profiles {
		d, last := Dist{Profile: name}, -1.0
		for p := .0005; p < 1; p += .01 {
			v := d.Quantile(p)
			if v < last {
				t.Errorf("%s falls at %v", name, p)
			}
			last = v
		}
	}
	if d := (Dist{Profile: "customer_think"}); d.Quantile(.5) != 19 || d.Quantile(.99) != 99 {
		t.Errorf("%v %v", d.Quantile(.5), d.Quantile(.99))
	}
}

func TestFormat(t *testing.T) {
	for _, c := range []struct {
		v    float64
		u    Unit
		want string
	}{
		{18181.81818181818, None, "18182"},
		{12000, None, "12000"},
		{1.0123456, None, "1.012"},
		{0.00001234567, None, "1.235e-05"},
		{0, None, "0"},
		{1 << 20, None, "1048576"},
		{0.0123456, Time, "12.35ms"},
		{1536, Bytes, "1.5KiB"},
		{0.5, Share, "50.00%"},
		{2009.24, Rate, "2009.2/s"},
	} {
		if got := Format(c.v, c.u); got != c.want {
			t.Errorf("%v: %q, want %q", c.v, got, c.want)
		}
	}
}

// TestByteOrderMark: what some editors begin a file with is no part of it.
func TestByteOrderMark(t *testing.T) {
	const doc = "\ufeffname: t\r\nabout: x\r\nsteady: 10s\r\ncustomers: {sockets: 10}\r\n"
	for _, sets := range [][]string{nil, {"customers.sockets=10"}} {
		if s, err := Parse("t.yaml", []byte(doc), sets...); err != nil || s.Name != "t" || s.Customers.Sockets != 10 {
			t.Errorf("with sets %q: %v", sets, err)
		}
	}
}
