package loadtest

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/loadtest/scenario"
)

// TestShipped: every shipped scenario can be read, has the name of its file, and a gate on a latency beside its others.
func TestShipped(t *testing.T) {
	names := Names()
	for _, want := range []string{"idle", "chat", "saleday", "surge", "handoff", "llm", "storm", "slow", "soak", "connect", "rebalance", "kill", "upgrade", "reroute", "capacity"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not shipped", want)
		}
	}
	for _, name := range names {
		doc, ok := Read(name)
		if !ok {
			t.Fatalf("%s cannot be read", name)
		}
		s, err := scenario.Parse(name+".yaml", doc)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.Name != name || len(s.Checked()) == 0 {
			t.Errorf("%s calls itself %q, and has %d gates", name, s.Name, len(s.Checked()))
		}
		if !slices.ContainsFunc(s.Checked(), func(g scenario.Gate) bool {
			u, _ := scenario.UnitOf(g.Metric)
			return u == scenario.Time && strings.HasPrefix(g.Op, "<")
		}) {
			t.Errorf("%s has no gate on a latency", name)
		}
	}
	if _, ok := Read("nothing"); ok {
		t.Error("there is a scenario nothing")
	}
}

// TestMidnight: the messages at saleday's midnight are as many times the mean as it says, and not only the conversations that begin then.
func TestMidnight(t *testing.T) {
	doc, _ := Read("saleday")
	s, err := scenario.Parse("saleday.yaml", doc)
	if err != nil {
		t.Fatal(err)
	}
	talk, p := &s.Talk, s.Talk.Curve.Pulses[0]
	scale := s.Steady.Value / (24 * 3600)
	from := time.Duration(p.At.Value * scale * float64(time.Second))
	to := from + time.Duration(p.For.Value*scale*float64(time.Second))
	rng := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // the same every time
	said := 0
	arrivals := scenario.NewArrivals(s.Segments(1)[0], talk.Arrivals, rng)
	for at, _, ok := arrivals.Next(); ok; at, _, ok = arrivals.Next() {
		for turns := int(talk.Turns.Quantile(rng.Float64()) + .5); turns > 0; turns-- {
			if at >= from && at < to {
				said++
			}
			at += time.Duration(talk.Think.Quantile(rng.Float64()) / talk.Pace * float64(time.Second))
		}
	}
	if times := float64(said) / (to - from).Seconds() / talk.Rate.Value; times < 0.85*p.Times {
		t.Errorf("midnight has %.1f times the mean, and should have %v", times, p.Times)
	}
}
