package capacity

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"switchboard/loadtest/report"
)

// truth is a node that follows the model exactly.
var truth = Model{
	CPU: [5]float64{0.01, 4e-6, 60e-6, 0.25, 5e-6}, Knee: 400, Memory: [5]float64{40 << 20, 2500, 1500, 12_000, 20 << 20}, Awake: 50, Disk: [2]float64{2000, 900},
}

// answers are what a percentile is in truth: on an idle machine, of the queue before the processors, and of its square.
var answers = map[string][3]float64{"p50": {0.0008, 0.0004}, "p90": {0.001, 0.001}, "p95": {0.0012, 0.002}, "p99": {0.002, 0.003, 0.002}, "p999": {0.004, 0.02}}

func trueLatency(percentile string, used float64) float64 {
	a, q := answers[percentile], used/(1-used)
	return a[0] + a[1]*q + a[2]*q*q
}

// ran is a run on truth, on a machine with 2 processors, with relative noise.
func ran(name string, l Load, noise float64, rng *rand.Rand) Point {
	off := func() float64 { return 1 + noise*(2*rng.Float64()-1) }
	u := truth.Use(l)
	p := Point{Name: name, Cores: 2, Load: l, CPU: u.CPU * off(), Others: u.CPU * 0.7, Memory: u.Memory * off(), Disk: u.Disk * off(), Files: 20_000, Answer: map[string]float64{}}
	if l.Messages > 0 {
		for _, q := range Percentiles {
			p.Answer[q] = trueLatency(q, p.used()) * off()
		}
	}
	return p
}

// series is what Series makes, measured on truth.
func series(t testing.TB, noise float64) (points []Point, check Point) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same every time
	fitted, held := Series(6000, 8000)
	for _, s := range append(fitted, held) {
		r := point(t, s)
		points = append(points, ran(s.Name, r, noise, rng))
	}
	n := len(points) - 1
	return points[:n], points[n]
}

// point reads a step as a run would.
func point(t testing.TB, s Step) (l Load) {
	t.Helper()
	for _, set := range s.Sets {
		name, value, _ := strings.Cut(set, "=")
		var n float64
		if name != "customers.open" {
			if err := json.Unmarshal([]byte(strings.TrimSuffix(value, "/s")), &n); err != nil {
				t.Fatal(err)
			}
		}
		switch name {
		case "talk.rate":
			l.Messages = n
		case "customers.sockets":
			l.Sockets = n
		case "customers.open":
			if value == "true" {
				l.Sessions = l.Sockets
			}
		}
	}
	if l.Messages > 0 {
		l.Sessions = l.Sockets
	}
	return l
}

// TestFitRecovers: what follows the model is found again, also between and beyond the runs, and with noise about as well as the noise is.
func TestFitRecovers(t *testing.T) {
	f := func(noise, within float64) {
		t.Helper()
		points, check := series(t, noise)
		m, err := Fit(points)
		if err != nil {
			t.Fatal(err)
		}
		if e := m.Check(&check); math.Abs(e.CPU) > within || math.Abs(e.Memory) > within || math.Abs(e.Answer) > 2*within {
			t.Errorf("noise %v: the run that was held back is predicted with %+v", noise, e)
		}
		for _, l := range []Load{{4000, 4000, 2500, 0}, {8000, 8000, 7000, 0}, {500, 500, 400, 0}} {
			got, want := m.Use(l), truth.Use(l)
			if math.Abs(got.CPU/want.CPU-1) > 2*within || math.Abs(got.Memory/want.Memory-1) > 2*within {
				t.Errorf("noise %v, %+v: %+v; want %+v", noise, l, got, want)
			}
		}
		if m.Files != 20_000 || m.Most.Messages != 6000 {
			t.Errorf("%+v", m)
		}
	}
	f(0, 0.03)
	f(0.1, 0.15)
}

// TestPlan: more nodes where more is asked, and the resource that is short is named.
func TestPlan(t *testing.T) {
	points, _ := series(t, 0.05)
	m, err := Fit(points)
	if err != nil {
		t.Fatal(err)
	}
	f := func(l Load, n Node, g Goal, first string, low, high int) *Plan {
		t.Helper()
		p, err := m.Plan(l, n, g)
		if err != nil {
			t.Fatal(err)
		}
		if p.First != first || p.Nodes < low || p.Nodes > high || p.Low > p.Nodes || p.High != 0 && p.High < p.Nodes {
			t.Errorf("%+v on %+v: %d nodes (%d to %d), %s first; want %d to %d, %s", l, n, p.Nodes, p.Low, p.High, p.First, low, high, first)
		}
		return p
	}
	two := Node{Cores: 2}
	// 1.4 cores are 0.29 + 60 µs a message: some 17,500 a second.
	f(Load{1000, 1000, 50_000, 0}, two, Goal{Headroom: 0.3}, Processors, 3, 4)
	f(Load{1000, 1000, 500, 0}, two, Goal{Headroom: 0.3}, Processors, 1, 1)
	f(Load{300_000, 0, 100, 0}, Node{Cores: 2, Files: 20_000}, Goal{}, FilesOf, 16, 16)
	f(Load{300_000, 300_000, 100, 0}, Node{Cores: 2, Memory: 256 << 20}, Goal{Headroom: 0.2}, MemoryOf, 5, 9)
	f(Load{1000, 1000, 50_000, 0}, Node{Cores: 64, Disk: 10 << 20}, Goal{}, DiskOf, 5, 5)
	tight := f(Load{1000, 1000, 20_000, 0}, two, Goal{Percentile: "p99", Seconds: 0.004, Headroom: 0.1}, Latency, 5, 9)
	if tight.Expected == nil || *tight.Expected > 0.004 {
		t.Errorf("expected %v", tight.Expected)
	}
	spare := f(Load{1000, 1000, 50_000, 0}, two, Goal{Headroom: 0.3, Spare: 2}, Processors, 5, 6)
	if spare.Lost.Messages <= spare.Each.Messages {
		t.Errorf("%+v", spare)
	}
	if p := f(Load{1000, 1000, 17_000, 0}, two, Goal{Headroom: 0.3}, Processors, 1, 1); len(p.Beyond) == 0 || p.High < 3 {
		t.Errorf("17,000 a second on one node were never measured: %+v", p)
	}
	bad := func(l Load, n Node, g Goal) {
		t.Helper()
		if p, err := m.Plan(l, n, g); err == nil {
			t.Errorf("%+v on %+v for %+v is planned: %+v", l, n, g, p)
		}
	}
	bad(Load{}, Node{}, Goal{})
	bad(Load{Messages: -1}, two, Goal{})
	bad(Load{}, two, Goal{Headroom: 1})
	bad(Load{}, two, Goal{Spare: -1})
	bad(Load{}, two, Goal{Percentile: "p42", Seconds: 1})
	bad(Load{Messages: 10}, two, Goal{Percentile: "p99", Seconds: 1e-6})
	bad(Load{Messages: 10}, Node{Cores: 2, Memory: 1 << 20}, Goal{})
	bad(Load{Messages: 10, Tokens: 10}, two, Goal{}) // nobody streamed in those runs
}

// TestPlanSaysWhyNot: what cannot be reached is told from what takes too many nodes, and the resource is named.
func TestPlanSaysWhyNot(t *testing.T) {
	points, _ := series(t, 0.05)
	m, err := Fit(points)
	if err != nil {
		t.Fatal(err)
	}
	f := func(want string, l Load, n Node, g Goal) {
		t.Helper()
		if p, err := m.Plan(l, n, g); !errors.Is(err, ErrNever) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %q", p, err, want)
		}
	}
	f("more than 100000", Load{Sockets: 1e12}, Node{Cores: 2, Files: 20_000}, Goal{})
	f("more files", Load{Sockets: 10}, Node{Cores: 2, Files: 100}, Goal{})
	f("more memory", Load{Sockets: 10}, Node{Cores: 2, Memory: 1 << 20}, Goal{})
	f("more processors", Load{Sockets: 10}, Node{Cores: 1e-4}, Goal{})
	f("the lowest p99 of the runs is 2.49 ms, with 12 % of the processors used", Load{Messages: 10}, Node{Cores: 2}, Goal{Percentile: "p99", Seconds: 1e-6})
	f("more of its processors than the", Load{Messages: 10}, Node{Cores: 1e-4}, Goal{Percentile: "p99", Seconds: 1}) // what the runs took is fast enough
	for i := range points {
		points[i].Refused = true // they had answers, but not to everything
	}
	if m, err = Fit(points); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Plan(Load{Messages: 10}, Node{Cores: 2}, Goal{Percentile: "p99", Seconds: 1}); err == nil || !strings.Contains(err.Error(), "nothing was refused or left open") {
		t.Errorf("all runs refused something: %v", err)
	}
}

// TestMessagesForNothing: where the runs were too slow to tell what one more message takes, they are not for nothing: beyond the runs each takes what
// those did on average, and the answer says so.
func TestMessagesForNothing(t *testing.T) {
	points, _ := series(t, 0)
	for i := range points {
		if points[i].Messages > 4000 {
			points[i].CPU /= 4 // others had the machine
		}
	}
	m, err := Fit(points)
	if err != nil {
		t.Fatal(err)
	}
	if m.CPU[2] != 0 {
		t.Fatalf("a message takes %v of a core", m.CPU[2])
	}
	at, far := m.Use(Load{1000, 1000, 6000, 0}).CPU, m.Use(Load{1000, 1000, 60_000, 0}).CPU
	if far < 8*at {
		t.Errorf("ten times as many messages take %.3f cores, and not %.3f", far, at)
	}
	p, err := m.Plan(Load{1000, 1000, 1e6, 0}, Node{Cores: 2}, Goal{Headroom: 0.3})
	if err != nil || p.Nodes < 10 || p.First != Processors || !strings.Contains(strings.Join(p.Beyond, ";"), "what one more message takes") {
		t.Errorf("a million a second, of 6,000 that were measured: %+v, %v", p, err)
	}
}

// TestMoreIsMore: whatever the load, more of it never takes fewer nodes.
func TestMoreIsMore(t *testing.T) {
	points, _ := series(t, 0.2)
	m, err := Fit(points)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same every time
	for range 300 {
		l := Load{rng.Float64() * 1e5, rng.Float64() * 1e5, rng.Float64() * 1e5, 0}
		node, goal := Node{Cores: 1 + 8*rng.Float64(), Memory: 1 << 30, Files: 20_000}, Goal{Percentile: "p99", Seconds: 0.2, Headroom: 0.2}
		a, errA := m.Plan(l, node, goal)
		b, errB := m.Plan(l.times(1.5), node, goal)
		if errA != nil || errB != nil || b.Nodes < a.Nodes || a.Nodes < 1 {
			t.Fatalf("%+v: %+v %v, and of half as much again %+v %v", l, a, errA, b, errB)
		}
	}
}

func TestFitRefuses(t *testing.T) {
	points, _ := series(t, 0)
	f := func(p []Point, want string) {
		t.Helper()
		if _, err := Fit(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	f(nil, "too few")
	f(points[:3], "too few")
	same := []Point{points[4], points[4], points[4], points[4]}
	f(same, "same rate")
	broken := append([]Point(nil), points...)
	broken[4].CPU = 0
	f(broken, broken[4].Name)
	idle := append([]Point(nil), points...)
	for i := range idle {
		if idle[i].Messages == 0 {
			idle[i].CPU = 0 // less than a tick of the clock
		}
	}
	if _, err := Fit(idle); err != nil {
		t.Error(err)
	}
}

// TestLeast: weights are never below zero, and columns that say the same are no trouble.
func TestLeast(t *testing.T) {
	x := least([][]float64{{1, 1}, {1, 2}, {1, 3}}, []float64{5, 4, 3}) // it falls
	if x[0] <= 0 || x[1] != 0 {
		t.Errorf("%v", x)
	}
	x = least([][]float64{{1, 1}, {2, 2}}, []float64{3, 6})
	if math.Abs(x[0]+x[1]-3) > 1e-9 {
		t.Errorf("%v", x)
	}
	if x = least([][]float64{{0}, {0}}, []float64{1, 2}); x[0] != 0 {
		t.Errorf("%v", x)
	}
}

// TestOf: a run becomes a point; one whose mean says nothing does not.
func TestOf(t *testing.T) {
	doc := "name: x\nabout: y\nsteady: 10s\ncustomers: {sockets: 10}\ntalk: {rate: 5/s}\n"
	r := &report.Result{
		Document: doc, Steady: 10, Machine: "linux/amd64, go1.26.8, 2 CPUs",
		Figures:   map[string]float64{"rss": 1e8, "cpu": 0.5, "gen_cpu": 0.25, "machine_cpu": 1.1, "sockets": 10, "due": 50, "tokens": 20},
		Latencies: map[string]report.Latency{"answer": {P99: 0.01, P50: 0.002}},
		Series: []report.Point{
			{At: -1, Values: map[string]float64{"sessions": 99}},
			{At: 1, Values: map[string]float64{"sessions": 8, "journal_bytes": 100, "max_fds": 20_000}},
			{At: 2, Values: map[string]float64{"sessions": 10, "journal_bytes": 300, "max_fds": 20_000}},
			{At: 11, Values: map[string]float64{"sessions": 99}},
		},
	}
	p, err := Of("r.json", r)
	if err != nil || p.Cores != 2 || p.Load != (Load{10, 9, 5, 2}) || p.Disk != 200 || p.Files != 20_000 || p.Answer["p99"] != 0.01 || math.Abs(p.Others-0.6) > 1e-9 || p.Refused {
		t.Errorf("%+v, %v", p, err)
	}
	f := func(change func(*report.Result), want string) {
		t.Helper()
		c := *r
		change(&c)
		if _, err := Of("r.json", &c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	f(func(c *report.Result) { c.Document = doc + "actions: [{at: 1s, drop: 10%}]\n" }, "actions")
	f(func(c *report.Result) { c.Sets = []string{"talk.curve.steps=[{at: 1s, times: 3}]"} }, "curve")
	f(func(c *report.Result) { c.Figures = map[string]float64{"cpu": 1} }, "/metrics")
	f(func(c *report.Result) { c.Machine = "somewhere" }, "processors")
	f(func(c *report.Result) { c.Document = "{" }, "scenario")
	f(func(c *report.Result) { c.Partial = true }, "did not come to its end")
}

// TestShipped: the shipped runs are a model, and the one that was held back agrees with it.
func TestShipped(t *testing.T) {
	points, check := Shipped()
	m, err := Fit(points)
	if err != nil {
		t.Fatal(err)
	}
	e := m.Check(&check)
	t.Logf("the shipped run %s is predicted with %+v; each from the others within %+v", check.Name, e, m.Worst)
	if math.Abs(e.CPU) > 0.35 || math.Abs(e.Memory) > 0.35 || !(math.Abs(e.Answer) < 0.15) {
		t.Errorf("the run that was held back is predicted with %+v", e)
	}
	if last := &points[len(points)-1]; m.Latency("p99", last.used()) < last.Answer["p99"]/3 {
		t.Errorf("where %.0f %% of the processors are used p99 is %.3f s, and predicted %.3f", last.used()*100, last.Answer["p99"], m.Latency("p99", last.used()))
	}
	if at, far := m.Use(m.Most).CPU, m.Use(m.Most.times(10)).CPU; far < 5*at {
		t.Errorf("ten times the most that was measured takes %.3f cores, and that %.3f", far, at)
	}
}

// TestLeftOut: each of the shipped runs, left out, lies in the range that the others give for every percentile; what is beyond them has no number and no upper end.
func TestLeftOut(t *testing.T) {
	points, check := Shipped()
	all := append(slices.Clone(points), check)
	for i := range all {
		p := &all[i]
		if p.Messages == 0 {
			continue
		}
		m, err := Fit(slices.Concat(all[:i], all[i+1:]))
		if err != nil {
			t.Fatal(err)
		}
		used, further := m.usedIn(p), p.Messages > m.Most.Messages
		for _, q := range Percentiles {
			v := m.Latency(q, used)
			low, high := m.Range(q, used, used) // with no allowance for processor time
			t.Logf("%-10s %-4s %7.2f ms, predicted %7.2f (%.2f to %.2f)", p.Name, q, p.Answer[q]*1000, v*1000, low*1000, high*1000)
			if !(low <= p.Answer[q] && p.Answer[q] <= high) || math.IsNaN(v) != further || math.IsInf(high, 1) != further || v < low || v > high {
				t.Errorf("%s: %s is %v s, and predicted %v, %v to %v", p.Name, q, p.Answer[q], v, low, high)
			}
		}
		if low, high := m.Around(p); !(low <= p.Answer["p99"] && p.Answer["p99"] <= high) {
			t.Errorf("%s: p99 is %v s, and %v to %v is said", p.Name, p.Answer["p99"], low, high)
		}
		if e := m.Check(p); math.IsNaN(e.Answer) != further || math.Abs(e.Answer) > 0.5 {
			t.Errorf("%s: p99 is predicted with %v", p.Name, e.Answer)
		}
	}
}

// TestCurve: what was measured is what is said there, between two it is a power of what is free, and it never falls.
func TestCurve(t *testing.T) {
	run := func(used, seconds float64) Point {
		return Point{Cores: 2, CPU: used * 2, Answer: map[string]float64{"p99": seconds}}
	}
	used := func(p *Point) float64 { return p.used() }
	f := func(c Curve, used, want float64) {
		t.Helper()
		if got := c.at(used); !(math.Abs(got/want-1) < 1e-9) && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("at %v it is %v; want %v", used, got, want)
		}
	}
	refused, full := run(0.6, 9), run(0.98, 9)
	refused.Refused = true
	c := curve([]Point{run(0.75, 0.008), refused, run(0, 0.001), full, run(0.5, 0.002)}, "p99", used)
	f(c, 0, 0.001)
	f(c, 1-1/math.Sqrt2, 0.001*math.Sqrt2)
	f(c, 0.5, 0.002)
	f(c, 1-math.Pow(2, -1.5), 0.004)
	f(c, 0.75, 0.008)
	f(c, 0.751, math.NaN())
	if low, high := c.low(0.6, 1.1), c.high(0.6, 1.1); low != 0.002 || high != 0.008 {
		t.Errorf("%v to %v", low, high)
	}
	if low, high := c.low(0.5, 2), c.high(0.5, 2); math.Abs(low-0.001) > 1e-9 || math.Abs(high-0.004) > 1e-9 {
		t.Errorf("%v to %v at a knot", low, high)
	}
	if low, high := c.low(0.8, 2), c.high(0.8, 2); low != 0.008 || !math.IsInf(high, 1) {
		t.Errorf("%v to %v beyond", low, high)
	}
	c = curve([]Point{run(0.1, 0.004), run(0.3, 0.001), run(0.5, 0.016), run(0.5, 0.001)}, "p99", used) // noise
	f(c, 0.2, 0.002)
	f(c, 0.1, 0.002)
	f(c, 0.5, 0.004)
	f(curve(nil, "p99", used), 0.1, math.NaN())
}

// TestPlanKnowsItsEnd: no node is planned for more use of its processors than was measured with a latency, however late an answer may be, and the plan says so; the
// range of what is expected has an end only where runs say it.
func TestPlanKnowsItsEnd(t *testing.T) {
	points, _ := Shipped()
	m, err := Fit(points)
	if err != nil {
		t.Fatal(err)
	}
	l := Load{Sockets: 1000, Sessions: 1000, Messages: 60_000}
	p, err := m.Plan(l, Node{Cores: 2}, Goal{Percentile: "p99", Seconds: 60})
	if err != nil || m.used(p.Lost, Node{Cores: 2}, expected) > 0.95 || p.Expected == nil || math.IsNaN(*p.Expected) || p.ExpectedHigh != nil || !strings.Contains(strings.Join(p.Beyond, ";"), "p99 is not known where more than") {
		t.Errorf("%+v, %v", p, err)
	}
	l.Messages = 2000
	p, err = m.Plan(l, Node{Cores: 2}, Goal{Percentile: "p99", Seconds: 0.05, Headroom: 0.3})
	if err != nil || p.ExpectedHigh == nil || !(*p.ExpectedLow <= *p.Expected && *p.Expected <= *p.ExpectedHigh) || p.High == 0 {
		t.Errorf("%+v, %v", p, err)
	}
	// As it was measured, with a load generator on the same processors, and not better.
	for _, q := range points {
		if q.Messages == 0 {
			continue
		}
		p, err := m.Plan(q.Load, Node{Cores: 2}, Goal{Percentile: "p99", Seconds: 0.6})
		if err != nil || p.Nodes == 1 && !(*p.Expected > q.Answer["p99"]*0.6 && *p.ExpectedLow < q.Answer["p99"]) || (p.Nodes == 1) != (q.Answer["p99"] < 0.6) {
			t.Errorf("%s: %+v, %v; p99 was %v s", q.Name, p, err, q.Answer["p99"])
		}
	}
	// What only the expected end of the range reaches.
	p, err = m.Plan(l, Node{Cores: 2}, Goal{Percentile: "p99", Seconds: points[3].Answer["p99"] * 1.05})
	if err != nil || p.High != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}
