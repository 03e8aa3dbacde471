package swarm

import (
	"context"
	"errors"
	"fmt"
	"math"

	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
)

// Step is one run of a search.
type Step struct {
	Load   float64
	Holds  bool
	Result *report.Result
	Err    error // the run had no result
}

// FindMax searches the highest load at which the gates of a scenario hold: it doubles until they do not, halves when they
// do not at once, and then bisects. It makes steps runs at most, each a complete one. run runs the scenario with a load;
// told, which may be nil, hears of every step. best is 0 when the gates held at none. A run without a result does not hold when that is about the
// load ([ErrTooMuch]). For any other reason (a full disk, a limit of files), when a run was stopped, and when ctx ends, the search ends with an error:
// nothing is known about that load, and best is the highest that held until then.
func FindMax(ctx context.Context, from float64, steps int, run func(ctx context.Context, load float64) (*report.Result, error), told func(Step)) (best float64, all []Step, err error) {
	low, high := 0.0, math.Inf(1) // it holds at low, and does not at high
	for load := from; len(all) < steps && load >= 1; {
		res, err := run(ctx, load)
		if ctx.Err() != nil {
			return low, all, context.Cause(ctx)
		}
		s := Step{load, err == nil && res.Holds(), res, err}
		all = append(all, s)
		if told != nil {
			told(s)
		}
		switch {
		case err != nil && !errors.Is(err, ErrTooMuch):
			return low, all, fmt.Errorf("the search ends: the run at %.0f has no result: %w", load, err)
		case err == nil && res.Stopped:
			return low, all, fmt.Errorf("the search ends: the run at %.0f was stopped", load)
		}
		if s.Holds {
			low = load
		} else {
			high = load
		}
		switch {
		case math.IsInf(high, 1):
			load = low * 2
		case low == 0:
			load = math.Floor(high / 2)
		case high-low <= max(low/50, 1): // two percent is below what two runs differ by
			return low, all, nil
		default:
			load = math.Round((low + high) / 2)
		}
	}
	return low, all, nil
}

// Load is what a search changes: the messages a second, or the sockets when nothing is said.
func Load(sc *scenario.Scenario) (field string, now float64) {
	if sc.Talk.Rate.Value > 0 {
		return "talk.rate", sc.Talk.Rate.Value
	}
	return "customers.sockets", float64(sc.Customers.Sockets)
}

// With returns the sets that make the load of a scenario so much. A rate gets the customers that it needs.
func With(sc *scenario.Scenario, load float64) []string {
	field, now := Load(sc)
	sets := []string{fmt.Sprintf("%s=%.0f", field, load)}
	if field == "talk.rate" && load > now {
		sets = append(sets, fmt.Sprintf("customers.sockets=%.0f", math.Ceil(float64(sc.Customers.Sockets)*load/now)))
	}
	return sets
}
