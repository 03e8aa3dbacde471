package main

import (
	"strings"
	"testing"
)

func TestRatioPairsNeighbours(t *testing.T) {
	ours := &Row{Name: "a", Rounds: []Round{{Round: 1, PerSecond: 200}, {Round: 2, PerSecond: 100}, {Round: 3, PerSecond: 900}}}
	theirs := &Row{Name: "b", Rounds: []Round{{Round: 1, PerSecond: 100}, {Round: 2, PerSecond: 100}, {Round: 3, PerSecond: 100, Fault: "fell over"}}}
	s, ok := ratio(ours, theirs, 0, perSecond)
	if !ok || s != (span{1, 1.5, 2}) {
		t.Errorf("ratio is %v, %v; want 1 / 1.5 / 2, without the round that failed", s, ok)
	}
	if _, ok := ratio(ours, theirs, 1000, perSecond); ok {
		t.Error("there is a ratio of a rate that nobody ran")
	}
}

func TestPrintTellsWhatFailedAndWhatIsMissing(t *testing.T) {
	r := &Report{Rates: []float64{0, 1000}, Missing: []Missing{{"quorum", "rabbitmq-server", "apt-get install rabbitmq-server"}}, Rows: []*Row{
		{Name: "a", Rounds: []Round{{Round: 1, PerSecond: 10}, {Round: 1, Rate: 1000, PerSecond: 1000, P99: 3}}},
		{Name: "b", Rounds: []Round{{Round: 1, Fault: "fell over"}, {Round: 1, Rate: 1000, PerSecond: 1000, P99: 6}}},
	}}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"no figure", "fell over", "apt-get install rabbitmq-server", "p99 0.50 (0.50 to 0.50)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestParseRates(t *testing.T) {
	got, err := parseRates("max,1000,2.5")
	if err != nil || len(got) != 3 || got[0] != 0 || got[1] != 1000 || got[2] != 2.5 {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "0", "-1", "fast", "max,"} {
		if _, err := parseRates(s); err == nil {
			t.Errorf("%q passes", s)
		}
	}
}
