package swarm

import (
	"math"

	"switchboard/loadtest/report"
)

// grew enters by how much the node has grown. A leak is what its live heap grows by, and goes on growing by, for each conversation;
// resident memory says less, as it is also garbage and what the store fills once.
func (r *running) grew(f map[string]float64) {
	sc := r.Scenario
	if g, ok := growth(r.series, sc.Steady.Value); ok {
		f["rss_growth"] = g
	}
	if v, ok := r.last("live"); ok {
		f["live"] = v
	}
	if turns := max(sc.Talk.Turns.Mean(), 1); sc.Talk.Rate.Value > 0 {
		if g, ok := perTalk(r.series, sc.Steady.Value, turns); ok {
			f["live_per_talk"] = g
		}
	}
}

// last is the last value of the steady time.
func (r *running) last(key string) (v float64, ok bool) {
	for i := range r.series {
		if p := &r.series[i]; p.At <= r.Scenario.Steady.Value {
			if x, has := p.Values[key]; has {
				v, ok = x, true
			}
		}
	}
	return v, ok
}

// mean is the mean of a value over a part of the steady time; no number when it was not seen.
func mean(series []report.Point, key string, from, to float64) float64 {
	sum, n := 0.0, 0.0
	for i := range series {
		if at, v := series[i].At, series[i].Values[key]; v > 0 && at > from && at <= to {
			sum += v
			n++
		}
	}
	return sum / n
}

// growth is by how much of itself the node's memory grew from the second quarter of the steady time to the last: the first is
// that of caches and pools that fill.
func growth(series []report.Point, steady float64) (share float64, ok bool) {
	share = mean(series, "rss", steady*0.75, steady)/mean(series, "rss", steady*0.25, steady*0.5) - 1
	return share, !math.IsNaN(share)
}

// perTalk is by how many bytes the live heap grew between the same quarters, for each conversation that began meanwhile: from the
// middle of the one to the middle of the other, at turns messages each.
func perTalk(series []report.Point, steady, turns float64) (bytes float64, ok bool) {
	grew := mean(series, "live", steady*0.75, steady) - mean(series, "live", steady*0.25, steady*0.5)
	talks := mean(series, "acked", steady*0.375, steady*0.875) * steady / 2 / turns
	bytes = grew / talks
	return bytes, !math.IsNaN(bytes) && !math.IsInf(bytes, 0)
}
