package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"switchboard/loadtest/report"
	"switchboard/loadtest/scenario"
	"switchboard/loadtest/swarm"
)

// search finds the highest load at which the gates hold, and tells the run at it.
func (f *loadFlags) search(ctx context.Context, out io.Writer, s *swarm.Swarm) error {
	field, from := swarm.Load(s.Scenario)
	base := s.Scenario
	if _, err := fmt.Fprintf(out, "searching the highest %s, in %d runs at most\n", field, f.steps); err != nil {
		return err
	}
	var best *report.Result
	most, steps, err := swarm.FindMax(ctx, from, f.steps, func(ctx context.Context, load float64) (*report.Result, error) {
		sets := append(slices.Clone(f.sets), swarm.With(base, load)...)
		sc, err := scenario.Parse(base.Name, []byte(s.Doc), sets...)
		if err != nil {
			return nil, err
		}
		one := *s
		one.Scenario, one.Sets = sc, sets
		if s.Node != nil { // a run has a node of its own
			one.Node = s.Node.Fresh()
		}
		return one.Run(ctx)
	}, func(st swarm.Step) {
		if st.Holds {
			best = st.Result
		}
		_, _ = fmt.Fprintln(out, stepLine(&st)) // the search does not depend on who listens
	})
	switch {
	case err != nil && best == nil:
		return err
	case err != nil:
		_, said := fmt.Fprintf(out, "\nthe highest %s at which all gates held until then is %.0f (%s)\n\n", field, most, several(len(steps), "run"))
		return errors.Join(said, f.tell(out, best), err)
	case best == nil:
		return checkError{fmt.Errorf("the gates hold at no %s that was tried, in %s", field, several(len(steps), "run"))}
	}
	if _, err := fmt.Fprintf(out, "\n%s\n\n", outcome(field, most, steps)); err != nil {
		return err
	}
	return f.tell(out, best)
}

// outcome says what a search has found: the highest load that holds beside the lowest that does not, or that none was too much.
func outcome(field string, most float64, steps []swarm.Step) string {
	least := math.Inf(1)
	for i := range steps {
		if !steps[i].Holds {
			least = min(least, steps[i].Load)
		}
	}
	if math.IsInf(least, 1) {
		return fmt.Sprintf("all gates hold at every %s that was tried, up to %.0f (%s): the highest is above; more --steps find it", field, most, several(len(steps), "run"))
	}
	return fmt.Sprintf("the highest %s at which all gates hold is %.0f; they do not at %.0f (%s)", field, most, least, several(len(steps), "run"))
}

// stepLine tells one run of a search.
func stepLine(st *swarm.Step) string {
	word := "does not hold"
	if st.Holds {
		word = "holds"
	}
	line := fmt.Sprintf("%10.0f  %-14s", st.Load, word)
	if st.Err != nil && !errors.Is(st.Err, swarm.ErrTooMuch) {
		line = fmt.Sprintf("%10.0f  %-14s", st.Load, "no result")
	}
	if st.Err != nil {
		return line + " " + oneLine(st.Err)
	}
	if l, ok := st.Result.Latencies["answer"]; ok {
		line += fmt.Sprintf(" p50 %s p99 %s", scenario.Format(l.P50, scenario.Time), scenario.Format(l.P99, scenario.Time))
	}
	for i := range st.Result.Gates {
		if g := &st.Result.Gates[i]; !g.Holds {
			line += fmt.Sprintf("; %s is %s", g.Text, g.Print())
		}
	}
	if others := st.Result.Strangers(); others > report.StrangersMost {
		line += fmt.Sprintf("; others used %.1f processors", others)
	}
	return line
}
