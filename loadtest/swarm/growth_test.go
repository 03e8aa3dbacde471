package swarm

import (
	"math"
	"testing"

	"switchboard/loadtest/report"
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
