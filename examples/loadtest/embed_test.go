package loadtest

import (
	"slices"
	"strings"
	"testing"

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
