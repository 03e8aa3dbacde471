package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"switchboard/wire"
)

func newExplain() *cobra.Command {
	var r remote
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain SESSION",
		Short: "Tell why a session waits, or why it went to whom it went",
		Long: `Tell in plain words why a session waits, or why it went to whom it went, and what stood for and against each worker. What decided
an assignment stays with its session for as long as the tenant's routes say (trace_days, 30), through restarts; see docs/routing.md.`,
		Example: `  switchboard explain s_00c1k0v7x2m9q4ab --token "$TOKEN"`,
		Args:    exactly(1, "one session id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := wire.SessionID(args[0])
			if _, _, ok := id.Place(); !ok {
				return usageError{fmt.Errorf("%q is no session id", id)}
			}
			answer, _, err := r.ask(cmd, "GET", "/v1/sessions/"+string(id)+"/explain", nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = jsonShown{cmd.OutOrStdout()}.Write(answer)
				return err
			}
			return tellWhy(cmd, answer)
		},
	}
	r.flags(cmd, "a supervisor or operator, or of the worker who has the session")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// tellWhy prints an explanation for people.
func tellWhy(cmd *cobra.Command, answer []byte) error {
	var m struct {
		Why        []string
		Candidates []struct {
			Worker, Why, Step          string
			Load, Skill, Rating, Score float64
		}
		More int `json:"more_candidates"`
	}
	if err := json.Unmarshal(answer, &m); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	out := cmd.OutOrStdout()
	for _, line := range m.Why {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	if len(m.Candidates) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(w, "\nworker\tload\tskill\trating\tscore\tstep\twhy not"); err != nil {
		return err
	}
	for _, c := range m.Candidates {
		if _, err := fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.3f\t%s\t%s\n", c.Worker, c.Load, c.Skill, c.Rating, c.Score, c.Step, c.Why); err != nil {
			return err
		}
	}
	if m.More > 0 {
		if _, err := fmt.Fprintf(w, "and %d more\n", m.More); err != nil {
			return err
		}
	}
	return w.Flush()
}
