package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"switchboard/backup"
	"switchboard/node"
	"switchboard/wire"
)

// erasureAgain is how often a command that waits for an erasure asks.
const erasureAgain = 500 * time.Millisecond

func newErase() *cobra.Command {
	var r remote
	var now, asJSON, look, all bool
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
  switchboard erase alice --token "$TOKEN" --status
  switchboard erase --list --token "$TOKEN"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				return exactly(0, "no customer")(cmd, args)
			}
			return exactly(1, "one customer")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if all {
				return listErasures(cmd, &r, asJSON)
			}
			if !wire.ValidID(args[0]) {
				return usageError{fmt.Errorf("%q is no id of a customer", args[0])}
			}
			method, path := "DELETE", "/v1/customers/"+args[0]
			if look {
				method, path = "GET", path+"/erasure"
			}
			if err := haveBackups(backups); err != nil {
				return err
			}
			answer, _, err := r.ask(cmd, method, path, nil)
			if err != nil {
				return err
			}
			end := time.Now().Add(within)
			if answer, err = noteErased(cmd, &r, args[0], backups, end, answer); err != nil {
				return err
			}
			if now {
				if answer, err = erasureEnd(cmd, &r, args[0], end, answer, "completed"); err != nil {
					return err
				}
			}
			if asJSON {
				_, err = cmd.OutOrStdout().Write(answer)
				return err
			}
			e, err := readErasure(answer)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), e.String())
			return err
		},
	}
	r.flags(cmd, "an operator, which names no shop")
	fs := cmd.Flags()
	fs.BoolVar(&now, "now", false, "wait until no file of any node has anything of him")
	fs.DurationVar(&within, "within", 10*time.Minute, "how long --now and --backup wait at most")
	fs.StringSliceVar(&backups, "backup", nil,
		"directories of backups that note it, and who was erased with him, once that is known: when he is erased; so a restore from them erases them again. The next backup there does so by itself")
	fs.BoolVar(&look, "status", false, "only tell how far it is")
	fs.BoolVar(&all, "list", false, "only list the erasures of the tenant that are not completed, and what each waits for")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("list", "now")
	cmd.MarkFlagsMutuallyExclusive("list", "status")
	cmd.MarkFlagsMutuallyExclusive("list", "backup")
	return cmd
}

// listErasures prints which erasures wait, and for what [SW-7.13].
func listErasures(cmd *cobra.Command, r *remote, asJSON bool) error {
	answer, _, err := r.ask(cmd, "GET", "/v1/erasures", nil)
	if err != nil {
		return err
	}
	if asJSON {
		_, err = cmd.OutOrStdout().Write(answer)
		return err
	}
	var list node.WaitingErasures
	if err := json.Unmarshal(answer, &list); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	line(w, "CUSTOMER", "ERASURE", "STATE", "SINCE", "WAITS FOR", "WHY")
	for i := range list.Erasures {
		e := &list.Erasures[i]
		line(w, e.Customer, e.Erasure, e.State, time.UnixMilli(e.At).UTC().Format(time.RFC3339), e.String(), e.Why)
	}
	if len(list.Away) > 0 {
		line(w, "")
		line(w, fmt.Sprint("nodes that did not answer: ", list.Away))
	}
	if len(list.Ownerless) > 0 {
		line(w, "")
		line(w, fmt.Sprint("shards that nobody serves now, whose erasures are not listed: ", list.Ownerless))
	}
	return w.Flush()
}

// erasure is how far one is, as a node tells it [SW-7.11].
type erasure struct {
	Customer string // who he is by now
	Erasure  string
	State    string
	At       int64
	Sessions int
	Also     []string // who is erased with him
	More     bool     // and more than those
}

func readErasure(answer []byte) (*erasure, error) {
	e := &erasure{}
	if err := json.Unmarshal(answer, e); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return e, nil
}

// haveBackups refuses directories without a backup, before anybody is erased: a name that was mistyped, or a disk that is not mounted, would note the
// customer where nothing is restored from.
func haveBackups(dirs []string) error {
	for _, dir := range dirs {
		all, broken, err := backup.Open(dir, nil).Backups()
		if err != nil {
			return fmt.Errorf("nobody was erased: %w", err)
		}
		if len(all)+len(broken) == 0 {
			return fmt.Errorf("nobody was erased: %s has no backup in it: --backup is a directory that `switchboard backup --to` has written", dir)
		}
	}
	return nil
}

// noteErased notes an erasure in directories of backups: at once by the name that was given, so that it is there whatever dies now, and when he is erased by the names of all
// who were erased with him. A backup may be from before they were one.
func noteErased(cmd *cobra.Command, r *remote, customer string, dirs []string, end time.Time, answer []byte) ([]byte, error) {
	note := func() (*erasure, error) {
		e, err := readErasure(answer)
		if err != nil || e.Erasure == "" {
			return e, err
		}
		var list []backup.Erased
		for _, id := range append([]string{customer, e.Customer}, e.Also...) {
			if id != "" { // as of a node of the version before
				list = append(list, backup.Erased{Tenant: r.tenant, Customer: id, Mark: e.Erasure, At: e.At})
			}
		}
		for _, dir := range dirs {
			if err := backup.Open(dir, nil).Erase(list...); err != nil {
				return e, err
			}
		}
		return e, nil
	}
	if len(dirs) == 0 {
		return answer, nil
	}
	e, err := note()
	if err != nil || e.Erasure == "" {
		return answer, err
	}
	if answer, err = erasureEnd(cmd, r, customer, end, answer, "erased", "completed"); err != nil {
		return nil, fmt.Errorf("only those who are known by now are noted in %s: %w", strings.Join(dirs, ", "), err)
	}
	if e, err = note(); err == nil && e.More {
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "more were erased with him than are named here: take a backup to %s, which notes them all\n", strings.Join(dirs, ", "))
	}
	return answer, err
}

// String says it in words.
func (e *erasure) String() string {
	if e.Erasure == "" {
		return "nobody has asked to erase this customer"
	}
	return fmt.Sprintf("%s: %s, %d sessions", e.Erasure, e.State, e.Sessions)
}

// erasureEnd waits until an erasure is in one of some states. What fails meanwhile may be a node that starts: it is asked again.
func erasureEnd(cmd *cobra.Command, r *remote, customer string, end time.Time, answer []byte, states ...string) ([]byte, error) {
	ctx, cancel := context.WithDeadline(cmd.Context(), end)
	defer cancel()
	e := &erasure{State: "not known"}
	var last error
	for {
		if last == nil {
			var now *erasure
			if now, last = readErasure(answer); last == nil {
				if e = now; slices.Contains(states, e.State) {
					return answer, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the erasure is %q, and goes on by itself: ask again with --status (%w)", e.State, ctx.Err())
		case <-time.After(erasureAgain):
		}
		answer, _, last = r.ask(cmd, "GET", "/v1/customers/"+customer+"/erasure", nil)
	}
}
