package swarm

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"switchboard/loadtest/ledger"
	"switchboard/loadtest/scenario"
)

// TestRateIsOfTheSteadyTime: what was answered only behind the steady time counts as answered, and not in the rate; processor time is that of the
// time over which it was counted.
func TestRateIsOfTheSteadyTime(t *testing.T) {
	sc, err := scenario.Parse("t", []byte("name: x\nabout: y\nsteady: 10s\ncustomers: {sockets: 5}\ntalk: {rate: 10/s}\nworkers: {bots: {count: 1}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := &running{
		Swarm: &Swarm{Scenario: sc, Addr: "127.0.0.1:1"}, latest: []sample{{Counts: counts{Due: 100, Acked: 100, Answered: 100}, CPU: 9}},
		atEnd: counts{Due: 100, Acked: 90, Answered: 40}, cpuZero: 2, cpuEnd: 7.5, steadyAt: [2]int64{1e9, 12e9},
	}
	f := r.result().Figures
	if f["rate"] != 4 || f["goodput"] != 1 || math.Abs(f["gen_cpu"]-0.5) > 1e-9 {
		t.Errorf("rate %v, goodput %v, %v cores; want 4, 1 and 0.5", f["rate"], f["goodput"], f["gen_cpu"])
	}
}

// TestTokensAreShownOrLost: in the end what was told and not shown is lost, whether its stream has ended or not; until then it may be under way.
func TestTokensAreShownOrLost(t *testing.T) {
	sc, err := scenario.Parse("t", []byte("name: x\nabout: y\nsteady: 10s\ncustomers: {sockets: 5}\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := func(want float64, processes, ended int, told, shown, lost int64) {
		t.Helper()
		r := &running{
			Swarm: &Swarm{Scenario: sc, Addr: "127.0.0.1:1"}, processes: processes, findings: make([]finding, ended),
			latest: []sample{{Counts: counts{TokensTold: told}}, {Counts: counts{Tokens: shown, TokensLost: lost}}},
		}
		if got := r.result().Figures["tokens_lost"]; got != want {
			t.Errorf("%d told, %d shown, %d lost of streams that ended, %d of %d processes over: %v lost; want %v", told, shown, lost, ended, processes, got, want)
		}
	}
	f(0, 2, 2, 10, 10, 0)
	f(3, 2, 2, 10, 7, 1)
	f(1, 2, 1, 10, 7, 1)
	f(1, 2, 2, 10, 10, 1) // it came behind the end of its stream
}

// TestFiguresCanBeGated: what a run tells can be asked for.
func TestFiguresCanBeGated(t *testing.T) {
	sc, err := scenario.Parse("t", []byte("name: x\nabout: y\nsteady: 10s\ncustomers: {sockets: 5}\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Swarm: &Swarm{Scenario: sc, Addr: "127.0.0.1:1"}}
	for name := range r.result().Figures {
		if _, ok := scenario.UnitOf(name); !ok {
			t.Errorf("no gate can ask for %s", name)
		}
	}
}

// TestPointNamesTheError: whoever watches is told why connections cannot be made, as long as they cannot.
func TestPointNamesTheError(t *testing.T) {
	var told []string
	r := &running{
		Swarm: &Swarm{Progress: func(p Progress) { told = append(told, p.Err) }}, timeline: newTimeline(),
		latest: []sample{{Counts: counts{Errors: 3}, Err: "connection refused"}},
	}
	for range 2 {
		r.point(t.Context())
	}
	if len(told) != 2 || told[0] != "connection refused" || told[1] != "" {
		t.Errorf("told %q", told)
	}
}

// TestPointsHaveTheirTime: what is told twice at the same moment, as the end of the ramp is, is one point, and counts in the next: a rate over some milliseconds says
// nothing.
func TestPointsHaveTheirTime(t *testing.T) {
	r := &running{Swarm: &Swarm{Progress: func(Progress) {}}, timeline: newTimeline(), latest: []sample{{}}, phase: "stop", zero: 1}
	for _, ms := range []int64{1000, 2000, 2010, 3000} {
		r.latest[0].At = ms * 1e6
		r.latest[0].Counts.Due = ms
		r.latest[0].CPU = float64(ms/20*20) / 1000 // it ticks
		r.point(t.Context())
	}
	if len(r.series) != 3 {
		t.Fatalf("%d points: %+v", len(r.series), r.series)
	}
	for _, p := range r.series[1:] {
		if v := p.Values; math.Abs(v["due"]-1000) > 1 || math.Abs(v["gen_cpu"]-1) > 0.01 {
			t.Errorf("at %v: %v a second, %v cores", p.At, v["due"], v["gen_cpu"])
		}
	}
}

// TestCountedIsTold: what was refused, and what did not hold, behind the last sample of a process is in the figures as it is in the lists, and no gate holds beside the evidence.
func TestCountedIsTold(t *testing.T) {
	sc, err := scenario.Parse("t", []byte("name: x\nabout: y\nsteady: 10s\ncustomers: {sockets: 5}\ngates: [lost == 0, refused <= 5]\n"))
	if err != nil {
		t.Fatal(err)
	}
	m := newMeters()
	m.refuse("overloaded")
	s, err := m.sample(1)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		m.refuse("draining")
	}
	m.found([]ledger.Fault{{Kind: ledger.Lost}}, 3)
	done := m.finding()
	r := &running{Swarm: &Swarm{Scenario: sc, Addr: "127.0.0.1:1"}, processes: 1, latest: []sample{s}, over: []bool{false}}
	if err := r.hear(t.Context(), news{Done: &done}); err != nil {
		t.Fatal(err)
	}
	res := r.result()
	if f := res.Figures; f["refused"] != 6 || f["lost"] != 3 || res.Refused["draining"] != 5 || len(res.Faults) != 1 || res.Gates[0].Holds || res.Gates[1].Holds {
		t.Errorf("%v refused, %v lost, %v, %v; %+v", f["refused"], f["lost"], res.Refused, res.Faults, res.Gates)
	}
}

// TestLastPointCountsNobodyGone: when a process has told all that it will its sockets are closed, and what the node still counts of them says nothing.
func TestLastPointCountsNobodyGone(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("process_resident_memory_bytes 9\nswitchboard_connections 3\n"))
	}))
	defer node.Close()
	at, err := newWatch(strings.TrimPrefix(node.URL, "http://"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Swarm: &Swarm{Progress: func(Progress) {}}, timeline: newTimeline(), nodes: watches{at}, latest: make([]sample, 2), phase: "stop", zero: 1}
	for i, last := range []bool{false, true} {
		r.latest[0] = sample{At: int64(i+1) * 1e9, Last: last}
		r.latest[1] = sample{At: int64(i+1) * 1e9}
		r.point(t.Context())
		if _, told := r.series[i].Values["connections"]; told == last || r.series[i].Values["rss"] != 9 {
			t.Errorf("last %t: %v", last, r.series[i].Values)
		}
	}
}

// TestWarnsOfFewSockets: a gate on the memory of each of a few sockets is one on the heap of a node that has just begun, which is said.
func TestWarnsOfFewSockets(t *testing.T) {
	f := func(sockets int, gate string, want bool) {
		t.Helper()
		sc, err := scenario.Parse("t", fmt.Appendf(nil, "name: x\nabout: y\nsteady: 10s\ncustomers: {sockets: %d}\ngates: [%s]\n", sockets, gate))
		if err != nil {
			t.Fatal(err)
		}
		r := &running{Swarm: &Swarm{Scenario: sc, Addr: "127.0.0.1:1"}}
		if said := strings.Join(r.result().Warnings, "\n"); strings.Contains(said, "mostly the node's heap growing") != want {
			t.Errorf("%d sockets, %s: %q", sockets, gate, said)
		}
	}
	f(300, "rss_per_conn < 12KiB", true)
	f(300, "settled_per_conn < 4KiB", true)
	f(300, "rss < 1GiB", false)
	f(8000, "rss_per_conn < 12KiB", false)
}
