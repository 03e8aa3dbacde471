package swarm

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"switchboard/examples/loadtest"
	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
)

func TestGrowth(t *testing.T) {
	f := func(want float64, rss func(at float64) float64) {
		t.Helper()
		var series []report.Point
		for at := -5.0; at <= 110; at++ {
			series = append(series, report.Point{At: at, Values: map[string]float64{"rss": rss(at)}})
		}
		got, ok := growth(series, 100)
		if math.IsNaN(want) {
			if ok {
				t.Errorf("it grew by %v", got)
			}
			return
		}
		if !ok || math.Abs(got-want) > 0.02 {
			t.Errorf("it grew by %v, %v; want %v", got, ok, want)
		}
	}
	f(0, func(float64) float64 { return 1e8 })
	f(0, func(at float64) float64 { return 1e8 * (1 + min(max(at, 0), 20)/20) }) // it fills, and is full
	f(1.0/3, func(at float64) float64 { return 1e6 * (113 + at) })
	f(math.NaN(), func(float64) float64 { return 0 })
}

// TestSoakFindsALeak judges hours of the shipped soak as they would be seen: what lives becomes 40 MB in the first minutes and varies by
// some; garbage comes and goes up to 128 MiB; the store's tables fill for twenty minutes and are written out; nobody's fault. The same with
// a leak of a KiB for each conversation, in the heap, must not pass, and neither must one outside of it.
func TestSoakFindsALeak(t *testing.T) {
	doc, ok := loadtest.Read("soak")
	if !ok {
		t.Fatal("soak is not shipped")
	}
	f := func(steady string, heap, outside float64, fails ...string) {
		t.Helper()
		sc, err := scenario.Parse("soak.yaml", doc, "steady="+steady)
		if err != nil {
			t.Fatal(err)
		}
		r, rng := &running{Swarm: &Swarm{Scenario: sc}}, rand.New(rand.NewPCG(1, 2))
		rate, turns := sc.Talk.Rate.Value, sc.Talk.Turns.Mean()
		peak := 0.0
		for at := 0.0; at <= sc.Steady.Value; at++ {
			talks := at * rate / turns
			live := 40e6*min(0.5+at/840, 1) + 3e6*(2*rng.Float64()-1) + heap*talks
			rss := live + 33e6 + 134e6*rng.Float64() + 100e6*min(at/1200, 1) + outside*talks
			peak = max(peak, rss)
			r.series = append(r.series, report.Point{At: at, Values: map[string]float64{"live": live, "rss": rss, "acked": rate}})
		}
		res := &report.Result{Figures: map[string]float64{"rss": peak}}
		r.grew(res.Figures)
		var gates []scenario.Gate
		for _, g := range sc.Checked() {
			if slices.Contains([]string{"rss", "live_per_talk"}, g.Metric) {
				gates = append(gates, g)
			}
		}
		res.Judge(gates)
		var failed []string
		for _, g := range res.Gates[:len(gates)] {
			if !g.Holds {
				failed = append(failed, g.Text)
			}
		}
		if !slices.Equal(failed, fails) || len(gates) != 2 {
			t.Errorf("%s, leaks of %v and %v bytes: %v do not hold; want %v; %v", steady, heap, outside, failed, fails, res.Figures)
		}
	}
	const leak, size = "live_per_talk < 512B", "rss < 1GiB"
	f("1h", 0, 0)
	f("1h", 1<<10, 0, leak)
	f("30m", 0, 0)
	f("30m", 1<<10, 0, leak)
	f("8h", 0, 0)
	f("8h", 0, 1<<10, size) // a night finds what an hour does not
	f("8h", 1<<10, 0, leak, size)
}

// TestMemoryOfASecondRun: what a run before it left in this process is not there when a run begins, and does not hide what its sockets take.
func TestMemoryOfASecondRun(t *testing.T) {
	before := make([]byte, 256<<20)
	for i := 0; i < len(before); i += 4096 {
		before[i] = 1
	}
	full, _ := usage()
	runtime.KeepAlive(before)
	r := against(t, "name: idle\nabout: y\nramp: 10ms\nsteady: 100ms\nstop: 0s\ncustomers: {sockets: 300}\n")
	if most := r.Figures["gen_rss"]; most > float64(full-int64(len(before)/2)) {
		t.Errorf("a run of 300 sockets takes %v bytes, in a process that had %d with the 256 MiB before it", most, full)
	}
}
