package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"switchboard/backup"
	"switchboard/wire"
)

// erasureAgain is how often a command that waits for an erasure asks.
const erasureAgain = 500 * time.Millisecond

func newErase() *cobra.Command {
	var r remote
	var now, asJSON, look bool
	var backups []string
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "erase CUSTOMER",
		Short: "Forget a customer: everything that was said with him, and who he is",
		Long: `Forget a customer, for good: what was said in his sessions, by anybody, their attributes and documents, his name and his ids on other channels; so too
for everybody who became him by logging in. Sessions that are open end. What was counted stays: how many sessions and entries there were, and when.

It is "erasing" while his rows are being rewritten, "erased" when nobody can read anything of him any more, and "completed" when no file of any node has it: with --now
the command waits for that. A node that is down holds up the last step until it is back. Asking again does no harm. Only an operator of the whole tenant may.

Backups that were taken before have him still. A restore erases him again if the directory of backups knows of it: from --backup, or from any backup that was taken there later.
See docs/operations.md.`,
		Example: `  switchboard erase alice --token "$TOKEN" --now
  switchboard erase alice --token "$TOKEN" --status`,
		Args: exactly(1, "one customer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !wire.ValidID(args[0]) {
				return usageError{fmt.Errorf("%q is no id of a customer", args[0])}
			}
			method, path := "DELETE", "/v1/customers/"+args[0]
			if look {
				method, path = "GET", path+"/erasure"
			}
			answer, _, err := r.ask(cmd, method, path, nil)
			if err != nil {
				return err
			}
			for _, dir := range backups {
				if err := noteErased(dir, r.tenant, args[0], answer); err != nil {
					return err
				}
			}
			if now {
				if answer, err = erasureEnd(cmd, &r, args[0], within, answer); err != nil {
					return err
				}
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(answer)
				return err
			}
			var e erasure
			if err := json.Unmarshal(answer, &e); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), e.String())
			return err
		},
	}
	r.flags(cmd, "an operator, which names no shop")
	fs := cmd.Flags()
	fs.BoolVar(&now, "now", false, "wait until no file of any node has anything of him")
	fs.DurationVar(&within, "within", 10*time.Minute, "how long --now waits at most")
	fs.StringSliceVar(&backups, "backup", nil, "directories of backups that note it, so that a restore from them erases him again; the next backup there does so by itself")
	fs.BoolVar(&look, "status", false, "only tell how far it is")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// erasure is how far one is, as a node tells it [SW-7.11].
type erasure struct {
	Erasure  string
	State    string
	At       int64
	Sessions int
}

// noteErased notes an erasure in a directory of backups.
func noteErased(dir, tenant, customer string, answer []byte) error {
	var e erasure
	if err := json.Unmarshal(answer, &e); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if e.Erasure == "" {
		return nil
	}
	return backup.Open(dir, nil).Erase(backup.Erased{Tenant: tenant, Customer: customer, Mark: e.Erasure, At: e.At})
}

// String says it in words.
func (e *erasure) String() string {
	if e.Erasure == "" {
		return "nobody has asked to erase this customer"
	}
	return fmt.Sprintf("%s: %s, %d sessions", e.Erasure, e.State, e.Sessions)
}

// erasureEnd waits until an erasure is completed. What fails meanwhile may be a node that starts: it is asked again.
func erasureEnd(cmd *cobra.Command, r *remote, customer string, within time.Duration, answer []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), within)
	defer cancel()
	var e erasure
	var last error
	for {
		if last == nil {
			if last = json.Unmarshal(answer, &e); last == nil && e.State == "completed" {
				return answer, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the erasure is %q after %s, and goes on by itself: ask again with --status (%w)", e.State, within, ctx.Err())
		case <-time.After(erasureAgain):
		}
		answer, _, last = r.ask(cmd, "GET", "/v1/customers/"+customer+"/erasure", nil)
	}
}
